"""What every head has, and the system that a backbone and a head make."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ssr_train.zoo.backbones.base import Backbone
from ssr_train.zoo.system import Batches, Description, System


class Head(nn.Module):
    """Features (N, F) to outputs, with loss and decoding: the methods of :class:`System` on features."""

    def forward(self, features: Tensor) -> Any:
        raise NotImplementedError

    def loss(self, outputs: Any, ages: Tensor) -> Tensor:
        raise NotImplementedError

    def decode(self, outputs: Any) -> Tensor:
        raise NotImplementedError

    def prepare(self, ages: Tensor, /) -> None:
        """As :meth:`System.prepare`."""

    def finish(self, batches: Batches, /) -> None:
        """As :meth:`System.finish`, with features (N, F) in place of pictures."""


class Composed(System):
    """A head on a backbone.

    Under autocast the backbone alone computes in half types: a head's sums need float32, where bfloat16
    would round an age of 70 to half a year.
    """

    def __init__(self, description: Description, backbone: Backbone, head: Head) -> None:
        super().__init__()
        self.description = description
        self.backbone, self.head = backbone, head
        self.input_size = backbone.input_size

    def forward(self, images: Tensor) -> Any:
        features = _full(self.backbone(images))
        with _without_autocast(features):
            return self.head(features)

    def loss(self, outputs: Any, ages: Tensor) -> Tensor:
        with _without_autocast(ages):
            return self.head.loss(outputs, ages)

    def decode(self, outputs: Any) -> Tensor:
        with _without_autocast(outputs if isinstance(outputs, Tensor) else outputs[0]):
            return self.head.decode(outputs)

    def prepare(self, ages: Tensor, /) -> None:
        self.head.prepare(ages)

    @torch.no_grad()
    def finish(self, batches: Batches, /) -> None:
        self.head.finish(lambda: ((_full(self.backbone(images)), ages) for images, ages in batches()))


def _full(features: Tensor) -> Tensor:
    return features.float() if features.dtype in (torch.bfloat16, torch.float16) else features


def _without_autocast(values: Tensor) -> torch.autocast:
    return torch.autocast(values.device.type, enabled=False)
