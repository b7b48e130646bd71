"""The fused soft stagewise regression (Equation 7 of the paper) for NumPy arrays and torch tensors.

One pass over the rows in C++ or CUDA, forward and backward; :mod:`ssr_ops.reference` is the readable
version. Torch is imported only by handing over a tensor.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ssr_ops.native import call, check_shapes, native, shape_of

if TYPE_CHECKING:
    from torch import Tensor  # named below

Array = TypeVar("Array", "Tensor", NDArray[Any])

__all__ = ["implementation", "implementations", "soft_stagewise_regression"]

_NATIVE = {np.dtype(np.float32): native.regress_float, np.dtype(np.float64): native.regress_double}


def implementations(precision: str = "fp32") -> list[str]:
    """Names of the CPU implementations that this machine runs in ``precision``, best first.

    ``precision``: fp32 (the operator's, and the engine's), bf16 or int8 (the engine's). Raises ``SsrError``
    for another.
    """
    return list(call(native.implementations, precision))


def implementation() -> str:
    """The CPU implementation that runs now: the best, or the one SSR_FORCE_IMPLEMENTATION names.

    An implementation is specialised for stages (3, 3, 3); other stages run the portable kernel under
    every name. Raises ``SsrError`` where the environment names one that this machine does not run.
    """
    return str(call(native.implementation))


def soft_stagewise_regression(
    p: Array,
    eta: Array,
    delta: Array,
    stages: Sequence[int],
    value_range: float,
    lambda_index: float = 1.0,
    lambda_width: float = 1.0,
    denominator_floor: float = 1e-3,
) -> Array:
    """Age of each row, unclipped: V * sum_k [ sum_i p_i (i + lambda_index eta_i) ] / prod_{j<=k} s_j d_j.

    d_j = max(1 + lambda_width delta_j, denominator_floor). p, eta: (N, sum of s_k); delta: (N, K), all
    torch tensors (CPU or CUDA, differentiable once, in reverse mode) or all plain NumPy arrays, of one dtype;
    any strides. ``denominator_floor``: at least 1e-6.
    Returns (N,): float64 for float64, float32 for float32 and for half types, which are upcast.
    The gradient to delta_j is zero strictly below the floor and passes at equality, as ``clamp_min``'s.
    Raises ``TypeError`` for other types and dtypes, ``SsrError`` (a ``ValueError``) for shapes,
    constants and devices.
    """
    constants = (  # plain numbers: what is kept of them below goes by value
        _bins(stages),
        _plain("value_range", value_range),
        _plain("lambda_index", lambda_index),
        _plain("lambda_width", lambda_width),
        _plain("denominator_floor", denominator_floor),
    )
    run: Any
    if type(p) is np.ndarray:
        run = _numpy
    elif (torch := sys.modules.get("torch")) is not None and isinstance(p, torch.Tensor):
        from ssr_ops import op_torch

        run = op_torch.soft_stagewise_regression
    else:
        raise TypeError(f"p: expected a torch tensor or a plain NumPy array, got {type(p).__name__}")
    age: Array = run(p, eta, delta, constants)
    return age


def _bins(stages: Sequence[int]) -> tuple[int, ...]:
    if type(stages) is tuple and all(type(s) is int for s in stages):
        return stages
    try:
        given = tuple(stages)
        bins = tuple(int(s) for s in given)
    except (TypeError, ValueError, OverflowError):
        bins = None
    if bins is None or bins != given:
        raise TypeError(f"stages: expected integers, got {stages!r}")
    return bins


def _plain(name: str, number: float) -> float:
    if type(number) is float:
        return number
    try:
        return float(number)
    except (TypeError, ValueError):
        raise TypeError(f"{name}: expected a number, got {number!r}") from None


def _numpy(p: NDArray[Any], eta: Any, delta: Any, constants: Any) -> NDArray[Any]:
    for name, value in (("eta", eta), ("delta", delta)):
        if type(value) is not np.ndarray:
            raise TypeError(f"{name}: expected a plain NumPy array as p is, got {type(value).__name__}")
    dtype = p.dtype
    if not (eta.dtype == dtype and delta.dtype == dtype):
        name, value = ("delta", delta) if eta.dtype == dtype else ("eta", eta)
        raise TypeError(f"{name}: expected dtype {dtype} as p's, got {value.dtype}")
    if dtype not in _NATIVE:
        if dtype.name not in ("float16", "bfloat16"):
            raise TypeError(f"p: expected dtype float32, float64, float16 or bfloat16, got {dtype}")
        p, eta, delta = (np.asarray(value, np.float32) for value in (p, eta, delta))
    shape, columns, stages = shape_of(constants)
    check_shapes(p, eta, delta, columns, stages)
    age = np.empty(len(p), p.dtype)
    p, eta, delta = _whole_strides(p), _whole_strides(eta), _whole_strides(delta)
    run = _NATIVE[p.dtype]
    call(run, shape, len(p), -1, 0, *_matrix(p), *_matrix(eta), *_matrix(delta), _address(age))
    return age


def _whole_strides(value: NDArray[Any]) -> NDArray[Any]:
    """The kernel strides in elements; fields of packed records may not, and are copied."""
    row, column = value.strides
    return value.copy() if row % value.itemsize or column % value.itemsize else value


def _matrix(value: NDArray[Any]) -> tuple[int, int, int]:
    row, column = value.strides
    return _address(value), row // value.itemsize, column // value.itemsize


def _address(value: NDArray[Any]) -> int:
    return int(value.__array_interface__["data"][0])  # a third of the time of ``ctypes.data``
