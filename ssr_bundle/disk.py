"""Files that are whole or not there, folders that can be written to and that one process holds, a disk that
fills up."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ssr_bundle.errors import SsrError

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_NO_EXCHANGE = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})
_HERE, _EXCHANGE = -100, 2  # AT_FDCWD of fcntl.h, RENAME_EXCHANGE of linux/fs.h


def replace_file(path: Path, data: bytes | Callable[[BinaryIO], object]) -> None:
    """Write ``data``, or what it writes, to ``path`` in one step: after a crash it is the old file or the
    new one, whole, readable by everyone. On an error the old file stays, and nothing else. Of several
    writers at once one wins."""
    handle, name = tempfile.mkstemp(prefix=f".tmp-{path.name}-", dir=path.parent)
    temporary = Path(name)
    try:
        with open(handle, "wb") as stream:
            if isinstance(data, bytes):
                stream.write(data)
            else:
                data(stream)
            stream.flush()
            os.fchmod(stream.fileno(), 0o644)
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def check_folder(path: Path | None, what: str = "the report") -> None:
    """Raise :class:`SsrError` unless the folder ``path`` is there, or can be made, and ``what`` fits into it.

    None is no folder wanted. Called before the work whose results go there.
    """
    if path is None:
        return
    nearest = next(place for place in (path, *path.absolute().parents) if place.exists())
    if not nearest.is_dir():
        raise SsrError(f"{nearest}: is a file, expected a folder for {what}")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise SsrError(f"{nearest}: cannot be written to, expected a folder for {what}")


def exchange(one: Path, other: Path) -> bool:
    """Swap two paths of one filesystem in one step. False, and nothing done, where it cannot (as on NFS)."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:
        return False
    if rename(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _NO_EXCHANGE:
        return False
    raise OSError(number, os.strerror(number), str(one), None, str(other))


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Make ``folder`` and hold it by a lock on its ``.lock``; :class:`SsrError` if another process does.

    What :func:`replace_file` left there when its process was killed is removed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SsrError(f"{folder}: another ssr-train is at work in this folder") from None
        for left in folder.glob(".tmp-*"):
            if left.is_file():
                left.unlink()
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
