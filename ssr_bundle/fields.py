"""The objects of contract.json, read field by field: each has its type, and a fault is named by its place."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from typing import Any

from ssr_bundle.errors import SsrError
from ssr_bundle.shown import cut, shown


class ContractError(SsrError):
    """A contract that is not one, or that this version of the project cannot honour."""


class Fields:
    """An object of a contract, which stands there at ``where``.

    A method gives what is at a key, of the type that it is named for, or raises :class:`ContractError`.
    """

    def __init__(self, data: Any, where: str) -> None:
        if not isinstance(data, dict):
            raise ContractError(f"{where}: expected an object, got {type(data).__name__}")
        self.data: dict[str, Any] = data
        self.where = where

    def __getitem__(self, key: str) -> Any:
        if key not in self.data:
            raise ContractError(f"{self.where}: {key!r} is missing")
        return self.data[key]

    def exactly(self, key: str, names: Sequence[str]) -> Fields:
        """The object ``key``, which must have ``names`` and no others; in their order."""
        found = Fields(self[key], f"{self.where}.{key}")
        ordered = {name: found[name] for name in names}
        if foreign := sorted(set(found.data) - set(names)):
            expected = ", ".join(names)
            raise ContractError(
                f"{found.where}.{cut(repr(foreign[0])[1:-1])}: is not this network's, expected {expected}"
            )
        return Fields(ordered, found.where)

    def list(self, key: str) -> list[Any]:
        value = self[key]
        if not isinstance(value, list):
            raise ContractError(f"{self.where}.{key}: expected a list, got {shown(value)}")
        return value

    def number(self, key: str) -> float:
        value = self[key]
        if not is_number(value):
            raise ContractError(f"{self.where}.{key}: expected a finite number, got {shown(value)}")
        return float(value)

    def numbers(self, key: str) -> tuple[float, ...]:
        if not all(map(is_number, values := self.list(key))):
            raise ContractError(f"{self.where}.{key}: expected finite numbers, got {shown(values)}")
        return tuple(map(float, values))

    def whole(self, key: str) -> int:
        return whole(self[key], f"{self.where}.{key}")

    def text(self, key: str) -> str:
        value = self[key]
        if not isinstance(value, str):
            raise ContractError(f"{self.where}.{key}: expected a string, got {shown(value)}")
        return value

    def choice(self, key: str, *choices: str) -> str:
        return check_choice(self[key], choices, f"{self.where}.{key}")

    def name(self) -> str:
        """The field ``name``, a tensor's."""
        value = self["name"]
        if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,63}", value):
            raise ContractError(f"{self.where}.name: {shown(value)} cannot name a tensor")
        return value


def check_choice(value: Any, choices: Sequence[str], where: str) -> str:
    """``value``, if it is one of ``choices``; else :class:`ContractError` naming ``where`` it stands."""
    if value not in choices:
        raise ContractError(f"{where}: {shown(value)} is unknown, expected one of {', '.join(choices)}")
    return str(value)


def whole(value: Any, where: str) -> int:
    """``value``, if it is a whole number; else :class:`ContractError` naming ``where`` it stands."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise ContractError(f"{where}: expected a whole number, got {shown(value)}")
    return value


def is_number(value: Any) -> bool:
    """Whether ``value`` is a number of JSON that a float holds; a bool is none."""
    try:
        return type(value) in (int, float) and math.isfinite(value)
    except OverflowError:
        return False


def same(value: Any, expected: Any) -> bool:
    """Whether ``value`` is ``expected`` to the type: neither true nor 1.0 is 1."""
    return json.dumps(value, sort_keys=True) == json.dumps(expected, sort_keys=True)
