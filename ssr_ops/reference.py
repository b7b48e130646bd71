"""The readable ground truth, NumPy in float64: the operator, the network, the crop.

Nothing here is fast. Every faster implementation (C++, CUDA, torch, ONNX, the served model) is held
to it within ``ssr_bundle/tolerances.py``; it is itself held to the original network's printed outputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ssr_bundle import sampling
from ssr_bundle.alignment import Points
from ssr_bundle.contract import BLOCKS, IMAGE_SIZE, Architecture, Contract, Crop, Interval
from ssr_bundle.crop import align, cuts
from ssr_bundle.method import ServedContract

Array = NDArray[np.float64]
Parameters = Mapping[str, NDArray[Any]]


class Stages(NamedTuple):
    """What the stages say of each image: p, eta (N, sum of s_k); delta (N, K); age (N,).

    Float64 and unclipped here; float32 and clipped from the engine.
    """

    p: NDArray[np.floating[Any]]
    eta: NDArray[np.floating[Any]]
    delta: NDArray[np.floating[Any]]
    age: NDArray[np.floating[Any]]


def soft_stagewise_regression(
    p: ArrayLike,
    eta: ArrayLike,
    delta: ArrayLike,
    stages: Sequence[int],
    value_range: float,
    lambda_index: float = 1.0,
    lambda_width: float = 1.0,
    denominator_floor: float = 1e-3,
) -> Array:
    """Soft stagewise regression, Equation 7 of the paper, with the bins of Equations 4 to 6.

    p, eta: (N, sum of s_k); delta: (N, K). Returns (N,), unclipped:
    V * sum_k [ sum_i p_i (i + lambda_index * eta_i) ] / prod_{j<=k} s_j * d_j, where
    d_j = max(1 + lambda_width * delta_j, denominator_floor).
    """
    p, eta, delta = (np.asarray(a, np.float64) for a in (p, eta, delta))
    age = np.zeros(len(p))
    bins, begin = np.ones(len(p)), 0  # bins: the product of the adjusted bin numbers so far
    for k, s in enumerate(stages):
        bins = bins * s * np.maximum(1.0 + lambda_width * delta[:, k], denominator_floor)
        part = slice(begin, begin + s)
        age += (p[:, part] * (np.arange(s) + lambda_index * eta[:, part])).sum(axis=1) / bins
        begin += s
    return value_range * age


def network(parameters: Parameters, architecture: Architecture, images: ArrayLike) -> Stages:
    """SSR-Net (paper Figure 1) on (N, 64, 64, 3) values 0..255 in the contract's colour order.

    ``parameters`` are named and shaped as ``Architecture.parameter_shapes`` says.
    """
    w = {name: np.asarray(value, np.float64) for name, value in parameters.items()}
    x = s = np.asarray(images, np.float64)
    levels: dict[int, tuple[Array, Array]] = {}
    for block in range(BLOCKS):
        x = np.maximum(_conv_norm(w, f"x.{block}", x, architecture.batch_norm_epsilon), 0.0)
        s = np.tanh(_conv_norm(w, f"s.{block}", s, architecture.batch_norm_epsilon))
        if block < BLOCKS - 1:
            x, s = windows(x, 2).mean(axis=(2, 4)), windows(s, 2).max(axis=(2, 4))
        levels[block + 1] = (x, s)
    outputs = [_stage(w, f"stages.{k}", *levels[t.level], t.pool) for k, t in enumerate(architecture.taps)]
    return regressed(architecture, outputs)


def regressed(a: Architecture, outputs: Sequence[tuple[Array, Array, Array]]) -> Stages:
    """What the stages' p, eta and delta, each (N, ...), say together."""
    p, eta, delta = (np.concatenate(parts, axis=1) for parts in zip(*outputs, strict=True))
    age = soft_stagewise_regression(
        p, eta, delta, a.stages, a.value_range, a.lambda_index, a.lambda_width, a.denominator_floor
    )
    return Stages(p, eta, delta, age)


def _stage(w: Parameters, prefix: str, x: Array, s: Array, pool: int) -> tuple[Array, Array, Array]:
    """Fusion block of one stage (paper Figure 1b): features (N, H, W, C) to p, eta, delta."""

    def fuse(name: str, v: Array) -> Array:
        return np.maximum(v @ w[f"{prefix}.{name}.weight"][:, :, 0, 0].T + w[f"{prefix}.{name}.bias"], 0.0)

    fx = windows(fuse("fuse_x", x), pool).mean(axis=(2, 4))
    fs = windows(fuse("fuse_s", s), pool).max(axis=(2, 4))
    return predict_stage(w, prefix, fx, fs)


