"""Figure 2: training and validation curves of the compact networks, the published runs' beside them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ssr_bundle.errors import SsrError
from ssr_bundle.report import Report, Table
from ssr_train import zoo
from ssr_train.paper.page import page
from ssr_train.paper.trained import Entry, Run, Runs, entries

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PROTOCOL = "random"
_PARTS = ("training", "validation")
SYSTEMS = ("mobilenet", "densenet", "ssrnet")
PAPER_DATA = "morph2"
OFFICIAL_DATA = {"morph2": "morph2", "imdb": "imdb", "wiki": "wiki", "megaage-asian": "megaface_asian"}
"""Sets whose curves the authors published: our names, and theirs."""


@dataclass(frozen=True)
class Curves:
    """MAE in years after each epoch."""

    train: Sequence[float]
    validation: Sequence[float]

    @property
    def best(self) -> int:
        """Epoch (from 1) with the least validation MAE, the first of equals."""
        return min(range(len(self.validation)), key=self.validation.__getitem__) + 1

    @classmethod
    def of(cls, run: Run) -> Curves:
        return cls([row["train_mae"] for row in run.history], [row["val_mae"] for row in run.history])


def figure2(runs: Runs, systems: Sequence[str], official: Path | None, official_data: str | None) -> Report:
    """Train ``systems`` at one budget and draw their curves.

    ``official``: JSON of the published runs' curves, ``{"morph2/ssrnet_3_3_3_64_1.0_1.0": {"train_mae":
    [...], "val_mae": [...]}}``; ``official_data``: which of :data:`OFFICIAL_DATA` to show, by default ours
    where it is among them, else morph2.
    """
    chosen = entries(systems)
    shown = official_data or (runs.faces.name if runs.faces.name in OFFICIAL_DATA else PAPER_DATA)
    published = {} if official is None else read_official(official, shown, systems)
    ours = {run.entry.key: Curves.of(run) for run in runs.train(chosen)}
    epochs = max((len(curves.train) for curves in published.values()), default=0)
    return page(
        name="figure2",
        title="Figure 2: training and validation curves",
        facts=[
            *runs.facts(),
            "curves: training MAE is the running one, under augmentation and dropout; validation MAE is of "
            "whole answers, before clipping; dots are best epochs",
            *(
                [
                    f"official: what the authors' runs logged on {shown} in their {epochs} epochs"
                    + ("" if runs.faces.name == shown else f"; another data set than ours, {runs.name}")
                ]
                if published
                else []
            ),
        ],
        tables=[
            Table(
                "MAE, years",
                ("system", "whose", "best epoch", *_PARTS, "last epoch", *_PARTS, "gap"),
                [
                    row
                    for name in ours
                    for row in (
                        _row(name, runs.name, ours[name]),
                        *([_row(name, f"official, {shown}", published[name])] if name in published else []),
                    )
                ],
            )
        ],
        notes=[
            "gap: validation less training MAE of the last epoch; the paper claims that SSR-Net's two curves "
            "are the closest",
            *(
                f"{entry.title}: no official curves on {shown}"
                for entry in chosen
                if official is not None and entry.key not in published
            ),
        ],
        numbers={
            **runs.numbers(),
            "ours": {name: _json(curves) for name, curves in ours.items()},
            "official_data": shown if official is not None else None,
            "official": {name: _json(curves) for name, curves in published.items()},
        },
        draw=lambda figure: _draw(figure, ours, published, shown, 1.3 * runs.constant().mae),
        size=(3.6 * (len(ours) + 1), 4.2),
        synthetic=runs.synthetic,
        caution=runs.caution,
    )


def read_official(path: Path, data: str, systems: Sequence[str]) -> dict[str, Curves]:
    """The published curves of ``systems`` on ``data``; those without are left out.

    Raises :class:`SsrError` for a file that is not of such curves, or has none on ``data``.
    """
    if data not in OFFICIAL_DATA:
        raise SsrError(f"--official-data {data}: unknown, expected one of: {', '.join(OFFICIAL_DATA)}")
    prefix = OFFICIAL_DATA[data]
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8"))
        if not any(name.startswith(f"{prefix}/") for name in found):
            such = f"{prefix}/{_official(Entry('ssrnet', 'ssrnet'))}"
            raise SsrError(f"{path}: no runs on {data} in it, expected names such as {such}")
        return {
            entry.key: _curves(found[name])
            for entry in entries(systems)
            if (name := f"{prefix}/{_official(entry)}") in found
        }
    except SsrError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SsrError(
            f"{path}: not curves of the official runs ({error!r}), expected an object of runs, each with "
            "train_mae and val_mae"
        ) from None


def _official(entry: Entry) -> str:
    """What the public code calls its run of the system, built so."""
    options = {**zoo.options(entry.system), **entry.options}
    names = {
        "ssrnet": "ssrnet_3_3_3_64_1.0_1.0",
        "mobilenet": f"mobilenet_reg_{options.get('alpha')}_64",
        "densenet": f"densenet_reg_{options.get('depth')}_64",
    }
    return names.get(entry.system, entry.key)


def _curves(run: Mapping[str, Any]) -> Curves:
    curves = Curves([float(v) for v in run["train_mae"]], [float(v) for v in run["val_mae"]])
    if not curves.train or len(curves.train) != len(curves.validation):
        raise ValueError(f"{len(curves.train)} training and {len(curves.validation)} validation values")
    if not np.isfinite([*curves.train, *curves.validation]).all():
        raise ValueError("values that are NaN or infinite")
    return curves


def _row(system: str, whose: str, curves: Curves) -> tuple[str, ...]:
    best, last = curves.best - 1, len(curves.train) - 1
    return (
        zoo.describe(system).title,
        whose,
        *(
            text
            for at in (best, last)
            for text in (str(at + 1), f"{curves.train[at]:.2f}", f"{curves.validation[at]:.2f}")
        ),
        f"{curves.validation[last] - curves.train[last]:+.2f}",
    )


def _json(curves: Curves) -> dict[str, Any]:
    return {
        "train_mae": list(curves.train),
        "val_mae": list(curves.validation),
        "best_epoch": curves.best,
        "best_val_mae": curves.validation[curves.best - 1],
        "last_epoch": len(curves.validation),
        "last_val_mae": curves.validation[-1],
    }


def _draw(
    figure: Figure, ours: Mapping[str, Curves], published: Mapping[str, Curves], data: str, top: float
) -> None:
    """A panel a system, and one of all validation curves, up to ``top`` years; epochs as shares where runs
    have other lengths."""
    lengths = {len(curves.train) for curves in (*ours.values(), *published.values())}
    share = len(lengths) > 1
    panels: Sequence[Axes] = figure.subplots(1, len(ours) + 1, sharey=True)
    *alone, together = panels
    for position, (axes, (name, curves)) in enumerate(zip(alone, ours.items(), strict=True)):
        _plot(together, curves.validation, share, color=f"C{position}", label=zoo.describe(name).title)
        shown = [(curves, "-", "")]
        if name in published:
            shown.append((published[name], ":", f", official, {data}"))
            _plot(together, published[name].validation, share, color=f"C{position}", ls=":")
        for these, style, whose in shown:
            _plot(axes, these.train, share, color="tab:blue", ls=style, label=f"training{whose}")
            _plot(axes, these.validation, share, color="tab:orange", ls=style, label=f"validation{whose}")
        axes.set_title(zoo.describe(name).title)
        axes.legend(fontsize=7)
    together.set_title("validation")
    together.legend(fontsize=7)
    for axes in panels:
        axes.set_xlabel("share of the epochs" if share else "epoch")
        axes.set_xlim(left=0)
    panels[0].set(ylabel="MAE (years)", ylim=(0, top))


def _plot(axes: Axes, values: Sequence[float], share: bool, **style: Any) -> None:
    """A curve, with a dot at its least value."""
    scale = 1 / len(values) if share else 1
    epochs = [scale * (epoch + 1) for epoch in range(len(values))]
    (line,) = axes.plot(epochs, values, linewidth=1, **style)
    best = min(range(len(values)), key=values.__getitem__)
    axes.plot([epochs[best]], [values[best]], "o", markersize=4, color=line.get_color())
