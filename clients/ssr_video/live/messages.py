"""What a camera's process and the watch say to each other through their pipe."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ssr_video.live.source import Kind
from ssr_video.live.status import Cause, Present


@dataclass(frozen=True)
class Opened:
    """The first picture has been decoded, or the first of another size."""

    width: int
    height: int
    codec: str


@dataclass(frozen=True)
class Report:
    """What happened since the report before; a sign of life too. ``latencies``: seconds from the arrival of
    each analysed frame to what was told of it. ``server``: why the
    server of the ages does not answer, or None."""

    read: int
    analysed: int
    dropped: dict[Cause, int]
    detections: int
    tracks: int
    asks: int
    latencies: tuple[float, ...]
    people: tuple[Present, ...]
    server: str | None


@dataclass(frozen=True)
class Events:
    """What happened to tracks, as JSON has it."""

    events: list[dict[str, Any]]


@dataclass(frozen=True)
class Preview:
    """A small picture, faces blurred, with who is on it. ``time``: monotonic seconds of its arrival."""

    jpeg: bytes = field(repr=False)
    time: float
    utc: str
    people: tuple[Present, ...]


@dataclass(frozen=True)
class Lost:
    """The camera is lost; the process ends."""

    why: str
    kind: Kind


Said = Opened | Report | Events | Preview | Lost
"""From the process to the watch."""


@dataclass(frozen=True)
class Wanted:
    """Whether somebody looks at the camera's pictures."""

    pictures: bool


@dataclass(frozen=True)
class Finish:
    """End all tracks, and the process."""


Asked = Wanted | Finish
"""From the watch to the process."""
