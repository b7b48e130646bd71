"""A bundle's network as ONNX: ``ssr-train export``.

The graph takes the same bytes as our engine and gives the same answers, in any ONNX runtime. Needs ``onnx``
to build one and ``onnxruntime`` to replay it; no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ssr_train.export.names import PRECISIONS, ExportError, onnx_name

if TYPE_CHECKING:
    from ssr_train.export.network import build_onnx

__all__ = ["PRECISIONS", "ExportError", "build_onnx", "onnx_name"]

_HOME = {"build_onnx": "network"}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"ssr_train.export.{_HOME[name]}"), name)
    globals()[name] = value
    return value
