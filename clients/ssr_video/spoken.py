"""A line on the terminal for every person, when the track is over."""

from __future__ import annotations

from ssr_bundle.shown import say
from ssr_video.captions import clock
from ssr_video.events import Told
from ssr_video.frame import Frame
from ssr_video.reading import Reading
from ssr_video.summary import Summary
from ssr_video.writer import answer


class Spoken:
    """Prints ``clip.mp4: person 3, 00:00:01.200 to 00:00:04.520: 36.2 years (31.0 to 41.5), 9 looks``."""

    def begin(self, reading: Reading, rate: float) -> None:
        self._source = reading.source

    def frame(self, frame: Frame, told: Told) -> None:
        self.end(told)

    def end(self, told: Told) -> None:
        for event in told.events:
            if event.event == "end":
                stretch = f"{clock(event.first)} to {clock(event.last)}"
                say(f"{self._source}: person {event.person.track}, {stretch}: {answer(event)}")

    def close(self, summary: Summary) -> None:
        pass
