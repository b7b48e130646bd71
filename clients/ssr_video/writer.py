"""What every output is: told of videos, their frames, and what was said of them, in order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from ssr_video.events import Told, TrackEvent
from ssr_video.frame import Frame
from ssr_video.reading import Reading
from ssr_video.summary import Summary


class Text(Protocol):
    """Takes text that is shown, or on its way to the disk, when ``write`` returns."""

    def write(self, text: str) -> None: ...


class Writer(Protocol):
    """Called by one thread at a time: ``begin``, ``frame`` ..., ``end`` for each video, then ``close`` once.

    What fails raises ``OSError`` or :class:`ssr_bundle.errors.SsrError`; nothing more is called then. The
    ``with`` around a writer decides whether its file appears.
    """

    def begin(self, reading: Reading, rate: float) -> None:
        """A video begins; ``reading`` grows while it lasts. ``rate``: its frames a second, about."""

    def frame(self, frame: Frame, told: Told) -> None: ...

    def end(self, told: Told) -> None:
        """The video is over; ``told`` ends the tracks that were left."""

    def close(self, summary: Summary) -> None: ...


class Measured:
    """A writer that hands each frame, and what was told of it, to ``measure``."""

    def __init__(self, measure: Callable[[Frame, Told], object]) -> None:
        self._measure = measure

    def begin(self, reading: Reading, rate: float) -> None:
        pass

    def frame(self, frame: Frame, told: Told) -> None:
        self._measure(frame, told)

    def end(self, told: Told) -> None:
        pass

    def close(self, summary: Summary) -> None:
        pass


@dataclass(frozen=True)
class Anchor:
    """A moment of stream time whose UTC may be known."""

    time: float
    utc: datetime | None

    def utc_at(self, time: float) -> datetime | None:
        """UTC of another moment of the same stream."""
        return None if self.utc is None else self.utc + timedelta(seconds=time - self.time)


def answer(event: TrackEvent, unit: str = "years") -> str:
    """``36.2 years (31.0 to 41.5), 9 looks``, or why there is none."""
    age = event.person.age
    if age is None:
        return f"age unknown: {event.person.unknown}"
    between = f" ({age.interval[0]:.1f} to {age.interval[1]:.1f})" if age.interval else ""
    return f"{age.years:.1f} {unit}{between}, {age.looks} look{'s' if age.looks != 1 else ''}"
