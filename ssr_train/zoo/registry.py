"""Systems by name."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from typing import Any

from ssr_bundle.errors import SsrError
from ssr_train.zoo.methods import METHODS
from ssr_train.zoo.system import Description, System

_SYSTEMS = {method.name: method for method in METHODS}

NAMES = tuple(_SYSTEMS)
"""Every system, SSR-Net first."""


def build(name: str, **chosen: Any) -> System:
    """A new system, randomly initialised from torch's generator, on the CPU.

    ``chosen`` are options of :func:`options`, in JSON's types. Raises :class:`SsrError` for an unknown
    name, an unknown option, or a value that the system refuses.
    """
    known = check_options(name, chosen)
    try:
        system = _SYSTEMS[name].build(**chosen)
    except (TypeError, ValueError, RuntimeError, MemoryError) as error:
        raise SsrError(f"{name}: options {chosen}: {str(error).partition(chr(10))[0]}") from None
    system.name, system.options, system.description = name, {**known, **chosen}, _SYSTEMS[name]
    return system


def check_options(name: str, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """:func:`options` of the system, once those ``chosen`` are among them and of their kinds."""
    known = options(name)
    if foreign := sorted(set(chosen) - set(known)):
        raise SsrError(f"{name}: no option {foreign[0]}, expected one of: {', '.join(known)}")
    for option, value in chosen.items():
        _check_kind(name, option, value, known[option])
    return known


def options(name: str) -> dict[str, Any]:
    """The options of system ``name`` with their defaults."""
    parameters = inspect.signature(describe(name).build).parameters
    return {k: list(p.default) if isinstance(p.default, tuple) else p.default for k, p in parameters.items()}


def describe(name: str) -> Description:
    """What system ``name`` is, without building it."""
    if name not in _SYSTEMS:
        raise SsrError(f"system {name}: unknown, expected one of: {', '.join(NAMES)}")
    return _SYSTEMS[name]


def _check_kind(name: str, option: str, value: Any, default: Any) -> None:
    """Raise :class:`SsrError` unless ``value`` is of the kind of the option's default, and finite."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    fits, expected = {
        bool: (isinstance(value, bool), "true or false"),
        int: (number and isinstance(value, int), "a whole number"),
        float: (number and math.isfinite(value), "a finite number"),
        str: (isinstance(value, str), "a text"),
        list: (isinstance(value, list | tuple), "a list"),
    }[type(default)]
    if not fits:
        raise SsrError(f"{name}: option {option}: expected {expected}, got {value!r}")
