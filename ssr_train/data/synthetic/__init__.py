"""Drawn faces with known ages: a data set that needs no download, for trying the trainer and for tests.

Face ``index`` of ``seed`` is the same picture whatever else is drawn, in whatever order and by however
many workers. Look at some: ``python -m ssr_train.data.synthetic --sheet faces.png``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from ssr_bundle.contract import IMAGE_SIZE
from ssr_bundle.errors import SsrError
from ssr_train.data.synthetic.painter import paint
from ssr_train.data.synthetic.traits import sample
from ssr_train.data.workers import in_order

VERSION = 1
"""Goes up whenever the same (seed, index) would give another picture."""

OLDEST = 100
_BLOCK = 250


class Faces(NamedTuple):
    """Pictures (N, 64, 64, 3) uint8 BGR and ages (N,) float32 in whole years."""

    images: NDArray[np.uint8]
    ages: NDArray[np.float32]


def draw(seed: int, index: int, age: float | None = None) -> tuple[NDArray[np.uint8], int]:
    """Face ``index`` of ``seed``: (64, 64, 3) uint8 BGR and its age, 0..100 whole years.

    ``age`` draws the same person's picture at that age instead of the sampled one.
    """
    rng = np.random.default_rng((VERSION, seed, index))
    sampled = rng.beta(1.15, 1.65) * (OLDEST + 1)
    years = min(int(sampled if age is None else age), OLDEST)
    traits = sample(rng, float(sampled if age is None else age))
    return paint(rng, traits), years


def draw_faces(
    count: int, seed: int, workers: int = 1, progress: Callable[[int], None] | None = None
) -> Faces:
    """Faces 0..count-1 of ``seed``; ``progress`` hears how many are done.

    ``workers`` above 1 starts processes: call it under ``if __name__ == "__main__"`` then.
    """
    if count < 1:
        raise SsrError(f"count must be at least 1, got {count}")
    if seed < 0:
        raise SsrError(f"seed must not be negative, got {seed}")
    images = np.empty((count, IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
    ages = np.empty(count, np.float32)
    blocks = [(seed, start, min(start + _BLOCK, count)) for start in range(0, count, _BLOCK)]
    drawn = in_order(_draw_block, blocks, min(workers, len(blocks)) if len(blocks) >= 4 else 1)
    for (_, start, stop), faces in zip(blocks, drawn, strict=True):
        images[start:stop], ages[start:stop] = faces
        if progress is not None:
            progress(stop)
    return Faces(images, ages)


def _draw_block(block: tuple[int, int, int]) -> Faces:
    cv2.setNumThreads(1)
    seed, start, stop = block
    pairs = [draw(seed, index) for index in range(start, stop)]
    return Faces(np.stack([image for image, _ in pairs]), np.array([age for _, age in pairs], np.float32))
