"""What a search for a crop found, and the report that says it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ssr_bundle.contract import Crop
from ssr_bundle.recalibration import Recalibration
from ssr_bundle.report import Facts, Part, Picture, Report, Table
from ssr_train.crops.measured import Result
from ssr_train.crops.search import Trial
from ssr_train.evaluation.metrics import CONFIDENCE, RESAMPLES, bounded

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CHOSEN, RECALIBRATED = "chosen", "chosen, recalibrated"
"""Labels of results."""

MAP_STEP = 0.1
"""Between the crops of a map, which is a square around the chosen one, in box widths and heights."""


@dataclass(frozen=True)
class OfSet:
    """One set: how it was read, how many ``pictures``, why some ``missed``, how many faces were ``searched``
    and ``held_out``, and what was found on the latter, cut by cut."""

    name: str
    distribution: str
    pictures: int
    missed: Mapping[str, int]
    searched: int
    held_out: int
    binned: bool
    results: Sequence[Result]

    def counts(self) -> str:
        """One line."""
        lost = ", ".join(f"{count:,} × {kind}" for kind, count in self.missed.items())
        used = f"{self.searched:,} faces searched, {self.held_out:,} held out"
        return f"{self.name}: {self.pictures:,} pictures, {used}" + (f"; not used: {lost}" if lost else "")

    def to_json(self) -> dict[str, Any]:
        counts = {
            name: getattr(self, name) for name in ("name", "distribution", "pictures", "searched", "held_out")
        }
        return counts | {
            "missed": dict(self.missed),
            "labels": "ages and bins" if self.binned else "ages",
            "results": [one.to_json() for one in self.results],
        }


@dataclass(frozen=True)
class Found:
    """The crop that was ``chosen``. ``places``: the crops of the map, rows of equal margin along the height;
    ``regrets``: theirs, in years, on a sample of the faces searched. ``tried``: how many crops were measured.
    ``notes``: what the reader has to know besides. ``recalibration``: of the answers, where asked for."""

    bundle: str
    box: str
    chosen: Trial
    sets: Sequence[OfSet]
    tried: int
    places: Sequence[Sequence[Trial | None]]
    regrets: Mapping[Trial, float]
    notes: Sequence[str]
    recalibration: Recalibration | None = None

    @property
    def crop(self) -> Crop:
        return self.chosen.crop(self.box)

    def to_json(self) -> dict[str, Any]:
        cells = [trial for row in self.places for trial in row if trial is not None]
        return {
            "bundle": self.bundle,
            "unit": "years",
            "crop": self.crop.to_json(),
            "recalibration": None if self.recalibration is None else self.recalibration.to_json(),
            "tried": self.tried,
            "sets": [one.to_json() for one in self.sets],
            "map": [{**vars(trial), "worst_regret": self.regrets[trial]} for trial in cells],
            "bootstrap": {"resamples": RESAMPLES, "confidence": CONFIDENCE},
            "notes": list(self.notes),
        }

    def report(self) -> Report:
        several = len(self.sets) > 1
        aim = "the smallest worst regret over the sets" if several else "the smallest mean error"
        parts: list[Part] = [
            Facts([
                f"chosen: {self.crop.describe()}: {aim} of {self.tried:,} crops, on the faces searched",
                *self._recalibrated(),
                *(one.counts() for one in self.sets),
            ]),
            *(self._table(one) for one in self.sets),
            *self.notes,
            self._map(),
            self._picture(),
        ]  # fmt: skip
        return Report(f"Crop of {self.bundle}", parts, self.to_json(), "crop")

    def _table(self, one: OfSet) -> Table:
        rows = [
            (
                result.label,
                "-" if result.crop is None else _margins(result.crop),
                bounded(result.mae, result.mae_bounds),
                bounded(result.bias, result.bias_bounds, "+.2f"),
                "-" if result.correlation is None
                else bounded(result.correlation, result.correlation_bounds),
                "-" if result.regret is None else bounded(result.regret, result.regret_bounds, "+.2f"),
            )
            for result in one.results
        ]  # fmt: skip
        header = ("cut", "left, top, right, bottom, border", "MAE", "signed", "correlation", "regret")
        return Table(f"{one.name}: the {one.held_out:,} faces held out", header, rows)

    def _map(self) -> Table:
        """Down the margin along the height, across that along the width."""
        width = self._axis("across")
        rows = [
            (f"{along:g}", *("-" if trial is None else f"{self.regrets[trial]:.2f}" for trial in row))
            for along, row in zip(self._axis("along"), self.places, strict=True)
        ]
        return Table(
            f"Worst regret in years, shift {self.chosen.shift:g}, border {self.chosen.border}",
            ("mean of top and bottom \\ left and right", *(f"{across:g}" for across in width)),
            rows,
        )

    def _axis(self, name: str) -> list[float]:
        """The margins of the map's rows (``along``) or columns (``across``)."""
        middle = len(self.places) // 2
        return [
            round(getattr(self.chosen, name) + (i - middle) * MAP_STEP, 2) + 0.0
            for i in range(len(self.places))
        ]

    def _recalibrated(self) -> list[str]:
        if self.recalibration is None:
            return []
        return [
            f"answers recalibrated: {self.recalibration.describe()} years, linear in between; fitted to the "
            "faces searched, each set counting alike"
        ]

    def _picture(self) -> Picture:
        title = f"Worst regret of {self.bundle} (years)"
        if self.recalibration is None:
            return Picture("worst regret by margins", self.draw, (6.4, 5), title)
        text = "worst regret by margins, and answers before and after recalibration"
        return Picture(text, self._draw_both, (11, 5), f"{title}, and its answers")

    def _draw_both(self, figure: Figure) -> None:
        parts: Any = figure.subfigures(1, 2, width_ratios=(6.4, 4.6))
        left, right = parts
        self.draw(left)
        assert self.recalibration is not None
        axes = right.subplots()
        before, after = self.recalibration.before, self.recalibration.after
        axes.plot(before, before, color="0.7", linestyle="--", label="as it is")
        axes.plot(before, after, "o-", markersize=4, label="recalibrated")
        axes.set(xlabel="the network's answer (years)", ylabel="what is served (years)")
        axes.legend()

    def draw(self, figure: Any) -> None:
        """The map, into an empty figure."""
        axes = figure.subplots()
        values = np.array([[np.nan if t is None else self.regrets[t] for t in row] for row in self.places])
        values[~np.isfinite(values)] = np.nan
        drawn = axes.imshow(values, origin="lower", cmap="viridis_r", aspect="auto")
        for (y, x), value in np.ndenumerate(values):
            if np.isfinite(value):
                axes.text(x, y, f"{value:.1f}", ha="center", va="center", color="white", fontsize=7)
        middle = len(self.places) // 2
        axes.plot(middle, middle, "s", markersize=24, markerfacecolor="none", markeredgecolor="C3")
        axes.set_xticks(range(len(self._axis("across"))), [f"{v:g}" for v in self._axis("across")])
        axes.set_yticks(range(len(self._axis("along"))), [f"{v:g}" for v in self._axis("along")])
        axes.set(
            xlabel="margin left and right (box widths)",
            ylabel="mean margin of top and bottom (box heights)",
            title=f"shift {self.chosen.shift:g}, border {self.chosen.border}; the square is the one chosen",
        )
        figure.colorbar(drawn, ax=axes, label="years")


def _margins(crop: Crop) -> str:
    if crop.template is not None:
        return crop.describe()
    return f"{', '.join(f'{m:g}' for m in crop.margin)}, {crop.border}"
