"""Pictures and crops: from what a caller has to what the served contract says, to the last bit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from ssr_bundle.contract import IMAGE_SIZE, Crop
from ssr_client.errors import BadInput

Picture = NDArray[np.uint8]
"""(H, W, 3) bytes."""

COLOURS = ("bgr", "rgb")


def read_picture(path: str | Path) -> Picture:
    """An image file as (H, W, 3) uint8, BGR, turned upright as its EXIF orientation says.

    Raises :class:`BadInput` for a file that OpenCV cannot decode, ``OSError`` for one it cannot read.
    """
    return decode_picture(Path(path).read_bytes(), path)


def decode_picture(data: bytes, name: str | Path) -> Picture:
    """:func:`read_picture` of a file's bytes; ``name`` is for the error."""
    try:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    except cv2.error as error:
        raise BadInput(f"{name}: OpenCV cannot decode it ({error.err})") from None
    if picture is None:
        what = "not an image that OpenCV reads (JPEG, PNG, WebP, BMP, TIFF, ...)" if data else "empty file"
        raise BadInput(f"{name}: {what}")
    return np.asarray(picture, np.uint8)


def as_bgr(image: Any, colour: str = "bgr") -> Picture:
    """A picture as (H, W, 3) uint8 BGR. Takes grey (H, W) or (H, W, 1), three channels in ``colour``
    order, and four (alpha last, dropped); 16-bit values are scaled to 8. Floats are refused: their
    range cannot be known.
    """
    check_colour(colour)
    if image is None:
        raise BadInput("picture: None; cv2.imread gives that for a file that is missing or no image")
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


def crop_faces(
    picture: Picture, boxes: ArrayLike | Sequence[Sequence[float]], crop: Crop, size: int = IMAGE_SIZE
) -> Picture:
    """Cut faces as the contract's ``crop`` says: boxes (M, 4) as x, y, w, h to (M, size, size, 3).

    Colour order stays the picture's. The fast twin of :func:`ssr_ops.reference.crop_faces`.
    Raises :class:`BadInput` for a box that is not finite, has no area or does not meet the picture.
    """
    faces = np.asarray(boxes, np.float64)
    if faces.size == 0:
        return np.empty((0, size, size, 3), np.uint8)
    if faces.ndim != 2 or faces.shape[1] != 4:
        raise BadInput(f"boxes: expected shape (M, 4) as x, y, w, h, got {faces.shape}")
    crops = np.empty((len(faces), size, size, 3), np.uint8)
    for m, (x, y, w, h) in enumerate(faces.tolist()):
        if not (all(map(math.isfinite, (x, y, w, h))) and w > 0 and h > 0):
            raise BadInput(f"box {m}: ({x:g}, {y:g}, {w:g}, {h:g}) has no area")
        left, right = _cut(x, w, crop.margin[0], picture.shape[1])
        top, bottom = _cut(y, h, crop.margin[1], picture.shape[0])
        if left >= right or top >= bottom:
            raise BadInput(f"box {m}: ({x:g}, {y:g}, {w:g}, {h:g}) lies outside the picture")
        cv2.resize(
            picture[top:bottom, left:right],
            (size, size),
            dst=crops[m],
            interpolation=cv2.INTER_LINEAR,
        )
    return crops


def _cut(begin: float, extent: float, margin: float, limit: int) -> tuple[int, int]:
    """Half-open pixel range of one axis: ``floor-inclusive`` rounding, ``clip`` border."""
    first = max(math.floor(begin - margin * extent), 0)
    last = min(math.floor(begin + extent + margin * extent), limit - 1)
    return first, last + 1


def check_crops(crops: Any) -> Picture:
    """``crops`` as (N, 64, 64, 3) uint8; raises :class:`BadInput` saying what it is instead."""
    try:
        array = np.asarray(crops)
    except ValueError:
        raise BadInput(
            f"crops: not of one shape, expected uint8 (N, {IMAGE_SIZE}, {IMAGE_SIZE}, 3)"
        ) from None
    if isinstance(crops, list | tuple) and not crops:
        return np.empty((0, IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
    expected = (IMAGE_SIZE, IMAGE_SIZE, 3)
    if array.shape[1:] != expected:
        hint = "; for one crop pass crop[None]" if array.shape == expected else ""
        raise BadInput(f"crops: shape {array.shape}, expected (N, {IMAGE_SIZE}, {IMAGE_SIZE}, 3){hint}")
    if array.dtype != np.uint8:
        raise BadInput(f"crops: {array.dtype} values, expected uint8 in 0..255")
    return array


def in_colour(images: Picture, have: str, want: str) -> Picture:
    """``images`` (..., 3) in the colour order ``want``."""
    return images if have == want else images[..., ::-1]


def check_colour(colour: str) -> None:
    if colour not in COLOURS:
        raise BadInput(f"colour: {colour!r} is unknown, expected 'bgr' or 'rgb'")
