"""The dynamic range on and off (section 4.4): trained with it, without it, and switched off afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ssr_bundle.report import Report, Table
from ssr_train import zoo
from ssr_train.evaluation.metrics import Errors
from ssr_train.paper.page import page
from ssr_train.paper.trained import Entry, Run, Runs

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PROTOCOL = "random"
PAPER_DATA = "MORPH2"
PAPER_MAE_WITHOUT = 9.29
"""Section 4.4: "Without it, the MAE is 9.29 for SSR-Net.\""""

WITH = Entry("ssrnet", "ssrnet")
WITHOUT = Entry("ssrnet-fixed-range", "ssrnet", {"dynamic_range": False})


def ablation(runs: Runs) -> Report:
    """Train SSR-Net with and without dynamic range at one budget."""
    on, off = runs.train([WITH, WITHOUT])
    rows = {
        "trained with": _errors(runs, on),
        "trained without": _errors(runs, off),
        "trained with, then switched off": _errors(runs, on, switched_off=True),
    }
    without = f"{PAPER_MAE_WITHOUT:.2f} (which of the two is not said)"
    paper = (f"{zoo.describe('ssrnet').paper.mae:.2f}", without, without)
    constant = runs.constant().mae
    return page(
        name="ablation",
        title="Ablation: dynamic range of SSR-Net (3,3,3) on and off",
        facts=[*runs.facts("both networks"), runs.errors_are, runs.beside(PAPER_DATA, "after pre-training")],
        tables=[
            Table(
                "Mean absolute error, years",
                ("dynamic range", "best epoch", "last epoch", f"paper ({PAPER_DATA})"),
                [
                    *(
                        (name, best.mae_text, last.mae_text, theirs)
                        for (name, (best, last)), theirs in zip(rows.items(), paper, strict=True)
                    ),
                    ("always the mean age", f"{constant:.2f}", f"{constant:.2f}", "-"),
                ],
            )
        ],
        notes=[
            "switched off: the trained network's shifts eta and width changes Delta are set to zero, nothing "
            "else is changed",
        ],
        numbers={
            **runs.numbers(),
            "paper_data": PAPER_DATA,
            "paper_mae": {"with": zoo.describe("ssrnet").paper.mae, "without": PAPER_MAE_WITHOUT},
            "rows": {
                name: {"best": best.to_json(), "last": last.to_json()} for name, (best, last) in rows.items()
            },
        },
        draw=lambda figure: _draw(figure, on, off),
        synthetic=runs.synthetic,
        caution=runs.caution,
    )


def _errors(runs: Runs, run: Run, *, switched_off: bool = False) -> tuple[Errors, Errors]:
    """Of the best and of the last epoch."""
    systems = [run.system(last=last) for last in (False, True)]
    if switched_off:
        systems = [_without_dynamic_range(system) for system in systems]
    best, last = map(runs.errors, systems)
    return best, last


def _without_dynamic_range(system: zoo.System) -> zoo.System:
    """The same numbers in a network that adds no shifts and changes no widths."""
    options: dict[str, Any] = {**system.options, "dynamic_range": False}
    other = zoo.build(system.name, **options)
    other.load_state_dict(system.state_dict())
    return other


def _draw(figure: Figure, on: Run, off: Run) -> None:
    axes = figure.subplots()
    for run, label, colour in ((on, "with", "tab:blue"), (off, "without", "tab:orange")):
        epochs = [row["epoch"] for row in run.history]
        for part, style, key in (("validation", "-", "val_mae"), ("training", "--", "train_mae")):
            values = [row[key] for row in run.history]
            axes.plot(epochs, values, style, color=colour, label=f"{label}, {part}")
    axes.set(xlabel="epoch", ylabel="MAE (years)")
    axes.legend(title="dynamic range")
