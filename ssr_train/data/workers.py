"""Work spread over processes, its results in order."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from typing import TypeVar

import cv2

from ssr_train.errors import SsrError

Item = TypeVar("Item")
Result = TypeVar("Result")

_AHEAD = 4
"""Items a process that may be under way or wait to be taken: bounds memory."""


def in_order(work: Callable[[Item], Result], items: Iterable[Item], processes: int) -> Iterator[Result]:
    """``work`` of each item, in the items' order; with one process in this one.

    ``work`` and what it takes and gives must be picklable. Call it under ``if __name__ == "__main__"``.
    Ctrl-C reaches this process alone; the others end with it, also when it is killed.
    """
    if processes <= 1:
        yield from map(work, items)
        return
    context = multiprocessing.get_context("spawn")  # a fork would copy torch's thread pools
    pool = ProcessPoolExecutor(processes, mp_context=context, initializer=_begin)
    under_way: deque[Future[Result]] = deque()
    try:
        for item in items:
            under_way.append(pool.submit(work, item))
            if len(under_way) >= _AHEAD * processes:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
    except BrokenProcessPool:
        raise SsrError(
            "a working process died, killed for memory or by a fault in a decoder; fewer --workers take less"
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _begin() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
