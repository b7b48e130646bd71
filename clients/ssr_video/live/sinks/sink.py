"""What every sink is: takes events at once, and brings them on in its own time."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Protocol

from ssr_video.live.status import CameraStatus, SinkStatus

Event = dict[str, Any]
"""One event as JSON has it; docs/live.md lists the fields. ``id`` differs from event to event, and stays the
same where one is delivered twice."""


class Sink(Protocol):
    """Takes events from one thread; sinks derive from it. Nothing here blocks on a network, or raises what a
    network, a disk or a broker did: :attr:`status` says it."""

    def take(self, event: Event) -> None:
        """An event happened."""

    def cameras(self, names: Collection[str]) -> None:
        """These cameras are configured from now on. Most sinks keep nothing of a camera."""
        return

    def camera(self, status: CameraStatus) -> None:
        """A camera changed: its state, or who is to be seen. At most once a second for each camera. Its state
        is an event too, so that most sinks need no more."""
        return

    @property
    def status(self) -> SinkStatus: ...

    def close(self, seconds: float) -> None:
        """No more events come. Bring on what can be within ``seconds``; what cannot stays in the spool."""
