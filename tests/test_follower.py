"""When ``run`` takes up what changed in a repository; by a clock of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from triton_repo.control import Control
from triton_repo.follower import Follower
from triton_repo.view import Signature, View


class Clock(threading.Event):
    """Time passes while somebody waits; set after so many ``seconds``."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.now, self._end = 0.0, seconds

    def wait(self, timeout: float | None = None) -> bool:
        self.now += timeout or 0
        return self.now > self._end


Refreshed = Callable[[float, Callable[[float], Signature]], list[float]]


@pytest.fixture
def refreshed(monkeypatch: pytest.MonkeyPatch) -> Refreshed:
    """When a follower brings the server in step with a repository whose signature is a function of time."""

    def follow(seconds: float, signature: Callable[[float], Signature]) -> list[float]:
        clock, times = Clock(seconds), list[float]()
        monkeypatch.setattr("triton_repo.follower.time", SimpleNamespace(monotonic=lambda: clock.now))
        view: Any = SimpleNamespace(signature=lambda: signature(clock.now), unsettled=False, failures=[])
        follower = Follower(cast(View, view), cast(Control, None), threading.Event(), lambda _: None)
        monkeypatch.setattr(follower, "refresh", lambda: times.append(clock.now))
        monkeypatch.setattr(follower, "compare", lambda: None)
        follower.follow((0,), clock)
        return times

    return follow


def test_a_change_counts_when_two_looks_agree(refreshed: Refreshed) -> None:
    assert refreshed(60, lambda now: (0,)) == []
    assert refreshed(60, lambda now: (0 if now < 10 else 1,)) == [10.5]
    assert refreshed(60, lambda now: (min(now, 20.0),)) == [20.5], "while it was copied it was left alone"


def test_one_that_changes_without_a_pause_counts_after_a_while(refreshed: Refreshed) -> None:
    """Or a model that writes into its own folder would keep every publish from being followed."""
    assert refreshed(100, lambda now: (now,)) == [30.0, 60.0, 90.0]
