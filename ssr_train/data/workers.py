"""Work spread over processes, its results in order."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import pickle
import queue
import signal
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, TypeVar

import cv2

from ssr_bundle.errors import SsrError

Item = TypeVar("Item")
Result = TypeVar("Result")

_AHEAD = 4
"""Items a process that may be under way or wait to be taken: bounds memory."""
_AT_ONCE = 2
"""Items with a process: one at work and the next; more would wait for it at the end while another is idle."""
_PATIENCE = 5.0
"""Seconds for a process to end by itself."""


def in_order(work: Callable[[Item], Result], items: Iterable[Item], processes: int) -> Iterator[Result]:
    """``work`` of each item, in the items' order; with one process in this one.

    ``work`` and what it takes, gives and raises must be picklable. Call it under ``if __name__ ==
    "__main__"``. A process that dies is told by :class:`SsrError`. Ctrl-C and SIGTERM, to this process or to
    its group, end this one; the others end with it, also when it is killed.
    """
    if processes <= 1:
        yield from map(work, items)
        return
    waiting = enumerate(items)
    given = 0
    done: dict[int, Result] = {}
    with closing(_Team(work, processes)) as team:
        for wanted in itertools.count():
            while wanted not in done:
                for item in itertools.islice(waiting, min(team.room, wanted + _AHEAD * processes - given)):
                    team.give(item)
                    given += 1
                if wanted == given:
                    return
                done.update(team.take())
            yield done.pop(wanted)


class _Member:
    """A process with a pipe of its own: one that dies in the middle of a result ends its pipe, where a pipe
    that all share (``concurrent.futures``) would leave the reader waiting for the other half."""

    def __init__(self, work: Callable[[Any], Any]) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would copy torch's thread pools
        self.pipe, theirs = context.Pipe()
        self.under_way = 0
        self.process = context.Process(target=_serve, args=(theirs, work), daemon=True)
        self.process.start()
        theirs.close()


class _Team(Generic[Item, Result]):
    """Processes that do one kind of work on numbered items."""

    def __init__(self, work: Callable[[Item], Result], processes: int) -> None:
        self._members: list[_Member] = []
        try:
            for _ in range(processes):
                self._members.append(_Member(work))
        except BaseException:
            self.close()
            raise

    @property
    def room(self) -> int:
        """Items that may be given now."""
        return sum(_AT_ONCE - member.under_way for member in self._members)

    def give(self, item: tuple[int, Item]) -> None:
        """To whoever has the least to do."""
        member = min(self._members, key=lambda m: m.under_way)
        member.under_way += 1
        with _speaking():
            member.pipe.send(item)

    def take(self) -> dict[int, Result]:
        """Results that are ready, one at least, by number. Raises what the work raised."""
        results = {}
        ready = wait([member.pipe for member in self._members])
        for member in (m for m in self._members if m.pipe in ready):
            with _speaking():
                message = member.pipe.recv_bytes()
            number, result, error, told = pickle.loads(message)
            if error is not None:
                raise error from RuntimeError(told)
            member.under_way -= 1
            results[number] = result
        return results

    def close(self) -> None:
        """End the processes, whatever they are at."""
        for member in self._members:
            member.pipe.close()
        for member in self._members:
            member.process.join(_PATIENCE)
            member.process.kill()
            member.process.join()


@contextmanager
def _speaking() -> Iterator[None]:
    """Tells the end of a pipe, in whatever part of a message it comes, as what it is."""
    try:
        yield
    except (EOFError, OSError):
        raise SsrError(
            "a working process died, killed for memory or by a fault in a decoder; fewer --workers take less"
        ) from None


def _serve(pipe: Connection, work: Callable[[Any], Any]) -> None:
    """In a process of its own: the work of what comes through the pipe, until it closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    items: queue.SimpleQueue[tuple[int, Any]] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(pipe, items), daemon=True).start()
    while True:
        number, item = items.get()
        message = _answer(number, work, item)
        try:
            pipe.send_bytes(message)
        except OSError:  # nobody reads any more
            os._exit(0)


def _answer(number: int, work: Callable[[Any], Any], item: Any) -> bytes:
    """Pickled: number, result, and None or what was raised, with its traceback."""
    try:
        return pickle.dumps((number, work(item), None, ""), pickle.HIGHEST_PROTOCOL)
    except Exception as error:
        told = f"in a working process:\n{traceback.format_exc()}"
        try:
            return pickle.dumps((number, None, error, told))
        except Exception:
            return pickle.dumps((number, None, RuntimeError(told), told))


def _receive(pipe: Connection, items: queue.SimpleQueue[tuple[int, Any]]) -> None:
    """Take items at once, so that giving never waits for the work; at the pipe's end, so does the process."""
    try:
        while True:
            items.put(pipe.recv())
    except (EOFError, OSError):
        os._exit(0)
