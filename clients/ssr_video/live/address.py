"""Where a camera is: its address, and the form of it that may be shown."""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from urllib.parse import SplitResult, quote, urlsplit

from ssr_bundle.errors import SsrError
from ssr_video.live.secrets import filled

STREAMS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}
"""Schemes of network cameras, and the ports that they mean."""
EXPECTED = "rtsp://..., rtsps://..., http://..., https://..., webcam:0 or clip:FILE"

KNOCK = 1.0
"""Seconds that a connection to a camera's port may take, where only that is asked."""

ENCODED = "#, /, ?, @ and : in a user or password are written as %23, %2F, %3F, %40 and %3A"


def filled_address(template: str, environ: Mapping[str, str]) -> str:
    """``template`` with every ``${NAME}`` filled in: percent-encoded, as a part of an address has to be,
    unless the address is that variable alone. Raises :class:`SsrError`."""
    alone = re.fullmatch(r"\$\{[^}]*\}", template)
    if alone:
        return filled(template, environ)
    return filled(template, {name: quote(value, safe="") for name, value in environ.items()})


def check_address(url: str, where: str) -> None:
    """Raise :class:`SsrError` unless a camera can be there. Nothing of ``url`` but its scheme is repeated: it
    may hold a password."""
    scheme, colon, rest = url.partition(":")
    scheme = scheme.lower()
    if not colon or scheme not in {*STREAMS, "webcam", "clip"}:
        named = f"scheme {scheme!r}" if colon and re.fullmatch(r"[a-z][a-z0-9+.-]*", scheme) else "none"
        raise SsrError(f"{where}: expected {EXPECTED}, got {named}")
    if scheme == "webcam" and not re.fullmatch(r"[0-9]{1,3}", rest):
        raise SsrError(f"{where}: expected webcam: and the number of the device, such as webcam:0")
    if scheme == "clip" and not rest:
        raise SsrError(f"{where}: expected clip: and the path of a video file")
    if scheme in STREAMS and (not url.isprintable() or " " in url):
        raise SsrError(f"{where}: expected an address without spaces and control characters")
    if scheme in STREAMS and _parts(url) is None:
        raise SsrError(
            f"{where}: expected {scheme}://HOST[:PORT]/..., got no host, or no port in 1..65535; {ENCODED}"
        )


def shown_address(template: str) -> str:
    """An address as it may be shown, with ``${NAME}`` not filled in: no user, no password, no query, and of
    a path what is before anything that may be a setting."""
    parts = _parts(template)
    if parts is None:
        return template if template.startswith(("webcam:", "clip:")) else "an address"
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    port = f":{parts.port}" if parts.port else ""
    path = re.split(r"[;&=]", parts.path)[0]
    return f"{parts.scheme}://{host}{port}{path}{'...' * (path != parts.path)}"


def unreachable(url: str, seconds: float = KNOCK) -> str | None:
    """Why the camera's port takes no connection; None where it does, or no port is known to ask."""
    parts = _parts(url)
    if parts is None:
        return None
    try:
        socket.create_connection(_place(parts), seconds).close()
    except socket.gaierror:
        return "the name of its host is not known"
    except (OSError, UnicodeError) as error:
        return f"nothing answers at its port ({(getattr(error, 'strerror', None) or 'no answer').lower()})"
    return None


def _parts(url: str) -> SplitResult | None:
    """The parts of a network camera's address; None of another, or where no host can be read from it."""
    try:
        parts = urlsplit(url)
        known = parts.scheme.lower() in STREAMS and parts.hostname and parts.port != 0
        (parts.hostname or "").encode("idna")
    except ValueError:  # a port that is no number, half an IPv6 address, a host that cannot be a name
        return None
    return parts if known else None


def _place(parts: SplitResult) -> tuple[str, int]:
    return parts.hostname or "", parts.port or STREAMS[parts.scheme.lower()]
