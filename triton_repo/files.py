"""Files of a repository that are read whole: regular ones, of bounded size.

A pipe would make the reader wait for ever, a link to a device would never end, and a sparse file of a
terabyte would fill the memory. Each is one :class:`FileError` instead.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ssr_bundle.errors import SsrError

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class FileError(SsrError):
    """What lies at a path is no regular file, or too large to be what it should be."""


def check_regular(path: Path, most: int, error: type[SsrError] = FileError) -> int:
    """Size of the regular file at ``path`` in bytes; ``error`` if it is none, or above ``most``.

    ``FileNotFoundError`` if there is nothing.
    """
    return _check(path, path.stat(), most, error)


def read_bytes(path: Path, most: int, error: type[SsrError] = FileError) -> bytes:
    """The content of the regular file at ``path``, of at most ``most`` bytes; errors as above."""
    check_regular(path, most, error)  # before it is opened: some devices act on that alone
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(handle, "rb") as stream:
        _check(path, os.fstat(handle), most, error)
        data = stream.read(most + 1)
    if len(data) > most:
        raise error(f"{path}: grows while it is read, expected at most {most} bytes")
    return data


def _check(path: Path, status: os.stat_result, most: int, error: type[SsrError]) -> int:
    kind = stat.S_IFMT(status.st_mode)
    if kind != stat.S_IFREG:
        raise error(f"{path}: is {_KINDS.get(kind, 'no file')}, expected a regular file")
    if status.st_size > most:
        raise error(f"{path}: {status.st_size} bytes, expected at most {most}")
    return status.st_size
