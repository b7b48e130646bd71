"""Replay a bundle's golden record with the engine of this machine: after import, before it may serve."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ssr_bundle.bundle import Bundle
from ssr_bundle.contract import PRECISIONS, Contract
from ssr_bundle.errors import SsrError
from ssr_bundle.tolerances import REPLAY_OPERATOR, REPLAY_STAGES, required
from ssr_ops import reference


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
    Raises :class:`ReplayError` naming the first quantity that is off.
    """
    from ssr_ops import Engine

    contract = bundle.contract
    golden = bundle.golden()
    missing = {"images", "crops", "p", "eta", "delta", "output"} - set(golden)
    if missing:
        raise ReplayError(f"{bundle.path}: the golden record has no {sorted(missing)[0]!r}")
    engine = Engine(str(bundle.path), precision=precision)
    stages = engine.predict_stages(golden["images"])
    faces = slice(0, len(golden["crops"]))
    drift = _largest(stages.age[faces], golden["output"][faces])
    allowed = required("native", precision, contract).few
    if not drift <= allowed:
        raise ReplayError(
            f"{bundle.path}: replaying its golden record in {precision}, the engine is off by {drift:.3g} "
            f"{contract.interface.output.unit} on face crops, allowed {allowed:.3g}"
        )
    if precision == "fp32":
        _check_stages(bundle, golden, {"p": stages.p, "eta": stages.eta, "delta": stages.delta})
        _check_operator(bundle, stages.p, stages.eta, stages.delta, stages.age)
    if contract.interval is not None:
        ends = engine.predict_full(golden["images"])[f"{contract.interface.output.name}_interval"]
        expected = reference.interval(
            contract.interval, stages.age.astype(np.float64), contract.interface.output.clip
        )
        if not _largest(ends, expected) <= 1e-5 * contract.architecture.value_range:
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


def _check_stages(
    bundle: Bundle, golden: dict[str, NDArray[np.float64]], found: dict[str, NDArray[np.float32]]
) -> None:
    for name, values in found.items():
        expected = golden[name]
        magnitude = np.maximum(1.0, np.abs(expected).max(axis=1, keepdims=True))
        drift = _largest(values / magnitude, expected / magnitude)
        if not drift <= REPLAY_STAGES:
            raise ReplayError(
                f"{bundle.path}: replaying its golden record, {name} is off by {drift:.3g} of its magnitude, "
                f"allowed {REPLAY_STAGES:g}"
            )


def _check_operator(
    bundle: Bundle,
    p: NDArray[np.float32],
    eta: NDArray[np.float32],
    delta: NDArray[np.float32],
    answer: NDArray[np.float32],
) -> None:
    a = bundle.contract.architecture
    wide = [v.astype(np.float64) for v in (p, eta, delta)]
    expected = np.clip(
        reference.soft_stagewise_regression(
            wide[0],
            wide[1],
            wide[2],
            a.stages,
            a.value_range,
            a.lambda_index,
            a.lambda_width,
            a.denominator_floor,
        ),
        *bundle.contract.interface.output.clip,
    )
    index = np.concatenate([np.arange(s) for s in a.stages])
    terms = np.abs(wide[0]) * (index + a.lambda_index * np.abs(wide[1]))
    magnitude = _weigh(terms, wide[2], bundle.contract)
    excess = np.abs(answer - expected) - (REPLAY_OPERATOR * magnitude + 1e-6 * a.value_range)
    if not (excess <= 0).all():
        row = int(np.argmax(excess))
        raise ReplayError(
            f"{bundle.path}: replaying its golden record, the engine answers {answer[row]:.6g} "
            f"for image {row} where its own stages give {expected[row]:.6g}"
        )


def _weigh(terms: NDArray[np.float64], delta: NDArray[np.float64], contract: Contract) -> NDArray[np.float64]:
    """Sum of the stages' terms, each over its product of widths (Equation 7)."""
    a = contract.architecture
    total = np.zeros(len(terms))
    width = np.full(len(terms), 1.0 / a.value_range)
    start = 0
    for k, bins in enumerate(a.stages):
        width = width * bins * np.maximum(1 + a.lambda_width * delta[:, k], a.denominator_floor)
        total += terms[:, start : start + bins].sum(axis=1) / width
        start += bins
    return total


def _largest(found: NDArray[np.floating], expected: NDArray[np.floating]) -> float:
    """Largest absolute difference; NaN if there is one, which no limit accepts."""
    if np.shape(found) != np.shape(expected):
        return float("nan")
    return float(np.max(np.abs(found - expected), initial=0.0))
