"""Methods that give each age class a probability and answer with the expected age."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssr_train.zoo.system import Method


class Expectation(Method):
    """``bins`` classes over 0..``value_range``; class i stands for i V / s (SSR-Net paper, section 3.2).

    Outputs are logits (N, bins); the age is the expected value, Equation 2.
    """

    mu: Tensor

    def __init__(self, features: int, bins: int = 101, value_range: float = 101.0) -> None:
        super().__init__()
        if bins < 2 or not value_range > 0:
            raise ValueError(f"expected at least 2 bins over a positive range, got {bins} over {value_range}")
        self.register_buffer("mu", torch.arange(bins) * (value_range / bins), persistent=False)
        self.layer = nn.Linear(features, bins)

    def forward(self, features: Tensor) -> Tensor:
        logits: Tensor = self.layer(features)
        return logits

    def decode(self, outputs: Tensor) -> Tensor:
        return outputs.softmax(1) @ self.mu


class Dex(Expectation):
    """DEX: cross entropy with the class nearest the age (Rothe et al. 2016)."""

    def loss(self, outputs: Tensor, ages: Tensor) -> Tensor:
        width = self.mu[1]
        classes = (ages / width).round().long().clamp(0, len(self.mu) - 1)
        return F.cross_entropy(outputs, classes)


class LabelDistribution(Expectation):
    """Label distribution learning: the label is a Gaussian over the classes around the age.

    Loss is the Kullback-Leibler divergence from the label to the answer (Geng et al. 2014; Hou et al.
    2017). ``sigma``, in years, is the same for all faces and stays fixed; the adaptive
    variants of both sources change it as training goes on. The answer is the expected age.
    """

    def __init__(
        self, features: int, bins: int = 101, value_range: float = 101.0, sigma: float = 2.0
    ) -> None:
        super().__init__(features, bins, value_range)
        if not sigma > 0:
            raise ValueError(f"sigma must be positive, got {sigma}")
        self.sigma = sigma

    def label(self, ages: Tensor) -> Tensor:
        """Distributions (N, bins) of faces of ``ages`` (N,); each sums to one."""
        return (-((self.mu - ages[:, None]) ** 2) / (2 * self.sigma**2)).softmax(1)

    def loss(self, outputs: Tensor, ages: Tensor) -> Tensor:
        return F.kl_div(outputs.log_softmax(1), self.label(ages), reduction="batchmean")
