"""Trying a peer in a process of its own first: one that crashes ends that process, not the benchmark."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable

LONGEST = 600.0
"""Seconds that a trial may take."""


def crash(work: Callable[[], object], longest: float = LONGEST) -> str | None:
    """How a child process ends that does ``work``, if by a signal or never; None if it ends by itself, also
    with an exception: whoever does the work again meets that."""
    child = os.fork()
    if child == 0:
        try:
            for stream in (1, 2):  # what it says, it says again
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
            work()
        finally:
            os._exit(0)
    watch = os.pidfd_open(child)
    try:
        if not select.select([watch], [], [], longest)[0]:
            os.kill(child, signal.SIGKILL)
            return f"does not end within {longest:.0f} s"
    finally:
        _, status = os.waitpid(child, 0)
        os.close(watch)
    return (
        f"ends the process by {signal.Signals(os.WTERMSIG(status)).name}" if os.WIFSIGNALED(status) else None
    )
