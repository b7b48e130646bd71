"""The served models as a video needs them: faces found, ages asked, and a server that may be away for a
while."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from ssr_client import (
    AgeClient,
    BadInput,
    DeadlineExceeded,
    InterfaceChanged,
    ModelNotFound,
    ServerUnavailable,
)
from ssr_client.crops import Picture
from ssr_client.faces import Detector
from ssr_client.opencv import cv2
from ssr_client.photo import Finder

from ssr_bundle.alignment import Points
from ssr_bundle.crop import Box
from ssr_bundle.detections import Detection, sizes_searched, suppress
from ssr_bundle.errors import SsrError
from ssr_video.crops import crops_of_looks
from ssr_video.mosaic import found_in, mosaic

T = TypeVar("T")

AWAY = (ServerUnavailable, DeadlineExceeded, ModelNotFound)
"""What a server says, or does not, that stops and starts again."""
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
"""Seconds between two tries; each pause is twice the one before."""
LEAST_SCORE = 0.4
"""Of a detection: below YuNet's usual threshold, so that a face that turns away is followed."""

SAME = 0.4
"""Intersection over union from which on what two tiles show is one face."""


@dataclass(frozen=True)
class Answer:
    """What the network says of one face: ``years``, its ``interval`` where the model is calibrated, each
    the mean over the crops, and one ``crop`` (64, 64, 3), BGR, of those that it saw."""

    years: float
    interval: tuple[float, float] | None
    crop: Picture


