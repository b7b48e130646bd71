"""SSR-Net's own two streams, for comparing heads on equal terms."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ssr_bundle.contract import BLOCKS, LEVEL_SIZES, Architecture
from ssr_train.model import ConvBlock, initialise
from ssr_train.zoo.backbones.base import Backbone


class Streams(Backbone):
    """The two heterogeneous streams of SSR-Net (paper section 3.4, Figure 1a) down to their last level.

    Features are the (32 + 16) maps of 4x4 after the fourth block, less the fusion blocks' 1x1 convolutions,
    which belong to SSR-Net's head. What a head does on it differs from SSR-Net in the head alone.
    """

    def __init__(self) -> None:
        super().__init__()
        a = Architecture()

        def stream(width: int, activation: nn.Module, pool: nn.Module) -> nn.Sequential:
            layers: list[nn.Module] = []
            for i in range(BLOCKS):
                layers.append(ConvBlock(3 if i == 0 else width, width, a.batch_norm_epsilon, activation))
                if i < BLOCKS - 1:
                    layers.append(pool)
            return nn.Sequential(*layers)

        self.x = stream(a.width_x, nn.ReLU(), nn.AvgPool2d(2))
        self.s = stream(a.width_s, nn.Tanh(), nn.MaxPool2d(2))
        self.features = (a.width_x + a.width_s) * LEVEL_SIZES[BLOCKS] ** 2
        initialise(self, nn.init.xavier_uniform_)

    def forward(self, images: Tensor) -> Tensor:
        return torch.cat((self.x(images), self.s(images)), dim=1).flatten(1)
