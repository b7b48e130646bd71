"""How steady the published ages of a video are, and what they cost: computed from what was told at each
frame's time, with no looking ahead."""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssr_bundle.crop import Box
from ssr_bundle.errors import SsrError
from ssr_bundle.report import markdown
from ssr_video.events import Person, Told
from ssr_video.frame import Frame
from ssr_video.matching import best_pairs, overlaps

LEAST_FRAMES = 20
"""Frames with an age, or looks, of a track before its noise is computed."""
LARGE = 50.0
"""Pixels of a face's height from which on it is large."""
YAWS = (0, 15, 30, 45, 90)
"""Edges of the groups by yaw, in degrees to either side."""
SAME = 0.5
"""Intersection over union from which on a told box is a true one."""

Truth = dict[int, dict[str, Box]]
"""By the frame's index: where each person's face is."""


@dataclass(frozen=True)
class Noise:
    """Video noise in years: the mean absolute deviation of one track's ages about their mean, as NIST's
    FATE defines it for a person's frontal estimates in a clip; here of all estimates, and the mean over
    ``tracks``. None where no track is long enough."""

    years: float | None
    tracks: int

    @classmethod
    def of(cls, tracks: list[list[float]]) -> Noise:
        long = [deviation(ages) for ages in tracks if len(ages) >= LEAST_FRAMES]
        return cls(float(np.mean(long)) if long else None, len(long))


@dataclass(frozen=True)
class ByYaw:
    """Looks at faces turned aside by ``low`` to ``high`` degrees: how many, and the mean absolute
    deviation of what they said about the mean of their track's looks, in years; None without looks."""

    low: int
    high: int
    looks: int
    years: float | None


@dataclass(frozen=True)
class Report:
    """``published`` and ``published_large`` (faces of ``LARGE`` pixels and more): noise of what was
    published; ``looks`` and ``looks_large``: of what the network said of single frames, where it was asked
    on enough of them. ``flickers``: changes of a published age, in whole years as shown, a minute of a
    person's presence. ``first_age``: longest time from the first face of ``LARGE`` pixels to the track's
    first age, in seconds. ``switches``: how often the track of a true person became another; None without
    a truth. ``saved``: share of the face-frames that were not asked for."""

    frames: int
    tracks: int
    published: Noise
    published_large: Noise
    looks: Noise
    looks_large: Noise
    by_yaw: tuple[ByYaw, ...]
    flickers: float | None
    first_age: float | None
    without_age: int
    face_frames: int
    asks: int
    asks_a_second: float | None
    saved: float | None
    switches: int | None = None
    true_faces: int | None = None
    true_found: int | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def text(self) -> str:
        """As two Markdown tables."""
        rows = [
            ["frames, tracks", f"{self.frames}, {self.tracks}"],
            ["video noise of published ages, years", _noise(self.published)],
            [f"... of faces of {LARGE:g} pixels and more", _noise(self.published_large)],
            ["video noise of single looks, years", _noise(self.looks)],
            [f"... of faces of {LARGE:g} pixels and more", _noise(self.looks_large)],
            ["flickers a minute", _number(self.flickers)],
            [
                f"first age after the first face of {LARGE:g} pixels, at most, seconds",
                _number(self.first_age),
            ],
            ["tracks with such a face and no age", f"{self.without_age}"],
            [
                "face-frames, asks, asks a second",
                f"{self.face_frames}, {self.asks}, {_number(self.asks_a_second)}",
            ],
            ["asks saved", "-" if self.saved is None else f"{100 * self.saved:.1f} %"],
        ]
        if self.switches is not None:
            rows.append(
                ["true faces, found, switches", f"{self.true_faces}, {self.true_found}, {self.switches}"]
            )
        turned = [[f"{g.low} to {g.high}", f"{g.looks}", _number(g.years)] for g in self.by_yaw]
        yaw = markdown(("yaw, degrees", "looks", "noise, years"), turned, numbers=True)
        return markdown(("", "measured"), rows, numbers=True) + "\n\n" + yaw


@dataclass
class _Track:
    times: list[float] = field(default_factory=list)
    ages: list[float] = field(default_factory=list)
    ends: list[tuple[float, float]] = field(default_factory=list)
    large: list[bool] = field(default_factory=list)
    looks: list[tuple[float, float, bool, float | None]] = field(default_factory=list)
    """Time, years, whether the face was large, yaw."""
    begun: float | None = None
    """When the face was large first."""
    first_age: float | None = None
    """How long after that an age was published; 0 if before."""
    frames: int = 0
    seconds: float = 0.0


