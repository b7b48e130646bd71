"""How long an age takes: one picture, one thread, warmed up, all contestants in turns, the median."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ssr_bundle.bundle import read_bundle
from ssr_bundle.errors import SsrError
from ssr_bundle.machine import medians
from ssr_bundle.tolerances import required
from ssr_ops import reference
from ssr_train.data.transforms import to_network
from ssr_train.zoo import System, load_system

NATIVE = "native engine"
"""Key of the bundle's engine beside its system's."""

Image = NDArray[np.uint8]


def milliseconds(
    systems: Mapping[str, System],
    image: Image,
    *,
    device: str = "cpu",
    bundle: Path | None = None,
    seconds: float = 4.0,
) -> dict[str, float]:
    """Median milliseconds from ``image`` (1, 64, 64, 3) uint8 BGR to its age in host memory.

    Systems run in eager PyTorch in fp32 on ``device``. On the CPU the engine runs ``bundle`` beside them,
    once it has answered as PyTorch does. ``seconds``: about how long it all may take.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        runs: dict[str, Callable[[], Any]] = {
            name: _eager(system.to(device).eval(), image, device) for name, system in systems.items()
        }
        if bundle is not None and device == "cpu":
            runs[NATIVE] = _native(bundle, image)
        return {name: 1000 * took for name, took in medians(runs, seconds).items()}
    finally:
        torch.set_num_threads(threads)


def _eager(system: System, image: Image, device: str) -> Callable[[], float]:
    def run() -> float:
        with torch.inference_mode():
            return float(system.predict(to_network(torch.from_numpy(image).to(device))))

    return run


def _native(path: Path, image: Image) -> Callable[[], Any]:
    from ssr_ops import Engine

    bundle = read_bundle(path)
    engine = Engine(bundle, threads=1)
    ordered = image if engine.colour == "bgr" else np.ascontiguousarray(image[..., ::-1])
    expected = float(reference.served(bundle.contract, _eager(load_system(path), image, "cpu")()))
    limit = required("native", "fp32", bundle.contract).max
    if not abs(float(engine.predict(ordered)[0]) - expected) <= limit:
        raise SsrError(f"{path}: the native engine does not answer as PyTorch does, so it is not timed")
    return lambda: engine.predict(ordered)
