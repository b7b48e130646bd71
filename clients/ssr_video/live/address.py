"""Where a camera is: its address, and the form of it that may be shown."""

from __future__ import annotations

import re
import socket
from contextlib import suppress
from urllib.parse import SplitResult, urlsplit

from ssr_bundle.errors import SsrError

STREAMS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}
"""Schemes of network cameras, and the ports that they mean."""
EXPECTED = "rtsp://..., rtsps://..., http://..., https://..., webcam:0 or clip:FILE"

KNOCK = 1.0
"""Seconds that a connection to a camera's port may take, where only that is asked."""


def check_address(url: str, where: str) -> None:
    """Raise :class:`SsrError` unless a camera can be there. Nothing of ``url`` but its scheme is repeated: it
    may hold a password."""
    scheme, colon, rest = url.partition(":")
    scheme = scheme.lower()
    if not colon or scheme not in {*STREAMS, "webcam", "clip"}:
        named = f"scheme {scheme!r}" if colon and re.fullmatch(r"[a-z][a-z0-9+.-]*", scheme) else "none"
        raise SsrError(f"{where}: expected {EXPECTED}, got {named}")
    if scheme == "webcam" and not rest.isdecimal():
        raise SsrError(f"{where}: expected webcam: and the number of the device, such as webcam:0")
    if scheme == "clip" and not rest:
        raise SsrError(f"{where}: expected clip: and the path of a video file")
    if scheme in STREAMS and _parts(url) is None:
        raise SsrError(f"{where}: expected {scheme}://HOST[:PORT]/..., got no host, or no port in 1..65535")


def shown_address(url: str) -> str:
    """``url`` without what may be secret: no user, no password, no query."""
    parts = _parts(url)
    if parts is None:
        return url if url.startswith(("webcam:", "clip:")) else "an address"
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{host}{port}{parts.path}"


def reachable(url: str, seconds: float = KNOCK) -> bool:
    """Whether the camera's port takes a connection; True where no port is known to ask."""
    parts = _parts(url)
    if parts is None:
        return True
    with suppress(OSError), socket.create_connection(_place(parts), seconds):
        return True
    return False


def _parts(url: str) -> SplitResult | None:
    """The parts of a network camera's address; None of another, or where no host can be read from it."""
    try:
        parts = urlsplit(url)
        known = parts.scheme.lower() in STREAMS and parts.hostname and parts.port != 0
    except ValueError:  # a port that is no number, half an IPv6 address
        return None
    return parts if known else None


def _place(parts: SplitResult) -> tuple[str, int]:
    return parts.hostname or "", parts.port or STREAMS[parts.scheme.lower()]
