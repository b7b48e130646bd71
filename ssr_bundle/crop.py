"""Boxes in a picture: what the contract cuts for them, and how much two of them share.

Standard library only: whoever holds pictures cuts by the slices given here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

from ssr_bundle.contract import Crop
from ssr_bundle.errors import SsrError

Box = tuple[float, float, float, float]
"""x, y of the upper left corner, width, height; pixels of the picture given."""


def cuts(
    boxes: Iterable[Sequence[float]], crop: Crop, height: int, width: int
) -> Iterator[tuple[slice, slice]]:
    """Rows and columns that ``crop`` cuts for each of ``boxes`` from a picture of ``height`` by ``width``.

    Raises :class:`SsrError` for a box that is not finite, has no area or does not meet the picture.
    """
    for m, (x, y, w, h) in enumerate(boxes):
        box = f"box {m}: ({x:g}, {y:g}, {w:g}, {h:g})"
        if not (all(map(math.isfinite, (x, y, w, h))) and w > 0 and h > 0):
            raise SsrError(f"{box} has no area")
        rows, columns = _cut(y, h, crop.margin[1], height), _cut(x, w, crop.margin[0], width)
        if rows.start >= rows.stop or columns.start >= columns.stop:
            raise SsrError(f"{box} lies outside the picture")
        yield rows, columns


def _cut(begin: float, extent: float, margin: float, limit: int) -> slice:
    """Pixels of one axis: ``floor-inclusive`` rounding, ``clip`` border."""
    first = max(math.floor(begin - margin * extent), 0)
    last = min(math.floor(begin + extent + margin * extent), limit - 1)
    return slice(first, last + 1)


def shared_area(a: Box, b: Box) -> float:
    """Square pixels that two boxes have in common."""
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    return max(width, 0.0) * max(height, 0.0)


def intersection_over_union(a: Box, b: Box) -> float:
    """How much two boxes are one: 0 apart, 1 equal."""
    shared = shared_area(a, b)
    return shared / (a[2] * a[3] + b[2] * b[3] - shared)
