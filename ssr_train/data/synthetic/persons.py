"""Drawn people, several pictures of each: the drawn set whose random split leaks identity.

Picture ``k`` of person ``n`` of ``seed`` is the same whatever else is drawn. The pictures of one person
differ in age by a few years, in pose, light and background; features, and how old the person looks for their
age, stay.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ssr_train.data.synthetic import OLDEST, VERSION, Faces, draw_many
from ssr_train.data.synthetic.painter import Painter
from ssr_train.data.synthetic.traits import sample

PICTURES = 4
"""Pictures of each person, as in MORPH2 on average."""

YEARS_APART = 3.0
"""Standard deviation of a person's ages around that of the first picture."""

_AGE, _WHO, _PICTURE = 1, 2, 3  # which random choices of a person a stream is for
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


def draw_person(seed: int, person: int, picture: int) -> tuple[NDArray[np.uint8], int, str]:
    """Picture ``picture`` of ``person``: (64, 64, 3) uint8 BGR, the age in whole years, and the sex drawn."""
    ages = np.random.default_rng((VERSION, seed, person, _AGE))
    first = ages.beta(1.15, 1.65) * (OLDEST + 1)
    years = first if picture == 0 else first + YEARS_APART * ages.standard_normal(picture)[-1]
    age = float(np.clip(years, 0, OLDEST + 0.99))
    who = sample(np.random.default_rng((VERSION, seed, person, _WHO)), float(first))
    now = sample(np.random.default_rng((VERSION, seed, person, _WHO)), age)
    traits = replace(now, **{name: getattr(who, name) for name in _KEPT})
    rng = np.random.default_rng((VERSION, seed, person, _PICTURE, picture))
    return Painter(rng, traits).paint(), int(age), "m" if traits.masculine > 0.5 else "f"


def draw_people(
    count: int, seed: int, workers: int = 1, progress: Callable[[int], None] | None = None
) -> tuple[Faces, NDArray[np.str_]]:
    """The first ``count`` pictures of persons 0, 1, ..., :data:`PICTURES` of each, and the sexes (N,);
    ``progress`` hears how many are done."""
    images, labels = draw_many(_draw, count, seed, workers, progress)
    ages, sexes = zip(*labels, strict=True)
    return Faces(images, np.array(ages, np.float32)), np.array(sexes)


def _draw(seed: int, index: int) -> tuple[NDArray[np.uint8], int, str]:
    return draw_person(seed, *divmod(index, PICTURES))
