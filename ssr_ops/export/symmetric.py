"""The convolutions as the graph holds them: batch norm folded in, and in int8 as whole numbers and steps."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ssr_bundle.contract import FIRST_BLOCKS, Architecture, Quantization
from ssr_ops import quantized
from ssr_ops.quantized import Layer
from ssr_ops.reference import Parameters

GREY = 128
"""What is taken from a picture's bytes, for a first block :func:`around_grey`."""

LEVELS = {"x": 255, "s": 127}
"""By stream: steps of its maps in a unit. X's maps are in units of their channels' ranges, S's are tanh."""

MIDDLE = {"x": 128 / 255, "s": 0.0}
"""By stream: what is taken from its maps before they are quantized to -128..127."""


class SymmetricLayer(NamedTuple):
    """A convolution on s8 values: weights (O, I, kh, kw) int8 of ``step`` (O,) each, bias (O,), float32.

    What comes in is a map as DequantizeLinear gives it, less its stream's ``MIDDLE``. What goes out is a
    block of stream X in units of its channels' ranges, anything else in real units.
    """

    weights: NDArray[np.int8]
    step: NDArray[np.float32]
    bias: NDArray[np.float32]


def symmetric_layers(
    parameters: Parameters, architecture: Architecture, quantization: Quantization
) -> tuple[dict[str, Layer], dict[str, SymmetricLayer]]:
    """Every convolution of the int8 graph by name: the native int8 network's whole numbers, bias corrections
    and learned rounding. The first blocks, whose whole numbers have nine bits, are plain float32 layers and
    come first.

    Three exact identities make a network of bytes and ranges by channel one of symmetric quantizers with one
    scale a map. Scaling a channel commutes with ReLU and with a mean, so that X's maps are kept in units of
    their ranges. An unsigned byte u is u - 128 as a signed one, and in a valid convolution the 128 is a
    constant for the bias. A step an output channel takes up what is left.
    """
    native = quantized.int8_layers(parameters, architecture, quantization)
    correction = quantization.bias_correction["int8"]
    plain, symmetric = {}, {}
    for name, layer in quantized.fold(parameters, architecture).items():
        weights, step = native[name].weights, native[name].step.astype(np.float64)
        bias = layer.bias.astype(np.float64) + np.asarray(correction[name], np.float64)
        if name not in FIRST_BLOCKS:
            stream = quantized.stream_of(name)
            step = step * LEVELS[stream]
            bias = bias + MIDDLE[stream] * step * weights.sum(axis=(1, 2, 3))
        if name.startswith("x."):
            unit = np.broadcast_to(np.asarray(quantization.ranges[name], np.float64), architecture.width_x)
            step, bias = step / unit, bias / unit
        if name in FIRST_BLOCKS:
            real = weights * step[:, None, None, None]
            plain[name] = Layer(real.astype(np.float32), bias.astype(np.float32))
        else:
            whole = weights.astype(np.int8)
            symmetric[name] = SymmetricLayer(whole, step.astype(np.float32), bias.astype(np.float32))
    return plain, symmetric


def around_grey(layer: Layer) -> Layer:
    """A first block for pictures less :data:`GREY`: the same sums, since convolutions are valid."""
    share = GREY * layer.weights.astype(np.float64).sum(axis=(1, 2, 3))
    return Layer(layer.weights, (layer.bias + share).astype(np.float32))
