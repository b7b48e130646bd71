"""A bundle's network as ONNX: ``ssr-train export``.

The graph takes the same bytes as our engine and gives the same answers, in any ONNX runtime. Needs the
extra ``onnx``: onnx to build one, onnxruntime to replay it; no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ssr_ops.export.names import PRECISIONS, ExportError, onnx_name

if TYPE_CHECKING:
    from ssr_ops.export.network import build_onnx
    from ssr_ops.export.verify import OnnxReplay, check_onnx, open_onnx, replay_onnx, run_onnx
    from ssr_ops.export.write import Exported, export, export_file

__all__ = [
    "PRECISIONS",
    "ExportError",
    "Exported",
    "OnnxReplay",
    "build_onnx",
    "check_onnx",
    "export",
    "export_file",
    "onnx_name",
    "open_onnx",
    "replay_onnx",
    "run_onnx",
]

_HOME = {
    "Exported": "write",
    "OnnxReplay": "verify",
    "build_onnx": "network",
    "check_onnx": "verify",
    "export": "write",
    "export_file": "write",
    "open_onnx": "verify",
    "replay_onnx": "verify",
    "run_onnx": "verify",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"ssr_ops.export.{_HOME[name]}"), name)
    globals()[name] = value
    return value
