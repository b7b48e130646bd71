"""What was read of a video, and what was not."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any


@dataclass
class Reading:
    """Counts of one file; they grow while it is read.

    ``frames``: pictures that came out. ``unreadable``: pictures that the file holds or declares and that did
    not. ``damaged``: of ``frames``, those whose decoder says that parts are made up. ``duration``: seconds
    from the first frame to the last; ``missing_seconds``: how much earlier than declared the file ends.
    ``width``, ``height``: of the first frame, upright; ``rotation``: by how many degrees to the right it was
    turned. ``start``: UTC of the first frame, from where ``start_from`` says.
    ``problems``: everything out of the ordinary, in words, with how often it was met.
    """

    source: str
    container: str
    codec: str
    width: int = 0
    height: int = 0
    rotation: int = 0
    frames: int = 0
    unreadable: int = 0
    damaged: int = 0
    duration: float = 0.0
    missing_seconds: float = 0.0
    start: datetime | None = None
    start_from: str | None = None
    problems: Counter[str] = field(default_factory=Counter)

    def to_json(self) -> dict[str, Any]:
        """For the summary; ``problems`` as words with how often."""
        fields = asdict(self)
        fields["duration"] = round(self.duration, 3)
        fields["missing_seconds"] = round(self.missing_seconds, 3)
        fields["start"] = None if self.start is None else utc_text(self.start)
        fields["problems"] = self.told()
        return fields

    def told(self) -> list[str]:
        """``problems``, each with its number where that is above one."""
        return [f"{what} ({number} times)" if number > 1 else what for what, number in self.problems.items()]


def utc_text(moment: datetime) -> str:
    """A moment in UTC to the millisecond, as ``2026-11-29T08:00:00.040Z``."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
