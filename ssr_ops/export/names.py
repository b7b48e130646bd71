"""What an exported graph is called and what it says of itself; standard library only."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

from ssr_bundle.contract import Contract, canonical_json
from ssr_bundle.errors import SsrError
from ssr_bundle.method import ServedContract

PRECISIONS = ("fp32", "fp16", "int8")
"""Arithmetic of the convolutions; the age arithmetic is float32 in every one."""

VERSION_KEY = "ssr.version"
"""Metadata key of the version of this project that wrote the graph."""

_FILES = {"fp32": "model.onnx", "fp16": "model.fp16.onnx", "int8": "model.int8.onnx"}


class ExportError(SsrError):
    """A bundle that cannot be exported as asked, or an ONNX file that is not what it should be."""


def check_precision(precision: str) -> str:
    """``precision`` itself; raises :class:`ExportError` unless it is one of :data:`PRECISIONS`."""
    if precision not in PRECISIONS:
        raise ExportError(f"precision {precision!r} is unknown, expected one of {', '.join(PRECISIONS)}")
    return precision


def onnx_name(precision: str) -> str:
    """The file in a bundle that holds its graph in ``precision``."""
    return _FILES[check_precision(precision)]


def command(path: Path, precisions: Iterable[str], *, force: bool = False) -> str:
    """The command that writes these graphs into the bundle at ``path``."""
    return f"ssr-train export {path} --precision {','.join(precisions)}{' --force' if force else ''}"


def outdated(before: Contract, after: Contract) -> list[str]:
    """Precisions of the graphs that ``before`` lists and that are not of the network of ``after``."""
    return [
        precision
        for precision in PRECISIONS
        if onnx_name(precision) in before.files and metadata(before, precision) != metadata(after, precision)
    ]


def network_sha256(contract: ServedContract, precision: str) -> str:
    """A hash over what a graph is made from beside interface and weights."""
    return hashlib.sha256(canonical_json(contract.network_json(precision)).encode()).hexdigest()


def metadata(contract: ServedContract, precision: str) -> dict[str, str]:
    """What the graph of this contract in ``precision`` says of itself."""
    return {
        VERSION_KEY: version("ssr-serve"),
        "ssr.precision": precision,
        "ssr.interface_sha256": contract.interface.sha256,
        "ssr.weights_sha256": contract.weights_sha256,
        "ssr.network_sha256": network_sha256(contract, precision),
    }
