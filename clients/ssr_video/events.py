"""What is told of tracked people, frame by frame: the words between analysis and output."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ssr_bundle.crop import Box

Unknown = Literal["not asked yet", "too small", "poor view", "no server"]
"""Why a person has no age."""


@dataclass(frozen=True)
class TrackAge:
    """The age of a track as it stands: ``years``, the ends of its interval (None where the served model is
    not calibrated), the number of ``looks`` that were asked and how many independent ones they are worth."""

    years: float
    interval: tuple[float, float] | None
    looks: int
    effective_looks: float


@dataclass(frozen=True)
class Person:
    """A tracked person on one frame. ``box``: x, y, width, height in pixels, smoothed. ``seen``: whether a
    detector found the face on this very frame; otherwise the box is predicted. ``age`` is what is
    published at this frame's time, or None with the reason in ``unknown``. ``yaw``: degrees that the face
    is turned aside, where it is seen; ``look``: what the network said of this very frame, where it was
    asked."""

    track: int
    box: Box
    seen: bool
    age: TrackAge | None
    unknown: Unknown | None = None
    yaw: float | None = None
    look: float | None = None


@dataclass(frozen=True)
class TrackEvent:
    """``new`` when a track begins, ``update`` when its published age changes, ``end`` when it is over.

    ``frame`` and ``time`` are those of the frame that tells it; ``first`` and ``last`` (seconds) those of the
    first and the newest frame on which the face was found.
    """

    event: Literal["new", "update", "end"]
    frame: int
    time: float
    person: Person
    first: float
    last: float
    frames: int


@dataclass(frozen=True)
class Told:
    """What the analysis says of one frame: everybody who is tracked on it, and what happened."""

    people: tuple[Person, ...]
    events: tuple[TrackEvent, ...]


@dataclass
class Work:
    """What the analysis of a video has cost so far."""

    frames: int = 0
    tracks: int = 0
    searches: int = 0
    """Searches of the whole picture."""
    near_searches: int = 0
    """Searches around tracks alone."""
    face_frames: int = 0
    """Pairs of a frame and a person tracked on it: as many asks as asking for each would take."""
    asks: int = 0
    """Looks that were sent to the server."""
    crops: int = 0
    """What these looks sent: a look may be several crops of a face."""
    lost_asks: int = 0
    """Looks that no server answered."""
