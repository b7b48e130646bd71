"""Faces whose place is nearly known, searched at once: a tile around each, all tiles one small picture.

A detector's time goes by pixels. Tiles show each face at one size, whatever it has in the frame, so that a
small face is found as well as a large one, and a box wanders alike.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from ssr_client.crops import Picture
from ssr_client.opencv import cv2

from ssr_bundle.crop import Box
from ssr_bundle.detections import Detection

TILE = 96
"""Pixels along a tile's side."""
FACE = 40
"""Pixels of the expected face in its tile: there is room for one that moved by its own size."""
LARGEST_SCALE = 2.0
"""How many times a small face is enlarged at most."""


@dataclass(frozen=True)
class Tile:
    """Where a tile lies in the mosaic (``left``, ``top``), which corner of the frame it shows (``x``,
    ``y``) and how many of the mosaic's pixels one of the frame's is."""

    left: int
    top: int
    x: float
    y: float
    scale: float

    def holds(self, box: Box) -> bool:
        """Whether the centre of a box of the mosaic lies in it."""
        across, down = box[0] + box[2] / 2 - self.left, box[1] + box[3] / 2 - self.top
        return 0 <= across < TILE and 0 <= down < TILE

    def back(self, found: Detection) -> Detection:
        """What was found in the mosaic, in pixels of the frame."""
        x, y, w, h = found.box
        s = self.scale
        points = found.landmarks and tuple(
            ((px - self.left) / s + self.x, (py - self.top) / s + self.y) for px, py in found.landmarks
        )
        box = ((x - self.left) / s + self.x, (y - self.top) / s + self.y, w / s, h / s)
        return replace(found, box=box, landmarks=points)


def mosaic(image: Picture, faces: Sequence[Box]) -> tuple[Picture, list[Tile]]:
    """Tiles around the ``faces`` of a frame, in rows of one picture, and what each tile shows."""
    columns = math.ceil(math.sqrt(len(faces)))
    rows = math.ceil(len(faces) / columns)
    picture = np.zeros((rows * TILE, columns * TILE, 3), np.uint8)
    tiles = []
    for i, (x, y, w, h) in enumerate(faces):
        left, top = i % columns * TILE, i // columns * TILE
        scale = min(FACE / math.sqrt(w * h), LARGEST_SCALE)
        side = max(2, round(TILE / scale))
        x0, y0 = round(x + w / 2 - side / 2), round(y + h / 2 - side / 2)
        seen = _window(image, x0, y0, side)
        how = cv2.INTER_AREA if side > TILE else cv2.INTER_LINEAR
        picture[top : top + TILE, left : left + TILE] = cv2.resize(seen, (TILE, TILE), interpolation=how)
        tiles.append(Tile(left, top, x0, y0, TILE / side))
    return picture, tiles


def found_in(tiles: Sequence[Tile], found: Sequence[Detection]) -> list[Detection]:
    """The finds of a mosaic in pixels of the frame."""
    return [tile.back(d) for d in found for tile in tiles if tile.holds(d.box)]


def _window(image: Picture, x: int, y: int, side: int) -> Picture:
    """A square of the frame; black beyond it."""
    height, width = image.shape[:2]
    top, left = max(y, 0), max(x, 0)
    bottom, right = min(y + side, height), min(x + side, width)
    if (top, left, bottom, right) == (y, x, y + side, x + side):
        return image[top:bottom, left:right]
    window = np.zeros((side, side, 3), np.uint8)
    if bottom > top and right > left:
        window[top - y : bottom - y, left - x : right - x] = image[top:bottom, left:right]
    return window
