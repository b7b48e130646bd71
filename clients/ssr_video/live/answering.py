"""The server of the ages, which may be away: asked again with growing pauses, and never waited for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from ssr_client import ClientError

from ssr_bundle.errors import SsrError
from ssr_video.live.backoff import Backoff
from ssr_video.service import Service

T = TypeVar("T")

FIRST_PAUSE, LONGEST_PAUSE = 0.25, 4.0
"""Seconds in which a server that failed is not asked; each pause is twice the one before."""
ANEW = 3.0
"""Seconds of failures after which the service is opened anew."""


class Answering:
    """Opens a :class:`Service` when it is first needed. ``failing``: why there is no answer, or None."""

    def __init__(self, open: Callable[[], Service], clock: Callable[[], float]) -> None:
        self._open, self._clock = open, clock
        self._service: Service | None = None
        self._backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE, chance=lambda: 0.0)
        self._again = clock()
        self.failing: str | None = None
        self._since = 0.0

    def service(self) -> Service | None:
        """The open service; None while the server is left in peace, or cannot be opened."""
        if self._clock() < self._again:
            return None
        if self._service is None:
            try:
                self._service = self._open()
            except SsrError as error:
                self._failed(error)
        return self._service

    def ask(self, question: Callable[[], T]) -> T | None:
        """What ``question`` gives, or None where it raises :class:`ClientError`."""
        try:
            answer = question()
        except ClientError as error:
            self._failed(error)
            return None
        self.failing = None
        self._backoff.reset()
        return answer

    def _failed(self, error: SsrError) -> None:
        now = self._clock()
        self._since = now if self.failing is None else self._since
        self.failing = str(error)
        if self._service is not None and now - self._since > ANEW:  # another server may find faces otherwise
            self._service.close()
            self._service = None
        self._again = self._clock() + self._backoff.pause()
