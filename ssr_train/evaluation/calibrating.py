"""One set of faces that calibrates intervals: its halves, and the people in it whose coverage is kept too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ssr_bundle.contract import Interval
from ssr_bundle.errors import SsrError, UsageError
from ssr_bundle.report import plain
from ssr_train.data.spans import Spans
from ssr_train.evaluation.halves import Halves
from ssr_train.evaluation.intervals import (
    Coverage,
    Share,
    calibrate,
    least_faces,
    measure_coverage,
)
from ssr_train.evaluation.metrics import Flags, Years, divisions
from ssr_train.evaluation.selection import Selection

RECORD = "interval_calibration"
"""Key of the contract's provenance that says how the intervals were found and what they covered."""

EACH = ("sex", "group")
"""What divides people."""


@dataclass(frozen=True)
class Part:
    """Some people of a set. ``faces``: theirs in the half that calibrates; ``calibrated``: whether these are
    enough. ``held_out``: how often the intervals held their age on the other half."""

    name: str
    faces: int
    calibrated: bool
    held_out: Share


@dataclass(frozen=True)
class CalibratingSet:
    """``chosen`` faces in ``halves``: the first calibrates, the second is held out. ``each``: what divides
    the people whose coverage is kept too, of :data:`EACH`."""

    chosen: Selection
    halves: Halves
    each: tuple[str, ...] = ()

    def intervals(self, coverage: float) -> list[Interval]:
        """Of all faces, and of each part that has enough of them. Raises
        :class:`~ssr_train.evaluation.intervals.TooFew` for too few faces in all."""
        answers, ages = self.halves.answers[0], self.halves.ages[0]
        with self.chosen.suffices():
            found = [calibrate(answers, ages, coverage)[0]]
        for rows in self._rows(0).values():
            if rows.sum() >= least_faces(coverage):
                found.append(calibrate(answers[rows], ages[rows], coverage)[0])
        return found

    def counts(self, found: Interval) -> list[int]:
        """Faces that calibrate in each band of ``found``."""
        band = np.searchsorted(found.edges, self.halves.answers[0], side="right")
        counts: list[int] = np.bincount(band, minlength=len(found.half_widths)).tolist()
        return counts

    def coverage(self, found: Interval, clip: tuple[float, float], answers: Years | None = None) -> Coverage:
        """Of ``found`` on the faces held out; ``answers``: theirs in another precision."""
        given = self.halves.answers[1] if answers is None else answers
        return measure_coverage(found, given, Spans.exact(self.halves.ages[1]), clip)

    def parts(self, found: Interval, clip: tuple[float, float]) -> Iterator[Part]:
        """The parts, and what ``found`` covers of their faces held out."""
        answers, ages = self.halves.answers[1], Spans.exact(self.halves.ages[1])
        first, second = self._rows(0), self._rows(1)
        for name in dict.fromkeys((*first, *second)):
            faces = int(first[name].sum()) if name in first else 0
            held_out = Share(0, 0)
            if name in second:
                rows = second[name]
                held_out = measure_coverage(found, answers[rows], ages[rows], clip).overall
            yield Part(name, faces, faces >= least_faces(found.coverage), held_out)

    def to_json(self, found: Interval, clip: tuple[float, float]) -> dict[str, Any]:
        """What provenance records of the set."""
        faces, seed = self.chosen.faces, self.chosen.seed
        return {
            **self.chosen.to_json(),
            "labels_sha256": faces.labels_sha256,
            "drawn": None if seed is None else {"set": faces.name, "seed": seed},
            "halved_by": self.halves.by,
            "each": list(self.each),
            "parts": [plain(part) for part in self.parts(found, clip)],
        }

    def _rows(self, half: int) -> dict[str, Flags]:
        """The faces of each part, of one half."""
        divided = divisions(self.chosen.faces, self.halves.index[half])
        return {f"{by} {name}": rows for by in self.each for name, rows in divided.get(by, {}).items()}


def records_of(provenance: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What ``provenance`` records of each set that calibrated intervals; nothing where it is no record."""
    first = provenance.get(RECORD)
    if not isinstance(first, Mapping):
        return []
    also = first.get("also", [])
    return [first, *(one for one in also if isinstance(one, Mapping))] if isinstance(also, list) else [first]


def check_each(each: Sequence[str]) -> None:
    """Raise :class:`UsageError` for what does not divide people."""
    for by in each:
        if by not in EACH:
            raise UsageError(f"--each {by}: unknown, expected one of: {', '.join(EACH)}")


def check_given(sets: Sequence[Selection], each: Sequence[str]) -> None:
    """Raise :class:`SsrError` for what the labels of none of ``sets`` give."""
    given = {by for one in sets for by in divisions(one.faces, one.index)}
    for by in each:
        if by not in given:
            raise SsrError(f"--each {by}: the labels of {sets[0].faces.name} do not give it")
