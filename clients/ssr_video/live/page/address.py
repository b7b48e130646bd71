"""Where the page listens: ``HOST:PORT``, and whether anybody but this machine gets there."""

from __future__ import annotations

import errno
import ipaddress
import re
import socket

from ssr_bundle.errors import SsrError, UsageError

_BACKLOG = 128
_ADDRESS = re.compile(r"(?:\[(?P<six>[^\[\]]+)\]|(?P<host>[^\[\]:]+)):(?P<port>[0-9]{1,5})", re.ASCII)


def parse_address(text: str) -> tuple[str, int]:
    """Host and port of ``127.0.0.1:8080``, ``localhost:8080`` or ``[::1]:8080``; port 0 takes a free one.

    Raises :class:`UsageError` for anything else.
    """
    found = _ADDRESS.fullmatch(text.strip())
    if not found or not _six(found["six"]) or int(found["port"]) > 65535:
        raise UsageError(
            f"--page: expected HOST:PORT such as 127.0.0.1:8080 or [::1]:8080, port 0 to 65535, got {text!r}"
        )
    return found["six"] or found["host"], int(found["port"])


def _six(text: str | None) -> bool:
    try:
        return text is None or ipaddress.ip_address(text).version == 6
    except ValueError:
        return False


def shown(host: str, port: int) -> str:
    """``127.0.0.1:8080``, ``[::1]:8080``."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_loopback(host: str) -> bool:
    """Whether ``host``, a name or an IP address, is this machine for itself alone, by its text."""
    if host.rstrip(".").lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def host_of(header: str) -> str:
    """The host that a request's ``Host`` header names, without port and brackets; empty if none."""
    found = re.fullmatch(r"\[([^\[\]]*)\](?::[0-9]*)?|([^:\[\]]*)(?::[0-9]*)?", header.strip(), re.ASCII)
    return (found[1] or found[2] or "") if found else ""


def resolve(host: str, port: int) -> tuple[socket.AddressFamily, tuple[str, int]]:
    """The address that ``host`` means here, IPv4 first. Raises :class:`SsrError` if it means none."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise SsrError(f"page: {host} is no address of this machine: {_reason(error)}") from None
    family, _, _, _, place = min(found, key=lambda one: one[0] != socket.AF_INET)
    return family, (str(place[0]), int(place[1]))


def listen(family: socket.AddressFamily, place: tuple[str, int], where: str) -> socket.socket:
    """A socket that listens there. Raises :class:`SsrError` where ``where``, as the user calls it, is taken
    or not to be had."""
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(place)
        listening.listen(_BACKLOG)  # now, for two may bind what neither listens on
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            raise SsrError(f"page: {where} is in use; choose another with --page") from None
        raise SsrError(f"page: {where} cannot be bound: {_reason(error)}") from None
    listening.setblocking(False)
    return listening


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return text[:1].lower() + text[1:]
