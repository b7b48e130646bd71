"""How fast is the engine on a GPU, from uint8 crops in the CPU's memory to ages there, batch by batch?

Beside PyTorch eager on the same card (from the same crops to the same answers) and the CPU engine with one
thread. Every contestant's answers are checked first. Prints a table.
Run: python benchmarks/engine_gpu.py [BUNDLE]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import _gpu as gpu
import _results
import numpy as np
import torch
from numpy.typing import NDArray

from ssr_bundle import commandline as command
from ssr_bundle.bundle import Bundle, read_bundle
from ssr_bundle.tolerances import tolerance
from ssr_ops.engine import Engine
from ssr_ops.shipped import default_bundle
from ssr_train.model import load_model

BATCHES = (1, 4, 16, 64, 256)
EAGER = "PyTorch eager"

Images = NDArray[np.uint8]


def contestants(bundle: Bundle, device: torch.device) -> dict[str, Callable[[Images], NDArray[Any]]]:
    """By name: uint8 (N, 64, 64, 3) to clipped ages (N,)."""
    model = load_model(bundle).to(device).eval()
    low, high = bundle.contract.interface.output.clip
    on_gpu, on_cpu = Engine(bundle, device="cuda"), Engine(bundle)

    @torch.inference_mode()
    def eager(images: Images) -> NDArray[Any]:
        pixels = torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float()
        return model(pixels)[:, 0].clamp(low, high).cpu().numpy()  # type: ignore[no-any-return]

    return {"**ours, cuda**": on_gpu.predict, EAGER: eager, "ours, cpu": on_cpu.predict}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "bundle", type=Path, nargs="?", default=default_bundle(), help="default: the shipped one"
    )
    parser.add_argument("--seconds", type=float, default=2.0, help="for each batch")
    options = parser.parse_args()
    device = gpu.require_gpu()
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    bundle = read_bundle(options.bundle)
    golden = bundle.golden()
    allowed = tolerance("cuda", "fp32", bundle.contract.architecture.value_range).anywhere
    runs, wrong = contestants(bundle, device), dict[str, str]()
    for name, run in runs.items():
        error = np.abs(run(golden["images"]) - golden["output"]).max()
        if not error <= allowed:
            wrong[name] = f"{name}: {error:.2g} from the reference, allowed {allowed:.2g}; not timed"
    if ours := [reason for name, reason in wrong.items() if name != EAGER]:
        raise SystemExit("; ".join(ours))
    runs = {name: run for name, run in runs.items() if name not in wrong}
    before, lines = gpu.state(), []
    for batch in BATCHES:
        images = np.random.default_rng(batch).integers(0, 256, (batch, 64, 64, 3), np.uint8)
        times = _results.medians({name: partial(run, images) for name, run in runs.items()}, options.seconds)
        for name, time in times.items():
            ratio = f"{times[EAGER] / time:.1f}" if EAGER in times else "–"
            lines.append((f"{batch}, {name}", f"{batch / time:,.0f}", f"{time * 1e6:,.0f}", ratio))
    print("## The engine\n")
    print(
        "fp32, from uint8 crops in the CPU's memory to ages there; medians of interleaved calls; answers"
        f" checked first. {_results.hardware()}. {_results.versions('torch', 'ssr-serve')}. Clocks, power,"
        f" temperature before: {before}; after: {gpu.state()}.\n"
    )
    print(_results.table(("batch", "images a second", "µs a call", "times eager"), lines))
    for reason in wrong.values():
        print(f"\n{reason}.")


if __name__ == "__main__":
    command.run(main, "engine_gpu")
