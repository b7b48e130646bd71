"""OpenVINO: fp32, bf16 by its precision hint, int8 by NNCF's post-training quantization."""

from __future__ import annotations

import contextlib
import io
import logging
import os
from collections import Counter
from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np

from peers.contestant import Answers, Call, Contestant, Images, Material, Session, as_planes

TITLE = "OpenVINO"
PRECISIONS = ("fp32", "bf16", "int8")
LAYOUTS = ("planes", "interleaved")


def contestants(material: Material, precision: str) -> Sequence[Contestant]:
    import openvino as ov

    from peers.network import ORDERS, onnx_file

    core = ov.Core()
    models = {order: core.read_model(onnx_file(material, order)) for order in ORDERS}
    hints = {"fp32": ("f32",), "bf16": ("bf16",), "int8": ("f32", "bf16")}[precision]
    if precision == "int8":
        models = {order: quantized(material, model) for order, model in models.items()}
    if precision != "fp32" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        if precision == "bf16":
            raise RuntimeError("OpenVINO computes no bf16 on this CPU")
        hints = ("f32",)

    def compiled(order: str, layout: str, hint: str, chunk: int, threads: int) -> Any:
        model = models[order].clone()
        if layout == "interleaved":
            steps = ov.preprocess.PrePostProcessor(model)
            steps.input().tensor().set_element_type(ov.Type.f32).set_layout(ov.Layout("NHWC"))
            steps.input().model().set_layout(ov.Layout("NCHW"))
            model = steps.build()
        shape = [chunk, 64, 64, 3] if layout == "interleaved" else [chunk, 3, 64, 64]
        model.reshape({"image": shape})
        return core.compile_model(
            model,
            "CPU",
            {
                "PERFORMANCE_HINT": "LATENCY",
                "INFERENCE_NUM_THREADS": threads,
                "NUM_STREAMS": 1,
                "ENABLE_CPU_PINNING": False,
                "INFERENCE_PRECISION_HINT": hint,
            },
        )

    def compile(variant: str, chunk: int, threads: int) -> Session:
        order, layout, hint = variant.split(", ")
        network = compiled(order, layout, hint, chunk, threads)
        request = network.create_infer_request()

        def session(images: Images) -> Call:
            given = images.astype(np.float32) if layout == "interleaved" else as_planes(images)
            tensor = ov.Tensor(given, shared_memory=True)

            def run() -> Answers:
                request.set_input_tensor(tensor)
                request.infer()
                answers: Answers = request.get_output_tensor().data[:, 0].copy()
                return answers

            return run

        return session

    variants = tuple(", ".join(parts) for parts in product(models, LAYOUTS, hints))
    found = Contestant(f"{TITLE} {precision}", "openvino", precision, compile, variants=variants)
    found.kernels = lambda plan: kernels(compiled(*plan.variant.split(", "), plan.chunk, 1))
    return [found]


def kernels(network: Any) -> str:
    """The kernels of the convolutions, as the compiled graph names them."""
    names: Counter[str] = Counter()
    for operation in network.get_runtime_model().get_ordered_ops():
        facts = {key: str(getattr(value, "value", value)) for key, value in operation.get_rt_info().items()}
        if facts.get("layerType") == "Convolution":
            names[facts.get("primitiveType", "?")] += 1
    return ", ".join(f"{count} x {name}" for name, count in names.most_common())


def quantized(material: Material, model: Any) -> Any:
    """The convolutions in int8; the head's tail in float, as in our engine: in int8 it costs years."""
    os.environ.setdefault("NNCF_CI", "1")  # it sends no telemetry then
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        import nncf

        nncf.set_log_level(logging.ERROR)
        return nncf.quantize(
            model,
            nncf.Dataset([material.planes[i : i + 1] for i in range(len(material.planes))]),
            subset_size=len(material.planes),
            preset=nncf.QuantizationPreset.PERFORMANCE,
            ignored_scope=nncf.IgnoredScope(names=tail(model)),
        )


def tail(model: Any) -> list[str]:
    """Names of what comes after the 1x1 convolutions of the stages."""
    todo = [
        operation
        for operation in model.get_ordered_ops()
        if operation.get_type_name() == "Convolution" and "/stages." in operation.get_friendly_name()
    ]
    if not todo:
        raise RuntimeError("the stages' convolutions are not where the export used to put them")
    found: dict[str, None] = {}
    while todo:
        for output in todo.pop().outputs():
            for target in output.get_target_inputs():
                node = target.get_node()
                if node.get_type_name() != "Result" and node.get_friendly_name() not in found:
                    found[node.get_friendly_name()] = None
                    todo.append(node)
    return list(found)
