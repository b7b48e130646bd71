"""Work spread over processes, its results in order.

A process may be killed for memory in the middle of a large result. ``concurrent.futures`` and loky read all
results from one pipe and, measured, wait for the other half for good; here each process has a pipe, and a
thread that waits for it. torch's ``DataLoader`` notices, but deals items out in turns rather than to whoever
is free, rewords what the work raised, and loads torch into every process.
"""

from __future__ import annotations

import multiprocessing
import signal
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from queue import SimpleQueue
from typing import Any, TypeVar

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
    context = multiprocessing.get_context("spawn")  # a fork would copy torch's thread pools
    idle: SimpleQueue[Connection] = SimpleQueue()
    started: list[SpawnProcess] = []
    threads = ThreadPoolExecutor(processes)
    try:
        for _ in range(processes):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, work), daemon=True)
            process.start()
            started.append(process)
            theirs.close()  # so that ours ends with the process
            idle.put(ours)
        yield from results_of(lambda item: threads.submit(_ask, idle, item), items, _AHEAD * processes)
    finally:
        for process in started:
            process.kill()
            process.join()
        threads.shutdown(cancel_futures=True)


def results_of(
    give: Callable[[Item], Future[Result]], items: Iterable[Item], at_once: int
) -> Iterator[Result]:
    """What comes of each item that is given, in the items' order; ``at_once`` of them are under way."""
    rest = iter(items)
    under_way: deque[Future[Result]] = deque()
    while True:
        under_way.extend(map(give, islice(rest, at_once - len(under_way))))
        if not under_way:
            return
        yield under_way.popleft().result()


def _ask(idle: SimpleQueue[Connection], item: Any) -> Any:
    """What the next process that is free makes of ``item``."""
    pipe = idle.get()
    try:
        pipe.send(item)
        result, error, told = pipe.recv()
    except (EOFError, OSError):
        raise SsrError(
            "a working process died, killed for memory or by a fault in a decoder; fewer --workers take less"
        ) from None
    finally:
        idle.put(pipe)
    if error is not None:
        raise error from RuntimeError(told)
    return result


def _serve(pipe: Connection, work: Callable[[Any], Any]) -> None:
    """In a process of its own: answers what comes through the pipe by its result, and None or what the work
    raised, with its traceback; until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    with suppress(EOFError, OSError):  # nobody is there any more
        while True:
            item = pipe.recv()
            try:
                pipe.send((work(item), None, ""))
            except Exception as error:
                told = f"in a working process:\n{traceback.format_exc()}"
                try:
                    pipe.send((None, error, told))
                except Exception:  # it cannot be pickled
                    pipe.send((None, RuntimeError(told), told))
