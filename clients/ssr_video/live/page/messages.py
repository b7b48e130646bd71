"""What goes over the page's WebSocket, both ways.

To the browser: text, JSON with ``state`` (a snapshot without its slow parts), and ``bands`` and ``tracks``
where they changed; binary, a picture. From the browser: ``{"visible": [names]}``, the cameras that are on
the screen, and ``{"drawn": {name: n}}``, how many more of a camera's pictures have arrived and were dealt
with.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import Any

from ssr_video.live.page.source import Picture

LONGEST = 64 * 1024
"""Bytes of a message from the browser."""


def picture_message(picture: Picture, now: float) -> bytes:
    """Length of the header (4 bytes, big-endian), the header as JSON, the JPEG. ``old`` in the header:
    seconds from the frame's arrival to ``now``, by the same clock as the picture's ``time``."""
    header = json.dumps(
        {
            "camera": picture.camera,
            "utc": picture.utc,
            "old": round(max(0.0, now - picture.time), 3),
            "people": picture.people,
        },
        separators=(",", ":"),
    ).encode()
    return struct.pack(">I", len(header)) + header + picture.jpeg


class Told:
    """What one browser was told of the slow parts of a snapshot, so that it is told only what changed."""

    def __init__(self) -> None:
        self._names: list[str] | None = None
        self._minutes: dict[str, tuple[int, ...]] = {}
        self._tracks: Any = None

    def message(self, snapshot: dict[str, Any]) -> str:
        """Text for the browser; it is taken as told from now on.

        ``bands``: ``whole`` where its ``minutes`` replace all that the browser has, else they are added.
        """
        message: dict[str, Any] = {
            "state": {k: v for k, v in snapshot.items() if k not in {"bands", "tracks"}}
        }
        names = list(snapshot["bands"]["names"])
        minutes = {minute["utc"]: tuple(minute["people"]) for minute in snapshot["bands"]["minutes"]}
        whole = names != self._names
        changed = [
            {"utc": utc, "people": people}
            for utc, people in minutes.items()
            if whole or self._minutes.get(utc) != people
        ]
        if whole or changed:
            message["bands"] = {"names": names, "whole": whole, "minutes": changed}
        self._names, self._minutes = names, minutes
        # Another list may be the same that grew: what was told is kept as text.
        tracks = json.dumps(snapshot["tracks"])
        if tracks != self._tracks:
            message["tracks"] = snapshot["tracks"]
            self._tracks = tracks
        return json.dumps(message, separators=(",", ":"))


@dataclass(frozen=True)
class Said:
    """A message of the browser: each part None where it says nothing of it."""

    visible: frozenset[str] | None
    drawn: dict[str, int] | None


def said(text: str) -> Said:
    """Raises ``ValueError``, which says what was expected, for anything that the page does not send."""
    try:
        message = json.loads(text)
        visible, drawn = message.get("visible"), message.get("drawn")
        if visible is not None:
            visible = frozenset(_name(name) for name in _is(list, visible))
        if drawn is not None:
            drawn = {_name(name): _count(number) for name, number in _is(dict, drawn).items()}
    except (ValueError, AttributeError, TypeError, RecursionError):
        raise ValueError('expected {"visible": [names]} or {"drawn": {name: count}}') from None
    return Said(visible, drawn)


def _is(kind: type, value: Any) -> Any:
    if not isinstance(value, kind):
        raise ValueError
    return value


def _name(value: Any) -> str:
    return str(_is(str, value))


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError
    return value
