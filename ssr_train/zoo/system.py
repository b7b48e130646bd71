"""What every competitor of the paper's tables has in common: a network with its own loss and decoding."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from ssr_bundle.contract import IMAGE_SIZE
from ssr_train.model import stored
from ssr_train.zoo.count import Count

Batches = Callable[[], Iterator[tuple[Tensor, Tensor]]]
"""Starts one pass over the training faces: images (N, 3, S, S), 0..255, BGR, and ages (N,) in years."""


@dataclass(frozen=True)
class Paper:
    """What the SSR-Net paper reports of a system; None where it reports nothing.

    ``megabytes`` and ``mae`` (years, MORPH2): Table 1; ``ca``: shares of test faces with an error below 3 and
    5 years, MegaAge-Asian: Table 2; ``milliseconds`` of an inference on its ``gpu`` and ``cpu``: Table 1;
    ``input``: side of the input there, pixels; ``options``: those that build it at the table's size.
    """

    megabytes: float | None = None
    mae: float | None = None
    ca: Mapping[int, float] = field(default_factory=dict)
    milliseconds: Mapping[str, float] = field(default_factory=dict)
    input: int = IMAGE_SIZE
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Description:
    """Where a system comes from. ``note``: what differs here from the source.

    ``build`` makes a new one; its keywords with their defaults are the system's options.
    """

    name: str
    title: str
    source: str
    build: Callable[..., System]
    paper: Paper = Paper()
    note: str = ""


class Method(nn.Module):
    """How outputs are learnt from and read: what a system has, and a head, on features in place of pictures.

    ``step``: of a method that counts, the years between the answers that it can give.

    Once :meth:`prepare` with the training ages, gradient steps on ``loss(forward(images), ages)``, then once
    :meth:`finish`. Everything learnt, also in ``prepare`` and ``finish``, is in the state dict.
    """

    step: float = 0.0

    def loss(self, outputs: Any, ages: Tensor) -> Tensor:
        """The scalar to descend for ``outputs`` of faces of ``ages`` (N,) in years: a mean over faces, by
        default of the absolute errors."""
        return F.l1_loss(self.decode(outputs), ages)

    def decode(self, outputs: Any) -> Tensor:
        """Outputs to ages (N,) in years, not clipped; by default they are that."""
        ages: Tensor = outputs
        return ages

    def prepare(self, ages: Tensor, /) -> None:
        """Take from the training ages (N,) what the method fixes before training; nothing by default."""

    def finish(self, batches: Batches, /) -> None:
        """Fit what the method fits after gradient training; nothing by default.

        Call it without gradients and in eval mode; ``batches`` may be started more than once.
        """


class System(Method):
    """A method of age estimation that trains, predicts and is saved by the same code as all others.

    ``options`` are those it was built with (:func:`ssr_train.zoo.build`), so that name, options and state
    dict make it again. ``forward``: float images (N, 3, S, S), 0..255, BGR, to outputs: a tensor, or a named
    tuple of tensors.
    """

    name: str
    options: dict[str, Any]
    description: Description
    input_size: int = IMAGE_SIZE

    def predict(self, images: Tensor) -> Tensor:
        """Ages (N,) in years of ``images``, as :meth:`forward` takes them."""
        return self.decode(self(images))

    def count(self) -> Count:
        """The numbers it is made of."""
        return count(self)


def count(module: nn.Module) -> Count:
    """The numbers in ``module``, less batch norm's step counters."""
    numbers = stored(module).values()
    return Count(sum(p.numel() for p in module.parameters()), sum(v.numel() for v in numbers))
