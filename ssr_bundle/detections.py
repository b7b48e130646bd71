"""What a face detector finds, and which of its finds are faces: one rule for the client, the reference and
the native detector.

Standard library only. Boxes are x, y, width, height in pixels of the picture.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from ssr_bundle.alignment import Points
from ssr_bundle.crop import Box, intersection_over_union, shared_area

SMALLEST_SIDE = 8
"""A picture narrower than this many pixels is not searched: it holds no face that YuNet was trained on (10
pixels), and OpenCV's network, once in a thousand grey strips of two rows, sees one all the same."""

WITHIN = 0.7
"""Two boxes are one face if this part of the smaller one lies in the other."""


@dataclass(frozen=True)
class Detection:
    """One face as a detector reports it. ``score``: 0..1 where the detector has one."""

    box: Box
    score: float = 1.0
    landmarks: Points | None = None


_D = TypeVar("_D", bound=Detection)


def sizes_searched(height: int, width: int, scales: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Height and width of the copies of a picture that are searched for faces, smallest first.

    ``scales`` are rising longest sides. A larger picture is shrunk to each of them, sides rounded to the
    nearest pixel (half to even); the first that the picture does not exceed is the picture itself, and the
    last. Copies narrower than :data:`SMALLEST_SIDE` are left out.
    """
    longest = max(height, width)
    for scale in scales:
        factor = min(1.0, scale / longest)
        size = (max(1, round(height * factor)), max(1, round(width * factor)))
        if min(size) >= SMALLEST_SIDE:
            yield size
        if scale >= longest:
            return


def faces_among(found: Sequence[_D], height: int, width: int, overlap: float) -> list[_D]:
    """The faces among the finds of all copies of a picture, each once, from left to right."""
    return left_to_right(suppress(inside(found, height, width), overlap))


def inside(found: Sequence[_D], height: int, width: int) -> list[_D]:
    """Those that are finite, have an area, and whose centre lies in the picture."""

    def good(box: Box) -> bool:
        x, y, w, h = box
        centre = 0 <= x + w / 2 < width and 0 <= y + h / 2 < height
        return all(map(math.isfinite, box)) and w >= 1 and h >= 1 and centre

    return [d for d in found if good(d.box)]


def suppress(found: Sequence[_D], overlap: float) -> list[_D]:
    """Strongest first; another is the same face if they overlap (IoU) or the smaller lies in the larger."""
    kept: list[_D] = []
    for candidate in sorted(found, key=lambda d: -d.score):
        if not any(_same(candidate.box, k.box, overlap) for k in kept):
            kept.append(candidate)
    return kept


def left_to_right(found: Sequence[_D]) -> list[_D]:
    """By the centre's column, then by the upper edge."""
    return sorted(found, key=lambda d: (d.box[0] + d.box[2] / 2, d.box[1]))


def _same(a: Box, b: Box, overlap: float) -> bool:
    shared = shared_area(a, b)
    smaller = min(a[2] * a[3], b[2] * b[3])
    return shared > 0 and (intersection_over_union(a, b) > overlap or shared / smaller > WITHIN)
