"""Parts of a camera's picture: zones that people are told to be in, and masks that nobody looks at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ssr_client.opencv import cv2

from ssr_bundle.crop import Box
from ssr_bundle.errors import SsrError

Polygon = tuple[tuple[float, float], ...]
"""Corners as shares of the picture's width and height."""

LONGEST = 64
"""Characters of a zone's name."""


@dataclass(frozen=True)
class Zone:
    """A named part of the picture."""

    name: str
    corners: Polygon

    def holds(self, box: Box) -> bool:
        """Whether the middle of ``box``, in shares of the picture, lies in it."""
        middle = (box[0] + box[2] / 2, box[1] + box[3] / 2)
        return bool(cv2.pointPolygonTest(np.array(self.corners, np.float32), middle, False) >= 0)


def zones_of(table: Any, where: str) -> tuple[Zone, ...]:
    """Zones by name, each a list of corners. Raises :class:`SsrError` that names the one that is none."""
    if not isinstance(table, Mapping):
        raise SsrError(f"{where}: expected a table of polygons by name")
    for name in table:
        if not name.strip() or not name.isprintable() or len(name) > LONGEST:
            raise SsrError(f"{where}: expected names of 1 to {LONGEST} printable characters")
    return tuple(Zone(name, polygon(corners, f"{where}.{name}")) for name, corners in table.items())


def polygon(corners: Any, where: str) -> Polygon:
    """At least three corners [x, y], each a share of the picture in 0..1, that span an area."""
    expected = f"{where}: expected at least three corners [x, y] in 0..1 that span an area"
    if not isinstance(corners, Sequence) or isinstance(corners, str) or len(corners) < 3:
        raise SsrError(expected)
    for corner in corners:
        if not isinstance(corner, Sequence) or isinstance(corner, str) or len(corner) != 2:
            raise SsrError(expected)
        if not all(isinstance(v, (int, float)) and not isinstance(v, bool) and 0 <= v <= 1 for v in corner):
            raise SsrError(f"{expected}, got {list(corner)}")
    found = tuple((float(x), float(y)) for x, y in corners)
    if cv2.contourArea(np.array(found, np.float32)) == 0:
        raise SsrError(expected)
    return found


def cover(image: NDArray[np.uint8], masks: Sequence[Polygon]) -> None:
    """Paint the ``masks`` of ``image`` (H, W, 3) black, in place."""
    size = np.array([image.shape[1], image.shape[0]])
    for mask in masks:
        cv2.fillPoly(image, [np.round(np.array(mask) * size).astype(np.int32)], (0, 0, 0))
