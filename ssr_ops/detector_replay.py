"""Replay a detector bundle's golden record with a detector of this machine: before it may serve."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ssr_bundle.detector import DetectorBundle
from ssr_bundle.tolerances import FACES, FACES_OF_OPENCV, FaceLimits
from ssr_ops.detector_reference import Detections
from ssr_ops.replay import ReplayError


class Detects(Protocol):
    """What finds faces in a BGR frame (H, W, 3): boxes (M, 4), scores (M,), landmarks (M, 5, 2), from left to
    right. ``ssr_ops.Detector`` does."""

    def detect(self, frame: NDArray[np.uint8]) -> tuple[Any, Any, Any]: ...


@dataclass(frozen=True)
class DetectorReplay:
    """How many faces were found, and the largest differences from the reference's."""

    faces: int
    pixels: float
    score: float


def replay_detector(bundle: DetectorBundle, detector: Detects, precision: str = "fp32") -> DetectorReplay:
    """Search the golden picture with ``detector``: its faces must be the reference's and OpenCV's, within
    ``ssr_bundle.tolerances.FACES`` and ``FACES_OF_OPENCV``, and two runs must give the same bits.

    Raises :class:`ssr_ops.replay.ReplayError` naming what is off, ``BundleError`` for a record that is none.
    """
    golden = bundle.golden()
    found = Detections(*map(np.asarray, detector.detect(golden["picture"])))
    again = detector.detect(golden["picture"])
    if not all(np.array_equal(one, other) for one, other in zip(found, again, strict=True)):
        raise ReplayError(f"{bundle.path}: two runs of the detector over its golden record differ")
    of_opencv = Detections(*(golden[f"opencv.{name}"] for name in Detections._fields))
    of_reference = Detections(*(golden[name] for name in Detections._fields))
    _compare(bundle, found, of_opencv, "OpenCV's", FACES_OF_OPENCV)
    return _compare(bundle, found, of_reference, "the reference's", FACES[precision])


def _compare(
    bundle: DetectorBundle, found: Detections, expected: Detections, whose: str, most: FaceLimits
) -> DetectorReplay:
    said = f"{bundle.path}: replaying its golden record, the detector"
    shapes = [array.shape for array in found], [array.shape for array in expected]
    if shapes[0] != shapes[1]:
        told = f"gives arrays of {shapes[0]}, {whose} are of {shapes[1]}"
        raise ReplayError(f"{said} {told}")
    pixels = max(_apart(found.boxes, expected.boxes), _apart(found.landmarks, expected.landmarks))
    score = _apart(found.scores, expected.scores)
    for what, apart, allowed in (("pixels", pixels, most.pixels), ("of score", score, most.score)):
        if not apart <= allowed:
            raise ReplayError(f"{said} is off {whose} faces by {apart:.3g} {what}, allowed {allowed:g}")
    return DetectorReplay(len(found.boxes), pixels, score)


def _apart(one: NDArray[Any], other: NDArray[Any]) -> float:
    return float(np.abs(one.astype(np.float64) - other).max(initial=0.0))
