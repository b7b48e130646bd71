"""How many people of which age, and no cell so small that it tells of somebody."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ssr_bundle.errors import UsageError
from ssr_video.events import Told
from ssr_video.frame import Frame
from ssr_video.json_lines import SCHEMA
from ssr_video.reading import Reading
from ssr_video.summary import Summary
from ssr_video.writer import Text

BANDS = (0, 13, 18, 25, 35, 45, 55, 65)
"""Years at which bands begin; the last is open."""

SMALLEST = 5
"""People that a cell holds at least, to be shown."""

UNKNOWN = "unknown"


def bands_of(text: str) -> tuple[int, ...]:
    """The bands of ``0,18,65``; raises :class:`UsageError` unless they begin at 0 and rise."""
    try:
        bands = tuple(int(part) for part in text.split(","))
    except ValueError:
        bands = ()
    if not bands or bands[0] != 0 or list(bands) != sorted(set(bands)):
        raise UsageError(f"--bands: expected years that begin with 0 and rise, such as 0,18,65, got {text!r}")
    return bands


def names_of(bands: Sequence[int]) -> list[str]:
    """``0-12``, ..., ``65+`` and :data:`UNKNOWN`, of bands that begin at these years."""
    ends = [*(f"-{last - 1}" for last in bands[1:]), "+"]
    return [*(f"{first}{end}" for first, end in zip(bands, ends, strict=True)), UNKNOWN]


def band_of(years: float | None, bands: Sequence[int]) -> str:
    """The name of the band that an age falls into."""
    if years is None:
        return UNKNOWN
    return names_of(bands)[max(sum(first <= years for first in bands) - 1, 0)]


def suppressed(cells: Sequence[int], smallest: int) -> list[int | None]:
    """``cells`` without those from 1 to ``smallest`` - 1, nor further ones as long as what is left out could
    be told from the total: at least two are left out then, which hold ``smallest`` people together."""
    shown: list[int | None] = [None if 0 < cell < smallest else cell for cell in cells]
    while True:
        out = [cell for cell, seen in zip(cells, shown, strict=True) if seen is None]
        if not out or (len(out) > 1 and sum(out) >= smallest):
            return shown
        left = [index for index, seen in enumerate(shown) if seen]
        if not left:
            return shown
        shown[min(left, key=lambda index: cells[index])] = None


class Counts:
    """Counts each track once, in the band of the age that it ends with. Somebody who comes again later is a
    new track. Writes one JSON object at the end; no box, no time, no picture."""

    def __init__(self, out: Text, bands: Sequence[int] = BANDS, smallest: int = SMALLEST) -> None:
        self._out = out
        self._smallest = smallest
        self._bands = tuple(bands)
        self._cells = dict.fromkeys(names_of(bands), 0)

    def begin(self, reading: Reading, rate: float) -> None:
        pass

    def frame(self, frame: Frame, told: Told) -> None:
        self.end(told)

    def end(self, told: Told) -> None:
        for event in told.events:
            if event.event == "end":
                age = event.person.age
                self._cells[band_of(age.years if age else None, self._bands)] += 1

    def close(self, summary: Summary) -> None:
        self._out.write(json.dumps(self.to_json(), indent=2) + "\n")

    def to_json(self) -> dict[str, Any]:
        """``people`` by band, None for a suppressed cell; ``total``, None where it is itself too small."""
        total = sum(self._cells.values())
        shown = suppressed(list(self._cells.values()), self._smallest)
        return {
            "schema": SCHEMA,
            "people": dict(zip(self._cells, shown, strict=True)),
            "total": None if 0 < total < self._smallest else total,
            "smallest_cell": self._smallest,
        }
