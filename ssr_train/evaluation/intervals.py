"""Split-conformal intervals: half-widths a age band that hold the true age with a chosen coverage.

Of n faces in a band with errors |answer - age|, the half-width is the ceil((n + 1) * coverage)-th smallest
error (Vovk et al., Algorithmic Learning in a Random World, 2005; Lei et al., JASA 2018; by band: Mondrian
conformal prediction). If those faces and the ones to come are exchangeable, the interval of a new face
holds its age with at least that probability, whatever the network does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssr_bundle.contract import Interval
from ssr_bundle.errors import SsrError
from ssr_ops import reference
from ssr_train.data.spans import Spans
from ssr_train.evaluation.metrics import CONFIDENCE, Years, band_name

EDGES = (10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0)
"""Inner borders of the bands of answers, before small ones are merged."""

LEAST = 100
"""Fewest faces of a band: with n faces its true coverage scatters by sqrt(c (1 - c) / n) around c."""


class TooFew(SsrError):
    """There are too few faces to tell anything from."""


@dataclass(frozen=True)
class Share:
    """``hits`` of ``count``, and the exact binomial (Clopper-Pearson) interval of what lies behind."""

    hits: int
    count: int

    @classmethod
    def of(cls, flags: NDArray[np.bool_]) -> Share:
        return cls(int(flags.sum()), len(flags))

    @property
    def value(self) -> float:
        return self.hits / self.count if self.count else math.nan

    def bounds(self, confidence: float = CONFIDENCE) -> tuple[float, float]:
        """Two-sided; 0..1 where nothing was counted."""
        from scipy.special import betaincinv

        tail, k, n = (1 - confidence) / 2, self.hits, self.count
        low = float(betaincinv(k, n - k + 1, tail)) if k else 0.0
        high = float(betaincinv(k + 1, n - k, 1 - tail)) if k < n else 1.0
        return low, high

    def __str__(self) -> str:
        low, high = self.bounds()
        if not self.count:
            return "- (0 of 0)"
        return f"{self.value:.2%} ({low:.2%} to {high:.2%}; {self.hits:,} of {self.count:,})"

    def to_json(self) -> dict[str, Any]:
        return {"hits": self.hits, "count": self.count, "bounds": [*self.bounds()]}


@dataclass(frozen=True)
class Coverage:
    """How often intervals held the true age on faces that did not calibrate them, in all and by band of
    answers; ``mean_width``: of whole intervals in years, as served (clipped); ``wanted``: the share (0..1)
    that they were made to hold."""

    overall: Share
    bands: dict[str, Share]
    mean_width: float
    wanted: float


def half_width(errors: Years, coverage: float) -> float:
    """The ceil((n + 1) * coverage)-th smallest of ``errors`` (n,); infinite if n is too small for it."""
    rank = max(math.ceil((len(errors) + 1) * coverage - 1e-9), 1)
    return math.inf if rank > len(errors) else float(np.partition(errors, rank - 1)[rank - 1])


def least_faces(coverage: float) -> int:
    """Fewest faces of a band: :data:`LEAST`, or more where a higher ``coverage`` has no finite quantile."""
    return max(LEAST, math.ceil(coverage / (1 - coverage) - 1e-9))


def check_coverage(coverage: float) -> None:
    """Raise :class:`SsrError` unless ``coverage`` lies between 0 and 1."""
    if not 0 < coverage < 1:
        raise SsrError(f"--coverage must lie between 0 and 1, got {coverage:g}")


def calibrate(
    answers: Years, ages: Years, coverage: float, edges: Sequence[float] = EDGES
) -> tuple[Interval, list[int]]:
    """Intervals from ``answers`` (N,), clipped as they are served, and true ``ages`` (N,); and the faces of
    each band. Bands with too few faces are merged with the smaller neighbour.

    Raises :class:`SsrError` for a coverage outside 0..1 and for too few faces for a single band.
    """
    check_coverage(coverage)
    least = least_faces(coverage)
    if len(answers) < least:
        raise TooFew(
            f"{len(answers):,} faces to calibrate on, a coverage of {coverage:g} needs at least {least:,}"
        )
    kept, counts = merge_bands(answers, edges, least)
    band = np.searchsorted(kept, answers, side="right")
    errors = np.abs(answers - ages)
    widths = [_round_up(half_width(errors[band == b], coverage)) for b in range(len(counts))]
    return Interval(coverage, tuple(kept), tuple(widths)), counts


def widest(intervals: Sequence[Interval]) -> Interval:
    """The narrowest interval that holds every one of ``intervals``, at any answer.

    Where each keeps the coverage on its own faces, this one does on all of them, and on any mixture. Raises
    ``ValueError`` unless they were made for one coverage.
    """
    (coverage,) = {one.coverage for one in intervals}
    edges = sorted({edge for one in intervals for edge in one.edges})
    within = [-math.inf, *edges]  # an answer of each band: an edge belongs to the band above it
    widths = (
        max(one.half_widths[np.searchsorted(one.edges, answer, side="right")] for one in intervals)
        for answer in within
    )
    return Interval(coverage, tuple(edges), tuple(widths))


def merge_bands(answers: Years, edges: Sequence[float], least: int) -> tuple[list[float], list[int]]:
    """``edges`` without those beside a band of fewer than ``least`` answers, and the counts of the bands."""
    kept = list(edges)
    counts = np.bincount(np.searchsorted(kept, answers, side="right"), minlength=len(kept) + 1).tolist()
    while kept and min(counts) < least:
        small = counts.index(min(counts))
        sides = [b for b in (small - 1, small) if 0 <= b < len(kept)]
        gone = min(sides, key=lambda b: counts[b] + counts[b + 1])
        counts[gone : gone + 2] = [counts[gone] + counts[gone + 1]]
        del kept[gone]
    return kept, counts


def measure_coverage(
    interval: Interval, answers: Years, labels: Spans, clip: tuple[float, float]
) -> Coverage:
    """How often ``interval`` holds an age that ``labels`` (N,) allow, by the ends that are served for
    ``answers`` (N,): of a bin, how often it overlaps."""
    ends = reference.interval(interval, answers, clip)
    hits = labels.overlap(ends[:, 0], ends[:, 1])
    band = np.searchsorted(interval.edges, answers, side="right")
    return Coverage(
        Share.of(hits),
        {name: Share.of(hits[band == b]) for b, name in enumerate(band_names(interval))},
        float((ends[:, 1] - ends[:, 0]).mean()),
        interval.coverage,
    )


def band_names(interval: Interval) -> list[str]:
    """Of the bands of answers, lowest first."""
    return [band_name(interval.edges, b) if interval.edges else "all" for b in range(-1, len(interval.edges))]


def _round_up(years: float) -> float:
    """To 1/1000 of a year, away from zero: the coverage is not lost to rounding."""
    return math.ceil(years * 1000 - 1e-6) / 1000
