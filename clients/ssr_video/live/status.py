"""What is known of a camera, and of a sink, at this moment: the words between the watch and who shows it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from ssr_bundle.crop import Box
from ssr_video.reading import utc_text

State = Literal["connecting", "live", "lost", "stopped"]
"""``connecting``: it is opened for the first time. ``live``: frames arrive. ``lost``: no frames arrive, and
it is opened again and again. ``stopped``: it is no longer watched."""

Cause = Literal["stale", "behind", "limit", "server away", "unreadable"]
"""Why a frame was not worked on. ``stale``: it had waited too long. ``behind``: decoding was late, and went
on at a key frame. ``limit``: the camera's limit of frames a second. ``server away``: no server answered.
``unreadable``: it could not be decoded."""


@dataclass(frozen=True)
class Present:
    """A person on the newest frame. ``box``: x, y, width, height as shares of the picture. ``age`` in years
    with its ``interval``, or None with the reason in ``unknown``. ``zones``: where the person stands."""

    track: int
    box: Box
    age: float | None
    interval: tuple[float, float] | None
    unknown: str | None
    zones: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "track": self.track,
            "box": [round(value, 4) for value in self.box],
            "age": None if self.age is None else round(self.age, 1),
            "interval": None if self.interval is None else [round(end, 1) for end in self.interval],
            "unknown": self.unknown,
            "zones": list(self.zones),
        }


@dataclass(frozen=True)
class Counts:
    """What a camera has cost and given since the watch began; each only grows. ``reconnections``: openings
    that succeeded after the first."""

    read: int = 0
    analysed: int = 0
    dropped: dict[Cause, int] = field(default_factory=dict)
    detections: int = 0
    tracks: int = 0
    asks: int = 0
    reconnections: int = 0


@dataclass(frozen=True)
class CameraStatus:
    """``address``: without credentials. ``since``: UTC of the last change of ``state``. ``why``: the reason
    of ``lost``, in words. ``next_try``: seconds until it is opened again, None while it is. ``rate``,
    ``analysed_rate``: frames a second, read and analysed, over the last seconds. ``latency``: seconds from a
    frame's arrival to what is told of it, median and 99th percentile of the last minute, or None.
    ``server``: why the server of the ages does not answer, or None.
    """

    name: str
    address: str
    state: State
    since: datetime
    why: str | None = None
    next_try: float | None = None
    width: int = 0
    height: int = 0
    codec: str | None = None
    rate: float = 0.0
    analysed_rate: float = 0.0
    latency: tuple[float, float] | None = None
    server: str | None = None
    counts: Counts = field(default_factory=Counts)
    people: tuple[Present, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "address": self.address,
            "state": self.state,
            "since": utc_text(self.since),
            "why": self.why,
            "next_try": None if self.next_try is None else round(self.next_try, 1),
            "width": self.width,
            "height": self.height,
            "codec": self.codec,
            "rate": round(self.rate, 1),
            "analysed_rate": round(self.analysed_rate, 1),
            "latency": None if self.latency is None else [round(value, 3) for value in self.latency],
            "server": self.server,
            "read": self.counts.read,
            "analysed": self.counts.analysed,
            "dropped": dict(self.counts.dropped),
            "detections": self.counts.detections,
            "tracks": self.counts.tracks,
            "asks": self.counts.asks,
            "reconnections": self.counts.reconnections,
            "people": [person.to_json() for person in self.people],
        }


@dataclass(frozen=True)
class SinkStatus:
    """``failing``: why events do not arrive where they should, or None. ``waiting``: events spooled on disk.
    ``delivered`` and ``lost``: events, since the watch began."""

    name: str
    failing: str | None = None
    waiting: int = 0
    delivered: int = 0
    lost: int = 0

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "failing": self.failing,
            "waiting": self.waiting,
            "delivered": self.delivered,
            "lost": self.lost,
        }
