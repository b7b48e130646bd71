"""What labels say of ages: one age, or a bin of whole years such as 30 to 39.

A bin holds every age from its low end to the day before the birthday behind its high end: 39 years and some
months are in 30 to 39. Nothing here takes a bin's middle for the age.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Years = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Spans:
    """Labels of N faces. ``low``, ``high`` (N,): the youngest and the oldest age that each allows, in years;
    equal where it is one age, ``high`` infinite where a bin is open."""

    low: Years
    high: Years

    @classmethod
    def of(cls, ends: Iterable[tuple[float, float]]) -> Spans:
        """From the ends of each label."""
        low, high = np.array(list(ends), np.float64).reshape(-1, 2).T
        return cls(low, high)

    @classmethod
    def exact(cls, ages: NDArray[np.floating[Any]]) -> Spans:
        """Of labels that are ages (N,)."""
        years = ages.astype(np.float64)
        return cls(years, years)

    def __len__(self) -> int:
        return len(self.low)

    def __getitem__(self, index: NDArray[np.int64] | Flags) -> Spans:
        return Spans(self.low[index], self.high[index])

    @property
    def binned(self) -> Flags:
        """Which labels are bins (N,)."""
        return np.asarray(self.low != self.high)

    @property
    def above(self) -> Years:
        """Where each label ends (N,): at the age, or a year behind the oldest of the bin."""
        return np.where(self.binned, self.high + 1, self.high)

    def nearest(self, answers: Years) -> Years:
        """The age within each label that is nearest to its answer (N,): an answer less this is its error, 0
        inside a bin."""
        return np.clip(answers, self.low, self.above)

    def overlap(self, low: Years, high: Years) -> Flags:
        """Which labels have an age in common with the interval ``low`` to ``high`` (N,), ends included."""
        return np.asarray((low <= self.above) & (self.low <= high))

    def known_from(self, age: float) -> Flags:
        """Which faces (N,) are ``age`` or older, whatever age of the label is theirs."""
        return np.asarray(self.low >= age)

    def known_under(self, age: float) -> Flags:
        """Which faces (N,) are younger than ``age``, whatever age of the label is theirs."""
        return np.where(self.binned, self.above <= age, self.low < age)

    def name(self, number: int) -> str:
        """The label of face ``number`` in words."""
        low, high = float(self.low[number]), float(self.high[number])
        if low == high:
            return f"{low:g}"
        return f"{low:g} and over" if math.isinf(high) else f"{low:g} to {high:g}"
