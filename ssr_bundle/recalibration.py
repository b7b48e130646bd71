"""A rising map of answers: the contract's ``recalibration``."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from ssr_bundle.fields import ContractError, Fields
from ssr_bundle.shown import shown

POINTS = (2, 64)
"""Least and largest count of points."""

LEAST_STEP = 1e-3
"""How far apart the answers of two points are at least, as a share of the output's range."""

STEEPEST = 4.0
"""The map's steepest slope: it magnifies every rounding of the network as much."""


@dataclass(frozen=True)
class Recalibration:
    """What is served in place of a network's clipped answer: ``after[i]`` for ``before[i]``, and linear in
    between.

    ``before`` rises from one end of the output's range to the other. ``after`` stays in the range, never
    falls, and rises at most :data:`STEEPEST` times as much.
    """

    before: tuple[float, ...]
    after: tuple[float, ...]

    @property
    def steepest(self) -> float:
        """The largest slope."""
        return max(rise / step for step, rise in self._steps())

    def describe(self) -> str:
        return ", ".join(f"{a:g} to {b:g}" for a, b in zip(self.before, self.after, strict=True))

    def to_json(self) -> dict[str, Any]:
        return {"before": list(self.before), "after": list(self.after)}

    @classmethod
    def from_json(cls, data: Any, clip: tuple[float, float]) -> Recalibration | None:
        """Read and check the ``recalibration`` object for an output of range ``clip``; None for null."""
        if data is None:
            return None
        block = Fields(data, "recalibration")
        found = cls(block.numbers("before"), block.numbers("after"))
        low, high = clip
        before, after = found.before, found.after
        apart = all(b - a >= LEAST_STEP * (high - low) for a, b in pairwise(before))
        if not POINTS[0] <= len(before) <= POINTS[1] or (before[0], before[-1]) != clip or not apart:
            raise ContractError(
                f"recalibration.before: expected {POINTS[0]} to {POINTS[1]} numbers that rise from {low} "
                f"to {high}, by a thousandth of that at least, got {shown(block['before'])}"
            )
        inside = len(after) == len(before) and all(low <= v <= high for v in after)
        if not inside or not all(0 <= rise <= STEEPEST * step for step, rise in found._steps()):
            raise ContractError(
                f"recalibration.after: expected {len(before)} numbers in {low}..{high} that never fall, "
                f"and rise at most {STEEPEST:g} times as much as before, got {shown(block['after'])}"
            )
        return found

    def _steps(self) -> list[tuple[float, float]]:
        return [
            (b - a, d - c) for (a, b), (c, d) in zip(pairwise(self.before), pairwise(self.after), strict=True)
        ]
