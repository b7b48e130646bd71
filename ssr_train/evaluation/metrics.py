"""Errors of ages, by image and by group, with bootstrap confidence intervals. All in years unless named.

MAE and CA(n) are the paper's measures (section 4.2). The paper does not say whether an error of exactly n
years counts for CA(n), and where labels are whole years and answers are rounded it matters: both readings are
always given and named, ``<`` and ``<=``.

Where a label is a bin of ages, the error is the distance to its nearer end, with the sign of answer less age,
and 0 inside (:mod:`ssr_train.data.spans`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ssr_bundle.errors import SsrError
from ssr_bundle.report import plain
from ssr_train.data.dataset import Dataset
from ssr_train.data.spans import Spans

CA_YEARS = (3, 5, 7)
PERCENTILES = (50, 90, 95, 99)
AGE_BANDS = (0, 10, 18, 30, 40, 50, 60, 70)
"""Lower ends of the age bands of a report; the last is open."""

RESAMPLES = 1000
CONFIDENCE = 0.95
_TAILS = (50 * (1 - CONFIDENCE), 100 - 50 * (1 - CONFIDENCE))

LEAST_IN_CELL = 20
"""Fewest images of one age band, sex and group for which a mean and its bounds are given."""

Years = NDArray[np.float64]
Flags = NDArray[np.bool_]


class Bounds(NamedTuple):
    """Ends of a bootstrap percentile interval at :data:`CONFIDENCE`."""

    low: float
    high: float


@dataclass(frozen=True)
class Errors:
    """Errors of ``count`` images: answer less true age.

    ``mae``: mean size. ``bias``: mean with its sign, positive where people are taken for older. ``ca_below``
    and ``ca_within``: CA(n) by n, the share (0..1) of sizes ``< n`` and ``<= n``. ``percentiles``: of the
    size. ``mae_bounds``, ``bias_bounds``: from resampling, None where not asked for or of a single draw.
    """

    count: int
    mae: float
    bias: float
    rmse: float
    ca_below: Mapping[int, float]
    ca_within: Mapping[int, float]
    percentiles: Mapping[int, float]
    mae_bounds: Bounds | None = None
    bias_bounds: Bounds | None = None
    ca_below_bounds: Mapping[int, Bounds] | None = None

    @property
    def mae_text(self) -> str:
        return bounded(self.mae, self.mae_bounds)

    def to_json(self) -> dict[str, Any]:
        return {
            "count": self.count,
            "mae": self.mae,
            "mae_bounds": self.mae_bounds,
            "bias": self.bias,
            "bias_bounds": self.bias_bounds,
            "rmse": self.rmse,
            "ca": {
                str(n): {
                    "<": self.ca_below[n],
                    "<_bounds": (self.ca_below_bounds or {}).get(n),
                    "<=": self.ca_within[n],
                }
                for n in self.ca_below
            },
            "percentiles": plain(self.percentiles),
        }


@dataclass(frozen=True)
class Cell:
    """The images of one age band, sex and group. ``names``: the band's, then of what else the labels give.
    ``errors`` None: of fewer than :data:`LEAST_IN_CELL` images."""

    names: tuple[str, ...]
    count: int
    errors: Errors | None


@dataclass(frozen=True)
class Metrics:
    """Errors of a whole test set and of its parts. ``parts``: by what divides (``age``, ``sex``, ``group``),
    then by the part's name; a division that the labels do not give is left out. ``cells``: by all of these at
    once.

    ``resampled``: what the bootstrap drew, ``image`` or ``subject``.
    """

    overall: Errors
    parts: Mapping[str, Mapping[str, Errors]]
    cells: Sequence[Cell]
    resampled: str

    def to_json(self) -> dict[str, Any]:
        return {
            "overall": self.overall.to_json(),
            "parts": plain(self.parts),
            "cells": [
                {
                    **dict(zip(self.parts, cell.names, strict=True)),
                    "count": cell.count,
                    "errors": plain(cell.errors),
                }
                for cell in self.cells
            ],
            "bootstrap": {"resampled": self.resampled, "resamples": RESAMPLES, "confidence": CONFIDENCE},
        }


def errors(
    answers: ArrayLike,
    ages: ArrayLike,
    subjects: NDArray[np.str_] | None = None,
    *,
    resamples: int = 0,
    seed: int = 0,
) -> Errors:
    """All measures of one set of answers (N,) against ``ages`` (N,).

    ``resamples`` above 0 adds bootstrap intervals: images are drawn with replacement, or whole subjects
    where every image's is named (images of one person are not independent). Raises :class:`SsrError` if there
    is no image, if lengths differ, or if a number is not finite.
    """
    signed = _errors(answers, ages)
    size = np.abs(signed)
    below = {n: size < n for n in CA_YEARS}
    bounds: list[Bounds | None] = [None] * (2 + len(CA_YEARS))
    if resamples and (owners := _owners(subjects, len(signed))).max() > 0:
        columns = np.stack([size, signed, *(below[n] for n in CA_YEARS)], axis=1)
        bounds = list(_bootstrap(columns, owners, resamples, seed))
    return Errors(
        count=len(signed),
        mae=float(size.mean()),
        bias=float(signed.mean()),
        rmse=float(np.sqrt((signed**2).mean())),
        ca_below={n: float(below[n].mean()) for n in CA_YEARS},
        ca_within={n: float((size <= n).mean()) for n in CA_YEARS},
        percentiles={p: float(np.percentile(size, p)) for p in PERCENTILES},
        mae_bounds=bounds[0],
        bias_bounds=bounds[1],
        ca_below_bounds={n: b for n, b in zip(CA_YEARS, bounds[2:], strict=True) if b is not None} or None,
    )


def correlation(
    answers: ArrayLike,
    ages: ArrayLike,
    owners: NDArray[np.int64],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[float, Bounds | None]:
    """Pearson's correlation of ``answers`` (N,) with ``ages`` (N,), and its bootstrap interval; ``owners``
    (N,), 0 and up, says what is drawn together. NaN and no interval where either does not vary."""
    a, b = np.asarray(answers, np.float64), np.asarray(ages, np.float64)
    _errors(a, b)
    a, b = a - a.mean(), b - b.mean()  # no digits are lost in the differences below
    if not (a.any() and b.any()):
        return float("nan"), None
    columns = np.stack([a, b, a * a, b * b, a * b], axis=1)
    drawn = _resampled(columns, owners, resamples, seed)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = _correlations(drawn)
    low, high = np.percentile(found[np.isfinite(found)], _TAILS)
    return float(_correlations(columns.mean(axis=0, keepdims=True))[0]), Bounds(float(low), float(high))


def _correlations(means: Years) -> Years:
    """From means (R, 5) of a, b, a², b² and ab."""
    a, b, aa, bb, ab = means.T
    return np.asarray((ab - a * b) / np.sqrt((aa - a * a) * (bb - b * b)))


def measure(answers: ArrayLike, faces: Dataset, index: NDArray[np.int64], *, seed: int = 0) -> Metrics:
    """Errors of ``answers`` (M,) to the pictures ``index`` (M,) of ``faces``, overall and by age band, sex
    and group, and by all three at once, with bootstrap intervals."""
    given, subjects = np.asarray(answers, np.float64), faces.subjects[index]
    ages = faces.spans[index].nearest(given)

    def of(rows: Flags) -> Errors:
        return errors(given[rows], ages[rows], subjects[rows], resamples=RESAMPLES, seed=seed)

    divided = divisions(faces, index)
    parts = {by: {name: of(rows) for name, rows in named.items()} for by, named in divided.items()}
    return Metrics(
        of(np.ones(len(ages), np.bool_)),
        parts,
        [
            Cell(names, count, of(rows) if count >= LEAST_IN_CELL else None)
            for names, rows in crossed(divided)
            if (count := int(rows.sum()))
        ],
        "subject" if _by_subject(subjects) else "image",
    )


def divisions(faces: Dataset, index: NDArray[np.int64]) -> dict[str, dict[str, Flags]]:
    """Which of the pictures ``index`` (M,) of ``faces`` are of each age band, sex and group, by these three
    and by name; what the labels do not give is left out. A face whose label is a bin stands under that bin,
    for its age may lie in another band than the bin's middle."""
    found = {"age": age_parts(faces.spans[index])}
    for by, labels in (("sex", faces.sexes[index]), ("group", faces.groups[index])):
        if (labels != "").any():
            found[by] = {str(name) or "unknown": labels == name for name in np.unique(labels)}
    return found


