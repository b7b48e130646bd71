"""From face crops to a ``Quantization``: ranges, learned rounding, bias corrections.

Layer by layer, each seeing its inputs as the quantized network has them by then, errors of the layers
before included. NumPy only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssr_bundle.contract import BLOCKS, FIRST_BLOCKS, PRECISIONS, Architecture, Quantization
from ssr_ops import quantized, reference
from ssr_ops.quantized import Layer
from ssr_train.quantize.rounding import learn_rounding, sample_patches

MOST = 384
"""Crops used at most: an even choice of what is given; more change nothing and cost memory."""

VARIANTS = 3
"""Relit copies of each crop that the ranges are measured on too."""

_BATCH = 32

Maps = dict[str, NDArray[Any]]
Tick = Callable[[int], None]
F64 = NDArray[np.float64]


def steps_of_work(architecture: Architecture, crops: int) -> int:
    """How often :func:`find_quantization` ticks for so many crops."""
    layers = 2 * BLOCKS + 2 * len(architecture.stages)
    return (1 + VARIANTS) * len(range(0, min(crops, MOST), _BATCH)) + len(PRECISIONS) * layers


def find_quantization(
    parameters: Mapping[str, NDArray[Any]],
    architecture: Architecture,
    crops: NDArray[np.uint8],
    tick: Tick = lambda _: None,
    *,
    per_channel: bool = True,
    learned: bool = True,
    corrected: bool = True,
) -> Quantization:
    """Quantization of a network from crops (N, 64, 64, 3) in its colour order.

    ``tick`` hears 1 per step of work (:func:`steps_of_work`). The last three switch parts off, to see
    what each earns: one range a map in place of one a channel, rounding to nearest, no bias correction.
    """
    images = crops[np.linspace(0, len(crops) - 1, min(len(crops), MOST)).astype(int)]
    layers = quantized.fold(parameters, architecture)
    maps = _real_maps(layers, architecture, images, tick)
    largest = {n: v.max(axis=(0, 1, 2)) for n, v in maps.items() if n.startswith("x.")}
    rng = np.random.default_rng(0)
    for _ in range(VARIANTS):
        relit = _real_maps(layers, architecture, relight(images, rng), tick)
        largest = {n: np.maximum(v, relit[n].max(axis=(0, 1, 2))) for n, v in largest.items()}
    ranges = {n: _range(v, per_channel) for n, v in largest.items()}
    means = {n: v.mean(axis=(0, 1, 2), dtype=np.float64) for n, v in maps.items()}
    zeros = {n: (0.0,) * len(layer.bias) for n, layer in layers.items()}
    draft = Quantization(ranges, {precision: dict(zeros) for precision in PRECISIONS})
    ups: dict[str, str] = {}
    for precision in PRECISIONS:
        stored: Maps = {"image": images}
        for name, layer in layers.items():
            bits = None
            if precision == "int8" and learned and name not in FIRST_BLOCKS:
                bits = _round(name, layer, architecture, draft, stored, maps)
                ups[name] = quantized.rounding_text(bits)
            run = _layer_runner(precision, name, layer, architecture, draft, bits)
            source = stored[quantized.source(name, architecture)]
            if corrected:
                before = [_pool_first(name, architecture, run(v, 0.0)[0]) for v in _batches(source)]
                correction = correct(name, np.concatenate(before), means[name])
                draft.bias_correction[precision][name] = tuple(_short(v) for v in correction)
            if not name.startswith("stages"):
                final = np.asarray(draft.bias_correction[precision][name])
                stored[name] = np.concatenate([run(v, final)[1] for v in _batches(source)])
            tick(1)
    return Quantization(ranges, draft.bias_correction, ups if learned else None)


def relight(images: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Crops under other light: contrast, brightness, colour cast and saturation drawn for each.

    Ranges from a few hundred crops alone clip what other photos bring: on unseen photos the 99th
    percentile of the drift was 5 years without these copies, 1 to 2 with them.
    """

    def draw(*shape: int) -> F64:
        return rng.uniform(-1, 1, (len(images), *shape))

    v = images.astype(np.float64)
    mean = v.mean(axis=(1, 2, 3), keepdims=True)
    v = (v - mean) * np.exp(0.7 * draw(1, 1, 1)) + mean + 50 * draw(1, 1, 1)
    v *= np.exp(0.35 * draw(1, 1, 3))
    grey = v.mean(axis=3, keepdims=True)
    v = grey + (v - grey) * (1 + draw(1, 1, 1))
    return np.asarray(np.clip(np.rint(v), 0, 255), np.uint8)


