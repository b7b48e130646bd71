"""Which detection is which track: two rounds, as ByteTrack (Zhang et al., ECCV 2022) has them.

Strong detections are matched with all tracks; weak ones only with the tracks that are left, so that a face
that turns away or blurs is followed, but nobody begins as a weak detection.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from ssr_bundle.crop import Box

Pairs = list[tuple[int, int]]
"""Indices into two lists."""

STRONG = 0.7
"""Score from which on a detection is one of the first round (YuNet's own threshold)."""
WEAK = 0.4
"""Least score of the second round."""
LEAST_OVERLAP = (0.2, 0.4)
"""Intersection over union from which on a prediction and a detection may be one face: first, second round."""

LEAST_LIKENESS = 0.05
"""Of a lost face and one that is found, see :func:`again`."""


def match(tracks: Sequence[Box], found: Sequence[Box], scores: Sequence[float]) -> Pairs:
    """Predicted boxes and detections that are one face: pairs (track, detection)."""
    strong = [d for d, score in enumerate(scores) if score >= STRONG]
    weak = [d for d, score in enumerate(scores) if WEAK <= score < STRONG]
    pairs: Pairs = []
    for chosen, least in zip((strong, weak), LEAST_OVERLAP, strict=True):
        left = sorted(set(range(len(tracks))) - {t for t, _ in pairs})
        likeness = overlaps([tracks[t] for t in left], [found[d] for d in chosen])
        pairs += [(left[t], chosen[d]) for t, d in best_pairs(likeness, least)]
    return pairs


def best_pairs(likeness: NDArray[np.float64], least: float) -> Pairs:
    """The pairs (row, column) of the largest total likeness; those below ``least`` are none."""
    rows, columns = linear_sum_assignment(np.where(likeness >= least, likeness, 0.0), maximize=True)
    return [(t, d) for t, d in zip(rows.tolist(), columns.tolist(), strict=True) if likeness[t, d] >= least]


def overlaps(some: Sequence[Box], others: Sequence[Box]) -> NDArray[np.float64]:
    """Intersection over union of each of ``some`` boxes with each of the ``others``: (S, O)."""
    a, b = (np.array(boxes, np.float64).reshape(-1, 4) for boxes in (some, others))
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum((a[:, :2] + a[:, 2:])[:, None], (b[:, :2] + b[:, 2:])[None])
    shared = np.prod(np.maximum(high - low, 0.0), axis=2)
    areas = np.prod(a[:, None, 2:], axis=2) + np.prod(b[None, :, 2:], axis=2)
    told: NDArray[np.float64] = shared / (areas - shared)
    return told


def again(lost: Box, gone: float, found: Box) -> float:
    """How likely a face that was lost ``gone`` seconds ago at ``lost`` is the one in ``found``: 0 for no, up
    to 1.

    It may have gone two thirds of its size a second, and four fifths besides, and hardly changed in size.
    """
    size = math.sqrt(lost[2] * lost[3])
    ratio = math.sqrt(found[2] * found[3]) / size
    dx = lost[0] + lost[2] / 2 - found[0] - found[2] / 2
    dy = lost[1] + lost[3] / 2 - found[1] - found[3] / 2
    distance = math.hypot(dx, dy) / size / (0.8 + 0.67 * gone)
    growth = abs(math.log(ratio)) / math.log(1.35 + 0.2 * gone)
    return max(0.0, 1 - max(distance, growth))
