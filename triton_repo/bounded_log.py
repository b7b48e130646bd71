"""The log of a server, kept below a size that no client can make larger.

A tritonserver without a descriptor for the next connection takes a whole core to try again and again, and
writes a line for each try, 18 MB of them a second.
"""

from __future__ import annotations

import shutil
import stat
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ssr_bundle.disk import replace_file

LARGEST_LOG = 16 << 20

_OUT_OF_FILES = b"Too many open files"
_FLOOD = 1 << 20
_SECONDS = 0.5


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

    def watch(self, ended: threading.Event) -> None:
        """Look at the file twice a second until ``ended``."""
        while not ended.wait(_SECONDS):
            with suppress(OSError):  # removed, or its disk is full
                self.check()

    def check(self) -> None:
        """Look at the file. Raises OSError."""
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
