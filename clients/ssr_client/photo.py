"""From a photo to faces: what both clients do before and after they ask the server."""

from __future__ import annotations

import threading
import warnings
from typing import Any

from ssr_bundle.contract import Interface
from ssr_client import detectors
from ssr_client.detectors import BoxConventionWarning, Detector
from ssr_client.faces import Box, Detection, Face
from ssr_client.preprocess import Picture, crop_faces, in_colour
from ssr_client.served import Arrays


class Finder:
    """Finds faces with a detector that is opened on first use, and cuts them as an interface says."""

    def __init__(self, detector: Detector | str) -> None:
        if isinstance(detector, str):
            detectors.check_name(detector)
        self._given = detector
        self._opened: Detector | None = None if isinstance(detector, str) else detector
        self._warned: set[str] = set()
        self._lock = threading.Lock()

    @property
    def detector(self) -> Detector:
        with self._lock:
            if self._opened is None:
                self._opened = detectors.open_detector(str(self._given))
            return self._opened

    def find(self, picture: Picture) -> list[Detection]:
        return detectors.left_to_right(detectors.inside(list(self.detector.detect(picture)), picture))

    def cut(
        self, picture: Picture, found: list[Detection], interface: Interface
    ) -> tuple[list[Box], Picture]:
        """Boxes in the contract's convention, and the crops (M, 64, 64, 3) in its colour order."""
        have, want = self.detector.box_convention, interface.crop.box
        if found and not detectors.has_adapter(have, want) and want not in self._warned:
            self._warned.add(want)
            warnings.warn(
                f"the detector's boxes are {have!r}, the network learned from {want!r} boxes and nothing "
                "maps them: answers may be off by years",
                BoxConventionWarning,
                stacklevel=4,
            )
        boxes = [detectors.to_convention(d.box, have, want) for d in found]
        crops = crop_faces(picture, boxes, interface.crop)
        return boxes, in_colour(crops, "bgr", interface.input.colour)


def faces_of(found: list[Detection], boxes: list[Box], answer: Arrays, interface: Interface) -> list[Face]:
    """Detections and the served arrays as faces, in the detections' order."""
    name = interface.output.name
    interval: Any = answer.get(f"{name}_interval")
    faces = []
    for i, (detection, box) in enumerate(zip(found, boxes, strict=True)):
        value = float(answer[name][i])
        faces.append(
            Face(
                box=box,
                landmarks=detection.landmarks,
                age=value if name == "age" else None,
                interval=None if interval is None else (float(interval[i][0]), float(interval[i][1])),
                attributes={} if name == "age" else {name: value},
            )
        )
    return faces
