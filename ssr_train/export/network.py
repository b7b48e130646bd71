"""SSR-Net as an ONNX graph, written node by node from a bundle's parameters and contract (no torch).

Tensors are named as the layers in ``model.safetensors``: ``x.0.conv`` is what the first convolution of
stream X gives, ``x.0`` the block's map after ReLU and pool, ``stages.0.p`` the first stage's p.
"""

from __future__ import annotations

import math

import numpy as np
import onnx

from ssr_ops.quantized import blocks, pool_of, source
from ssr_train.bundle import Bundle
from ssr_train.contract import IMAGE_SIZE, Contract, Interval
from ssr_train.export.convolutions import Convolutions, convolutions
from ssr_train.export.graph import BYTE, FLOAT, Array, Graph, tensor
from ssr_train.export.names import ExportError, check_precision, metadata

_ENDS = (("Sub", "lower"), ("Add", "upper"))


def build_onnx(bundle: Bundle, precision: str = "fp32", *, stage_outputs: bool = False) -> onnx.ModelProto:
    """The network as ONNX: uint8 (n, 64, 64, 3) in the contract's colour order to float32 (n, 1), clipped.

    Tensor names, floor and clip range are the contract's. ``precision``: arithmetic of the convolutions
    (:data:`ssr_train.export.PRECISIONS`); from the pooled fusion maps on everything is float32.
    A calibrated contract adds ``<output>_interval`` (n, 2), ``stage_outputs`` adds ``p``, ``eta`` (n, sum of s_k) and ``delta`` (n, K). Raises
    :class:`ExportError` for an unknown precision, int8 without a quantization, weights beyond fp16, or an
    output that is named as another tensor.
    """
    check_precision(precision)
    contract = bundle.contract
    image, answer = contract.interface.input.name, contract.interface.output.name
    outputs = [tensor(answer, FLOAT, 1, doc=_answer_doc(contract))]
    graph = Graph()
    levels = _streams(graph, convolutions(bundle, precision), image, contract)
    parameters = bundle.parameters()
    for k in range(len(contract.architecture.stages)):
        _stage(graph, parameters, f"stages.{k}", *(levels[f"stages.{k}.fuse_{s}"] for s in "xs"))
    _answer(graph, contract)
    if contract.interval is not None:
        outputs.append(_interval(graph, contract.interval, contract))
    if stage_outputs:
        outputs += _stage_outputs(graph, contract)
    names = [image, *(output.name for output in outputs)]
    if len(set(names)) < len(names):
        raise ExportError(f"{bundle.path}: two tensors of one name in {', '.join(names)}")
    picture = tensor(image, BYTE, IMAGE_SIZE, IMAGE_SIZE, 3, doc=_image_doc(contract))
    doc = (
        f"SSR-Net (Yang et al., IJCAI 2018), bundle {contract.name}: {precision} convolutions, float32 from "
        "the pooled fusion maps on. Batch norm is folded into the convolutions."
    )
    return graph.finish("ssrnet", [picture], outputs, doc, metadata(contract, precision))


def _streams(graph: Graph, convolutions: Convolutions, image: str, contract: Contract) -> dict[str, str]:
    """The two streams (paper, Figure 1a) and the fusion convolutions; float32 maps by fusion layer."""
    architecture = contract.architecture
    maps = {"image": convolutions.picture(graph, image)}
    for name in blocks():
        v = convolutions.convolve(graph, name, maps[source(name, architecture)])
        pool = pool_of(name, architecture)
        v = _mean_of_relu(graph, name, v, pool) if name[0] == "x" else _tanh_of_largest(graph, name, v, pool)
        maps[name] = convolutions.store(graph, v)
    fused = {}
    for k in range(len(architecture.stages)):
        for name in (f"stages.{k}.fuse_x", f"stages.{k}.fuse_s"):
            v = convolutions.convolve(graph, name, maps[source(name, architecture)])
            reduce = _mean_of_relu if name.endswith("x") else _largest_of_relu
            fused[name] = convolutions.real(graph, reduce(graph, name, v, pool_of(name, architecture)))
    return fused


def _mean_of_relu(graph: Graph, name: str, v: str, pool: int) -> str:
    if pool == 1:
        return graph.node("Relu", [v], name)
    return _pool(graph, "AveragePool", graph.node("Relu", [v], f"{name}.relu"), name, pool)


def _largest_of_relu(graph: Graph, name: str, v: str, pool: int) -> str:
    if pool == 1:
        return graph.node("Relu", [v], name)
    return _pool(graph, "MaxPool", graph.node("Relu", [v], f"{name}.relu"), name, pool)


