"""Signals that ask a command to stop."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import FrameType

ECHO = 0.5
"""Seconds."""


def once_per_request(handler: Callable[[int, bool], None]) -> Callable[[int, FrameType | None], None]:
    """A signal handler that calls ``handler`` with the signal's number and whether it has come before.

    Echoes are left out: the same signal again within :data:`ECHO` is no second request.
    ``timeout`` signals a command and then the command's process group, and ``torchrun`` passes on what its
    workers were sent already: one wish to stop arrives twice, and must not end what a first one has begun.
    """
    heard: dict[int, float] = {}

    def on_signal(number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if now - heard.get(number, float("-inf")) >= ECHO:
            again = number in heard
            heard[number] = now
            handler(number, again)

    return on_signal
