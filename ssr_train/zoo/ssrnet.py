"""SSR-Net as a system of the zoo, over the network that is trained, bundled and served."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ssr_bundle.bundle import Bundle
from ssr_bundle.contract import Architecture
from ssr_bundle.errors import SsrError
from ssr_train.model import SSRNet
from ssr_train.zoo.system import System


class SSRNetSystem(System):
    """Soft stagewise regression (paper Equation 7) with L1 loss (Equation 1); outputs are ages (N,)."""

    def __init__(self, network: SSRNet, *, colour: str = "bgr") -> None:
        super().__init__()
        self.network = network
        self.colour = colour

    def forward(self, images: Tensor) -> Tensor:
        ages: Tensor = self.network(images if self.colour == "bgr" else images.flip(1))
        return ages.squeeze(1)


def build(
    *,
    stages: Sequence[int] = (3, 3, 3),
    dynamic_range: bool = True,
    value_range: float = 101.0,
    dropout: float = 0.2,
    colour: str = "bgr",
    widths: Sequence[int] = (32, 16, 10),
    denominator_floor: float = 1e-3,
    batch_norm_epsilon: float = 1e-3,
) -> SSRNetSystem:
    """SSR-Net with any ``stages`` that :class:`~ssr_bundle.contract.Architecture` knows.

    ``dynamic_range`` off is the paper's ablation (section 4.4): no shift, no width change. ``widths`` are
    the channels of the ReLU stream, of the Tanh stream and of the fusion. A network that takes ``rgb``
    still gets BGR pictures, as every system does, and turns them.
    """
    if colour not in ("bgr", "rgb"):
        raise ValueError(f"colour {colour}: expected bgr or rgb")
    if len(widths) != 3:
        raise ValueError(f"widths {list(widths)}: expected three, of the two streams and the fusion")
    scale = 1.0 if dynamic_range else 0.0
    x, s, fusion = widths
    architecture = Architecture(
        stages=tuple(stages),
        value_range=value_range,
        lambda_index=scale,
        lambda_width=scale,
        denominator_floor=denominator_floor,
        width_x=x,
        width_s=s,
        width_fusion=fusion,
        batch_norm_epsilon=batch_norm_epsilon,
    )
    return SSRNetSystem(SSRNet(architecture, dropout=dropout), colour=colour)


def options_of(bundle: Bundle) -> dict[str, Any]:
    """The options that build the network of ``bundle``; a network that gives no ages is refused."""
    a, output = bundle.contract.architecture, bundle.contract.interface.output
    if output.unit != "years":
        raise SsrError(f"{bundle.path}: answers {output.name} in {output.unit}, expected ages in years")
    if (a.lambda_index, a.lambda_width) not in ((1.0, 1.0), (0.0, 0.0)):
        raise SsrError(
            f"{bundle.path}: lambda_index {a.lambda_index} and lambda_width {a.lambda_width}, "
            "expected both 1 (dynamic range on) or both 0 (off)"
        )
    return {
        "stages": list(a.stages),
        "dynamic_range": a.lambda_width == 1.0,
        "value_range": a.value_range,
        "colour": bundle.contract.interface.input.colour,
        "widths": [a.width_x, a.width_s, a.width_fusion],
        "denominator_floor": a.denominator_floor,
        "batch_norm_epsilon": a.batch_norm_epsilon,
    }
