"""What is found in a photo."""

from __future__ import annotations

from dataclasses import dataclass, field

Box = tuple[float, float, float, float]
"""x, y of the upper left corner, width, height; pixels of the picture given."""

Landmarks = tuple[tuple[float, float], ...]
"""Right eye, left eye, nose tip, right and left mouth corner (the person's right), as x, y in pixels."""


@dataclass(frozen=True)
class Detection:
    """One face as a detector reports it. ``score``: 0..1 where the detector has one."""

    box: Box
    score: float = 1.0
    landmarks: Landmarks | None = None


@dataclass(frozen=True)
class Face:
    """One face with the served answer.

    ``box`` is the one that the crop was measured on (the contract's convention). ``age`` in years;
    None when the served model answers something else, which then is in ``attributes`` by its name
    (``male``: a probability). ``interval``: lower and upper end, if the model is calibrated.
    """

    box: Box
    landmarks: Landmarks | None
    age: float | None
    interval: tuple[float, float] | None = None
    track_id: int | None = None
    attributes: dict[str, float] = field(default_factory=dict)
