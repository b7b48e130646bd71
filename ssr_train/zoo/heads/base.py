"""The system that a backbone and a head make."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ssr_train.zoo.backbones.base import Backbone
from ssr_train.zoo.system import Batches, Method, System


class Composed(System):
    """A head, a method on features (N, F), on a backbone.

    Under autocast the backbone alone computes in half types: a head's sums need float32, where bfloat16
    would round an age of 70 to half a year.
    """

    def __init__(self, backbone: Backbone, head: Method) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head
        self.input_size, self.step = backbone.input_size, head.step

    def forward(self, images: Tensor) -> Any:
        features = _full(self.backbone(images))
        with _without_autocast(features):
            return self.head(features)

    def loss(self, outputs: Any, ages: Tensor) -> Tensor:
        with _without_autocast(ages):
            return self.head.loss(outputs, ages) + self.backbone.penalty()

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
