"""Clips that tests make, and an analysis that knows what is in them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ssr_bundle.crop import Box

av = pytest.importorskip("av")

from ssr_video.events import Person, Told, TrackAge, TrackEvent, Work  # noqa: E402
from ssr_video.frame import Frame  # noqa: E402

SIZE = (120, 160)
"""Height and width of a clip, unless it says otherwise."""


def pictures(count: int, size: tuple[int, int] = SIZE) -> list[NDArray[np.uint8]]:
    """BGR pictures of eight bars each, dark or bright: the bits of the frame's number."""
    return [_bars(index, size) for index in range(count)]


def _bars(number: int, size: tuple[int, int]) -> NDArray[np.uint8]:
    bits = np.array([40 + 160 * (number >> bit & 1) for bit in range(8)], np.uint8)
    row = bits[np.arange(size[1]) * 8 // size[1]]
    return np.broadcast_to(row[None, :, None], (*size, 3)).copy()


def number_in(image: NDArray[np.uint8]) -> int:
    """Which of :func:`pictures` this decoded one is."""
    bars = image.mean(axis=(0, 2))[(np.arange(8) * 2 + 1) * image.shape[1] // 16]
    return int(sum(int(level > 120) << bit for bit, level in enumerate(bars)))


def write_clip(
    path: Path,
    images: Iterable[NDArray[np.uint8]],
    codec: str = "libx264",
    rate: int = 25,
    pts: Sequence[int] | None = None,
    pixels: str = "yuv420p",
    metadata: dict[str, str] | None = None,
    muxer: dict[str, str] | None = None,
    **options: str,
) -> Path:
    """Write a clip; ``pts``: of each frame, in frames of ``rate``."""
    images = list(images)
    with av.open(os.fspath(path), "w", options=muxer) as container:
        container.metadata.update(metadata or {})
        stream = container.add_stream(codec, rate=rate, options=options)
        stream.pix_fmt = pixels
        stream.codec_context.time_base = Fraction(1, rate)
        stream.height, stream.width = images[0].shape[:2]
        for index, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="bgr24")
            frame.pts = index if pts is None else pts[index]
            frame.time_base = Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def person(track: int, box: Box, years: float | None = 36.4) -> Person:
    age = None if years is None else TrackAge(years, (years - 5, years + 5), 3, 1.5)
    return Person(track, box, True, age, None if years is not None else "too small")


class OnePerson:
    """An analysis that sees one person in ``box``, there from frame ``appears`` on, found ``late`` later."""

    def __init__(
        self,
        box: Box = (40.0, 30.0, 40.0, 50.0),
        appears: int = 2,
        late: int = 0,
        years: float | None = 36.4,
    ) -> None:
        self.work = Work()
        self.frames: list[Frame] = []
        self._box, self._appears, self._late, self._years = box, appears, late, years

    def advance(self, frame: Frame) -> Told:
        self.work.frames += 1
        self.frames.append(frame)
        found = self._appears + self._late
        if frame.index < found:
            return Told((), ())
        if frame.index == found:
            self.work.tracks += 1
            return Told((self._person,), (self._event("new"), self._event("update")))
        self.work.face_frames += 1
        return Told((self._person,), ())

    def finish(self) -> Told:
        return Told((), (self._event("end"),) if self.work.tracks else ())

    @property
    def _person(self) -> Person:
        return person(1, self._box, self._years)

    def _event(self, kind: Any) -> TrackEvent:
        now, first = self.frames[-1], self.frames[self._appears]
        frames = now.index - first.index + 1
        return TrackEvent(kind, now.index, now.time, self._person, first.time, now.time, frames)
