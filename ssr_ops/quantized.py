"""The int8 and bf16 networks in readable NumPy, to the bit what the native engine computes.

Only integers and single float32 roundings appear, so that every implementation (AMX, VNNI, AVX2,
portable) gives the same bytes. RNE below is rounding to the nearest, ties to even; an fma rounds once.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]

TANH_LIMIT = np.float32(3.2)
"""127 * tanh is within half a step of 127 from here on."""

TANH_COEFFICIENTS: tuple[float, ...] = (
    126.85888671875,
    -41.26609420776367,
    14.479726791381836,
    -4.08075475692749,
    0.8249973654747009,
    -0.11151786893606186,
    0.009439040906727314,
    -0.0004493427986744791,
    9.147956916422118e-06,
)
"""P of 127 * tanh(v) ~ v * P(v * v) on |v| <= 3.2, lowest power first, each exactly a float32.

The minimax fit of degree 17; its largest error is 0.0224 of a step of 1/127, rounding included. The
native engine's copy is compared with this one by a test.
"""


def fma(a: F32, b: F32, c: F32) -> F32:
    """a * b + c in float32, rounded once.

    The product is exact in float64; the sum is rounded to odd there, so that the second rounding,
    to float32, is the right one.
    """
    product = a.astype(np.float64) * b.astype(np.float64)
    wide = c.astype(np.float64)
    total = product + wide
    back = total - product
    rest = (product - (total - back)) + (wide - back)  # what the sum lost (Knuth's TwoSum)
    even = (np.atleast_1d(total).view(np.int64) & 1 == 0).reshape(np.shape(total))
    odd = np.where((rest != 0) & even, np.nextafter(total, np.copysign(np.inf, rest)), total)
    return odd.astype(np.float32)


def tanh_127(v: F32) -> F32:
    """127 * tanh(v): v clamped to +-3.2, u = v * v, Horner by fma from the highest power, times v."""
    v = np.clip(v.astype(np.float32), -TANH_LIMIT, TANH_LIMIT)
    u = v * v
    p = np.full_like(v, TANH_COEFFICIENTS[-1])
    for coefficient in TANH_COEFFICIENTS[-2::-1]:
        p = fma(p, u, np.full_like(v, coefficient))
    return v * p
