"""Table 2: cumulative accuracies CA(3) and CA(5), in both readings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ssr_bundle.report import Report, Table
from ssr_train.evaluation.metrics import Bounds, Errors, bounded
from ssr_train.paper.page import page
from ssr_train.paper.trained import Measured, Runs, entries

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PROTOCOL = "distributed"
SYSTEMS = ("mobilenet", "densenet", "ssrnet")
PAPER_DATA = "MegaAge-Asian"
YEARS = (3, 5)


def table2(runs: Runs, systems: Sequence[str]) -> Report:
    """Train ``systems`` at one budget and count the test images with small errors."""
    measured = [runs.measure(run) for run in runs.train(entries(systems))]
    constant = runs.constant()
    return page(
        name="table2",
        title="Table 2: cumulative accuracy",
        facts=[
            *runs.facts(),
            runs.errors_are,
            runs.beside(PAPER_DATA, "after pre-training"),
            "CA(n): percent of the test images with an error < n years, as the paper defines it, and <= n "
            "years, as its public code counts",
        ],
        tables=[
            Table(
                "CA(n), percent",
                (
                    "system",
                    "epoch",
                    *(f"CA({n}) {sign} {n}" for n in YEARS for sign in ("<", "<=")),
                    *(f"paper, CA({n})" for n in YEARS),
                ),
                [
                    *(row for one in measured for row in _rows(one)),
                    ("always the mean age", "-", *_shares(constant), *("-" for _ in YEARS)),
                ],
            )
        ],
        notes=runs.notes(measured),
        numbers={
            **runs.numbers(),
            "paper_data": PAPER_DATA,
            "systems": [{**one.to_json(), "paper": {"ca": dict(one.paper.ca)}} for one in measured],
        },
        draw=lambda figure: _draw(figure, measured),
        synthetic=runs.synthetic,
        caution=runs.caution,
    )


def _rows(one: Measured) -> list[tuple[str, ...]]:
    paper = [f"{100 * one.paper.ca[n]:.1f}" if n in one.paper.ca else "-" for n in YEARS]
    epochs = {"best": (one.run.best_row, one.best), "last": (one.run.history[-1], one.last)}
    return [
        (one.title, f"{row['epoch']} ({which})", *_shares(errors), *paper)
        for which, (row, errors) in epochs.items()
    ]


def _shares(errors: Errors) -> list[str]:
    bounds: Mapping[int, Bounds] = errors.ca_below_bounds or {}
    shares = []
    for n in YEARS:
        shares.append(bounded(errors.ca_below[n], bounds.get(n), ".1f", 100))
        shares.append(bounded(errors.ca_within[n], None, ".1f", 100))
    return shares


def _draw(figure: Figure, measured: Sequence[Measured]) -> None:
    axes = figure.subplots()
    width = 0.8 / len(measured)
    for position, one in enumerate(measured):
        places = [i + (position - (len(measured) - 1) / 2) * width for i in range(len(YEARS))]
        bars = axes.bar(places, [100 * one.last.ca_below[n] for n in YEARS], width * 0.95, label=one.title)
        axes.bar_label(bars, fmt="%.1f", fontsize=8)
    axes.set_xticks(range(len(YEARS)), [f"error < {n} years" for n in YEARS])
    axes.set_ylabel("CA of the last epoch (% of test images)")
    axes.legend()
