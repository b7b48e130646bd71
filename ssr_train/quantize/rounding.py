"""Learned rounding: which weights of an int8 layer go up from their floor, and which stay down.

Rounding each weight to nearest is not best: the inputs of a layer are correlated (neighbouring pixels
most of all), so errors of neighbouring weights may cancel. Chosen is the rounding with the least
mean squared error of the layer's output on the crops, as in "Up or Down? Adaptive Rounding for
Post-Training Quantization" (Nagel et al., 2020), found by coordinate descent on the exact quadratic.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]

ROWS = 40_000
"""Input patches a layer is judged on; more change nothing."""

_RIDGE = 1e-3
"""Pull towards the real weights, in mean variances of the inputs: rules where the data are silent."""


def sample_patches(
    stored: NDArray[np.generic], real: NDArray[np.generic], size: int, rng: np.random.Generator
) -> tuple[F64, F64]:
    """Up to ``ROWS`` size x size patches of two maps (N, H, W, I) at the same places: (rows, I * size^2)."""
    count, height, width = stored.shape[0], stored.shape[1] - size + 1, stored.shape[2] - size + 1
    places = rng.permutation(count * height * width)[:ROWS]
    n, y, x = np.unravel_index(np.sort(places), (count, height, width))
    views = (np.lib.stride_tricks.sliding_window_view(v, (size, size), axis=(1, 2)) for v in (stored, real))
    first, second = (view[n, y, x].reshape(len(n), -1).astype(np.float64) for view in views)
    return first, second


def learn_rounding(ratio: F64, stored: F64, real: F64) -> NDArray[np.bool_]:
    """Which weights to round up from their floor.

    ratio (O, K): weights in steps of their output channel. stored (rows, K): the layer's inputs as the
    int8 network has them, in steps; real (rows, K): the same inputs of the float network. Minimised, row
    by row of ``ratio``, is the variance of (rounded @ stored - ratio @ real); its mean is left to the bias
    correction. Starts from rounding to nearest and takes the best single change until none helps.
    """
    stored, real = stored - stored.mean(axis=0), real - real.mean(axis=0)
    variance = stored.T @ stored / len(stored)
    pull = _RIDGE * max(float(np.trace(variance)) / len(variance), 1e-12)
    curvature = variance + pull * np.eye(len(variance))
    target = ratio @ (real.T @ stored / len(stored)) + pull * ratio
    floor = np.floor(ratio)
    up = np.rint(ratio) > floor
    slope = (floor + up) @ curvature - target  # half the gradient
    rows, diagonal = np.arange(len(ratio)), np.diag(curvature)
    for _ in range(8 * ratio.shape[1]):
        move = np.where(up, -1.0, 1.0)
        change = 2 * move * slope + diagonal
        best = change.argmin(axis=1)
        helps = change[rows, best] < -1e-9 * diagonal[best]
        if not helps.any():
            break
        step = np.where(helps, move[rows, best], 0.0)
        up[rows[helps], best[helps]] ^= True
        slope += step[:, None] * curvature[best]
    return up
