"""What differs by precision: how a picture enters the graph, how maps are stored and convolved."""

from __future__ import annotations

from typing import Any

import numpy as np

from ssr_bundle.bundle import Bundle
from ssr_bundle.contract import FIRST_BLOCKS
from ssr_ops import quantized
from ssr_ops.export.graph import FLOAT, HALF, Graph
from ssr_ops.export.names import ExportError
from ssr_ops.export.symmetric import GREY, LEVELS, MIDDLE, around_grey, symmetric_layers

_LAYOUT = [0, 3, 1, 2]
"""NHWC to NCHW, the layout of ONNX's convolutions."""


class Convolutions:
    """Convolutions in float32, and what each precision knows. Every method adds to ``graph`` and returns a
    tensor's name."""

    dtype: type[np.floating[Any]] = np.float32

    def __init__(self, bundle: Bundle) -> None:
        self._layers = quantized.fold(bundle.parameters(), bundle.contract.architecture)

    def picture(self, graph: Graph, image: str) -> str:
        """What the first blocks read, of uint8 (n, 64, 64, 3)."""
        return _planes(graph, image, FLOAT)

    def convolve(self, graph: Graph, layer: str, v: str) -> str:
        """Convolution ``layer`` of ``v``, as ``<layer>.conv``."""
        weights = graph.constant(f"{layer}.weight", self._layers[layer].weights.astype(self.dtype))
        bias = graph.constant(f"{layer}.bias", self._layers[layer].bias.astype(self.dtype))
        return graph.node("Conv", [v, weights, bias], f"{layer}.conv")

    def store(self, graph: Graph, block: str) -> str:
        """What the next layers read, of a block's pooled map."""
        return block

    def real(self, graph: Graph, v: str) -> str:
        """``v`` as float32."""
        return v


class Half(Convolutions):
    """Convolutions in float16.

    The picture enters as value - 128, the first blocks' biases making up for it: rounding a weight then errs
    by its share of what differs from grey, and not of the whole brightness, which moved all answers one way.
    """

    dtype = np.float16

    def __init__(self, bundle: Bundle) -> None:
        super().__init__(bundle)
        self._layers |= {name: around_grey(self._layers[name]) for name in FIRST_BLOCKS}
        largest = float(np.finfo(np.float16).max)
        for name, layer in self._layers.items():
            for what, values in layer._asdict().items():
                if (found := float(np.abs(values).max())) > largest:
                    raise ExportError(
                        f"{bundle.path}: fp16 cannot hold {what} of {name}: {found:.3g} with batch norm "
                        f"folded in, its limit is {largest:.0f}; export fp32"
                    )

    def picture(self, graph: Graph, image: str) -> str:
        return _less(graph, _planes(graph, image, HALF), GREY, np.float16)

    def real(self, graph: Graph, v: str) -> str:
        return graph.node("Cast", [v], f"{v}.float", to=FLOAT)


class Symmetric(Convolutions):
    """Convolutions of s8 maps with s8 weights: symmetric QuantizeLinear and DequantizeLinear alone, which is
    what TensorRT takes; float32 convolutions in the first blocks. See :func:`symmetric_layers`."""

    def __init__(self, bundle: Bundle) -> None:
        contract = bundle.contract
        if contract.quantization is None:
            raise ExportError(
                f"{bundle.path}: has no ranges for int8, run `ssr-train quantize {bundle.path} --images DIR`"
            )
        self._layers, self._whole = symmetric_layers(
            bundle.parameters(), contract.architecture, contract.quantization
        )

    def convolve(self, graph: Graph, layer: str, v: str) -> str:
        if layer in self._layers:
            return super().convolve(graph, layer, v)
        values = self._whole[layer]
        weights = graph.constant(f"{layer}.weight.q", values.weights)
        step = graph.constant(f"{layer}.weight.step", values.step)
        zeros = graph.constant(f"{layer}.weight.zero", np.zeros(len(values.step), np.int8))
        real = graph.node("DequantizeLinear", [weights, step, zeros], f"{layer}.weight", axis=0)
        bias = graph.constant(f"{layer}.bias", values.bias)
        return graph.node("Conv", [v, real, bias], f"{layer}.conv")

    def store(self, graph: Graph, block: str) -> str:
        stream = block[0]
        v = _less(graph, block, MIDDLE[stream], np.float32) if MIDDLE[stream] else block
        step = graph.constant(f"{stream}.step", np.float32(1 / LEVELS[stream]))
        zero = graph.constant("zero", np.int8(0))
        whole = graph.node("QuantizeLinear", [v, step, zero], f"{block}.q")
        return graph.node("DequantizeLinear", [whole, step, zero], f"{block}.dq")


def convolutions(bundle: Bundle, precision: str) -> Convolutions:
    """Those of ``precision``, one of :data:`ssr_ops.export.PRECISIONS`."""
    return {"fp32": Convolutions, "fp16": Half, "int8": Symmetric}[precision](bundle)


def _planes(graph: Graph, image: str, dtype: int) -> str:
    """Bytes (n, 64, 64, 3) as floats (n, 3, 64, 64). Cast first: TensorRT does nothing else with bytes."""
    return graph.node(
        "Transpose", [graph.node("Cast", [image], f"{image}.float", to=dtype)], f"{image}.nchw", perm=_LAYOUT
    )


def _less(graph: Graph, v: str, middle: float, dtype: type[np.floating[Any]]) -> str:
    doc = "What reads this has the middle's share in its bias."
    return graph.node("Sub", [v, graph.constant(f"{v}.middle", dtype(middle))], f"{v}.centred", doc)
