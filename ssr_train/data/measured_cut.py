"""How published crops were cut, measured: where the detector finds the face in them.

A crop that is used as it is has no recorded cut. The detector looks for its face in the crop padded by its
border. Either the face's box tells the crop (by median margins), or its five landmarks do (by their median
places): whichever is steadier. Crops that were aligned look alike by their landmarks, even where heads were
tilted; those cut by a box, by their margins.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from ssr_client.detectors import to_convention
from ssr_client.faces import Detection, Landmarks
from ssr_client.photo import Finder

from ssr_bundle import alignment
from ssr_bundle.contract import Crop, Template
from ssr_bundle.crop import Box
from ssr_bundle.detections import inside
from ssr_bundle.errors import SsrError

Picture = NDArray[np.uint8]

SAMPLE = 1200
"""Crops that are looked at, spread evenly over a set."""

LEAST = 20
"""Crops with exactly one face from which a cut can be told."""

STEADY = 0.1
"""Largest spread (the mean interquartile range, in sides of the crop) that is still one cut."""

_SIZE = 100
"""Of a measured template: its points are in hundredths of the crop's side."""

SIDES = ("left", "top", "right", "bottom")


class Seen(NamedTuple):
    """One crop: its width and height, how many faces are in it, and if that is one, its landmarks and its box
    in the convention of ``yunet``."""

    width: int
    height: int
    faces: int
    box: Box | None = None
    landmarks: Landmarks | None = None


@dataclass(frozen=True)
class Quartiles:
    low: float
    median: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f} to {self.high:.2f})"


@dataclass(frozen=True)
class MeasuredCut:
    """What was found. ``looked_at`` crops, of which ``one_face`` hold exactly one face.

    ``margin``: by side, in box widths and heights. ``landmarks``: x and y of each by its name, in sides of
    the crop; empty where not all faces have them, or crops are not square. ``spread``: of ``margin`` and
    ``landmarks``, the mean interquartile range in sides of the crop. ``scale``: of
    a template over the median landmarks, so that faces aligned to it by least squares are as large as in the
    crops; faces differ from it, and each of them alone would come out smaller. ``taken``: the steadier one of
    the two; None where neither is steady.
    """

    looked_at: int
    one_face: int
    margin: dict[str, Quartiles]
    landmarks: dict[str, tuple[Quartiles, Quartiles]]
    spread: dict[str, float]
    scale: float
    taken: str | None

    @property
    def crop(self) -> Crop | None:
        """The cut in the contract's terms; None where neither is steady."""
        if self.taken == "margin":
            sides = tuple(round(self.margin[side].median, 2) for side in SIDES)
            return Crop(margin=sides, border="replicate")
        if self.taken == "landmarks":
            points = np.array([(x.median, y.median) for x, y in self.landmarks.values()])
            points = points.mean(axis=0) + (points - points.mean(axis=0)) * self.scale
            template = tuple((round(float(x), 2), round(float(y), 2)) for x, y in points * _SIZE)
            return Crop(border="replicate", template=Template(template, _SIZE))
        return None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Any) -> MeasuredCut:
        margin = {side: Quartiles(**values) for side, values in data["margin"].items()}
        landmarks = {name: (Quartiles(**x), Quartiles(**y)) for name, (x, y) in data["landmarks"].items()}
        return cls(**{**data, "margin": margin, "landmarks": landmarks})

    def rows(self) -> list[tuple[str, str]]:
        """What a reader is shown: medians, quartiles in brackets."""
        share = self.one_face / max(self.looked_at, 1)
        rows = [("crops looked at", f"{self.looked_at:,}"), ("exactly one face", f"{share:.1%}")]
        rows += [(f"margin {side}", f"{value} boxes") for side, value in self.margin.items()]
        rows += [(name, f"x {x}, y {y} sides") for name, (x, y) in self.landmarks.items()]
        rows += [(f"spread of {way}", f"{value:.3f} sides") for way, value in self.spread.items()]
        if self.crop is None:
            why = "too few faces" if self.one_face < LEAST else f"neither spreads less than {STEADY:g} sides"
            return [*rows, ("recorded cut", f"none, {why}: --recut cuts the faces anew")]
        return [*rows, ("recorded cut", self.crop.describe())]


