"""The search for a crop: a coarse grid, then steps of a tenth and a twentieth of a box around the best.

Nothing here knows of pictures: a crop goes in, the mean error on each set comes out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product

from ssr_bundle.face_crop import BORDERS, Crop

Errors = tuple[float, ...]
"""Mean error of each set in years; infinite where a face would be cut from outside its picture."""

ACROSS = (0.0, 0.2, 0.4, 0.6, 0.8)
ALONG = (0.0, 0.2, 0.4, 0.6)
SHIFTS = (-0.2, 0.0, 0.2)
COARSE_BORDERS = ("clip", "replicate")
"""The coarse grid; a black border is near a repeated one, and is tried beside it later."""

LIMITS = {"across": (-0.3, 1.5), "along": (-0.3, 1.5), "shift": (-0.6, 0.6)}
"""How far the finer steps go. With shift and margin at their ends a crop still is one of the contract, and
shows nothing beyond :data:`ssr_train.crops.faces.REACH`."""

STEPS = (0.1, 0.05)

FINALISTS = 8
"""By each measure."""


@dataclass(frozen=True, order=True)
class Trial:
    """A crop of the search, in box widths and heights: the margin ``across`` on the left and on the right,
    the mean margin ``along`` the height, of which the top has ``shift`` more and the bottom as much less."""

    across: float
    along: float
    shift: float
    border: str

    def crop(self, box: str) -> Crop:
        """For boxes of the detector ``box``; margins to two decimals."""
        top, bottom = round(self.along + self.shift, 2), round(self.along - self.shift, 2)
        return Crop(box, (self.across, top, self.across, bottom), self.border)

    def moved(self, across: float = 0, along: float = 0, shift: float = 0) -> Trial | None:
        """This one by so much more; None beyond :data:`LIMITS`."""
        places = {
            name: round(getattr(self, name) + by, 2)
            for name, by in (("across", across), ("along", along), ("shift", shift))
        }
        if any(not LIMITS[name][0] <= place <= LIMITS[name][1] for name, place in places.items()):
            return None
        return Trial(**places, border=self.border)


class Tried:
    """Crops that were measured, once each, and which of them is best."""

    def __init__(self, measure: Callable[[Trial], Errors]) -> None:
        self._measure = measure
        self.errors: dict[Trial, Errors] = {}

    def add(self, trials: Iterable[Trial | None]) -> None:
        """Measure those that were not yet."""
        for trial in trials:
            if trial is not None and trial not in self.errors:
                self.errors[trial] = self._measure(trial)

    def own_best(self, number: int) -> Trial:
        """The best for set ``number``; of equals the first in order."""
        return min(sorted(self.errors), key=lambda trial: self.errors[trial][number])

    def least(self) -> Errors:
        """The smallest error of each set."""
        return tuple(map(min, zip(*self.errors.values(), strict=True)))

    def regrets(self) -> dict[Trial, float]:
        """The largest of what the sets lose with each trial against their own best, in years."""
        least = self.least()
        return {
            trial: max(e - own for e, own in zip(errors, least, strict=True))
            for trial, errors in self.errors.items()
        }

    def chosen(self) -> Trial:
        """The one with the smallest regret; of one set its best."""
        return min(sorted(self.errors), key=self.regrets().__getitem__)


def coarse() -> list[Trial]:
    """The coarse grid."""
    return [Trial(*place) for place in product(ACROSS, ALONG, SHIFTS, COARSE_BORDERS)]


def search(measure: Callable[[Trial], Errors]) -> Tried:
    """Every crop that was measured on the way to the best."""
    tried = Tried(measure)
    tried.add(coarse())
    for number in range(len(tried.least())):
        _climb(tried, partial(tried.own_best, number), _along_axes)
    _climb(tried, tried.chosen, _around)
    return tried


def finalists(tried: Tried) -> list[Trial]:
    """The best crops of each set, and those with the smallest worst regret: few enough to be measured on many
    faces."""
    ranks: list[Callable[[Trial], float]] = [tried.regrets().__getitem__]
    for number in range(len(tried.least())):
        ranks.append(lambda trial, number=number: tried.errors[trial][number])  # type: ignore[misc]
    best = [sorted(sorted(tried.errors), key=rank)[:FINALISTS] for rank in ranks]
    return list(dict.fromkeys(trial for group in best for trial in group))


def around(centre: Trial, steps: int, step: float) -> list[list[Trial | None]]:
    """Crops with the shift and border of ``centre``: rows of equal margin along the height, from the least;
    ``steps`` on each side, None beyond the limits."""
    places = [round(i * step, 2) for i in range(-steps, steps + 1)]
    return [[centre.moved(across=across, along=along) for across in places] for along in places]


def _climb(
    tried: Tried, best: Callable[[], Trial], neighbours: Callable[[Trial, float], Iterator[Trial | None]]
) -> None:
    """Measure what lies around the best until that is the best of them, by each of the steps."""
    for step in STEPS:
        place = None
        while place != (now := best()):
            place = now
            tried.add(neighbours(place, step))


def _along_axes(trial: Trial, step: float) -> Iterator[Trial | None]:
    for name, by in product(LIMITS, (-step, step)):
        yield trial.moved(**{name: by})
    yield from _other_borders(trial)


def _around(trial: Trial, step: float) -> Iterator[Trial | None]:
    """A worst regret has ridges, along which no single axis leads on."""
    for move in product((-step, 0, step), repeat=3):
        yield trial.moved(*move)
    yield from _other_borders(trial)


def _other_borders(trial: Trial) -> Iterator[Trial]:
    for border in BORDERS:
        yield Trial(trial.across, trial.along, trial.shift, border)
