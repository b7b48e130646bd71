"""Brings spooled events on, in their order, by a thread that tries again until they have arrived."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from ssr_video.live.backoff import Backoff
from ssr_video.live.sinks.sink import Event
from ssr_video.live.sinks.spool import Spool
from ssr_video.live.status import SinkStatus

AT_ONCE = 100
"""Events in one delivery."""

TRIES = 7
"""Refusals after which an event that is refused alone is given up: about half a minute."""


class Undelivered(Exception):
    """Nothing, or only the first ``done`` events, arrived; another try may succeed, ``after`` seconds."""

    def __init__(self, why: str, done: int = 0, after: float = 0.0) -> None:
        super().__init__(why)
        self.done, self.after = done, after


class Refused(Exception):
    """The events themselves are refused, and the same ones will be again."""


class Delivery:
    """Hands what is put to ``deliver``, ``at_once`` events at a time, until it returns.

    ``deliver`` raises :class:`Undelivered`, and is called again after a pause, or :class:`Refused`: then half
    as many events are tried, down to one. One that is refused :data:`TRIES` times is lost, so that it does
    not hold up those behind it. After :meth:`poke` it is called even if there are no events.

    ``gather``: seconds that events may wait until there are ``at_once`` of them. ``idle``: seconds without
    events or a poke after which ``deliver`` is called all the same. ``end`` is called last, by
    the same thread. ``say`` is told when deliveries begin to fail, when they succeed again, and when events
    are lost.
    """

    def __init__(
        self,
        name: str,
        spool: Spool,
        deliver: Callable[[Sequence[Event]], None],
        say: Callable[[str], None],
        *,
        at_once: int = AT_ONCE,
        gather: float = 0.0,
        idle: float | None = None,
        end: Callable[[], None] | None = None,
        backoff: Backoff | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name, self._spool, self._deliver, self._say = name, spool, deliver, say
        self._most = self._size = at_once
        self._gather, self._idle, self._end, self._clock = gather, idle, end, clock
        self._backoff = backoff or Backoff()
        self._failing: str | None = None
        self._delivered, self._given_up, self._refusals = 0, 0, 0
        self._known_lost, self._losing = 0, False
        self._since = clock()
        self._owed = 0  # events that have gathered, and are to be delivered without more waiting
        self._poked = False
        self._work, self._closing = threading.Event(), threading.Event()
        self._deadline = float("inf")
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, event: Event) -> None:
        if not self._spool.waiting:
            self._since = self._clock()
        self._spool.put(event)
        self._work.set()

    def poke(self) -> None:
        """There is something to do other than events."""
        self._poked = True
        self._work.set()

    @property
    def status(self) -> SinkStatus:
        failing = self._failing or self._spool.failing
        lost = self._given_up + self._spool.lost
        return SinkStatus(self.name, failing, self._spool.waiting, self._delivered, lost)

    def close(self, seconds: float) -> None:
        """Deliver what can be within ``seconds``, of which a third is kept for ``end``; the rest stays in the
        spool."""
        self._deadline = self._clock() + (seconds if self._end is None else 2 / 3 * seconds)
        self._closing.set()
        self._work.set()
        self._thread.join(max(0.0, seconds))
        self._spool.close()

    def _run(self) -> None:
        while not self._over():
            if self._due():
                self._bring()
            else:
                if not self._work.wait(self._until_due() or self._idle) and self._idle is not None:
                    self._poked = True
                self._work.clear()
        if self._end is not None:
            self._end()

    def _over(self) -> bool:
        if not self._closing.is_set():
            return False
        return self._clock() >= self._deadline or not (self._poked or self._spool.waiting)

    def _due(self) -> bool:
        if self._poked:
            return True
        waiting = self._spool.waiting
        if self._owed <= 0 and (waiting >= self._most or self._closing.is_set() or self._until_due() == 0):
            self._owed = min(waiting, self._most)
        return waiting > 0 and self._owed > 0

    def _until_due(self) -> float | None:
        """Seconds until the events that wait have gathered; None if there are none."""
        if not self._spool.waiting:
            return None
        return max(0.0, self._since + self._gather - self._clock())

    def _bring(self) -> None:
        """One delivery, and the pause after it if it failed."""
        self._poked = False
        batch = self._spool.oldest(self._size)
        try:
            if not batch and self._spool.waiting:
                raise Undelivered(self._spool.failing or "the spool cannot be read")
            self._deliver([event for _, event in batch])
        except Refused as error:
            self._refused(batch, str(error))
        except Undelivered as error:
            if error.done:
                self._arrived(batch[error.done - 1][0], error.done)
            self._pause(str(error), error.after)
        except Exception as error:  # a fault of ours: neither the thread nor what waits may hang on it
            self._refused(batch, f"unexpected {type(error).__name__}")
        else:
            if batch:
                self._arrived(batch[-1][0], len(batch))
            self._succeeded()
        self._tell_of_loss()

    def _arrived(self, number: int, events: int) -> None:
        self._spool.done(number)
        self._delivered += events
        self._refusals = 0
        self._settle(events)

    def _settle(self, events: int) -> None:
        self._owed -= events
        if self._owed <= 0:
            self._since = self._clock()

    def _succeeded(self) -> None:
        self._size = min(2 * self._size, self._most)
        self._backoff.reset()
        if self._failing is not None:
            self._say(f"{self.name}: delivers again")
            self._failing = None

    def _refused(self, batch: Sequence[tuple[int, Event]], why: str) -> None:
        if len(batch) > 1:
            self._size = len(batch) // 2
            self._poked = True
            return
        self._refusals += 1
        if self._refusals < TRIES or not batch:
            self._pause(why)
            return
        self._refusals = 0
        self._backoff.reset()
        self._spool.done(batch[0][0])
        self._given_up += 1
        self._settle(1)
        self._say(f"{self.name}: {why}: an event is given up")

    def _pause(self, why: str, after: float = 0.0) -> None:
        if self._failing is None:
            self._say(f"{self.name}: {why}; {self._spool.waiting:,} events wait")
        self._failing = why
        self._poked = True
        pause = max(self._backoff.pause(), after)
        if self._closing.is_set():  # one more try after close() was called was enough
            self._deadline = self._clock()
        self._closing.wait(pause)

    def _tell_of_loss(self) -> None:
        """Say that the spool drops events, once until it has been empty again."""
        lost = self._spool.lost
        if lost > self._known_lost and not self._losing:
            self._say(f"{self.name}: the spool is full, the oldest events are lost")
            self._losing = True
        self._known_lost = lost
        if not self._spool.waiting:
            self._losing = False
