"""Work spread over processes, its results in order.

Each process has a pipe and a thread of its own, because of processes that die in the middle of a large
result, as when killed for memory: ``concurrent.futures``, loky, pebble and mpire share one pipe for all
results and, measured, wait for the other half for good. torch's ``DataLoader`` notices, but deals items out
in turns rather than to whoever is free, rewords what the work raised, and loads torch into every process.
"""

from __future__ import annotations

import multiprocessing
import pickle
import queue
import signal
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from multiprocessing.connection import Connection
from typing import Any, Generic, TypeVar

import cv2

from ssr_bundle.errors import SsrError

Item = TypeVar("Item")
Result = TypeVar("Result")

_AHEAD = 4
"""Items a process that may be under way or wait to be taken: bounds memory."""


def in_order(work: Callable[[Item], Result], items: Iterable[Item], processes: int) -> Iterator[Result]:
    """``work`` of each item, in the items' order; with one process in this one.

    ``work`` and what it takes, gives and raises must be picklable. Call it under ``if __name__ ==
    "__main__"``. A process that dies is told by :class:`SsrError`. Ctrl-C and SIGTERM, to this process or to
    its group, end this one and the others with it; when it is killed, they end after the item they are at.
    """
    if processes <= 1:
        yield from map(work, items)
        return
    rest = iter(items)
    under_way: deque[Future[Result]] = deque()
    with closing(_Team(work, processes)) as team:
        while True:
            under_way.extend(map(team.give, islice(rest, _AHEAD * processes - len(under_way))))
            if not under_way:
                return
            yield under_way.popleft().result()


class _Team(Generic[Item, Result]):
    """Processes that do one kind of work, and as many threads that wait for them."""

    def __init__(self, work: Callable[[Item], Result], processes: int) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would copy torch's thread pools
        self._processes: list[multiprocessing.process.BaseProcess] = []
        self._idle: queue.SimpleQueue[Connection] = queue.SimpleQueue()
        self._threads = ThreadPoolExecutor(processes)
        try:
            for _ in range(processes):
                ours, theirs = context.Pipe()
                self._processes.append(context.Process(target=_serve, args=(theirs, work), daemon=True))
                self._processes[-1].start()
                theirs.close()  # so that ours ends with the process
                self._idle.put(ours)
        except BaseException:
            self.close()
            raise

    def give(self, item: Item) -> Future[Result]:
        """Have the next process that is free do ``item``."""
        return self._threads.submit(self._ask, item)

    def _ask(self, item: Item) -> Result:
        pipe = self._idle.get()
        try:
            pipe.send(item)
            message = pipe.recv_bytes()
        except (EOFError, OSError):
            raise SsrError(
                "a working process died, killed for memory or by a fault in a decoder; "
                "fewer --workers take less"
            ) from None
        finally:
            self._idle.put(pipe)
        result, error, told = pickle.loads(message)
        if error is not None:
            raise error from RuntimeError(told)
        done: Result = result
        return done

    def close(self) -> None:
        """End the processes, whatever they are at."""
        for process in self._processes:
            process.kill()
            process.join()
        self._threads.shutdown(cancel_futures=True)


def _serve(pipe: Connection, work: Callable[[Any], Any]) -> None:
    """In a process of its own: the work of what comes through the pipe, until it closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    try:
        while True:
            pipe.send_bytes(_answer(work, pipe.recv()))
    except (EOFError, OSError):  # nobody is there any more
        return


def _answer(work: Callable[[Any], Any], item: Any) -> bytes:
    """Pickled: the result, and None or what was raised, with its traceback."""
    try:
        return pickle.dumps((work(item), None, ""), pickle.HIGHEST_PROTOCOL)
    except Exception as error:
        told = f"in a working process:\n{traceback.format_exc()}"
        try:
            return pickle.dumps((None, error, told))
        except Exception:
            return pickle.dumps((None, RuntimeError(told), told))