def age_parts(spans: Spans) -> dict[str, Flags]:
    """Which of N labels lie in each of :data:`AGE_BANDS`, and which are which bin; by age."""
    band = np.searchsorted(AGE_BANDS, spans.low, side="right") - 1
    named: list[tuple[tuple[float, float], str, Flags]] = []
    for b in np.unique(band[~spans.binned]).tolist():
        named.append(((AGE_BANDS[b], -1.0), band_name(AGE_BANDS, b), (band == b) & ~spans.binned))
    for low, high in np.unique(np.stack([spans.low, spans.high], 1)[spans.binned], axis=0).tolist():
        rows = (spans.low == low) & (spans.high == high)
        named.append(((low, high), f"bin {spans.name(int(rows.argmax()))}", rows))
    return {name: rows for _, name, rows in sorted(named, key=lambda one: one[0])}


def crossed(divided: Mapping[Any, Mapping[str, Flags]]) -> Iterator[tuple[tuple[str, ...], Flags]]:
    """Every combination of parts, one of each division, with its rows."""
    for chosen in product(*(named.items() for named in divided.values())):
        yield tuple(name for name, _ in chosen), np.logical_and.reduce([rows for _, rows in chosen])


def band_name(lower_ends: Sequence[float], band: int) -> str:
    """``10 to <18``, or ``70 and over`` for the last."""
    if band < 0:
        return f"under {lower_ends[0]:g}"
    if band + 1 < len(lower_ends):
        return f"{lower_ends[band]:g} to <{lower_ends[band + 1]:g}"
    return f"{lower_ends[band]:g} and over"


