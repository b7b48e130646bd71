"""What ``cameras.toml`` says of the sinks: ``[sink.lines]``, ``webhook``, ``mqtt`` and ``parquet``."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from ssr_video.live.keys import Keys

SPOOL_BYTES = 64_000_000
"""Of the JSON of events that wait: about 160,000 of them."""


@dataclass(frozen=True)
class LinesSettings:
    """``path``: the file. ``most_bytes``: of one file. ``keep``: renamed files that stay."""

    path: Path
    most_bytes: int = 100_000_000
    keep: int = 10


@dataclass(frozen=True)
class WebhookSettings:
    """``url``: where events are posted; a secret, as many services put a token into it. ``place``: its host,
    for messages. ``headers``: names and values that are sent along. ``timeout``: seconds for each step of a
    request. ``ca``: a file of certificates to trust, instead of the system's."""

    url: str = field(repr=False)
    place: str
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    timeout: float = 10.0
    ca: Path | None = None
    spool_bytes: int = SPOOL_BYTES


@dataclass(frozen=True)
class MqttSettings:
    """``tls``: the address is ``mqtts://``. ``prefix``: of all topics. ``discovery``: Home Assistant's
    prefix, or an empty string for none. ``version``: of MQTT, ``5`` or ``3.1.1``. ``ca``: as of the
    webhook."""

    host: str
    port: int
    tls: bool = False
    user: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    prefix: str = "ssr"
    discovery: str = "homeassistant"
    version: str = "5"
    ca: Path | None = None
    spool_bytes: int = SPOOL_BYTES


@dataclass(frozen=True)
class ParquetSettings:
    """``folder``: where files appear, after ``rows`` rows or ``every`` seconds, whatever comes first."""

    folder: Path
    every: float = 600.0
    rows: int = 10_000
    spool_bytes: int = SPOOL_BYTES


SinkSettings = LinesSettings | WebhookSettings | MqttSettings | ParquetSettings


def sinks_of(
    table: Mapping[str, Any], where: str, environ: Mapping[str, str] = os.environ
) -> list[SinkSettings]:
    """The sinks of the table ``sink`` of the configuration ``where``, in its order.

    ``environ`` fills ``${NAME}`` in ``url``, ``headers``, ``user`` and ``password``. Raises
    :class:`ssr_bundle.errors.SsrError` that names the table and the key.
    """
    kinds: dict[str, Callable[[Any, str], SinkSettings]] = {
        "lines": _lines,
        "webhook": partial(_webhook, environ=environ),
        "mqtt": partial(_mqtt, environ=environ),
        "parquet": _parquet,
    }
    table = Keys(table, kinds, f"{where}: [sink]").table
    return [kinds[name](content, f"{where}: [sink.{name}]") for name, content in table.items()]


def _lines(table: Any, where: str) -> LinesSettings:
    keys = Keys(table, ("path", "most_bytes", "keep"), where)
    return LinesSettings(
        keys.path("path"),
        keys.whole("most_bytes", LinesSettings.most_bytes, least=1_000),
        keys.whole("keep", LinesSettings.keep, least=1),
    )


def _webhook(table: Any, where: str, environ: Mapping[str, str]) -> WebhookSettings:
    keys = Keys(table, ("url", "headers", "timeout", "ca", "spool_bytes"), where)
    url = keys.secret("url", environ)
    parts = _address(keys, url, ("https", "http"))
    return WebhookSettings(
        url,
        f"{parts.scheme}://{parts.netloc}",
        _headers(keys, environ) if "headers" in keys.table else (),
        keys.number("timeout", WebhookSettings.timeout, least=0.1, most=300),
        _ca(keys),
        _spool_bytes(keys),
    )


def _mqtt(table: Any, where: str, environ: Mapping[str, str]) -> MqttSettings:
    names = ("url", "user", "password", "prefix", "discovery", "version", "ca", "spool_bytes")
    keys = Keys(table, names, where)
    parts = _address(keys, keys.secret("url", environ), ("mqtt", "mqtts"))
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise keys.wrong("url", "expected a host and a port alone, as mqtt://host:1883")
    user, password = (
        keys.secret(key, environ) if key in keys.table else None for key in ("user", "password")
    )
    if password is not None and user is None:
        raise keys.wrong("password", "is of no use alone, expected user too")
    tls = parts.scheme == "mqtts"
    return MqttSettings(
        parts.hostname or "",
        parts.port or (8883 if tls else 1883),
        tls,
        user,
        password,
        _topic(keys, "prefix", MqttSettings.prefix),
        _topic(keys, "discovery", MqttSettings.discovery, empty=True),
        keys.choice("version", ("5", "3.1.1"), MqttSettings.version),
        _ca(keys),
        _spool_bytes(keys),
    )


def _parquet(table: Any, where: str) -> ParquetSettings:
    keys = Keys(table, ("folder", "every", "rows", "spool_bytes"), where)
    return ParquetSettings(
        keys.path("folder"),
        keys.number("every", ParquetSettings.every, least=1),
        keys.whole("rows", ParquetSettings.rows, least=1, most=1_000_000),
        _spool_bytes(keys),
    )


def _address(keys: Keys, url: str, schemes: tuple[str, ...]) -> SplitResult:
    """The parts of ``url``, which no error shows."""
    expected = f"expected an address that begins with {' or '.join(f'{scheme}://' for scheme in schemes)}"
    try:
        parts = urlsplit(url)
        whole = parts.scheme in schemes and parts.hostname and parts.port != 0
    except ValueError:
        whole = False
    if not whole or not url.isprintable() or " " in url:
        raise keys.wrong("url", expected)
    if "@" in parts.netloc:
        other = "headers" if "https" in schemes else "user and password"
        raise keys.wrong("url", f"holds a user or a password, expected them in {other}")
    return parts


def _headers(keys: Keys, environ: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    table = keys.get("headers")
    where = f"{keys.where[:-1]}.headers]"
    headers = Keys(table, table if isinstance(table, Mapping) else (), where)
    found = []
    for name in headers.table:
        value = headers.secret(name, environ)
        if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", name):
            raise headers.wrong(repr(name), "cannot be the name of a header")
        if name.lower() in ("content-type", "content-length", "host", "idempotency-key", "transfer-encoding"):
            raise headers.wrong(name, "is set by ssr-video, expected other headers")
        if not value.isascii() or not value.isprintable():
            raise headers.wrong(name, "expected printable ASCII characters")
        found.append((name, value))
    return tuple(found)


def _topic(keys: Keys, key: str, default: str, empty: bool = False) -> str:
    value = keys.text(key, default)
    if not value and empty:
        return value
    levels = value.split("/")
    if not value.isprintable() or not all(levels) or value.startswith("$") or set(value) & set("+#"):
        raise keys.wrong(key, f"expected the beginning of a topic, as {default!r}, without + and #")
    return value


def _ca(keys: Keys) -> Path | None:
    return keys.path("ca") if "ca" in keys.table else None


def _spool_bytes(keys: Keys) -> int:
    return keys.whole("spool_bytes", SPOOL_BYTES, least=10_000)
