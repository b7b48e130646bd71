"""How far the int8 and bf16 answers lie from fp32's."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

import ssr_ops
from ssr_bundle.bundle import Bundle
from ssr_bundle.errors import SsrError
from ssr_ops import quantized, reference

_BATCH = 32


@dataclass(frozen=True)
class Drift:
    """Answers less fp32's, in the output's unit: mean and 99th percentile of the size, mean with sign."""

    mean: float
    signed: float
    p99: float
    max: float

    @classmethod
    def of(cls, found: NDArray[np.floating], expected: NDArray[np.floating]) -> Drift:
        apart = found.astype(np.float64) - expected
        size = np.abs(apart)
        return cls(float(size.mean()), float(apart.mean()), float(np.quantile(size, 0.99)), float(size.max()))

    def to_json(self) -> dict[str, float]:
        return {name: round(value, 5) for name, value in asdict(self).items()}


def answers(
    bundle: Bundle, precision: str, images: NDArray[np.uint8], tick: Callable[[int], None] = lambda _: None
) -> tuple[NDArray[np.float64], str]:
    """Served answers (N,) of the bundle on the CPU, and who gave them: the native implementation, or
    ``reference`` (NumPy) where this build has no engine of that precision. ``tick``: images done since."""
    run: Callable[[NDArray[np.uint8]], NDArray[np.float32]]
    if ssr_ops.implementations(precision=precision):
        engine = ssr_ops.Engine(bundle, precision=precision, note=False)
        run, who = engine.predict, engine.implementation
    else:
        run, who = functools.partial(reference_answers, bundle, precision), "reference"
    parts = []
    for start in range(0, len(images), _BATCH):
        batch = images[start : start + _BATCH]
        parts.append(np.asarray(run(batch), np.float64))
        tick(len(batch))
    return np.concatenate(parts), who


def reference_answers(bundle: Bundle, precision: str, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Served answers (N,) of the NumPy reference in int8 or bf16."""
    network = {"int8": quantized.int8, "bf16": quantized.bf16}[precision]
    contract = bundle.contract
    if contract.quantization is None:
        raise SsrError(f"{bundle.path}: not quantized, see ssr-train quantize")
    age = network(bundle.parameters(), contract.architecture, contract.quantization, images).stages.age
    return reference.served(contract, age).astype(np.float32)
