"""What intervals that were calibrated on one set hold of another's ages, by ways to calibrate.

Each set is halved at random, many times. The first halves calibrate, the second halves show what is held; a
set with bins of ages calibrates nothing, and all of it shows what is held (an interval that overlaps the bin
counts).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ssr_bundle.contract import Interval
from ssr_train.crops.faces import Faces
from ssr_train.crops.measured import Half
from ssr_train.crops.recalibrate import recalibrate
from ssr_train.data.spans import Spans
from ssr_train.evaluation.intervals import EDGES, LEAST, calibrate, measure_coverage, merge_bands, widest
from ssr_train.evaluation.metrics import Years

COVERAGE = 0.9
CLIP = (0.0, 101.0)
FITTED = 1000
"""Faces that a recalibration is fitted to, at most half of those that calibrate."""

DECADES = tuple(range(10, 90, 10))

Rows = NDArray[np.bool_]


@dataclass(frozen=True)
class Answered:
    """A network's ``answers`` (N,) to a set's faces, what their labels say of ages, and whose they are:
    ``people``, by ``sex`` and ``group``, texts (N,)."""

    answers: Years
    labels: Spans
    people: Mapping[str, NDArray[np.str_]]

    def __getitem__(self, rows: Rows) -> Answered:
        people = {by: names[rows] for by, names in self.people.items()}
        return Answered(self.answers[rows], self.labels[rows], people)

    def halves(self, rng: np.random.Generator) -> tuple[Answered, Answered]:
        return self.split(rng, len(self.answers) // 2)

    def split(self, rng: np.random.Generator, count: int) -> tuple[Answered, Answered]:
        """``count`` of the faces at random, and the others."""
        first = np.zeros(len(self.answers), np.bool_)
        first[rng.permutation(len(first))[:count]] = True
        return self[first], self[~first]

    def calibrated(self, edges: Sequence[float] = EDGES) -> Interval:
        return calibrate(self.answers, self.labels.low, COVERAGE, edges)[0]

    def each(self) -> list[Interval]:
        """Of all faces, and of each sex and group that has enough of them, as ``calibrate --each`` has it."""
        parts = [self[names == name] for names in self.people.values() for name in np.unique(names) if name]
        return [self.calibrated(), *(part.calibrated() for part in parts if len(part.answers) >= LEAST)]

    def covered(self, interval: Interval) -> tuple[float, float]:
        """The share (0..1) held, and the mean width in years."""
        found = measure_coverage(interval, self.answers, self.labels, CLIP)
        return found.overall.value, found.mean_width


@dataclass(frozen=True)
class Way:
    """A way to calibrate, from the first halves of UTKFace and portraits, and what it does to answers."""

    name: str
    make: Callable[[Answered, Answered], Interval]
    mapped: bool = False


def pooled(one: Answered, two: Answered) -> Interval:
    answers = np.concatenate([one.answers, two.answers])
    return calibrate(answers, np.concatenate([one.labels.low, two.labels.low]), COVERAGE)[0]


def weighted(faces: Answered) -> Interval:
    """Every decade of true age counts alike: weighted conformal prediction (Tibshirani et al., NeurIPS 2019)
    for faces to come of an even mix of ages, by band of answers."""
    decade = np.searchsorted(DECADES, faces.labels.low, side="right")
    weight = 1.0 / np.bincount(decade, minlength=len(DECADES) + 1)[decade]
    errors = np.abs(faces.answers - faces.labels.low)
    edges, counts = merge_bands(faces.answers, EDGES, LEAST)
    band = np.searchsorted(edges, faces.answers, side="right")
    widths = [
        _quantile(errors[band == b], weight[band == b], float(weight.mean())) for b in range(len(counts))
    ]
    return Interval(COVERAGE, tuple(edges), tuple(widths))


def _quantile(errors: Years, weight: Years, of_new: float) -> float:
    """The smallest error that :data:`COVERAGE` of the weight lies within, a new face's, of weight ``of_new``,
    beyond all; the whole range where there is none."""
    order = np.argsort(errors)
    share = np.cumsum(weight[order]) / (weight.sum() + of_new)
    place = int(np.searchsorted(share, COVERAGE))
    return CLIP[1] if place == len(order) or math.isinf(errors[order][place]) else float(errors[order][place])


WAYS = (
    Way("UTKFace, by band of answers (`calibrate`)", lambda one, _: one.calibrated()),
    Way("UTKFace, one width for all answers", lambda one, _: one.calibrated(())),
    Way("portraits", lambda _, two: two.calibrated()),
    Way("both pooled", pooled),
    Way("the widest of both (`--also`)", lambda one, two: widest([one.calibrated(), two.calibrated()])),
    Way("UTKFace, each sex and group (`--each`)", lambda one, _: widest(one.each())),
    Way("UTKFace, each decade of age weighs alike", lambda one, _: weighted(one)),
    Way("UTKFace, answers recalibrated to it", lambda one, _: one.calibrated(), mapped=True),
)


def worst_group(faces: Answered, interval: Interval) -> tuple[float, float]:
    """Share held and mean width in the group of which the fewest are held."""
    groups = faces.people["group"]
    return min(faces[groups == name].covered(interval) for name in np.unique(groups))


def compare(
    sets: Mapping[str, Answered], times: int
) -> dict[str, dict[str, tuple[float, float, float, float]]]:
    """By way and by set (``utkface``, its ``worst group``, ``portraits``, ``fairface``): mean share held over
    ``times`` random halves, the lowest and the highest, and the mean width in years."""
    found: dict[str, dict[str, list[tuple[float, float]]]] = {way.name: {} for way in WAYS}
    for seed in range(times):
        rng = np.random.default_rng(seed)
        one, utkface = sets["utkface"].halves(rng)
        two, portraits = sets["portraits"].halves(rng)
        for way in WAYS:
            shown = {"utkface": utkface, "portraits": portraits, "fairface": sets["fairface"]}
            first = one
            if way.mapped:
                fitted, first = one.split(rng, min(FITTED, len(one.answers) // 2))
                shown = {name: _mapped(faces, fitted) for name, faces in shown.items()}
                first = _mapped(first, fitted)
            interval = way.make(first, two)
            for name, faces in shown.items():
                found[way.name].setdefault(name, []).append(faces.covered(interval))
            worst = worst_group(shown["utkface"], interval)
            found[way.name].setdefault("worst group", []).append(worst)
    return {way: {name: _summary(pairs) for name, pairs in by_set.items()} for way, by_set in found.items()}


def left_out(faces: Answered, times: int) -> dict[str, dict[str, float]]:
    """By UTKFace's group that calibrated nothing, the mean share held of its faces over ``times`` random
    halves: with the other groups ``pooled``, and with the ``widest`` of them."""
    groups = faces.people["group"]
    found: dict[str, dict[str, float]] = {}
    for name in np.unique(groups).tolist():
        shares: dict[str, list[float]] = {"pooled": [], "widest": []}
        for seed in range(times):
            others, held_out = faces[groups != name], faces[groups == name]
            first = others.halves(np.random.default_rng(seed))[0]
            names = first.people["group"]
            each = [first[names == other].calibrated() for other in np.unique(names)]
            shares["pooled"].append(held_out.covered(first.calibrated())[0])
            shares["widest"].append(held_out.covered(widest(each))[0])
        found[name] = {way: round(float(np.mean(held)), 4) for way, held in shares.items()}
    return found


def _summary(pairs: Sequence[tuple[float, float]]) -> tuple[float, float, float, float]:
    shares, widths = zip(*pairs, strict=True)
    mean, low, high = (round(float(share), 4) for share in (np.mean(shares), min(shares), max(shares)))
    return mean, low, high, round(float(np.mean(widths)), 1)


def _mapped(faces: Answered, fitted: Answered) -> Answered:
    """``faces`` with their answers recalibrated to ``fitted``, as ``fit-crop --recalibrate`` does."""
    count = len(fitted.answers)
    known = Faces("", (), (), None, fitted.labels, fitted.labels.low, np.arange(count), {})
    points = recalibrate([Half(known, np.arange(count))], [fitted.answers], CLIP)
    return Answered(np.interp(faces.answers, points.before, points.after), faces.labels, faces.people)
