"""Which frames are worked on where there is not time for all: none whose answer would come too late."""

from __future__ import annotations

SHARE = 0.2
"""What the newest frame counts in the usual time that the work takes."""


class Pace:
    """Decides frame by frame. ``staleness``: seconds after its arrival at which a frame's answer comes at the
    latest, if the work takes as long as usual.

    Once a frame came too late, those that wait behind it are left out too, up to the newest: otherwise every
    frame would be as late as is just allowed.
    """

    def __init__(self, staleness: float) -> None:
        self._staleness = staleness
        self._usual = 0.0
        self._behind = False

    def takes(self, age: float, newest: bool) -> bool:
        """Whether to work on a frame that arrived ``age`` seconds ago; ``newest``: none waits behind it."""
        if newest:
            self._behind = False
            return age <= self._staleness
        if age + self._usual > self._staleness:
            self._behind = True
        return not self._behind

    def took(self, seconds: float) -> None:
        """The work on a frame took so long."""
        self._usual += SHARE * (seconds - self._usual)
