"""How closely implementations must agree with the float64 reference, each bound with its reason.

One table for the whole project. Values are in years for V = 101; :func:`tolerance` scales them by V / 101.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssr_ops import reference


@dataclass(frozen=True)
class Tolerance:
    """Largest difference from the reference.

    ``faces``: answers on face crops; ``anywhere``: clipped answers on noise and hard-edged checkers, where
    widths come near the denominator floor and magnify rounding (101 is no bound); both in years.
    ``stages``: p, eta and Delta, relative to the largest magnitude in the array (at least 1); in bf16 and
    int8 from ``ssr_ops.quantized`` instead, which says what these networks are.
    """

    faces: float
    anywhere: float
    stages: float
    reason: str


_FP32 = (
    "float32 sums of at most 288 products, transformed by Winograd's F(4x4, 3x3) at points that keep their "
    "error, and a tanh good to 1.2e-7, the tail in double: measured on faces 3.7e-5 (age networks) and "
    "1.4e-4 (the V = 1 network, scaled to V = 101), on checkers 6e-5; the requirement is 2e-3"
)

TABLE: dict[tuple[str, str], Tolerance] = {
    ("avx512", "fp32"): Tolerance(5e-4, 1e-3, 1e-5, _FP32),
    ("avx2", "fp32"): Tolerance(5e-4, 1e-3, 1e-5, _FP32),
    ("portable", "fp32"): Tolerance(5e-4, 1e-3, 1e-5, _FP32),
    ("cuda", "fp32"): Tolerance(
        2e-3, 1e-2, 1e-4, "one chain of sums an output, so ten times the CPU's bound: the requirement itself"
    ),
}

_INT8 = (
    "answers as DESIGN section 6 bounds int8; stages against ssr_ops.quantized, which is this network to the "
    "bit up to the dense layers: what is left is their float32 sums, measured 1.5e-7"
)
_BF16 = (
    "answers as DESIGN section 6 bounds bf16; stages against ssr_ops.quantized, whose sums are float64: "
    "a value near the middle of two bfloat16 may round the other way, by 2^-8 of itself, measured 1.2e-4"
)
_BF16_WEIGHTS = (
    "the fp32 kernels on weights in bfloat16; stages against ssr_ops.quantized.bf16(round_maps=False), so as "
    "fp32's; answers as DESIGN section 6 bounds bf16"
)
for _name in ("amx", "avx512vnni", "avxvnni", "avx2", "portable"):
    TABLE[_name, "int8"] = Tolerance(1.75, 101.0, 1e-5, _INT8)
for _name in ("amx",):
    TABLE[_name, "bf16"] = Tolerance(0.75, 101.0, 1e-3, _BF16)
for _name in ("avx512", "avx2", "portable"):
    TABLE[_name, "bf16"] = Tolerance(0.75, 101.0, 1e-5, _BF16_WEIGHTS)

OFFICIAL = 1e-3
"""Years from the original network's printed float32 outputs: DESIGN section 6, first row of its table."""


def tolerance(implementation: str, precision: str, value_range: float) -> Tolerance:
    """The row of ``(implementation, precision)`` for a network with V = ``value_range``."""
    row = TABLE[implementation, precision]
    scale = value_range / 101.0
    return replace(row, faces=row.faces * scale, anywhere=row.anywhere * scale)


OPERATOR: dict[str, tuple[float, str]] = {
    "float32": (
        2e-6,
        "about ten roundings of 6e-8 a term, in float (vector kernels, CUDA) or once at the end (portable)",
    ),
    "float64": (4e-15, "the same count of roundings of 1.1e-16, in another order than the reference's"),
}
"""The operator alone, relative to :func:`operator_scale`, for every implementation and by dtype."""


def operator_tolerance(implementation: str, dtype: np.dtype[Any]) -> float:
    """Relative bound of ``implementation`` ("portable", "avx2", "avx512" or "cuda") in ``dtype``."""
    if implementation not in ("portable", "avx2", "avx512", "cuda"):
        raise KeyError(implementation)
    return OPERATOR[dtype.name][0]


def operator_scale(
    p: NDArray[Any],
    eta: NDArray[Any],
    delta: NDArray[Any],
    stages: Sequence[int],
    value_range: float,
    lambda_index: float = 1.0,
    lambda_width: float = 1.0,
    denominator_floor: float = 1e-3,
) -> NDArray[np.float64]:
    """Sum of the magnitudes of Equation 7's terms, p_i i and p_i eta_i apart: what rounding scales with.

    Plus the smallest normal number of the dtype, below which nothing keeps its relative precision.
    """
    sizes = reference.soft_stagewise_regression(
        np.abs(p),
        np.abs(eta),
        delta,
        stages,
        abs(value_range),
        abs(lambda_index),
        lambda_width,
        denominator_floor,
    )
    return np.asarray(sizes + float(np.finfo(p.dtype).tiny) / np.finfo(p.dtype).eps)
