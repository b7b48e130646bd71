"""JSON lines: one object for everything that happens to a track, and the summary last."""

from __future__ import annotations

import json
from typing import Any

from ssr_video.events import Told, TrackEvent
from ssr_video.frame import Frame
from ssr_video.reading import Reading, utc_text
from ssr_video.summary import Summary
from ssr_video.writer import Anchor, Text

SCHEMA = 1
"""Goes up when a field is taken away or comes to mean something else; docs/video.md lists them. Fields may be
added without."""


class JsonLines:
    """Writes to ``out``, each line whole and at once, so that the file can be followed."""

    def __init__(self, out: Text) -> None:
        self._out = out

    def begin(self, reading: Reading, rate: float) -> None:
        self._source = reading.source
        self._anchor = Anchor(0.0, reading.start)

    def frame(self, frame: Frame, told: Told) -> None:
        self._anchor = Anchor(frame.time, frame.utc)
        self._write(told)

    def end(self, told: Told) -> None:
        self._write(told)

    def close(self, summary: Summary) -> None:
        self._out.write(_line(summary.to_json()))

    def _write(self, told: Told) -> None:
        if told.events:
            lines = [_line(event_json(self._source, event, self._anchor)) for event in told.events]
            self._out.write("".join(lines))


def event_json(source: str, event: TrackEvent, anchor: Anchor) -> dict[str, Any]:
    """The fields of ``new``, ``update`` and ``end``, see docs/video.md."""
    person, age = event.person, event.person.age
    utc = anchor.utc_at(event.time)
    return {
        "event": event.event,
        "source": source,
        "track": person.track,
        "frame": event.frame,
        "time": round(event.time, 3),
        "utc": utc and utc_text(utc),
        "first": round(event.first, 3),
        "last": round(event.last, 3),
        "frames": event.frames,
        "box": [round(value, 1) for value in person.box],
        "seen": person.seen,
        "age": age and round(age.years, 2),
        "interval": [round(end, 2) for end in age.interval] if age and age.interval else None,
        "looks": age.looks if age else 0,
        "effective_looks": round(age.effective_looks, 2) if age else 0.0,
        "unknown": person.unknown,
    }


def _line(fields: dict[str, Any]) -> str:
    return json.dumps({"schema": SCHEMA, **fields}, allow_nan=False) + "\n"
