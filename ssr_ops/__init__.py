"""The native core's Python face: the fused operator, the engine, and their readable reference.

Names are resolved on first use, so that ``ssr_ops.reference`` needs no native module.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ssr_ops.engine import Engine, Stages
    from ssr_ops.op import implementations, soft_stagewise_regression

__all__ = ["Engine", "Stages", "implementations", "soft_stagewise_regression"]

_HOME = {
    "Engine": "engine",
    "Stages": "engine",
    "implementations": "op",
    "soft_stagewise_regression": "op",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"ssr_ops.{_HOME[name]}"), name)
    globals()[name] = value
    return value
