"""Faces cut from frames by the C++ core: what the served frame model does, to the bit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ssr_bundle import nv12, pillow
from ssr_bundle.alignment import NAMES, Points
from ssr_bundle.bundle import Bundle
from ssr_bundle.contract import Crop
from ssr_bundle.errors import SsrError
from ssr_bundle.nv12 import FORMATS
from ssr_bundle.shown import shown
from ssr_ops.native import call, native

Picture = NDArray[np.uint8]


def cut_faces(
    frame: ArrayLike,
    boxes: ArrayLike,
    crop: Crop | Bundle,
    *,
    format: str,
    matrix: str | None = None,
    range: str | None = None,
    landmarks: ArrayLike | Sequence[Points | None] | None = None,
    colour: str | None = None,
) -> Picture:
    """Faces (M, 64, 64, 3) uint8 as a bundle's contract cuts them, in its colour order.

    ``frame``: uint8, (H, W, 3) of ``format`` ``bgr`` or ``rgb``, or (H * 3 / 2, W) of ``nv12``, which needs
    ``matrix`` and ``range`` (:mod:`ssr_bundle.nv12`). ``boxes`` (M, 4): x, y, width, height in pixels of the
    frame. ``landmarks`` (M, 5, 2): x, y, where the crop aligns. Both are rounded to float32, as they travel.
    ``crop``: a bundle, or a bare crop and the ``colour`` order wanted.
    The bits are those of :func:`ssr_client.preprocess.crop_faces` on the same float32 boxes.
    Raises :class:`SsrError` for what is no such frame, and for a face that cannot be cut.
    """
    pixels, *meaning = _checked(frame, format, matrix, range)
    rule, colour = _rule(crop, colour)
    faces = _floats(boxes, "boxes", (4,), "x, y, width, height")
    template = rule.template
    points = None if template is None else _landmarks(landmarks, len(faces))
    made = native.Crop(
        rule.border, rule.margin, template.points if template else (), template.size if template else 0
    )
    crops: Picture = call(native.cut_faces, pixels, *meaning, made, colour == "rgb", faces, points)
    return crops


def to_bgr(frame: ArrayLike, *, format: str, matrix: str | None = None, range: str | None = None) -> Picture:
    """A frame as :func:`cut_faces` takes it, as (H, W, 3) BGR: what a detector searches."""
    made: Picture = call(native.frame_to_bgr, *_checked(frame, format, matrix, range))
    return made


def implementation() -> str:
    """What cuts: ``avx2``, or ``portable`` where there is no AVX2 or ``SSR_FORCE_IMPLEMENTATION`` says so."""
    found: str = native.cut_implementation()
    return found


def _checked(frame: Any, format: Any, matrix: Any, range: Any) -> tuple[Picture, str, str, str]:
    """The frame with its rows one after the other, and what its bytes mean."""
    pillow.refuse(frame, "frame", "expected an array of uint8")
    if format not in FORMATS:
        raise SsrError(f"format: {shown(format)} is unknown, expected one of {', '.join(FORMATS)}")
    if format == "nv12":
        return nv12.check_frame(frame), format, *nv12.check_meaning(matrix, range)
    for name, value in (("matrix", matrix), ("range", range)):
        if value is not None:
            raise SsrError(f"{name}: only an NV12 frame has one, and this is {format}")
    expected = "expected uint8 (H, W, 3)"
    try:
        pixels = np.asarray(frame)
    except ValueError as error:
        raise SsrError(f"frame: not an array ({error}), {expected}") from None
    if pixels.dtype != np.uint8:
        raise SsrError(f"frame: dtype {pixels.dtype}, {expected}")
    if pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
        raise SsrError(f"frame: shape {pixels.shape}, {expected}")
    return np.ascontiguousarray(pixels), format, "", ""


def _rule(crop: Crop | Bundle, colour: str | None) -> tuple[Crop, str]:
    """The crop, and the colour order of what is cut."""
    if not isinstance(crop, Crop):
        if not isinstance(crop, Bundle):
            raise SsrError(f"crop: expected a Crop or a Bundle, got {type(crop).__name__}")
        interface = crop.contract.interface
        crop, own = interface.crop, interface.input.colour
        if colour not in (None, own):
            raise SsrError(f"colour: {shown(colour)}, but the bundle's is {own}")
        return crop, own
    if colour not in ("bgr", "rgb"):
        raise SsrError(f"colour: a bare crop does not say it, expected bgr or rgb, got {shown(colour)}")
    return crop, colour


def _landmarks(given: Any, faces: int) -> NDArray[np.float32]:
    """Five landmarks each of ``faces``."""
    try:
        found = [] if given is None else list(given)
    except TypeError:
        raise SsrError(f"landmarks: expected five points a face, got {shown(given)}") from None
    if len(found) != faces:
        raise SsrError(f"this crop aligns faces by five landmarks each: {faces} expected, got {len(found)}")
    for m, points in enumerate(found):
        if points is None:
            raise SsrError(f"face {m}: this crop aligns faces by five landmarks, and it has none")
    return _floats(found, "landmarks", (len(NAMES), 2), "five points as x, y")


def _floats(given: Any, name: str, shape: tuple[int, ...], what: str) -> NDArray[np.float32]:
    """``given`` as (M, *shape) float32."""
    with np.errstate(over="ignore"):  # beyond float32 is infinite, and refused
        try:
            values = np.asarray(given, np.float64).astype(np.float32)
        except (TypeError, ValueError, OverflowError) as error:
            raise SsrError(f"{name}: not numbers ({error})") from None
    if values.size == 0:
        return np.empty((0, *shape), np.float32)
    if values.shape[1:] != shape:
        expected = ", ".join(map(str, ("M", *shape)))
        raise SsrError(f"{name}: expected shape ({expected}) as {what}, got {values.shape}")
    return np.ascontiguousarray(values)