class Service:
    """An open connection to the served models; a context manager. One thread at a time.

    **Faces** are found by the model ``NAME-frame`` where it is served, else by ``ssr_client``'s own YuNet:
    ``detector`` says which. **A server that is away** is asked again, with pauses that grow to
    ``LONGEST_PAUSE``, for ``patience`` seconds; then what it said last is raised. What is asked is never
    dropped meanwhile: the caller waits.
    """

    def __init__(
        self,
        client: AgeClient,
        detector: Detector | None,
        patience: float,
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
        waits: Callable[[str], None],
    ) -> None:
        self._client, self._patience = client, patience
        self._own = None if detector is None else Finder(detector)
        self._clock, self._sleep, self._waits = clock, sleep, waits

    @classmethod
    def open(
        cls,
        client: AgeClient,
        patience: float = 60.0,
        *,
        detector: Detector | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        waits: Callable[[str], None] = lambda why: None,
    ) -> Service:
        """Open ``client``, which this closes again, and learn how faces can be found.

        ``patience``: seconds that a server may be away in the middle; at the start the client's own
        ``wait`` holds. ``detector``: whom to ask instead of the frame model. ``waits`` is told why, once
        each time. Raises :class:`ssr_client.ClientError` where the client cannot be opened,
        :class:`SsrError` where the model's answer is no age, or nobody can find faces: no frame model, and
        no YuNet here (pip's extra ``photo``, and its file).
        """
        try:
            client.open()
            if client.interface.output.name != "age":
                answer = client.interface.output.name
                raise SsrError(f"{client.url}: model {client.model!r} answers {answer!r}, expected ages")
            if detector is None and not _takes_frames(client):
                detector = _yunet()
        except BaseException:
            client.close()
            raise
        return cls(client, detector, patience, clock=clock, sleep=sleep, waits=waits)

    def __enter__(self) -> Service:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._client.close()

    @property
    def detector(self) -> str:
        """Who finds faces."""
        if self._own is None:
            return f"{self._client.model}-frame, served"
        return (
            f"{getattr(self._own.detector, 'name', 'own')}, {getattr(self._own.detector, 'runtime', 'own')}"
        )

    @property
    def client(self) -> AgeClient:
        return self._client

    def find(self, image: Picture, longest: int) -> list[Detection]:
        """Faces in an upright BGR picture (H, W, 3), left to right, in its pixels and in the convention of
        the served crop; weak ones too (``LEAST_SCORE``). Searched is a copy of at most ``longest`` pixels
        a side.
        """
        height, width = image.shape[:2]
        sizes = list(sizes_searched(height, width, [longest]))
        if not sizes:  # too narrow for a face
            return []
        rows, columns = sizes[0]
        small = image
        if (rows, columns) != (height, width):
            small = np.asarray(cv2.resize(image, (columns, rows), interpolation=cv2.INTER_AREA), np.uint8)
        found = self._find_own(small) if self._own else self._patiently(lambda: self._find_served(small))
        return [_scaled(face, width / columns, height / rows) for face in found]

    def find_near(self, image: Picture, boxes: Sequence[Box]) -> list[Detection]:
        """Faces near the ``boxes`` of a picture, in one search of a small picture
        (:mod:`ssr_video.mosaic`)."""
        picture, tiles = mosaic(image, boxes)
        found = self.find(picture, max(picture.shape[:2]))
        return suppress(found_in(tiles, found), SAME)

    def ask(
        self,
        image: Picture,
        boxes: Sequence[Box],
        landmarks: Sequence[Points | None] | None = None,
        crops: int = 1,
    ) -> list[Answer]:
        """The ages of the faces in ``boxes`` of an upright BGR picture, in one request.

        They are cut as the served contract says, from the picture as it is, ``crops`` times each
        (:mod:`ssr_video.crops`); ``landmarks`` are needed where it aligns faces. A model that is exchanged
        meanwhile for one of another crop gets crops of its own.
        """
        if not boxes:
            return []
        points = [None] * len(boxes) if landmarks is None else landmarks
        return self._patiently(lambda: self._ask(image, boxes, points, crops))

    def _ask(
        self, image: Picture, boxes: Sequence[Box], landmarks: Sequence[Points | None], crops: int
    ) -> list[Answer]:
        while True:
            interface = self._client.interface
            cut = crops_of_looks(image, boxes, landmarks, interface.crop, crops)
            try:
                answer = self._client.predict_full(cut.reshape(-1, *cut.shape[2:]), colour="bgr")
                break
            except InterfaceChanged:
                if self._client.interface == interface:
                    raise
        name = interface.output.name
        years = answer[name].reshape(len(boxes), crops).mean(axis=1).tolist()
        ends: list[tuple[float, float] | None] = [None] * len(boxes)
        if f"{name}_interval" in answer:
            means = answer[f"{name}_interval"].reshape(len(boxes), crops, 2).mean(axis=1)
            ends = [(low, high) for low, high in means.tolist()]
        return [Answer(y, e, c[0]) for y, e, c in zip(years, ends, cut, strict=True)]

    def _find_served(self, small: Picture) -> list[Detection]:
        faces = self._client.predict_frame(small, scales=[_scale_of(small)], threshold=LEAST_SCORE)
        return [Detection(face.box, face.score, face.landmarks) for face in faces]

    def _find_own(self, small: Picture) -> list[Detection]:
        assert self._own is not None
        found = self._own.find(small)
        boxes = self._own.boxes(found, self._client.interface)
        return [replace(face, box=box) for face, box in zip(found, boxes, strict=True)]

    def _patiently(self, ask: Callable[[], T]) -> T:
        """What ``ask`` gives, asked again while the server is away."""
        end, pause = self._clock() + self._patience, FIRST_PAUSE
        while True:
            try:
                return ask()
            except AWAY as error:
                left = end - self._clock()
                if left <= 0:
                    raise
                if pause == FIRST_PAUSE:
                    self._waits(str(error))
                self._sleep(min(pause, left))
                pause = min(2 * pause, LONGEST_PAUSE)


def _takes_frames(client: AgeClient) -> bool:
    """Whether the frame model is served, and with a detector."""
    try:
        client.predict_frame(np.zeros((8, 8, 3), np.uint8))
    except (ModelNotFound, BadInput):
        return False
    return True


def _yunet() -> Detector:
    from ssr_client.detectors import YuNet

    return YuNet(threshold=LEAST_SCORE)


def _scale_of(picture: Picture) -> int:
    """The scale at which a server searches a picture as it is."""
    return max(32, len(picture), len(picture[0]))


def _scaled(face: Detection, sx: float, sy: float) -> Detection:
    if (sx, sy) == (1.0, 1.0):
        return face
    x, y, w, h = face.box
    points = face.landmarks and tuple((px * sx, py * sy) for px, py in face.landmarks)
    return replace(face, box=(x * sx, y * sy, w * sx, h * sy), landmarks=points)
