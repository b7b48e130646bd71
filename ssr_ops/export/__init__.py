"""A bundle's network as ONNX: ``ssr-train export``.

The graph takes the same bytes as our engine and gives the same answers, in any ONNX runtime. Needs the
extra ``onnx``: onnx to build one (:mod:`ssr_ops.export.network`), onnxruntime to replay it
(:mod:`ssr_ops.export.runtime`); no torch.
"""

from ssr_ops.export.names import PRECISIONS, ExportError, onnx_name

__all__ = ["PRECISIONS", "ExportError", "onnx_name"]
