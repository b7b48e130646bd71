"""Support vector regression on deep features, the way of "Some like it hot" (Rothe et al. 2016b)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssr_bundle.errors import SsrError
from ssr_train.zoo.system import Batches, Method


class DeepFeatures(NamedTuple):
    """What the linear layer says (N,), and the features (N, F)."""

    linear: Tensor
    features: Tensor


class SupportVectors(Method):
    """Hot: the backbone learns under a linear layer with L1 loss, then an SVR is fitted to its features.

    The regression is LIBSVM's epsilon-SVR with a Gaussian kernel (scikit-learn), on features and ages of
    zero mean and unit deviation; ``cost`` is its C, ``tube`` its epsilon. It is fitted on at most ``faces``
    training faces, drawn by a fixed seed: its time grows with their square. From :meth:`prepare` until
    :meth:`finish` the linear layer answers. The support vectors are kept in arrays of ``faces`` rows, unused
    rows zero.
    """

    support: Tensor
    dual: Tensor
    mean: Tensor
    scale: Tensor
    age: Tensor
    gamma: Tensor
    fitted: Tensor

    def __init__(self, features: int, faces: int = 2000, cost: float = 10.0, tube: float = 0.1) -> None:
        super().__init__()
        if faces < 2 or not cost > 0 or not tube >= 0:
            raise ValueError(f"expected faces >= 2, cost > 0, tube >= 0, got {faces}, {cost}, {tube}")
        self.faces, self.cost, self.tube = faces, cost, tube
        self.linear = nn.Linear(features, 1)
        self.register_buffer("support", torch.zeros(faces, features))
        self.register_buffer("dual", torch.zeros(faces))
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))
        self.register_buffer("age", torch.zeros(2))  # offset and factor from the SVR's answer to years
        self.register_buffer("gamma", torch.zeros(()))
        self.register_buffer("fitted", torch.zeros(()))

    def prepare(self, ages: Tensor, /) -> None:
        self.fitted.zero_()

    def forward(self, features: Tensor) -> DeepFeatures:
        return DeepFeatures(self.linear(features).squeeze(1), features)

    def loss(self, outputs: DeepFeatures, ages: Tensor) -> Tensor:
        return F.l1_loss(outputs.linear, ages)

    def decode(self, outputs: DeepFeatures) -> Tensor:
        if not self.fitted:
            return outputs.linear
        used = self.dual != 0
        x = (outputs.features - self.mean) / self.scale
        exactly = "donot_use_mm_for_euclid_dist"
        distance = torch.cdist(x, self.support[used], compute_mode=exactly)
        kernel = (-self.gamma * distance**2).exp()
        return self.age[0] + self.age[1] * (kernel @ self.dual[used])

    def finish(self, batches: Batches, /) -> None:
        from sklearn.svm import SVR

        x, y = _sample(batches, self.faces)
        mean, scale = x.mean(0), x.std(0)
        scale[scale == 0] = 1.0
        centre, spread = y.mean(), y.std() or 1.0
        model = SVR(C=self.cost, epsilon=self.tube, gamma="scale")
        model.fit((x - mean) / scale, (y - centre) / spread)
        count = len(model.support_)
        with torch.no_grad():
            self.support.zero_()[:count] = torch.from_numpy(model.support_vectors_)
            self.dual.zero_()[:count] = torch.from_numpy(model.dual_coef_[0])
            self.mean.copy_(torch.from_numpy(mean))
            self.scale.copy_(torch.from_numpy(scale))
            self.age.copy_(torch.tensor([centre + spread * model.intercept_[0], spread]))
            self.gamma.fill_(float(model._gamma))
            self.fitted.fill_(1.0)


def _sample(batches: Batches, count: int) -> tuple[np.ndarray, np.ndarray]:
    """At most ``count`` rows of one pass: features (n, F) and ages (n,), float64; all equally likely."""
    rng = np.random.default_rng(0)
    keys, features, ages = np.empty(0), None, np.empty(0)
    for x, y in batches():
        rows = x.detach().double().cpu().numpy()
        features = rows if features is None else np.concatenate((features, rows))
        ages = np.concatenate((ages, y.double().cpu().numpy()))
        keys = np.concatenate((keys, rng.random(len(rows))))
        kept = np.argsort(keys)[:count]
        keys, features, ages = keys[kept], features[kept], ages[kept]
    if features is None or len(ages) < 2:
        raise SsrError(f"expected at least 2 faces to fit support vectors on, got {len(ages)}")
    return features, ages
