"""The paper's recipe (section 4.1): batch size, and a rate falling tenfold every third of the epochs."""

from __future__ import annotations

import math

PAPER_EPOCHS = 90
PAPER_STEP = 30
PAPER_RATE = 0.002
PAPER_BATCH, PAPER_BATCH_IMDB = 50, 128
DECAY = 10


def batch_size(data: str) -> int:
    """Faces a step on the data set of that published name."""
    return PAPER_BATCH_IMDB if data == "imdb" else PAPER_BATCH


def default_step(epochs: int) -> int:
    """Epochs at one rate: the paper's 30 of 90, in proportion."""
    return max(1, math.ceil(epochs * PAPER_STEP / PAPER_EPOCHS))


def learning_rate(base: float, epoch: int, step: int) -> float:
    """Rate of ``epoch`` (from 0)."""
    return float(base / DECAY ** (epoch // step))
