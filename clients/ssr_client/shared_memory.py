"""Crops in memory that client and server share, for a client on the server's own machine.

A region is a file of /dev/shm that the server maps once and then reads from: a request says only which
region, so that crops are copied once, not sent. Its owner holds a lock on the file as long as it lives,
however it ends, so that any later client can tell what a crashed one left behind, and removes it.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import secrets
import threading
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ssr_bundle.disk import try_lock
from ssr_client.crops import Picture
from ssr_client.errors import ClientError

FOLDER = Path("/dev/shm")
PREFIX = "ssr-client-"
SMALLEST = 1 << 16
"""Bytes of the smallest region; sizes are powers of two, so that a client has few of them."""
MAKING_SECONDS = 60
"""A file without its name yet may not be locked yet either, for a moment; after so long its maker is gone."""


class Region:
    """One request's crops. ``name`` is what the server knows it by, once it is ``registered`` there."""

    def __init__(self, name: str, size: int) -> None:
        self.name, self.size = name, size
        self.registered = False
        self._path = FOLDER / name
        # Locked before it has its name: nobody can take a region in the making for one left behind.
        unnamed = FOLDER / f".{name}"
        self._file = os.open(unnamed, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            if not try_lock(self._file):
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
            # Reserved now: a write to pages that are not there would end the process.
            os.posix_fallocate(self._file, 0, size)
            self._map = mmap.mmap(self._file, size)
            unnamed.rename(self._path)
        except BaseException:
            os.close(self._file)
            unnamed.unlink(missing_ok=True)
            raise

    @property
    def key(self) -> str:
        """What shm_open knows it by."""
        return f"/{self.name}"

    def fill(self, crops: Picture) -> None:
        """Copy crops (N, 64, 64, 3) uint8 to the region's begin."""
        view: NDArray[np.uint8] = np.frombuffer(self._map, np.uint8, crops.size)
        np.copyto(view.reshape(crops.shape), crops)

    def unlink(self) -> None:
        """Remove its file; whoever maps it keeps the memory until they let go."""
        self._path.unlink(missing_ok=True)

    def close(self) -> None:
        """Remove and let go of it."""
        self.unlink()
        with contextlib.suppress(BufferError):
            self._map.close()
        os.close(self._file)


class Regions:
    """The regions of one client: as many as it has requests under way, each used again and again."""

    def __init__(self) -> None:
        self._prefix = f"{PREFIX}{os.getpid()}-{secrets.token_hex(4)}"
        self._lock = threading.Lock()
        self._free: list[Region] = []
        self._lent: set[Region] = set()
        self._made = 0
        self._closed = False

    def take(self, size: int) -> Region:
        """A region of at least ``size`` bytes that nobody else has, until :meth:`give`.

        Raises :class:`ClientError` where /dev/shm is missing or full.
        """
        with self._lock:
            fitting = [region for region in self._free if region.size >= size]
            if fitting:
                region = min(fitting, key=lambda r: r.size)
                self._free.remove(region)
                self._lent.add(region)
                return region
            self._made += 1
            name = f"{self._prefix}-{self._made}"
        size = max(SMALLEST, 1 << (size - 1).bit_length())
        try:
            region = Region(name, size)
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.ENOMEM)
            why = "is full (docker: --shm-size)" if full else f"cannot be used: {error.strerror or error}"
            raise ClientError(f"shared memory: {FOLDER} {why}; {size} bytes were wanted") from None
        with self._lock:
            self._lent.add(region)
        return region

    def give(self, region: Region) -> None:
        """Hand back what :meth:`take` gave."""
        with self._lock:
            self._lent.discard(region)
            if not self._closed:
                self._free.append(region)
                return
        region.close()

    def drain(self) -> list[Region]:
        """End: the regions that nobody has, the caller's to unregister and close. The others close when
        given; their files go now, for a request that was interrupted never gives its own."""
        with self._lock:
            self._closed = True
            regions, self._free = self._free, []
            for region in self._lent:
                region.unlink()
        return regions


def left_behind(name: str) -> bool:
    """Whether the owner of a region of this machine is gone; its file is then removed."""
    return name.startswith(PREFIX) and "/" not in name and _removed(FOLDER / name)


def _removed(path: Path) -> bool:
    """Whether a region's file is gone, now at the latest: it is removed if nobody holds its lock."""
    try:
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    except OSError:
        return False  # another user's: not ours to judge
    try:
        if not try_lock(file):
            return False
        path.unlink(missing_ok=True)
        return True
    finally:
        os.close(file)


def sweep() -> None:
    """Remove the files of clients that are gone, those that they were just making included."""
    with contextlib.suppress(OSError):
        for path in FOLDER.glob(f"{PREFIX}*"):
            _removed(path)
        for path in FOLDER.glob(f".{PREFIX}*"):
            if time.time() - path.lstat().st_mtime > MAKING_SECONDS:
                _removed(path)
