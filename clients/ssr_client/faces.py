"""What is found in a photo, and by whom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ssr_bundle.alignment import Points
from ssr_bundle.crop import Box
from ssr_bundle.detections import Detection as Detection
from ssr_client.crops import Picture
from ssr_client.errors import BadInput

DETECTORS = ("auto", "yunet", "haar")
"""Detectors that have a name; ``auto`` is the better of the others that is here."""

Landmarks = Points


class Detector(Protocol):
    """Bring your own: anything with these two members works. ``box_convention`` is a name such as
    ``yunet``; ``detect`` takes a BGR picture (H, W, 3) and may be called from several threads."""

    box_convention: str

    def detect(self, picture: Picture) -> list[Detection]: ...


def check_detector(name: str) -> None:
    """Raise :class:`BadInput` unless ``name`` is a detector's."""
    if name not in DETECTORS:
        raise BadInput(f"detector {name!r} is unknown, expected one of {', '.join(DETECTORS)}")


@dataclass(frozen=True)
class Face:
    """One face with the served answer.

    ``box`` is the one that the crop was measured on (the contract's convention). ``age`` in years;
    None when the served model answers something else, which then is in ``attributes`` by its name
    (``male``: a probability). ``interval``: lower and upper end, if the model is calibrated. ``score``: the
    detector's, 0 to 1; 1 for boxes that were given.
    """

    box: Box
    landmarks: Landmarks | None
    age: float | None
    interval: tuple[float, float] | None = None
    track_id: int | None = None
    attributes: dict[str, float] = field(default_factory=dict)
    score: float = 1.0


def faces_of(
    found: Sequence[Detection], boxes: Sequence[Box], answer: Mapping[str, NDArray[np.float32]], name: str
) -> list[Face]:
    """Detections and the served arrays as faces, in the detections' order; ``name`` is the answer's."""
    values: list[float] = answer[name].tolist()
    intervals = answer[f"{name}_interval"].tolist() if f"{name}_interval" in answer else [None] * len(values)
    return [
        Face(
            box=box,
            landmarks=detection.landmarks,
            age=value if name == "age" else None,
            interval=interval and (interval[0], interval[1]),
            attributes={} if name == "age" else {name: value},
            score=detection.score,
        )
        for detection, box, value, interval in zip(found, boxes, values, intervals, strict=True)
    ]
