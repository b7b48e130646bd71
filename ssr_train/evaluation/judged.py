"""What an evaluation found, and the report that says it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ssr_bundle.report import Facts, Part, Picture, Report, Table, plain
from ssr_train.evaluation.intervals import Coverage
from ssr_train.evaluation.metrics import (
    CA_YEARS,
    CONFIDENCE,
    LEAST_IN_CELL,
    PERCENTILES,
    RESAMPLES,
    Errors,
    Metrics,
    bounded,
)
from ssr_train.evaluation.plots import draw_answers
from ssr_train.evaluation.selection import DRAWN, Selection
from ssr_train.inference import Years

BINS = (
    "Of a face with a bin of ages the error is the distance to the bin, 0 inside, and an interval that "
    "overlaps the bin counts as holding the age: errors of the true ages are larger, their coverage is lower."
)

_TITLES = {"age": "true age", "sex": "sex", "group": "group"}


@dataclass(frozen=True)
class Judged:
    """One set of weights and its answers. ``label``: which weights. ``runner``: what gave the answers.
    ``coverage``: of its calibrated intervals, None where it has none."""

    label: str
    runner: str
    weights_sha256: str | None
    answers: Years
    metrics: Metrics
    coverage: Coverage | None = None


@dataclass(frozen=True)
class Evaluation:
    """Weights judged on the same pictures. ``subject``: what was named to be judged."""

    subject: str
    selection: Selection
    judged: Sequence[Judged]

    @property
    def title(self) -> str:
        return f"Evaluation of {self.subject}{self.selection.drawn}"

    def to_json(self) -> dict[str, Any]:
        return {
            "title": self.title,
            **self.selection.to_json(),
            "images": len(self.selection.index),
            "trained_on": self.selection.trained,
            "unit": "years",
            "results": [
                {
                    "label": one.label,
                    "runner": one.runner,
                    "weights_sha256": one.weights_sha256,
                    **one.metrics.to_json(),
                    "interval_coverage": plain(one.coverage),
                }
                for one in self.judged
            ],
        }

    def report(self) -> Report:
        chosen, count = self.selection, len(self.judged)
        answers = [(one.label, one.answers) for one in self.judged]
        parts: list[Part] = [
            Facts(chosen.lines),
            Facts([f"{one.label}: {one.runner}" for one in self.judged]),
            self._overall(),
            *(self._part(by) for by in self.judged[0].metrics.parts),
            *self._cells(),
            *([self._coverage()] if any(one.coverage for one in self.judged) else []),
            *self._notes(),
            Picture(
                "answers against true ages, and the error by true age",
                lambda figure: draw_answers(figure, answers, chosen.faces.spans[chosen.index]),
                (5 * (count + 1), 4.6),
                self.title,
            ),
        ]
        return Report(self.title, parts, self.to_json())

    def _overall(self) -> Table:
        columns = [_measures(one.metrics.overall) for one in self.judged]
        rows = [(name, *(column[name] for column in columns)) for name in columns[0]]
        return Table("Errors in years", ("", *(one.label for one in self.judged)), rows)

    def _part(self, by: str) -> Table:
        header = [_TITLES[by], "images"]
        for one in self.judged:
            suffix = f", {one.label}" if len(self.judged) > 1 else ""
            header += [f"MAE{suffix}", f"signed{suffix}", f"CA(5) <{suffix}"]
        rows = []
        for name, first in self.judged[0].metrics.parts[by].items():
            row = [name, f"{first.count:,}"]
            for one in self.judged:
                e = one.metrics.parts[by][name]
                row += [e.mae_text, f"{e.bias:+.2f}", f"{e.ca_below[5]:.1%}"]
            rows.append(tuple(row))
        return Table(f"By {_TITLES[by]}", header, rows)

    def _cells(self) -> list[Part]:
        """Errors by everything that the labels give at once, and what they do not give."""
        first = self.judged[0].metrics
        given = [_TITLES[by] for by in first.parts]
        missing = " and ".join(title for by, title in _TITLES.items() if by not in first.parts)
        said: list[Part] = [f"Errors by {missing}: the labels do not give it."] if missing else []
        if len(given) == 1:
            return said
        header = [*given, "images"]
        rows = [[*cell.names, f"{cell.count:,}"] for cell in first.cells]
        for one in self.judged:
            suffix = f", {one.label}" if len(self.judged) > 1 else ""
            header += [f"MAE{suffix}", f"signed{suffix}"]
            for row, cell in zip(rows, one.metrics.cells, strict=True):
                row += (
                    ["-", "-"] if cell.errors is None else [cell.errors.mae_text, f"{cell.errors.bias:+.2f}"]
                )
        title = f"By {', '.join(given[:-1])} and {given[-1]}; a dash: fewer than {LEAST_IN_CELL} images"
        return [Table(title, header, rows), *said]

    def _coverage(self) -> Table:
        rows: list[tuple[str, ...]] = []
        for one in self.judged:
            if one.coverage is not None:
                rows.append((one.label, "all", str(one.coverage.overall)))
                rows += [(one.label, band, str(share)) for band, share in one.coverage.bands.items()]
        made = " and ".join(
            dict.fromkeys(f"{one.coverage.wanted:.0%}" for one in self.judged if one.coverage)
        )
        header = ("weights", "answer", "held the true age (95 % binomial bounds)")
        return Table(f"Calibrated intervals, made to hold {made}", header, rows)

    def _notes(self) -> list[str]:
        by = self.judged[0].metrics.resampled
        notes = [
            f"In brackets: {CONFIDENCE:.0%} bootstrap percentile intervals, {RESAMPLES:,} resamples by {by}."
            + ("" if by == "subject" else " Where images share a person these are too narrow.")
        ]
        if self.selection.faces.binned:
            notes.append(BINS)
        if self.selection.faces.synthetic:
            notes.append(DRAWN)
        return notes


def _measures(e: Errors) -> dict[str, str]:
    """Every measure of a set of images, by its name in a report."""
    found = {
        "images": f"{e.count:,}",
        "MAE": e.mae_text,
        "mean signed error (answer - age)": bounded(e.bias, e.bias_bounds, "+.2f"),
        "root mean square error": f"{e.rmse:.2f}",
    }
    for n in CA_YEARS:
        found[f"CA({n}), error < {n}"] = bounded(e.ca_below[n], (e.ca_below_bounds or {}).get(n), ".1%")
        found[f"CA({n}), error <= {n}"] = f"{e.ca_within[n]:.1%}"
    return found | {f"{p} % of errors are below": f"{e.percentiles[p]:.2f}" for p in PERCENTILES}
