"""SSR-Net as an ONNX graph, written node by node from a bundle's parameters and contract (no torch).

Tensors are named as the layers in ``model.safetensors``: ``x.0.conv`` is what the first convolution of
stream X gives, ``x.0`` the block's map after ReLU and pool, ``stages.0.p`` the first stage's p.
"""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import onnx

from ssr_bundle.bundle import Bundle
from ssr_bundle.contract import IMAGE_SIZE, Architecture
from ssr_ops.export.answer import interval, regression
from ssr_ops.export.convolutions import Convolutions, convolutions
from ssr_ops.export.graph import BYTE, FLOAT, Array, Graph, tensor
from ssr_ops.export.names import ExportError, check_precision, metadata
from ssr_ops.quantized import blocks, pool_of, source


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
    outputs = [regression(graph, contract.architecture, output)]
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
    maps = {"image": convolutions.picture(graph, image)}
    for name in blocks():
        v = convolutions.convolve(graph, name, maps[source(name, architecture)])
        activate = _mean_of_relu if name.startswith("x") else _tanh_of_largest
        maps[name] = convolutions.store(graph, activate(graph, v, pool_of(name, architecture), name))
    fused = {}
    for k in range(len(architecture.stages)):
        for name, activate in (
            (f"stages.{k}.fuse_x", _mean_of_relu),
            (f"stages.{k}.fuse_s", _largest_of_relu),
        ):
            v = convolutions.convolve(graph, name, maps[source(name, architecture)])
            v = activate(graph, v, pool_of(name, architecture), name)
            fused[name] = convolutions.real(graph, v)
    return fused


def _mean_of_relu(graph: Graph, v: str, pool: int, name: str) -> str:
    return _pool_of_relu(graph, "AveragePool", v, pool, name)


def _largest_of_relu(graph: Graph, v: str, pool: int, name: str) -> str:
    return _pool_of_relu(graph, "MaxPool", v, pool, name)


def _pool_of_relu(graph: Graph, operator: str, v: str, pool: int, name: str) -> str:
    if pool == 1:
        return graph.node("Relu", [v], name)
    return _pool(graph, operator, graph.node("Relu", [v], f"{name}.relu"), pool, name)


def _tanh_of_largest(graph: Graph, v: str, pool: int, name: str) -> str:
    """Pooled before tanh, which rises: the same values, and a quarter of the tanh work."""
    if pool > 1:
        v = _pool(graph, "MaxPool", v, pool, f"{name}.pool")
    return graph.node("Tanh", [v], name)


def _pool(graph: Graph, operator: str, v: str, size: int, name: str) -> str:
    return graph.node(operator, [v], name, kernel_shape=[size, size], strides=[size, size])


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
