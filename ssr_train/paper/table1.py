"""Table 1: mean absolute error, size and inference time of SSR-Net and its competitors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from ssr_bundle.machine import hardware, versions
from ssr_bundle.report import Report, Table
from ssr_train import zoo
from ssr_train.paper.page import number, page
from ssr_train.paper.timing import NATIVE, milliseconds
from ssr_train.paper.trained import Measured, Runs, entries
from ssr_train.zoo.count import Count

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PROTOCOL = "random"
PAPER_DATA = "MORPH2"

Sizes = Mapping[str, tuple[Count, Count]]  # by key: as trained here, and at the paper's size
Times = Mapping[str, Mapping[str, float]]  # by device, then by key: milliseconds


def table1(runs: Runs, systems: Sequence[str], seconds: float) -> Report:
    """Train ``systems`` at one budget; measure errors, sizes and, for about ``seconds`` a device, times."""
    measured = [runs.measure(run) for run in runs.train(entries(systems))]
    sizes = {one.key: (one.run.system().count(), _paper_size(one)) for one in measured}
    times = _times(runs, measured, seconds)
    constant = runs.constant().mae
    return page(
        name="table1",
        title="Table 1: error, size and inference time",
        facts=[
            *runs.facts(),
            runs.errors_are,
            runs.beside(PAPER_DATA, "after pre-training, of the last epoch"),
            f"times: {hardware()}, {versions('torch')}; one picture from bytes to age, batch 1, fp32, one "
            "thread; warmed up, all in turns, the median; PyTorch is eager",
        ],
        tables=[_errors(measured, constant), _sizes(measured, sizes), _inference(measured, times)],
        notes=[
            "MB are 10^6 bytes of stored float32 numbers; the paper's small sizes are those of Keras files, "
            "which hold more than numbers",
            *runs.notes(measured),
        ],
        numbers={
            **runs.numbers(),
            "paper_data": PAPER_DATA,
            "hardware": hardware(),
            "native_engine_milliseconds": times["cpu"].get(NATIVE),
            "systems": [
                {
                    **one.to_json(),
                    "trained_numbers": sizes[one.key][0].trainable,
                    "stored_numbers": sizes[one.key][0].stored,
                    "stored_numbers_at_paper_size": sizes[one.key][1].stored,
                    "milliseconds": {device: spent[one.key] for device, spent in times.items()},
                    "paper": {
                        "mae": one.paper.mae,
                        "megabytes": one.paper.megabytes,
                        "milliseconds": dict(one.paper.milliseconds),
                    },
                }
                for one in measured
            ],
        },
        draw=lambda figure: _draw(figure, measured, sizes, constant),
        synthetic=runs.synthetic,
        caution=runs.caution,
    )


def _errors(measured: Sequence[Measured], constant: float) -> Table:
    return Table(
        "Mean absolute error, years",
        ("system", "best epoch", "MAE", "last epoch", "MAE", f"paper ({PAPER_DATA})", "training, s"),
        [
            *(
                (
                    one.title,
                    str(one.run.best_row["epoch"]),
                    one.best.mae_text,
                    str(one.run.history[-1]["epoch"]),
                    one.last.mae_text,
                    number(one.paper.mae, ".2f"),
                    f"{one.run.seconds:,.0f}",
                )
                for one in measured
            ),
            ("always the mean age", "-", f"{constant:.2f}", "-", f"{constant:.2f}", "-", "-"),
        ],
    )


def _sizes(measured: Sequence[Measured], sizes: Sizes) -> Table:
    header = ("system", "trained", "stored", "MB", "at the paper's size: stored", "MB", "paper, MB")
    rows = []
    for one in measured:
        ours, paper = sizes[one.key]
        here = (one.title, f"{ours.trainable:,}", f"{ours.stored:,}", f"{ours.megabytes:,.2f}")
        there = (f"{paper.stored:,}", f"{paper.megabytes:,.2f}", number(one.paper.megabytes, ",g"))
        rows.append((*here, *there))
    return Table("Size, in numbers and in MB", header, rows)


def _inference(measured: Sequence[Measured], times: Times) -> Table:
    devices = {"cpu": "CPU", "gpu": "GPU"}
    header = (
        "system",
        *(f"{devices[device]}, ms" for device in times),
        *(f"paper, {name}, ms" for name in devices.values()),
    )
    rows = [
        (
            f"{one.title}, PyTorch",
            *(f"{spent[one.key]:.3f}" for spent in times.values()),
            *(number(one.paper.milliseconds.get(device), ".2f") for device in devices),
        )
        for one in measured
    ]
    if NATIVE in times["cpu"]:
        ours = [number(spent.get(NATIVE), ".3f") for spent in times.values()]
        below = next(i for i, one in enumerate(measured, 1) if one.run.entry.system == "ssrnet")
        rows.insert(below, (f"SSR-Net, {NATIVE}", *ours, "-", "-"))
    return Table("Inference", header, rows)


def _times(runs: Runs, measured: Sequence[Measured], seconds: float) -> dict[str, dict[str, float]]:
    """On the CPU, and on a GPU where torch sees one."""
    systems = {one.key: one.run.system() for one in measured}
    image = runs.faces.images[runs.split.test[:1]]
    bundle = next((one.run.folder.best for one in measured if one.run.entry.system == "ssrnet"), None)
    times = {"cpu": milliseconds(systems, image, bundle=bundle, seconds=seconds)}
    if torch.cuda.is_available():
        times["gpu"] = milliseconds(systems, image, device="cuda", seconds=seconds)
    return times


def _paper_size(one: Measured) -> Count:
    """The size that the paper's table is about, counted without making the numbers."""
    with torch.device("meta"):
        return zoo.build(one.about.name, **one.paper.options).count()


def _draw(figure: Figure, measured: Sequence[Measured], sizes: Sizes, constant: float) -> None:
    from matplotlib.ticker import LogLocator

    axes = figure.subplots()
    markers = "osD^vP*X<>p"
    for position, one in enumerate(measured):
        bounds = one.last.mae_bounds
        spread = None if bounds is None else [[one.last.mae - bounds.low], [bounds.high - one.last.mae]]
        size, marker = sizes[one.key][0].megabytes, markers[position % len(markers)]
        axes.errorbar([size], [one.last.mae], yerr=spread, fmt=marker, capsize=3, label=one.title)
    axes.axhline(constant, color="0.6", linestyle=":", label="always the mean age")
    axes.set(xscale="log", xlabel="size (MB)", ylabel="MAE of the last epoch (years)")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("")
    axes.set_ylim(bottom=0)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=8)
