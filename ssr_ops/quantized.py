"""The int8 and bf16 networks in readable NumPy, to the bit what the native engine computes.

Only integers and single float32 roundings appear, so that every implementation (AMX, VNNI, AVX2,
portable) gives the same bytes. RNE below is rounding to the nearest, ties to even; an fma rounds once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ssr_bundle.contract import BLOCKS, FIRST_BLOCKS, Architecture, Quantization, convolution_widths
from ssr_ops import reference
from ssr_ops.reference import Parameters, Stages, windows

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]

TANH_LIMIT = np.float32(3.2)
"""127 * tanh is within half a step of 127 from here on."""

TANH_COEFFICIENTS: tuple[float, ...] = (
    126.85888671875,
    -41.26609420776367,
    14.479726791381836,
    -4.08075475692749,
    0.8249973654747009,
    -0.11151786893606186,
    0.009439040906727314,
    -0.0004493427986744791,
    9.147956916422118e-06,
)
"""P of 127 * tanh(v) ~ v * P(v * v) on |v| <= 3.2, lowest power first, each exactly a float32.

The minimax fit of degree 17; its largest error is 0.0224 of a step of 1/127, rounding included. The
native engine's copy is compared with this one by a test.
"""


def fma(a: F32, b: F32, c: F32) -> F32:
    """a * b + c in float32, rounded once.

    The product is exact in float64; the sum is rounded to odd there, so that the second rounding,
    to float32, is the right one.
    """
    product = a.astype(np.float64) * b.astype(np.float64)
    wide = c.astype(np.float64)
    total = product + wide
    back = total - product
    rest = (product - (total - back)) + (wide - back)  # what the sum lost (Knuth's TwoSum)
    even = (np.atleast_1d(total).view(np.int64) & 1 == 0).reshape(np.shape(total))
    odd = np.where((rest != 0) & even, np.nextafter(total, np.copysign(np.inf, rest)), total)
    return odd.astype(np.float32)


def tanh_127(v: F32) -> F32:
    """127 * tanh(v): v clamped to +-3.2, u = v * v, Horner by fma from the highest power, times v."""
    v = np.clip(v.astype(np.float32), -TANH_LIMIT, TANH_LIMIT)
    u = v * v
    p = np.full_like(v, TANH_COEFFICIENTS[-1])
    for coefficient in TANH_COEFFICIENTS[-2::-1]:
        p = fma(p, u, np.full_like(v, coefficient))
    return v * p


class Layer(NamedTuple):
    """A convolution with its batch norm folded in: weights (O, I, kh, kw) and bias (O,), float32."""

    weights: F32
    bias: F32


class IntegerLayer(NamedTuple):
    """weights (O, I, kh, kw) and bias (O,) as int64 multiples of ``step`` (O,) float32."""

    weights: I64
    bias: I64
    step: F32


class Network(NamedTuple):
    """What one run gives: ``maps`` by name and the stages (p, eta, delta, unclipped age).

    Maps of int8: ``<layer>.sum`` (N, H, W, O) int64 accumulators before the activation, and per block
    ``x.0`` .. ``s.3`` (N, H, W, C) the stored bytes. Maps of bf16: the blocks' stored values as float32.
    Both: ``stages.<k>.fuse_x`` and ``fuse_s`` (N, H, W, F) float32 after their pool.
    """

    maps: dict[str, NDArray[Any]]
    stages: Stages


def fold(parameters: Parameters, architecture: Architecture) -> dict[str, Layer]:
    """Every convolution by name (``x.0`` .. ``s.3``, ``stages.<k>.fuse_x``, ``fuse_s``), norm folded in.

    Computed in float64 and rounded once, as the native engine does.
    """
    w = {name: np.asarray(value, np.float64) for name, value in parameters.items()}
    layers = {}
    for name in convolution_widths(architecture):
        if name.startswith("stages"):
            weights, bias = w[f"{name}.weight"], w[f"{name}.bias"]
        else:
            variance = w[f"{name}.norm.running_var"] + architecture.batch_norm_epsilon
            scale = w[f"{name}.norm.weight"] / np.sqrt(variance)
            weights = w[f"{name}.conv.weight"] * scale[:, None, None, None]
            bias = (w[f"{name}.conv.bias"] - w[f"{name}.norm.running_mean"]) * scale + w[f"{name}.norm.bias"]
        layers[name] = Layer(weights.astype(np.float32), bias.astype(np.float32))
    return layers


def blocks() -> list[str]:
    """Names of the eight 3x3 convolutions, an order in which each comes after its input."""
    return [f"{stream}.{block}" for block in range(BLOCKS) for stream in "xs"]


FIRST_LIMIT = 511
"""Largest weight of the first blocks, in steps. Their weights are whole numbers of 8 significant bits, so
that each is one bfloat16, and their sums stay below 2^24; as bytes they would be the largest part of the
int8 network's error."""


