"""Where a video shows another scene, or nothing."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from ssr_client.crops import Picture

Change = Literal["cut", "black"]

SAMPLES = 64
"""Pixels along the longer side that are looked at."""
BLACK = 20
"""A frame whose brightest hundredth is darker is black (limited-range black is 16 before conversion, 0
after)."""
CUT = (25.0, 0.22, 0.6)
"""Mean difference of the pixels, of 255, and share of the colours that are others, from which on a frame
is another scene, if the likeness of their patterns (correlation) is less: what moves changes the pixels
and keeps the colours, a lamp changes both and keeps the pattern."""


class Scenes:
    """Fed with frames in order; one small picture is all that it remembers."""

    def __init__(self) -> None:
        self._before: NDArray[np.float32] | None = None

    def see(self, image: Picture) -> Change | None:
        """Whether this frame (H, W, 3) begins another scene than the one before, or is black."""
        step = max(1, max(image.shape[:2]) // SAMPLES)
        small = image[step // 2 :: step, step // 2 :: step].astype(np.float32)
        before, self._before = self._before, small
        if np.percentile(small, 99) < BLACK:
            return "black"
        if before is None:
            return None
        if before.shape != small.shape:
            return "cut"
        pixels, colours, likeness = CUT
        if float(np.abs(small - before).mean()) < pixels or _other_colours(small, before) < colours:
            return None
        return "cut" if _likeness(small, before) < likeness else None


def _likeness(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Correlation of two pictures, -1 to 1; 0 where one is plain."""
    one, other = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((one**2).sum() * (other**2).sum()))
    return float((one * other).sum()) / scale if scale else 0.0


def _other_colours(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Share of the pixels of ``a`` whose colour, of 64 kinds, ``b`` has not as often."""
    one, other = (
        np.bincount((image // 64).astype(np.int64).reshape(-1, 3) @ (16, 4, 1), minlength=64)
        for image in (a, b)
    )
    return float(np.maximum(one - other, 0).sum() / one.sum())
