"""Drawn faces with known ages: a data set that needs no download, for trying the trainer and for tests.

Face ``index`` of ``seed`` is the same picture whatever else is drawn, in whatever order and by however
many workers. Look at some: ``python -m ssr_train.data.synthetic --sheet faces.png``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from ssr_bundle.contract import IMAGE_SIZE, Crop
from ssr_bundle.errors import SsrError
from ssr_train.data.synthetic.painter import Painter
from ssr_train.data.synthetic.traits import sample
from ssr_train.data.workers import in_order

VERSION = 1
"""Goes up whenever the same (seed, index) would give another picture."""

OLDEST = 100

CROP = Crop()
"""How much of a face is drawn."""

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
    return Painter(rng, traits).paint(), years


def draw_faces(
    count: int, seed: int, workers: int = 1, progress: Callable[[int], None] | None = None
) -> Faces:
    """Faces 0..count-1 of ``seed``; ``progress`` hears how many are done.

    ``workers`` above 1 starts processes: call it under ``if __name__ == "__main__"`` then.
    """
    images, labels = draw_many(draw, count, seed, workers, progress)
    return Faces(images, np.array(labels, np.float32)[:, 0])


def draw_many(
    draw_one: Callable[[int, int], tuple[Any, ...]],
    count: int,
    seed: int,
    workers: int,
    progress: Callable[[int], None] | None,
) -> tuple[NDArray[np.uint8], list[tuple[Any, ...]]]:
    """The pictures that ``draw_one`` gives of (seed, index), in one array, and what else it gives of each."""
    if count < 1:
        raise SsrError(f"count must be at least 1, got {count}")
    if seed < 0:
        raise SsrError(f"seed must not be negative, got {seed}")
    images = np.empty((count, IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
    labels: list[tuple[Any, ...]] = []
    blocks = [range(start, min(start + _BLOCK, count)) for start in range(0, count, _BLOCK)]
    processes = min(workers, len(blocks)) if len(blocks) >= 4 else 1
    for faces in in_order(partial(_draw_block, draw_one, seed), blocks, processes):
        for image, *label in faces:
            images[len(labels)] = image
            labels.append(tuple(label))
        if progress is not None:
            progress(len(labels))
    return images, labels


def _draw_block(
    draw_one: Callable[[int, int], tuple[Any, ...]], seed: int, block: range
) -> list[tuple[Any, ...]]:
    cv2.setNumThreads(1)
    return [draw_one(seed, index) for index in block]
