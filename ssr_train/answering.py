"""The networks of bundles in PyTorch, for `ssr-serve verify`: entry point ``torch`` of ``ssr.networks``."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from ssr_bundle.method import MethodBundle, ServedBundle
from ssr_ops import reference
from ssr_train.model import load_model
from ssr_train.zoo.storage import load_system

_BATCH = 64

Answer = Callable[[NDArray[np.uint8]], NDArray[np.float64]]


def answering(bundle: ServedBundle, *, double: bool = False) -> Answer:
    """The bundle's network on the CPU, in float32 or in ``double``: images (N, 64, 64, 3) in the contract's
    colour order to answers (N,), as they are served."""
    if isinstance(bundle, MethodBundle):
        system = load_system(bundle.path)
        network, predict = system, system.predict
    else:
        ssrnet = load_model(bundle)
        network, predict = ssrnet, lambda images: ssrnet(images)[:, 0]  # type: ignore[assignment]
    dtype = torch.float64 if double else torch.float32
    network.to(dtype).eval()

    def answer(images: NDArray[np.uint8]) -> NDArray[np.float64]:
        answers = []
        with torch.inference_mode():
            for start in range(0, len(images), _BATCH):
                batch = torch.from_numpy(images[start : start + _BATCH]).permute(0, 3, 1, 2)
                answers.append(predict(batch.to(dtype)).double().numpy())
        return reference.served(bundle.contract, np.concatenate(answers))

    return answer
