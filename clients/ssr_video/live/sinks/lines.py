"""JSON lines in a file that rotates: one line an event, as it happens."""

from __future__ import annotations

import json
import os
import re
import stat
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path

from ssr_bundle.disk import try_lock
from ssr_bundle.errors import SsrError
from ssr_video.live.sinks.settings import LinesSettings
from ssr_video.live.sinks.sink import Event, Sink
from ssr_video.live.status import SinkStatus

NAME = "lines"

MOST_WAITING = 10_000
"""Lines that wait for a disk that is held up."""

_OLD = "old files cannot be removed"


class Lines(Sink):
    """A sink that appends to ``settings.path``, each line whole and soon, by a thread of its own, and renames
    the file before it grows past ``most_bytes``: ``ages.jsonl`` to ``ages-20261129T080000.000Z.jsonl``, UTC.

    The newest ``keep`` renamed files stay; nothing else in the folder is removed. Where somebody else renames
    or removes the file, the next line begins a new one. A line that cannot be written (a full disk, a folder
    that is gone) is lost, :attr:`status` says why, and the next one is tried again. No line is written in
    parts: what a full disk took of one is cut off. What a killed process left of one is ended by the next.

    Raises :class:`SsrError` where the file cannot be opened, or another process writes it.
    """

    def __init__(
        self,
        settings: LinesSettings,
        say: Callable[[str], None],
        now: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
    ) -> None:
        self._settings, self._say, self._now = settings, say, now
        self.path = settings.path
        self._file: int | None = None
        self._failing: str | None = None
        self._gate = threading.Lock()  # of the queue and of what is lost
        self._queue: deque[bytes] = deque()
        self._delivered, self._lost = 0, 0
        self._work, self._closed = threading.Event(), threading.Event()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._open()
        except OSError as error:
            self._close()
            raise SsrError(f"{error.filename or self.path}: {_words(error)}") from None
        self._thread = threading.Thread(target=self._run, name=NAME, daemon=True)
        self._thread.start()

    def take(self, event: Event) -> None:
        line = (json.dumps(event, allow_nan=False) + "\n").encode()
        with self._gate:
            if self._closed.is_set():
                return
            if len(self._queue) < MOST_WAITING:
                self._queue.append(line)
            else:
                self._lost += 1
                self._failing = "the disk is held up"
        self._work.set()

    def _run(self) -> None:
        while self._queue or not self._closed.is_set():
            self._work.wait()
            self._work.clear()
            while self._queue:
                self._write(self._queue[0])
                self._queue.popleft()
        self._close()

    def _write(self, line: bytes) -> None:
        try:
            file, failing = self._rotated(self._current(), len(line))
            _append(file, line)
        except OSError as error:
            self._close()
            failing = _words(error)
            with self._gate:
                self._lost += 1
        else:
            self._delivered += 1
        if bool(failing) != bool(self._failing):
            self._say(f"{self.path}: {failing or 'is written again'}")
        self._failing = failing

    @property
    def status(self) -> SinkStatus:
        return SinkStatus(NAME, self._failing, len(self._queue), self._delivered, self._lost)

    def close(self, seconds: float) -> None:
        with self._gate:
            self._closed.set()
        self._work.set()
        self._thread.join(seconds)

    def _current(self) -> int:
        """The file that is at the path now."""
        if self._file is not None and not _is(self._file, self.path):
            self._close()
        return self._open() if self._file is None else self._file

    def _open(self) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
        self._file = file = os.open(self.path, flags, 0o644)
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise OSError(0, "is no regular file, expected one to write", str(self.path))
        if not try_lock(file):
            raise OSError(0, "another process writes this file", str(self.path))
        size = os.fstat(file).st_size
        if size and os.pread(file, 1, size - 1) != b"\n":
            _append(file, b"\n")
        return file

    def _close(self) -> None:
        if self._file is not None:
            with suppress(OSError):
                os.close(self._file)
            self._file = None

    def _rotated(self, file: int, more: int) -> tuple[int, str | None]:
        """The file that takes ``more`` bytes, the open one or a new one in its place, and what is wrong with
        the rotation."""
        size = os.fstat(file).st_size
        if size == 0 or size + more <= self._settings.most_bytes:
            return file, self._failing if self._failing and self._failing.startswith(_OLD) else None
        try:
            self.path.rename(self._free_name())
        except OSError as error:
            return file, f"cannot be rotated: {_words(error)}"
        self._close()
        file = self._open()
        try:
            for old in self._renamed()[: -self._settings.keep]:
                old.unlink(missing_ok=True)
        except OSError as error:
            return file, f"{_OLD}: {_words(error)}"
        return file, None

    def _free_name(self) -> Path:
        moment = self._now()
        while os.path.lexists(name := self.path.with_name(self._name_at(moment))):
            moment += timedelta(milliseconds=1)
        return name

    def _name_at(self, moment: datetime) -> str:
        stamp = f"{moment:%Y%m%dT%H%M%S}.{moment.microsecond // 1000:03}Z"
        return f"{self.path.stem}-{stamp}{self.path.suffix}"

    def _renamed(self) -> list[Path]:
        """The files of earlier rotations, oldest first."""
        stem, suffix = re.escape(self.path.stem), re.escape(self.path.suffix)
        pattern = re.compile(rf"{stem}-\d{{8}}T\d{{6}}\.\d{{3}}Z{suffix}")
        there = (path for path in self.path.parent.iterdir() if pattern.fullmatch(path.name))
        return sorted(path for path in there if path.is_file() and not path.is_symlink())


def _append(file: int, data: bytes) -> None:
    """Append ``data`` as a whole or not at all."""
    size = os.fstat(file).st_size
    try:
        written = os.write(file, data)
        if written < len(data):
            written += os.write(file, data[written:])  # raises what stopped it
    except OSError:
        with suppress(OSError):
            os.ftruncate(file, size)
        raise
    if written < len(data):
        os.ftruncate(file, size)
        raise OSError(0, "only a part of a line could be written")


def _is(file: int, path: Path) -> bool:
    """Whether the open file is the one at ``path``."""
    try:
        here, there = os.fstat(file), path.stat()
    except FileNotFoundError:
        return False
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)


def _words(error: OSError) -> str:
    return (error.strerror or "cannot be written").lower()
