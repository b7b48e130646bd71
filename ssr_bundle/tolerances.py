"""How closely each step must agree with the float64 reference: the one table, each bound with its reason.

``REQUIRED`` is what the project promises of any bundle, by (step, precision): importing, calibrating,
building and ``ssr-serve verify`` refuse or report what lies beyond it. ``TABLE`` is what the engine's
implementations were measured to do, by (implementation, precision): tests hold them to it. Both are in years
for V = 101 and scaled by V / 101 for other V, by :func:`required` and :func:`tolerance`; the former scales by
the slope of a recalibration too, where that is above 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ssr_bundle.method import MethodContract, ServedContract


@dataclass(frozen=True)
class Limits:
    """Bounds on answers less the reference's, on face crops; infinite: not bounded.

    ``max``, ``mean``, ``p99``: of the size; ``signed``: size of the mean with its sign. All but ``max`` are
    of many crops (``LEAST`` of ``ssr_client.gather``), from photos that calibration never saw.
    """

    reason: str
    max: float = math.inf
    mean: float = math.inf
    p99: float = math.inf
    signed: float = math.inf

    @property
    def few(self) -> float:
        """Bound on the largest size among too few crops for a mean or a percentile."""
        return min(self.max, self.p99)

    def bounds(self, many: bool) -> dict[str, float]:
        """The finite bounds by name, as they hold for many crops or for few."""
        named = {"mean": self.mean, "signed": self.signed, "p99": self.p99, "max": self.max}
        return {k: v for k, v in (named if many else {"max": self.few}).items() if math.isfinite(v)}


_EXACT = "float32 arithmetic, measured to keep 4e-5: what is beyond the bound is a mistake, not rounding"
_FP16 = (
    "11 bits of significand in the maps, the age arithmetic in float32: the bound is a choice of the project"
)
_BF16 = "8 bits of significand, biases corrected: the bound is a choice of the project"
_INT8 = (
    "256 steps a map, biases corrected and rounding learned: a choice again; one crop in 100 may lie further"
)

REQUIRED: dict[tuple[str, str], Limits] = {
    ("reference", "fp64"): Limits(
        "float64 again, the sums in the order of another NumPy or BLAS: what is beyond it is another network",
        max=1e-6,
    ),
    ("torch", "fp32"): Limits(_EXACT, max=1e-3),
    **{(step, "fp32"): Limits(_EXACT, max=2e-3) for step in ("native", "onnx", "tensorrt")},
    **{(step, "fp16"): Limits(_FP16, max=0.25, mean=0.05) for step in ("onnx", "tensorrt")},
    ("native", "bf16"): Limits(_BF16, max=0.75, mean=0.10),
    **{
        (step, "int8"): Limits(_INT8, mean=0.40, p99=1.75, signed=0.20)
        for step in ("native", "onnx", "tensorrt")
    },
}
"""Bounds by step of the ladder and precision, in years at V = 101. Served answers are the engine's bits."""

_STEEP = (
    "a probability: where such a network wavers between 0 and 1 its answer is so steep that years' bounds, "
    "scaled, are held by no rounding (bf16 moved the golden portrait by 0.008, fp16 another face by 0.023)"
)
PROBABILITY: dict[str, Limits] = {
    "fp16": Limits(_STEEP, max=0.03),
    "bf16": Limits(_STEEP, max=0.05),
    "int8": Limits(_STEEP, p99=0.10),
}
"""Instead of ``REQUIRED``, by precision, for networks that answer a probability (V = 1); not scaled."""

REPLAY_STAGES = 1e-3
"""p, eta and Delta of any picture in fp32, relative to the row's largest value where that is above 1."""

REPLAY_OPERATOR = 1e-4
"""The answer in fp32 against its own p, eta and Delta, relative to the sum of the terms' magnitudes."""


@dataclass(frozen=True)
class FaceLimits:
    """Bounds on the faces of a detector less others' of the same frame: boxes and landmarks in ``pixels``,
    and scores."""

    pixels: float
    score: float


FACES: dict[str, FaceLimits] = {
    "fp32": FaceLimits(0.01, 1e-4),
    "bf16": FaceLimits(0.5, 0.03),
    "int8": FaceLimits(0.5, 0.03),
}
"""How far a detector may lie from the float64 reference. In float32 ONNX Runtime and OpenCV were measured to
keep 1e-4 pixels and 1e-6: what is beyond the bound is a mistake. The others are choices of the project."""

FACES_OF_OPENCV = FaceLimits(0.5, 0.03)
"""How far any detector may lie from OpenCV's ``FaceDetectorYN``: a choice of the project."""


def required(step: str, precision: str, contract: ServedContract) -> Limits:
    """``REQUIRED`` of a step for this network, in its output's unit; ``KeyError`` for an unknown one.

    Of a method that counts yeses a rounding can move an answer by one step, where a yes is on the edge.
    """
    limits = REQUIRED[step, precision]
    scale = contract.magnified
    if contract.interface.output.unit == "probability" and precision in PROBABILITY:
        limits = PROBABILITY[precision]
    else:
        scale *= contract.value_range / 101
    named = ("max", "mean", "p99", "signed")
    limits = replace(limits, **{name: getattr(limits, name) * scale for name in named})
    if isinstance(contract, MethodContract) and step != "reference":
        limits = replace(limits, max=limits.max + contract.method.step)
    return limits


