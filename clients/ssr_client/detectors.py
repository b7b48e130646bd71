"""Face detectors: YuNet, the Haar cascade that OpenCV carries as a fallback, or your own.

A detector's box convention matters as much as its hits: the same face cut from a Haar box in place of
YuNet's moves ages by up to 10 years. Each detector therefore names its ``box_convention``, and boxes
are mapped to the contract's by a measured adapter, or a warning says that none exists.
"""

from __future__ import annotations

import threading
import warnings
from pathlib import Path
from typing import cast

import numpy as np

from ssr_bundle.crop import Box
from ssr_bundle.detections import Detection, faces_among, sizes_searched
from ssr_bundle.errors import SsrError
from ssr_client.crops import Picture
from ssr_client.faces import Detector, check_detector
from ssr_client.opencv import cv2
from ssr_client.yunet import open_network


class BoxConventionWarning(UserWarning):
    """Boxes of one convention feed a network trained on another, and nothing maps them."""


class FallbackWarning(UserWarning):
    """The Haar cascade stands in for YuNet."""


class YuNet:
    """OpenCV's FaceDetectorYN, or the same by ONNX Runtime, which is faster: boxes with five landmarks.

    ``model``: path of the ONNX file, by default ``ssr_bundle.fetch``'s ``yunet``. ``runtime`` asks for
    ``onnxruntime``, ``opencv``, or ``auto``: the former where it is installed. The attribute of that name
    says which one runs, and its version. Pictures larger than ``SIDES`` are searched in smaller copies, a
    coarse one for large faces and a fine one for small.
    """

    box_convention = "yunet"
    name = "yunet"
    SIDES = (640, 1600)

    def __init__(
        self, model: str | Path | None = None, threshold: float = 0.7, runtime: str = "auto"
    ) -> None:
        if model is None:
            from ssr_bundle.fetch import fetch

            model = fetch("yunet")
        self._network = open_network(model, threshold, runtime)
        self.runtime = self._network.runtime

    def detect(self, picture: Picture) -> list[Detection]:
        height, width = picture.shape[:2]
        found: list[Detection] = []
        for rows, columns in sizes_searched(height, width, self.SIDES):
            small = _shrunk(picture, rows, columns)
            found += self._detect(small, columns / width, rows / height)
        return faces_among(found, height, width, overlap=0.4)

    def _detect(self, small: Picture, sx: float, sy: float) -> list[Detection]:
        detections = []
        for row in self._network.find(small).astype(np.float64):
            x, y, w, h = (row[:4] / (sx, sy, sx, sy)).tolist()
            points = (row[4:14].reshape(5, 2) / (sx, sy)).tolist()
            detections.append(Detection((x, y, w, h), float(row[14]), tuple((p[0], p[1]) for p in points)))
        return detections


class Haar:
    """The frontal-face cascade inside the OpenCV wheel: always there, weak, no landmarks.

    Kept are hits whose last-stage weight reaches ``MINIMUM_WEIGHT``: on 14 rotated, scaled, relit views
    of two photos that kept 35 of 43 faces and none of 5 false ones.
    """

    box_convention = "haar"
    name = "haar"
    LONGEST = 1024
    SMALLEST = 24
    MINIMUM_WEIGHT = 2.5

    def __init__(self) -> None:
        path = Path(cv2.data.haarcascades) / "haarcascade_frontalface_default.xml"
        self._cascade = cv2.CascadeClassifier(str(path))
        if self._cascade.empty():
            raise SsrError(f"{path}: no cascade there; opencv-python-headless<5 carries it")
        self._lock = threading.Lock()

    def detect(self, picture: Picture) -> list[Detection]:
        height, width = picture.shape[:2]
        factor = min(1.0, self.LONGEST / max(height, width))
        small = _shrunk(picture, max(1, round(height * factor)), max(1, round(width * factor)))
        sx, sy = small.shape[1] / width, small.shape[0] / height
        grey = cv2.cvtColor(small, cv2.COLOR_BGR2GRAY)
        with self._lock:
            boxes, _, weights = self._cascade.detectMultiScale3(
                grey,
                scaleFactor=1.1,
                minNeighbors=5,
                minSize=(self.SMALLEST, self.SMALLEST),
                outputRejectLevels=True,
            )
        found = [
            Detection((x / sx, y / sy, w / sx, h / sy), float(1 / (1 + np.exp(-weight / 2))))
            for (x, y, w, h), weight in zip(
                np.reshape(boxes, (-1, 4)).tolist(), np.ravel(weights).tolist(), strict=True
            )
            if weight >= self.MINIMUM_WEIGHT
        ]
        return faces_among(found, height, width, overlap=0.3)


def open_detector(name: str = "auto") -> Detector:
    """A detector by name. ``auto``: YuNet if its model is here or can be fetched, else the Haar cascade,
    with a :class:`FallbackWarning` that says so."""
    check_detector(name)
    if name == "haar":
        return Haar()
    if name == "yunet":
        return YuNet()
    try:
        return YuNet()
    except (SsrError, OSError) as error:
        warnings.warn(
            "faces are found by the Haar cascade, a weaker fallback for YuNet: it misses faces, and its "
            f"boxes move ages by about 4 years ({error})",
            FallbackWarning,
            stacklevel=2,
        )
        return Haar()


def to_convention(box: Box, have: str, want: str) -> Box:
    """``box`` mapped by the measured adapter; unchanged if there is none (see :func:`has_adapter`)."""
    if (have, want) not in ADAPTERS:
        return box
    dx, dy, sw, sh = ADAPTERS[have, want]
    x, y, w, h = box
    cx, cy = x + (0.5 + dx) * w, y + (0.5 + dy) * h
    return (cx - 0.5 * sw * w, cy - 0.5 * sh * h, sw * w, sh * h)


def has_adapter(have: str, want: str) -> bool:
    return have == want or (have, want) in ADAPTERS


# (from, to): centre shift in box widths and heights, width and height factor. Measured by
# benchmarks/haar_adapter.py: medians over 220 pairs of boxes on the 6 persons of two photos with at least 10
# pairs each. On persons left out the cuts overlap YuNet's better (IoU 0.74 raw, 0.82 mapped), but the ages by
# morph2 do not come closer: 4.0 years apart on average raw, 4.3 mapped; Haar's own scatter remains, and
# YuNet's own is 2.7. Hence the warning with the fallback.
ADAPTERS: dict[tuple[str, str], tuple[float, float, float, float]] = {
    ("haar", "yunet"): (0.0, 0.019, 0.8, 1.061),
}


def _shrunk(picture: Picture, height: int, width: int) -> Picture:
    if (height, width) == picture.shape[:2]:
        return picture
    return cast(Picture, cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA))
