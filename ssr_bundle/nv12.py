"""NV12 frames, as decoders of cameras and files give them, to BGR: the definition, to the bit.

A frame of H x W pixels, both even, is an array (H * 3 / 2, W) of bytes: H rows of luma Y, then H / 2 rows of
W / 2 pairs of chroma (U, V), one pair for each 2 x 2 pixels. Chroma is not interpolated: the four pixels
share their pair. Per pixel, in whole numbers, with the five factors of :data:`FACTORS` (2 ** 20 is one)::

    light = max(Y - black, 0) * luma + 2 ** 19
    B = (light + u_blue * (U - 128)) >> 20
    G = (light + u_green * (U - 128) + v_green * (V - 128)) >> 20
    R = (light + v_red * (V - 128)) >> 20

each brought into 0..255; shifts round down. Every sum fits 32 bits. The factors are those of the standard
(black at 16 and a gain of 255 / 219 and 255 / 224 where the range is limited), rounded to 20 bits; but
bt601 limited has those of ``cv2.COLOR_YUV2BGR_NV12``, rounded to three decimals, and so the same bits.
The result is within 0.51 of the standard's real-valued formula, clipped to 0..255 (bt601 limited: 0.70), for
every Y not below black. Below black (limited, Y < 16) the luma counts as black, as in OpenCV.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ssr_bundle.errors import SsrError
from ssr_bundle.shown import shown

MATRICES = ("bt601", "bt709")
RANGES = ("limited", "full")

FORMATS = ("bgr", "rgb", "nv12")
"""What the bytes of a frame can be."""

_BITS = 20


class Factors(NamedTuple):
    """Luma that is black, and what a step of luma, U and V adds to blue, green and red, times 2 ** 20."""

    black: int
    luma: int
    u_blue: int
    u_green: int
    v_green: int
    v_red: int


FACTORS = {
    ("bt601", "limited"): Factors(16, 1220542, 2116026, -409993, -852492, 1673527),
    ("bt601", "full"): Factors(0, 1048576, 1858077, -360853, -748826, 1470104),
    ("bt709", "limited"): Factors(16, 1220945, 2215014, -223607, -558796, 1879825),
    ("bt709", "full"): Factors(0, 1048576, 1945738, -196424, -490864, 1651297),
}


def check_meaning(matrix: Any, range: Any) -> tuple[str, str]:
    """``matrix`` and ``range`` of an NV12 frame; raises :class:`SsrError` for what is not said or unknown."""
    for name, value, known in (("matrix", matrix, MATRICES), ("range", range, RANGES)):
        if value is None:
            raise SsrError(f"{name}: an NV12 frame needs it, one of {', '.join(known)}")
        if value not in known:
            raise SsrError(f"{name}: {shown(value)} is unknown, expected one of {', '.join(known)}")
    return matrix, range


def check_frame(frame: Any) -> NDArray[np.uint8]:
    """``frame`` as (H * 3 / 2, W), each row after the other; a last dimension of 1 is dropped.

    Raises :class:`SsrError` for another dtype or shape, and for odd sides.
    """
    expected = "expected uint8 (H * 3 / 2, W) with even H and W"
    try:
        pixels = np.asarray(frame)
    except ValueError as error:
        raise SsrError(f"frame: not an array ({error}), {expected}") from None
    if pixels.dtype != np.uint8:
        raise SsrError(f"frame: NV12 of dtype {pixels.dtype}, {expected}")
    shape = pixels.shape
    if len(shape) == 3 and shape[2] == 1:
        pixels = pixels[:, :, 0]
    if pixels.ndim != 2 or 0 in shape or shape[0] % 3 or shape[1] % 2:  # three rows are two of pixels
        raise SsrError(f"frame: NV12 of shape {shape}, {expected}")
    return np.ascontiguousarray(pixels)


def to_bgr(frame: Any, matrix: Any, range: Any) -> NDArray[np.uint8]:
    """An NV12 frame (H * 3 / 2, W) as (H, W, 3) BGR. Raises :class:`SsrError` for what is no such frame."""
    factors = FACTORS[check_meaning(matrix, range)]
    pixels = check_frame(frame)
    height, width = len(pixels) // 3 * 2, pixels.shape[1]
    chroma = pixels[height:].reshape(height // 2, 1, width // 2, 1, 2).astype(np.int32) - 128
    u, v = (np.broadcast_to(c, (height // 2, 2, width // 2, 2)) for c in np.moveaxis(chroma, -1, 0))
    luma = pixels[:height].astype(np.int32).reshape(u.shape)
    light = np.maximum(luma - factors.black, 0) * factors.luma + (1 << _BITS - 1)
    made = np.empty((*u.shape, 3), np.uint8)
    for channel, value in enumerate(
        (
            light + factors.u_blue * u,
            light + factors.u_green * u + factors.v_green * v,
            light + factors.v_red * v,
        )
    ):
        made[..., channel] = np.clip(value >> _BITS, 0, 255)
    return made.reshape(height, width, 3)
