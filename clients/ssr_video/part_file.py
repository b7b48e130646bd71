"""Outputs that appear whole: written beside their place as ``NAME.part``, renamed when they are complete."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from ssr_bundle.disk import try_lock
from ssr_bundle.errors import SsrError
from ssr_bundle.regular import mode_of, naming

ENDING = ".part"


class OutputError(SsrError):
    """An output that cannot be written."""


def check_output(path: Path, force: bool) -> None:
    """Raise :class:`OutputError` where ``path`` is taken, and not to be replaced, or cannot be a file."""
    mode = mode_of(path, OutputError)
    if mode is not None and not stat.S_ISREG(mode):
        raise OutputError(f"{path}: is no regular file, expected one to write")
    if mode is not None and not force:
        raise OutputError(f"{path}: exists; --force replaces it")
    place = next(p for p in path.absolute().parents if mode_of(p, OutputError) is not None)
    if not (place.is_dir() and os.access(place, os.W_OK)):
        raise OutputError(f"{path}: {place} cannot be written to, expected a folder that can")


class PartFile:
    """A file in the making; a context manager. ``stream`` takes bytes.

    A block that ends well makes it the file at ``path``, on the disk, in one step. A block that fails leaves
    ``path`` as it was; what was written stays as ``NAME.part`` if ``keep``, and the next run writes over it.
    Entering raises :class:`OutputError` where another process is writing it.
    """

    def __init__(self, path: Path, keep: bool = True) -> None:
        self.path = path
        self.part = path.with_name(path.name + ENDING)
        self._keep = keep
        self.stream: BinaryIO

    def __enter__(self) -> PartFile:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        descriptor = os.open(self.part, flags, 0o644)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode) or not try_lock(descriptor):
            os.close(descriptor)
            raise OutputError(f"{self.part}: another process is writing here")
        os.ftruncate(descriptor, 0)
        self.stream = open(descriptor, "w+b")
        return self

    def write(self, text: str) -> None:
        """Append ``text``, which whoever follows the file then can read; file names in it as their own bytes.
        An error names the file."""
        with naming(self.path):
            self.stream.write(text.encode("utf-8", "surrogateescape"))
            self.stream.flush()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        whole = False
        try:
            if kind is None:
                with naming(self.path):
                    self.stream.flush()
                    os.fsync(self.stream.fileno())
                self.part.replace(self.path)
                whole = True
        finally:
            with suppress(OSError):  # of a full disk, which was told of before
                self.stream.close()
            if not whole and not (self._keep and self.part.stat().st_size):
                self.part.unlink(missing_ok=True)
