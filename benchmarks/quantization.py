"""How far do int8 and bf16 answers lie from fp32's on faces that they were not quantized on, and what
does each step of the quantization earn?

Folders of photos, cut as each network wants: it is quantized on half of the files and measured on the others,
both ways. The default bundle, which learned from drawn faces, is measured on drawn faces. Answers are the
native engine's where this build has the precision, else the NumPy reference's: the same integers in int8, and
in bf16 the same but for the order of sums. So the table does not depend on the machine. Writes
results/drift.md.

    python benchmarks/quantization.py PHOTOS... [--jitter N] [--only NAME...]

The networks are those in SSR_WEIGHTS_DIR, else in the shared material beside the checkout.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from _results import RESULTS, table
from numpy.typing import NDArray
from ssr_client.gather import Crops, gather

from ssr_bundle import commandline as command
from ssr_bundle.bundle import Bundle, copy_bundle, read_bundle
from ssr_bundle.contract import PRECISIONS, Quantization, convolution_widths
from ssr_ops import quantized
from ssr_ops.drift import Drift, answers, reference_answers
from ssr_ops.golden import write_bundle
from ssr_ops.shipped import default_bundle
from ssr_train.data.synthetic import draw_faces
from ssr_train.keras_import import import_keras
from ssr_train.quantize.quantizer import find_quantization

ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("SSR_SHARED", ROOT.parent / "shared"))
DRAWN = 384

Images = NDArray[np.uint8]
Rows = list[list[str]]


@dataclass(frozen=True)
class Step:
    """One row: a precision, what is switched on, and how it is quantized."""

    precision: str
    title: str
    make: Callable[[Bundle, Images], Quantization]
    byte_first: bool = False


def steps() -> list[Step]:
    def switched(**parts: bool) -> Callable[[Bundle, Images], Quantization]:
        def make(bundle: Bundle, crops: Images) -> Quantization:
            return find_quantization(bundle.parameters(), bundle.contract.architecture, crops, **parts)

        return make

    return [
        Step("bf16", "plain", no_correction),
        Step("bf16", "bias-corrected (shipped)", switched(learned=False)),
        Step("int8", "plain", switched(per_channel=False, learned=False, corrected=False)),
        Step("int8", "+ bias correction", switched(per_channel=False, learned=False)),
        Step("int8", "+ a range a channel", switched(learned=False)),
        Step("int8", "+ learned rounding (shipped)", switched()),
        Step("int8", "shipped, less the finer first blocks", switched(), byte_first=True),
    ]


def no_correction(bundle: Bundle, crops: Images) -> Quantization:
    """For bf16 alone: its maps need no ranges."""
    widths = convolution_widths(bundle.contract.architecture)
    zeros = {name: (0.0,) * width for name, width in widths.items()}
    return Quantization({f"x.{i}": 1.0 for i in range(4)}, dict.fromkeys(PRECISIONS, zeros))


@contextmanager
def first_blocks_in_bytes() -> Iterator[None]:
    """The reference with the first blocks' weights in -127..127, as all others'."""
    usual = quantized.FIRST_LIMIT
    quantized.FIRST_LIMIT = 127
    try:
        yield
    finally:
        quantized.FIRST_LIMIT = usual


def measure(bundle: Bundle, step: Step, crops: Images, others: Images) -> Drift:
    """Quantized on ``crops``, measured on ``others``; in years at V = 101."""
    real, _ = answers(bundle, "fp32", others)
    with tempfile.TemporaryDirectory() as folder:
        if step.byte_first:
            with first_blocks_in_bytes():
                made = attach(bundle, step.make(bundle, crops), Path(folder) / "b")
                found: NDArray[np.floating] = reference_answers(made, step.precision, others)
        else:
            made = attach(bundle, step.make(bundle, crops), Path(folder) / "b")
            found, _ = answers(made, step.precision, others)
    scale = 101 / bundle.contract.architecture.value_range
    return Drift.of(found * scale, real * scale)


def attach(bundle: Bundle, quantization: Quantization, path: Path) -> Bundle:
    return copy_bundle(bundle, replace(bundle.contract, quantization=quantization), path)


def rows_of(name: str, bundle: Bundle, ways: Sequence[tuple[str, Images, Images]]) -> Rows:
    rows = []
    for step in steps():
        for way, crops, others in ways:
            d = measure(bundle, step, crops, others)
            cells = [f"{d.mean:.3f}", f"{d.signed:+.3f}", f"{d.p99:.2f}", f"{d.max:.2f}"]
            rows.append([f"{name}, {step.precision}", step.title, way, *cells])
            print("  ".join(rows[-1]), flush=True)
    return rows


def halves(folders: Sequence[Path], bundle: Bundle, jitter: int) -> tuple[Crops, Crops]:
    """Crops of every other file of each folder, and of the rest."""
    parts = [gather(folder, bundle.contract.interface, jitter, "yunet").split(2) for folder in folders]
    first, last = (together([part[side] for part in parts]) for side in (0, 1))
    return first, last


def together(parts: Sequence[Crops]) -> Crops:
    images = np.concatenate([part.images for part in parts])
    files = tuple(file for part in parts for file in part.files)
    return Crops(images, np.zeros(len(images), np.int64), sum(part.faces for part in parts), files)


def networks(folder: Path, only: Sequence[str]) -> Mapping[str, Bundle]:
    """The released weight files that are here, and the default bundle without its quantization."""
    found = {}
    weights = Path(os.environ.get("SSR_WEIGHTS_DIR", SHARED / "weights"))
    for path in sorted(weights.glob("ssrnet_*.h5")):
        name = path.stem.removeprefix("ssrnet_")
        if not only or name in only:
            found[name] = write_bundle(folder / name, *import_keras(path))
    if not only or "default" in only:
        plain = replace(read_bundle(default_bundle()).contract, quantization=None)
        found["default"] = copy_bundle(read_bundle(default_bundle()), plain, folder / "default")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("photos", type=Path, nargs="+")
    parser.add_argument("--jitter", type=int, default=2, help="further cuts of each face")
    parser.add_argument("--only", nargs="*", default=[], help="networks by name")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bundles = networks(Path(folder), arguments.only)
        rows: Rows = []
        sizes = "none"
        for name, bundle in bundles.items():
            if name == "default":
                drawn = [draw_faces(DRAWN, seed).images for seed in (1, 2)]
                rows += rows_of("default", bundle, [("drawn", drawn[0], drawn[1])])
            else:
                a, b = halves(arguments.photos, bundle, arguments.jitter)
                sizes = " and ".join(
                    f"{len(half.files)} files, {half.faces} faces, {len(half.images)} crops"
                    for half in (a, b)
                )
                both = [("A to B", a.images, b.images), ("B to A", b.images, a.images)]
                rows += rows_of(name, bundle, both)
    header = ["network, precision", "what is on", "quantized on, tested on", "mean", "signed", "99 %", "max"]
    text = "\n".join([
        "# Drift of int8 and bf16 from fp32, in years",
        "",
        "`python benchmarks/quantization.py PHOTOS...`: answers less the fp32 answers of the same network, "
        "on crops of photos that quantization never saw. Mean and 99th percentile are of the size, `signed` "
        "is the mean with its sign. Networks with V = 1 (the gender network) are scaled to V = 101: a "
        "hundredth is one ten-thousandth of probability. All rows are the arithmetic of the native engine.",
        "",
        f"PHOTOS: {', '.join(folder.name for folder in arguments.photos)}. A and B are every other file of "
        f"each: {sizes}. Each face is cut as the network wants, once as found and {arguments.jitter} times "
        "with its box moved by up to 8 % and scaled by up to 12 %, half of those mirrored. Drawn: "
        f"{DRAWN} faces each.",
        "",
        table(header, rows),
        "",
    ])  # fmt: skip
    (RESULTS / "drift.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    command.run(main, "drift")
