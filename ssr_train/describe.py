"""What a bundle is, in words, for ``ssr-train import-keras`` and ``ssr-train info``."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

from ssr_bundle.bundle import Bundle
from ssr_bundle.contract import Contract, Interface
from ssr_bundle.method import MethodBundle, ServedBundle
from ssr_bundle.report import table
from ssr_ops.export.runtime import OnnxReplay
from ssr_ops.replay import Replay


def describe(bundle: Bundle, checks: Sequence[Replay], full: bool) -> None:
    """Print network, contract and the golden checks; with ``full`` also provenance and files."""
    contract, a = bundle.contract, bundle.contract.architecture
    interface = contract.interface
    stored = sum(math.prod(shape) for shape in a.parameter_shapes().values())
    statistics = sum(
        math.prod(shape) for name, shape in a.parameter_shapes().items() if ".norm.running_" in name
    )
    kind = "general network, probability of male" if interface.output.name == "male" else "age network"
    network = [
        ("network", f"SSR-Net {tuple(a.stages)}, {kind}, V = {a.value_range:g}"),
        ("numbers", f"{stored:,} stored, {stored - statistics:,} of them trained"),
    ]
    more = []
    if contract.interval is not None:
        more.append(("interval", f"calibrated for {contract.interval.coverage:.0%}"))
    if contract.recalibration is not None:
        more.append(("answers", f"recalibrated: {contract.recalibration.describe()}"))
    more += [("quantization", line) for line in _quantization(contract)]
    _print(bundle, network, [_golden(check, interface) for check in checks], more, full)


def describe_method(bundle: MethodBundle, check: OnnxReplay, full: bool) -> None:
    """The same of another method than SSR-Net, whose graph was replayed."""
    method, unit = bundle.contract.method, bundle.contract.interface.output.unit
    options = ", ".join(f"{name} {_plain(value)}" for name, value in method.options.items())
    stored = sum(array.size for array in bundle.parameters().values())
    network = [
        ("method", f"{method.name}{f' ({options})' if options else ''}, as an ONNX graph"),
        ("numbers", f"{stored:,} stored"),
    ]
    golden = (
        f"replayed in ONNX Runtime: {check.images} images, on faces {check.worst:.1e} {unit} off "
        f"(allowed {check.tolerance:.1e})"
    )
    _print(bundle, network, [golden], [], full)


def _print(
    bundle: ServedBundle,
    network: Sequence[tuple[str, str]],
    checks: Sequence[str],
    more: Sequence[tuple[str, str]],
    full: bool,
) -> None:
    contract, interface = bundle.contract, bundle.contract.interface
    low, high = interface.output.clip
    rows = [
        ("bundle", f"{bundle.path} ({contract.name})"),
        *network,
        ("input", f"{interface.input.name}: 64 x 64, {interface.input.colour.upper()}, bytes 0..255"),
        ("crop", interface.crop.describe()),
        ("output", f"{interface.output.name}, {interface.output.unit}, clipped to {low:g}..{high:g}"),
        *(("golden" if i == 0 else "", check) for i, check in enumerate(checks)),
        ("weights", f"sha256 {contract.weights_sha256}"),
    ]
    if full:
        rows += [("interface", f"sha256 {interface.sha256}"), *more]
        rows += [(f"  {key}", _plain(value)) for key, value in sorted(contract.provenance.items())]
        rows += [(f"  {name}", f"{file.bytes:,} bytes") for name, file in contract.files.items()]
    if contract.provenance.get("synthetic"):
        rows.append(("note", "these weights learned from drawn faces: do not trust them on photos"))
    table(rows)


def drift_rows(contract: Contract) -> list[tuple[str, ...]]:
    """Precision, crops, mean, mean with sign, 99th percentile, largest drift from fp32, and the mean error
    on labelled crops (or -), of what a quantized contract recorded."""
    rows = []
    record = {} if contract.quantization is None else contract.quantization.calibration
    try:
        for precision, sets in record.get("drift", {}).items():
            for name, drift in sets.items():
                errors = record[name].get("mae")
                rows.append((
                    precision,
                    f"{record[name]['crops']} {'quantized on' if name == 'calibration' else 'held out'}",
                    *(f"{drift[key]:{sign}.3f}" for key, sign in _DRIFT),
                    f"{errors['fp32']:.3f} -> {errors[precision]:.3f}" if errors else "-",
                ))  # fmt: skip
    except (AttributeError, KeyError, TypeError, ValueError):  # the record is free text for readers
        return []
    return rows


_DRIFT = (("mean", ""), ("signed", "+"), ("p99", ""), ("max", ""))


def _golden(check: Replay, interface: Interface) -> str:
    return (
        f"replayed by the native engine ({check.precision}, {check.implementation}): {check.images} images, "
        f"on faces {check.worst:.1e} {interface.output.unit} off (allowed {check.tolerance:.1e})"
    )


def _quantization(contract: Contract) -> list[str]:
    """How int8 and bf16 were quantized, and their drift."""
    q = contract.quantization
    if q is None:
        return ["none: int8 and bf16 need `ssr-train quantize`"]
    lists = all(isinstance(v, tuple) for v in q.ranges.values())
    lines = [
        f"int8 and bf16; ranges {'a channel' if lists else 'a map'}, "
        f"{'learned rounding' if q.rounding is not None else 'rounded to nearest'}"
    ]
    source = q.calibration.get("source")
    if isinstance(source, dict) and "synthetic" in source:
        lines[0] += ", quantized on " + ("drawn faces" if source["synthetic"] else "photos")
    lines += [
        f"{precision} on {crops} crops: mean {mean}, signed {signed}, 99 % {p99}, max {largest}"
        for precision, crops, mean, signed, p99, largest, _ in drift_rows(contract)
    ]
    return lines


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
