"""What the system lets a server open: one file for each connection, and some of its own."""

from __future__ import annotations

import resource

from ssr_bundle.errors import SsrError

FEWEST_FILES = 128
"""A server that nobody is connected to has 65 open (measured, 2.51.0), and opens more to load a model."""
FEW_FILES = 1024


class LimitError(SsrError):
    """The system allows less than a server needs."""


def check_files() -> str:
    """What to tell of the number of open files that a server may have; empty if it is ample.

    Raises :class:`LimitError` where it is too small to start. The server gets the hard limit.
    """
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard == resource.RLIM_INFINITY or hard >= FEW_FILES:
        return ""
    remedy = "raise the hard limit: ulimit -Hn, LimitNOFILE= of systemd, docker run --ulimit nofile="
    if hard < FEWEST_FILES:
        raise LimitError(f"open files: the limit is {hard}, tritonserver needs {FEWEST_FILES}; {remedy}")
    room = hard - FEWEST_FILES // 2
    return f"open files: the limit is {hard}, room for about {room} connections at once; {remedy}"
