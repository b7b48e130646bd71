"""Crops as arrays: what a client is given, checked, and in the colour order that the contract says."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssr_bundle import pillow
from ssr_bundle.contract import IMAGE_SIZE
from ssr_bundle.errors import SsrError
from ssr_client.errors import BadInput

Picture = NDArray[np.uint8]
"""(H, W, 3) bytes."""

COLOURS = ("bgr", "rgb")


def check_crops(crops: Any, colour: str = "bgr") -> Picture:
    """``crops`` as (N, 64, 64, 3) uint8 in ``colour`` order, which is the arrays' own; PIL images in a list
    are brought to it. Raises :class:`BadInput` saying what else it is."""
    if pillow.is_image(crops):
        raise BadInput(
            f"crops: a PIL image, expected (N, {IMAGE_SIZE}, {IMAGE_SIZE}, 3); for one pass [crop]"
        )
    if pillow.holds_image(crops):
        crops = [
            in_colour(from_pillow(crop, f"crops[{i}]"), "rgb", colour) if pillow.is_image(crop) else crop
            for i, crop in enumerate(crops)
        ]
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


def from_pillow(image: Any, name: str = "picture") -> Picture:
    """:func:`ssr_bundle.pillow.as_rgb`; raises :class:`BadInput`."""
    try:
        return pillow.as_rgb(image, name)
    except SsrError as error:
        raise BadInput(str(error)) from None


def in_colour(images: Picture, have: str, want: str) -> Picture:
    """``images`` (..., 3) in the colour order ``want``."""
    return images if have == want else images[..., ::-1]


def check_colour(colour: str) -> None:
    if colour not in COLOURS:
        raise BadInput(f"colour: {colour!r} is unknown, expected 'bgr' or 'rgb'")
