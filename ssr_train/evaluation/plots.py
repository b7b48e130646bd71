"""Pictures of an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ssr_train.evaluation.metrics import AGE_BANDS, Years, band_name

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_answers(
    figure: Figure, judged: Sequence[tuple[str, Years]], ages: NDArray[np.floating[Any]]
) -> None:
    """Answers against true ages (M,) of each (label, answers), and the errors by band of true age."""
    axes = figure.subplots(1, len(judged) + 1, squeeze=False)
    top = float(max(ages.max(), *(answers.max() for _, answers in judged))) + 1
    for axis, (label, answers) in zip(axes[0], judged, strict=False):
        drawn = axis.hexbin(ages, answers, gridsize=40, extent=(0, top, 0, top), bins="log", mincnt=1)
        axis.plot([0, top], [0, top], color="0.4", linewidth=1)
        axis.set(xlabel="true age (years)", ylabel="answer (years)", title=label, aspect="equal")
        figure.colorbar(drawn, ax=axis, label="images", shrink=0.8)
    bands = np.searchsorted(AGE_BANDS, ages, side="right") - 1
    present = np.unique(bands).tolist()
    names = [band_name(AGE_BANDS, b) for b in present]
    positions = np.arange(len(present))
    for i, (label, answers) in enumerate(judged):
        errors = [answers[bands == b] - ages[bands == b] for b in present]
        at = positions + (i - (len(judged) - 1) / 2) * 0.35
        color = f"C{i}"
        axes[0, -1].bar(
            at, [np.abs(e).mean() for e in errors], 0.35, color=color, alpha=0.6, label=f"{label}: MAE"
        )
        axes[0, -1].plot(
            at, [e.mean() for e in errors], "_", color="black", markersize=12, label=f"{label}: signed"
        )
    axes[0, -1].axhline(0, color="0.4", linewidth=1)
    axes[0, -1].set_xticks(positions, names, rotation=45, ha="right")
    axes[0, -1].set(xlabel="true age (years)", ylabel="error (years)", title="by true age")
    axes[0, -1].margins(y=0.2)
    axes[0, -1].legend(ncols=len(judged))


def draw_gate(
    figure: Figure,
    roc: Sequence[tuple[float, float]],
    chosen: tuple[float, float],
    reliability: Sequence[tuple[float, float, int]],
) -> None:
    """The ROC (false and true accepts, 0..1) with the chosen point, and P(age >= T) said against the share
    found: (mean said, share found, images) a bin."""
    left, right = figure.subplots(1, 2)
    left.step(*zip(*roc, strict=True), where="post")
    left.plot(*chosen, "o", color="C3", label=f"chosen: FAR {chosen[0]:.2%}, accepts {chosen[1]:.1%}")
    left.set(xlabel="false accepts (of those too young)", ylabel="true accepts (of those old enough)")
    left.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    left.legend(loc="lower right")
    said, found, count = (np.array(column, np.float64) for column in zip(*reliability, strict=True))
    right.plot([0, 1], [0, 1], color="0.6", linewidth=1)
    right.plot(said, found, "-", color="C0", linewidth=1)
    right.scatter(said, found, s=12 + 150 * count / count.max(), color="C0")
    right.set(xlabel="P(old enough) said", ylabel="share old enough", title="dots by number of images")