@dataclass(frozen=True)
class Tolerance:
    """Largest difference of an implementation from the reference.

    ``faces``: answers on face crops; ``anywhere``: clipped answers on noise and hard-edged checkers, where
    widths come near the denominator floor and magnify rounding (101 is no bound); both in years.
    ``stages``: p, eta and Delta, relative to the largest magnitude in the array (at least 1); in bf16 and
    int8 from ``ssr_ops.quantized`` instead, which says what these networks are.
    """

    faces: float
    anywhere: float
    stages: float
    reason: str


_WINOGRAD = (
    "float32 sums of at most 288 products, transformed by Winograd's F(4x4, 3x3) at points that keep their "
    "error, and a tanh good to 1.2e-7, the tail in double: measured on faces 3.7e-5 (age networks) and "
    "1.4e-4 (the V = 1 network, scaled to V = 101), on checkers 6e-5; the requirement is 2e-3"
)
_INT8_STAGES = (
    "answers as required of int8; stages against ssr_ops.quantized, which is this network to the "
    "bit up to the dense layers: what is left is their float32 sums, measured 1.5e-7"
)
_BF16_STAGES = (
    "answers as required of bf16; stages against ssr_ops.quantized, whose sums are float64: "
    "a value near the middle of two bfloat16 may round the other way, by 2^-8 of itself, measured 1.2e-4"
)
_BF16_WEIGHTS = (
    "the fp32 kernels on weights in bfloat16; stages against ssr_ops.quantized.bf16(round_maps=False), so as "
    "fp32's; answers as required of bf16"
)
_FEW = {precision: REQUIRED["native", precision].few for precision in ("fp32", "bf16", "int8")}

TABLE: dict[tuple[str, str], Tolerance] = {
    **{(name, "fp32"): Tolerance(5e-4, 1e-3, 1e-5, _WINOGRAD) for name in ("avx512", "avx2", "portable")},
    ("cuda", "fp32"): Tolerance(
        _FEW["fp32"],
        1e-2,
        1e-4,
        "one chain of sums an output, so ten times the CPU's bound: the requirement itself",
    ),
    **{
        (name, "int8"): Tolerance(_FEW["int8"], 101.0, 1e-5, _INT8_STAGES)
        for name in ("amx", "avx512vnni", "avxvnni", "avx2", "portable")
    },
    ("onnx", "fp32"): Tolerance(
        2e-4,
        1e-3,
        1e-5,
        "float32 throughout, in ONNX Runtime: measured on faces 6e-6 (age networks) and 1.7e-5 (the V = 1 "
        "network, scaled), on checkers 6e-5, stages 9.5e-7",
    ),
    ("onnx", "fp16"): Tolerance(
        REQUIRED["onnx", "fp16"].few,
        101.0,
        1e-2,
        "answers as required of fp16, measured on faces 0.05; stages measured 2.1e-3",
    ),
    ("onnx", "int8"): Tolerance(
        REQUIRED["onnx", "int8"].few,
        101.0,
        6e-2,
        "answers as required of int8; stages against ssr_ops.quantized, whose bytes these are but where a "
        "value near the middle of two rounds the other way, tanh there being a polynomial: measured 3e-2",
    ),
    ("amx", "bf16"): Tolerance(_FEW["bf16"], 101.0, 1e-3, _BF16_STAGES),
    **{
        (name, "bf16"): Tolerance(_FEW["bf16"], 101.0, 1e-5, _BF16_WEIGHTS)
        for name in ("avx512", "avx2", "portable")
    },
}
"""What each implementation was measured to keep, in years at V = 101."""

OFFICIAL = 1e-3
"""Years from the original network's printed float32 outputs, for the reference and torch."""


def tolerance(implementation: str, precision: str, value_range: float) -> Tolerance:
    """The row of ``(implementation, precision)`` for a network with V = ``value_range``."""
    row = TABLE[implementation, precision]
    scale = value_range / 101.0
    return replace(row, faces=row.faces * scale, anywhere=row.anywhere * scale)


OPERATOR: dict[str, tuple[float, str]] = {
    "float32": (
        2e-6,
        "about ten roundings of 6e-8 a term, in float (vector kernels, CUDA) or once at the end (portable)",
    ),
    "float64": (4e-15, "the same count of roundings of 1.1e-16, in another order than the reference's"),
}
"""The operator alone, for every implementation and by dtype, relative to
:func:`ssr_ops.magnitude.operator_scale`."""


def operator_tolerance(implementation: str, dtype: np.dtype[Any]) -> float:
    """Relative bound of ``implementation`` ("portable", "avx2", "avx512" or "cuda") in ``dtype``."""
    if implementation not in ("portable", "avx2", "avx512", "cuda"):
        raise KeyError(implementation)
    return OPERATOR[dtype.name][0]
