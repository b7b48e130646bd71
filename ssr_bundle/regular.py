"""Regular files alone are opened: who fills a folder must not be able to hold up whoever reads it.

A pipe, a socket, a device or a folder in a file's place is refused, also behind a link, and never waited for.
What is opened is what was checked: no name is looked up twice.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ssr_bundle.errors import SsrError

_OF_THE_NAME = frozenset({
    errno.EACCES,
    errno.EINVAL,
    errno.EISDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.ENODEV,
    errno.ENXIO,
    errno.EPERM,
})  # fmt: skip
"""What is wrong with the place itself, not with the process or the disk."""

_ADDRESS = re.compile("(https?|ftps?|s3|gs|file|data|hf):/+", re.IGNORECASE)

_KINDS = {
    stat.S_IFBLK: "a device",
    stat.S_IFCHR: "a device",
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
}


@contextmanager
def opened(path: Path, error: type[SsrError] = SsrError) -> Iterator[BinaryIO]:
    """The regular file at ``path``, to be read.

    Raises ``error`` for anything else there and for a name that cannot be one (a loop of links, one too
    long), ``FileNotFoundError`` where nothing is, another ``OSError`` where the machine fails.
    """
    with _refused(path, error):
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        kind = stat.S_IFMT(os.fstat(descriptor).st_mode)
        if kind != stat.S_IFREG:
            raise _foreign(path, kind, error)
    except BaseException:
        os.close(descriptor)
        raise
    with open(descriptor, "rb") as stream, naming(path):
        yield stream


def address(path: object) -> str | None:
    """``path`` as the address that it was, if it is one of the web or of a store and no file of that name
    exists. (A ``Path`` keeps one slash of two.)"""
    found = _ADDRESS.match(str(path))
    if found is None or os.path.lexists(str(path)):
        return None
    return f"{found[1]}://{str(path)[found.end() :]}"


def size_of(stream: BinaryIO) -> int:
    """Bytes that the opened file has."""
    return os.fstat(stream.fileno()).st_size


def read_whole(path: Path, most: int, error: type[SsrError] = SsrError) -> bytes:
    """The content of a regular file, if that is at most ``most`` bytes; else ``error``. As :func:`opened`."""
    with opened(path, error) as stream:
        if (size := size_of(stream)) > most:
            raise error(f"{path}: {size:,} bytes, expected at most {most:,}")
        data = stream.read(size + 1) or b""
    if len(data) != size:
        raise error(f"{path}: changed while it was read")
    return data


def digest_of(stream: BinaryIO, copy: BinaryIO | None = None, most: int | None = None) -> tuple[str, int]:
    """SHA-256 in hex and length of what an opened file holds, its bytes written to ``copy`` on the way.

    Where it grew past ``most`` bytes, no more of it is read.
    """
    digest, size = hashlib.sha256(), 0
    while block := stream.read(1 << 20):
        size += len(block)
        if most is not None and size > most:
            break
        digest.update(block)
        if copy is not None:
            with naming(getattr(copy, "name", None)):
                copy.write(block)
    return digest.hexdigest(), size


@contextmanager
def naming(path: object) -> Iterator[None]:
    """Give an ``OSError`` that names no file this one's name."""
    try:
        yield
    except OSError as error:
        if error.errno and error.filename is None and isinstance(path, str | Path):
            raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
        raise


def mode_of(path: Path, error: type[SsrError] = SsrError) -> int | None:
    """The mode of what is at ``path``, links followed; None for nothing. ``error`` as :func:`opened`."""
    try:
        with _refused(path, error):
            return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None


@contextmanager
def _refused(path: Path, error: type[SsrError]) -> Iterator[None]:
    try:
        yield
    except NotADirectoryError as failed:
        raise FileNotFoundError(errno.ENOENT, failed.strerror, str(path)) from None
    except OSError as failed:
        if failed.errno == errno.ENXIO:
            raise _foreign(path, stat.S_IFSOCK, error) from None
        if failed.errno not in _OF_THE_NAME:
            raise
        raise error(f"{path}: {(failed.strerror or 'cannot be opened').lower()}") from None


def _foreign(path: Path, kind: int, error: type[SsrError]) -> SsrError:
    return error(f"{path}: is {_KINDS.get(kind, 'no file')}, expected a regular file")
