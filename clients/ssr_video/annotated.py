"""The video again, with boxes and ages drawn into it, and faces blurred."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ssr_client.annotate import annotate
from ssr_client.faces import Face
from ssr_client.opencv import cv2

from ssr_bundle.crop import Box
from ssr_bundle.errors import UsageError
from ssr_bundle.regular import naming
from ssr_video.events import Person, Told
from ssr_video.frame import Frame
from ssr_video.libav import av
from ssr_video.part_file import PartFile
from ssr_video.reading import Reading
from ssr_video.summary import Summary

FORMATS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
"""Endings that are written, and libav's names of them."""

LOOK_BACK = 1.0
"""Seconds that a frame waits for faces that are found a little later, to be blurred in it too."""

HELD = 256 << 20
"""Bytes of frames that wait at most."""

GRAIN = 6
"""Cells a side that are left of a blurred face."""

_MARGIN, _MARGIN_BEFORE = 0.25, 0.75
"""Of a face's box on each side that is blurred with it; before the face was found, where it may have been."""

_TICKS = 90_000
"""A second in the written time base: every usual rate's frame is a whole number of ticks."""


def check_format(path: Path) -> None:
    """Raise :class:`UsageError` unless this ending can be written."""
    if path.suffix.lower() not in FORMATS:
        raise UsageError(f"{path}: expected a video to write, one of {', '.join(FORMATS)}")


def blur(image: NDArray[np.uint8], box: Box, margin: float = _MARGIN) -> None:
    """Leave :data:`GRAIN` by :data:`GRAIN` mean colours of the face in ``box`` of ``image``, in place."""
    x, y, w, h = box
    height, width = image.shape[:2]
    left, right = np.clip([x - margin * w, x + (1 + margin) * w], 0, width).round().astype(int)
    top, bottom = np.clip([y - margin * h, y + (1 + margin) * h], 0, height).round().astype(int)
    if left < right and top < bottom:
        face = image[top:bottom, left:right]
        small = cv2.resize(face, (GRAIN, GRAIN), interpolation=cv2.INTER_AREA)
        image[top:bottom, left:right] = cv2.resize(small, (right - left, bottom - top))


@dataclass
class _Waiting:
    frame: Frame
    people: tuple[Person, ...]
    before: list[Box] = field(default_factory=list)


class Annotated:
    """Writes the video that ``begin`` and ``frame`` tell of to ``path``; a context manager.

    H.264, or VP9 for ``.webm``; no sound. Each frame keeps its time. All frames have the size of the first,
    made even: others are scaled into it. Every box is blurred, also where the face is only predicted, unless
    ``show_faces``; and where a face is found, the frames of :data:`LOOK_BACK` before it. A face that nobody
    finds stays as it is.
    """

    def __init__(self, path: Path, show_faces: bool = False) -> None:
        self._file = PartFile(path, keep=False)
        self._show_faces = show_faces
        self._waiting: deque[_Waiting] = deque()
        self._stream: Any = None

    def __enter__(self) -> Annotated:
        self._file.__enter__()
        try:
            kind = FORMATS[self._file.path.suffix.lower()]
            self._container = av.open(self._file.stream, mode="w", format=kind)
        except BaseException as error:
            self._file.__exit__(type(error), error, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            try:
                with naming(self._file.path):
                    self._container.close()
            except BaseException as failed:
                self._file.__exit__(type(failed), failed, None)
                raise
        else:
            with suppress(OSError, av.FFmpegError):  # of what has failed already
                self._container.close()
        self._file.__exit__(kind, error, trace)

    def begin(self, reading: Reading, rate: float) -> None:
        self._rate = max(1, round(rate))

    def frame(self, frame: Frame, told: Told) -> None:
        if not frame.follows:
            self._drain()
        if not self._show_faces:
            for event in told.events:
                if event.event == "new":
                    for waiting in self._waiting:
                        waiting.before.append(event.person.box)
        self._waiting.append(_Waiting(frame, told.people))
        room = HELD // max(1, frame.image.nbytes)
        while self._waiting and (
            self._show_faces
            or len(self._waiting) > room
            or frame.time - self._waiting[0].frame.time > LOOK_BACK
        ):
            self._draw(self._waiting.popleft())

    def end(self, told: Told) -> None:
        self._drain()
        if self._stream is not None:
            self._encode(None)

    def close(self, summary: Summary) -> None:
        pass

    def _drain(self) -> None:
        while self._waiting:
            self._draw(self._waiting.popleft())

    def _draw(self, waiting: _Waiting) -> None:
        image = waiting.frame.image.copy()
        if not self._show_faces:
            for person in waiting.people:
                blur(image, person.box)
            for box in waiting.before:
                blur(image, box, _MARGIN_BEFORE)
        image = annotate(image, [_face(person) for person in waiting.people])
        if self._stream is None:
            self._stream = self._new_stream(*image.shape[:2])
        picture = av.VideoFrame.from_ndarray(self._fitted(image), format="bgr24")
        picture.pts = round(waiting.frame.time * _TICKS)
        picture.time_base = Fraction(1, _TICKS)
        self._encode(picture)

    def _encode(self, picture: Any) -> None:
        with naming(self._file.path):
            for packet in self._stream.encode(picture):
                self._container.mux(packet)

    def _new_stream(self, height: int, width: int) -> Any:
        web = self._file.path.suffix.lower() == ".webm"
        speed = {"deadline": "realtime", "cpu-used": "6", "b": "0"} if web else {"preset": "veryfast"}
        stream = self._container.add_stream(
            "libvpx-vp9" if web else "libx264",
            rate=self._rate,
            options={"crf": "30" if web else "21", **speed},
        )
        stream.width, stream.height = width + width % 2, height + height % 2
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = stream.time_base = Fraction(1, _TICKS)
        return stream

    def _fitted(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """``image`` in the size of the stream: as it is, and black or its own edge around it."""
        height, width = image.shape[:2]
        if (height + height % 2, width + width % 2) != (self._stream.height, self._stream.width):
            scale = min(self._stream.height / height, self._stream.width / width)
            size = (max(1, int(width * scale)), max(1, int(height * scale)))
            image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
        below, right = self._stream.height - image.shape[0], self._stream.width - image.shape[1]
        edge = cv2.BORDER_REPLICATE if max(below, right) <= 1 else cv2.BORDER_CONSTANT
        return np.asarray(cv2.copyMakeBorder(image, 0, below, 0, right, edge), np.uint8)


def _face(person: Person) -> Face:
    years, interval = (person.age.years, person.age.interval) if person.age else (None, None)
    return Face(person.box, None, years, interval, track_id=person.track)
