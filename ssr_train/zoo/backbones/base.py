"""What every backbone has."""

from __future__ import annotations

from torch import Tensor, nn

from ssr_bundle.contract import IMAGE_SIZE

KERAS_MOMENTUM = 0.01
"""Batch norm's momentum of the public code (Keras 0.99) in torch's sense."""


class Backbone(nn.Module):
    """Float pictures (N, 3, ``input_size``, ``input_size``), 0..255, BGR, to (N, ``features``)."""

    features: int
    input_size: int = IMAGE_SIZE


def he(weight: Tensor) -> Tensor:
    """He's normal initialisation, for layers that ReLU follows."""
    return nn.init.kaiming_normal_(weight, nonlinearity="relu")
