"""Figure 3: how many numbers SSR-Net takes, by stages and classes, beside a single stage and ORCNN.

Everything is counted from the networks' shapes; nothing is trained. Classes are what a network tells apart:
V of them where a class is a year, as in the paper.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING, Any

from ssr_bundle.errors import SsrError
from ssr_bundle.report import Report, Table
from ssr_train.paper.page import page
from ssr_train.zoo.count import Count, orcnn, ssrnet, ssrnet_heads, stages_for

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CLASSES = (9, 16, 27, 64, 81, 101, 125, 256)
"""Rows by default: powers that stages make exactly, and the paper's 101 ages."""

LARGEST = 256
"""The most bins that a stage can have, so the most classes of a single one."""

_RANGE = range(2, LARGEST + 1)

STAGES = (1, 2, 3, 4)
MULTIPLE = STAGES[1:]

_SINGLE = ("SSR-Net", "classes", "numbers", "in one stage", "difference", "heads alone", "in one stage")
_HEADS = ("heads", "single_heads")


def figure3(classes: Sequence[int] = CLASSES) -> Report:
    """Count for each of ``classes``; :class:`SsrError` unless they lie in 2..256."""
    if foreign := [value for value in classes if value not in _RANGE]:
        raise SsrError(
            f"--classes {foreign[0]}: expected 2 to {LARGEST}, the most bins that a single stage can have"
        )
    configurations = [  # wherever one stage can tell as many classes apart
        _configuration((bins,) * stages)
        for stages in MULTIPLE
        for bins in range(2, LARGEST)
        if bins**stages <= LARGEST
    ]
    ranges = [_range(value) for value in sorted(set(classes))]
    fewer = {stages: _fewer_than_single_from(stages) for stages in MULTIPLE}
    below_orcnn = {stages: _fewer_than_orcnn_up_to(stages) for stages in STAGES}
    return page(
        name="figure3",
        title="Figure 3: parameters against stages and classes",
        facts=[
            "trained numbers of whole networks, counted exactly from their shapes; nothing is trained",
            "K stages of s bins tell s^K classes apart; other numbers of classes take the fewest equal bins "
            "that suffice",
        ],
        tables=[
            Table(
                "The same classes in several stages and in one",
                _SINGLE,
                [_against_single(row) for row in configurations],
            ),
            Table(
                "So many classes in K stages, and in ORCNN",
                ("classes", *(f"K = {stages}" for stages in STAGES), "ORCNN"),
                [
                    (
                        f"{row['classes']}",
                        *(f"{_name(one['stages'])} {one['numbers']:,}" for one in row["ssrnet"]),
                        f"{row['orcnn']:,}",
                    )
                    for row in ranges
                ],
            ),
        ],
        notes=[
            'The paper (section 4.4): "The multi-stage design generally leads to fewer parameters than its '
            'single-stage counterpart, especially when V is large."',
            *(
                f"{stages} stages take fewer numbers than one for any number of classes from {least} to "
                f"{LARGEST}" + (f"; at {least - 1} they do not." if least > 2 else ".")
                for stages, least in fewer.items()
            ),
            "SSR-Net takes fewer numbers than ORCNN for any number of classes up to "
            + ", ".join(f"{most} with {stages}" for stages, most in below_orcnn.items())
            + " stages.",
            "Each stage brings fusion and prediction blocks of its own; few classes do not repay them.",
        ],
        numbers={
            "counted": "trained numbers; heads: fusion and prediction blocks alone",
            "configurations": configurations,
            "classes": ranges,
            "fewer_than_single_stage_from": {str(k): least for k, least in fewer.items()},
            "fewer_than_orcnn_up_to": {str(k): most for k, most in below_orcnn.items()},
        },
        draw=_draw,
        size=(11, 4.5),
    )


def _against_single(row: Mapping[str, Any]) -> tuple[str, ...]:
    numbers, single = row["numbers"], row["single"]
    counts = (f"{numbers:,}", f"{single:,}", f"{100 * (numbers / single - 1):+.1f} %")
    return (_name(row["stages"]), f"{row['classes']}", *counts, *(f"{row[h]:,}" for h in _HEADS))


def _configuration(stages: tuple[int, ...]) -> dict[str, Any]:
    single = (prod(stages),)
    return {
        "stages": stages,
        "classes": prod(stages),
        "numbers": ssrnet(stages).trainable,
        "single": ssrnet(single).trainable,
        "heads": ssrnet_heads(stages).trainable,
        "single_heads": ssrnet_heads(single).trainable,
    }


def _range(classes: int) -> dict[str, Any]:
    chosen = [stages_for(classes, stages) for stages in STAGES]
    return {
        "classes": classes,
        "ssrnet": [{"stages": stages, "numbers": ssrnet(stages).trainable} for stages in chosen],
        "orcnn": orcnn(classes).trainable,
    }


def _numbers(classes: int, stages: int, count: Callable[[Sequence[int]], Count] = ssrnet) -> int:
    return count(stages_for(classes, stages)).trainable


def _fewer_than_single_from(stages: int) -> int:
    """The least number of classes from which on, to the largest, ``stages`` stages need fewer than one."""
    more = [value for value in _RANGE if _numbers(value, stages) >= _numbers(value, 1)]
    return max(more, default=1) + 1


def _fewer_than_orcnn_up_to(stages: int) -> int:
    """The most classes up to which ``stages`` stages always need fewer numbers than ORCNN."""
    more = (value for value in _RANGE if _numbers(value, stages) >= orcnn(value).trainable)
    return next(more, LARGEST + 1) - 1


def _draw(figure: Figure) -> None:
    whole, heads = figure.subplots(1, 2)
    for axes, count, title in ((whole, ssrnet, "whole network"), (heads, ssrnet_heads, "heads alone")):
        for stages in STAGES:
            numbers = [_numbers(value, stages, count) for value in _RANGE]
            axes.plot(_RANGE, numbers, label=f"SSR-Net, K = {stages}")
        axes.set(xlabel="classes (V)", ylabel="trained numbers", title=title, yscale="log")
    whole.plot(_RANGE, [orcnn(value).trainable for value in _RANGE], "k--", label="ORCNN")
    whole.legend()


def _name(stages: Sequence[int]) -> str:
    return f"({','.join(map(str, stages))})"
