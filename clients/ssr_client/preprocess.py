"""Pictures: from what a caller has to the crops that the served contract says, to the last bit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ssr_bundle import nv12, pillow, sampling
from ssr_bundle.contract import IMAGE_SIZE, Crop
from ssr_bundle.crop import Part, align, cuts
from ssr_bundle.errors import SsrError
from ssr_bundle.regular import address
from ssr_client import formats
from ssr_client.crops import Picture, check_colour, from_pillow
from ssr_client.errors import BadInput
from ssr_client.faces import Landmarks
from ssr_client.opencv import cv2, quiet


class CutShort(BadInput):
    """A picture file that ends before its picture does."""


def read_picture(path: str | Path) -> Picture:
    """An image file as (H, W, 3) uint8, BGR, turned upright as its EXIF orientation says.

    Raises :class:`CutShort` for a file of which a part is missing (``cv2.imread`` fills it with grey),
    :class:`BadInput` for one that OpenCV cannot decode and for a web address, ``OSError`` for one it cannot
    read.
    """
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        if given := address(path):
            raise BadInput(f"{given}: an address, expected a file: download it first") from None
        raise
    return decode_picture(data, path)


def decode_picture(data: bytes, name: str | Path) -> Picture:
    """:func:`read_picture` of a file's bytes; ``name`` is for the error."""
    if not data:
        raise BadInput(f"{name}: empty file")
    early = formats.ends_early(data)
    try:
        picture = _but_its_end(data) if early else _decoded(data)
    except cv2.error as error:
        raise BadInput(f"{name}: OpenCV cannot decode it ({error.err})") from None
    if picture is not None:
        return picture
    found = formats.format_of(data)
    if early:
        raise CutShort(
            f"{name}: {found} that was cut short: its {len(data):,} bytes end before the picture does"
        )
    if found in formats.OFTEN_UNREAD:
        raise BadInput(
            f"{name}: {found}, a format that OpenCV {cv2.__version__} does not read: convert it to JPEG or "
            "PNG, or open it with Pillow (HEIC: with pillow-heif) and give the client that image"
        )
    if found:
        raise BadInput(f"{name}: {found} that OpenCV {cv2.__version__} cannot decode")
    raise BadInput(f"{name}: not an image that OpenCV reads (JPEG, PNG, WebP, BMP, TIFF, ...)")


def _decoded(data: bytes) -> Picture | None:
    with quiet():
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    return None if picture is None else np.asarray(picture, np.uint8)


def _but_its_end(data: bytes) -> Picture | None:
    """A JPEG that lacks its end marker and no pixel: what follows its bytes then makes no difference."""
    if not formats.may_lack_only_its_end(data):
        return None
    first = None
    for bits in formats.jpeg_continuations(data):
        picture = _decoded(data.removesuffix(b"\xff") + bits + formats.JPEG_END)
        if picture is None or (first is not None and not np.array_equal(first, picture)):
            return None
        first = picture
    return first


def as_bgr(image: Any, colour: str = "bgr") -> Picture:
    """A picture as (H, W, 3) uint8 BGR. Takes grey (H, W) or (H, W, 1), three channels in ``colour``
    order, and four (alpha last, dropped); 16-bit values are scaled to 8. Floats are refused: their
    range cannot be known. A PIL image says its own colours, whatever ``colour``, and is turned upright as its
    EXIF orientation says.
    """
    check_colour(colour)
    if image is None:
        raise BadInput(
            "picture: None; cv2.imread gives that for a file that is missing or no image, where read_picture "
            "says what is wrong"
        )
    if pillow.is_image(image):
        image, colour = from_pillow(image), "rgb"
    if isinstance(image, str | bytes | Path):
        raise BadInput(f"picture: {type(image).__name__}, expected pixels: read_picture(path) reads a file")
    try:
        picture = np.asarray(image)
    except ValueError as error:
        raise BadInput(f"picture: not an array of pixels ({error})") from None
    if picture.dtype == np.uint16:
        picture = (picture >> 8).astype(np.uint8)
    if picture.dtype != np.uint8:
        raise BadInput(f"picture: expected uint8 (or uint16) values, got {picture.dtype}")
    if picture.ndim == 3 and picture.shape[2] == 1:
        picture = picture[:, :, 0]
    if picture.ndim == 2:
        picture = np.repeat(picture[:, :, None], 3, axis=2)
    if picture.ndim != 3 or picture.shape[2] not in (3, 4):
        raise BadInput(f"picture: expected shape (H, W, 3), got {picture.shape}")
    if 0 in picture.shape:
        raise BadInput(f"picture: it has no pixels, shape {picture.shape}")
    picture = picture[:, :, :3]
    return np.ascontiguousarray(picture if colour == "bgr" else picture[:, :, ::-1])


