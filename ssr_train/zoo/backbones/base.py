"""What every backbone has."""

from __future__ import annotations

import math

from torch import Tensor, nn

from ssr_bundle.contract import IMAGE_SIZE

KERAS_MOMENTUM = 0.01
"""Batch norm's momentum of the public code (Keras 0.99) in torch's sense."""


class Backbone(nn.Module):
    """Float pictures (N, 3, ``input_size``, ``input_size``), 0..255, BGR, to (N, ``features``)."""

    features: int
    input_size: int = IMAGE_SIZE

    def penalty(self) -> Tensor | float:
        """What the source adds to the loss for large weights; by default nothing."""
        return 0.0


def keras_he(weight: Tensor) -> Tensor:
    """He's normal initialisation as the public code's Keras (2.0.6) has it: without what lies beyond two
    deviations."""
    deviation = math.sqrt(2 / weight[0].numel())
    return nn.init.trunc_normal_(weight, std=deviation, a=-2 * deviation, b=2 * deviation)


def he(weight: Tensor) -> Tensor:
    """He's normal initialisation, for layers that ReLU follows."""
    return nn.init.kaiming_normal_(weight, nonlinearity="relu")
