"""What a contestant is: a network made ready for a fixed number of images, in one or more variants.

A runtime is shown at its best. It may like its batches cut into chunks (its activations then stay in cache),
one memory layout more than another, or one single-threaded copy a core more than its own threads. So each
contestant offers variants and chunks, :mod:`peers.tuning` measures which :class:`Plan` is quickest, and only
that one enters the contest.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ssr_bundle.bundle import Bundle

Images = NDArray[np.uint8]
"""(N, 64, 64, 3) in the contract's colour order."""

Answers = NDArray[np.float32]
Call = Callable[[], Answers]
"""Runs the network over images given beforehand; answers (N,)."""

Session = Callable[[Images], Call]
"""Takes exactly as many images as it was compiled for, in the layout it likes, and gives the call to time."""


class WrongError(Exception):
    """Answers that no time is worth measuring of."""


@dataclass(frozen=True)
class Material:
    """What every contestant is made from: the bundle, crops to quantize on, a scratch folder."""

    bundle: Bundle
    crops: Images
    folder: Path

    @cached_property
    def planes(self) -> NDArray[np.float32]:
        """The crops as float (N, 3, 64, 64)."""
        return as_planes(self.crops)


@dataclass(frozen=True)
class Plan:
    """How a batch is run: ``variant`` of the network, ``chunk`` images a call, ``workers`` copies at once."""

    variant: str
    chunk: int
    workers: int = 1

    def __str__(self) -> str:
        parts = [self.variant] if self.variant else []
        parts.append(f"{self.chunk} a call" if self.chunk else "whole batch")
        if self.workers > 1:
            parts.append(f"{self.workers} copies")
        return ", ".join(parts)


@dataclass
class Contestant:
    """A runtime in one precision.

    ``compile(variant, chunk, threads)`` gives a :data:`Session`. ``chunks`` empty: any number of images a
    call, and the runtime splits them itself (our engine).
    """

    name: str
    runtime: str
    precision: str
    compile: Callable[[str, int, int], Session]
    variants: tuple[str, ...] = ("",)
    chunks: tuple[int, ...] = (1, 8, 32, 128)
    implementation: str = ""
    copies: bool = True
    """Whether several single-threaded copies may share the threads."""
    kernels: Callable[[Plan], str] | None = None
    """Tells what runs, where the runtime does."""
    _sessions: dict[tuple[str, int, int, int], Session] = field(default_factory=dict)
    _pools: dict[int, ThreadPoolExecutor] = field(default_factory=dict)

    @property
    def ours(self) -> bool:
        return self.runtime == "ours"

    def session(self, variant: str, chunk: int, threads: int, copy: int = 0) -> Session:
        key = (variant, chunk, threads, copy)
        if key not in self._sessions:
            self._sessions[key] = self.compile(variant, chunk, threads)
        return self._sessions[key]

    def prepare(self, plan: Plan, images: Images, threads: int) -> Call:
        """The call that answers ``images`` by ``plan`` on ``threads`` threads."""
        chunk = plan.chunk or len(images)
        if len(images) % (chunk * plan.workers):
            raise ValueError(f"{len(images)} images are not a multiple of {chunk} x {plan.workers}")
        each = threads // plan.workers
        shares = np.split(images, plan.workers)
        runs = [self._share(plan.variant, chunk, each, copy, share) for copy, share in enumerate(shares)]
        if plan.workers == 1:
            return runs[0]
        pool = self._pools.setdefault(plan.workers - 1, ThreadPoolExecutor(plan.workers - 1))

        def run() -> Answers:
            others = [pool.submit(other) for other in runs[1:]]
            first = runs[0]()
            return np.concatenate([first, *(other.result() for other in others)])

        return run

    def _share(self, variant: str, chunk: int, threads: int, copy: int, images: Images) -> Call:
        session = self.session(variant, chunk, threads, copy)
        calls = [session(images[i : i + chunk]) for i in range(0, len(images), chunk)]
        return calls[0] if len(calls) == 1 else lambda: np.concatenate([call() for call in calls])

    def predict(self, plan: Plan, images: Images, threads: int = 1) -> Answers:
        """Answers for any number of images: the last chunk is filled up by repeating images."""
        unit = (plan.chunk or len(images)) * plan.workers
        padded = np.resize(images, (-(-len(images) // unit) * unit, *images.shape[1:]))
        return self.prepare(plan, padded, threads)()[: len(images)]


def as_planes(images: Images) -> NDArray[np.float32]:
    """uint8 (N, 64, 64, 3) as float (N, 3, 64, 64)."""
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2), np.float32)
