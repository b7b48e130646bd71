"""The server of the ages: asked again with growing pauses, opened anew where it stays away."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("av")

from ssr_client import BadInput, ServerUnavailable
from ssr_video.live.answering import Answering

from ssr_bundle.errors import SsrError


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Opened:
    """A service that can only be closed."""

    def __init__(self) -> None:
        self.closed = False

    def close(self) -> None:
        self.closed = True


def away() -> Any:
    raise ServerUnavailable("no server answers")


def refuses() -> Any:
    raise BadInput("the frame is too large")


def test_pauses_grow_and_begin_small_again() -> None:
    clock, opened = Clock(), Opened()
    answering = Answering(lambda: opened, clock)  # type: ignore[arg-type,return-value]
    pauses = []
    for _ in range(7):
        while answering.service() is None:
            clock.now += 0.05
        before = clock.now
        assert answering.ask(away) is None
        assert answering.failing == "no server answers"
        while answering.service() is None:
            clock.now += 0.05
        pauses.append(clock.now - before)
    assert pauses == pytest.approx([0.25, 0.5, 1, 2, 4, 4, 4], abs=0.1)
    assert answering.ask(lambda: 7) == 7
    assert answering.failing is None
    answering.ask(refuses)
    clock.now += 0.3
    assert answering.service() is not None


def test_a_server_that_stays_away_is_opened_anew() -> None:
    clock = Clock()
    services: list[Opened] = []

    def open_service() -> Any:
        services.append(Opened())
        return services[-1]

    answering = Answering(open_service, clock)
    for _ in range(6):
        while answering.service() is None:
            clock.now += 0.1
        answering.ask(away)
    assert len(services) >= 2
    assert services[0].closed


def test_one_that_cannot_be_opened_says_why() -> None:
    clock = Clock()

    def open_service() -> Any:
        raise SsrError("model 'gender' answers 'female', expected ages")

    answering = Answering(open_service, clock)
    assert answering.service() is None
    assert answering.failing == "model 'gender' answers 'female', expected ages"
