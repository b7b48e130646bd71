"""Bundles of networks that nobody trained: any architecture, activations of ordinary size."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssr_bundle.bundle import Bundle, read_bundle
from ssr_bundle.contract import (
    PRECISIONS,
    Architecture,
    Contract,
    Interface,
    Output,
    Quantization,
    convolution_widths,
)
from ssr_ops.golden import write_bundle


def random_parameters(architecture: Architecture, seed: int = 0) -> dict[str, NDArray[Any]]:
    """Weights scaled so that every layer's values stay near 1 and most ReLUs are awake."""
    rng = np.random.default_rng(seed)
    parameters = {}
    for name, shape in architecture.parameter_shapes().items():
        value = rng.normal(0, 1, shape)
        if name.endswith("running_var"):
            value = rng.uniform(0.5, 1.5, shape)
        elif name.endswith("norm.weight"):
            value = 1 + 0.2 * value
        elif len(shape) > 1:
            value = value * (1.4 / np.sqrt(np.prod(shape[1:])))
            if name in ("x.0.conv.weight", "s.0.conv.weight"):
                value = value / 128
            if name.endswith(("mix.weight", "p.weight", "bins_x.weight", "bins_s.weight")):
                value = 0.3 * np.abs(value)  # a dead layer would hide everything before it
                if name.endswith(".p.weight"):
                    value = 0.015 * value  # answers inside the clip range
            elif name.endswith(("eta.weight", "delta.weight")):
                value = 0.2 * value  # and a saturated one what lies beside it
        elif name.endswith(("bins_x.bias", "bins_s.bias")):
            value = 1 + 0.2 * value
        elif name.endswith(".p.bias"):
            value = 0.03 + 0.01 * value
        else:
            value = 0.2 + 0.2 * value
        parameters[name] = value.astype(np.float32)
    return parameters


def random_contract(architecture: Architecture, **changes: Any) -> Contract:
    """A contract for random parameters; ``changes`` replace fields of :class:`Contract`."""
    interface = Interface(output=Output.for_value_range(architecture.value_range))
    fields = {"name": "random", "interface": interface, "provenance": {"synthetic": True}, **changes}
    return Contract(architecture=architecture, **fields)


def random_quantization(architecture: Architecture, seed: int = 0) -> Quantization:
    """Ranges that the maps of random parameters fill, but for a few values that saturate."""
    rng = np.random.default_rng(seed)
    widths = convolution_widths(architecture)
    streams = {name: width for name, width in widths.items() if name.startswith("x.")}
    return Quantization(
        ranges={name: tuple(rng.uniform(2, 5, width).tolist()) for name, width in streams.items()},
        bias_correction={
            precision: {name: tuple(rng.normal(0, 0.01, width).tolist()) for name, width in widths.items()}
            for precision in PRECISIONS
        },
    )


def random_bundle(path: Path, architecture: Architecture, seed: int = 0, **changes: Any) -> Bundle:
    """``changes`` as :func:`random_contract` takes them."""
    return write_bundle(path, random_contract(architecture, **changes), random_parameters(architecture, seed))


def calibrated_for_precisions(bundle: Bundle, path: Path) -> Bundle:
    """A trained bundle with the plainest calibration: one wide range for all maps, nothing corrected."""
    widths = convolution_widths(bundle.contract.architecture)
    quantization = Quantization(
        ranges={name: 12.0 for name in widths if name.startswith("x.")},
        bias_correction={p: {name: (0.0,) * n for name, n in widths.items()} for p in PRECISIONS},
    )
    if path.exists():
        return read_bundle(path)
    contract = replace(bundle.contract, quantization=quantization)
    return write_bundle(path, contract, bundle.parameters())


def quantized_bundle(path: Path, architecture: Architecture, seed: int = 0, **changes: Any) -> Bundle:
    """A random bundle for every precision."""
    quantization = random_quantization(architecture, seed)
    return random_bundle(path, architecture, seed, quantization=quantization, **changes)
