"""From looks at one person to one age: what the looks say together, and how many independent ones they are.

Looks that follow each other closely see the same pose, light and expression, and err alike. Two looks ``dt``
seconds apart are taken to have ``(1 - FAST) * exp(-dt / PERSISTENCE)`` of their error in common; a look
counts by its quality, shared with those that say the same. So a second of thirty looks tells hardly more than
one look, and asking every frame or every tenth gives nearly one answer.

The age is Huber's robust mean under these weights: near its middle a mean, and a look that is far off pulls
no more than one at the edge of the middle.

**The interval.** The served interval of a single look was calibrated on stills (``ssr-train calibrate``),
where nobody is seen twice. Most of an age network's error is the person's own: it is the same in every
look. Looks only average the rest, so the interval shrinks from the served one towards ``FLOOR`` of it.
That it holds as often as promised was not calibrated on videos of people of known age.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

PERSISTENCE = 1.0
"""Seconds in which what looks have in common falls to a third."""
FAST = 0.3
"""Share of a look's error that even the next frame's look does not have in common."""
FLOOR = 0.9
"""Of a single look's interval: what remains of it after any number of looks at the same person. Looks at one
person scatter by 2 to 4 years on clips of near faces, where the released networks err by 9 years on portraits
(standard deviations): a fifth of the variance, at most, is what looks can average."""
HUBER = 1.5
"""Standard deviations from the middle at which a look stops pulling harder."""
LEAST_SPREAD = 0.5
"""Years: looks closer than this are not told apart as good and bad."""
USUAL_SPREAD = (3.0, 4)
"""Years by which looks at one person scatter with the released networks (1 to 5 on the clips measured),
and the number of looks that this is worth beside the looks themselves: three that agree by chance prove
little."""
MOST = 128
"""Looks kept of a person; of more, the one that tells least is forgotten."""

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Look:
    """One served answer. ``half_width``: of its interval, in years, or None. ``quality``: 0 to 1."""

    time: float
    years: float
    half_width: float | None
    quality: float


@dataclass(frozen=True)
class Estimate:
    """``years``; ``half_width`` of the interval about it, or None where no look had one; ``effective``: as
    many independent looks of the best quality would tell as much; ``error``: standard error of ``years``
    as a mean of such looks, by how they scatter. It knows nothing of what all looks have in common."""

    years: float
    half_width: float | None
    effective: float
    error: float


@dataclass
class Looks:
    """The looks at one person. ``count``: of all that were ever added."""

    count: int = 0
    kept: list[Look] = field(default_factory=list)

    def add(self, look: Look) -> None:
        self.count += 1
        self.kept.append(look)
        if len(self.kept) > MOST:
            del self.kept[int(np.argmin(weights(self.kept)))]

    def estimate(self) -> Estimate | None:
        """What all looks say together; None before the first."""
        if not self.kept:
            return None
        shares = weights(self.kept)
        effective = float(shares.sum())
        years, spread = robust_mean(np.array([look.years for look in self.kept]), shares)
        usual, worth = USUAL_SPREAD
        scatter = (worth * usual**2 + len(self.kept) * spread**2) / (worth + len(self.kept))
        error = (scatter / effective) ** 0.5
        widths = [(look.half_width, w) for look, w in zip(self.kept, shares, strict=True) if look.half_width]
        if not widths:
            return Estimate(years, None, effective, error)
        single = float(np.average([h for h, _ in widths], weights=[w for _, w in widths]))
        return Estimate(years, single * narrowing(effective), effective, error)

    def gain(self, time: float, quality: float) -> float:
        """By how much a look of ``quality`` at ``time`` would raise ``effective``, as a share of it."""
        if not self.kept:
            return float("inf")
        with_it = weights([*self.kept, Look(time, 0.0, None, quality)]).sum()
        return float(with_it / weights(self.kept).sum() - 1)


def weights(looks: list[Look]) -> Values:
    """What each look tells of its own, in looks of the best quality; their sum is the number of effective
    looks.

    n looks of quality 1 at one moment are worth n / (1 + (n - 1) * (1 - FAST)), and far apart n: as many
    independent values have the same mean as well known as n that correlate so.
    """
    times, quality = np.array([(look.time, look.quality) for look in looks]).T
    common = (1 - FAST) * np.exp(-np.abs(times[:, None] - times) / PERSISTENCE)
    np.fill_diagonal(common, 1.0)
    told: Values = quality**2 / (common @ quality)
    return told


def robust_mean(values: Values, shares: Values) -> tuple[float, float]:
    """Huber's weighted mean, and the spread about it: the scaled median of absolute deviations, not less than
    ``LEAST_SPREAD``."""
    middle = _median(values, shares)
    spread = max(1.4826 * _median(np.abs(values - middle), shares), LEAST_SPREAD)
    for _ in range(20):
        far = np.maximum(np.abs(values - middle) / (HUBER * spread), 1.0)
        moved = float(np.average(values, weights=shares / far))
        if abs(moved - middle) < 1e-6:
            break
        middle = moved
    return middle, spread


def narrowing(effective: float) -> float:
    """Of a single look's interval: 1 at one effective look, ``FLOOR`` at very many, more than 1 below one."""
    return float(np.sqrt(FLOOR**2 + (1 - FLOOR**2) / effective))


def _median(values: Values, shares: Values) -> float:
    order = np.argsort(values)
    upto = np.cumsum(shares[order])
    return float(values[order][np.searchsorted(upto, upto[-1] / 2)])
