"""Work that overlaps: a thread before and a thread behind the one that analyses, with short queues between.

Errors travel to the thread that analyses and are raised there, once; the other threads end then.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

T = TypeVar("T")

AHEAD = 4
"""Items that a queue holds; of frames of 1920 x 1080 pixels, 25 MB."""


class Left(Exception):
    """Nobody takes from the queue, or puts into it, any more."""


class Queue(Generic[T]):
    """A queue of at most ``size`` items between two threads, either of which may leave."""

    def __init__(self, size: int = AHEAD) -> None:
        self._items: deque[T] = deque()
        self._size = size
        self._changed = threading.Condition()
        self._closed = False
        self._left = False

    def put(self, item: T) -> None:
        """Add an item once there is room. Raises :class:`Left` where the taker has left."""
        with self._changed:
            self._changed.wait_for(lambda: self._left or len(self._items) < self._size)
            if self._left:
                raise Left
            self._items.append(item)
            self._changed.notify_all()

    def close(self) -> None:
        """No more will be put: the taker ends after what is there."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def leave(self) -> int:
        """No more will be taken. How many items nobody took."""
        with self._changed:
            self._left = True
            untaken = len(self._items)
            self._items.clear()
            self._changed.notify_all()
        return untaken

    def __iter__(self) -> Iterator[T]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._items)
                if not self._items:
                    return
                item = self._items.popleft()
                self._changed.notify_all()
            yield item


class Ahead(Generic[T]):
    """Items that another thread makes; iterating raises what it raised. ``untaken``: how many were made and
    not taken, known when the block of :func:`ahead` is over."""

    def __init__(self, queue: Queue[T]) -> None:
        self._queue = queue
        self.failure: BaseException | None = None
        self.untaken = 0

    def __iter__(self) -> Iterator[T]:
        yield from self._queue
        if self.failure is not None:
            raise self.failure


@contextmanager
def ahead(items: Iterable[T], size: int = AHEAD) -> Iterator[Ahead[T]]:
    """Make ``items`` in a thread, up to ``size`` ahead of who takes them. The thread ends with the block."""
    queue: Queue[T] = Queue(size)
    made = Ahead(queue)

    def work() -> None:
        try:
            for item in items:
                queue.put(item)
        except Left:
            made.untaken += 1  # the one at hand
        except BaseException as error:
            made.failure = error
        finally:
            queue.close()

    thread = threading.Thread(target=work, name="ssr-video-decode", daemon=True)
    thread.start()
    try:
        yield made
    finally:
        made.untaken += queue.leave()
        thread.join()


@contextmanager
def behind(write: Callable[[T], object], size: int = AHEAD) -> Iterator[Callable[[T], None]]:
    """Yield what hands an item to ``write`` in another thread, up to ``size`` behind.

    All are written when the block ends without an error; what ``write`` raised is raised by the next item, or
    by the end of the block. After an error of the block itself, what was handed over is written all the same.
    """
    queue: Queue[T] = Queue(size)
    failure: list[BaseException] = []

    def work() -> None:
        try:
            for item in queue:
                write(item)
        except BaseException as error:
            failure.append(error)
            queue.leave()

    def hand(item: T) -> None:
        try:
            queue.put(item)
        except Left:
            raise failure[0] from None

    thread = threading.Thread(target=work, name="ssr-video-write", daemon=True)
    thread.start()
    try:
        yield hand
    finally:
        queue.close()
        thread.join()
    if failure:
        raise failure[0]