def integer_layer(
    name: str,
    layer: Layer,
    input_steps: ArrayLike,
    correction: ArrayLike,
    up: NDArray[np.bool_] | None = None,
) -> IntegerLayer:
    """Integers of layer ``name``, whose input bytes stand for ``input_steps`` (I,) a unit.

    One step an output channel, the smallest that keeps weights and bias within their limits. Weights are
    rounded RNE, or as learned, by ``up`` (O, I, kh, kw): down, or one up from there. ``correction`` (O,) is
    added to the bias, in float32, before it is rounded RNE. Bytes of stream S are around 128.
    """
    first, fusion = name in FIRST_BLOCKS, name.startswith("stages")
    limit = FIRST_LIMIT if first else 127
    bias_limit = 2.0**19 if first else 2.0**23 if fusion else 2.0**26
    weights = layer.weights.astype(np.float64) * np.asarray(input_steps, np.float64)[None, :, None, None]
    bias = (layer.bias.astype(np.float64) + np.asarray(correction, np.float64)).astype(np.float32)
    bias = bias.astype(np.float64)
    largest = np.abs(weights).max(axis=(1, 2, 3))
    step = np.maximum(np.maximum(largest / limit, np.abs(bias) / bias_limit), 1e-30).astype(np.float32)
    unit = step.astype(np.float64)
    ratio = weights / unit[:, None, None, None]
    rounded = np.clip(np.floor(ratio) + up, -limit, limit) if up is not None else np.rint(ratio)
    whole = (bfloat16(rounded) if first else rounded).astype(np.int64)
    start = np.rint(bias / unit).astype(np.int64)
    if stream_of(name) == "s" and not first:
        start -= 128 * whole.sum(axis=(1, 2, 3))
    return IntegerLayer(whole, start, step)


def rounding_bits(text: str, shape: Sequence[int]) -> NDArray[np.bool_]:
    """The contract's ``rounding`` of one layer as booleans of ``shape``: one bit a weight, the first the
    most significant of the first byte."""
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(text), np.uint8), count=int(np.prod(shape)))
    return bits.astype(np.bool_).reshape(shape)


def rounding_text(up: NDArray[np.bool_]) -> str:
    """The inverse of :func:`rounding_bits`."""
    return np.packbits(up.ravel()).tobytes().hex()


def int8_layers(
    parameters: Parameters, architecture: Architecture, quantization: Quantization
) -> dict[str, IntegerLayer]:
    """The integers of every convolution of the int8 network, by name."""
    correction = quantization.bias_correction["int8"]
    result = {}
    for name, layer in fold(parameters, architecture).items():
        steps = byte_steps(source(name, architecture), architecture, quantization)
        text = (quantization.rounding or {}).get(name)
        up = None if text is None else rounding_bits(text, layer.weights.shape)
        result[name] = integer_layer(name, layer, steps, correction[name], up)
    return result


def int8(
    parameters: Parameters, architecture: Architecture, quantization: Quantization, images: ArrayLike
) -> Network:
    """The int8 network on (N, 64, 64, 3) uint8, colour order of the contract. All but the last dense
    layers is exact: sums are integers, the rest single float32 operations in the order written."""
    maps: dict[str, NDArray[Any]] = {"image": np.asarray(images, np.uint8).astype(np.int64)}
    for name, layer in int8_layers(parameters, architecture, quantization).items():
        pool = pool_of(name, architecture)
        maps[f"{name}.sum"] = sums = convolve_integers(maps[source(name, architecture)], layer)
        if name.startswith("x"):
            maps[name] = requantize_x(sums, layer.step, byte_steps(name, architecture, quantization), pool)
        elif name.startswith("s."):
            maps[name] = requantize_s(sums, layer.step, pool)
        elif stream_of(name) == "x":
            scale = (layer.step.astype(np.float64) / pool**2).astype(np.float32)
            maps[name] = windows(np.maximum(sums, 0), pool).sum(axis=(2, 4)).astype(np.float32) * scale
        else:
            maps[name] = windows(np.maximum(sums, 0), pool).max(axis=(2, 4)).astype(np.float32) * layer.step
    return Network(maps, head(parameters, architecture, maps))


def requantize_x(sums: I64, step: F32, output_steps: F32, pool: int) -> I64:
    """ReLU, then the mean over pool x pool windows, as bytes 0..255 of ``output_steps`` (O,)."""
    total = windows(np.maximum(sums, 0), pool).sum(axis=(2, 4))
    scale = step.astype(np.float64) / pool**2 / output_steps.astype(np.float64)
    scale = np.minimum(scale, 1e30).astype(np.float32)
    held = np.minimum(total.astype(np.float32) * scale, np.float32(255))
    return np.asarray(np.rint(held).astype(np.int64))


