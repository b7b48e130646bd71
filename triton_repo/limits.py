"""What the system lets a server have: open files, one for each connection, and room for its log.

A tritonserver without a descriptor for the next connection takes a whole core to try again and again, and
writes a line for each try, 18 MB of them a second.
"""

from __future__ import annotations

import resource
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

from ssr_bundle.disk import replace_file
from ssr_bundle.errors import SsrError

FEWEST_FILES = 128
"""A server that nobody is connected to has 65 open (measured, 2.51.0), and opens more to load a model."""
FEW_FILES = 1024
LARGEST_LOG = 16 << 20

_OUT_OF_FILES = b"Too many open files"
_FLOOD = 1 << 20


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


class BoundedLog:
    """Keeps a log that another process appends to below ``largest`` bytes, about.

    What it holds then goes to ``<name>.1``, in the place of what was there. ``tell`` is told once if the
    server has run out of descriptors. Anything but a regular file is left alone.
    """

    def __init__(self, path: Path, tell: Callable[[str], None], largest: int = LARGEST_LOG) -> None:
        self.path = path
        self._tell = tell
        self._largest = largest
        self._size = 0
        self._told = False

    def check(self) -> None:
        """Look at the file; to be called once in a while. Raises OSError."""
        status = self.path.stat()
        if not stat.S_ISREG(status.st_mode):
            return
        grown, self._size = status.st_size - self._size, status.st_size
        if grown > _FLOOD and not self._told and _OUT_OF_FILES in tail(self.path):
            self._told = True
            self._tell(
                "tritonserver has no descriptor left for another connection and tries without a pause: "
                "end idle clients, or raise the limit of open files (ulimit -Hn)"
            )
        if status.st_size > self._largest:
            self._turn(stat.S_IMODE(status.st_mode))

    def _turn(self, mode: int) -> None:
        with self.path.open("r+b") as log:
            try:
                older = self.path.with_name(f"{self.path.name}.1")
                replace_file(older, lambda stream: shutil.copyfileobj(log, stream, 1 << 20), mode)
            finally:  # a full disk is no reason to let it grow
                log.truncate(0)
                self._size = 0


def tail(path: Path, size: int = 1 << 16) -> bytes:
    """The last bytes of a file."""
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - size))
        return stream.read(size)
