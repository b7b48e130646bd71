"""Can int8 pay on a processor with AVX2 and no VNNI?

Without VNNI whole numbers are multiplied in one of three ways. Each is timed as a loop of nothing else, and
so is float32. From the loops and the network's multiply-adds follows how fast the network could be at best in
each, beside how fast ours is in fp32 and int8, in turns. int8 has to be 1.15 times as fast as fp32 to be
worth its drift. Writes ``benchmarks/results/int8-avx2-<cpu>.md``.

    python benchmarks/int8_avx2.py [--seconds S]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import _kernels
import _results
import numpy as np
from layers import layers

from ssr_bundle import commandline as command
from ssr_bundle.bundle import read_bundle
from ssr_ops import Engine
from ssr_ops.shipped import default_bundle

WORTH = 1.15
"""Of fp32's speed, what int8 has to reach."""
BATCH = 32
LOOKS, LOOK = 20, 0.02
WAYS = {
    "words": "int16 by int16 (`vpmaddwd`), as it is",
    "bytes": "bytes by seven-bit weights (`vpmaddubsw`), each pair of products widened",
    "seven bits": "seven-bit maps and weights, four products widened together",
}


def rates() -> dict[str, float]:
    """Multiply-adds a second of each loop, looked at alternately."""
    native = _kernels.load()
    best = dict.fromkeys([*WAYS, "fp32"], 0.0)
    for _ in range(LOOKS):
        for way in best:
            rate = (
                native.measure_multiply_adds("avx2", LOOK)
                if way == "fp32"
                else native.measure_products(way, LOOK)
            )
            best[way] = max(best[way], rate)
    return best


def measure(seconds: float) -> str:
    bundle = read_bundle(default_bundle())
    images = np.resize(bundle.golden()["crops"], (BATCH, 64, 64, 3))
    engines = {p: Engine(bundle, precision=p, implementation="avx2") for p in ("fp32", "int8")}
    times = _results.medians({p: lambda e=e: e.predict(images) for p, e in engines.items()}, seconds)  # type: ignore[misc]
    fp32, int8 = (1e6 * times[p] / BATCH for p in ("fp32", "int8"))
    found = rates()
    architecture = bundle.contract.architecture
    whole, floats = layers(architecture, floats=False), layers(architecture, floats=True)
    first = floats[0].transformed  # F(2, 3) down the columns is exact in whole numbers too; always int16
    rest = sum(layer.direct for layer in whole[1:])
    wanted = fp32 / WORTH
    rows = []
    for way, what in WAYS.items():
        limit = 1e6 * (first / found["words"] + rest / found[way])
        share = f"{limit / wanted:.0%}"
        rows.append((what, f"{found[way] / 1e9:.1f}", f"{limit:.0f}", f"{limit / int8:.0%}", share))
    transformed = sum(layer.transformed for layer in floats)
    least = 1e6 * transformed / found["fp32"]
    return "\n".join(
        [
            "# int8 on AVX2 without VNNI",
            "",
            f"{_results.hardware()}. {_results.versions('numpy', 'ssr-serve')}. One thread, batch {BATCH}.",
            "",
            f"fp32 takes {fp32:.0f} µs an image, int8 {int8:.0f}: {fp32 / int8:.2f} times fp32's speed"
            f" (medians of turns). To be worth its drift int8 has to take {wanted:.0f} µs or less"
            f" ({WORTH} times).",
            "",
            _results.table(
                (
                    "int8 by",
                    "G multiply-adds/s of the loop",
                    "µs an image at the loop's rate",
                    "today's share of that",
                    "share needed for 1.15",
                ),
                rows,
            ),
            "",
            f"An image has {first / 1e6:.1f} million multiply-adds in the first blocks, after F(2, 3), whose"
            f" weights need int16 in every way, and {rest / 1e6:.1f} million behind them, summed directly."
            f" fp32's transforms leave {transformed / 1e6:.1f} million in all, at"
            f" {found['fp32'] / 1e9:.1f} G a second {least:.0f} µs.",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--output", type=Path, default=_results.RESULTS)
    arguments = parser.parse_args()
    text = measure(arguments.seconds)
    print(text)
    print("\nwritten to", _results.write("int8-avx2", text, arguments.output))


if __name__ == "__main__":
    command.run(main, "int8_avx2")
