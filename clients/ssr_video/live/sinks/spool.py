"""Events that wait on disk until they are delivered: neither a broker that is away nor a kill loses them."""

from __future__ import annotations

import errno
import json
import os
import secrets
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from itertools import islice
from pathlib import Path

from ssr_bundle.disk import is_full, try_lock
from ssr_bundle.errors import SsrError
from ssr_video.live.sinks.sink import Event

LINGER = 0.1
"""Seconds that an event stays in memory alone. One that is delivered until then is never written."""

MOST_IN_MEMORY = 4 << 20
"""Bytes of events that wait in memory where the disk is full or too slow."""

RETRY = 1.0
"""Seconds between two tries to write where the disk failed."""

_VERSION = 1
_TABLES = (
    "CREATE TABLE events (id INTEGER PRIMARY KEY, event TEXT NOT NULL)",
    "CREATE TABLE about (identity TEXT NOT NULL)",
    f"PRAGMA user_version = {_VERSION}",
)


class Spool:
    """Events in an SQLite file at ``path``, oldest first, at most ``most_bytes`` of their JSON.

    One thread calls :meth:`put`, which never waits for the disk; one calls :meth:`oldest` and :meth:`done`;
    a third, of the spool's own, writes what waits longer than :data:`LINGER`.

    **What is lost**: beyond ``most_bytes`` the oldest events, except those that are being delivered. A killed
    process or a power cut loses at most the events of the last moment that were neither written
    (:attr:`in_memory`) nor delivered; after :meth:`close` none. Where the disk is full, events wait in
    memory, :data:`MOST_IN_MEMORY` bytes of them, and are written once there is room. What is lost in a
    running process is counted. After a kill an event may come twice: it was delivered, and that was not
    written yet.

    A damaged file is moved aside as ``NAME.damaged-TIME``, ``say`` is told, and a new one begins.
    Raises :class:`SsrError` where another process uses the spool, or it cannot be made.
    """

    def __init__(
        self, path: Path, most_bytes: int, say: Callable[[str], None], *, linger: float = LINGER
    ) -> None:
        self.path, self._most, self._say, self._linger = path, most_bytes, say, linger
        self._disk = threading.Lock()  # of the database; taken before the next one
        self._gate = threading.Lock()  # of what follows; held for moments
        self._memory: dict[int, str] = {}  # not written yet, by id
        self._memory_bytes = 0
        self._handed: dict[int, str] = {}  # given by oldest(), not done
        self._stored = 0  # rows on disk
        self._waiting, self._bytes, self._lost = 0, 0, 0
        self._next, self._done, self._purged, self._writing = 1, 0, 0, 0  # numbers of events
        self._failing: str | None = None
        self.identity = secrets.token_hex(8)
        """16 hexadecimal digits that stay the same as long as the file does."""
        self._database: sqlite3.Connection | None = None
        self._lock = _locked(path)
        try:
            self._begin()
        except BaseException:
            os.close(self._lock)
            raise
        self._wake, self._closed = threading.Event(), threading.Event()
        self._writer = threading.Thread(target=self._run, name=f"spool {path.stem}", daemon=True)
        self._writer.start()

    def put(self, event: Event) -> None:
        """Add an event. After :meth:`close` it is ignored."""
        text = json.dumps(event, allow_nan=False)
        with self._gate:
            if self._closed.is_set():
                return
            if len(text) > self._most:
                self._lost += 1
                return
            self._memory[self._next] = text
            self._next += 1
            self._memory_bytes += len(text)
            self._waiting += 1
            self._bytes += len(text)
            while self._memory_bytes > MOST_IN_MEMORY and self._lose_from_memory():
                pass
        self._wake.set()

    def oldest(self, most: int) -> list[tuple[int, Event]]:
        """Up to ``most`` events that wait, each with its number; they are kept until :meth:`done`."""
        with self._disk:
            with self._gate:
                if self._closed.is_set():
                    return []
                rows = dict(islice(self._memory.items(), most))
                done, on_disk = self._done, self._stored
            try:
                if on_disk:
                    query = "SELECT id, event FROM events WHERE id > ? ORDER BY id LIMIT ?"
                    rows.update(self._connection().execute(query, (done, most)).fetchall())
                rows = dict(sorted(rows.items())[:most])
                events = [(number, _event(text)) for number, text in rows.items()]
            except (sqlite3.Error, OSError) as error:
                self._failed(error)
                return []
            with self._gate:
                self._handed = rows
            return events

    def done(self, number: int) -> None:
        """The events up to ``number``, which :meth:`oldest` gave, need not be kept."""
        with self._gate:
            for one in [one for one in self._handed if one <= number]:
                text = self._handed.pop(one)
                self._waiting -= 1
                self._bytes -= len(text)
                if self._memory.pop(one, None) is not None:
                    self._memory_bytes -= len(text)
            self._done = max(self._done, number)
        self._wake.set()

    @property
    def waiting(self) -> int:
        """Events that are kept."""
        return self._waiting

    @property
    def in_memory(self) -> int:
        """Of these, events that a kill would lose."""
        return len(self._memory)

    @property
    def lost(self) -> int:
        """Events that were dropped since the spool was opened."""
        return self._lost

    @property
    def failing(self) -> str | None:
        """Why events cannot be written, or None."""
        return self._failing

    def close(self, seconds: float = 10.0) -> None:
        """Write what waits, and let another process use the spool. A disk that holds this up for ``seconds``
        is left to itself."""
        with self._gate:
            if self._closed.is_set():
                return
            self._closed.set()
        self._wake.set()
        self._writer.join(seconds)
        if self._writer.is_alive():  # the end of the process releases the lock
            return
        self._write()
        with self._disk:
            self._disconnect()
            if self._memory:
                self._lost += len(self._memory)
                self._say(f"{self.path}: {self._failing}; {len(self._memory):,} events are lost")
            os.close(self._lock)

    def _run(self) -> None:
        while not self._closed.is_set():
            self._wake.wait(RETRY if self._failing else None)
            self._wake.clear()
            if not self._closed.wait(self._linger):
                self._write()

    def _write(self) -> None:
        """Bring the file to what it should hold: without what is done, with what is new, within its bound."""
        with self._disk:
            with self._gate:
                new, done = dict(self._memory), self._done
                handed = max(self._handed, default=0)
                over = self._bytes - self._most
                self._writing = max(new, default=0)
            if not new and (done == self._purged or not self._stored):
                return
            try:
                database = self._connection()
                with _transaction(database):
                    purged = database.execute("DELETE FROM events WHERE id <= ?", (done,)).rowcount
                    database.executemany("INSERT INTO events VALUES (?, ?)", new.items())
                    evicted, freed = _evict(database, max(done, handed), over)
            except (sqlite3.Error, OSError) as error:
                self._writing = 0
                self._failed(error)
                return
            if self._failing:
                self._say(f"{self.path}: is written again")
            with self._gate:
                self._failing, self._writing = None, 0
                self._purged = done
                self._stored += len(new) - purged - evicted
                self._waiting -= evicted
                self._bytes -= freed
                self._lost += evicted
                for one, text in new.items():
                    if self._memory.pop(one, None) is not None:
                        self._memory_bytes -= len(text)

    def _lose_from_memory(self) -> bool:
        """Drop the oldest event in memory that is neither being delivered nor being written."""
        for one in self._memory:
            if one not in self._handed and one > self._writing:
                size = len(self._memory.pop(one))
                self._memory_bytes -= size
                self._bytes -= size
                self._waiting -= 1
                self._lost += 1
                return True
        return False

    # -- the file ------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        there = self.path.exists() and self.path.stat().st_size > 0
        try:
            self._connection(count=True)
        except (sqlite3.Error, OSError) as error:
            damaged = type(error) is sqlite3.DatabaseError
            full = is_full(error) if isinstance(error, OSError) else not there
            if not (full or damaged):
                raise SsrError(f"{self.path}: {_words(error)}") from None
            self._failed(error)

    def _connection(self, count: bool = False) -> sqlite3.Connection:
        """The open database. ``count``: read the whole file, and learn what waits in it."""
        if self._database is None:
            # Made here for its mode, and not opened again beside SQLite: closing it would end SQLite's locks.
            os.close(_opened(self.path))
            database = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=5)
            try:
                self._prepare(database, count)
            except BaseException:
                database.close()
                raise
            self._database = database
        return self._database

    def _prepare(self, database: sqlite3.Connection, count: bool) -> None:
        # Alone, SQLite needs no file of shared memory: a spool can be read where the disk is full.
        database.execute("PRAGMA locking_mode = EXCLUSIVE")
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        version = database.execute("PRAGMA user_version").fetchone()[0]
        if version == 0 and not database.execute("SELECT 1 FROM sqlite_master").fetchone():
            with _transaction(database):
                for statement in _TABLES:
                    database.execute(statement)
                database.execute("INSERT INTO about VALUES (?)", (self.identity,))
        elif version != _VERSION:
            raise SsrError(f"{self.path}: is no spool of this version, expected one or no file")
        if (found := database.execute("SELECT identity FROM about").fetchone()) is None:
            raise sqlite3.DatabaseError("the identity is missing")
        self.identity = str(found[0])
        if count:
            query = "SELECT COUNT(*), COALESCE(SUM(LENGTH(event)), 0), COALESCE(MAX(id), 0) FROM events"
            number, size, last = database.execute(query).fetchone()
            with self._gate:
                self._stored = number
                self._waiting += number
                self._bytes += size
                self._next = max(self._next, last + 1)

    def _disconnect(self) -> None:
        if self._database is not None:
            with suppress(sqlite3.Error):
                self._database.close()
            self._database = None

    def _failed(self, error: sqlite3.Error | OSError) -> None:
        """Note why the disk failed; give up a database that is damaged, but for the events that were handed
        out. ``_disk`` is held, or nobody knows the spool yet."""
        self._disconnect()
        told = _words(error)
        # Its subclasses are other faults than a damaged file.
        if type(error) is sqlite3.DatabaseError:
            try:
                aside = self._move_aside()
                self._connection(count=True)
            except (sqlite3.Error, OSError) as again:
                told += f"; {again}"
            else:
                self._failing = None
                self._say(f"{self.path}: {told}; moved to {aside.name}, a new spool begins")
                return
        if self._failing is None:
            self._say(f"{self.path}: {told}; new events wait in memory")
        self._failing = f"spool: {told}"

    def _move_aside(self) -> Path:
        with self._gate:
            kept = {**self._handed, **self._memory}
            self._lost += self._waiting - len(kept)
            self._memory = dict(sorted(kept.items()))
            self._memory_bytes = self._bytes = sum(map(len, kept.values()))
            self._waiting, self._stored = len(kept), 0
        stamp = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%S.%fZ")
        aside = self.path.with_name(f"{self.path.name}.damaged-{stamp}")
        self.path.rename(aside)
        with suppress(FileNotFoundError):
            self.path.with_name(f"{self.path.name}-wal").rename(aside.with_name(f"{aside.name}-wal"))
        return aside


