"""Plain regression: one neuron whose value is the age."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from ssr_train.zoo.system import Method


class Regression(Method):
    """Fully connected layers to one age; the loss is mean ``absolute`` or mean ``squared`` error.

    ``hidden`` layers have ReLU; dropout stands before the last of them. Outputs are ages (N,).
    """

    def __init__(
        self,
        features: int,
        hidden: Sequence[int] = (),
        dropout: float = 0.0,
        error: Literal["absolute", "squared"] = "absolute",
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for i, width in enumerate(hidden):
            if i == len(hidden) - 1:
                layers.append(nn.Dropout(dropout))
            layers += [nn.Linear(features, width), nn.ReLU()]
            features = width
        self.layers = nn.Sequential(*layers, nn.Linear(features, 1))
        self.error = F.l1_loss if error == "absolute" else F.mse_loss

    def forward(self, features: Tensor) -> Tensor:
        ages: Tensor = self.layers(features)
        return ages.squeeze(1)

    def loss(self, outputs: Tensor, ages: Tensor) -> Tensor:
        return self.error(outputs, ages)
