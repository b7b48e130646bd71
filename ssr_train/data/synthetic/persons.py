"""Drawn people, several pictures of each: the drawn set whose random split leaks identity.

Picture ``k`` of person ``n`` of ``seed`` is the same whatever else is drawn. The pictures of one person
differ in age by a few years, in pose, light and background; features, and how old the person looks for their
age, stay.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from ssr_bundle.contract import IMAGE_SIZE
from ssr_bundle.errors import SsrError
from ssr_train.data.synthetic import OLDEST, VERSION
from ssr_train.data.synthetic.painter import paint
from ssr_train.data.synthetic.traits import sample
from ssr_train.data.workers import in_order

PICTURES = 4
"""Pictures of each person, as in MORPH2 on average."""

YEARS_APART = 3.0
"""Standard deviation of a person's ages around that of the first picture."""

_AGE, _WHO, _PICTURE = 1, 2, 3  # which random choices of a person a stream is for
_BLOCK = 250
_KEPT = (
    "masculine",
    "skin_colour",
    "freckles",
    "jaw",
    "nose",
    "lips",
    "eyes",
    "brows",
    "iris",
    "hair_length",
)


class People(NamedTuple):
    """Pictures (N, 64, 64, 3) uint8 BGR, ages (N,) float32 in whole years, and sexes (N,)."""

    images: NDArray[np.uint8]
    ages: NDArray[np.float32]
    sexes: NDArray[np.str_]


def draw_person(seed: int, person: int, picture: int) -> tuple[NDArray[np.uint8], int, str]:
    """Picture ``picture`` of ``person``: (64, 64, 3) uint8 BGR, the age in whole years, and the sex drawn."""
    ages = np.random.default_rng((VERSION, seed, person, _AGE))
    first = ages.beta(1.15, 1.65) * (OLDEST + 1)
    years = first if picture == 0 else first + YEARS_APART * ages.standard_normal(picture)[-1]
    age = float(np.clip(years, 0, OLDEST + 0.99))
    who = sample(np.random.default_rng((VERSION, seed, person, _WHO)), float(first))
    now = sample(np.random.default_rng((VERSION, seed, person, _WHO)), age)
    traits = replace(now, **{name: getattr(who, name) for name in _KEPT})
    image = paint(np.random.default_rng((VERSION, seed, person, _PICTURE, picture)), traits)
    return image, int(age), "m" if traits.masculine > 0.5 else "f"


def draw_people(
    count: int, seed: int, workers: int = 1, progress: Callable[[int], None] | None = None
) -> People:
    """The first ``count`` pictures of persons 0, 1, ..., :data:`PICTURES` of each; ``progress`` hears how
    many are done."""
    if count < 1:
        raise SsrError(f"count must be at least 1, got {count}")
    if seed < 0:
        raise SsrError(f"seed must not be negative, got {seed}")
    images = np.empty((count, IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
    ages, sexes = np.empty(count, np.float32), np.empty(count, "<U1")
    blocks = [(seed, start, min(start + _BLOCK, count)) for start in range(0, count, _BLOCK)]
    drawn = in_order(_draw_block, blocks, workers if len(blocks) >= 4 else 1)
    for (_, start, stop), faces in zip(blocks, drawn, strict=True):
        for i, face in enumerate(faces, start):
            images[i], ages[i], sexes[i] = face
        if progress is not None:
            progress(stop)
    return People(images, ages, sexes)


def _draw_block(block: tuple[int, int, int]) -> list[tuple[NDArray[np.uint8], int, str]]:
    cv2.setNumThreads(1)
    seed, start, stop = block
    return [draw_person(seed, *divmod(i, PICTURES)) for i in range(start, stop)]
