"""Packets on their way from the network to the decoder: bounded in bytes and in age."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable

from ssr_video.live.source import Packet

MOST_BYTES = 32 << 20
"""Of packets that wait: seconds of any camera's stream."""


class Inbox:
    """Filled by :meth:`fill` in one thread, emptied by :meth:`take` in another.

    ``staleness``: seconds after which a packet's picture is of no use; a stretch of such packets up to a key
    frame is left out undecoded, and counted in ``skipped``.
    """

    def __init__(self, staleness: float, clock: Callable[[], float]) -> None:
        self._staleness, self._clock = staleness, clock
        self._packets: deque[Packet] = deque()
        self._bytes = 0
        self._changed = threading.Condition()
        self._failure: BaseException | None = None
        self._left = False
        self.skipped = 0

    def fill(self, packets: Iterable[Packet]) -> None:
        """Take in what arrives, until it ends or the taker :meth:`leave`\\ s."""
        try:
            for packet in packets:
                with self._changed:
                    if self._left:
                        return
                    self._packets.append(packet)
                    self._bytes += packet.size
                    if self._bytes > MOST_BYTES:
                        self._skip(len(self._packets) - 1)
                    self._changed.notify()
        except BaseException as error:
            with self._changed:
                self._failure = error
                self._changed.notify()

    def take(self, seconds: float) -> Packet | None:
        """The next packet, or None after ``seconds`` without one. Raises what ended :meth:`fill`, after the
        packets before it."""
        with self._changed:
            self._changed.wait_for(lambda: self._packets or self._failure, seconds)
            if not self._packets:
                if self._failure is not None:
                    raise self._failure
                return None
            oldest_of_use = self._clock() - self._staleness
            fresh = next((i for i, p in enumerate(self._packets) if p.arrived >= oldest_of_use), None)
            last = len(self._packets) - 1 if fresh is None else fresh
            keys = [i for i, packet in enumerate(self._packets) if i <= last and packet.key]
            if keys and keys[-1] > 0:
                self._skip(keys[-1])
            packet = self._packets.popleft()
            self._bytes -= packet.size
            return packet

    @property
    def waiting(self) -> bool:
        """Whether a packet has arrived that nobody took."""
        return bool(self._packets)

    def leave(self) -> None:
        """No more will be taken."""
        with self._changed:
            self._left = True

    def _skip(self, count: int) -> None:
        """Leave out ``count`` packets; the next is decoded without them."""
        for _ in range(count):
            self._bytes -= self._packets.popleft().size
        self.skipped += count
        if self._packets:
            self._packets[0] = self._packets[0]._replace(anew=True)
