"""The tables of ``cameras.toml``: the keys that each may have, and values of the type and range they need."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from ssr_bundle.errors import SsrError
from ssr_bundle.fields import is_number
from ssr_bundle.shown import shown
from ssr_video.live.secrets import filled


def known(table: Mapping[str, Any], names: Collection[str], where: str) -> None:
    """Raise :class:`SsrError` for a key of ``table`` that is none of ``names``, with the one that was meant.

    ``where`` the table stands, as ``cameras.toml: [camera.front]``.
    """
    for key in table:
        if key not in names:
            meant = get_close_matches(key, names, n=1, cutoff=0.5) or sorted(names)
            one_of = "one of " if len(meant) > 1 else ""
            raise SsrError(f"{where}: unknown key {shown(key)}, expected {one_of}{', '.join(meant)}")


class Keys:
    """The table at ``where``, which has no keys but ``names``.

    A method gives the value of a key, or the ``default``; without a default the key is needed. All raise
    :class:`SsrError` that names the place, the key and what is expected.
    """

    def __init__(self, table: Any, names: Collection[str], where: str) -> None:
        if not isinstance(table, Mapping):
            raise SsrError(f"{where}: expected a table, got {shown(table)}")
        known(table, names, where)
        self.table: Mapping[str, Any] = table
        self.where = where

    def wrong(self, key: str, what: str) -> SsrError:
        """The error that says ``what`` is wrong with ``key``."""
        return SsrError(f"{self.where}: {key}: {what}")

    def get(self, key: str, default: Any = None) -> Any:
        """The value as TOML has it."""
        if key in self.table:
            return self.table[key]
        if default is None:
            raise SsrError(f"{self.where}: {key!r} is missing")
        return default

    def text(self, key: str, default: str | None = None) -> str:
        return self._text(key, self.get(key, default))

    def path(self, key: str, default: Path | None = None) -> Path:
        value = self._text(key, self.get(key, default and str(default)))
        if not value or "\0" in value:
            raise self.wrong(key, f"expected a path, got {shown(value)}")
        return Path(value)

    def choice(self, key: str, choices: Collection[str], default: str | None = None) -> str:
        value = self.text(key, default)
        if value not in choices:
            raise self.wrong(key, f"{shown(value)} is unknown, expected one of {', '.join(choices)}")
        return value

    def flag(self, key: str, default: bool | None = None) -> bool:
        value = self.get(key, default)
        if not isinstance(value, bool):
            raise self.wrong(key, f"expected true or false, got {shown(value)}")
        return value

    def whole(self, key: str, default: int | None = None, *, least: int, most: int | None = None) -> int:
        value = self.get(key, default)
        if not isinstance(value, int) or not _within(value, least, most):
            raise self.wrong(key, f"expected a whole number {_range(least, most)}, got {shown(value)}")
        return value

    def number(
        self, key: str, default: float | None = None, *, least: float, most: float | None = None
    ) -> float:
        value = self.get(key, default)
        if not _within(value, least, most):
            raise self.wrong(key, f"expected a number {_range(least, most)}, got {shown(value)}")
        return float(value)

    def secret(self, key: str, environ: Mapping[str, str] = os.environ) -> str:
        """The text with ``${NAME}`` filled from ``environ``; no error shows it."""
        value = self.get(key)
        if not isinstance(value, str):
            raise self.wrong(key, f"expected a string, got {type(value).__name__}")
        try:
            return filled(value, environ)
        except SsrError as error:
            raise self.wrong(key, str(error)) from None

    def _text(self, key: str, value: Any) -> str:
        if not isinstance(value, str):
            raise self.wrong(key, f"expected a string, got {shown(value)}")
        return value


def _within(value: Any, least: float, most: float | None) -> bool:
    return is_number(value) and least <= value and (most is None or value <= most)


def _range(least: float, most: float | None) -> str:
    return f"of at least {least:,}" if most is None else f"from {least:,} to {most:,}"
