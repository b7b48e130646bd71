"""How much faster is a training step than the loop that everybody writes first?

The plain loop: eager PyTorch, NCHW, fp32, Equation 7 in torch operators, torch's Adam as it comes, and a
DataLoader that warps one picture after another with OpenCV. Ours: the step of ``ssr-train fit``. Every
candidate runs in a process of its own, since how memory is kept is a process's setting; they take turns, a
step each. The plain loop's loader and ours both work in the training process (no further workers), on
--threads threads. Run: python benchmarks/training.py [--batch N --threads N --seconds N]
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import _results
import cv2
import numpy as np
import torch
from rich.console import Console
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader

from ssr_bundle import commandline as command
from ssr_bundle.contract import BLOCKS, Crop
from ssr_train.data.dataset import Dataset
from ssr_train.data.protocols import make_split
from ssr_train.data.synthetic import draw_faces
from ssr_train.data.transforms import APPLY, FLIP, ROTATION, SHEAR, SHIFT, ZOOM, to_network, warp
from ssr_train.model import SSRNet, StageOutputs, expression
from ssr_train.progress import Reporter
from ssr_train.training.folder import RunFolder, Settings
from ssr_train.training.memory import keep_freed_memory
from ssr_train.training.processes import Processes
from ssr_train.training.trainer import Trainer

FACES = 1000
RATE = 0.002
GENTLE = 1e-4
"""Rate of the comparison before timing: at the paper's, rounding alone parts two runs in five steps."""
REQUIRED = 1.5
WARMUP = 3

Step = Callable[[], object]


class PlainNetwork(SSRNet):
    """SSR-Net as first written: activation before the pool, and the regression in torch operators."""

    def forward_stages(self, images: Tensor) -> StageOutputs:
        x = s = images
        levels = []
        for i, (block_x, block_s) in enumerate(zip(self.x, self.s, strict=True)):
            x, s = block_x(x), block_s(s)
            if i < BLOCKS - 1:
                x, s = self.average(x), self.maximum(s)
            levels.append((x, s))
        taps = self.architecture.taps
        outputs = [stage(*levels[tap.level - 1]) for stage, tap in zip(self.stages, taps, strict=True)]
        return StageOutputs(*(torch.cat(parts, dim=1) for parts in zip(*outputs, strict=True)))

    def forward(self, images: Tensor) -> Tensor:
        return expression(*self.forward_stages(images), architecture=self.architecture).unsqueeze(1)


class PerImage(torch.utils.data.Dataset[tuple[Tensor, float]]):
    """Drawn faces, each warped by OpenCV when it is asked for."""

    def __init__(self, data: Dataset) -> None:
        self.images, self.ages = data.images, data.ages

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, float]:
        return torch.from_numpy(warped(self.images[index], drawn()).transpose(2, 0, 1)), self.ages[index]


def drawn() -> np.ndarray:
    """One (2, 3) map from output to input, -1..1, as :func:`random_matrices` draws them."""

    def maybe(low: float, high: float, neutral: float) -> float:
        return random.uniform(low, high) if random.random() < APPLY else neutral

    angle, shear = maybe(-ROTATION, ROTATION, 0.0), maybe(-SHEAR, SHEAR, 0.0)
    shift_x = shift_y = 0.0
    zoom_x = zoom_y = 1.0
    if random.random() < APPLY:
        shift_x, shift_y = (random.uniform(-2 * SHIFT, 2 * SHIFT) for _ in range(2))
    if random.random() < APPLY:
        zoom_x, zoom_y = (random.uniform(*ZOOM) for _ in range(2))
    mirror = -1.0 if random.random() < FLIP else 1.0
    cos, sin, k, t = math.cos(angle), math.sin(angle), math.cos(shear), math.sin(shear)
    return np.array(
        [
            (cos * zoom_x * mirror, (-cos * t - sin * k) * zoom_y, shift_x),
            (sin * zoom_x * mirror, (-sin * t + cos * k) * zoom_y, shift_y),
        ]
    )


