"""WebVTT: who is to be seen, and how old, as captions of the video."""

from __future__ import annotations

from ssr_video.events import Person, Told
from ssr_video.frame import Frame
from ssr_video.reading import Reading
from ssr_video.summary import Summary
from ssr_video.writer import Text


class Captions:
    """One cue for every stretch in which the same people have the same ages, in whole years."""

    def __init__(self, out: Text) -> None:
        self._out = out
        self._shown: tuple[str, ...] = ()
        self._since = self._now = 0.0

    def begin(self, reading: Reading, rate: float) -> None:
        self._step = 1 / rate
        self._out.write("WEBVTT\n\n")

    def frame(self, frame: Frame, told: Told) -> None:
        lines = tuple(line(person) for person in sorted(told.people, key=lambda person: person.track))
        if lines != self._shown:
            self._cue(frame.time)
            self._shown, self._since = lines, frame.time
        self._now = frame.time

    def end(self, told: Told) -> None:
        self._cue(self._now + self._step)

    def close(self, summary: Summary) -> None:
        pass

    def _cue(self, until: float) -> None:
        if self._shown:
            text = "\n".join(self._shown)
            self._out.write(f"{clock(self._since)} --> {clock(until)}\n{text}\n\n")


def line(person: Person) -> str:
    """``person 3: 36 (31 to 42)``."""
    return f"person {person.track}: {label(person)}"


def label(person: Person) -> str:
    """``36 (31 to 42)``, ``36``, or ``?``."""
    if person.age is None:
        return "?"
    if person.age.interval is None:
        return f"{person.age.years:.0f}"
    low, high = person.age.interval
    return f"{person.age.years:.0f} ({low:.0f} to {high:.0f})"


def clock(seconds: float) -> str:
    """``01:02:03.040``."""
    milliseconds = round(1000 * seconds)
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{rest // 1000:02}.{rest % 1000:03}"
