"""Data parallel training under ``torchrun``: who this process is, and sums over all of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.rendezvous import rendezvous

from ssr_bundle.errors import SsrError

T = TypeVar("T")

_PARTING = timedelta(seconds=5)
"""How long a process that leaves waits for the others."""


class Processes:
    """The ``count`` processes of a run; ``rank`` is this one, 0 the one that writes and speaks."""

    def __init__(self, rank: int = 0, count: int = 1) -> None:
        self.rank, self.count = rank, count

    @property
    def first(self) -> bool:
        return self.rank == 0

    def share(self, size: int) -> slice:
        """This process's part of a batch of ``size``, which ``count`` divides."""
        part = size // self.count
        return slice(self.rank * part, (self.rank + 1) * part)

    def sum(self, values: Tensor) -> Tensor:
        """``values`` summed over the processes, in place."""
        if self.count > 1:
            dist.all_reduce(values)
        return values

    def agree(self, value: str) -> None:
        """Raise :class:`SsrError` unless every process has the same ``value``."""
        if self.count > 1:
            values: list[str | None] = [None] * self.count
            dist.all_gather_object(values, value)
            if len(set(values)) > 1:
                raise SsrError("the processes of this run were given different options or data")

    def alone(self, work: Callable[[], T]) -> T | None:
        """What the first process's ``work`` gives, None in the others, which wait for it.

        A refusal or a full disk there ends all of them: the first raises it, and the others end without a
        word.
        """
        done: T | None = None
        refusal: Exception | None = None
        if self.first:
            try:
                done = work()
            except (SsrError, OSError) as error:
                refusal = error
        stopped = [refusal is not None]
        if self.count > 1:
            dist.broadcast_object_list(stopped, src=0)
        if refusal is not None:
            raise refusal
        if stopped[0]:
            raise SystemExit(1)
        return done


def launched() -> int:
    """How many processes ``torchrun`` started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "RANK" in os.environ else 1


def speaks() -> bool:
    """Whether this process is the run's first, which writes and prints."""
    return os.environ.get("RANK", "0") == "0"


def local_device(device: str) -> str:
    """The device of this process: of ``cuda`` under ``torchrun``, the GPU that is its own."""
    if launched() > 1 and device == "cuda":
        return f"cuda:{os.environ['LOCAL_RANK']}"
    return device


@contextmanager
def joined(device: str) -> Iterator[Processes]:
    """Join the processes that ``torchrun`` started, over gloo on the CPU and NCCL on GPUs.

    They leave together where they can: the last exchange breaks in one that is behind when another has gone.
    """
    if launched() == 1:
        yield Processes()
        return
    where = torch.device(local_device(device))
    if where.type == "cuda":
        torch.cuda.set_device(where)
    store, rank, count = next(rendezvous("env://"))
    backend = "nccl" if where.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=count)
    try:
        yield Processes(rank, count)
    finally:
        with suppress(RuntimeError):  # one has died, or took the store along
            store.set(f"left {rank}", "")
            store.wait([f"left {other}" for other in range(count)], _PARTING)
        dist.destroy_process_group()
