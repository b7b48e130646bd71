"""Horizontal bars, readable on a light and on a dark page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_INK = "#7d8590"
_OURS, _PEER = "#2f81f7", "#a5a19a"


@dataclass(frozen=True)
class Bar:
    label: str
    value: float
    ours: bool


def draw(path: Path, panels: Mapping[str, Sequence[Bar]], unit: str = "images a second") -> None:
    """Write ``panels`` side by side as an SVG on no background; ours stand out by colour."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    settings = {
        "svg.fonttype": "none",
        "svg.hashsalt": "ssr",
        "font.family": "sans-serif",
        "font.size": 10,
        "text.color": _INK,
        "axes.labelcolor": _INK,
        "axes.edgecolor": _INK,
        "xtick.color": _INK,
        "ytick.color": _INK,
    }
    count = max(len(bars) for bars in panels.values())
    with pyplot.rc_context(settings):
        size = (4 + 3.2 * len(panels), 0.8 + 0.3 * count)
        figure, axes = pyplot.subplots(1, len(panels), figsize=size, sharey=True, squeeze=False)
        for axis, (title, bars) in zip(axes[0], panels.items(), strict=True):
            places = range(len(bars))
            colours = [_OURS if bar.ours else _PEER for bar in bars]
            drawn = axis.barh(places, [bar.value for bar in bars], color=colours, height=0.7)
            axis.bar_label(drawn, labels=[f"{bar.value:,.0f}" for bar in bars], padding=3, fontsize=9)
            axis.set_yticks(places, [bar.label for bar in bars])
            axis.set_title(f"{title}, {unit}", color=_INK, fontsize=10)
            axis.set_xlim(0, 1.2 * max(bar.value for bar in bars))
            axis.set_xticks([])
            for side in ("top", "right", "bottom"):
                axis.spines[side].set_visible(False)
            axis.tick_params(axis="y", length=0)
        axes[0][0].invert_yaxis()
        figure.tight_layout()
        figure.savefig(path, transparent=True, metadata={"Date": None})
        pyplot.close(figure)
