"""One tracked person: where the face is, how it is seen, and which age is published."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from ssr_bundle.alignment import Points, is_line
from ssr_bundle.crop import Box
from ssr_bundle.detections import Detection, inside
from ssr_video import view
from ssr_video.events import Person, TrackAge, Unknown
from ssr_video.looks import Look, Looks
from ssr_video.motion import Motion
from ssr_video.service import Answer
from ssr_video.view import View

STEP = 1.0
"""Years, at least, that an estimate leaves the published age by before it is published: less is flicker."""
SURE = 2.0
"""Standard errors of the estimate, likewise: what chance may explain is no news."""
WIDTH_STEP = 0.1
"""Share that an interval must narrow or widen by before it is published."""
MISSES = 2
"""Searches in a row that do not find a face before it is lost."""

COAST = 1.0
"""Seconds that a box is predicted for without a search."""


@dataclass(eq=False)
class Track:
    """``number``: 0 until a second search confirms it. ``first``, ``last``: seconds at which the face was
    found first and last; ``frames``: on which the person was told of; ``missed``: searches since ``last``;
    ``asked``: what the look of the newest frame said, if there was one; ``judged``: looks that were weighed
    for what is published."""

    motion: Motion
    first: float
    last: float
    view: View
    landmarks: Points | None
    number: int = 0
    missed: int = 0
    frames: int = 0
    found_at: Box = (0.0, 0.0, 1.0, 1.0)
    looks: Looks = field(default_factory=Looks)
    asked: float | None = None
    age: TrackAge | None = None
    judged: int = 0
    unanswered: bool = False

    @classmethod
    def begun(cls, found: Detection, time: float) -> Track:
        return cls(Motion(found.box, time), time, time, _view(found), found.landmarks, found_at=found.box)

    @property
    def box(self) -> Box:
        """Smoothed, or predicted."""
        return self.motion.box

    @property
    def lost(self) -> bool:
        """Searches do not find the face any more, or there were none for long."""
        return self.missed >= (MISSES if self.number else 1) or self.motion.time - self.last > COAST

    def present(self, height: int, width: int) -> bool:
        """Whether the face is thought to be in the picture."""
        return not self.lost and bool(inside([Detection(self.box)], height, width))

    def predict(self, time: float) -> None:
        """Move on to the next frame."""
        self.asked = None
        if not self.lost:
            self.motion.predict(time)

    def seen(self, found: Detection, time: float, noise: float = 1.0) -> None:
        """A search found the face, its box as good as ``noise`` says (:meth:`Motion.correct`)."""
        self.motion.correct(found.box, noise)
        self.last, self.missed, self.found_at = time, 0, self.motion.box
        self.view, self.landmarks = _view(found), found.landmarks

    def again(self, found: Detection, time: float) -> None:
        """The face was lost, and is found elsewhere."""
        self.motion = Motion(found.box, time)
        self.seen(found, time)

    def looked(self, answer: Answer, time: float) -> None:
        """The network answered; ``answer.crop`` is what it saw."""
        interval = answer.interval
        half = None if interval is None else (interval[1] - interval[0]) / 2
        quality = replace(self.view, sharpness=view.sharpness(answer.crop)).quality
        self.looks.add(Look(time, answer.years, half, quality))
        self.asked, self.unanswered = answer.years, False

    def doubt(self, smallest: float, least_quality: float) -> Unknown | None:
        """Why the face cannot be asked for as it is seen now."""
        if self.view.size < smallest:
            return "too small"
        flat = self.landmarks is not None and is_line(self.landmarks)
        return "poor view" if flat or self.view.quality < least_quality else None

    def estimate(self) -> TrackAge | None:
        """The age that all looks together say; None before the first."""
        found = self.looks.estimate()
        if found is None:
            return None
        half = found.half_width
        ends = None if half is None else (max(found.years - half, 0.0), found.years + half)
        return TrackAge(found.years, ends, self.looks.count, found.effective)

    def publish(self) -> bool:
        """Publish what all looks say, if that differs from what is published by more than chance explains;
        whether it did."""
        if self.judged == self.looks.count:
            return False
        self.judged = self.looks.count
        found, estimate = self.looks.estimate(), self.estimate()
        if found is None or estimate is None:
            return False
        if self.age is not None:
            moved = abs(estimate.years - self.age.years) >= max(STEP, SURE * found.error)
            if not moved and not _resized(self.age.interval, estimate.interval):
                return False
            if not moved:
                estimate = _about(self.age.years, estimate)
        self.age = estimate
        return True

    def person(self, unknown: Unknown, seen: bool) -> Person:
        return Person(
            track=self.number,
            box=self.box,
            seen=seen,
            age=self.age,
            unknown=unknown if self.age is None else None,
            yaw=view.yaw(self.landmarks) if seen else None,
            look=self.asked,
        )


def _view(found: Detection) -> View:
    return View(found.box[3], view.yaw(found.landmarks), found.score)


def _resized(old: tuple[float, float] | None, new: tuple[float, float] | None) -> bool:
    """Whether an interval has another width, by more than :data:`WIDTH_STEP`."""
    if old is None or new is None:
        return old != new
    before, after = old[1] - old[0], new[1] - new[0]
    return abs(after - before) > WIDTH_STEP * before


def _about(years: float, estimate: TrackAge) -> TrackAge:
    """An estimate, its interval moved to ``years``."""
    ends = estimate.interval
    if ends is not None:
        shift = years - estimate.years
        ends = (max(ends[0] + shift, 0.0), ends[1] + shift)
    return replace(estimate, years=years, interval=ends)