def correct(name: str, v: NDArray[np.float32], target: F64) -> F64:
    """What to add to a layer's bias so that the mean of its activation is the real network's.

    v (N, H, W, O): the quantized layer's sums in real units, of stream S already pooled (the maximum
    comes before its activation). target (O,): mean of the real map. Newton's method by channel; one that
    is almost never active is left alone.
    """
    flat = v.reshape(-1, v.shape[-1])
    shift = np.zeros(v.shape[-1])
    for _ in range(4):
        moved = flat + shift.astype(np.float32)
        if name.startswith("s."):
            active = np.tanh(moved)
            slope = (1 - active * active).mean(axis=0, dtype=np.float64)
        else:
            active = np.maximum(moved, 0)
            slope = (moved > 0).mean(axis=0, dtype=np.float64)
        missing = target - active.mean(axis=0, dtype=np.float64)
        shift += np.where(slope > 0.02, missing / np.maximum(slope, 0.02), 0.0)
    return shift


def _real_maps(
    layers: Mapping[str, Layer], architecture: Architecture, images: NDArray[np.uint8], tick: Tick
) -> Maps:
    """Every map of the real network after activation and pool, float32, and the images."""
    parts: dict[str, list[NDArray[Any]]] = {name: [] for name in layers}
    for batch in _batches(images):
        maps: Maps = {"image": batch}
        for name, layer in layers.items():
            sums = quantized.convolve(maps[quantized.source(name, architecture)], *layer)
            pooled = quantized.activate(name, sums, quantized.pool_of(name, architecture))
            maps[name] = pooled.astype(np.float32)
            parts[name].append(maps[name])
        tick(1)
    return {"image": images, **{name: np.concatenate(values) for name, values in parts.items()}}


def _layer_runner(
    precision: str,
    name: str,
    layer: Layer,
    architecture: Architecture,
    quantization: Quantization,
    up: NDArray[np.bool_] | None,
) -> Callable[[NDArray[Any], Any], tuple[NDArray[np.float32], NDArray[Any]]]:
    """A function of (stored input, correction) that gives the layer's sums in real units and what the
    network stores of them (nothing for a fuse layer)."""
    pool = quantized.pool_of(name, architecture)
    if precision == "bf16":

        def bf16(v: NDArray[Any], correction: Any) -> tuple[NDArray[np.float32], NDArray[Any]]:
            sums = quantized.convolve(v, quantized.bfloat16(layer.weights), layer.bias + correction)
            return sums.astype(np.float32), quantized.bfloat16(quantized.activate(name, sums, pool))

        return bf16

    origin = quantized.source(name, architecture)
    steps = quantized.byte_steps(origin, architecture, quantization)

    def int8(v: NDArray[Any], correction: Any) -> tuple[NDArray[np.float32], NDArray[Any]]:
        whole = quantized.integer_layer(name, layer, steps, np.broadcast_to(correction, layer.bias.shape), up)
        sums = quantized.convolve_integers(v, whole)
        real = (sums * whole.step.astype(np.float64)).astype(np.float32)
        if name.startswith("stages"):
            return real, np.empty(0)
        if name.startswith("x"):
            out = quantized.byte_steps(name, architecture, quantization)
            return real, quantized.requantize_x(sums, whole.step, out, pool).astype(np.uint8)
        return real, quantized.requantize_s(sums, whole.step, pool).astype(np.uint8)

    return int8


def _round(
    name: str,
    layer: Layer,
    architecture: Architecture,
    quantization: Quantization,
    stored: Maps,
    real: Maps,
) -> NDArray[np.bool_]:
    """Learned rounding of one layer; see :mod:`ssr_train.quantize.rounding`."""
    origin = quantized.source(name, architecture)
    steps = quantized.byte_steps(origin, architecture, quantization)
    zero_point = 128 if origin.startswith("s") else 0
    size, outputs = layer.weights.shape[2], len(layer.bias)
    found, wanted = sample_patches(stored[origin], real[origin], size, np.random.default_rng(1))
    by_weight = np.repeat(steps.astype(np.float64), size * size)
    unit = quantized.integer_layer(name, layer, steps, np.zeros(outputs)).step.astype(np.float64)
    ratio = layer.weights.reshape(outputs, -1).astype(np.float64) * by_weight / unit[:, None]
    return learn_rounding(ratio, found - zero_point, wanted / by_weight).reshape(layer.weights.shape)


def _pool_first(name: str, architecture: Architecture, v: NDArray[np.float32]) -> NDArray[np.float32]:
    """The positions that count: those inside the pool's windows, of stream S the maxima."""
    cut = reference.windows(v, quantized.pool_of(name, architecture))
    if quantized.stream_of(name) == "s":
        return np.asarray(cut.max(axis=(2, 4)))
    n, h, a, w, b, c = cut.shape
    return cut.reshape(n, h * a, w * b, c)


def _range(largest: NDArray[np.floating], per_channel: bool) -> float | tuple[float, ...]:
    """Ranges of a map's channels; one that is (almost) never active gets a thousandth of the largest."""
    top = max(float(largest.max()), 1e-6)
    return tuple(_short(max(float(v), top * 1e-3)) for v in largest) if per_channel else _short(top)


def _short(value: float) -> float:
    return float(f"{value:.6g}")


def _batches(v: NDArray[Any]) -> Iterator[NDArray[Any]]:
    for start in range(0, len(v), _BATCH):
        yield v[start : start + _BATCH]
