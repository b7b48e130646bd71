"""What a run has done: the last line of its JSON lines."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from ssr_video.events import Work
from ssr_video.reading import Reading


@dataclass
class Done:
    """What became of one video. ``dropped``: frames that were decoded and not analysed, because the run was
    stopped. ``error``: why it could not be read at all, or not to its end."""

    source: str
    reading: Reading | None = None
    work: Work = field(default_factory=Work)
    dropped: int = 0
    error: str | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            **(self.reading.to_json() if self.reading else {"source": self.source}),
            **asdict(self.work),
            "dropped": self.dropped,
            "error": self.error,
        }


@dataclass
class Summary:
    """All videos of a run. ``complete``: whether every one was read to its end. ``stopped_by``: the signal
    that ended it, if one did. ``seconds`` on the clock. ``model``: who answered."""

    done: list[Done] = field(default_factory=list)
    stopped_by: str | None = None
    seconds: float = 0.0
    model: dict[str, Any] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        return self.stopped_by is None and not any(done.error for done in self.done)

    @property
    def readings(self) -> list[Reading]:
        return [done.reading for done in self.done if done.reading]

    @property
    def duration(self) -> float:
        """Seconds of video that were read."""
        return sum(reading.duration for reading in self.readings)

    @property
    def speed(self) -> float:
        """Seconds of video a second."""
        return self.duration / self.seconds if self.seconds else 0.0

    def total(self, name: str) -> int:
        """The sum of a field of :class:`Work` over all videos."""
        return sum(getattr(done.work, name) for done in self.done)

    def to_json(self) -> dict[str, Any]:
        work = {name: self.total(name) for name in asdict(Work())}
        return {
            "event": "summary",
            "complete": self.complete,
            "stopped_by": self.stopped_by,
            **work,
            "dropped": sum(done.dropped for done in self.done),
            "unreadable": sum(reading.unreadable for reading in self.readings),
            "damaged": sum(reading.damaged for reading in self.readings),
            "duration": round(self.duration, 3),
            "seconds": round(self.seconds, 3),
            "speed": round(self.speed, 2),
            "model": self.model,
            "sources": [done.to_json() for done in self.done],
        }
