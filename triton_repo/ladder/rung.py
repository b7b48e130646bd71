"""What every rung is, whoever computes: something to open, which then answers pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]
"""(N, 64, 64, 3) in the contract's colour order."""
Answers = NDArray[np.floating[Any]]
"""(N,) in the output's unit, clipped to the contract's range."""
Predict = Callable[[Images], Answers]

STEPS: dict[str, tuple[str, ...]] = {
    "torch": ("fp32",),
    "native": ("fp32", "bf16", "int8"),
    "onnx": ("fp32", "fp16", "int8"),
    "tensorrt": ("fp32", "fp16", "int8"),
    "served": ("fp32", "bf16", "int8"),
}
"""The steps above the reference, in order, and the precisions of each."""

PRECISIONS = tuple(dict.fromkeys(p for precisions in STEPS.values() for p in precisions))


class NotRun(Exception):
    """This rung cannot be climbed here, which says nothing of the answers. The message is the reason.

    ``built``: what would run was made, so that only the machine to run it on is missing.
    """

    def __init__(self, reason: str, *, built: bool = False) -> None:
        super().__init__(reason)
        self.built = built


class Opened(NamedTuple):
    """A rung that answers. ``by``: what computes; ``twin``: whose answers it must give, to the last bit."""

    predict: Predict
    by: str
    twin: Predict | None = None


@dataclass(frozen=True)
class Rung:
    """One thing to compare with the reference.

    ``by``: what is to compute. ``open`` raises :class:`NotRun` where this machine lacks what it takes, and
    ``SsrError`` where something is wrong. ``held_to``: the step whose row of ``ssr_bundle.tolerances`` holds,
    if not its own.
    """

    step: str
    precision: str
    by: str
    open: Callable[[], Opened]
    held_to: str = ""
