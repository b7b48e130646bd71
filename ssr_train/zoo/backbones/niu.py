"""The three-convolution network of Niu et al. 2016, which MRCNN and ORCNN share."""

from __future__ import annotations

from torch import Tensor, nn

from ssr_train.model import initialise
from ssr_train.zoo.backbones.base import Backbone, he

SIZE = 60


def _block(inputs: int, outputs: int, kernel: int) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, kernel),
        nn.ReLU(),
        nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1.0),
    ]


class NiuNet(Backbone):
    """20, 40 and 80 kernels of 5x5, 7x7 and 11x11 with local response normalisation, then 80 neurons.

    It is made for 60x60 pictures, which the third convolution brings to 1x1: the middle of a 64x64 picture
    is taken. Pixels are brought to -1..1. Weights are He's initialisation.
    """

    features = 80

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_block(3, 20, 5),
            nn.MaxPool2d(2),
            *_block(20, 40, 7),
            nn.MaxPool2d(2),
            *_block(40, 80, 11),
            nn.Flatten(),
            nn.Linear(80, self.features),
            nn.ReLU(),
        )
        initialise(self, he)

    def forward(self, images: Tensor) -> Tensor:
        begin = (self.input_size - SIZE) // 2
        middle = images[:, :, begin : begin + SIZE, begin : begin + SIZE]
        features: Tensor = self.body(middle / 127.5 - 1)
        return features
