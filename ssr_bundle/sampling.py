"""Crops from the pixels of a picture: bilinear, in 11-bit fixed point, to the last bit.

The arithmetic is that of ``cv2.resize(..., interpolation=cv2.INTER_LINEAR)`` on bytes. Only pixels that a
crop shows are read, however far it reaches beyond the picture.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ssr_bundle.alignment import FRACTION, Grid
from ssr_bundle.crop import Part

Picture = NDArray[np.uint8]
_Whole = NDArray[np.int64]

_BITS = 11
_ONE = 1 << _BITS


def resized(picture: Picture, part: Part, border: str, size: int) -> Picture:
    """``part`` of a picture (H, W, 3) as (size, size, 3), half-pixel centres; beyond it ``border``."""
    rows, columns = _along(part.rows, size), _along(part.columns, size)
    return _blend(picture, rows[:, :, None], columns[:, None, :], border)


def aligned(picture: Picture, grid: Grid, border: str, size: int) -> Picture:
    """The crop (size, size, 3) whose pixels lie in the picture as ``grid`` says; beyond it ``border``."""
    u, v = np.arange(size, dtype=np.int64), np.arange(size, dtype=np.int64)[:, None]
    x, y = grid.x + u * grid.dx - v * grid.dy, grid.y + u * grid.dy + v * grid.dx
    return _blend(picture, _pixels(y), _pixels(x), border)


def _along(pixels: range, size: int) -> _Whole:
    """For ``size`` target pixels along an axis: two source pixels among ``pixels`` each, and their weights in
    1/2048: (4, size)."""
    where = ((np.arange(size) + 0.5) * (1.0 / (size / len(pixels))) - 0.5).astype(np.float32)
    first = np.floor(where).astype(np.int64)
    second_weight = where - first.astype(np.float32)
    pair = np.clip([first, first + 1], 0, len(pixels) - 1) + pixels.start
    weights = np.rint(np.array([np.float32(1) - second_weight, second_weight]) * np.float32(_ONE))
    return np.concatenate([pair, weights.astype(np.int64)])


def _pixels(position: _Whole) -> _Whole:
    """Positions in the picture as two pixels and their weights in 1/2048: (4, ...)."""
    first, weight = position >> FRACTION, position >> (FRACTION - _BITS) & (_ONE - 1)
    return np.stack([first, first + 1, _ONE - weight, weight])


def _blend(picture: Picture, rows: _Whole, columns: _Whole, border: str) -> Picture:
    """Four pixels each, weighted along the row first; ``rows`` and ``columns`` (4, ...) broadcast."""
    height, width = picture.shape[:2]
    flat = np.ascontiguousarray(picture).reshape(-1, 3)
    beyond_rows, beyond_columns = ((v < 0) | (v >= n) for v, n in ((rows[:2], height), (columns[:2], width)))
    black = border == "constant" and bool(beyond_rows.any() or beyond_columns.any())
    first = np.clip(rows[:2], 0, height - 1) * width, np.clip(columns[:2], 0, width - 1)
    weights = rows[2:, ..., None].astype(np.int32), columns[2:, ..., None].astype(np.int32)

    def pixels(i: int, k: int) -> NDArray[np.int32]:
        found: NDArray[np.int32] = flat.take(first[0][i] + first[1][k], axis=0).astype(np.int32)
        if black:
            found[beyond_rows[i] | beyond_columns[k]] = 0
        return found

    def row(i: int) -> NDArray[np.int32]:
        along: NDArray[np.int32] = pixels(i, 0) * weights[1][0] + pixels(i, 1) * weights[1][1]
        return np.asarray(((along >> 4) * weights[0][i]) >> 16)

    return ((row(0) + row(1) + 2) >> 2).astype(np.uint8)
