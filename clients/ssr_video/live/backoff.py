"""Pauses between tries that grow while they fail."""

from __future__ import annotations

import random
from collections.abc import Callable


class Backoff:
    """Pauses between tries, in seconds: from ``first`` each twice the one before, up to ``longest``; each
    shortened by up to half, so that many clients do not come back at once."""

    def __init__(
        self, first: float = 0.5, longest: float = 30.0, chance: Callable[[], float] = random.random
    ) -> None:
        self._first, self._longest, self._chance = first, longest, chance
        self._pause = first

    def pause(self) -> float:
        pause, self._pause = self._pause, min(2 * self._pause, self._longest)
        return pause * (1 - self._chance() / 2)

    def reset(self) -> None:
        self._pause = self._first
