"""The end of the graph: soft stagewise regression and what follows from the answer, all in float32."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

from ssr_bundle.contract import Architecture, Interval, Output, Recalibration
from ssr_ops.export.graph import FLOAT, Graph, tensor


def regression(
    graph: Graph, architecture: Architecture, output: Output, recalibration: Recalibration | None
) -> onnx.ValueInfoProto:
    """Equation 7 of the paper on ``stages.<k>.p``, ``.eta``, ``.delta``, clipped and recalibrated: the output
    (n, 1).

    Each stage's sum of p_i (i + lambda_index * eta_i), times V over the bins so far, over the product of
    the widths so far, max(1 + lambda_width * delta_k, denominator_floor): without the floor 0/0 is NaN.
    """
    one = graph.constant("one", np.float32(1))
    floor = graph.constant("denominator_floor", np.float32(architecture.denominator_floor))
    axis = graph.constant("bin_axis", np.array([1], np.int64))
    parts: list[str] = []
    widths, unit = "", architecture.value_range
    for k, bins in enumerate(architecture.stages):
        stage = f"stages.{k}"
        eta = _times(graph, f"{stage}.eta", "lambda_index", architecture.lambda_index)
        bin_ = graph.constant(f"{stage}.bin", np.arange(bins, dtype=np.float32))
        index = graph.node("Add", [eta, bin_], f"{stage}.index")
        terms = graph.node("Mul", [f"{stage}.p", index], f"{stage}.terms")
        total = graph.node("ReduceSum", [terms, axis], f"{stage}.sum", keepdims=1)
        unit /= bins
        total = _times(graph, total, f"{stage}.unit", unit)
        delta = _times(graph, f"{stage}.delta", "lambda_width", architecture.lambda_width)
        width = graph.node("Add", [delta, one], f"{stage}.width")
        width = graph.node("Max", [width, floor], f"{stage}.width.floored")
        widths = graph.node("Mul", [widths, width], f"{stage}.widths") if k else width
        parts.append(graph.node("Div", [total, widths], f"{stage}.part"))
    answer = graph.node("Sum", parts, f"{output.name}.unclipped") if len(parts) > 1 else parts[0]
    low, high = (
        graph.constant(f"{output.name}.{end}", np.float32(value))
        for end, value in zip(("low", "high"), output.clip, strict=True)
    )
    doc = f"{output.name} in {output.unit}, clipped to {output.clip[0]:g}..{output.clip[1]:g}"
    if recalibration is not None:
        clipped = graph.node("Clip", [answer, low, high], f"{output.name}.clipped")
        answer = _recalibrated(graph, recalibration, clipped, f"{output.name}.recalibrated")
        doc += ", recalibrated"
    graph.node("Clip", [answer, low, high], output.name)
    return tensor(output.name, FLOAT, 1, doc=f"{doc}.")


def _recalibrated(graph: Graph, points: Recalibration, value: str, name: str) -> str:
    """The first point, and of each piece its slope times as much as ``value`` (n, 1) covers of it."""

    def constant(what: str, numbers: Any) -> str:
        return graph.constant(f"{name}.{what}", np.asarray(numbers, np.float32))

    steps = np.diff(points.before)
    into = graph.node("Sub", [value, constant("before", points.before[:-1])], f"{name}.into")
    into = graph.node("Max", [into, constant("zero", 0)], f"{name}.reached")
    covered = graph.node("Min", [into, constant("steps", steps)], f"{name}.covered")
    slopes = constant("slopes", (np.diff(points.after) / steps)[:, None])
    rise = graph.node("MatMul", [covered, slopes], f"{name}.rise")
    return graph.node("Add", [rise, constant("first", points.after[0])], name)


def interval(graph: Graph, calibrated: Interval, output: Output) -> onnx.ValueInfoProto:
    """``<output>_interval`` (n, 2): the half-width of the answer's band to both sides, clipped.

    A band's half-width is the first one and every rise at an edge that the answer reaches.
    """
    name = f"{output.name}_interval"
    half = graph.constant(f"{name}.first", np.float32(calibrated.half_widths[0]))
    if calibrated.edges:
        edges = graph.constant(f"{name}.edges", np.array(calibrated.edges, np.float32))
        rises = graph.constant(f"{name}.rises", np.diff(calibrated.half_widths).astype(np.float32)[:, None])
        reached = graph.node("GreaterOrEqual", [output.name, edges], f"{name}.reached")
        reached = graph.node("Cast", [reached], f"{name}.reached.float", to=FLOAT)
        rise = graph.node("MatMul", [reached, rises], f"{name}.rise")
        half = graph.node("Add", [rise, half], f"{name}.half_width")
    lower = graph.node("Sub", [output.name, half], f"{name}.lower")
    upper = graph.node("Add", [output.name, half], f"{name}.upper")
    both = graph.node("Concat", [lower, upper], f"{name}.unclipped", axis=1)
    graph.node("Clip", [both, f"{output.name}.low", f"{output.name}.high"], name)
    doc = f"Calibrated to cover {calibrated.coverage:.0%}: lower and upper end, in {output.unit}."
    return tensor(name, FLOAT, 2, doc=doc)


def _times(graph: Graph, v: str, name: str, factor: float) -> str:
    """``v`` times the constant ``name``; ``v`` itself where that is 1."""
    if factor == 1:
        return v
    return graph.node("Mul", [v, graph.constant(name, np.float32(factor))], f"{v}.scaled")
