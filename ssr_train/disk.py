"""Files that are whole or not there, folders that one process holds, and a disk that fills up."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ssr_train.errors import SsrError

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def replace_file(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` in one step: after a crash it is the old file or the new one, whole."""
    temporary = path.with_name(f".tmp-{path.name}")
    with temporary.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Make ``folder`` and hold it by a lock on its ``.lock``; :class:`SsrError` if another process does."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SsrError(f"{folder}: another process is at work in this folder") from None
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