def look(picture: Picture, finder: Finder) -> Seen:
    """The faces in a published crop (H, W, 3), which is padded by a quarter for the detector."""
    height, width = picture.shape[:2]
    found = in_padded(picture, finder)
    if len(found) != 1:
        return Seen(width, height, len(found))
    box = to_convention(found[0].box, finder.detector.box_convention, "yunet")
    return Seen(width, height, 1, box, found[0].landmarks)


def in_padded(picture: Picture, finder: Finder) -> list[Detection]:
    """The faces whose centre lies in a published crop; their boxes may reach beyond it."""
    height, width = picture.shape[:2]
    down, right = height // 4, width // 4
    padded = cv2.copyMakeBorder(picture, down, down, right, right, cv2.BORDER_REPLICATE)
    found = finder.find(np.asarray(padded, np.uint8))
    return inside([moved(face, -right, -down) for face in found], *picture.shape[:2])


def moved(face: Detection, right: float, down: float) -> Detection:
    x, y, w, h = face.box
    points = face.landmarks and tuple((px + right, py + down) for px, py in face.landmarks)
    return Detection((x + right, y + down, w, h), face.score, points)


def measure(seen: Sequence[Seen]) -> MeasuredCut:
    """The cut of a set of which these crops were seen."""
    single = [one for one in seen if one.faces == 1]
    margin: dict[str, Quartiles] = {}
    landmarks: dict[str, tuple[Quartiles, Quartiles]] = {}
    spread: dict[str, float] = {}
    scale = 1.0
    if len(single) >= LEAST:
        sides = np.array([_margins(one) for one in single])
        margin = {side: _quartiles(sides[:, i]) for i, side in enumerate(SIDES)}
        box = np.median(
            [(one.box[2] / one.width, one.box[3] / one.height) for one in single if one.box], axis=0
        )
        spread["margin"] = _spread(margin.values(), np.tile(box, 2))
        square = all(abs(one.width - one.height) <= 0.02 * one.width for one in single)
        if square and all(one.landmarks is not None for one in single):
            points = np.array([_shares(one) for one in single])
            landmarks = {
                name: (_quartiles(points[:, i, 0]), _quartiles(points[:, i, 1]))
                for i, name in enumerate(alignment.NAMES)
            }
            spread["landmarks"] = _spread([v for pair in landmarks.values() for v in pair], np.ones(10))
            scale = _scale(points, landmarks)
    best = min(spread, key=lambda way: spread[way], default=None)
    taken = best if best is not None and spread[best] <= STEADY else None
    return MeasuredCut(len(seen), len(single), margin, landmarks, spread, scale, taken)


def _margins(one: Seen) -> tuple[float, float, float, float]:
    assert one.box is not None
    x, y, w, h = one.box
    return x / w, y / h, (one.width - x - w) / w, (one.height - y - h) / h


def _shares(one: Seen) -> NDArray[np.float64]:
    return np.array(one.landmarks, np.float64) / (one.width, one.height)


def _scale(points: NDArray[np.float64], landmarks: dict[str, tuple[Quartiles, Quartiles]]) -> float:
    """Median size of faces with ``points`` (N, 5, 2), over what aligning them to the medians makes of it."""
    template = tuple((x.median, y.median) for x, y in landmarks.values())
    sizes = []
    for face in points.tolist():
        with suppress(SsrError):  # on one line: it cannot be aligned
            found = alignment.grid(tuple(map(tuple, face)), template, 1, 1)
            sizes.append(np.hypot(found.dx, found.dy) / (1 << alignment.FRACTION))
    return round(float(np.median(sizes)), 4) if sizes else 1.0


def _spread(values: Iterable[Quartiles], sides: NDArray[np.float64]) -> float:
    """Mean interquartile range; ``sides``: what one of each value's units is in sides of the crop."""
    ranges = [value.high - value.low for value in values]
    return round(float(np.mean(np.array(ranges) * sides)), 4)


def _quartiles(values: NDArray[np.float64]) -> Quartiles:
    return Quartiles(*(round(float(v), 4) for v in np.percentile(values, (25, 50, 75))))
