"""Data sets by name: pictures as they enter the network, and ages."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ssr_train.errors import SsrError

NAMES = ("synthetic",)


@dataclass(frozen=True)
class Dataset:
    """Pictures (N, 64, 64, 3) uint8 BGR, ages (N,) float32, and what provenance must say of them."""

    images: NDArray[np.uint8]
    ages: NDArray[np.float32]
    description: str
    synthetic: bool
    licence: str


def check(name: str) -> None:
    """Raise :class:`SsrError` for an unknown data set, ``ModuleNotFoundError`` if it cannot be read here."""
    if name not in NAMES:
        raise SsrError(f"--data {name}: unknown, expected one of: {', '.join(NAMES)}")
    importlib.import_module(f"ssr_train.data.{name}")


def load(
    name: str, *, count: int, seed: int, workers: int, progress: Callable[[int], None] | None = None
) -> Dataset:
    """Data set ``name`` in memory; ``progress`` hears how many pictures are ready."""
    check(name)
    from ssr_train.data import synthetic

    images, ages = synthetic.draw_faces(count, seed, workers, progress)
    description = f"synthetic: drawn faces, generator version {synthetic.VERSION}, faces 0..{count - 1}"
    return Dataset(images, ages, description, synthetic=True, licence="Apache-2.0")
