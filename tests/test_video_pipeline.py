"""Threads before and behind the analysis: nothing is lost, all is bounded, and an error ends them all."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator

import pytest
from conftest import until
from ssr_video.pipeline import ahead, behind
from ssr_video.stop import Stop, Stopped, stoppable

from ssr_bundle.errors import Interrupted


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("ssr-video")]


def test_everything_arrives_in_order() -> None:
    written: list[int] = []
    with behind(written.append, 3) as hand, ahead(range(1000), 3) as numbers:
        for number in numbers:
            hand(2 * number)
    assert written == list(range(0, 2000, 2))
    assert threads() == []


def test_what_is_ahead_is_bounded_and_counted() -> None:
    made: list[int] = []

    def make() -> Iterator[int]:
        for number in range(100):
            made.append(number)
            yield number

    with ahead(make(), 4) as numbers:
        taken = next(iter(numbers))
        until(lambda: len(made) == 6)  # one taken, four waiting, one at hand
    assert taken == 0
    assert (len(made), numbers.untaken) == (6, 5)
    assert threads() == []


def test_what_is_behind_is_bounded() -> None:
    go, written = threading.Event(), []

    def write(number: int) -> None:
        go.wait(30)
        written.append(number)

    handed: list[int] = []

    def work() -> None:
        with behind(write, 2) as hand:
            for number in range(10):
                hand(number)
                handed.append(number)

    thread = threading.Thread(target=work)
    thread.start()
    until(lambda: len(handed) == 3)  # one at hand, two waiting
    go.set()
    thread.join()
    assert written == handed == list(range(10))


def test_an_error_of_the_source_comes_after_what_it_gave() -> None:
    def fail() -> Iterator[int]:
        yield from (1, 2)
        raise OSError("no disk")

    with ahead(fail()) as numbers:
        seen = iter(numbers)
        assert (next(seen), next(seen)) == (1, 2)
        with pytest.raises(OSError, match="no disk"):
            next(seen)
    assert threads() == []


def test_an_error_of_the_writer_stops_the_source() -> None:
    def fail(number: int) -> None:
        if number == 5:
            raise OSError("disk full")

    def count() -> Iterator[int]:
        number = 0
        while True:
            yield number
            number += 1

    def work() -> None:
        with behind(fail) as hand, ahead(count()) as numbers:
            for number in numbers:
                hand(number)

    with pytest.raises(OSError, match="disk full"):
        work()
    assert threads() == []


def test_an_error_of_the_last_item_is_raised_by_the_end() -> None:
    def fail(number: int) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"), behind(fail) as hand:
        hand(1)


def test_an_error_of_the_analysis_stops_both_and_keeps_what_was_handed_over() -> None:
    written: list[int] = []

    def work() -> None:
        with behind(written.append) as hand, ahead(range(100)) as numbers:
            for number in numbers:
                hand(number)
                if number == 7:
                    raise KeyError

    with pytest.raises(KeyError):
        work()
    assert written == list(range(8))
    assert threads() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_and_the_second_ends(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with stoppable() as stop:
        signal.raise_signal(number)
        assert stop.asked == number
        with pytest.raises(Stopped):
            stop.sleep(1e6)
        other = signal.SIGTERM if number == signal.SIGINT else signal.SIGINT
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            signal.raise_signal(other)
    assert signal.getsignal(number) is before
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0


def test_a_frame_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ssr_video.stop.GRACE", 0.05)
    with stoppable():
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(Stopped):
            threading.Event().wait(30)


def test_a_wish_to_stop_before_there_is_work() -> None:
    """As while the server is waited for."""

    def work() -> None:
        with stoppable() as stop:
            signal.raise_signal(signal.SIGTERM)
            stop.sleep(1e6)

    with pytest.raises(Interrupted, match="stopped by SIGTERM") as caught:
        work()
    assert caught.value.status == 143


def test_without_signals_nobody_is_asked() -> None:
    def work() -> None:
        with stoppable() as stop:
            found.append(stop.asked)

    found: list[object] = []
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [None]
    Stop().sleep(0)
