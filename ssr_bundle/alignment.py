"""Five-point alignment: where the pixels of an upright face of one size lie in a picture.

Every step is one of IEEE's basic operations on float64 in the order written here, then whole numbers, so that
each implementation finds the same pixels and weights, to the bit. Standard library only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence, Sized
from typing import NamedTuple

from ssr_bundle.errors import SsrError
from ssr_bundle.shown import shown

Point = tuple[float, float]
"""x, y in pixels; the first pixel covers 0 to 1."""

Points = tuple[Point, ...]
"""Five: right eye, left eye, nose tip, right and left mouth corner (the person's right)."""

NAMES = ("right eye", "left eye", "nose tip", "right mouth corner", "left mouth corner")

FRACTION = 20
"""Bits after the point of a position in the picture."""

_FLATTEST = 1e-3
"""Least ratio of five points' extents in two directions, squared, that tells them from a line."""

_FARTHEST = float(1 << 24)
"""Pixels from the picture's corner within which an aligned crop must lie."""


class Grid(NamedTuple):
    """Where the centres of a crop's pixels lie: of pixel (u, v) at ``x + u * dx - v * dy`` and
    ``y + u * dy + v * dx``, in pixels of the picture times 2 ** :data:`FRACTION`, relative to the centre of
    its first pixel. A similarity: upright, turned, larger or smaller, never sheared."""

    x: int
    y: int
    dx: int
    dy: int


def check_points(points: Sequence[Sequence[float]], what: str) -> Points:
    """``points`` as five pairs; raises :class:`SsrError` where they are not, or lie on one line."""
    try:
        found = tuple((float(x), float(y)) for x, y in points)
    except (TypeError, ValueError, OverflowError):
        found = ()
    if len(found) != len(NAMES):
        got = len(points) if isinstance(points, Sized) else shown(points)
        raise SsrError(f"{what}: expected 5 points as x, y ({', '.join(NAMES)}), got {got}")
    if not all(math.isfinite(v) and abs(v) <= _FARTHEST for point in found for v in point):
        raise SsrError(f"{what}: expected positions within {_FARTHEST:g} pixels")
    if is_line(found):
        raise SsrError(f"{what}: the five points lie on one line, so that no face can be aligned by them")
    return found


def is_line(points: Sequence[Point]) -> bool:
    """Whether the points lie on a line, or on one spot."""
    _, centred = _centred(points)
    xx = yy = xy = 0.0
    for x, y in centred:
        xx, yy, xy = xx + x * x, yy + y * y, xy + x * y
    total = xx + yy
    return not 4 * (xx * yy - xy * xy) > _FLATTEST * (total * total)


def grid(landmarks: Points, template: Points, template_size: int, size: int) -> Grid:
    """The crop of ``size`` x ``size`` pixels in which ``landmarks`` come to lie on ``template``, whose points
    are in pixels of a picture of ``template_size``: best in least squares over all five points, in the crop.

    Raises :class:`SsrError` for landmarks that are on one line, or too far apart.
    """
    landmarks = check_points(landmarks, "landmarks")
    share = size / template_size
    (px, py), picture = _centred(landmarks)
    (tx, ty), crop = _centred([(x * share, y * share) for x, y in template])
    along = across = length = 0.0
    for (x, y), (u, v) in zip(picture, crop, strict=True):
        along = along + (x * u + y * v)
        across = across + (x * v - y * u)
        length = length + (x * x + y * y)
    turned = along * along + across * across
    if not turned > 0:
        raise SsrError("landmarks: no similarity brings them to the template")
    # Pixels of the picture a pixel of the crop: the inverse of (along, across) / length.
    dx, dy = along * length / turned, -(across * length / turned)
    u, v = 0.5 - tx, 0.5 - ty
    x, y = px + (u * dx - v * dy) - 0.5, py + (u * dy + v * dx) - 0.5
    if max(abs(x), abs(y), size * abs(dx), size * abs(dy)) > _FARTHEST:
        raise SsrError(f"landmarks: the aligned crop would lie beyond {_FARTHEST:g} pixels")
    return Grid(*(math.floor(value * (1 << FRACTION) + 0.5) for value in (x, y, dx, dy)))


def _centred(points: Sequence[Point]) -> tuple[Point, list[Point]]:
    """The mean of the points, and the points relative to it."""
    mx = my = 0.0
    for x, y in points:
        mx, my = mx + x, my + y
    mx, my = mx / len(points), my / len(points)
    return (mx, my), [(x - mx, y - my) for x, y in points]
