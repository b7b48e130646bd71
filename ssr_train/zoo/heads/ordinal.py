"""Methods that ask a series of yes-or-no questions: is this face older than that age?"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssr_train.zoo.system import Method


class Ranks(nn.Module):
    """Ages ``low``, ``low + step`` .. ``high`` as ranks, and the thresholds half way between them.

    ``labels``: ages (N,) to (N, T), 1 where older than threshold t. ``ages``: yeses (N, T) to the age whose
    rank is their count, (N,).
    """

    thresholds: Tensor

    def __init__(self, low: int, high: int, step: int = 1) -> None:
        super().__init__()
        if step < 1 or high <= low or (high - low) % step:
            raise ValueError(f"expected low < high a whole number of steps apart, got {low}, {high}, {step}")
        self.low, self.step, self.count = low, step, (high - low) // step
        values = low + step * (torch.arange(self.count) + 0.5)
        self.register_buffer("thresholds", values, persistent=False)

    def labels(self, ages: Tensor) -> Tensor:
        return (ages[:, None] > self.thresholds).to(ages.dtype)

    def ages(self, yes: Tensor) -> Tensor:
        return self.low + self.step * yes.sum(1).to(self.thresholds.dtype)


class OrdinalRegression(Method):
    """ORCNN (Niu et al. 2016): K - 1 binary outputs of two neurons each on one network.

    Outputs are logits (N, K - 1, 2). Loss: cross entropy of every task, weighted by the task's importance,
    lambda_t = sqrt(N_t) / sum over tasks of sqrt(N_t), N_t the number of training faces
    of rank t; equal until :meth:`prepare` is called. A rank without faces counts one, so that no output
    stays untrained; every face weighs the same. The age is the lowest rank plus the number of tasks answered
    yes.
    """

    importance: Tensor

    def __init__(self, features: int, low: int = 0, high: int = 100) -> None:
        super().__init__()
        self.ranks = Ranks(low, high)
        self.step = self.ranks.step
        self.layer = nn.Linear(features, 2 * self.ranks.count)
        self.register_buffer("importance", torch.full((self.ranks.count,), 1.0 / self.ranks.count))

    def prepare(self, ages: Tensor, /) -> None:
        ranks = self.ranks.labels(ages).sum(1).long()
        faces = torch.bincount(ranks, minlength=self.ranks.count + 1)[: self.ranks.count]
        weights = faces.clamp_min(1).to(self.importance).sqrt()
        self.importance.copy_(weights / weights.sum())

    def forward(self, features: Tensor) -> Tensor:
        logits: Tensor = self.layer(features)
        return logits.reshape(-1, self.ranks.count, 2)

    def loss(self, outputs: Tensor, ages: Tensor) -> Tensor:
        labels = self.ranks.labels(ages).long()
        errors = F.cross_entropy(outputs.transpose(1, 2), labels, reduction="none")
        return (errors @ self.importance).mean()

    def decode(self, outputs: Tensor) -> Tensor:
        return self.ranks.ages(outputs[..., 1] > outputs[..., 0])


class Ranking(Method):
    """Ranking-CNN's training and aggregation (Chen et al. 2017) of binary networks' outputs.

    Outputs are logits (N, T), one a network: the features themselves. Each network learns its own
    threshold by cross entropy; the loss is their mean, and no network's gradient reaches another. The age is
    the lowest rank plus a step for every network that says yes.
    """

    def __init__(self, low: int, high: int, step: int) -> None:
        super().__init__()
        self.ranks = Ranks(low, high, step)
        self.step = step

    def forward(self, features: Tensor) -> Tensor:
        return features

    def loss(self, outputs: Tensor, ages: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(outputs, self.ranks.labels(ages))

    def decode(self, outputs: Tensor) -> Tensor:
        return self.ranks.ages(outputs > 0)


class Comparisons(NamedTuple):
    """Logits of being older than each threshold (N, T), and of the age's posterior (N, T + 1)."""

    older: Tensor
    posterior: Tensor


class Posterior(Method):
    """AP (Zhang et al. 2017): ordinal hyperplanes and the posterior that their comparisons give.

    A face of age a is older than a reference of age b with probability sigma(beta (a - b)). The posterior
    of a given soft answers o_b to all comparisons, under a flat prior, is a softmax over a of
    sum_b o_b log sigma(beta (a - b)) + (1 - o_b) log sigma(beta (b - a)): one fully connected layer, which
    starts at these weights and is trained with the rest (the source, too, goes from comparisons to
    posteriors by fully connected and softmax layers). The label is the posterior of the true age's own
    comparisons: the source has people compare faces, which a data set with known ages has no need of. Loss:
    mean binary cross entropy of the hyperplanes plus the Kullback-Leibler divergence of the posterior. The
    answer is the expected age.

    ``steepness`` beta, per year: with references a year apart the label's deviation is about
    1 / sqrt(beta) years.
    """

    ages: Tensor
    start: Tensor
    offset: Tensor

    def __init__(self, features: int, low: int = 0, high: int = 100, steepness: float = 0.25) -> None:
        super().__init__()
        if not steepness > 0:
            raise ValueError(f"steepness must be positive, got {steepness}")
        self.ranks, self.steepness = Ranks(low, high), steepness
        ages = torch.arange(low, high + 1, dtype=torch.float32)
        difference = steepness * (ages[:, None] - self.ranks.thresholds)
        self.register_buffer("ages", ages, persistent=False)
        self.register_buffer("start", difference, persistent=False)
        self.register_buffer("offset", F.logsigmoid(-difference).sum(1), persistent=False)
        self.older = nn.Linear(features, self.ranks.count)
        self.posterior = nn.Linear(self.ranks.count, len(ages))
        with torch.no_grad():
            self.posterior.weight.copy_(self.start)
            self.posterior.bias.copy_(self.offset)

    def label(self, ages: Tensor) -> Tensor:
        """Posteriors (N, T + 1) of faces of ``ages`` (N,); each sums to one."""
        answers = (self.steepness * (ages[:, None] - self.ranks.thresholds)).sigmoid()
        return F.linear(answers, self.start, self.offset).softmax(1)

    def forward(self, features: Tensor) -> Comparisons:
        older = self.older(features)
        return Comparisons(older, self.posterior(older.sigmoid()))

    def loss(self, outputs: Comparisons, ages: Tensor) -> Tensor:
        hyperplanes = F.binary_cross_entropy_with_logits(outputs.older, self.ranks.labels(ages))
        divergence = F.kl_div(outputs.posterior.log_softmax(1), self.label(ages), reduction="batchmean")
        return hyperplanes + divergence

    def decode(self, outputs: Comparisons) -> Tensor:
        return outputs.posterior.softmax(1) @ self.ages
