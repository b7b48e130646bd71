"""The folder of a running server in the temporary directory, and those that killed ones left there.

Whoever uses the folder holds the lock of a file in it: this program, and the server that it started, which a
kill of this program outlives for a while. A folder without that file is nobody's to remove.
"""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from ssr_bundle.disk import remove, try_lock

_PREFIX, _LOCK = "ssr-serve-", "in-use"


def make_state() -> tuple[Path, int]:
    """A new folder, and the open file whose lock says that it is in use, to be handed to child processes."""
    remove_abandoned()
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
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
    """Remove the folders of servers of this user that nobody uses any more, since they were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        try:
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