def requantize_s(sums: I64, step: F32, pool: int) -> I64:
    """Maximum over pool x pool windows, then tanh, as bytes 1..255: 128 + 127 * tanh."""
    largest = windows(sums, pool).max(axis=(2, 4))
    return np.rint(tanh_127(largest.astype(np.float32) * step)).astype(np.int64) + 128


def convolve_integers(v: I64, layer: IntegerLayer) -> I64:
    """Valid convolution of bytes (N, H, W, I); float64 carries it, exact below 2^53."""
    return convolve(v, layer.weights, layer.bias).astype(np.int64)


def convolve(v: NDArray[Any], weights: NDArray[Any], bias: NDArray[Any]) -> NDArray[np.float64]:
    """Valid convolution in float64: v (N, H, W, I), weights (O, I, kh, kw), to (N, H', W', O)."""
    v, weights = v.astype(np.float64), weights.astype(np.float64)
    rows, columns = weights.shape[2:]
    height, width = v.shape[1] - rows + 1, v.shape[2] - columns + 1
    out = np.broadcast_to(bias.astype(np.float64), (len(v), height, width, len(bias))).copy()
    for y in range(rows):
        for x in range(columns):
            out += v[:, y : y + height, x : x + width] @ weights[:, :, y, x].T
    return out


def bfloat16(v: ArrayLike) -> F32:
    """Float32 values rounded RNE to the nearest bfloat16, as float32."""
    bits = np.ascontiguousarray(v, np.float32).view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) & np.uint32(0xFFFF0000)
    return rounded.view(np.float32)


def bf16(
    parameters: Parameters,
    architecture: Architecture,
    quantization: Quantization,
    images: ArrayLike,
    *,
    round_maps: bool = True,
) -> Network:
    """The bf16 network: folded weights and stored maps in bfloat16. Sums here are float64, the engine's
    float32 in its own order, so stored values may differ by one unit in the last place.

    ``round_maps`` false: weights alone are rounded, as where the engine has no bf16 instructions to use.
    """
    correction = quantization.bias_correction["bf16"]
    maps: dict[str, NDArray[Any]] = {"image": np.asarray(images, np.float32)}

    def convolved(name: str, layer: Layer) -> NDArray[np.float64]:
        bias = layer.bias.astype(np.float64) + np.asarray(correction[name], np.float64)
        return convolve(maps[source(name, architecture)], bfloat16(layer.weights), bias)

    for name, layer in fold(parameters, architecture).items():
        pooled = activate(name, convolved(name, layer), pool_of(name, architecture))
        kept = name.startswith("stages") or not round_maps
        maps[name] = pooled.astype(np.float32) if kept else bfloat16(pooled)
    return Network(maps, head(parameters, architecture, maps))


def activate(name: str, v: NDArray[np.float64], pool: int) -> NDArray[np.float64]:
    """What follows layer ``name``'s convolution in the real network: ReLU or tanh, then its pool."""
    v = np.tanh(v) if name.startswith("s.") else np.maximum(v, 0.0)
    cut = windows(v, pool)
    return np.asarray(cut.mean(axis=(2, 4)) if stream_of(name) == "x" else cut.max(axis=(2, 4)))


def head(parameters: Parameters, architecture: Architecture, maps: Mapping[str, NDArray[Any]]) -> Stages:
    """Dense layers and soft stagewise regression in float64 on the float32 fuse maps."""
    parts = []
    for k in range(len(architecture.stages)):
        x, s = (maps[f"stages.{k}.fuse_{stream}"].astype(np.float64) for stream in "xs")
        parts.append(reference.predict_stage(parameters, f"stages.{k}", x, s))
    return reference.regressed(architecture, parts)


def stream_of(name: str) -> str:
    """``x`` or ``s``: the stream that layer ``name`` belongs to."""
    return name[-1] if name.startswith("stages") else name[0]


def source(name: str, architecture: Architecture) -> str:
    """The map that layer ``name`` reads: ``image`` or a block."""
    if name.startswith("stages"):
        tap = architecture.taps[int(name.split(".")[1])]
        return f"{stream_of(name)}.{tap.level - 1}"
    block = int(name[2:])
    return "image" if block == 0 else f"{name[0]}.{block - 1}"


def pool_of(name: str, architecture: Architecture) -> int:
    """Side of the windows pooled after layer ``name``, 1 for none."""
    if name.startswith("stages"):
        return architecture.taps[int(name.split(".")[1])].pool
    return 1 if name.endswith(str(BLOCKS - 1)) else 2


def byte_steps(name: str, architecture: Architecture, quantization: Quantization) -> F32:
    """What one unit of map ``name``'s bytes stands for, by channel: (C,) float32."""
    if name == "image":
        return np.ones(3, np.float32)
    if name.startswith("s"):
        return np.full(architecture.width_s, np.float64(1) / 127, np.float32)
    ranges = np.broadcast_to(np.asarray(quantization.ranges[name], np.float64), architecture.width_x)
    return (ranges / 255).astype(np.float32)