def nv12_to_bgr(frame: Any, matrix: str, range: str) -> Picture:
    """An NV12 frame, uint8 (H * 3 / 2, W), as (H, W, 3) BGR, to the bits of :mod:`ssr_bundle.nv12`.

    ``matrix``: ``bt601`` or ``bt709``; ``range``: ``limited`` or ``full``. Neither can be seen in the frame.
    Raises :class:`BadInput` for another dtype or shape, odd sides, and what is not said.
    """
    try:
        meaning = nv12.check_meaning(matrix, range)
        pixels = nv12.check_frame(frame)
        if meaning == ("bt601", "limited"):  # where OpenCV has the same bits
            return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_YUV2BGR_NV12), np.uint8)
        return nv12.to_bgr(pixels, *meaning)
    except SsrError as error:
        raise BadInput(str(error)) from None


def crop_faces(
    picture: Picture,
    boxes: ArrayLike | Sequence[Sequence[float]],
    crop: Crop,
    size: int = IMAGE_SIZE,
    landmarks: Sequence[Landmarks | None] | None = None,
) -> Picture:
    """Cut faces as the contract's ``crop`` says: boxes (M, 4) as x, y, w, h to (M, size, size, 3).

    An aligned crop goes by the ``landmarks`` of the M faces alone. Colour order stays the picture's.
    The fast twin of :func:`ssr_ops.reference.crop_faces`. Raises :class:`BadInput` for a box that is not
    finite, has no area or does not meet the picture, for landmarks that are missing or on one line, and for a
    PIL image, which :func:`as_bgr` takes.
    """
    faces = np.asarray(boxes, np.float64)
    if faces.size == 0:
        return np.empty((0, size, size, 3), np.uint8)
    if faces.ndim != 2 or faces.shape[1] != 4:
        raise BadInput(f"boxes: expected shape (M, 4) as x, y, w, h, got {faces.shape}")
    crops = np.empty((len(faces), size, size, 3), np.uint8)
    if pillow.is_image(picture):
        raise BadInput("picture: a PIL image, expected an array (H, W, 3): as_bgr(picture) gives one")
    picture = np.ascontiguousarray(picture)  # OpenCV takes no mirrored view
    try:
        if crop.template is None:
            for target, part in zip(crops, cuts(faces.tolist(), crop, *picture.shape[:2]), strict=True):
                _resize(picture, part, crop.border, target)
        else:
            grids = align(landmarks, len(faces), crop.template, size)
            for target, grid in zip(crops, grids, strict=True):
                target[:] = sampling.aligned(picture, grid, crop.border, size)
    except SsrError as error:
        raise BadInput(str(error)) from None
    return crops


_LARGEST = 1 << 19
"""Pixels up to which OpenCV fills and resizes a cut quicker than NumPy samples it."""


def _resize(picture: Picture, part: Part, border: str, target: Picture) -> None:
    """``part`` into ``target`` (size, size, 3): by OpenCV unless it reaches far beyond the picture."""
    size = len(target)
    if part.inside(*picture.shape[:2]) or len(part.rows) * len(part.columns) <= _LARGEST:
        pixels = filled(picture, part, border)
        cv2.resize(pixels, (size, size), dst=target, interpolation=cv2.INTER_LINEAR)
    else:
        target[:] = sampling.resized(picture, part, border, size)


def filled(picture: Picture, part: Part, border: str) -> Picture:
    """The pixels of ``part``, which meets the picture; beyond it ``border``."""
    height, width = picture.shape[:2]
    rows, columns = part
    top, bottom, left, right = (
        max(-rows.start, 0),
        max(rows.stop - height, 0),
        max(-columns.start, 0),
        max(columns.stop - width, 0),
    )
    seen = picture[max(rows.start, 0) : rows.stop, max(columns.start, 0) : columns.stop]
    if not (top or bottom or left or right):
        return seen
    kind = cv2.BORDER_CONSTANT if border == "constant" else cv2.BORDER_REPLICATE
    return np.asarray(cv2.copyMakeBorder(seen, top, bottom, left, right, kind), np.uint8)