def warped(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """``image`` (S, S, 3) under a map between -1..1 coordinates, by OpenCV."""
    size = image.shape[0]
    in_pixels = matrix.copy()
    in_pixels[:, 2] = (matrix[:, :2].sum(1) * (1 - size) + size * (matrix[:, 2] + 1) - 1) / 2
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(image, in_pixels, (size, size), flags=flags, borderMode=cv2.BORDER_REPLICATE)


def faces() -> Dataset:
    return Dataset(
        *draw_faces(FACES, 0), description="drawn faces", synthetic=True, licence="Apache-2.0", crop=Crop()
    )


def plain_network(dropout: float) -> tuple[SSRNet, torch.optim.Optimizer]:
    torch.manual_seed(0)
    network = PlainNetwork(dropout=dropout).train()
    return network, torch.optim.Adam(network.parameters(), lr=RATE)


def plain_step(network: SSRNet, optimizer: torch.optim.Optimizer, images: Tensor, ages: Tensor) -> float:
    """What a tutorial does with a batch; images float NCHW."""
    optimizer.zero_grad()
    loss = F.l1_loss(network(images)[:, 0], ages)
    loss.backward()
    optimizer.step()
    return loss.item()


def trainer(data: Dataset, batch: int, threads: int, precision: str, **options: Any) -> Trainer:
    """The trainer of `ssr-train fit` on ``data``, with a folder of its own that it never writes to."""
    settings = Settings(
        count=len(data),
        batch_size=batch,
        threads=threads,
        precision=precision,
        options={"dropout": options.pop("dropout", 0.2)},
        **options,
    )
    folder = RunFolder(Path(tempfile.gettempdir()) / "no-such-run")
    quiet = Reporter(Console(quiet=True))
    split = make_split(data, "random", 0)
    return Trainer(folder, settings, data, split, quiet, 10**9, Processes())


def plain(data: Dataset, batch: int, threads: int) -> Step:
    network, optimizer = plain_network(0.2)
    cv2.setNumThreads(threads)
    loader = DataLoader(PerImage(data), batch, shuffle=True, drop_last=True)

    def endless() -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            yield from loader

    batches = endless()

    def step() -> float:
        images, ages = next(batches)
        return plain_step(network, optimizer, images.float(), ages.float())

    return step


def plain_alone(data: Dataset, batch: int, threads: int) -> Step:
    network, optimizer = plain_network(0.2)
    images = torch.from_numpy(data.images[:batch]).permute(0, 3, 1, 2).float().contiguous()
    ages = torch.from_numpy(data.ages[:batch])
    return lambda: plain_step(network, optimizer, images, ages)


def ours(precision: str, alone: bool) -> Callable[[Dataset, int, int], Step]:
    """The trainer's step; ``alone``: without gathering anew and without augmentation."""

    def make(data: Dataset, batch: int, threads: int) -> Step:
        keep_freed_memory()
        engine = trainer(data, batch, threads, precision, augment=not alone)
        rng = np.random.default_rng(0)
        fixed = engine.split.train[:batch]
        kept = engine.supply.take(fixed)

        def step() -> None:
            index = fixed if alone else rng.choice(engine.split.train, batch, replace=False)
            engine._train(index, kept if alone else engine.supply.take(index))

        return step

    return make


CANDIDATES = {
    "plain": plain,
    "ours fp32": ours("fp32", False),
    "ours bf16": ours("bf16", False),
    "plain, network only": plain_alone,
    "ours fp32, network only": ours("fp32", True),
    "ours bf16, network only": ours("bf16", True),
}


def validate(data: Dataset, batch: int) -> list[str]:
    """Refuse to time what does not learn the same; returns what was found."""
    notes = []
    torch.manual_seed(1)
    random.seed(1)
    matrices = np.stack([drawn() for _ in range(batch)])
    by_torch = warp(to_network(torch.from_numpy(data.images[:batch])), torch.tensor(matrices))
    by_cv = np.stack([warped(image, m) for image, m in zip(data.images, matrices, strict=False)])
    apart = float(np.abs(by_torch.numpy() - by_cv.transpose(0, 3, 1, 2)).mean())
    if apart > 0.5:
        raise SystemExit(f"the two warps differ by {apart:.2f} of 255 on average: not the same pictures")
    notes.append(f"the same maps give the same pictures: mean difference {apart:.2f} of 255")

    for precision, least, most in (("fp32", 0.9999, 0.02), ("bf16", 0.98, 0.10)):
        network, optimizer = plain_network(0.0)
        engine = trainer(data, batch, 1, precision, augment=False, dropout=0.0)
        engine.system.network.load_parameters(network.parameters_by_name())
        for group in (*optimizer.param_groups, *engine.optimizer.param_groups):
            group["lr"] = GENTLE
        index = engine.split.train[:batch]
        kept = engine.supply.take(index)
        images = to_network(kept.images).contiguous()
        losses, gradients = [], []
        for _ in range(5):
            before = engine.error_sum
            engine._train(index, kept)
            losses.append(
                ((engine.error_sum - before) / batch, plain_step(network, optimizer, images, kept.ages))
            )
            if not gradients:
                gradients = [
                    torch.cat([p.grad.flatten() for p in parameters])
                    for parameters in (engine.system.parameters(), network.parameters())
                ]
        cosine = float(torch.cosine_similarity(*gradients, dim=0))
        drift = max(abs(a - b) / b for a, b in losses)
        if cosine < least or drift > most:
            raise SystemExit(
                f"{precision}: gradients' cosine {cosine:.5f}, losses {losses}: not the same step"
            )
        notes.append(
            f"{precision}: cosine between the first step's gradients {cosine:.5f}; "
            f"losses of five steps within {100 * drift:.2f} %"
        )
    return notes


def serve(name: str, batch: int, threads: int, line: Connection) -> None:
    """A candidate's process: a step for every message, answered with its wall and CPU seconds."""
    torch.set_num_threads(threads)
    random.seed(0)
    step = CANDIDATES[name](faces(), batch, threads)
    for _ in range(WARMUP):
        step()
    line.send(None)
    while line.recv():
        wall, cpu = time.perf_counter(), time.process_time()
        step()
        line.send((time.perf_counter() - wall, time.process_time() - cpu))


def take_turns(batch: int, threads: int, seconds: float) -> dict[str, tuple[float, float]]:
    """Median wall and CPU seconds of a step of each candidate, in rounds of one step each."""
    context = multiprocessing.get_context("spawn")
    lines: dict[str, Connection] = {}
    workers = []
    for name in CANDIDATES:
        here, there = context.Pipe()
        worker = context.Process(target=serve, args=(name, batch, threads, there))
        worker.start()
        workers.append(worker)
        lines[name] = here
        here.recv()
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in CANDIDATES}
    end = time.perf_counter() + seconds
    while len(times["plain"]) < 5 or time.perf_counter() < end:
        for name, line in lines.items():
            line.send(True)
            times[name].append(line.recv())
    for line in lines.values():
        line.send(False)
    for worker in workers:
        worker.join()
    return {
        name: (statistics.median(w for w, _ in pairs), statistics.median(c for _, c in pairs))
        for name, pairs in times.items()
    }


