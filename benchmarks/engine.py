"""How fast is the engine, against peers running the same network in the same run?

``python benchmarks/engine.py [BUNDLE]`` validates every contestant on the bundle's golden record, then times
them interleaved, one thread each, and writes ``benchmarks/results/engine-<cpu>.md``. ONNX Runtime runs the
network as ``torch.onnx.export`` writes it here; torch runs it eagerly. Both peers are handed float NCHW
arrays made beforehand, while ours starts from the uint8 crops.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import _report as report
import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from ssr_ops import _native
from ssr_ops.engine import Engine
from ssr_train.bundle import Bundle, default_bundle, load_model, read_bundle

PACKAGES = ("ssr-serve", "onnxruntime", "torch", "numpy")
BATCHES = (1, 8, 32, 128)
AGREEMENT = 2e-3
"""Years on face crops (DESIGN section 6); the golden record begins with six of them."""
FACES = 6
MULTIPLY_ADDS = 4_981_824 + 9_031_680 + 1_658_880 + 184_320 + 353_280 + 2_380
"""Of one image: the four levels' convolutions without outputs that no pool reads, the 1x1 convolutions under
head pools, the dense layers. Holds for stages (3, 3, 3) and widths 32, 16, 10."""

Predict = Callable[[NDArray[np.uint8]], Callable[[], NDArray[np.float32]]]
"""Prepares a batch and gives the function to time."""


def ours(bundle: Bundle, implementation: str) -> Predict:
    engine = Engine(bundle, implementation=implementation)
    return lambda images: lambda: engine.predict(images)


def as_float(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2), np.float32)


def with_onnxruntime(bundle: Bundle) -> Predict:
    low, high = bundle.contract.interface.output.clip
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        torch.onnx.export(
            load_model(bundle),
            (torch.zeros(2, 3, 64, 64),),
            path,
            dynamo=False,
            input_names=["image"],
            output_names=["age"],
            dynamic_axes={"image": {0: "n"}, "age": {0: "n"}},
        )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])

    def prepare(images: NDArray[np.uint8]) -> Callable[[], NDArray[np.float32]]:
        given = {"image": as_float(images)}
        return lambda: np.clip(session.run(None, given)[0][:, 0], low, high)

    return prepare


def with_torch(bundle: Bundle) -> Predict:
    low, high = bundle.contract.interface.output.clip
    model = load_model(bundle)
    torch.set_num_threads(1)

    def prepare(images: NDArray[np.uint8]) -> Callable[[], NDArray[np.float32]]:
        given = torch.from_numpy(as_float(images))

        def run() -> NDArray[np.float32]:
            with torch.inference_mode():
                result: NDArray[np.float32] = model(given)[:, 0].clamp(low, high).numpy()
            return result

        return run

    return prepare


def validate(bundle: Bundle, contestants: dict[str, Predict]) -> dict[str, float]:
    """Largest difference in years from the float64 reference on the golden face crops."""
    golden, scale = bundle.golden(), 101 / bundle.contract.architecture.value_range
    errors = {}
    for name, prepare in contestants.items():
        answers = prepare(golden["images"][:FACES])()
        errors[name] = float(np.abs(answers - golden["output"][:FACES]).max() * scale)
        if not errors[name] <= AGREEMENT:
            raise SystemExit(f"{name} is {errors[name]} years from the reference: nothing is timed")
    return errors


def measure(contestants: dict[str, Predict], batch: int, seconds: float) -> dict[str, float]:
    """Images a second: the median of interleaved rounds."""
    images = np.random.default_rng(batch).integers(0, 256, (batch, 64, 64, 3), dtype=np.uint8)
    calls = {name: prepare(images) for name, prepare in contestants.items()}
    for call in calls.values():
        call()
        call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times[next(iter(times))]) < 7:
        for name, call in calls.items():
            repeats = max(1, 32 // batch)
            begin = time.perf_counter()
            for _ in range(repeats):
                call()
            times[name].append((time.perf_counter() - begin) / repeats)
    return {name: batch / statistics.median(values) for name, values in times.items()}


def best_of(bundle: Bundle, implementation: str, seconds: float) -> tuple[float, float]:
    """Images a second, and multiply-adds a second of a loop of nothing else: the best round of each.

    Rounds last about a millisecond and alternate, so that what else runs on the machine leaves some of
    both alone: a fraction of the two is the kernel's own, where medians would compare the disturbances.
    """
    engine = Engine(bundle, implementation=implementation)
    images = np.random.default_rng(0).integers(0, 256, (8, 64, 64, 3), dtype=np.uint8)
    engine.predict(images)
    quickest, peak, end = float("inf"), 0.0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        begin = time.perf_counter()
        engine.predict(images)
        quickest = min(quickest, time.perf_counter() - begin)
        peak = max(peak, _native.measure_multiply_adds(implementation, 0.0005))
    return len(images) / quickest, peak


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "bundle", type=Path, nargs="?", default=default_bundle(), help="default: the shipped one"
    )
    parser.add_argument("--seconds", type=float, default=4.0, help="for each batch size")
    options = parser.parse_args()
    bundle = read_bundle(options.bundle)
    a = bundle.contract.architecture
    if (a.stages, a.width_x, a.width_s, a.width_fusion) != ((3, 3, 3), 32, 16, 10):
        raise SystemExit("the count of multiply-adds holds for the released architecture only")

    names = _native.implementations()
    contestants = {f"ours, {name}": ours(bundle, name) for name in names}
    contestants["ONNX Runtime"] = with_onnxruntime(bundle)
    contestants["torch, eager"] = with_torch(bundle)
    errors = validate(bundle, contestants)
    rates = {batch: measure(contestants, batch, options.seconds) for batch in BATCHES}
    best = {name: best_of(bundle, name, options.seconds / 2) for name in names}

    lines = [
        "# Engine, fp32, one thread",
        "",
        f"{report.hardware()}. {report.versions(*PACKAGES)}.",
        "Images a second (in brackets: times ONNX Runtime). "
        f"Network `{bundle.contract.name}`, weights "
        f"{bundle.contract.weights_sha256[:12]}.",
        "ONNX Runtime runs what `torch.onnx.export` wrote in this run. Medians of interleaved rounds; "
        f"load average while measuring {os.getloadavg()[0]:.1f} (1 is this program alone).",
        "",
        "| | " + " | ".join(f"batch {batch}" for batch in BATCHES) + " | years from reference |",
        "|---|" + "---:|" * (len(BATCHES) + 1),
    ]
    for name in contestants:
        cells = [f"{rates[b][name]:,.0f} ({rates[b][name] / rates[b]['ONNX Runtime']:.2f})" for b in BATCHES]
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {errors[name]:.1e} |")
    lines += [
        "",
        f"One image takes {MULTIPLY_ADDS / 1e6:.1f} million multiply-adds. The peak is a loop of independent "
        "multiply-adds, the limit of direct convolution on this core. Best of alternating rounds (batch 8), "
        "which other load disturbs least.",
        "",
        "| | peak, G multiply-adds/s | limit, images/s | ours, images/s | reached |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, (images, peak) in best.items():
        limit = peak / MULTIPLY_ADDS
        lines.append(f"| {name} | {peak / 1e9:.1f} | {limit:,.0f} | {images:,.0f} | {images / limit:.0%} |")
    text = "\n".join(lines) + "\n"
    print(text)
    print("written to", report.write("engine", text))


if __name__ == "__main__":
    main()
