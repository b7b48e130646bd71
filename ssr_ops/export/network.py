"""SSR-Net as an ONNX graph, written node by node from a bundle's parameters and contract (no torch).

Tensors are named as the layers in ``model.safetensors``: ``x.0.conv`` is what the first convolution of
stream X gives, ``x.0`` the block's map after ReLU and pool, ``stages.0.p`` the first stage's p.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import onnx

from ssr_bundle.bundle import Bundle
from ssr_bundle.contract import IMAGE_SIZE, Architecture
from ssr_ops.export.answer import interval, regression
from ssr_ops.export.convolutions import Convolutions, convolutions
from ssr_ops.export.graph import BYTE, FLOAT, Array, Graph, tensor
from ssr_ops.export.names import ExportError, check_precision, metadata
from ssr_ops.quantized import blocks, pool_of, source, stream_of


def build_onnx(bundle: Bundle, precision: str = "fp32", *, stage_outputs: bool = False) -> onnx.ModelProto:
    """The network as ONNX: uint8 (n, 64, 64, 3) in the contract's colour order to float32 (n, 1), clipped.

    Tensor names, floor and clip range are the contract's. ``precision``: arithmetic of the convolutions
    (:data:`ssr_ops.export.PRECISIONS`); from the pooled fusion maps on everything is float32. A calibrated
    contract adds ``<output>_interval`` (n, 2), ``stage_outputs`` adds ``p``, ``eta`` (n, sum of s_k) and
    ``delta`` (n, K). Raises :class:`ExportError` for an unknown precision, int8 without a quantization,
    weights beyond fp16, or an output that is named as another tensor.
    """
    check_precision(precision)
    contract = bundle.contract
    image, output = contract.interface.input, contract.interface.output
    graph = Graph()
    fused = _streams(graph, convolutions(bundle, precision), image.name, contract.architecture)
    parameters = bundle.parameters()
    for k in range(len(contract.architecture.stages)):
        _stage(graph, parameters, f"stages.{k}", *(fused[f"stages.{k}.fuse_{stream}"] for stream in "xs"))
    outputs = [regression(graph, contract.architecture, output, contract.recalibration)]
    if contract.interval is not None:
        outputs.append(interval(graph, contract.interval, output))
    if stage_outputs:
        outputs += _stage_outputs(graph, contract.architecture)
    names = Counter([image.name, *graph.names()])
    if twice := [name for name, count in names.items() if count > 1]:
        raise ExportError(f"{bundle.path}: two tensors of the graph would be called {twice[0]!r}")
    crops = f"Face crops, {image.colour} order, 0..255."
    return graph.finish(
        "ssrnet",
        [tensor(image.name, BYTE, IMAGE_SIZE, IMAGE_SIZE, 3, doc=crops)],
        outputs,
        f"SSR-Net (Yang et al., IJCAI 2018), bundle {contract.name}: {precision} convolutions, float32 from "
        "the pooled fusion maps on. Batch norm is folded into the convolutions.",
        metadata(contract, precision),
    )


def _streams(
    graph: Graph, convolutions: Convolutions, image: str, architecture: Architecture
) -> dict[str, str]:
    """The two streams (paper, Figure 1a) and the fusion convolutions; float32 maps by fusion layer."""
    maps, fused = {"image": convolutions.picture(graph, image)}, {}

    def pooled(name: str) -> str:
        v = convolutions.convolve(graph, name, maps[source(name, architecture)])
        return _activate(graph, v, name, pool_of(name, architecture))

    for name in blocks():
        maps[name] = convolutions.store(graph, pooled(name))
    for k in range(len(architecture.stages)):
        for name in (f"stages.{k}.fuse_x", f"stages.{k}.fuse_s"):
            fused[name] = convolutions.real(graph, pooled(name))
    return fused


def _activate(graph: Graph, v: str, name: str, pool: int) -> str:
    """What follows convolution ``name``: ReLU and the mean of windows for X and its fusion, the largest for
    S's fusion; in S the largest, then tanh, which rises: the same values, and a quarter of the tanh work."""
    activation = "Tanh" if name.startswith("s.") else "Relu"
    if pool == 1:
        return graph.node(activation, [v], name)
    windows: dict[str, Any] = {"kernel_shape": [pool, pool], "strides": [pool, pool]}
    if activation == "Tanh":
        return graph.node("Tanh", [graph.node("MaxPool", [v], f"{name}.pool", **windows)], name)
    pooling = "AveragePool" if stream_of(name) == "x" else "MaxPool"
    return graph.node(pooling, [graph.node("Relu", [v], f"{name}.relu")], name, **windows)


def _stage(graph: Graph, parameters: dict[str, Array], prefix: str, x: str, s: str) -> None:
    """The prediction block (paper, Figure 1b): ``<prefix>.p``, ``.eta`` (n, s_k) and ``.delta`` (n, 1)."""

    def dense(name: str, v: str, activation: str) -> str:
        layer = f"{prefix}.{name}"
        weights = parameters[f"{layer}.weight"]
        if name in ("delta", "bins_x", "bins_s"):
            weights = _planes_first(weights, parameters[f"{prefix}.fuse_x.weight"].shape[0])
        stored = [
            graph.constant(f"{layer}.weight", weights),
            graph.constant(f"{layer}.bias", parameters[f"{layer}.bias"]),
        ]
        sums = graph.node("Gemm", [v, *stored], f"{layer}.sum", transB=1)
        return graph.node(activation, [sums], layer)

    x = graph.node("Flatten", [x], f"{prefix}.x", axis=1)
    s = graph.node("Flatten", [s], f"{prefix}.s", axis=1)
    dense("delta", graph.node("Mul", [s, x], f"{prefix}.product"), "Tanh")
    bins = [dense("bins_s", s, "Relu"), dense("bins_x", x, "Relu")]
    mixed = dense("mix", graph.node("Mul", bins, f"{prefix}.bins"), "Relu")
    dense("p", mixed, "Relu")
    dense("eta", mixed, "Tanh")


def _planes_first(weights: Array, channels: int) -> Array:
    """Columns over features flattened as (H, W, C), reordered for features flattened as (C, H, W)."""
    side = math.isqrt(weights.shape[1] // channels)
    cube = weights.reshape(len(weights), side, side, channels)
    return np.ascontiguousarray(cube.transpose(0, 3, 1, 2)).reshape(weights.shape)


def _stage_outputs(graph: Graph, architecture: Architecture) -> list[onnx.ValueInfoProto]:
    stages = architecture.stages
    sizes = {"p": sum(stages), "eta": sum(stages), "delta": len(stages)}
    for name in sizes:
        graph.node("Concat", [f"stages.{k}.{name}" for k in range(len(stages))], name, axis=1)
    return [tensor(name, FLOAT, size) for name, size in sizes.items()]
