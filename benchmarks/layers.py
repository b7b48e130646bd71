"""Where does an image's time go, layer by layer, and how near is each layer to its own limit?

``python benchmarks/layers.py [BUNDLE]`` times the engine's own kernels on one of the bundle's golden faces,
for every implementation of every precision that the bundle can run, and writes
``benchmarks/results/layers-<cpu>.md``. A layer's limit is its multiply-adds at the rate of a loop of nothing
else, measured in between. Winograd layers get a second limit, of the multiply-adds that are left of them: the
first says what the transform gained, the second how well the kernel does it.
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import dataclass
from pathlib import Path

import _kernels
import _results
import numpy as np

from ssr_bundle import commandline as command
from ssr_bundle.bundle import Bundle, read_bundle
from ssr_bundle.contract import Architecture
from ssr_ops import _native
from ssr_ops.engine import Engine
from ssr_ops.shipped import default_bundle

PRECISIONS = ("fp32", "bf16", "int8")
AGREEMENT = {"fp32": 2e-3, "bf16": 0.75, "int8": 5.0}
"""Years that a golden face may lie from the reference; beyond, nothing is timed."""
BURSTS = 50
ROUND = 0.1
"""Seconds of a round; layers and peak alternate, and the best of each is what other load disturbs least."""


@dataclass(frozen=True)
class Layer:
    """Multiply-adds of one image: summed directly, and those that Winograd leaves (of float kernels)."""

    name: str
    direct: float
    transformed: float


def layers(a: Architecture, floats: bool) -> list[Layer]:
    """In the engine's order, without outputs that no pool reads. ``floats``: of the float32 kernels."""
    first = 62 * 62 * 27 * (a.width_x + a.width_s)
    found = [Layer("x.0 s.0", first, first * 12 / 18 if floats else first)]
    for block, side in ((1, 28), (2, 12), (3, 4)):
        for stream, width, fast in (("x", a.width_x, 32), ("s", a.width_s, 16)):
            count = side * side * 9 * width * width
            winograd = floats and block < 3 and -(-width // 16) * 16 == fast
            found.append(Layer(f"{stream}.{block}", count, count / 4 if winograd else count))
    for k, (bins, tap) in enumerate(zip(a.stages, a.taps, strict=True)):
        side = {1: 31, 2: 14, 3: 6, 4: 4}[tap.level] // tap.pool
        fusion = (side * tap.pool) ** 2 * (a.width_x + a.width_s) * a.width_fusion
        count = fusion + side * side * a.width_fusion * (1 + 2 * bins)
        found.append(Layer(f"stages.{k}", count, count))
    return found


def measure(
    bundle: Bundle, implementation: str, precision: str, seconds: float
) -> tuple[list[float], float, float]:
    """Seconds of each layer, of an image in ``Engine.predict``, and the peak in multiply-adds a second."""
    image = bundle.golden()["images"][0]
    engine = Engine(bundle, precision=precision, implementation=implementation)
    error = abs(float(engine.predict(image[None])[0]) - float(bundle.golden()["output"][0]))
    if not error * 101 / bundle.contract.architecture.value_range <= AGREEMENT[precision]:
        raise SystemExit(f"{implementation} {precision} is {error} from the reference: nothing is timed")
    eight = np.repeat(image[None], 8, axis=0)
    times: list[list[float]] = []
    whole, peak, end = float("inf"), 0.0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        found = _kernels.load().time_layers(str(bundle.path), image, implementation, precision, ROUND)
        times.append([spent for _, spent in found])
        begin = time.perf_counter()
        while time.perf_counter() < begin + ROUND:
            start = time.perf_counter()
            engine.predict(eight)
            whole = min(whole, (time.perf_counter() - start) / len(eight))
        for _ in range(BURSTS):
            peak = max(
                peak, _kernels.load().measure_multiply_adds(implementation, ROUND / 4 / BURSTS, precision)
            )
    return [min(column) for column in zip(*times, strict=True)], whole, peak


def section(bundle: Bundle, implementation: str, precision: str, seconds: float) -> str:
    """Heading, a line and a table of one implementation."""
    floats = precision != "int8" and implementation in ("avx512", "avx2", "portable")
    counts = layers(bundle.contract.architecture, floats)
    times, whole, peak = measure(bundle, implementation, precision, seconds)
    total, rows = sum(times), []
    for layer, spent in zip(counts, times, strict=True):
        cells = [layer.name, f"{layer.direct / 1e6:.2f}", f"{spent * 1e6:.1f}", f"{spent / total:.0%}"]
        cells.append(f"{layer.direct / peak / spent:.0%}")
        changed = layer.transformed != layer.direct
        cells += (
            [f"{layer.transformed / 1e6:.2f}", f"{layer.transformed / peak / spent:.0%}"]
            if changed
            else ["", ""]
        )
        rows.append(cells)
    direct, left = sum(layer.direct for layer in counts), sum(layer.transformed for layer in counts)
    rows.append(
        ["all", f"{direct / 1e6:.2f}", f"{total * 1e6:.1f}", "100%", f"{direct / peak / total:.0%}"]
        + ([f"{left / 1e6:.2f}", f"{left / peak / total:.0%}"] if floats else ["", ""])
    )
    header = ["layer", "million", "µs", "of time", "reached", "Winograd, million", "reached"]
    return (
        f"## {precision}, {implementation}\n\n"
        f"Peak {peak / 1e9:,.0f} G multiply-adds a second. A whole image in a batch of 8, with the "
        f"stages' tail and Python's call: {whole * 1e6:.1f} µs.\n\n{_results.table(header, rows)}\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "bundle", type=Path, nargs="?", default=default_bundle(), help="default: the shipped one"
    )
    parser.add_argument("--seconds", type=float, default=3.0, help="for each implementation")
    options = parser.parse_args()
    bundle = read_bundle(options.bundle)
    precisions = PRECISIONS if bundle.contract.quantization is not None else PRECISIONS[:1]
    lines = [
        "# Layers, one thread\n",
        f"{_results.hardware()}. {_results.versions('ssr-serve', 'numpy')}. "
        f"Network `{bundle.contract.name}`, weights {bundle.contract.weights_sha256[:12]}.",
        "Multiply-adds of one image, the quickest run of each layer within whole images, and the fraction "
        "reached of a loop of nothing but multiply-adds: above 100% where a transform leaves fewer of "
        "them than the direct sum has. Convolutions include their activation and pool. "
        f"Load average while measuring {os.getloadavg()[0]:.1f} (1 is this program alone).\n",
    ]
    if len(precisions) == 1:
        lines.append("The bundle is not quantized, so that it runs in fp32 only.\n")
    for precision in precisions:
        for implementation in _native.implementations(precision):
            lines.append(section(bundle, implementation, precision, options.seconds))
    text = "\n".join(lines)
    print(text)
    print("written to", _results.write("layers", text))


if __name__ == "__main__":
    command.run(main, "layers")
