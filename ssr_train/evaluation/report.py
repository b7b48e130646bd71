"""What an evaluation found: on the terminal, as Markdown, as JSON and as a picture."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from ssr_bundle.disk import check_folder, replace_file, room_for
from ssr_bundle.report import markdown, table
from ssr_train.evaluation.intervals import Coverage
from ssr_train.evaluation.metrics import CA_YEARS, CONFIDENCE, PERCENTILES, RESAMPLES, Bounds, Errors, Metrics
from ssr_train.evaluation.selection import Selection
from ssr_train.runners import Years

_TITLES = {"age": "true age", "sex": "sex", "group": "group"}

Table = tuple[Sequence[str], list[tuple[str, ...]]]
"""Header and rows."""


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
        drawn = " on drawn faces (synthetic)" if self.selection.faces.synthetic else ""
        return f"Evaluation of {self.subject}{drawn}"

    def to_json(self) -> dict[str, Any]:
        chosen = self.selection
        return {
            "title": self.title,
            "data": chosen.faces.description,
            "data_sha256": chosen.faces.sha256,
            "synthetic": chosen.faces.synthetic,
            "images": len(chosen.index),
            "selection": list(chosen.lines),
            "trained_on": chosen.trained,
            "chose_epoch": chosen.choosing,
            "unit": "years",
            "results": [
                {
                    "label": one.label,
                    "runner": one.runner,
                    "weights_sha256": one.weights_sha256,
                    **one.metrics.to_json(),
                    "interval_coverage": None if one.coverage is None else one.coverage.to_json(),
                }
                for one in self.judged
            ],
        }

    def dumps(self) -> str:
        return json.dumps(self.to_json(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    def show(self) -> None:
        """Print it."""
        console = Console(highlight=False, soft_wrap=True)
        for line in (self.title, *self.selection.lines, "", *self._asked()):
            console.print(line, markup=False)
        for heading, (header, rows) in self._tables():
            console.print(f"\n{heading}", markup=False)
            table(rows, header=header)
        for line in self._notes():
            console.print(f"\n{line}", markup=False)

    def markdown(self, picture: str | None = None, level: int = 1) -> str:
        """The report; ``picture`` is the name of the plot beside it, ``level`` its first heading's."""
        marks = "#" * level
        lines = [f"{marks} {self.title}", "", *(f"- {line}" for line in self.selection.lines)]
        lines += [f"- {line}" for line in self._asked()]
        for heading, cells in self._tables():
            lines += ["", f"{marks}# {heading}", "", markdown(*cells)]
        for line in self._notes():
            lines += ["", line]
        if picture is not None:
            lines += ["", f"![answers against true ages, and the error by true age]({picture})"]
        return "\n".join(lines) + "\n"

    def write(self, folder: Path) -> None:
        """report.md, report.json and report.png in ``folder``."""
        from ssr_train.evaluation.plots import plot_answers

        ages = self.selection.faces.ages[self.selection.index]
        drawn = [(one.label, one.answers) for one in self.judged]
        files = {
            "report.json": self.dumps().encode(),
            "report.png": plot_answers(self.title, drawn, ages),
            "report.md": self.markdown("report.png").encode(),
        }
        write_report(folder, files)

    def _asked(self) -> list[str]:
        return [f"{one.label}: {one.runner}" for one in self.judged]

    def _tables(self) -> list[tuple[str, Table]]:
        tables = [("Errors in years", self._overall())]
        for by in self.judged[0].metrics.parts:
            tables.append((f"By {_TITLES[by]}", self._part(by)))
        if any(one.coverage for one in self.judged):
            tables.append(("Calibrated intervals", self._coverage()))
        return tables

    def _overall(self) -> Table:
        columns = [_measures(one.metrics.overall) for one in self.judged]
        rows = [(name, *(column[name] for column in columns)) for name in columns[0]]
        return ("", *(one.label for one in self.judged)), rows

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
                row += [with_bounds(e.mae, e.mae_bounds), f"{e.bias:+.2f}", f"{e.ca_below[5]:.1%}"]
            rows.append(tuple(row))
        return header, rows

    def _coverage(self) -> Table:
        rows: list[tuple[str, ...]] = []
        for one in self.judged:
            if one.coverage is not None:
                rows.append((one.label, "all", str(one.coverage.overall)))
                rows += [(one.label, band, str(share)) for band, share in one.coverage.bands.items()]
        return ("weights", "answer", "held the true age (95 % binomial bounds)"), rows

    def _notes(self) -> list[str]:
        by = self.judged[0].metrics.resampled
        notes = [
            f"In brackets: {CONFIDENCE:.0%} bootstrap percentile intervals, {RESAMPLES:,} resamples by {by}."
            + ("" if by == "subject" else " Where images share a person these are too narrow.")
        ]
        if self.selection.faces.synthetic:
            notes.append("Drawn faces (synthetic): these numbers say nothing of photos of people.")
        return notes


def _measures(e: Errors) -> dict[str, str]:
    """Every measure of a set of images, by its name in a report."""
    found = {
        "images": f"{e.count:,}",
        "MAE": with_bounds(e.mae, e.mae_bounds),
        "mean signed error (answer - age)": with_bounds(e.bias, e.bias_bounds, "+.2f"),
        "root mean square error": f"{e.rmse:.2f}",
    }
    for n in CA_YEARS:
        found[f"CA({n}), error < {n}"] = with_bounds(e.ca_below[n], (e.ca_below_bounds or {}).get(n), ".1%")
        found[f"CA({n}), error <= {n}"] = f"{e.ca_within[n]:.1%}"
    return found | {f"{p} % of errors are below": f"{e.percentiles[p]:.2f}" for p in PERCENTILES}


def with_bounds(value: float, bounds: Bounds | None, form: str = ".2f") -> str:
    """``3.21 [3.10, 3.32]``, the value alone without bounds."""
    if bounds is None:
        return f"{value:{form}}"
    return f"{value:{form}} [{bounds.low:{form}}, {bounds.high:{form}}]"


def write_report(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write ``files`` by name into ``folder``, made if need be: each is the old one or the new one, whole."""
    check_folder(folder)
    with room_for(folder, "the report was not written; the same command makes it again"):
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            replace_file(folder / name, data)
