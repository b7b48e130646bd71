"""The pictures that every rung answers, with the float64 reference's answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from ssr_client.gather import LEAST

from ssr_bundle.bundle import Bundle
from ssr_ops import reference
from triton_repo.ladder.rung import Images

_BATCH = 16


@dataclass(frozen=True)
class Pictures:
    """Images by ``name``, the first ``faces`` of them face crops, and the reference's answers (N,), clipped.

    Tolerances are of face crops. The others (noise, checkers) drive the widths to the denominator floor,
    where one rounding moves the answer by years: those answers must be numbers in the contract's range.
    """

    name: str
    images: Images
    faces: int
    expected: NDArray[np.float64]

    @property
    def many(self) -> bool:
        """Enough faces for a mean and a percentile to say something."""
        return self.faces >= LEAST


def golden_pictures(bundle: Bundle) -> Pictures:
    """The bundle's own record: a few crops of one face, noise and checkers; answers computed anew."""
    golden = bundle.golden()
    images = golden["images"]
    return Pictures("golden", images, len(golden["crops"]), reference_answers(bundle, images))


def reference_answers(
    bundle: Bundle, images: Images, tick: Callable[[int], None] = lambda done: None
) -> NDArray[np.float64]:
    """Answers (N,) of the readable float64 network, as served. ``tick``: images done."""
    parameters, architecture = bundle.parameters(), bundle.contract.architecture
    ages = []
    for start in range(0, len(images), _BATCH):
        ages.append(reference.network(parameters, architecture, images[start : start + _BATCH]).age)
        tick(min(start + _BATCH, len(images)))
    return reference.served(bundle.contract, np.concatenate(ages))
