"""From frames to tracked people and their ages: when faces are searched, who is asked for, what is told."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ssr_bundle.detections import Detection
from ssr_bundle.errors import SsrError
from ssr_video import matching
from ssr_video.crops import SETS
from ssr_video.events import Person, Told, TrackEvent, Unknown, Work
from ssr_video.frame import Frame
from ssr_video.motion import NEAR
from ssr_video.scenes import Scenes
from ssr_video.service import AWAY, Service
from ssr_video.track import Track

MOST_TRACKS = 256
"""People followed at once, those included that may come back."""
CONFIRMED = 0.15
"""Seconds after which a face must be found still before it is a person: short finds are mostly none."""
STILL_NEAR = 0.15
"""Face sizes that a face may move between two searches around it."""
COARSE_FACE = 24.0
"""Pixels of a face in the coarse copy, below which its box is measured once more around it."""


@dataclass(frozen=True)
class Options:
    """How a video is analysed. Times in seconds, faces by the height of their box in pixels.

    ``budget``: asks for each pair of a frame and a person on it, at most, over the whole video; everybody's
    first ``start`` looks come before. ``crops``: of each look, 1 or 4 (:mod:`ssr_video.crops`). ``spacing``:
    between two looks at a person, at least. ``pays``: share by which a look must raise what is known of a
    person, to be asked. ``refresh``: an estimate older than this is asked again all the same. ``smallest``:
    smaller faces are tracked and not asked. ``least_quality``: nor are those seen worse
    (:class:`ssr_video.view.View`). ``first_age``: the first looks are spread over this time; after it an age
    is published, though they have not come together.

    ``period``: between two searches of the whole picture, in a copy of ``coarse`` pixels a side; larger
    pictures are searched at ``fine`` pixels as well, every ``fine_period``. ``memory``: so long a lost
    person may come back. ``lossy``: go on without a server that stays away, and count what it did not
    answer, where otherwise its error is raised.
    """

    budget: float = 0.1
    start: int = 3
    crops: int = 4
    spacing: float = 0.06
    pays: float = 0.02
    refresh: float = 10.0
    least: float = 16.0
    smallest: float = 40.0
    least_quality: float = 0.05
    first_age: float = 0.6
    period: float = 0.2
    coarse: int = 640
    fine: int = 1600
    fine_period: float = 2.0
    memory: float = 2.0
    lossy: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.budget <= 1:
            raise SsrError(f"budget: expected asks a frame above 0, at most 1, got {self.budget:g}")
        if self.crops not in SETS:
            raise SsrError(f"crops: expected {' or '.join(map(str, SETS))}, got {self.crops}")
        if self.start < 1:
            raise SsrError(f"start: expected at least one look, got {self.start}")
        if not 32 <= self.coarse <= self.fine <= 8192:
            raise SsrError(
                f"coarse, fine: expected longest sides in 32..8192 that rise, got {self.coarse}, {self.fine}"
            )
        for name in (
            "spacing",
            "pays",
            "refresh",
            "least",
            "smallest",
            "least_quality",
            "first_age",
            "period",
            "fine_period",
            "memory",
        ):
            if not 0 <= getattr(self, name) < math.inf:
                raise SsrError(f"{name}: expected a number of at least 0, got {getattr(self, name):g}")

    @classmethod
    def every_frame(cls) -> Options:
        """Everybody is searched and asked on every frame: what sparing options are compared with."""
        return cls(budget=1.0, pays=1e-9, spacing=0.0, first_age=0.0, period=0.0)


class People:
    """Fed with the frames of one video in their order. ``work``: what it has cost so far.

    Memory is bounded: :data:`MOST_TRACKS` people, :data:`ssr_video.looks.MOST` looks of each, one small
    picture.
    """

    def __init__(self, service: Service, options: Options = Options()) -> None:
        self.work = Work()
        self._service, self._options = service, options
        self._scenes = Scenes()
        self._tracks: list[Track] = []
        self._whole = self._near = self._fine = -math.inf
        self._frame: Frame | None = None
        self._events: list[TrackEvent] = []

    def advance(self, frame: Frame) -> Told:
        """What there is to tell of the next frame. Raises :class:`ssr_client.ClientError` where the server
        stays away (unless ``lossy``), or refuses."""
        self.work.frames += 1
        self._frame = frame
        change = self._scenes.see(frame.image)
        if change or not frame.follows:
            self._end(self._tracks)
            self._whole = self._near = self._fine = -math.inf
        if change != "black":
            for track in self._tracks:
                track.predict(frame.time)
            try:
                self._search(frame)
            except AWAY:
                if not self._options.lossy:
                    raise
            for track in self._tracks:
                if not track.number and track.last - track.first >= CONFIRMED:
                    self._confirm(track)
            self._ask(frame)
        self._forget(frame)
        people = [self._told_of(t) for t in self._tracks if t.number and self._present(t)]
        return Told(tuple(people), self._take_events())

    def finish(self) -> Told:
        """The video is over: every track ends."""
        self._end(self._tracks)
        return Told((), self._take_events())

    # -- where faces are -----------------------------------------------------------------------------

    def _search(self, frame: Frame) -> None:
        """Find faces, where it is time to: in the whole picture, or around the tracks alone."""
        now, options = frame.time, self._options
        current = [track for track in self._tracks if not track.lost]
        if now >= self._whole + options.period - 1e-6:
            longest, side = max(frame.image.shape[:2]), options.coarse
            if longest > side and now >= self._fine + options.fine_period:
                side, self._fine = options.fine, now
            self._whole = now
            self.work.searches += 1
            missed = self._assign(current, self._service.find(frame.image, side), now)
            scale = min(1.0, side / longest)
            small = [t for t in current if scale < 1 and t.motion.size * scale < COARSE_FACE]
            unsure = [t for t in current if t in missed or t in small]
        elif now >= self._near + self._near_period(current):
            unsure = current
        else:
            return
        self._near = now
        if unsure:
            self.work.near_searches += 1
            found = self._service.find_near(frame.image, [track.box for track in unsure])
            self._assign(unsure, found, now, near=True)
        for track in current:
            if track.last < now:
                track.missed += 1

    def _near_period(self, current: list[Track]) -> float:
        if any(not track.number for track in current):
            return 0.0
        fastest = max((track.motion.speed for track in current), default=0.0)
        return STILL_NEAR / max(fastest, 1e-6)

    def _assign(
        self, tracks: list[Track], found: list[Detection], now: float, near: bool = False
    ) -> list[Track]:
        """Give finds to tracks, and begin tracks with the strong ones that are left, unless they were
        searched ``near`` the tracks; the tracks without a find."""
        pairs = matching.match([t.box for t in tracks], [d.box for d in found], [d.score for d in found])
        for t, d in pairs:
            tracks[t].seen(found[d], now, NEAR if near else 1.0)
        if not near:
            taken, least = {d for _, d in pairs}, self._options.least
            left = [d for i, d in enumerate(found) if i not in taken]
            self._begin([d for d in left if d.score >= matching.STRONG and d.box[3] >= least], now)
        return [track for track in tracks if track.last < now]

    def _begin(self, found: list[Detection], now: float) -> None:
        """Take up tracks again, lost ones and those that jumped, with the finds that nobody has; the others
        begin tracks."""
        lost = [track for track in self._tracks if track.last < now]
        likeness = np.array([[matching.again(t.found_at, now - t.last, d.box) for d in found] for t in lost])
        pairs = matching.best_pairs(likeness.reshape(len(lost), len(found)), matching.LEAST_LIKENESS)
        for t, d in pairs:
            lost[t].again(found[d], now)
        taken = {d for _, d in pairs}
        self._tracks += [Track.begun(face, now) for i, face in enumerate(found) if i not in taken]

    # -- how old they are ----------------------------------------------------------------------------

    def _ask(self, frame: Frame) -> None:
        """Ask, in one request, for those of whom another look pays."""
        asked = self._worth_a_look(frame)
        if not asked:
            return
        boxes, points = [track.box for track in asked], [track.landmarks for track in asked]
        self.work.asks += len(asked)
        self.work.crops += len(asked) * self._options.crops
        try:
            answers = self._service.ask(frame.image, boxes, points, self._options.crops)
        except AWAY:
            if not self._options.lossy:
                raise
            self.work.lost_asks += len(asked)
            for track in asked:
                track.unanswered = True
            return
        for track, answer in zip(asked, answers, strict=True):
            track.looked(answer, frame.time)

    def _worth_a_look(self, frame: Frame) -> list[Track]:
        """Whom to ask for: everybody's first looks, then those of whom a look tells most, as the budget
        allows."""
        options = self._options
        gains = {track: self._gain(track, frame) for track in self._tracks}
        paying = sorted((t for t, gain in gains.items() if gain >= options.pays), key=lambda t: -gains[t])
        first = [track for track in paying if track.looks.count < options.start]
        later = [track for track in paying if track not in first]
        spent = self.work.asks + len(first)
        left = options.budget * (self.work.face_frames + len(gains)) - spent
        return first + later[: max(0, math.floor(left))]

    def _gain(self, track: Track, frame: Frame) -> float:
        """By how much a look would raise what is known of a person (:meth:`Looks.gain`); 0 where it cannot
        be."""
        options, now = self._options, frame.time
        if not track.number or track.last < now or not self._present(track):
            return 0.0
        if track.doubt(options.smallest, options.least_quality) is not None:
            return 0.0
        age = math.inf if not track.looks.kept else now - track.looks.kept[-1].time
        starts = track.looks.count < options.start
        if age < (max(options.spacing, options.first_age / options.start) if starts else options.spacing):
            return 0.0
        return math.inf if age >= options.refresh else track.looks.gain(now, track.view.quality)

    # -- what is told --------------------------------------------------------------------------------

    def _confirm(self, track: Track) -> None:
        """A second search found the face: the person is told of from here on."""
        self.work.tracks += 1
        track.number = self.work.tracks
        self._tell("new", track)

    def _told_of(self, track: Track) -> Person:
        """A person of this frame, after publishing what there is to publish."""
        track.frames += 1
        self.work.face_frames += 1
        options = self._options
        ready = (
            track.age is not None
            or track.looks.count >= options.start
            or (track.looks.count > 0 and track.motion.time >= track.looks.kept[0].time + options.first_age)
        )
        if ready and track.publish():
            self._tell("update", track)
        return self._person(track)

    def _person(self, track: Track) -> Person:
        options, frame = self._options, self._frame
        unknown: Unknown = track.doubt(options.smallest, options.least_quality) or "not asked yet"
        if track.unanswered:
            unknown = "no server"
        return track.person(unknown, frame is not None and track.last == frame.time)

    def _present(self, track: Track) -> bool:
        assert self._frame is not None
        return track.present(*self._frame.image.shape[:2])

    def _forget(self, frame: Frame) -> None:
        """End the tracks that stayed away too long; of too many, those that are away longest."""
        memory = self._options.memory
        over = [t for t in self._tracks if t.lost and (t.number == 0 or frame.time > t.last + memory)]
        kept = sorted((t for t in self._tracks if t not in over), key=lambda t: t.last)
        self._end(over + kept[: max(len(kept) - MOST_TRACKS, 0)])

    def _end(self, tracks: list[Track]) -> None:
        for track in list(tracks):
            self._tracks.remove(track)
            if track.number:
                track.age = track.estimate() or track.age
                self._tell("end", track)

    def _tell(self, event: Literal["new", "update", "end"], track: Track) -> None:
        assert self._frame is not None
        where = self._frame
        person = self._person(track)
        self._events.append(
            TrackEvent(event, where.index, where.time, person, track.first, track.last, track.frames)
        )

    def _take_events(self) -> tuple[TrackEvent, ...]:
        events, self._events = tuple(self._events), []
        return events
