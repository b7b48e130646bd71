"""The pictures that every rung answers, with the float64 reference's answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ssr_client.gather import LEAST

from ssr_bundle.errors import SsrError
from ssr_bundle.method import MethodBundle, ServedBundle
from ssr_ops import reference
from triton_repo.ladder.rung import Images

_BATCH = 16


def torch_networks() -> Any | None:
    """The entry point ``torch`` of ``ssr.networks``: networks as they are trained. None where torch is not
    installed."""
    try:
        import torch  # noqa: F401

        (entry,) = entry_points(group="ssr.networks", name="torch")
        return entry.load()
    except (ImportError, ValueError):
        return None


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


def golden_pictures(bundle: ServedBundle) -> Pictures:
    """The bundle's own record: a few crops of one face, noise and checkers; answers computed anew, but for
    another method than SSR-Net where there is no torch to compute them."""
    golden = bundle.golden()
    images = golden["images"]
    if isinstance(bundle, MethodBundle) and torch_networks() is None:
        expected = golden["output"]
    else:
        expected = reference_answers(bundle, images)
    return Pictures("golden", images, len(golden["crops"]), expected)


def reference_answers(
    bundle: ServedBundle, images: Images, tick: Callable[[int], None] = lambda done: None
) -> NDArray[np.float64]:
    """Answers (N,) of the readable float64 network, as served; of another method than SSR-Net those of
    its own network in float64. ``tick``: images done."""
    if isinstance(bundle, MethodBundle):
        if (answering := torch_networks()) is None:
            method = bundle.contract.method.name
            raise SsrError(f"{bundle.path}: answers of {method} need torch: pip install 'ssr-serve[train]'")
        answers: NDArray[np.float64] = answering(bundle, double=True)(images)
        tick(len(images))
        return answers
    parameters, architecture = bundle.parameters(), bundle.contract.architecture
    ages = []
    for start in range(0, len(images), _BATCH):
        ages.append(reference.network(parameters, architecture, images[start : start + _BATCH]).age)
        tick(min(start + _BATCH, len(images)))
    return reference.served(bundle.contract, np.concatenate(ages))