def _tanh_of_largest(graph: Graph, name: str, v: str, pool: int) -> str:
    """Pooled before tanh, which rises: the same values, and a quarter of the tanh work."""
    return graph.node("Tanh", [v if pool == 1 else _pool(graph, "MaxPool", v, f"{name}.pool", pool)], name)


def _pool(graph: Graph, operator: str, v: str, name: str, size: int) -> str:
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


def _answer(graph: Graph, contract: Contract) -> None:
    """Soft stagewise regression (paper, Equation 7), clipped: the contract's output (n, 1)."""
    a = contract.architecture
    one = graph.constant("one", np.float32(1))
    floor = graph.constant("denominator_floor", np.float32(a.denominator_floor))
    parts: list[str] = []
    widths, value = "", a.value_range
    for k, bins in enumerate(a.stages):
        stage = f"stages.{k}"
        delta = _scaled(graph, f"{stage}.delta", "lambda_width", a.lambda_width)
        width = graph.node("Add", [delta, one], f"{stage}.width")
        width = graph.node("Max", [width, floor], f"{stage}.width.floored")
        widths = graph.node("Mul", [widths, width], f"{stage}.widths") if widths else width
        eta = _scaled(graph, f"{stage}.eta", "lambda_index", a.lambda_index)
        index = graph.constant(f"{stage}.bin", np.arange(bins, dtype=np.float32))
        index = graph.node("Add", [eta, index], f"{stage}.index")
        terms = graph.node("Mul", [f"{stage}.p", index], f"{stage}.terms")
        axis = graph.constant("bin_axis", np.array([1], np.int64))
        total = graph.node("ReduceSum", [terms, axis], f"{stage}.total", keepdims=1)
        value /= bins
        unit = graph.constant(f"{stage}.unit", np.float32(value))
        total = graph.node(
            "Mul", [total, unit], f"{stage}.total.scaled", "V over the bins of this stage and before"
        )
        parts.append(graph.node("Div", [total, widths], f"{stage}.answer"))
    name = contract.interface.output.name
    answer = parts[0] if len(parts) == 1 else graph.node("Sum", parts, f"{name}.unclipped")
    low, high = contract.interface.output.clip
    limits = [graph.constant(f"{name}.{key}", np.float32(v)) for key, v in (("low", low), ("high", high))]
    graph.node("Clip", [answer, *limits], name)


def _interval(graph: Graph, interval: Interval, contract: Contract) -> onnx.ValueInfoProto:
    """Both ends of the calibrated interval: the half-width of the answer's band to each side, clipped."""
    answer = contract.interface.output.name
    name = f"{answer}_interval"
    half = graph.constant(f"{name}.first", np.float32(interval.half_widths[0]))
    if interval.edges:
        edges = graph.constant(f"{name}.edges", np.array(interval.edges, np.float32))
        rises = np.diff(np.array(interval.half_widths)).astype(np.float32)[:, None]
        passed = graph.node("GreaterOrEqual", [answer, edges], f"{name}.passed")
        passed = graph.node("Cast", [passed], f"{name}.passed.float", to=FLOAT)
        rise = graph.node("MatMul", [passed, graph.constant(f"{name}.rises", rises)], f"{name}.rise")
        half = graph.node("Add", [rise, half], f"{name}.half")
    ends = [graph.node(operator, [answer, half], f"{name}.{end}") for operator, end in _ENDS]
    both = graph.node("Concat", ends, f"{name}.unclipped", axis=1)
    graph.node("Clip", [both, f"{answer}.low", f"{answer}.high"], name)
    return tensor(name, FLOAT, 2)


def _scaled(graph: Graph, v: str, name: str, factor: float) -> str:
    return (
        v if factor == 1 else graph.node("Mul", [v, graph.constant(name, np.float32(factor))], f"{v}.scaled")
    )


def _stage_outputs(graph: Graph, contract: Contract) -> list[onnx.ValueInfoProto]:
    stages = contract.architecture.stages
    sizes = {"p": sum(stages), "eta": sum(stages), "delta": len(stages)}
    for name in sizes:
        graph.node("Concat", [f"stages.{k}.{name}" for k in range(len(stages))], name, axis=1)
    return [tensor(name, FLOAT, size) for name, size in sizes.items()]


def _image_doc(contract: Contract) -> str:
    return f"Face crops, {contract.interface.input.colour} order, 0..255."


def _answer_doc(contract: Contract) -> str:
    output = contract.interface.output
    return f"{output.name} in {output.unit}, clipped to {output.clip[0]:g}..{output.clip[1]:g}."
