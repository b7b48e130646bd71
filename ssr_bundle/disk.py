"""Files and folders that are whole or not there, locks, and a disk that fills up.

Everything is made in a ``.tmp-*`` beside its place and renamed. Where the filesystem cannot swap two folders
(NFS), a replaced one is called ``.replaced-<name>`` for a moment; :func:`put_back` makes good a kill then.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from ssr_bundle.errors import SsrError
from ssr_bundle.regular import address, digest_of, mode_of, naming, opened

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_TAKEN = frozenset({errno.EEXIST, errno.ENOTEMPTY})
_NO_EXCHANGE = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})
_HERE, _EXCHANGE = -100, 2  # AT_FDCWD of fcntl.h, RENAME_EXCHANGE of linux/fs.h
_REPLACED = ".replaced-"


def replace_file(path: Path, data: bytes | Callable[[BinaryIO], object], mode: int = 0o644) -> None:
    """Write ``data``, or what it writes, to ``path`` in one step: after a crash it is the old file or the
    new one, whole, readable by everyone. On an error the old file stays, and nothing else. Of several
    writers at once one wins."""
    handle, name = tempfile.mkstemp(prefix=f".tmp-{path.name}-", dir=path.parent)
    temporary = Path(name)
    try:
        with naming(path), open(handle, "wb") as stream:
            if isinstance(data, bytes):
                stream.write(data)
            else:
                data(stream)
            stream.flush()
            os.fchmod(stream.fileno(), mode)
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_file(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path``; an error names it."""
    with naming(path):
        path.write_bytes(data)


def copy_file(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
    """Copy a file with its times, a link as a link. Where the disk is full, the error names ``target``."""
    try:
        shutil.copy2(source, target, follow_symlinks=False)
    except OSError as error:
        if not is_full(error):
            raise
        raise SsrError(f"{os.fspath(target)}: {(error.strerror or 'no space').lower()}") from None


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """An empty folder to be filled, which then becomes the one at ``path``, in the place of what was there.

    ``path`` is at every moment the old folder or the whole new one. On an error the old one stays, and
    nothing else. The folder and the files in it can be read by everyone.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with temporary_folder(path.parent, path.name) as made:
        yield made
        replace_folder(made, path)


@contextmanager
def temporary_folder(parent: Path, name: str = "") -> Iterator[Path]:
    """An empty folder ``.tmp-*`` in ``parent``, gone at the end, unless renamed until then."""
    made = Path(tempfile.mkdtemp(prefix=f".tmp-{name}-" if name else ".tmp-", dir=parent))
    try:
        yield made
    finally:
        if made.is_symlink():  # swapped with a link to a folder
            made.unlink()
        shutil.rmtree(made, ignore_errors=True)


def remove(path: Path) -> None:
    """Remove what is there: a link, a file, a folder with all that is in it, or nothing."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def replace_folder(made: Path, path: Path) -> None:
    """Rename ``made`` to ``path``; what was there is then at ``made``, or gone."""
    made.chmod(0o755)
    for file in made.iterdir():  # safetensors writes files that only their owner can read
        if file.is_file() and not file.is_symlink():
            file.chmod(0o644)
    if not path.exists():
        try:
            made.rename(path)
            return
        except OSError as error:  # another process may just have made the same
            if error.errno not in _TAKEN:
                raise
    if not exchange(made, path):
        aside = path.with_name(_REPLACED + path.name)
        shutil.rmtree(aside, ignore_errors=True)
        path.rename(aside)
        made.rename(path)
        shutil.rmtree(aside)


def put_back(parent: Path) -> None:
    """Give every folder in ``parent`` its name back that a killed :func:`replace_folder` moved aside, and put
    none in place of. Where ``parent`` is only readable, nothing is done."""
    if not any(parent.glob(f"{_REPLACED}*")):
        return
    with suppress(OSError), locked(parent):
        for aside in parent.glob(f"{_REPLACED}*"):
            path = aside.with_name(aside.name.removeprefix(_REPLACED))
            if path.exists():
                shutil.rmtree(aside, ignore_errors=True)
            else:
                aside.rename(path)


def check_folder(path: Path | None, what: str = "the report") -> None:
    """Raise :class:`SsrError` unless the folder ``path`` is there, or can be made, and ``what`` fits into it.

    None is no folder wanted. Called before the work whose results go there.
    """
    if path is None:
        return
    nearest = next(place for place in (path, *path.absolute().parents) if mode_of(place) is not None)
    if not nearest.is_dir():
        raise SsrError(f"{nearest}: is a file, expected a folder for {what}")
    try:
        tempfile.TemporaryFile(dir=nearest).close()
    except OSError as error:
        told = f"cannot be written to ({error.strerror}), expected a folder for {what}"
        raise SsrError(f"{nearest}: {told}") from None


def need_folder(path: Path, expected: str, error: type[SsrError] = SsrError) -> None:
    """Raise ``error`` with what is ``expected`` there unless ``path`` is a folder."""
    mode = mode_of(path, error)
    if given := address(path):
        raise error(f"{given} is an address, expected {expected}: download it first")
    if mode is None or not stat.S_ISDIR(mode):
        found = "does not exist" if mode is None else "is a file"
        raise error(f"{path}: {found}, expected {expected}")


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
def locked(path: Path) -> Iterator[None]:
    """Hold the lock on ``path``, once nobody else does: a folder, or a file that is made if it is missing.

    On a folder it leaves nothing behind.
    """
    file = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Make ``folder`` and hold it by a lock on its ``.lock``; :class:`SsrError` if another process does.

    What :func:`replace_file` left there when its process was killed is removed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a") as stream:
        if not try_lock(stream.fileno()):
            raise SsrError(f"{folder}: another ssr-train is at work in this folder")
        for left in folder.glob(".tmp-*"):
            if left.is_file():
                left.unlink()
        yield


def try_lock(file: int) -> bool:
    """Lock an open file until it is closed. False if somebody else holds its lock."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def sha256_of(source: Path, copy: BinaryIO | None = None) -> str:
    """The hash of a regular file in hex, its bytes written to ``copy`` on the way."""
    with opened(source) as stream:
        return digest_of(stream, copy)[0]


def is_full(error: OSError) -> bool:
    """Whether it says "no space left", "quota exceeded" and such."""
    return error.errno in _FULL


@contextmanager
def room_for(path: Path, what: str) -> Iterator[None]:
    """Turn "no space left", "quota exceeded" and such into an :class:`SsrError` that says ``what``."""
    try:
        yield
    except OSError as error:
        if not is_full(error):
            raise
        raise SsrError(f"{path}: {(error.strerror or 'no space').lower()}; {what}") from None
