"""Small pictures of a camera for the page: faces blurred, also those found a little later."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from ssr_client.opencv import cv2

from ssr_bundle.crop import Box
from ssr_video.annotated import blur
from ssr_video.live.messages import Preview
from ssr_video.live.status import Present

WIDTH = 640
"""Pixels of a preview, at most."""
PERIOD = 0.2
"""Seconds between two previews."""
LOOK_BACK = 0.6
"""Seconds that a preview waits for faces that are found in the frames after it: longer than it takes until a
new face is a person."""
QUALITY = 75
"""Of JPEG."""

_AROUND, _AROUND_BEFORE = 0.25, 0.75
"""Of a face's box that is blurred on each side with it; before it was found, where it may have been."""


@dataclass
class _Held:
    time: float
    utc: str
    image: NDArray[np.uint8]
    people: tuple[Present, ...]
    before: list[Box] = field(default_factory=list)


class Previews:
    """Takes frames with the people on them, gives pictures that may be shown."""

    def __init__(self, show_faces: bool) -> None:
        self._show_faces = show_faces
        self._held: deque[_Held] = deque()
        self._last = -PERIOD

    def add(
        self,
        image: NDArray[np.uint8],
        time: float,
        utc: str,
        people: tuple[Present, ...],
        found: Sequence[Box],
    ) -> None:
        """A frame (H, W, 3), BGR, and who is on it. ``found``: boxes, in shares of the picture, of people
        who are new on it. Kept is a small copy, and that of a few frames alone."""
        for held in self._held:
            held.before += found
        if time - self._last < PERIOD:
            return
        self._last = time
        scale = min(1.0, WIDTH / image.shape[1])
        size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
        small = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
        self._held.append(_Held(time, utc, small, people))

    def clear(self) -> None:
        """Nobody looks: forget what is held."""
        self._held.clear()

    def ready(self, time: float) -> list[Preview]:
        """Those that have waited long enough."""
        wait = 0.0 if self._show_faces else LOOK_BACK
        made = []
        while self._held and time - self._held[0].time >= wait:
            made.append(self._drawn(self._held.popleft()))
        return made

    def _drawn(self, held: _Held) -> Preview:
        if not self._show_faces:
            size = (held.image.shape[1], held.image.shape[0]) * 2
            for person in held.people:
                blur(held.image, _pixels(person.box, size), _AROUND)
            for box in held.before:
                blur(held.image, _pixels(box, size), _AROUND_BEFORE)
        written, jpeg = cv2.imencode(".jpg", held.image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
        assert written
        return Preview(jpeg.tobytes(), held.time, held.utc, held.people)


def _pixels(box: Box, size: tuple[int, ...]) -> Box:
    x, y, w, h = (share * side for share, side in zip(box, size, strict=True))
    return x, y, w, h
