"""SIGINT and SIGTERM as a request to stop, which the work looks at between two frames."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from ssr_bundle.errors import Interrupted
from ssr_bundle.signals import once_per_request

GRACE = 3.0
"""Seconds that the frame at hand may take on; a server that does not answer is then no longer waited for."""


class Stopped(Exception):
    """The frame at hand is given up, because the run is to stop."""


class Stop:
    """``asked``: the signal that asked to stop, or None. ``event`` is set then."""

    def __init__(self) -> None:
        self.asked: signal.Signals | None = None
        self.event = threading.Event()

    def sleep(self, seconds: float) -> None:
        """As ``time.sleep``; raises :class:`Stopped` once somebody asks to stop."""
        if self.event.wait(seconds):
            raise Stopped


@contextmanager
def stoppable() -> Iterator[Stop]:
    """Let the first SIGINT or SIGTERM ask to stop; the second ends the block at once, by an exception.

    :data:`GRACE` seconds after the first, :class:`Stopped` is raised in the block, if it still lasts: use
    :func:`settled` once the work is over. Let out of the block, it becomes :class:`Interrupted`. Outside the
    main thread, signals are left alone.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def ask(number: int, again: bool) -> None:
        if stop.asked is not None:
            raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)
        stop.asked = signal.Signals(number)
        stop.event.set()
        signal.setitimer(signal.ITIMER_REAL, GRACE)

    def give_up(number: int, frame: FrameType | None) -> None:
        raise Stopped

    handlers: dict[signal.Signals, Callable[[int, FrameType | None], None]] = {signal.SIGALRM: give_up}
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as for a shell's background job
            handlers[number] = once_per_request(ask)
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield stop
    except Stopped:  # nobody else took it: there was nothing to complete
        assert stop.asked is not None
        raise Interrupted(f"stopped by {stop.asked.name}", stop.asked) from None
    finally:
        settled()
        for number, handler in before.items():
            signal.signal(number, handler)


def settled() -> None:
    """Nothing is to be given up any more: what is left is bounded."""
    if threading.current_thread() is threading.main_thread():
        signal.setitimer(signal.ITIMER_REAL, 0)
