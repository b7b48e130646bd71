"""VGG-16 (Simonyan and Zisserman 2014, Table 1, configuration D), the bulky models' backbone."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from ssr_train.model import initialise
from ssr_train.zoo.backbones.base import Backbone, he

_BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
_BGR_MEAN = (103.939, 116.779, 123.68)


class VGG16(Backbone):
    """Thirteen 3x3 convolutions and two layers of 4,096 neurons with dropout: 134,260,544 numbers.

    Pictures are 224x224; the ImageNet mean of the released Caffe model is taken off. There are no
    ImageNet weights here: it starts from He's initialisation.
    """

    features = 4096
    input_size = 224
    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(_BGR_MEAN).view(1, 3, 1, 1), persistent=False)
        layers: list[nn.Module] = []
        inputs = 3
        for block in _BLOCKS:
            for width, outputs in pairwise((inputs, *block)):
                layers += [nn.Conv2d(width, outputs, 3, padding=1), nn.ReLU()]
            layers.append(nn.MaxPool2d(2))
            inputs = block[-1]
        for width in (inputs * 7 * 7, self.features):
            layers += [nn.Flatten(), nn.Linear(width, self.features), nn.ReLU(), nn.Dropout(0.5)]
        self.body = nn.Sequential(*layers)
        initialise(self, he)

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.body(images - self.mean)
        return features