def _locked(path: Path) -> int:
    """The descriptor of the lock beside ``path``, which it holds until it is closed."""
    lock = path.with_name(path.name + ".lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = _opened(lock)
    except OSError as error:
        raise SsrError(f"{error.filename or lock}: {_words(error)}") from None
    if not try_lock(file):
        os.close(file)
        raise SsrError(f"{path}: another process uses this spool, expected one process for each")
    return file


def _opened(path: Path) -> int:
    """A regular file, made if it is missing, that its owner alone can read."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise OSError(errno.EINVAL, "is no regular file", str(path))
    return file


def _words(error: sqlite3.Error | OSError) -> str:
    told = error.strerror if isinstance(error, OSError) else None
    return (told or str(error)).lower()


def _event(text: str) -> Event:
    try:
        event = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        event = None
    if not isinstance(event, dict):
        raise sqlite3.DatabaseError("a row holds no event")
    return event


@contextmanager
def _transaction(database: sqlite3.Connection) -> Iterator[None]:
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
        database.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):  # of a full disk, which has rolled back
            database.execute("ROLLBACK")
        raise


def _evict(database: sqlite3.Connection, after: int, size: int) -> tuple[int, int]:
    """Delete the oldest rows after ``after`` that hold ``size`` bytes: how many they are, and their bytes."""
    last, freed, number = 0, 0, 0
    if size > 0:
        rows = database.execute("SELECT id, LENGTH(event) FROM events WHERE id > ? ORDER BY id", (after,))
        for row, length in rows:
            last = row
            freed += length
            number += 1
            if freed >= size:
                break
        rows.close()
        database.execute("DELETE FROM events WHERE id > ? AND id <= ?", (after, last))
    return number, freed
