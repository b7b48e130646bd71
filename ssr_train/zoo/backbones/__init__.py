"""Networks from pictures to features: ``forward`` takes (N, 3, S, S), 0..255, BGR, and gives (N, F).

Each knows its ``input_size`` S and its number of ``features`` F.
"""

from __future__ import annotations

from ssr_train.zoo.backbones.base import Backbone
from ssr_train.zoo.backbones.densenet import DenseNet
from ssr_train.zoo.backbones.mobilenet import MobileNet
from ssr_train.zoo.backbones.niu import NiuNet
from ssr_train.zoo.backbones.streams import Streams
from ssr_train.zoo.backbones.vgg16 import VGG16

BACKBONES: dict[str, type[Backbone]] = {
    "streams": Streams,
    "mobilenet": MobileNet,
    "densenet": DenseNet,
    "niu": NiuNet,
    "vgg16": VGG16,
}
"""Those that heads can be put on by name; all but ``vgg16`` (224) take 64x64 pictures."""


def backbone(name: str) -> Backbone:
    """A new network of :data:`BACKBONES`. Raises ``ValueError`` for another name."""
    if name not in BACKBONES:
        raise ValueError(f"backbone {name}: unknown, expected one of: {', '.join(BACKBONES)}")
    return BACKBONES[name]()


__all__ = ["BACKBONES", "VGG16", "Backbone", "DenseNet", "MobileNet", "NiuNet", "Streams", "backbone"]