class Evaluation:
    """Fed with every frame and what was told of it. Keeps some numbers for each frame of each person."""

    def __init__(self, truth: Truth | None = None) -> None:
        self._truth = truth
        self._tracks: defaultdict[int, _Track] = defaultdict(_Track)
        self._frames = 0
        self._time: float | None = None
        self._seconds = 0.0
        self._last: dict[str, int] = {}
        self._switches = self._faces = self._found = 0

    def add(self, frame: Frame, told: Told) -> None:
        """The next frame, and what :meth:`ssr_video.people.People.advance` said of it."""
        self._frames += 1
        passed = 0.0 if self._time is None else max(frame.time - self._time, 0.0)
        self._time = frame.time
        self._seconds += passed
        for person in told.people:
            self._person(frame.time, passed, person)
        if self._truth is not None:
            self._compare(self._truth.get(frame.index, {}), told.people)

    def report(self) -> Report:
        tracks = list(self._tracks.values())
        asks, faces = sum(len(t.looks) for t in tracks), sum(t.frames for t in tracks)
        minutes = sum(t.seconds for t in tracks) / 60
        changes = sum(round(a) != round(b) for t in tracks for a, b in pairwise(t.ages))
        large = [t for t in tracks if t.begun is not None]
        waits = [t.first_age for t in large if t.first_age is not None]
        truth = self._truth is not None
        return Report(
            frames=self._frames,
            tracks=len(tracks),
            published=Noise.of([t.ages for t in tracks]),
            published_large=Noise.of(
                [[a for a, big in zip(t.ages, t.large, strict=True) if big] for t in tracks]
            ),
            looks=Noise.of([[years for _, years, _, _ in t.looks] for t in tracks]),
            looks_large=Noise.of([[years for _, years, big, _ in t.looks if big] for t in tracks]),
            by_yaw=_by_yaw(tracks),
            flickers=changes / minutes if minutes else None,
            first_age=max(waits, default=None),
            without_age=len(large) - len(waits),
            face_frames=faces,
            asks=asks,
            asks_a_second=asks / self._seconds if self._seconds else None,
            saved=1 - asks / faces if faces else None,
            switches=self._switches if truth else None,
            true_faces=self._faces if truth else None,
            true_found=self._found if truth else None,
        )

    def picture(self, path: str | Path) -> None:
        """Draw each track's published age over time with its interval, and its looks as dots.

        Raises :class:`SsrError` where matplotlib is not installed, or cannot write such a file.
        """
        try:
            from matplotlib.figure import Figure
        except ImportError as error:
            raise SsrError(f"{path}: pictures need matplotlib: pip install matplotlib ({error})") from None
        figure = Figure(figsize=(9, 4.5), layout="constrained")
        axes = figure.subplots()
        told = {number: track for number, track in self._tracks.items() if track.ages}
        for number, track in told.items():
            times = track.times[-len(track.ages) :]
            (line,) = axes.step(times, track.ages, where="post", linewidth=2, label=f"person {number}")
            if track.ends:
                low, high = np.array(track.ends).T
                axes.fill_between(
                    times, low, high, step="post", alpha=0.12, color=line.get_color(), linewidth=0
                )
            dots = np.array([(time, years) for time, years, _, _ in track.looks])
            axes.plot(*dots.T, ".", color=line.get_color(), markersize=4)
        axes.set(xlabel="seconds", ylabel="years")
        axes.grid(alpha=0.3)
        if 0 < len(told) <= 12:
            axes.legend(fontsize="small")
        try:
            figure.savefig(path, dpi=110)
        except (ValueError, OSError) as error:
            raise SsrError(f"{path}: cannot write a picture there ({error})") from None

    def _person(self, time: float, passed: float, person: Person) -> None:
        track = self._tracks[person.track]
        big = person.box[3] >= LARGE
        if track.frames:
            track.seconds += passed
        track.frames += 1
        if big and track.begun is None:
            track.begun = time
        if person.look is not None:
            track.looks.append((time, person.look, big, person.yaw))
        if person.age is None:
            return
        track.times.append(time)
        track.ages.append(person.age.years)
        track.large.append(big)
        if person.age.interval is not None:
            track.ends.append(person.age.interval)
        if track.begun is not None and track.first_age is None:
            track.first_age = time - track.begun

    def _compare(self, true: dict[str, Box], people: tuple[Person, ...]) -> None:
        names = list(true)
        pairs = best_pairs(overlaps(list(true.values()), [person.box for person in people]), SAME)
        self._faces += len(names)
        self._found += len(pairs)
        for t, p in pairs:
            name, track = names[t], people[p].track
            self._switches += self._last.get(name, track) != track
            self._last[name] = track


def deviation(ages: list[float]) -> float:
    """Mean absolute deviation about the mean."""
    values: NDArray[np.float64] = np.array(ages)
    return float(np.abs(values - values.mean()).mean())


def read_truth(path: str | Path) -> Truth:
    """True faces from a CSV file with the columns frame (an index from 0), person, x, y, width, height
    (pixels of the upright picture). Raises :class:`SsrError` that names the line which is none."""
    truth: Truth = {}
    columns = ("frame", "person", "x", "y", "width", "height")
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            if missing := [name for name in columns if name not in (rows.fieldnames or ())]:
                raise SsrError(f"{path}: no column {missing[0]!r}, expected {', '.join(columns)}")
            for row in rows:
                try:
                    x, y, w, h = (float(row[name]) for name in columns[2:])
                    index = int(row["frame"])
                    if index < 0 or not (all(map(math.isfinite, (x, y, w, h))) and w > 0 and h > 0):
                        raise ValueError
                except (TypeError, ValueError):
                    raise SsrError(
                        f"{path}: line {rows.line_num}: expected a frame's index and a box with an area"
                    ) from None
                truth.setdefault(index, {})[row["person"]] = (x, y, w, h)
    except (UnicodeDecodeError, csv.Error) as error:
        raise SsrError(f"{path}: not a CSV file in UTF-8 ({error})") from None
    return truth


def _by_yaw(tracks: list[_Track]) -> tuple[ByYaw, ...]:
    groups: list[list[float]] = [[] for _ in YAWS[1:]]
    for track in tracks:
        if len(track.looks) < LEAST_FRAMES:
            continue
        mean = float(np.mean([years for _, years, _, _ in track.looks]))
        for _, years, _, turned in track.looks:
            if turned is not None:
                group = min(int(np.searchsorted(YAWS, abs(turned), side="right")) - 1, len(groups) - 1)
                groups[group].append(abs(years - mean))
    return tuple(
        ByYaw(low, high, len(group), float(np.mean(group)) if group else None)
        for (low, high), group in zip(pairwise(YAWS), groups, strict=True)
    )


def _noise(noise: Noise) -> str:
    return f"{_number(noise.years)} ({noise.tracks} tracks)"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
