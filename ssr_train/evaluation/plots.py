"""Pictures of an evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ssr_train.data.spans import Spans
from ssr_train.evaluation.metrics import Years, age_parts

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ssr_train.evaluation.intervals import Share

_OPEN_BIN = 10
"""Years over which faces of an open bin are drawn."""

_SMALL = 0.02
"""A rate below which its axis is logarithmic."""


def draw_answers(figure: Figure, judged: Sequence[tuple[str, Years]], labels: Spans) -> None:
    """Answers against true ages (M,) of each (label, answers), and the errors by band of true age or by bin.
    Faces with a bin are spread evenly over it."""
    ages, where = _spread(labels), "true age (years)"
    if labels.binned.any():
        where += ", spread over each bin"
    axes = figure.subplots(1, len(judged) + 1, squeeze=False)
    top = float(max(ages.max(), *(answers.max() for _, answers in judged))) + 1
    for axis, (label, answers) in zip(axes[0], judged, strict=False):
        drawn = axis.hexbin(ages, answers, gridsize=40, extent=(0, top, 0, top), bins="log", mincnt=1)
        axis.plot([0, top], [0, top], color="0.4", linewidth=1)
        axis.set(xlabel=where, ylabel="answer (years)", title=label, aspect="equal")
        figure.colorbar(drawn, ax=axis, label="images", shrink=0.8)
    parts = age_parts(labels)
    positions = np.arange(len(parts))
    for i, (label, answers) in enumerate(judged):
        signed = answers - labels.nearest(answers)
        errors = [signed[rows] for rows in parts.values()]
        at = positions + (i - (len(judged) - 1) / 2) * 0.35
        color = f"C{i}"
        axes[0, -1].bar(
            at, [np.abs(e).mean() for e in errors], 0.35, color=color, alpha=0.6, label=f"{label}: MAE"
        )
        axes[0, -1].plot(
            at, [e.mean() for e in errors], "_", color="black", markersize=12, label=f"{label}: signed"
        )
    axes[0, -1].axhline(0, color="0.4", linewidth=1)
    axes[0, -1].set_xticks(positions, list(parts), rotation=45, ha="right")
    axes[0, -1].set(xlabel="true age (years)", ylabel="error (years)", title="by true age")
    axes[0, -1].margins(y=0.2)
    axes[0, -1].legend(ncols=len(judged))


def _spread(labels: Spans) -> Years:
    """Where faces (M,) are drawn: at their age; those with a bin evenly over it, or over ten years of an
    open one."""
    ages = labels.low.copy()
    for low, above in np.unique(np.stack([labels.low, labels.above], 1)[labels.binned], axis=0).tolist():
        rows = labels.binned & (labels.low == low) & (labels.above == above)
        width = above - low if np.isfinite(above) else _OPEN_BIN
        ages[rows] += width * (np.arange(rows.sum()) + 0.5) / rows.sum()
    return ages


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


def draw_challenge(
    figure: Figure,
    lines: Sequence[tuple[str, Mapping[float, Share], Mapping[float, Share]]],
    challenge: float,
) -> None:
    """Of each named group, by challenge age: who passes under age, and who is asked for proof though as old
    or older. The first line is everybody's, with its bounds. An axis is logarithmic where a rate is small."""
    left, right = figure.subplots(1, 2)
    passed = [(name, one) for name, one, _ in lines]
    asked = [(name, one) for name, _, one in lines]
    _draw_rates(left, passed, challenge, "under age and estimated at T or older", "people under age")
    _draw_rates(
        right, asked, challenge, "T or older and asked for proof", f"people of {challenge:g} and over"
    )


def _draw_rates(
    axis: Axes, lines: Sequence[tuple[str, Mapping[float, Share]]], challenge: float, title: str, people: str
) -> None:
    least = 1.0
    for number, (name, every) in enumerate(lines):
        shares = {age: share for age, share in every.items() if share.count}
        rates = [share.value for share in shares.values()]
        least = min([least, *(rate for rate in rates if rate > 0)])
        color, width = ("black", 2.5) if number == 0 else (f"C{number - 1}", 1.2)
        label = f"{name} ({every[challenge].count:,})"
        axis.plot(list(shares), rates, marker=".", color=color, linewidth=width, label=label)
        if number == 0 and shares:
            low, high = zip(*(share.bounds() for share in shares.values()), strict=True)
            axis.fill_between(list(shares), low, high, color="black", alpha=0.12)
    if least < _SMALL:
        axis.set_yscale("log")
    else:
        axis.set_ylim(0, 1)
    axis.axvline(challenge, color="0.6", linewidth=1, linestyle=":")
    axis.set(xlabel="challenge age T (years)", ylabel="share of people", title=title)
    axis.legend(fontsize="small", title=people)
