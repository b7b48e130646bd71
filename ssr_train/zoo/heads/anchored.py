"""Anchored Regression Network (Agustsson et al. 2017)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ssr_train.zoo.system import Method


class Assignment(NamedTuple):
    """Logits of the assignment to anchors and what each anchor's regressor says, both (N, anchors)."""

    anchors: Tensor
    ages: Tensor


class Anchored(Method):
    """ARN: linear regressors, mixed by a face's soft assignment to their anchor points.

    y = sum_k softmax(x . a_k + c_k)_k (w_k . x + b_k), learnt end to end. Regressors start at the middles of
    equal shares of the training ages (:meth:`prepare`), of 0..``value_range`` without. Loss is L1.
    """

    def __init__(self, features: int, anchors: int = 10, value_range: float = 101.0) -> None:
        super().__init__()
        if anchors < 1:
            raise ValueError(f"expected at least one anchor, got {anchors}")
        self.anchors = nn.Linear(features, anchors)
        self.regressors = nn.Linear(features, anchors)
        with torch.no_grad():
            self.regressors.bias.copy_(self._shares() * value_range)

    def _shares(self) -> Tensor:
        count = self.anchors.out_features
        return (torch.arange(count) + 0.5) / count

    @torch.no_grad()
    def prepare(self, ages: Tensor, /) -> None:
        bias = self.regressors.bias
        bias.copy_(torch.quantile(ages.float(), self._shares().to(ages.device)))

    def forward(self, features: Tensor) -> Assignment:
        return Assignment(self.anchors(features), self.regressors(features))

    def decode(self, outputs: Assignment) -> Tensor:
        return (outputs.anchors.softmax(1) * outputs.ages).sum(1)
