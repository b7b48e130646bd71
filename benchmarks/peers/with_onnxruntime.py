"""ONNX Runtime: fp32 as exported, int8 by its own static quantization (QDQ, per channel)."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from peers.contestant import Answers, Call, Contestant, Images, Material, Session, as_planes

TITLE = "ONNX Runtime"
PRECISIONS = ("fp32", "int8")


def contestants(material: Material, precision: str) -> Sequence[Contestant]:
    import onnxruntime

    from peers.network import ORDERS, onnx_file

    files = {order: onnx_file(material, order) for order in ORDERS}
    if precision == "int8":
        files = {order: quantized(material, path) for order, path in files.items()}

    def compile(variant: str, chunk: int, threads: int) -> Session:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.add_free_dimension_override_by_name("n", chunk)
        # Its threads spin while it works, and leave the core to the next contestant when it has answered.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        network = onnxruntime.InferenceSession(
            files[variant].read_bytes(), options, providers=["CPUExecutionProvider"]
        )

        def session(images: Images) -> Call:
            given = {"image": as_planes(images)}

            def run() -> Answers:
                answers: Answers = network.run(None, given)[0][:, 0]
                return answers

            return run

        return session

    return [Contestant(f"{TITLE} {precision}", "onnxruntime", precision, compile, variants=tuple(files))]


def quantized(material: Material, path: Path) -> Path:
    """The convolutions in int8; the head's tail in float, as in our engine: in int8 it costs years."""
    from onnxruntime import quantization

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            count = max(1, len(material.planes) // 10)
            self.batches: Iterator[np.ndarray] = iter(np.array_split(material.planes, count))

        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(self.batches, None)
            return None if batch is None else {"image": batch}

    target = path.with_name(path.stem + "-int8.onnx")
    logging.disable(logging.WARNING)
    try:
        quantization.quantize_static(
            str(path),
            str(target),
            Reader(),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )
    finally:
        logging.disable(logging.NOTSET)
    return target
