"""What one drawn face is: traits sampled from an age, each cue with its own individual deviation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Colour = tuple[float, float, float]
"""Blue, green, red, 0..255."""

_SKIN_LIGHT, _SKIN_DARK = np.array([182.0, 204.0, 238.0]), np.array([42.0, 58.0, 92.0])
_HAIR = ((28, 24, 24), (38, 48, 66), (52, 78, 112), (70, 104, 150), (118, 174, 214), (44, 72, 156))
_GREY = np.array([206.0, 204.0, 202.0])


@dataclass(frozen=True)
class Traits:
    """Everything the painter needs but the pose and the light.

    ``proportions``, ``wrinkles``, ``hair`` and ``skin`` are the ages, in years, that these four parts
    of the face look like: the person's age plus independent deviations, so that no single cue tells
    the age and several together tell it better.
    """

    proportions: float
    wrinkles: float
    hair: float
    skin: float
    masculine: float
    skin_colour: Colour
    hair_colour: Colour
    grey: float
    recession: float
    thinning: float
    hair_length: float
    fringe: float
    beard: float
    glasses: bool
    smile: float
    spots: int
    freckles: int
    jaw: float
    nose: float
    lips: float
    eyes: float
    brows: float
    iris: Colour


def sample(rng: np.random.Generator, age: float) -> Traits:
    """Traits of one person of ``age`` years."""
    cues = np.clip(age + rng.normal(0.0, 0.8 + 0.075 * age, 4), 0.0, 104.0)
    proportions, wrinkles, hair, skin = (float(c) for c in cues)
    masculine = float(np.clip(rng.normal(0.5, 0.38), 0.0, 1.0))
    tone = rng.beta(1.1, 1.5)
    skin_colour = _SKIN_LIGHT * (1 - tone) + _SKIN_DARK * tone + rng.normal(0, 6, 3)
    grown = min(age / 16.0, 1.0)
    dark = int(rng.integers(0, 3) if tone > 0.5 else rng.integers(0, len(_HAIR)))
    # Children's hair is lighter than it will be.
    natural = np.array(_HAIR[dark], np.float64) * (1.25 - 0.25 * grown) + rng.normal(0, 5, 3)
    grey = float(1.0 / (1.0 + np.exp(-(hair - rng.normal(54, 5)) / 7.0)))
    recession = float(np.clip((hair - rng.normal(34, 9)) / 45.0, 0, 1) * (0.25 + 0.9 * masculine**2))
    thinning = float(np.clip((hair - rng.normal(52, 9)) / 55.0, 0, 0.75))
    baby = float(np.clip(1.0 - hair / 2.5, 0.0, 1.0))
    shaves = rng.random() < 0.62
    return Traits(
        proportions=proportions,
        wrinkles=wrinkles,
        hair=hair,
        skin=skin,
        masculine=masculine,
        skin_colour=_colour(skin_colour),
        hair_colour=_colour(natural * (1 - grey) + (_GREY + rng.normal(0, 9)) * grey),
        grey=grey,
        recession=min(recession, 1.0),
        thinning=max(thinning, 0.85 * baby),
        hair_length=float(np.clip(rng.normal(0.75 - 0.75 * masculine, 0.25), 0, 1)) * (1 - 0.9 * baby),
        fringe=float(rng.random()) if rng.random() < 0.35 and recession < 0.2 else 0.0,
        beard=float(rng.uniform(0.3, 1.0)) if masculine > 0.55 and age > 17 and not shaves else 0.0,
        glasses=bool(rng.random() < 0.08 + 0.25 * min(age / 70.0, 1.0)),
        smile=float(np.clip(rng.normal(0.25, 0.4), -0.4, 1.0)),
        spots=int(rng.poisson(max(skin - 38.0, 0.0) / 5.0)),
        freckles=int(rng.integers(4, 22)) if rng.random() < 0.12 else 0,
        jaw=float(rng.normal(0, 0.5)),
        nose=float(rng.normal(0, 0.5)),
        lips=float(rng.normal(0, 0.5)),
        eyes=float(rng.normal(0, 0.5)),
        brows=float(rng.normal(0, 0.5)),
        iris=((40, 58, 84), (52, 74, 96), (108, 92, 62), (118, 122, 84))[
            int(rng.integers(4) if tone < 0.5 else 0)
        ],
    )


def _colour(values: np.ndarray) -> Colour:
    b, g, r = np.clip(values, 8, 250)
    return float(b), float(g), float(r)
