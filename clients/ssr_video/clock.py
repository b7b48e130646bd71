"""Stream time from presentation timestamps, which may be missing, repeat, or go back."""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

GAP = 2.0
"""Seconds between two frames after which the second is no longer what follows the first."""

RESET = 0.25
"""Seconds that a timestamp goes back to count as a new beginning; by less, it is one frame out of place."""

_LEAST = 0.001
"""Seconds between two frames whose timestamps do not rise."""


class Moment(NamedTuple):
    """``time``: seconds since the first frame. ``follows``: as in :class:`ssr_video.frame.Frame`."""

    time: float
    follows: bool


class StreamClock:
    """Turns timestamps in units of ``time_base`` seconds into times that rise from frame to frame.

    ``step``: seconds that a frame without a timestamp, or after a new beginning, comes after the one before.
    ``resets`` counts new beginnings: from the first one on, times are no longer the file's own.
    ``repairs`` counts single timestamps that were missing or did not rise.
    """

    def __init__(self, time_base: Fraction, step: float) -> None:
        self._time_base = time_base
        self._step = step
        self._first: int | None = None
        self._shift = 0.0
        self._last: float | None = None
        self.resets = 0
        self.repairs = 0

    def at(self, pts: int | None, next_pts: int | None = None) -> Moment:
        """The moment of the next frame. ``next_pts``, of the one after it, shows whether ``pts`` is one
        that leaps ahead alone; it then counts as missing."""
        last, follows = self._last, True
        if self._leaps(pts, next_pts):
            pts = None
        if pts is None:
            self.repairs += 1
            time = 0.0 if last is None else last + self._step
        else:
            if self._first is None:
                self._first = pts
                self._shift = 0.0 if last is None else last + self._step
            time = self._time(pts)
            if last is not None and last - time > RESET:
                self.resets += 1
                self._shift += last + self._step - time
                time, follows = last + self._step, False
            elif last is not None and time <= last:
                self.repairs += 1
                time = last + _LEAST
            elif last is not None and time - last > GAP:
                follows = False
        self._last = time
        return Moment(time, follows and last is not None)

    def _leaps(self, pts: int | None, next_pts: int | None) -> bool:
        if self._last is None or self._first is None or pts is None or next_pts is None:
            return False
        ahead, after = (self._time(p) - self._last for p in (pts, next_pts))
        return ahead > GAP and 0 < after < min(GAP, ahead)

    def _time(self, pts: int) -> float:
        assert self._first is not None
        return float((pts - self._first) * self._time_base) + self._shift
