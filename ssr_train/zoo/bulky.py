"""The bulky competitors of the paper's Table 1, and label-distribution learning of its related work.

Each is a head on a backbone. ``backbone="vgg16"`` is the size of the paper's table (224x224 pictures, no
ImageNet weights); the default puts the head on SSR-Net's own streams at 64x64, so that methods compare at
an equal budget.
"""

from __future__ import annotations

from ssr_train.zoo.backbones import backbone as body_of
from ssr_train.zoo.backbones.series import COMPACT, FULL, Series
from ssr_train.zoo.heads.anchored import Anchored
from ssr_train.zoo.heads.base import Composed
from ssr_train.zoo.heads.classification import Dex, LabelDistribution
from ssr_train.zoo.heads.ordinal import Posterior, Ranking
from ssr_train.zoo.heads.support_vectors import SupportVectors
from ssr_train.zoo.system import Description

_STREAMS = "on SSR-Net's streams at 64x64 unless built with backbone vgg16"

DEX = Description(
    name="dex",
    title="DEX",
    source="Rothe et al., Deep expectation of real and apparent age, IJCV 2016; SSR-Net paper, Equation 2",
    paper_input=224,
    paper_megabytes=500,
    paper_mae=2.68,
    paper_options={"backbone": "vgg16"},
    note=f"{_STREAMS}; 2.68 is with IMDB-WIKI pre-training, 3.25 without",
)

ARN = Description(
    name="arn",
    title="ARN",
    source="Agustsson et al., Anchored Regression Networks applied to Age Estimation and Super Resolution, "
    "ICCV 2017",
    paper_input=224,
    paper_megabytes=500,
    paper_mae=3.00,
    paper_options={"backbone": "vgg16"},
    note=f"{_STREAMS}; learnt end to end, not by the source's closed form for fixed anchors",
)

AP = Description(
    name="ap",
    title="AP",
    source="Zhang et al., Quantifying Facial Age by Posterior of Age Comparisons, BMVC 2017",
    paper_input=224,
    paper_megabytes=500,
    paper_mae=2.52,
    paper_options={"backbone": "vgg16"},
    note=f"{_STREAMS}; posteriors follow from known ages, not from people's comparisons",
)

HOT = Description(
    name="hot",
    title="Hot",
    source="Rothe et al., Some like it hot: visual guidance for preference prediction, CVPR 2016",
    paper_input=224,
    paper_megabytes=500,
    paper_mae=3.45,
    paper_options={"backbone": "vgg16"},
    note=f"{_STREAMS}; features are trained on the faces, not on ImageNet",
)

RANKING_CNN = Description(
    name="ranking-cnn",
    title="Ranking-CNN",
    source="Chen et al., Using Ranking-CNN for Age Estimation, CVPR 2017",
    paper_input=224,
    paper_megabytes=2200,
    paper_mae=2.96,
    paper_options={"full": True, "low": 16, "high": 66, "step": 1},
    note="fifty small networks at 64x64, two years apart, unless built full; no pre-training",
)

LDL = Description(
    name="ldl",
    title="Label distribution learning",
    source="Geng et al., Facial Age Estimation by Adaptive Label Distribution Learning, ICPR 2014; Hou et "
    "al., Semi-supervised Adaptive Label Distribution Learning for Facial Age Estimation, AAAI 2017",
    paper_input=64,
    note=f"{_STREAMS}; the deviation of the labels is fixed; not in the paper's tables",
)


def dex(*, backbone: str = "streams", bins: int = 101, value_range: float = 101.0) -> Composed:
    """Classification and expected value."""
    body = body_of(backbone)
    return Composed(DEX, body, Dex(body.features, bins, value_range))


def arn(*, backbone: str = "streams", anchors: int = 10, value_range: float = 101.0) -> Composed:
    """Linear regressors over soft assignments to anchors."""
    body = body_of(backbone)
    return Composed(ARN, body, Anchored(body.features, anchors, value_range))


def ap(*, backbone: str = "streams", low: int = 0, high: int = 100, steepness: float = 0.25) -> Composed:
    """Ordinal hyperplanes and the posterior of their comparisons."""
    body = body_of(backbone)
    return Composed(AP, body, Posterior(body.features, low, high, steepness))


def hot(*, backbone: str = "streams", faces: int = 2000, cost: float = 10.0, tube: float = 0.1) -> Composed:
    """Deep features and support vector regression."""
    body = body_of(backbone)
    return Composed(HOT, body, SupportVectors(body.features, faces, cost, tube))


def ranking_cnn(*, low: int = 0, high: int = 100, step: int = 2, full: bool = False) -> Composed:
    """A binary network for every threshold from ``low`` to ``high``, ``step`` years apart.

    ``full`` builds them at 227x227 in the source's size, 45.6 MB each; MORPH2's ages 16 to 66 a year apart
    make fifty.
    """
    head = Ranking(low, high, step)
    return Composed(RANKING_CNN, Series(head.ranks.count, FULL if full else COMPACT), head)


def ldl(
    *, backbone: str = "streams", bins: int = 101, value_range: float = 101.0, sigma: float = 2.0
) -> Composed:
    """Gaussian label distributions and Kullback-Leibler divergence."""
    body = body_of(backbone)
    return Composed(LDL, body, LabelDistribution(body.features, bins, value_range, sigma))
