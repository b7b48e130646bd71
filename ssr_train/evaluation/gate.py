"""Is a person at least T years old? Probabilities from calibrated residuals, and thresholds that keep a
false-accept rate.

``P(age >= T)`` of an answer is taken from the residuals (age - answer) of the calibrating faces in the
answer's band, as in split-conformal predictive systems (Vovk et al., Nonparametric predictive distributions
based on conformal prediction, 2019): the share of them, of n + 1, that would make the person old enough. The
one that is added counts against it.

The threshold is an order statistic of the answers to calibrating faces under T. If k of the m lie above it,
the rate behind it is at most the upper Clopper-Pearson bound of k in m, whatever the answers' distribution
(Wilks, Determination of sample sizes for setting tolerance limits, 1941).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ssr_bundle.errors import SsrError
from ssr_train.evaluation.intervals import EDGES, LEAST, Share, TooFew, merge_bands
from ssr_train.evaluation.metrics import Years

SMALLEST = 1e-9
"""Of rates and confidences: no set of faces could show less."""

Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Residuals:
    """Sorted residuals (age - answer) of calibrating faces by band of answers, between inner ``edges``."""

    edges: tuple[float, ...]
    bands: tuple[Years, ...]

    @classmethod
    def of(cls, answers: Years, ages: Years) -> Residuals:
        """From ``answers`` (N,) and true ``ages`` (N,); bands with fewer than ``LEAST`` faces are merged."""
        if len(answers) < LEAST:
            raise TooFew(f"{len(answers):,} faces to calibrate on, at least {LEAST} are needed")
        edges, counts = merge_bands(answers, EDGES, LEAST)
        band = np.searchsorted(edges, answers, side="right")
        residuals = ages - answers
        return cls(tuple(edges), tuple(np.sort(residuals[band == b]) for b in range(len(counts))))

    def at_least(self, age: float, answers: Years) -> Years:
        """P(true age >= ``age``) (N,) of new ``answers`` (N,), cautious by one face in n + 1."""
        band = np.searchsorted(self.edges, answers, side="right")
        chances = np.empty(len(answers))
        for b, residuals in enumerate(self.bands):
            here = band == b
            enough = len(residuals) - np.searchsorted(residuals, age - answers[here], side="left")
            chances[here] = enough / (len(residuals) + 1)
        return chances


def fewest_young(false_accept: float, confidence: float) -> int:
    """Faces under T without which no threshold keeps ``false_accept`` with ``confidence``."""
    return math.ceil(math.log1p(-confidence) / math.log1p(-false_accept) - 1e-9)


def check_rates(false_accept: float, confidence: float) -> None:
    """Raise :class:`SsrError` unless both lie between :data:`SMALLEST` and 1."""
    for name, value in (("false-accept", false_accept), ("confidence", confidence)):
        if not SMALLEST <= value < 1:
            raise SsrError(f"--{name} must lie between {SMALLEST:g} and 1, got {value:g}")


def choose_threshold(young: Years, false_accept: float, confidence: float) -> float:
    """The lowest answer t (to 1/100 year, rounded up) from which on accepting keeps ``false_accept``.

    ``young`` (m,): answers to faces under T. Among faces exchangeable with these, the share of answers >= t
    is at most ``false_accept`` with probability ``confidence`` over the draw of the m. Raises
    :class:`SsrError` for rates outside 0..1 and for too few faces.
    """
    check_rates(false_accept, confidence)
    least = fewest_young(false_accept, confidence)
    if len(young) < least:
        raise TooFew(
            f"{len(young):,} faces under the age to choose the threshold on; a false-accept rate of "
            f"{false_accept:g} with confidence {confidence:g} needs at least {least:,}"
        )
    allowed = accepts_allowed(len(young), false_accept, confidence)
    highest = float(np.sort(young)[len(young) - 1 - allowed])  # accepted: only what lies above it
    return math.floor(highest * 100 + 1 + 1e-6) / 100


def accepts_allowed(count: int, false_accept: float, confidence: float) -> int:
    """Most accepts k among ``count`` faces with P(Binomial(count, false_accept) <= k) <= 1 - confidence."""
    from scipy.special import bdtr

    return int((bdtr(np.arange(count + 1), count, false_accept) <= 1 - confidence).sum()) - 1


def check_age(age: float, clip: tuple[float, float]) -> None:
    """Raise :class:`SsrError` unless ``age`` lies within the answers' range ``clip``, in years."""
    if not clip[0] < age < clip[1]:
        raise SsrError(f"--age must lie between {clip[0]:g} and {clip[1]:g} years, got {age:g}")


def decisions(answers: Years, threshold: float, young: Flags, old: Flags) -> tuple[Share, Share]:
    """False accepts, of the ``young`` faces, and false rejects, of the ``old`` ones, where answers (N,) of at
    least ``threshold`` are accepted."""
    accepted = answers >= threshold
    return Share.of(accepted[young]), Share.of(~accepted[old])


def roc(scores: Years, old: Flags) -> tuple[Years, Years]:
    """False- and true-accept rates (0..1) of accepting scores >= t, from the highest t to the lowest."""
    from sklearn.metrics import roc_curve

    false, true, _ = roc_curve(old, scores, drop_intermediate=False)
    return false, true


def auc(scores: Years, old: Flags) -> float:
    """Area under the ROC: how often a person old enough scores above one too young, ties half."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(old, scores))


def reliability(chances: Years, old: Flags, bins: int = 10) -> list[tuple[float, float, int]]:
    """(mean chance said, share found, faces) of each of ``bins`` equal ranges of chance that has any."""
    place = np.minimum((chances * bins).astype(int), bins - 1)
    return [
        (float(chances[place == b].mean()), float(old[place == b].mean()), int((place == b).sum()))
        for b in np.unique(place).tolist()
    ]
