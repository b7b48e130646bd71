"""Who may change what a server serves: options that keep its APIs from strangers, and the key that lets in.

Triton knows no users. It can ask for a key, per API and protocol, in a header of each request. The APIs that
load and unload models, trace requests and change the log get a random key for each start. Memory shared with
clients gets one that is told to nobody: any client could read and overwrite another's regions, and end the
server by one that is not what it says.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ssr_bundle.errors import SsrError

KEY_HEADER = "ssr-serve-key"
"""HTTP header that carries the key; over gRPC ``triton-grpc-protocol-ssr-serve-key``."""

CONTROL = ("model-repository", "trace", "logging")
SHARED_MEMORY = "shared-memory"

_HTTP, _GRPC = "http-restricted-api", "grpc-restricted-protocol"
_NOBODY = "ssr-serve-off"


class AccessError(SsrError):
    """Restrictions given for the server that cannot be read."""


@dataclass(frozen=True)
class Access:
    """``arguments`` restrict the server, ``headers`` let this program in over HTTP, and ``key`` is the one
    drawn here for HTTP; None if the operator's own hold, or none does."""

    arguments: tuple[str, ...]
    headers: dict[str, str]
    key: str | None


def restrict(given: Sequence[str], *, shared_memory: bool = False, open_to_all: bool = False) -> Access:
    """Restrictions to add to the ``given`` options of tritonserver, some of which may restrict already.

    An API that the operator restricts keeps the operator's key: the server ends when it is told twice.
    ``shared_memory`` leaves that API alone, ``open_to_all`` all others. Raises :class:`AccessError`.
    """
    secret, nobody = secrets.token_hex(24), secrets.token_hex(24)
    arguments: list[str] = []
    key = None
    headers: dict[str, str] = {}
    for option in (_HTTP, _GRPC):
        taken: set[str] = set()
        for text in (value for named, _, value in _restrictions(given) if named == option):
            apis, name, value = _parse(option, text)
            taken.update(apis)
            if option == _HTTP:
                headers[name] = value
        free = [api for api in CONTROL if api not in taken]
        if free and not open_to_all:
            arguments.append(f"--{option}={','.join(free)}:{KEY_HEADER}={secret}")
            if option == _HTTP:
                headers[KEY_HEADER] = key = secret
        if not shared_memory and SHARED_MEMORY not in taken:
            arguments.append(f"--{option}={SHARED_MEMORY}:{_NOBODY}={nobody}")
    return Access(tuple(arguments), headers, key)


def holds_key(arguments: Sequence[str]) -> list[int]:
    """Positions of the arguments that hold a key."""
    return [position for _, position, _ in _restrictions(arguments)]


def _restrictions(arguments: Sequence[str]) -> Iterator[tuple[str, int, str]]:
    """(option, position of the argument with its value, value); a name may be cut, as the server allows."""
    for position, argument in enumerate(arguments):
        name, is_whole, value = argument.partition("=")
        for option in (_HTTP, _GRPC):
            if not name.startswith("--") or not f"--{option}".startswith(name):
                continue
            if is_whole:
                yield option, position, value
            else:
                yield option, position + 1, "".join(arguments[position + 1 : position + 2])


def _parse(option: str, text: str) -> tuple[list[str], str, str]:
    """APIs, key and value."""
    apis, _, pair = text.partition(":")
    name, is_whole, value = pair.partition("=")
    if not name or not is_whole:
        # The value may be a key: it is not shown.
        raise AccessError(f"--{option}: expected APIS:KEY=VALUE, such as model-repository:admin=SECRET")
    return [api.strip() for api in apis.split(",")], name, value
