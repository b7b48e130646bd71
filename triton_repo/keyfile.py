"""Where the key of a running server lies: a file for its owner only, named by the HTTP port.

In the user's runtime folder (``XDG_RUNTIME_DIR``), else in a folder of the user's own in the temporary
directory. ``ssr-serve`` commands of the same user find it there; nobody else can read it.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ssr_bundle.disk import locked, replace_file, try_lock

_FOLDER = "ssr-serve"
_LONGEST = 256


@dataclass(frozen=True)
class KeyFile:
    """The file at ``path`` that holds ``key``; ``lock`` is open on it as long as its server runs."""

    path: Path
    key: str
    lock: int

    def remove(self) -> None:
        """Remove the file, unless it holds another server's key by now."""
        with contextlib.suppress(OSError):
            if _read(self.path) == self.key:
                self.path.unlink()
        os.close(self.lock)


def write(port: int, key: str) -> KeyFile:
    """Keep the key of the server on this HTTP port; those that killed ones left are removed.

    Raises OSError if no folder is safe or writable.
    """
    folder = _own_folder()
    path = folder / f"{port}.key"
    with locked(folder):
        _remove_abandoned(folder)
        replace_file(path, f"{key}\n".encode(), mode=0o600)
        lock = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        try_lock(lock)
    return KeyFile(path, key, lock)


def find(host: str, port: int) -> str | None:
    """The newest key kept for this port, if ``host`` is this machine and the file is this user's."""
    found = [(_age(path), key) for path in _places(port) if (key := _read(path))]
    # The key is for no other machine: it would be told to whoever listens there.
    return max(found)[1] if found and _is_local(host) else None


def _remove_abandoned(folder: Path) -> None:
    """Of the keys in the locked ``folder``, those whose servers were killed: nobody holds them."""
    for path in [*folder.glob("*.key"), *folder.glob(".tmp-*")]:
        with contextlib.suppress(OSError):
            lock = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                if try_lock(lock):
                    path.unlink()
            finally:
                os.close(lock)


def _own_folder() -> Path:
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    folder = Path(runtime) / _FOLDER if runtime and _is_mine(Path(runtime)) else _in_temporary()
    folder.mkdir(mode=0o700, exist_ok=True)
    if not _is_mine(folder):
        raise PermissionError(1, "is not a folder of this user's alone", str(folder))
    return folder


def _in_temporary() -> Path:
    return Path(tempfile.gettempdir()) / f"{_FOLDER}.{os.getuid()}"


def _places(port: int) -> list[Path]:
    """Where a server may have left its key: it may have run in another session than this one."""
    user = os.getuid()
    runtimes = [Path(text) for text in (os.environ.get("XDG_RUNTIME_DIR"), f"/run/user/{user}") if text]
    folders = [runtime / _FOLDER for runtime in runtimes]
    folders.append(_in_temporary())
    return [folder / f"{port}.key" for folder in dict.fromkeys(folders) if _is_mine(folder)]


def _is_mine(folder: Path) -> bool:
    """Whether it is a folder, no link, that belongs to this user and lets no other in."""
    try:
        status = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o077


def _read(path: Path) -> str:
    """What the file holds; empty if it is none, or another's."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(handle, "rb") as stream:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode) or status.st_uid != os.getuid():
                return ""
            return stream.read(_LONGEST).decode("ascii", "replace").strip()
    except OSError:
        return ""


def _age(path: Path) -> int:
    with contextlib.suppress(OSError):
        return path.stat().st_mtime_ns
    return 0


def _is_local(host: str) -> bool:
    """Whether the name or address is this machine's own: only then a socket can be bound to it."""
    try:
        found = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)
        for family, _, _, _, address in found:
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.bind(address)
    except (OSError, UnicodeError):
        return False
    return bool(found)