def predict_stage(w: Parameters, prefix: str, fx: Array, fs: Array) -> tuple[Array, Array, Array]:
    """Prediction block of one stage: pooled features (N, H, W, F) of both streams to p, eta, delta."""

    def dense(name: str, v: Array) -> Array:
        return v @ w[f"{prefix}.{name}.weight"].T + w[f"{prefix}.{name}.bias"]

    fx, fs = fx.reshape(len(fx), -1), fs.reshape(len(fs), -1)
    delta = np.tanh(dense("delta", fs * fx))
    mixed = np.maximum(dense("bins_s", fs), 0.0) * np.maximum(dense("bins_x", fx), 0.0)
    mixed = np.maximum(dense("mix", mixed), 0.0)
    return np.maximum(dense("p", mixed), 0.0), np.tanh(dense("eta", mixed)), delta


def _conv_norm(w: Parameters, prefix: str, v: Array, epsilon: float) -> Array:
    """Valid 3x3 convolution, then batch norm with the running statistics; v is (N, H, W, C)."""
    patches = np.lib.stride_tricks.sliding_window_view(v, (3, 3), axis=(1, 2))  # (N, H-2, W-2, C, 3, 3)
    out = np.tensordot(patches, w[f"{prefix}.conv.weight"], axes=((3, 4, 5), (1, 2, 3)))
    out = out + w[f"{prefix}.conv.bias"] - w[f"{prefix}.norm.running_mean"]
    scale = w[f"{prefix}.norm.weight"] / np.sqrt(w[f"{prefix}.norm.running_var"] + epsilon)
    return np.asarray(out * scale + w[f"{prefix}.norm.bias"])


def windows(v: NDArray[Any], size: int) -> NDArray[Any]:
    """(N, H, W, C) as (N, H/size, size, W/size, size, C), floor division: pool over axes 2 and 4."""
    n, h, w, c = v.shape
    h, w = h // size, w // size
    return v[:, : h * size, : w * size].reshape(n, h, size, w, size, c)


def answer(contract: Contract, stages: Stages) -> dict[str, Array]:
    """The named outputs a client receives: the answer (N,), its interval (N, 2) if calibrated."""
    output = contract.interface.output
    value = served(contract, stages.age)
    outputs = {output.name: value}
    if contract.interval is not None:
        outputs[f"{output.name}_interval"] = interval(contract.interval, value, output.clip)
    return outputs


def served(contract: ServedContract, value: ArrayLike) -> Array:
    """The network's own ``value`` (N,) as a client receives it: clipped, then recalibrated if the contract
    says so."""
    clipped: Array = np.clip(np.asarray(value, np.float64), *contract.interface.output.clip)
    if (points := contract.recalibration) is None:
        return clipped
    return np.interp(clipped, points.before, points.after)


def interval(calibrated: Interval, value: Array, clip: tuple[float, float]) -> Array:
    """Lower and upper end (N, 2) of the calibrated interval of each served ``value`` (N,)."""
    half = np.asarray(calibrated.half_widths)[np.searchsorted(calibrated.edges, value, side="right")]
    ends: Array = np.clip(np.stack([value - half, value + half], axis=1), *clip)
    return ends


def crop_faces(
    picture: NDArray[np.uint8], boxes: ArrayLike, crop: Crop, landmarks: Sequence[Points] | None = None
) -> NDArray[np.uint8]:
    """Cut faces as the contract's ``crop`` says: picture (H, W, 3), boxes (M, 4) as x, y, w, h.

    An aligned crop goes by the ``landmarks`` of the M faces alone. Returns (M, 64, 64, 3) in the picture's
    colour order. Raises ``SsrError`` for a box that is not finite, has no area, or does not meet the picture,
    and for landmarks that are missing or on one line.
    """
    faces = np.asarray(boxes, np.float64).reshape(-1, 4)
    if crop.template is None:
        parts = cuts(faces.tolist(), crop, *picture.shape[:2])
        made = [sampling.resized(picture, part, crop.border, IMAGE_SIZE) for part in parts]
    else:
        grids = align(landmarks, len(faces), crop.template, IMAGE_SIZE)
        made = [sampling.aligned(picture, grid, crop.border, IMAGE_SIZE) for grid in grids]
    return np.array(made, np.uint8).reshape(-1, IMAGE_SIZE, IMAGE_SIZE, 3)