def measure(batch: int, threads: int, seconds: float) -> str:
    torch.set_num_threads(1)
    notes = validate(faces(), batch)
    before = os.getloadavg()[0]
    times = take_turns(batch, threads, seconds)
    rows = []
    for name, (wall, cpu) in times.items():
        peer = times["plain, network only" if "only" in name else "plain"]
        rows.append(
            (
                name,
                f"{wall * 1e3:.1f}",
                f"{batch / wall:,.0f}",
                f"{peer[0] / wall:.2f}",
                f"{cpu * 1e3:.1f}",
                f"{peer[1] / cpu:.2f}",
            )
        )
    ratio = times["plain"][0] / times["ours fp32"][0]
    verdict = "met" if ratio >= REQUIRED else "MISSED"
    return "\n".join(
        [
            "# A training step against the plain loop",
            "",
            f"{_results.hardware()}. "
            + _results.versions("torch", "numpy", "opencv-python-headless", "ssr-serve")
            + ".",
            f"SSR-Net (3,3,3), batch {batch}, {threads} thread(s), no loader processes; medians of steps"
            f" taken in turn, a process each. Load of the machine before: {before:.1f}.",
            "",
            _results.table(
                ("", "ms a step", "faces/s", "times plain", "CPU ms a step", "times plain, CPU"), rows
            ),
            "",
            "Plain: eager NCHW fp32, Equation 7 in torch operators, Adam, a DataLoader that warps image by"
            " image with OpenCV. Ours: the step of `ssr-train fit`: channels last, one batched warp, tanh"
            " after the pool, the fused regression, fused Adam, freed memory kept. Network only: one batch"
            " in memory, no augmentation.",
            "",
            *(f"- {note}" for note in notes),
            f"- the whole step, fp32: {ratio:.2f} times plain, required {REQUIRED}: {verdict}",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=50)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=60.0)
    arguments = parser.parse_args()
    text = measure(arguments.batch, arguments.threads, arguments.seconds)
    print(text)
    print("\nwritten to", _results.write("training", text))


if __name__ == "__main__":
    command.run(main, "training")
