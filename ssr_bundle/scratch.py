"""Folders of commands in the temporary directory, and those that killed ones left there.

Whoever uses a folder holds the lock of a file in it: this program, and the server that it started, which a
kill of this program outlives for a while. A folder without that file is nobody's to remove.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ssr_bundle.disk import remove, try_lock

_NAME, _LOCK = re.compile(r"ssr-[a-z]+-[a-z0-9_]{8}"), "in-use"


@contextmanager
def scratch(command: str) -> Iterator[Path]:
    """An empty folder for the time being, in one that is named by the ``command`` (letters)."""
    folder, lock = make(command)
    try:
        files = folder / "files"
        files.mkdir()
        yield files
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def make(command: str) -> tuple[Path, int]:
    """A new folder ``ssr-<command>-*``, and the open file whose lock says that it is in use, to be handed to
    child processes."""
    remove_abandoned()
    folder = Path(tempfile.mkdtemp(prefix=f"ssr-{command}-"))
    fresh = folder / f".{_LOCK}"
    lock = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try_lock(lock)
    fresh.rename(folder / _LOCK)  # never there without its lock being held
    return folder, lock


def release(folder: Path, lock: int) -> None:
    """The end of the use of ``folder``: what is still in it stays."""
    (folder / _LOCK).unlink(missing_ok=True)
    os.close(lock)


def remove_abandoned() -> None:
    """Remove the folders of this user's commands that nobody uses any more, since they were killed."""
    for folder in Path(tempfile.gettempdir()).glob("ssr-*"):
        try:
            if not _NAME.fullmatch(folder.name):
                continue
            status = folder.lstat()
            if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
                continue
            lock = os.open(folder / _LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            if try_lock(lock):
                _remove(folder)
        except OSError:
            continue
        finally:
            os.close(lock)


def _remove(folder: Path) -> None:
    """The lock goes last, so that a kill meanwhile leaves a folder that can be known again."""
    for entry in folder.iterdir():
        if entry.name != _LOCK:
            remove(entry)
    remove(folder)
