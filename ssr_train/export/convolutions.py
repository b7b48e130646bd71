"""The part of the graph that differs by precision: how a picture enters, how a map is stored and convolved."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from ssr_ops import quantized
from ssr_train.bundle import Bundle
from ssr_train.export.graph import FLOAT, HALF, Graph
from ssr_train.export.layers import symmetric_layers
from ssr_train.export.names import ExportError

_LAYOUT = [0, 3, 1, 2]
"""NHWC to NCHW, the layout of ONNX's convolutions."""


class Convolutions(Protocol):
    """What each precision knows. Every method adds to ``graph`` and returns a tensor's name."""

    def picture(self, graph: Graph, image: str) -> str:
        """What the first blocks read, of uint8 (n, 64, 64, 3)."""

    def convolve(self, graph: Graph, layer: str, v: str) -> str:
        """Convolution ``layer`` of ``v``, as ``<layer>.conv``."""

    def store(self, graph: Graph, block: str) -> str:
        """What the next layers read, of a block's pooled map."""

    def real(self, graph: Graph, v: str) -> str:
        """``v`` as float32."""


class Float:
    """Convolutions in float32, or in float16."""

    def __init__(self, bundle: Bundle, *, half: bool) -> None:
        self._layers = quantized.fold(bundle.parameters(), bundle.contract.architecture)
        self._half = half
        if half:
            self._refuse_overflow(bundle)

    def picture(self, graph: Graph, image: str) -> str:
        wide = graph.node("Cast", [image], f"{image}.float", to=HALF if self._half else FLOAT)
        return graph.node("Transpose", [wide], f"{image}.nchw", perm=_LAYOUT)

    def convolve(self, graph: Graph, layer: str, v: str) -> str:
        dtype = np.float16 if self._half else np.float32
        weights = graph.constant(f"{layer}.weight", self._layers[layer].weights.astype(dtype))
        bias = graph.constant(f"{layer}.bias", self._layers[layer].bias.astype(dtype))
        return graph.node("Conv", [v, weights, bias], f"{layer}.conv")

    def store(self, graph: Graph, block: str) -> str:
        return block

    def real(self, graph: Graph, v: str) -> str:
        return graph.node("Cast", [v], f"{v}.float", to=FLOAT) if self._half else v

    def _refuse_overflow(self, bundle: Bundle) -> None:
        largest = float(np.finfo(np.float16).max)
        for name, layer in self._layers.items():
            for what, values in layer._asdict().items():
                if (found := float(np.abs(values).max())) > largest:
                    raise ExportError(
                        f"{bundle.path}: fp16 cannot hold {what} of {name}, {found:.3g} with batch norm folded "
                        f"in, its limit is {largest:.0f}; export fp32"
                    )


class Symmetric:
    """Convolutions of s8 values with s8 weights: symmetric QuantizeLinear and DequantizeLinear alone, which
    is what TensorRT takes. See :class:`ssr_train.export.layers.SymmetricLayer`."""

    def __init__(self, bundle: Bundle) -> None:
        contract = bundle.contract
        if contract.quantization is None:
            raise ExportError(
                f"{bundle.path}: has no ranges for int8, run `ssr-train quantize {bundle.path} --images DIR`"
            )
        self._layers = symmetric_layers(bundle.parameters(), contract.architecture, contract.quantization)

    def picture(self, graph: Graph, image: str) -> str:
        wide = graph.node("Cast", [image], f"{image}.float", to=FLOAT)
        planes = graph.node("Transpose", [wide], f"{image}.nchw", perm=_LAYOUT)
        middle = graph.constant(f"{image}.middle", np.float32(128))
        centred = graph.node(
            "Sub",
            [planes, middle],
            f"{image}.centred",
            "Bytes as -128..127; the first blocks' biases hold 128 times the sum of their weights instead.",
        )
        return self._quantize(graph, centred, image, 1.0)

    def convolve(self, graph: Graph, layer: str, v: str) -> str:
        values = self._layers[layer]
        weights = graph.constant(f"{layer}.weight.q", values.weights)
        step = graph.constant(f"{layer}.weight.step", values.step)
        zeros = graph.constant(f"{layer}.weight.zero", np.zeros(len(values.step), np.int8))
        real = graph.node("DequantizeLinear", [weights, step, zeros], f"{layer}.weight", axis=0)
        bias = graph.constant(f"{layer}.bias", values.bias)
        return graph.node("Conv", [v, real, bias], f"{layer}.conv")

    def store(self, graph: Graph, block: str) -> str:
        return self._quantize(graph, block, block, 1 / 127)

    def real(self, graph: Graph, v: str) -> str:
        return v

    def _quantize(self, graph: Graph, v: str, name: str, step: float) -> str:
        scale = graph.constant(f"{name}.step", np.float32(step))
        zero = graph.constant(f"{name}.zero", np.int8(0))
        whole = graph.node("QuantizeLinear", [v, scale, zero], f"{name}.q")
        return graph.node("DequantizeLinear", [whole, scale, zero], f"{name}.dq")


def convolutions(bundle: Bundle, precision: str) -> Convolutions:
    """Those of ``precision``, one of :data:`ssr_train.export.PRECISIONS`."""
    return Symmetric(bundle) if precision == "int8" else Float(bundle, half=precision == "fp16")
