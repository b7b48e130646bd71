"""Replay a bundle's golden record through the best implementation that this machine has."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ssr_train.bundle import Bundle
from ssr_train.errors import SsrError

TOLERANCE_YEARS = 2e-3
"""fp32 against the float64 reference, in years for V = 101; scaled by V / 101 (DESIGN section 6)."""


class ReplayError(SsrError):
    """An implementation that does not give the bundle's recorded answers."""


@dataclass(frozen=True)
class Replay:
    """What ran, on how many images, and the largest difference to the record, in the output's unit."""

    implementation: str
    images: int
    worst: float
    tolerance: float


def replay(bundle: Bundle) -> Replay:
    """Answer the recorded images and compare: native engine if built, else the NumPy reference.

    Raises :class:`ReplayError` where an answer lies outside the tolerance of fp32.
    """
    golden = bundle.golden()
    images = golden["images"]
    name, answers = _engine(bundle, images) or _reference(bundle, images)
    tolerance = TOLERANCE_YEARS * bundle.contract.architecture.value_range / 101.0
    worst = float(np.abs(answers - golden["output"]).max())
    if not worst <= tolerance:
        raise ReplayError(
            f"{bundle.path}: {name} differs from the golden record by {worst:.3g}, "
            f"at most {tolerance:.3g} is allowed"
        )
    return Replay(name, len(images), worst, tolerance)


def _engine(bundle: Bundle, images: NDArray[np.uint8]) -> tuple[str, NDArray[np.floating]] | None:
    try:
        from ssr_ops import Engine
    except ImportError:
        return None
    return "native engine", Engine(bundle.path).predict(images)


def _reference(bundle: Bundle, images: NDArray[np.uint8]) -> tuple[str, NDArray[np.floating]]:
    from ssr_ops import reference

    stages = reference.network(bundle.parameters(), bundle.contract.architecture, images)
    return "NumPy reference", reference.answer(bundle.contract, stages)[bundle.contract.interface.output.name]
