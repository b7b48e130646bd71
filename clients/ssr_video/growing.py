"""A file that somebody else is still writing, read until it no longer grows."""

from __future__ import annotations

import threading
from typing import BinaryIO

_LOOK = 0.1
"""Seconds between two looks at the end of the file."""


class Growing:
    """Reads ``stream`` to its end and waits there for more: until nothing came for ``idle`` seconds, or
    ``stop`` is set. It cannot seek, as what a file's end says of the whole is not there yet."""

    def __init__(self, stream: BinaryIO, idle: float, stop: threading.Event) -> None:
        self._stream = stream
        self._idle = idle
        self._stop = stop

    def read(self, size: int) -> bytes:
        """Up to ``size`` bytes; none where the file is over."""
        waited = 0.0
        while not (data := self._stream.read(size)) and waited < self._idle and not self._stop.wait(_LOOK):
            waited += _LOOK
        return data
