"""Numbers in networks, counted from their shapes: what Figure 3 of the paper compares.

The paper's argument (sections 3.2 and 4.4): K stages of s_k bins tell prod(s_k) classes apart with
sum(s_k) neurons a layer, where a single stage needs prod(s_k).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from ssr_bundle.contract import Architecture


@dataclass(frozen=True)
class Count:
    """Numbers in a network: ``trainable`` by gradients, and ``stored`` with it (running statistics too)."""

    trainable: int
    stored: int

    @property
    def megabytes(self) -> float:
        """Size of the stored numbers in float32, in units of 10^6 bytes."""
        return self.stored * 4 / 1e6


def stages_for(classes: int, stages: int) -> tuple[int, ...]:
    """The fewest equal bins in ``stages`` stages that tell ``classes`` apart: 101 in 3 makes (5, 5, 5)."""
    if classes < 1 or stages < 1:
        raise ValueError(f"expected at least one class and one stage, got {classes} and {stages}")
    bins = 1
    while bins**stages < classes:
        bins += 1
    return (bins,) * stages


def ssrnet(stages: Sequence[int]) -> Count:
    """SSR-Net(``stages``) as it is trained here."""
    shapes = Architecture(stages=tuple(stages)).parameter_shapes()
    running = sum(prod(s) for name, s in shapes.items() if ".running_" in name)
    stored = sum(map(prod, shapes.values()))
    return Count(stored - running, stored)


def ssrnet_heads(stages: Sequence[int]) -> Count:
    """The fusion and prediction blocks of SSR-Net(``stages``) alone."""
    shapes = Architecture(stages=tuple(stages)).parameter_shapes()
    numbers = sum(prod(s) for name, s in shapes.items() if name.startswith("stages."))
    return Count(numbers, numbers)


def orcnn(classes: int) -> Count:
    """ORCNN over ``classes`` ranks: ``classes`` - 1 outputs of two neurons, and their importances."""
    if classes < 2:
        raise ValueError(f"expected at least two classes, got {classes}")
    layers = ((20, 3 * 5**2), (40, 20 * 7**2), (80, 40 * 11**2), (80, 80), (2 * (classes - 1), 80))
    trainable = sum(outputs * (inputs + 1) for outputs, inputs in layers)
    return Count(trainable, trainable + classes - 1)
