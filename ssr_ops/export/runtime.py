"""Is an ONNX graph this bundle's, and does it answer as the bundle's golden record says?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssr_bundle.method import MethodBundle, ServedBundle
from ssr_bundle.tolerances import required
from ssr_ops.export.names import PRECISIONS, VERSION_KEY, ExportError, command, metadata
from ssr_ops.golden import face_drift, interval_drift


@dataclass(frozen=True)
class OnnxReplay:
    """On how many golden images a graph ran, and its largest and mean difference from the float64 reference
    on the face crops among them, in ``unit``."""

    precision: str
    images: int
    worst: float
    mean: float
    tolerance: float
    unit: str


def check_onnx(model: bytes, bundle: ServedBundle, where: str = "ONNX graph") -> str:
    """The precision of a serialized graph that was exported from this very bundle.

    Interface, weights, architecture and, in int8, quantization are compared by their hashes; the version of
    the project that wrote it only has to be named. ``where`` begins an error. Raises :class:`ExportError` for
    anything else: no ONNX, a graph of another origin, contract, network or quantization.
    """
    stated = _metadata(model, where)
    precision = stated.get("ssr.precision", "")
    if precision not in PRECISIONS or VERSION_KEY not in stated:
        raise ExportError(f"{where}: not written by `ssr-train export`, its metadata lacks what that states")
    if precision == "int8" and bundle.contract.quantization is None:
        raise ExportError(f"{where}: int8, but {bundle.path} is not quantized")
    for key, expected in metadata(bundle.contract, precision).items():
        if key != VERSION_KEY and stated.get(key) != expected:
            origin = _exported_from(bundle, precision)
            raise ExportError(f"{where}: {key} is {stated.get(key)}, expected {expected}: {origin}")
    return precision


def _exported_from(bundle: ServedBundle, precision: str) -> str:
    if isinstance(bundle, MethodBundle):
        return "exported from another system; run `ssr-train export SYSTEM` again"
    again = command(bundle.path, [precision], force=True)
    return f"exported from another bundle, or before this one changed; run `{again}`"


def replay_onnx(model: bytes, bundle: ServedBundle, where: str = "ONNX graph") -> OnnxReplay:
    """Run a serialized graph over the golden images in ONNX Runtime, on the CPU.

    Face crops are held to what ``ssr_bundle.tolerances`` requires; noise and checkers, where rounding is
    magnified without bound, to finite answers in the clip range. Raises :class:`ExportError` for a graph
    that :func:`check_onnx` refuses, that does not run, or that misses.
    """
    precision = check_onnx(model, bundle, where)
    golden, output = bundle.golden(), bundle.contract.interface.output
    found = run_onnx(model, bundle, golden["images"], where)
    answers = found[output.name]
    if answers.shape != (len(golden["images"]), 1):
        raise ExportError(
            f"{where}: {output.name} has shape {answers.shape} for {len(golden['images'])} images"
        )
    low, high = np.float32(output.clip[0]), np.float32(output.clip[1])
    if not (np.isfinite(answers).all() and (answers >= low).all() and (answers <= high).all()):
        raise ExportError(f"{where}: {output.name} leaves {low:g}..{high:g} on golden images")
    drift = face_drift(golden, answers[:, 0])
    allowed = required("onnx", precision, bundle.contract).few
    if not drift.max() <= allowed:
        raise ExportError(
            f"{where}: in ONNX Runtime it is off by {drift.max():.3g} {output.unit} on golden face crops, "
            f"allowed {allowed:.3g}"
        )
    if bundle.contract.interval is not None:
        apart, most = interval_drift(bundle.contract, answers[:, 0], found[f"{output.name}_interval"])
        if not apart <= most:
            raise ExportError(f"{where}: in ONNX Runtime, the calibrated intervals are off by {apart:.3g}")
    return OnnxReplay(precision, len(answers), float(drift.max()), float(drift.mean()), allowed, output.unit)


def open_onnx(model: bytes, where: str = "ONNX graph", threads: int = 1) -> Any:
    """A session of ONNX Runtime on the CPU over a serialized graph; ``where`` begins an error."""
    try:
        import onnxruntime
    except ImportError:
        raise ExportError("ONNX Runtime is not installed: pip install 'ssr-serve[onnx]'") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions have no common class but this
        raise _refused(where, error) from None


def run_onnx(
    model: bytes, bundle: ServedBundle, images: NDArray[np.uint8], where: str = "ONNX graph"
) -> dict[str, NDArray[Any]]:
    """Outputs by name for images (N, 64, 64, 3), from ONNX Runtime with one thread on the CPU."""
    session = open_onnx(model, where)
    names = [value.name for value in session.get_outputs()]
    try:
        values = session.run(names, {bundle.contract.interface.input.name: images})
    except Exception as error:  # as above
        raise _refused(where, error) from None
    return dict(zip(names, values, strict=True))


def _refused(where: str, error: Exception) -> ExportError:
    return ExportError(f"{where}: ONNX Runtime refuses it: {str(error).splitlines()[0]}")


def _metadata(model: bytes, where: str) -> dict[str, str]:
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError:
        raise ExportError("onnx is not installed: pip install 'ssr-serve[onnx]'") from None
    try:
        loaded = onnx.load_model_from_string(model)
    except DecodeError:
        raise ExportError(f"{where}: not an ONNX file, or truncated") from None
    return {entry.key: entry.value for entry in loaded.metadata_props}
