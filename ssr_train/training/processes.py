"""Data parallel training under ``torchrun``: who this process is, and sums over all of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor

from ssr_train.errors import SsrError


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

    def go_on(self, refusal: Exception | None) -> None:
        """Until every process is here, the first with what stops the run, or None.

        The first raises it, and the others end without a word: it is the first that speaks.
        """
        stopped: list[bool] = [refusal is not None]
        if self.count > 1:
            dist.broadcast_object_list(stopped, src=0)
        if refusal is not None:
            raise refusal
        if stopped[0]:
            raise SystemExit(1)

    def wait(self) -> None:
        """Until every process is here."""
        if self.count > 1:
            dist.barrier()


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
    """Join the processes that ``torchrun`` started, over gloo on the CPU and NCCL on GPUs."""
    if launched() == 1:
        yield Processes()
        return
    where = torch.device(local_device(device))
    if where.type == "cuda":
        torch.cuda.set_device(where)
    dist.init_process_group("nccl" if where.type == "cuda" else "gloo")
    try:
        yield Processes(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()
