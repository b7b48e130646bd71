"""From a photo to crops: what both clients do before they ask the server."""

from __future__ import annotations

import threading
import warnings
from typing import Any

from ssr_bundle.contract import Interface
from ssr_bundle.crop import Box
from ssr_bundle.detections import inside, left_to_right
from ssr_client import detectors
from ssr_client.crops import Picture, in_colour
from ssr_client.detectors import BoxConventionWarning
from ssr_client.errors import BadInput
from ssr_client.faces import Detection, Detector, check_detector
from ssr_client.preprocess import as_bgr, crop_faces


class Finder:
    """Finds faces with a detector that is opened on first use, and cuts them as an interface says."""

    def __init__(self, detector: Detector | str) -> None:
        if isinstance(detector, str):
            check_detector(detector)
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
        return left_to_right(inside(self.detector.detect(picture), *picture.shape[:2]))

    def find_in(self, image: Any, colour: str) -> tuple[Picture, list[Detection]]:
        """Whatever :func:`ssr_client.preprocess.as_bgr` takes, as it gives it, and the faces in it."""
        picture = as_bgr(image, colour)
        return picture, self.find(picture)

    def cut(
        self, picture: Picture, found: list[Detection], interface: Interface
    ) -> tuple[list[Box], Picture]:
        """Boxes in the contract's convention, and the crops (M, 64, 64, 3) in its colour order."""
        boxes = self.boxes(found, interface)
        crops = crop_faces(picture, boxes, interface.crop, landmarks=[face.landmarks for face in found])
        return boxes, in_colour(crops, "bgr", interface.input.colour)

    def boxes(self, found: list[Detection], interface: Interface) -> list[Box]:
        """Boxes in the contract's convention; raises :class:`BadInput` where it aligns by landmarks and the
        detector gives none, and warns once where nothing maps what it gives."""
        have, want = self.detector.box_convention, interface.crop.box
        aligned = interface.crop.template is not None
        if aligned and any(face.landmarks is None for face in found):
            raise BadInput(
                f"the network wants faces aligned by five landmarks as {want} gives them, and the detector "
                f"({have}) gives none: use detector 'yunet', or one of your own with landmarks"
            )
        mapped = have == want if aligned else detectors.has_adapter(have, want)
        if found and not mapped and want not in self._warned:
            self._warned.add(want)
            what = "landmarks" if aligned else "boxes"
            warnings.warn(
                f"the detector's {what} are {have!r}, the network learned from {want!r} {what} and nothing "
                "maps them: answers may be off by years",
                BoxConventionWarning,
                stacklevel=8,  # who called predict_photo
            )
        return [detectors.to_convention(face.box, have, want) for face in found]
