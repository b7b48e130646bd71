"""The methods of the paper's tables, and label-distribution learning of its related work.

Compact methods are sized as in Table 1, at 64x64. Bulky ones are a head on a backbone: ``backbone="vgg16"``
is the size of the paper's table (224x224 pictures, no ImageNet weights); the default puts the head on
SSR-Net's own streams at 64x64, so that methods compare at an equal budget.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

from ssr_train.model import initialise
from ssr_train.zoo import ssrnet
from ssr_train.zoo.backbones import DenseNet, MobileNet, NiuNet
from ssr_train.zoo.backbones import backbone as body_of
from ssr_train.zoo.backbones.series import COMPACT, FULL, Series
from ssr_train.zoo.heads.anchored import Anchored
from ssr_train.zoo.heads.base import Composed
from ssr_train.zoo.heads.classification import Dex, LabelDistribution
from ssr_train.zoo.heads.ordinal import OrdinalRegression, Posterior, Ranking
from ssr_train.zoo.heads.regression import Regression
from ssr_train.zoo.heads.support_vectors import SupportVectors
from ssr_train.zoo.system import Description, Method, Paper, System


def _mobilenet(*, alpha: float = 0.25, dropout: float = 0.2, initialiser: str = "keras") -> Composed:
    """MobileNet of width ``alpha`` with 32 neurons and one age, L1 loss."""
    body = MobileNet(alpha)
    return _initialised(Composed(body, Regression(body.features, (32,), dropout)), initialiser)


def _densenet(
    *, depth: int = 19, dropout: float = 0.2, l2: float = 1e-4, initialiser: str = "keras"
) -> Composed:
    """DenseNet of ``depth`` 3 N + 4 with layers of 128 and 32 neurons and one age, L1 loss, and ``l2`` times
    the squared weights that :class:`DenseNet` says."""
    body = DenseNet(depth, l2=l2)
    return _initialised(Composed(body, Regression(body.features, (128, 32), dropout)), initialiser)


def _initialised(system: Composed, initialiser: str) -> Composed:
    """``keras``: as the public code starts, the head by Glorot's uniform; ``torch``: as torch does."""
    if initialiser not in ("keras", "torch"):
        raise ValueError(f"initialiser {initialiser}: expected keras or torch")
    if initialiser == "keras":
        initialise(system.head, nn.init.xavier_uniform_)
    else:
        for layer in system.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                layer.reset_parameters()
    return system


def _mrcnn() -> Composed:
    """Niu's network with one age, squared loss."""
    body = NiuNet()
    return Composed(body, Regression(body.features, error="squared"))


def _orcnn(*, low: int = 0, high: int = 100) -> Composed:
    """Niu's network with a binary output for every year between ``low`` and ``high``."""
    body = NiuNet()
    return Composed(body, OrdinalRegression(body.features, low, high))


def _ranking_cnn(*, low: int = 0, high: int = 100, step: int = 2, full: bool = False) -> Composed:
    """A binary network for every threshold from ``low`` to ``high``, ``step`` years apart.

    ``full`` builds them at 227x227 in the source's size, 45.6 MB each; MORPH2's ages 16 to 66 a year apart
    make fifty.
    """
    head = Ranking(low, high, step)
    return Composed(Series(head.ranks.count, FULL if full else COMPACT), head)


def _headed(kind: type[Method]) -> Callable[..., System]:
    """A head of ``kind`` on a ``backbone`` by name; the head's options are the system's."""

    def build(*, backbone: str = "streams", **options: Any) -> Composed:
        body = body_of(backbone)
        return Composed(body, kind(body.features, **options))

    _, *options = inspect.signature(kind).parameters.values()  # the first is the number of features
    own = [p.replace(kind=p.KEYWORD_ONLY) for p in options]
    name = inspect.signature(build).parameters["backbone"]
    build.__signature__ = inspect.Signature([name, *own])  # type: ignore[attr-defined]
    return build


_NIU = "Niu et al., Ordinal Regression with Multiple Output CNN for Age Estimation, CVPR 2016"
_MIDDLE = "reads the middle 60x60, the source's input size"
_STREAMS = "on SSR-Net's streams at 64x64 unless built with backbone vgg16"

