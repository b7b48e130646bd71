"""Packets between the network and the decoder: bounded in bytes and in age, and nothing fresh is left out."""

from __future__ import annotations

import threading

import pytest
from conftest import until

pytest.importorskip("av")

from ssr_video.live import inbox as module
from ssr_video.live.inbox import Inbox
from ssr_video.live.source import CameraLost, Packet


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def packets(ages: list[float], keys: set[int], size: int = 10) -> list[Packet]:
    return [Packet(100 - age, i, size, i in keys) for i, age in enumerate(ages)]


def taken(inbox: Inbox) -> list[int]:
    found = []
    while (packet := inbox.take(0)) is not None:
        found.append(packet.data)
    return found


def test_fresh_packets_come_one_by_one() -> None:
    inbox = Inbox(0.5, Clock())
    inbox.fill(packets([0.4, 0.3, 0.2, 0.1], {0, 2}))
    assert taken(inbox) == [0, 1, 2, 3]
    assert inbox.skipped == 0


def test_old_packets_are_left_out_up_to_a_key_frame_and_not_beyond() -> None:
    inbox = Inbox(0.5, Clock())
    inbox.fill(packets([2.0, 1.5, 1.0, 0.8, 0.4, 0.3], {0, 2, 5}))
    first = inbox.take(0)
    assert first is not None
    assert (first.data, first.anew) == (2, True)  # 5 would do without 3 and 4, of which 4 is fresh
    assert taken(inbox) == [3, 4, 5]
    assert inbox.skipped == 2


def test_old_packets_without_a_key_frame_are_decoded_all_the_same() -> None:
    inbox = Inbox(0.5, Clock())
    inbox.fill(packets([2.0, 1.5, 1.0], {0}))
    assert taken(inbox) == [0, 1, 2]
    assert inbox.skipped == 0


def test_all_old_begins_with_the_last_key_frame() -> None:
    inbox = Inbox(0.5, Clock())
    inbox.fill(packets([9, 8, 7, 6], {0, 1, 3}))
    assert taken(inbox) == [3]
    assert inbox.skipped == 3


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_BYTES", 95)
    inbox = Inbox(0.5, Clock())
    inbox.fill(packets([0.1] * 10, {0}))
    last = inbox.take(0)
    assert last is not None
    assert (last.data, last.anew, inbox.skipped) == (9, True, 9)


def test_what_ended_it_comes_after_what_it_gave() -> None:
    def ends() -> object:
        yield from packets([0.1, 0.1], {0})
        raise CameraLost("gone")

    inbox = Inbox(0.5, Clock())
    inbox.fill(ends())  # type: ignore[arg-type]
    assert [inbox.take(0).data for _ in range(2)] == [0, 1]  # type: ignore[union-attr]
    with pytest.raises(CameraLost, match="gone"):
        inbox.take(0)


def test_who_waits_is_woken_and_who_leaves_ends_the_filling() -> None:
    gate = threading.Event()

    def later() -> object:
        gate.wait(30)
        yield Packet(100.0, "a", 1)
        while True:
            yield Packet(100.0, "b", 1)

    inbox = Inbox(0.5, Clock())
    thread = threading.Thread(target=inbox.fill, args=(later(),), daemon=True)
    thread.start()
    assert inbox.take(0.01) is None
    gate.set()
    first = inbox.take(30)
    assert first is not None
    inbox.leave()
    until(lambda: not thread.is_alive())
