"""Files that are whole or not there, folders that one process holds, and a disk that fills up."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ssr_train.errors import SsrError

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def replace_file(path: Path, data: bytes | Callable[[BinaryIO], object]) -> None:
    """Write ``data``, or what it writes, to ``path`` in one step: after a crash it is the old file or the
    new one, whole. On an error the old file stays, and nothing else."""
    temporary = path.with_name(f".tmp-{path.name}")
    try:
        with temporary.open("wb") as stream:
            if isinstance(data, bytes):
                stream.write(data)
            else:
                data(stream)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Make ``folder`` and hold it by a lock on its ``.lock``; :class:`SsrError` if another process does."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SsrError(f"{folder}: another ssr-train is at work in this folder") from None
        yield


@contextmanager
def room_for(path: Path, what: str) -> Iterator[None]:
    """Turn "no space left", "quota exceeded" and such into an :class:`SsrError` that says ``what``."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise SsrError(f"{path}: {(error.strerror or 'no space').lower()}; {what}") from None