def bounded(value: float, bounds: Bounds | None, form: str = ".2f", scale: float = 1) -> str:
    """``3.21 [3.10, 3.32]``, all times ``scale``; the value alone without bounds."""
    between = f" [{scale * bounds.low:{form}}, {scale * bounds.high:{form}}]" if bounds else ""
    return f"{scale * value:{form}}{between}"


def _errors(answers: ArrayLike, ages: ArrayLike) -> Years:
    given, true = np.asarray(answers, np.float64), np.asarray(ages, np.float64)
    if given.shape != true.shape or given.ndim != 1:
        raise SsrError(f"{given.shape} answers for {true.shape} ages, expected as many, in one dimension")
    if not len(given):
        raise SsrError("no images to measure errors on")
    if not (np.isfinite(given).all() and np.isfinite(true).all()):
        raise SsrError("answers or ages are NaN or infinite")
    return np.asarray(given - true)


def _by_subject(subjects: NDArray[np.str_] | None) -> bool:
    return subjects is not None and bool((subjects != "").all())


def _owners(subjects: NDArray[np.str_] | None, count: int) -> NDArray[np.int64]:
    """Which draw of the bootstrap (0..) each image belongs to."""
    if subjects is None or not _by_subject(subjects):
        return np.arange(count)
    return np.unique(subjects, return_inverse=True)[1].astype(np.int64)


def _bootstrap(columns: Years, owners: NDArray[np.int64], resamples: int, seed: int) -> tuple[Bounds, ...]:
    """Percentile intervals of the means of ``columns`` (N, C) under resampling of ``owners``."""
    low, high = np.percentile(_resampled(columns, owners, resamples, seed), _TAILS, axis=0)
    return tuple(map(Bounds, low.tolist(), high.tolist()))


def _resampled(columns: Years, owners: NDArray[np.int64], resamples: int, seed: int) -> Years:
    """Means (resamples, C) of ``columns`` (N, C) where ``owners`` are drawn with replacement."""
    draws = int(owners.max()) + 1
    sums = np.zeros((draws, columns.shape[1]))
    np.add.at(sums, owners, columns)
    counts = np.bincount(owners, minlength=draws)
    rng = np.random.default_rng(seed)
    means = np.empty((resamples, columns.shape[1]))
    for i in range(resamples):
        weight = np.bincount(rng.integers(0, draws, draws), minlength=draws)
        means[i] = weight @ sums / (weight @ counts)
    return means