_vgg16 = partial(Paper, megabytes=500, input=224, options={"backbone": "vgg16"})
"""Of a bulky method of Table 1, which is by VGG-16 there."""

METHODS = (
    Description(
        "ssrnet",
        "SSR-Net",
        "Yang et al., SSR-Net, IJCAI 2018: sections 3.2 to 3.5, Equations 1 and 7",
        ssrnet.build,
        Paper(megabytes=0.32, mae=3.16, ca={3: 0.549, 5: 0.741}, milliseconds={"gpu": 0.17, "cpu": 2.69}),
        note="0.32 MB is the size of the released .h5 file; its numbers take 0.16 MB",
    ),
    Description(
        "mobilenet",
        "MobileNet",
        "Howard et al., MobileNets, arXiv 1704.04861, 2017: Table 1; head of the public SSR-Net code",
        _mobilenet,
        Paper(megabytes=1.0, mae=6.50, ca={3: 0.440, 5: 0.606}, milliseconds={"gpu": 0.10, "cpu": 1.07}),
        note="alpha 0.25 is the one whose size and error the paper's table gives",
    ),
    Description(
        "densenet",
        "DenseNet",
        "Huang et al., Densely Connected Convolutional Networks, CVPR 2017: section 3; head of the "
        "public SSR-Net code",
        _densenet,
        Paper(megabytes=1.1, mae=5.05, ca={3: 0.517, 5: 0.694}, milliseconds={"gpu": 0.75, "cpu": 28.8}),
        note="the public code trains depths 13 and 19",
    ),
    Description(
        "mrcnn",
        "MRCNN",
        f"{_NIU}: the metric regression it is compared with",
        _mrcnn,
        Paper(megabytes=1.7, mae=3.42),
        note=_MIDDLE,
    ),
    Description(
        "orcnn",
        "ORCNN",
        _NIU,
        _orcnn,
        Paper(megabytes=1.7, mae=3.27, options={"low": 16, "high": 77}),
        note=_MIDDLE,
    ),
    Description(
        "dex",
        "DEX",
        "Rothe et al., Deep expectation of real and apparent age, IJCV 2016; SSR-Net paper, Equation 2",
        _headed(Dex),
        _vgg16(mae=2.68),
        note=f"{_STREAMS}; 2.68 is with IMDB-WIKI pre-training, 3.25 without",
    ),
    Description(
        "arn",
        "ARN",
        "Agustsson et al., Anchored Regression Networks applied to Age Estimation and Super "
        "Resolution, ICCV 2017",
        _headed(Anchored),
        _vgg16(mae=3.00),
        note=f"{_STREAMS}; learnt end to end, not by the source's closed form for fixed anchors",
    ),
    Description(
        "ap",
        "AP",
        "Zhang et al., Quantifying Facial Age by Posterior of Age Comparisons, BMVC 2017",
        _headed(Posterior),
        _vgg16(mae=2.52),
        note=f"{_STREAMS}; posteriors follow from known ages, not from people's comparisons",
    ),
    Description(
        "hot",
        "Hot",
        "Rothe et al., Some like it hot: visual guidance for preference prediction, CVPR 2016",
        _headed(SupportVectors),
        _vgg16(mae=3.45),
        note=f"{_STREAMS}; features are trained on the faces, not on ImageNet",
    ),
    Description(
        "ranking-cnn",
        "Ranking-CNN",
        "Chen et al., Using Ranking-CNN for Age Estimation, CVPR 2017",
        _ranking_cnn,
        Paper(megabytes=2200, mae=2.96, input=224, options={"full": True, "low": 16, "high": 66, "step": 1}),
        note="fifty small networks at 64x64, two years apart, unless built full; no pre-training",
    ),
    Description(
        "ldl",
        "Label distribution learning",
        "Geng et al., Facial Age Estimation by Adaptive Label Distribution Learning, ICPR 2014; Hou et "
        "al., Semi-supervised Adaptive Label Distribution Learning for Facial Age Estimation, AAAI 2017",
        _headed(LabelDistribution),
        note=f"{_STREAMS}; the deviation of the labels is fixed; not in the paper's tables",
    ),
)
"""Every method, SSR-Net first."""
