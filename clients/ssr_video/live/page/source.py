"""What the page is made from: the words between the watch and its page."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True)
class Picture:
    """A camera's picture, faces in it already blurred unless they are to be shown.

    ``time``: monotonic seconds at the frame's arrival. ``utc``: the same moment as text. ``people``: who is
    on this very picture, as :meth:`ssr_video.live.status.Present.to_json` has them.
    """

    camera: str
    jpeg: bytes
    time: float
    utc: str
    people: list[dict[str, Any]] = field(default_factory=list)


class Source(Protocol):
    """What the watch knows. Called from the page's threads, at any time between its start and its end."""

    def snapshot(self) -> dict[str, Any]:
        """The state of everything, for JSON.

        ``schema``, ``utc``, ``version``; ``cameras`` and ``sinks`` as
        :mod:`ssr_video.live.status` has them; ``bands``: ``names`` of the age bands, and ``minutes``, each
        ``{"utc": ..., "people": [n, ...]}`` for the tracks that ended in it (24 hours at most, empty minutes
        left out); ``tracks``: events of recently ended tracks, newest first, 50 at most.
        """

    def wanted(self, cameras: frozenset[str]) -> None:
        """Somebody looks at the pictures of these cameras now, and of no others. Browsers name them: there
        may be names of no camera among them."""

    def pictures(self, after: int) -> tuple[int, list[Picture]]:
        """Of each camera its newest picture, where that is newer than the number ``after``; and the number
        of the newest. Returns at once."""

    def metrics(self) -> tuple[bytes, str]:
        """Body and content type of ``/metrics``."""
