"""What the sinks that spool have in common."""

from __future__ import annotations

from ssr_video.live.sinks.delivery import Delivery
from ssr_video.live.sinks.sink import Event, Sink
from ssr_video.live.status import SinkStatus


class Spooled(Sink):
    """A sink whose events wait in a spool until they have arrived."""

    _delivery: Delivery

    def take(self, event: Event) -> None:
        self._delivery.put(event)

    @property
    def status(self) -> SinkStatus:
        return self._delivery.status

    def close(self, seconds: float) -> None:
        self._delivery.close(seconds)
