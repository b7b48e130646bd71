"""JSON that every parser reads alike; what parsers differ on is refused.

RFC 8259, and beyond it: no key twice in one object, numbers that a float64 holds, no half of a surrogate
pair, brackets nested at most 32 deep. The C++ core (``core/strict_json.h``) refuses the same.
"""

from __future__ import annotations

import json
import math
from typing import Any

from ssr_bundle.errors import SsrError
from ssr_bundle.shown import cut, shown

MAX_DEPTH = 32
"""How deep brackets may nest."""

_SURELY_HELD = 308
"""Digits of a whole number that float64 always holds; of two more and a sign, perhaps."""


class JsonError(SsrError):
    """Text that is not JSON, or JSON that two parsers could read differently."""


def loads(text: str | bytes) -> Any:
    """The value of ``text`` (bytes: UTF-8, no byte order mark). Raises :class:`JsonError`, nothing else."""
    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8")
        data = json.loads(
            text, object_pairs_hook=_object, parse_constant=_constant, parse_float=_float, parse_int=_int
        )
    except RecursionError:
        raise JsonError(f"nested more than {MAX_DEPTH} deep") from None
    except UnicodeDecodeError:
        raise JsonError("not UTF-8 text") from None
    except JsonError:
        raise
    except ValueError as error:
        raise JsonError(f"not JSON: {error}") from None
    if isinstance(data, dict | list) and _nests_deeper(data, MAX_DEPTH):
        raise JsonError(f"nested more than {MAX_DEPTH} deep")
    if "\\ud" in text or "\\uD" in text:
        try:
            json.dumps(data, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise JsonError("a value cannot be represented: half of a surrogate pair") from None
    return data


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise JsonError(f"the key {shown(twice)} stands twice in one object")
    return data


def _constant(text: str) -> float:
    raise JsonError(f"not JSON: {text} is not a number of JSON")


def _float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise _too_large(text)
    return value


def _int(text: str) -> int:
    if len(text) > _SURELY_HELD and (len(text) > _SURELY_HELD + 2 or math.isinf(float(text))):
        raise _too_large(text)
    return int(text)


def _too_large(text: str) -> JsonError:
    return JsonError(f"a value cannot be represented: {cut(text, 40)} is too large")


def _nests_deeper(data: dict[str, Any] | list[Any], levels: int) -> bool:
    """Whether a list or an object nests more than ``levels`` deep."""
    items = data.values() if isinstance(data, dict) else data
    inner = [item for item in items if isinstance(item, dict | list)]
    return levels == 0 or any(_nests_deeper(item, levels - 1) for item in inner)
