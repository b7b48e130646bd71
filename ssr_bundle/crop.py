"""Boxes in a picture: what the contract cuts for them, and how much two of them share.

Standard library only: whoever holds pictures cuts by the ranges given here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from ssr_bundle.alignment import Grid, Points, grid
from ssr_bundle.errors import SsrError
from ssr_bundle.face_crop import Crop, Template

Box = tuple[float, float, float, float]
"""x, y of the upper left corner, width, height; pixels of the picture given."""


class Part(NamedTuple):
    """Rows and columns of a picture; where the crop fills the border they may reach beyond it."""

    rows: range
    columns: range

    def inside(self, height: int, width: int) -> bool:
        """Whether all of them are the picture's."""
        return min(self.rows.start, self.columns.start) >= 0 and (
            self.rows.stop <= height and self.columns.stop <= width
        )


MAX_SIDE = 1 << 16
"""Pixels along an axis that a crop may cover."""


def cuts(boxes: Iterable[Sequence[float]], crop: Crop, height: int, width: int) -> Iterator[Part]:
    """What ``crop``, which goes by boxes, cuts for each of them from a picture of ``height`` by ``width``.

    Raises :class:`SsrError` for a box that is not finite, has no area, does not meet the picture, or is too
    large.
    """
    left, top, right, bottom = crop.margin
    for m, (x, y, w, h) in enumerate(boxes):
        box = f"box {m}: ({x:g}, {y:g}, {w:g}, {h:g})"
        if not (all(map(math.isfinite, (x, y, w, h))) and w > 0 and h > 0):
            raise SsrError(f"{box} has no area")
        ends = (y - top * h, y + h + bottom * h, x - left * w, x + w + right * w)
        if not all(map(math.isfinite, ends)):
            raise SsrError(f"{box} is too large")
        first_row, last_row, first_column, last_column = map(math.floor, ends)
        rows, columns = range(first_row, last_row + 1), range(first_column, last_column + 1)
        clipped = Part(_clipped(rows, height), _clipped(columns, width))
        if not (clipped.rows and clipped.columns):
            raise SsrError(f"{box} lies outside the picture")
        if crop.border == "clip":
            yield clipped
        elif max(rows.stop - rows.start, columns.stop - columns.start) > MAX_SIDE:
            raise SsrError(f"{box} is too large, expected a cut of at most {MAX_SIDE:,} pixels a side")
        else:
            yield Part(rows, columns)


def align(
    landmarks: Sequence[Points | None] | None, faces: int, template: Template, size: int
) -> Iterator[Grid]:
    """Where the pixels of each of ``faces`` crops of ``size`` x ``size`` lie, aligned to ``template``.

    Raises :class:`SsrError` for a face whose landmarks are missing, or that cannot be aligned.
    """
    if landmarks is None or len(landmarks) != faces:
        got = 0 if landmarks is None else len(landmarks)
        raise SsrError(f"this crop aligns faces by five landmarks each: {faces} expected, got {got}")
    for m, points in enumerate(landmarks):
        if points is None:
            raise SsrError(f"face {m}: this crop aligns faces by five landmarks, and it has none")
        try:
            yield grid(points, template.points, template.size, size)
        except SsrError as error:
            raise SsrError(f"face {m}: {error}") from None


def _clipped(pixels: range, limit: int) -> range:
    return range(max(pixels.start, 0), min(pixels.stop, limit))


def shared_area(a: Box, b: Box) -> float:
    """Square pixels that two boxes have in common."""
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    return max(width, 0.0) * max(height, 0.0)


def intersection_over_union(a: Box, b: Box) -> float:
    """How much two boxes are one: 0 apart, 1 equal."""
    shared = shared_area(a, b)
    return shared / (a[2] * a[3] + b[2] * b[3] - shared)
