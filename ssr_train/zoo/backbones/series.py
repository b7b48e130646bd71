"""A series of equal, independent binary networks, computed side by side (Ranking-CNN's basic networks)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from ssr_train.model import initialise
from ssr_train.zoo.backbones.base import Backbone, he


@dataclass(frozen=True)
class PooledConv:
    """A convolution with ReLU, then max pooling (windows that reach over the edge count, as in Caffe)."""

    maps: int
    kernel: int
    stride: int
    padding: int
    pool: int
    pool_stride: int


@dataclass(frozen=True)
class Basic:
    """One binary network: convolutions on pictures of ``size``, then layers of ``hidden`` neurons, one logit.

    ``side`` is that of the last map.
    """

    size: int
    layers: tuple[PooledConv, ...]
    side: int
    hidden: tuple[int, ...]
    dropout: float


COMPACT = Basic(
    size=64,
    layers=(PooledConv(6, 5, 2, 0, 2, 2), PooledConv(12, 3, 1, 0, 2, 2), PooledConv(16, 3, 1, 0, 1, 1)),
    side=5,
    hidden=(32,),
    dropout=0.0,
)
"""A basic network small enough for fifty of them to train beside SSR-Net."""

FULL = Basic(
    size=227,
    layers=(PooledConv(96, 7, 4, 0, 3, 2), PooledConv(256, 5, 1, 2, 3, 2), PooledConv(384, 3, 1, 1, 3, 2)),
    side=7,
    hidden=(512, 512),
    dropout=0.5,
)
"""Three convolutions and three fully connected layers of the sizes of Levi and Hassner (2015)."""


class Series(Backbone):
    """``count`` basic networks on the same picture: their logits are the features (N, ``count``).

    They are written as one network of grouped convolutions, a group each, so that they share no weight and
    no gradient. Pixels are brought to -1..1; no normalisation that would mix the groups.
    """

    def __init__(self, count: int, basic: Basic = COMPACT) -> None:
        super().__init__()
        self.features, self.input_size = count, basic.size
        layers: list[nn.Module] = []
        inputs = 3
        for i, a in enumerate(basic.layers):
            groups = count if i else 1  # all read the one picture
            layers += [
                nn.Conv2d(inputs, count * a.maps, a.kernel, a.stride, a.padding, groups=groups),
                nn.ReLU(),
            ]
            if a.pool > 1:
                layers.append(nn.MaxPool2d(a.pool, a.pool_stride, ceil_mode=True))
            inputs = count * a.maps
        side = basic.side
        for width in basic.hidden:
            layers += [nn.Conv2d(inputs, count * width, side, groups=count), nn.ReLU()]
            layers.append(nn.Dropout(basic.dropout))
            inputs, side = count * width, 1
        layers += [nn.Conv2d(inputs, count, side, groups=count), nn.Flatten()]
        self.body = nn.Sequential(*layers)
        initialise(self, he)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.body(images / 127.5 - 1)
        return logits
