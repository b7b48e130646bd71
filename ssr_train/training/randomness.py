"""Seeds derived from a run's seed: every random choice is a function of what it is for and where it falls."""

from __future__ import annotations

import numpy as np

ORDER, STEP, INITIAL = 1, 2, 4  # which choice a derived seed is for; 3 is the split's


def derive(*numbers: int) -> int:
    """One seed from several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])
