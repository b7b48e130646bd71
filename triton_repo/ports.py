"""Ports for a server: the ones asked for, checked; or free ones (port 0)."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
from typing import NamedTuple

from ssr_bundle.errors import SsrError


class PortError(SsrError):
    """A port that cannot be used; the message names it."""


class Ports(NamedTuple):
    http: int
    grpc: int
    metrics: int


def choose(host: str, http: int, grpc: int, metrics: int) -> Ports:
    """Check each port asked for and pick a free one for each 0; all three differ.

    All are held open together while choosing. Between letting go and the server's own bind somebody
    else may take one: the caller starts again with new ones when that happens.
    """
    asked = {"HTTP": http, "gRPC": grpc, "metrics": metrics}
    fixed = [p for p in asked.values() if p]
    for kind, port in asked.items():
        if not 0 <= port <= 65535:
            raise PortError(f"{kind} port {port}: expected 1 to 65535, or 0 for a free one")
        if port and fixed.count(port) > 1:
            raise PortError(f"port {port} is asked for twice; HTTP, gRPC and metrics need one each")
    held: list[socket.socket] = []
    try:
        for kind, port in sorted(asked.items(), key=lambda item: not item[1]):
            bound = _bind(host, port, kind)
            held.append(bound)
            asked[kind] = int(bound.getsockname()[1])
    finally:
        for bound in held:
            bound.close()
    return Ports(asked["HTTP"], asked["gRPC"], asked["metrics"])


def is_loopback(host: str) -> bool:
    """Whether an address to listen on, or what the name stands for, can be reached from this machine only."""
    try:
        found = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)
        return all(ipaddress.ip_address(str(entry[4][0]).partition("%")[0]).is_loopback for entry in found)
    except (OSError, ValueError):
        return False


def _bind(host: str, port: int, kind: str) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise PortError(f"host {host}: {error.strerror or error}") from None
    except UnicodeError:
        raise PortError(f"host {host}: no name that can be looked up") from None
    try:
        dual = family == socket.AF_INET6 and socket.has_dualstack_ipv6()
        return socket.create_server(address, family=family, backlog=1, dualstack_ipv6=dual)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortError(
                f"{kind} port {port} on {host} is in use; choose another with --{kind.lower()}-port, "
                "or 0 for a free one"
            ) from None
        raise PortError(f"{kind} port {port} on {host}: {os.strerror(error.errno or 0)}") from None
