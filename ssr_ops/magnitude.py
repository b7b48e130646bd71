"""How large the terms of soft stagewise regression are: what the rounding of its answer scales with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssr_ops import reference


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
