"""TensorFlow Lite (LiteRT) with its XNNPACK delegate: converted from PyTorch, int8 by its own quantizer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from peers.contestant import Answers, Call, Contestant, Images, Material, Session
from peers.quiet import quiet

TITLE = "TFLite/XNNPACK"
PRECISIONS = ("fp32", "int8")
INTEGER = {
    "all but the tail": ("CONV_2D", "TANH", "MAX_POOL_2D", "AVERAGE_POOL_2D"),
    "convolutions": ("CONV_2D",),
}
"""What is computed in integers. With everything, LiteRT 2.3.0 dies on this network ("double free")."""
CHUNKS = (1, 8)
"""A conversion takes seconds, and larger batches gain nothing: the runtime works image by image."""


def contestants(material: Material, precision: str) -> Sequence[Contestant]:
    from ai_edge_litert.interpreter import Interpreter

    from peers.network import ORDERS

    convert = converter(material)

    @cache
    def file(variant: str, chunk: int) -> Path:
        order, _, what = variant.partition(", ")
        source = convert(order, chunk)
        return quantized(material, source, chunk, what) if what else source

    def open_network(variant: str, chunk: int, threads: int) -> Any:
        with quiet():
            network = Interpreter(str(file(variant, chunk)), num_threads=threads)
            network.allocate_tensors()
        return network

    def compile(variant: str, chunk: int, threads: int) -> Session:
        network = open_network(variant, chunk, threads)
        source, target = network.get_input_details()[0]["index"], network.get_output_details()[0]["index"]

        def session(images: Images) -> Call:
            given = images.astype(np.float32)

            def run() -> Answers:
                network.set_tensor(source, given)
                network.invoke()
                answers: Answers = network.get_tensor(target)[:, 0]
                return answers

            return run

        return session

    best = ORDERS[1]  # fewer operators, never slower; a conversion takes seconds
    variants: tuple[str, ...] = (best,)
    if precision == "int8":
        variants = tuple(f"{best}, {what}" for what in INTEGER)
    found = Contestant(f"{TITLE} {precision}", "tflite", precision, compile, variants=variants, chunks=CHUNKS)
    found.kernels = lambda plan: delegated(open_network(plan.variant, plan.chunk, 1))
    return [found]


_CONVERTED: dict[tuple[Path, str, int], Path] = {}


def converter(material: Material) -> Any:
    """A function from (order, chunk) to a .tflite file; both precisions share what it has made."""
    with quiet():
        import litert_torch
        import torch

    from peers.network import Interleaved, Network

    def convert(order: str, chunk: int) -> Path:
        key = (material.folder, order, chunk)
        if key not in _CONVERTED:
            path = material.folder / f"{order.replace(' ', '-')}-{chunk}.tflite"
            with quiet():
                network = Interleaved(Network(material, order))
                litert_torch.convert(network, (torch.zeros(chunk, 64, 64, 3),)).export(str(path))
            _CONVERTED[key] = path
        return _CONVERTED[key]

    return convert


def quantized(material: Material, source: Path, chunk: int, what: str) -> Path:
    """``source`` with the operators of ``INTEGER[what]`` in int8, per channel, ranges by min and max."""
    with quiet():
        from ai_edge_quantizer import algorithm_manager, qtyping, quantizer

        tensor = qtyping.TensorQuantizationConfig
        config = qtyping.OpQuantizationConfig(
            activation_tensor_config=tensor(
                num_bits=8, symmetric=False, granularity=qtyping.QuantGranularity.TENSORWISE
            ),
            weight_tensor_config=tensor(
                num_bits=8, symmetric=True, granularity=qtyping.QuantGranularity.CHANNELWISE
            ),
            compute_precision=qtyping.ComputePrecision.INTEGER,
        )
        made = quantizer.Quantizer(str(source))
        for name in INTEGER[what]:
            made.update_quantization_recipe(
                regex=".*",
                operation_name=getattr(qtyping.TFLOperationName, name),
                op_config=config,
                algorithm_key=algorithm_manager.AlgorithmName.MIN_MAX_UNIFORM_QUANT,
            )
        crops = material.crops.astype(np.float32)
        crops = crops[: len(crops) // chunk * chunk]
        batches = [{"args_0": crops[i : i + chunk]} for i in range(0, len(crops), chunk)]
        result = made.quantize(made.calibrate({"serving_default": batches}))
        target = source.with_name(f"{source.stem}-{what.replace(' ', '-')}.tflite")
        target.write_bytes(result.quantized_model)
    return target


def delegated(network: Any) -> str:
    """How much of the network XNNPACK took over."""
    names = Counter(operation["op_name"] for operation in network._get_ops_details())
    parts = names.pop("DELEGATE", 0)
    return f"XNNPACK runs it in {parts} part{'s' * (parts != 1)}, {sum(names.values())} operators in all"
