"""Where a face is, smoothed, and where it will be: a Kalman filter of its box.

Centre and size move at a constant velocity that chance changes (white acceleration); all noise is in units of
the face's own size, so that a small face and a large one are followed alike.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ssr_bundle.crop import Box

MEASURED = (0.02, 0.03)
"""Standard deviation of a detector's centre and size on a face that rests, in face sizes."""
NEAR = 3.0
"""How much more a box says little of that was found near a known one: where the face is shown at another
size, YuNet's box is other by up to 0.04 face sizes, always to the same side for one face; ages would
follow."""
ACCELERATION = (0.8, 0.1)
"""How quickly the velocities of centre and size change: face sizes a second, in a second."""
UNKNOWN_VELOCITY = (1.0, 0.2)
"""Standard deviation of a new face's velocities, in face sizes a second."""


class Motion:
    """The filter of one face; times in seconds, boxes in pixels."""

    def __init__(self, box: Box, time: float) -> None:
        self.time = time
        x, y, w, h = box
        self._state: NDArray[np.float64] = np.array([[x + w / 2, y + h / 2, w, h], [0.0, 0.0, 0.0, 0.0]])
        """Centre, width and height; below them their velocities."""
        noise, speed = _each(MEASURED) * self.size, _each(UNKNOWN_VELOCITY) * self.size
        self._variance: NDArray[np.float64] = np.array([noise**2, 0 * noise, speed**2])
        """Of each value, of value with velocity, of velocity."""

    @property
    def size(self) -> float:
        """The root of the box's area, in pixels."""
        _, _, w, h = self._state[0]
        return float(np.sqrt(max(w, 1.0) * max(h, 1.0)))

    @property
    def box(self) -> Box:
        x, y, w, h = self._state[0].tolist()
        w, h = max(w, 1.0), max(h, 1.0)
        return (x - w / 2, y - h / 2, w, h)

    @property
    def speed(self) -> float:
        """Of the centre, in face sizes a second."""
        return float(np.hypot(*self._state[1, :2])) / self.size

    def predict(self, time: float) -> None:
        """Move on to ``time``, which is not before the newest."""
        dt = max(time - self.time, 0.0)
        self.time = max(time, self.time)
        value, both, velocity = self._variance
        push = (_each(ACCELERATION) * self.size) ** 2
        self._state[0] += dt * self._state[1]
        self._variance = np.array(
            [
                value + 2 * dt * both + dt**2 * velocity + push * dt**3 / 3,
                both + dt * velocity + push * dt**2 / 2,
                velocity + push * dt,
            ]
        )

    def correct(self, box: Box, noise: float = 1.0) -> None:
        """A detector found the face in ``box`` at the time predicted to; ``noise`` in units of
        ``MEASURED``."""
        x, y, w, h = box
        value, both, velocity = self._variance
        gain = np.array([value, both]) / (value + (noise * _each(MEASURED) * self.size) ** 2)
        self._state += gain * (np.array([x + w / 2, y + h / 2, w, h]) - self._state[0])
        self._variance = np.array([value * (1 - gain[0]), both * (1 - gain[0]), velocity - gain[1] * both])


def _each(pair: tuple[float, float]) -> NDArray[np.float64]:
    """A number for the centre, another for the size, as the four values."""
    return np.repeat(pair, 2)
