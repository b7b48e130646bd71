"""The convolutions as the graph holds them: batch norm folded in, and in int8 as whole numbers and steps."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ssr_ops import quantized
from ssr_train.contract import FIRST_BLOCKS, Architecture, Quantization

Floats = NDArray[np.float64]


class SymmetricLayer(NamedTuple):
    """A convolution on s8 values: weights (O, I, kh, kw) int8 of ``step`` (O,) each, bias (O,), float32.

    What comes in is DequantizeLinear's output: the picture as value - 128; a map of stream X in units of
    its channel's range, one of stream S as tanh, both in steps of 1/127. What goes out is a block of
    stream X in units of its own ranges, anything else in real units.
    """

    weights: NDArray[np.int8]
    step: NDArray[np.float32]
    bias: NDArray[np.float32]


def symmetric_layers(
    parameters: quantized.Parameters, architecture: Architecture, quantization: Quantization
) -> dict[str, SymmetricLayer]:
    """Every convolution of the int8 graph by name, from what the native int8 network uses.

    Scaling a channel by its range commutes with ReLU and with a mean, so that one scale, 1/127, quantizes
    every channel of a map. But for the first blocks the whole numbers are the native network's, learned
    rounding included: both networks round weight times input range to a step of its output channel. The
    first blocks' native weights have nine bits; here they are rounded to the nearest of eight.
    """
    native = quantized.int8_layers(parameters, architecture, quantization)
    correction = quantization.bias_correction["int8"]
    result = {}
    for name, layer in quantized.fold(parameters, architecture).items():
        bias = layer.bias.astype(np.float64) + np.asarray(correction[name], np.float64)
        if name in FIRST_BLOCKS:
            weights, step = _nearest(layer.weights.astype(np.float64))
            bias = bias + 128 * weights.sum(axis=(1, 2, 3)) * step
        else:
            weights = native[name].weights
            levels = 255 if quantized.stream_of(name) == "x" else 127
            step = native[name].step.astype(np.float64) * levels
        if name.startswith("x."):
            unit = _ranges(name, architecture, quantization)
            step, bias = step / unit, bias / unit
        result[name] = SymmetricLayer(
            weights.astype(np.int8), step.astype(np.float32), bias.astype(np.float32)
        )
    return result


def _ranges(name: str, architecture: Architecture, quantization: Quantization) -> Floats:
    return np.broadcast_to(np.asarray(quantization.ranges[name], np.float64), architecture.width_x)


def _nearest(weights: Floats) -> tuple[NDArray[np.int64], Floats]:
    """Whole numbers -127..127 and the step (O,) of each output channel."""
    step = np.maximum(np.abs(weights).max(axis=(1, 2, 3)) / 127, 1e-30)
    step = step.astype(np.float32).astype(np.float64)
    whole = np.clip(np.rint(weights / step[:, None, None, None]), -127, 127)
    return whole.astype(np.int64), step
