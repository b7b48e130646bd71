"""The compiled core, and what the fused operator's two faces (NumPy, torch) ask of it alike."""

from __future__ import annotations

import importlib
import os
from functools import lru_cache
from numbers import Integral
from typing import Any

from ssr_bundle.errors import SsrError

native: Any = importlib.import_module("ssr_ops._native")
MAX_STAGES: int = native.max_stages

Constants = tuple[tuple[int, ...], float, float, float, float]
"""Bins, value range, lambda_index, lambda_width and denominator floor."""


def call(function: Any, *arguments: Any) -> Any:
    """Run a native function; what it refuses is the user's error."""
    try:
        return function(*arguments)
    except ValueError as error:
        raise SsrError(str(error)) from None


def folder_of(bundle: Any) -> bytes:
    """The path of a bundle that is given as a folder or as one that was read."""
    place = bundle if isinstance(bundle, str | bytes | os.PathLike) else getattr(bundle, "path", None)
    if not isinstance(place, str | bytes | os.PathLike):
        raise SsrError(f"bundle: expected a folder or a Bundle, got {type(bundle).__name__}")
    path = os.fsencode(place)
    if not path or b"\0" in path:
        raise SsrError(f"bundle: expected the path of a folder, got {place!r}")
    return path


def thread_count(threads: Any) -> int:
    """``threads``, if a call may use so many."""
    most = native.max_threads
    if isinstance(threads, bool) or not isinstance(threads, Integral) or not 1 <= int(threads) <= most:
        raise SsrError(f"threads must be a whole number in 1..{most}, got {threads!r}")
    return int(threads)


@lru_cache(maxsize=256)
def shape_of(constants: Constants) -> tuple[Any, int, int]:
    """The native form of the constants, with sum of s_k and K; checked once per set of constants."""
    stages, *numbers = constants
    bins = list(stages)
    if not 1 <= len(bins) <= MAX_STAGES:
        raise SsrError(f"stages: expected 1 to {MAX_STAGES} of them, got {len(bins)}")
    if min(bins) < 1 or sum(bins) > 2**24:
        raise SsrError(f"stages: expected at least 1 bin each and at most 2^24 in all, got {bins}")
    return native.RegressionShape(bins, *numbers), sum(bins), len(bins)


def check_shapes(p: Any, eta: Any, delta: Any, columns: int, stages: int) -> None:
    """Raise ``SsrError`` unless p, eta are (N, columns) and delta is (N, stages)."""
    rows = p.shape[0] if len(p.shape) else 0
    for name, value, expected in (("p", p, columns), ("eta", eta, columns), ("delta", delta, stages)):
        if tuple(value.shape) != (rows, expected):
            n = "N" if name == "p" else rows
            raise SsrError(f"{name}: expected shape ({n}, {expected}), got {tuple(value.shape)}")
