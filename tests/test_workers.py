"""Work spread over processes: order, errors, and processes that die."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection

import pytest

from ssr_bundle.errors import SsrError
from ssr_train.data.workers import in_order

BIG = 4 << 20
"""Bytes of a result that no pipe takes at once."""


def uneven(number: int) -> tuple[int, int]:
    time.sleep(0.02 if number % 5 == 0 else 0)
    return number, os.getpid()


def big(number: int) -> bytes:
    return bytes([number % 256]) * BIG


def slow(number: int) -> int:
    time.sleep(30)
    return number


def failing(number: int) -> int:
    if number == 3:
        raise SsrError(f"{number} is no good")
    if number == 13:
        raise FileNotFoundError(2, "No such file", "thirteen.jpg")
    return number


class Stubborn(Exception):
    def __reduce__(self) -> str:
        raise TypeError("not to be pickled")


def unpicklable(number: int) -> object:
    if number == 1:
        raise Stubborn("by nature")
    return lambda: number


def die(number: int) -> int:
    if number == 9:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def die_speaking(number: int) -> bytes:
    def cut(self: Connection, message: bytes) -> None:
        os.write(self.fileno(), bytes(message)[: len(message) // 2])
        os.kill(os.getpid(), signal.SIGKILL)

    if number == 9:
        Connection._send = cut  # type: ignore[attr-defined]
    return big(number)


@pytest.fixture(autouse=True)
def nobody_is_left() -> Iterator[None]:
    yield
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_results_come_in_order(processes: int) -> None:
    found = list(in_order(uneven, range(100), processes))
    assert [number for number, _ in found] == list(range(100))
    assert len({pid for _, pid in found}) == processes
    assert (os.getpid() in {pid for _, pid in found}) == (processes == 1)
    assert list(in_order(uneven, [], processes)) == []


def test_items_are_taken_a_few_ahead() -> None:
    """A set of millions is not read before the first picture is made."""
    taken = []

    def items() -> Iterator[int]:
        for number in range(1000):
            taken.append(number)
            yield number

    results = in_order(big, items(), 2)
    assert next(results)[0] == 0
    assert len(taken) <= 8
    assert next(results)[0] == 1
    assert len(taken) <= 9
    results.close()  # type: ignore[attr-defined]


def test_big_results_and_many_items_wait_for_each_other() -> None:
    """Neither end blocks the other while both have more to say than a pipe takes."""
    items = [bytes(1 << 20)] * 12
    assert [len(r) for r in in_order(bytes, items, 2)] == [1 << 20] * 12


def test_what_the_work_raises() -> None:
    with pytest.raises(SsrError, match=r"^3 is no good$") as raised:
        list(in_order(failing, range(10), 2))
    assert "in failing" in str(raised.value.__cause__)
    with pytest.raises(FileNotFoundError) as missing:
        list(in_order(failing, [13], 2))
    assert missing.value.filename == "thirteen.jpg"
    with pytest.raises(Exception, match="pickle"):
        list(in_order(unpicklable, [0], 2))
    with pytest.raises(RuntimeError, match="Stubborn: by nature"):
        list(in_order(unpicklable, [1], 2))


@pytest.mark.parametrize("work", [die, die_speaking])
def test_a_process_that_dies(work: Callable[[int], object]) -> None:
    """At work, or in the middle of a result: with a pipe that processes share, whoever reads that would wait
    for the other half for good."""
    with pytest.raises(SsrError, match="a working process died"):
        list(in_order(work, range(20), 2))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_process_that_is_killed(number: signal.Signals) -> None:
    results = in_order(big, iter(int, 1), 2)
    next(results)
    victim = multiprocessing.active_children()[0]
    assert victim.pid is not None
    time.sleep(0.2)  # its next results wait in the pipe, half written
    os.kill(victim.pid, number)
    victim.join(10)
    with pytest.raises(SsrError, match="a working process died"):
        list(itertools.islice(results, 100))


def test_the_end_waits_for_no_work() -> None:
    results = in_order(slow, range(4), 2)
    main = threading.main_thread().ident
    threading.Timer(1.0, signal.pthread_kill, [main, signal.SIGINT]).start()
    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        next(results)
    assert time.monotonic() - begin < 20
