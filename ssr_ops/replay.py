"""Replay a bundle's golden record with the engine of this machine: after import, before it may serve."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ssr_bundle.bundle import Bundle
from ssr_bundle.contract import PRECISIONS
from ssr_bundle.errors import SsrError
from ssr_bundle.tolerances import REPLAY_OPERATOR, REPLAY_STAGES, required
from ssr_ops import reference
from ssr_ops.golden import face_drift, interval_drift
from ssr_ops.magnitude import operator_scale


class ReplayError(SsrError):
    """The engine does not reproduce the bundle's golden record."""


@dataclass(frozen=True)
class Replay:
    """What ran, on how many images, and the largest drift on face crops, in the output's unit."""

    precision: str
    implementation: str
    images: int
    worst: float
    tolerance: float


def replay(bundle: Bundle, precision: str = "fp32") -> Replay:
    """Run the engine over the golden images.

    Face crops are held to what ``ssr_bundle.tolerances`` requires of the answer. Noise and checker patterns
    drive Delta to the denominator floor, where one ulp of the network moves the answer by years, so that in
    fp32 the two well-conditioned halves are checked instead: p, eta and Delta within ``REPLAY_STAGES`` of the
    reference, and the answer against the float64 operator applied to the engine's own p, eta and Delta,
    within ``REPLAY_OPERATOR``.
    Raises :class:`ReplayError` naming the first quantity that is off, ``BundleError`` for a record that is
    none.
    """
    from ssr_ops import Engine

    contract = bundle.contract
    golden = bundle.golden()
    engine = Engine(str(bundle.path), precision=precision, note=False)
    stages = engine.predict_stages(golden["images"])
    drift = float(face_drift(golden, stages.age).max(initial=0.0))
    allowed = required("native", precision, contract).few
    if not drift <= allowed:
        raise ReplayError(
            f"{bundle.path}: replaying its golden record in {precision}, the engine is off by {drift:.3g} "
            f"{contract.interface.output.unit} on face crops, allowed {allowed:.3g}"
        )
    if precision == "fp32":
        _check_stages(bundle, golden, stages)
        _check_operator(bundle, stages)
    if contract.interval is not None:
        ends = engine.predict_full(golden["images"])[f"{contract.interface.output.name}_interval"]
        apart, most = interval_drift(contract, stages.age, ends)
        if not apart <= most:
            raise ReplayError(f"{bundle.path}: replaying its golden record, the calibrated intervals are off")
    if not np.array_equal(engine.predict(golden["images"]), stages.age):
        raise ReplayError(f"{bundle.path}: two runs of the engine over its golden record differ")
    return Replay(precision, engine.implementation, len(golden["images"]), drift, allowed)


def replay_all(bundle: Bundle) -> list[Replay]:
    """:func:`replay` in fp32 and in every other precision that the bundle is quantized for and this build
    runs on this machine."""
    from ssr_ops import implementations

    others = () if bundle.contract.quantization is None else PRECISIONS
    return [replay(bundle, p) for p in ("fp32", *others) if implementations(precision=p)]


def _check_stages(bundle: Bundle, golden: dict[str, NDArray[np.float64]], stages: reference.Stages) -> None:
    for name in ("p", "eta", "delta"):
        values, expected = getattr(stages, name), golden[name]
        magnitude = np.maximum(1.0, np.abs(expected).max(axis=1, keepdims=True))
        same = values.shape == expected.shape
        drift = float(np.max(np.abs(values - expected) / magnitude, initial=0.0)) if same else np.nan
        if not drift <= REPLAY_STAGES:
            raise ReplayError(
                f"{bundle.path}: replaying its golden record, {name} is off by {drift:.3g} of its magnitude, "
                f"allowed {REPLAY_STAGES:g}"
            )


def _check_operator(bundle: Bundle, stages: reference.Stages) -> None:
    a, answer = bundle.contract.architecture, stages.age
    numbers = (a.stages, a.value_range, a.lambda_index, a.lambda_width, a.denominator_floor)
    p, eta, delta = (v.astype(np.float64) for v in (stages.p, stages.eta, stages.delta))
    expected = reference.served(bundle.contract, reference.soft_stagewise_regression(p, eta, delta, *numbers))
    allowed = REPLAY_OPERATOR * operator_scale(p, eta, delta, *numbers) + 1e-6 * a.value_range
    allowed *= bundle.contract.magnified
    excess = np.abs(answer - expected) - allowed
    if not (excess <= 0).all():
        row = int(np.argmax(excess))
        raise ReplayError(
            f"{bundle.path}: replaying its golden record, the engine answers {answer[row]:.6g} "
            f"for image {row} where its own stages give {expected[row]:.6g}"
        )
