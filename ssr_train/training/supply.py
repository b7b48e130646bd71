"""Pictures and ages on the training device: kept there where they fit, read ahead where they do not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssr_train.data.dataset import Dataset
from ssr_train.data.workers import results_of

SHARE = 0.5
"""Of the device's free memory, what pictures may take; the rest is for the network."""
AHEAD = 2
"""Batches read in advance from a memory map."""

Index = NDArray[np.int64]


class FaceBatch(NamedTuple):
    """Pictures (N, S, S, 3) uint8 and ages (N,) float32, both on the device."""

    images: Tensor
    ages: Tensor


class Supply:
    """Faces of ``dataset`` by index.

    On a GPU the pictures are copied there once, as bytes, if they take no more than :data:`SHARE` of what is
    free. Otherwise each batch is gathered on the host, from an array in memory or from a
    memory map, for which the system's page cache is the store.
    """

    def __init__(self, dataset: Dataset, device: torch.device) -> None:
        self.images, self.device = dataset.images, device
        self.ages = torch.from_numpy(np.ascontiguousarray(dataset.ages, np.float32)).to(device)
        fits = device.type == "cuda" and self.images.nbytes <= SHARE * torch.cuda.mem_get_info(device)[0]
        self._there = _copied(self.images, device) if fits else None

    def take(self, index: Index) -> FaceBatch:
        """The faces ``index``, gathered now."""
        return self._arrived(index, self._gather(index))

    def stream(self, batches: Iterable[Index]) -> Iterator[FaceBatch]:
        """The faces of each index array in turn; a thread reads :data:`AHEAD` of them from a memory map."""
        if self._there is not None or not isinstance(self.images, np.memmap):
            yield from map(self.take, batches)
            return
        with ThreadPoolExecutor(1, "read-ahead") as reader:

            def read(index: Index) -> Future[tuple[Index, Tensor | None]]:
                return reader.submit(lambda: (index, self._gather(index)))

            for index, pictures in results_of(read, batches, AHEAD + 1):
                yield self._arrived(index, pictures)

    def _gather(self, index: Index) -> Tensor | None:
        """Pictures in host memory; None where they are on the device already."""
        if self._there is not None:
            return None
        pictures = torch.from_numpy(np.ascontiguousarray(self.images[index]))
        return pictures.pin_memory() if self.device.type == "cuda" else pictures

    def _arrived(self, index: Index, pictures: Tensor | None) -> FaceBatch:
        where = torch.from_numpy(index).to(self.device)
        if pictures is None:
            assert self._there is not None
            return FaceBatch(self._there[where], self.ages[where])
        return FaceBatch(pictures.to(self.device, non_blocking=True), self.ages[where])


def cut(index: Index, size: int) -> Sequence[Index]:
    """``index`` in consecutive pieces of ``size``, the last one shorter."""
    return [index[begin : begin + size] for begin in range(0, len(index), size)]


def _copied(images: NDArray[np.uint8], device: torch.device) -> Tensor:
    """``images`` on the device, copied piece by piece, so that a memory map never fills the host."""
    there = torch.empty(images.shape, dtype=torch.uint8, device=device)
    for begin in range(0, len(images), 4096):
        piece = np.ascontiguousarray(images[begin : begin + 4096])
        there[begin : begin + len(piece)].copy_(torch.from_numpy(piece.copy()))
    return there
