"""MobileNet (Howard et al. 2017, Table 1) as the public SSR-Net code builds it."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from ssr_train.model import initialise
from ssr_train.zoo.backbones.base import KERAS_MOMENTUM, Backbone

# Width at alpha = 1 and stride of the thirteen depthwise separable blocks.
_BLOCKS = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    *((512, 1),) * 5,
    (1024, 2),
    (1024, 1),
)


class Convolution(nn.Sequential):
    """3x3 or 1x1 convolution, batch norm, ReLU6; a stride of 2 pads right and below only, as Keras does."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        padding = kernel // 2 if stride == 1 else 0
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False),
            nn.BatchNorm2d(outputs, eps=1e-3, momentum=KERAS_MOMENTUM),
            nn.ReLU6(),
        )
        self.pad = stride == 2

    def forward(self, v: Tensor) -> Tensor:
        if self.pad:
            v = F.pad(v, (0, 1, 0, 1))
        for layer in self:
            v = layer(v)
        return v


class MobileNet(Backbone):
    """Depthwise separable convolutions with width multiplier ``alpha``, then 1x1 to 20 maps.

    The 1x1 convolution with ReLU and the flattening are the public code's way to its regression head.
    """

    def __init__(self, alpha: float = 0.25, *, maps: int = 20) -> None:
        super().__init__()
        if not 0 < alpha <= 4:
            raise ValueError(f"alpha must lie in 0..4, got {alpha}")
        width = int(32 * alpha)
        layers: list[nn.Module] = [Convolution(3, width, 3, stride=2)]
        for outputs, stride in ((int(w * alpha), stride) for w, stride in _BLOCKS):
            layers += [Convolution(width, width, 3, stride, groups=width), Convolution(width, outputs, 1)]
            width = outputs
        self.body = nn.Sequential(*layers)
        self.squeeze = nn.Conv2d(width, maps, 1)
        self.features = maps * (self.input_size // 32) ** 2
        initialise(self, nn.init.xavier_uniform_)

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.squeeze(self.body(images)).relu().flatten(1)
        return features
