"""The compact competitors of the paper's Table 1, at 64x64, sized as there."""

from __future__ import annotations

from ssr_train.zoo.backbones import DenseNet, MobileNet, NiuNet
from ssr_train.zoo.heads.base import Composed
from ssr_train.zoo.heads.ordinal import OrdinalRegression
from ssr_train.zoo.heads.regression import Regression
from ssr_train.zoo.system import Description

_NIU = "Niu et al., Ordinal Regression with Multiple Output CNN for Age Estimation, CVPR 2016"

MOBILENET = Description(
    name="mobilenet",
    title="MobileNet",
    source="Howard et al., MobileNets, arXiv 1704.04861, 2017: Table 1; head of the public SSR-Net code",
    paper_input=64,
    paper_megabytes=1.0,
    paper_mae=6.50,
    paper_ca={3: 0.440, 5: 0.606},
    paper_milliseconds={"gpu": 0.10, "cpu": 1.07},
    note="alpha 0.25 is the one whose size and error the paper's table gives",
)

DENSENET = Description(
    name="densenet",
    title="DenseNet",
    source="Huang et al., Densely Connected Convolutional Networks, CVPR 2017: section 3; head of the "
    "public SSR-Net code",
    paper_input=64,
    paper_megabytes=1.1,
    paper_mae=5.05,
    paper_ca={3: 0.517, 5: 0.694},
    paper_milliseconds={"gpu": 0.75, "cpu": 28.8},
    note="the public code trains depths 13 and 19",
)

MRCNN = Description(
    name="mrcnn",
    title="MRCNN",
    source=f"{_NIU}: the metric regression it is compared with",
    paper_input=64,
    paper_megabytes=1.7,
    paper_mae=3.42,
    note="reads the middle 60x60, the source's input size",
)

ORCNN = Description(
    name="orcnn",
    title="ORCNN",
    source=_NIU,
    paper_input=64,
    paper_megabytes=1.7,
    paper_mae=3.27,
    paper_options={"low": 16, "high": 77},
    note="reads the middle 60x60, the source's input size",
)


def mobilenet(*, alpha: float = 0.25, dropout: float = 0.2) -> Composed:
    """MobileNet of width ``alpha`` with 32 neurons and one age, L1 loss."""
    body = MobileNet(alpha)
    return Composed(MOBILENET, body, Regression(body.features, (32,), dropout))


def densenet(*, depth: int = 19, dropout: float = 0.2) -> Composed:
    """DenseNet of ``depth`` 3 N + 4 with layers of 128 and 32 neurons and one age, L1 loss."""
    body = DenseNet(depth)
    return Composed(DENSENET, body, Regression(body.features, (128, 32), dropout))


def mrcnn() -> Composed:
    """Niu's network with one age, squared loss."""
    body = NiuNet()
    return Composed(MRCNN, body, Regression(body.features, error="squared"))


def orcnn(*, low: int = 0, high: int = 100) -> Composed:
    """Niu's network with a binary output for every year between ``low`` and ``high``."""
    body = NiuNet()
    return Composed(ORCNN, body, OrdinalRegression(body.features, low, high))
