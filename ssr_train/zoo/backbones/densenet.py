"""DenseNet (Huang et al. 2017, section 3) as the public SSR-Net code builds it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ssr_train.model import initialise
from ssr_train.zoo.backbones.base import KERAS_MOMENTUM, Backbone, keras_he


def _activate(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.BatchNorm2d(channels, eps=1.1e-5, momentum=KERAS_MOMENTUM), nn.ReLU())


class DenseLayer(nn.Module):
    """Batch norm, ReLU, 3x3 convolution to ``growth`` maps, which are put behind the input's."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        self.activate = _activate(channels)
        self.conv = nn.Conv2d(channels, growth, 3, padding=1, bias=False)

    def forward(self, v: Tensor) -> Tensor:
        return torch.cat((v, self.conv(self.activate(v))), dim=1)


class DenseNet(Backbone):
    """Three dense blocks of N layers, ``depth`` = 3 N + 4, no bottleneck, no compression, global average.

    The loss has ``l2`` times the squared weights of the first convolution and of the transitions', as the
    public code's has.
    """

    def __init__(self, depth: int = 19, *, growth: int = 12, l2: float = 1e-4) -> None:
        super().__init__()
        if not l2 >= 0:
            raise ValueError(f"l2 must not be negative, got {l2}")
        self.l2 = l2
        count, rest = divmod(depth - 4, 3)
        if count < 1 or rest:
            raise ValueError(f"depth must be 3 N + 4 with N of at least 1, got {depth}")
        width = 2 * growth
        layers: list[nn.Module] = [nn.Conv2d(3, width, 3, padding=1, bias=False)]
        for block in range(3):
            layers += [DenseLayer(width + i * growth, growth) for i in range(count)]
            width += count * growth
            layers.append(_activate(width))
            if block < 2:
                layers += [nn.Conv2d(width, width, 1, bias=False), nn.AvgPool2d(2)]
        self.body = nn.Sequential(*layers)
        self.features = width
        initialise(self, keras_he)

    def penalty(self) -> Tensor | float:
        bare = (layer for layer in self.body if isinstance(layer, nn.Conv2d))
        return self.l2 * sum(layer.weight.square().sum() for layer in bare) if self.l2 else 0.0

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.body(images).mean((2, 3))
        return features
