"""Pictures as they are meant to be seen: the display matrix of a video, applied once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from ssr_client.opencv import cv2

Matrix = tuple[tuple[int, int], tuple[int, int]]
"""Where the matrix takes a step to the right and a step down, as (right, down) each; -1, 0 or 1."""

UPRIGHT: Matrix = ((1, 0), (0, 1))


def display_matrix(frame: Any) -> Matrix:
    """How a decoded frame of PyAV is turned and mirrored for display: one of the eight ways that keep rows
    and columns; for angles between them, the nearest.

    Not for every frame: PyAV's side data and its frame hold each other until Python looks for such circles.
    """
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return UPRIGHT
    a, b, _, c, d = np.frombuffer(bytes(data), np.int32)[:5].tolist()
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return ((-1 if a < 0 else 1, 0), (0, -1 if d < 0 else 1))
    return ((0, -1 if b < 0 else 1), (-1 if c < 0 else 1, 0))


def turned(image: NDArray[np.uint8], matrix: Matrix) -> NDArray[np.uint8]:
    """``image`` (H, W, 3) as ``matrix`` shows it, contiguous."""
    (a, b), (c, d) = matrix
    if a == 0:  # a step to the right goes down or up: rows become columns
        image, a, d = np.asarray(cv2.transpose(image), np.uint8), c, b
    if min(a, d) < 0:  # OpenCV's codes: around the vertical axis 1, the horizontal 0, both -1
        image = np.asarray(cv2.flip(image, 1 if d > 0 else 0 if a > 0 else -1), np.uint8)
    return np.ascontiguousarray(image)


def degrees(matrix: Matrix) -> int:
    """The turn to the right, 0, 90, 180 or 270, mirrored or not."""
    (a, b), _ = matrix
    return {(1, 0): 0, (0, 1): 90, (-1, 0): 180, (0, -1): 270}[a, b]
