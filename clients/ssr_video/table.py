"""CSV: one row a person, when the track is over."""

from __future__ import annotations

import csv
import io

from ssr_video.events import Told
from ssr_video.frame import Frame
from ssr_video.reading import Reading, utc_text
from ssr_video.summary import Summary
from ssr_video.writer import Anchor, Text

COLUMNS = (
    "source",
    "track",
    "first",
    "last",
    "first_utc",
    "last_utc",
    "frames",
    "age",
    "low",
    "high",
    "looks",
    "effective_looks",
    "unknown",
)


class Table:
    """Writes the header, then a row for every ``end``; its fields are those of the JSON lines."""

    def __init__(self, out: Text) -> None:
        self._out = out
        out.write(_row(COLUMNS))

    def begin(self, reading: Reading, rate: float) -> None:
        self._source = reading.source
        self._anchor = Anchor(0.0, reading.start)

    def frame(self, frame: Frame, told: Told) -> None:
        self._anchor = Anchor(frame.time, frame.utc)
        self.end(told)

    def end(self, told: Told) -> None:
        for event in told.events:
            if event.event != "end":
                continue
            age = event.person.age
            low, high = age.interval if age and age.interval else (None, None)
            moments = [self._anchor.utc_at(time) for time in (event.first, event.last)]
            self._out.write(
                _row([
                    self._source,
                    event.person.track,
                    f"{event.first:.3f}",
                    f"{event.last:.3f}",
                    *(moment and utc_text(moment) for moment in moments),
                    event.frames,
                    *(None if value is None else f"{value:.2f}" for value in (age and age.years, low, high)),
                    age.looks if age else 0,
                    f"{age.effective_looks:.2f}" if age else "0.00",
                    event.person.unknown,
                ])
            )  # fmt: skip

    def close(self, summary: Summary) -> None:
        pass


def _row(values: object) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)  # type: ignore[arg-type]
    return text.getvalue()
