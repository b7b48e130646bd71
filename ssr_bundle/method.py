"""The bundle of another method than SSR-Net: a folder like SSR-Net's (:mod:`ssr_bundle.bundle`).

Its network is an ONNX graph, ``model.onnx``, from the same bytes to the same kind of answer, so that any
runtime serves it and the same client asks it. ``contract.json`` has the same ``interface``;
``model.safetensors`` holds the numbers that the method was trained to, ``golden.safetensors`` pictures with
the answers of the method in float64. ``ssr-train export`` writes it. Read as strictly as SSR-Net's.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssr_bundle.bundle import (
    GOLDEN_FILE,
    MODEL_FILE,
    Bundle,
    check_images,
    checked_contract,
    load_tensors,
)
from ssr_bundle.contract import (
    Contract,
    File,
    Interface,
    check_interface,
    check_model_name,
    parsed,
    read_files,
    read_provenance,
    text_of,
)
from ssr_bundle.fields import ContractError, Fields, same
from ssr_bundle.shown import shown

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Tensors = dict[str, NDArray[Any]]

KIND = "method"
CONTRACT_VERSION = 1
GRAPH_FILE = "model.onnx"


@dataclass(frozen=True)
class Method:
    """Which method of the zoo, built with which ``options``. ``step``: of a method that counts, the years
    between the answers that it can give; 0 where it can give any."""

    name: str
    options: dict[str, Any] = field(default_factory=dict)
    step: float = 0.0

    @classmethod
    def from_json(cls, data: Any) -> Method:
        block = Fields(data, "method")
        step = block.number("step")
        if step < 0:
            raise ContractError(f"method.step: must not be negative, got {step}")
        return cls(block.text("name"), dict(Fields(block["options"], "method.options").data), step)


@dataclass(frozen=True)
class MethodContract:
    """Everything a user of the weights must know. What SSR-Net's contract has and this one lacks is None."""

    name: str
    interface: Interface
    method: Method
    provenance: dict[str, Any] = field(default_factory=dict)
    files: dict[str, File] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_model_name(self.name)

    @property
    def quantization(self) -> None:
        return None

    @property
    def interval(self) -> None:
        return None

    @property
    def recalibration(self) -> None:
        return None

    @property
    def magnified(self) -> float:
        return 1.0

    @property
    def value_range(self) -> float:
        """Length of the range that answers are clipped to."""
        low, high = self.interface.output.clip
        return high - low

    @property
    def weights_sha256(self) -> str:
        """Identity of the version: the hash of its ``model.safetensors``."""
        return self.files[MODEL_FILE].sha256

    def network_json(self, precision: str) -> dict[str, Any]:
        """What the graph is made from beside interface and weights."""
        return {"method": asdict(self.method)}

    def with_files(self, files: Mapping[str, File]) -> MethodContract:
        return replace(self, files=dict(sorted(files.items())))

    def to_json(self) -> dict[str, Any]:
        return {
            "contract_version": CONTRACT_VERSION,
            "kind": KIND,
            "name": self.name,
            "interface": self.interface.to_json(),
            "interface_sha256": self.interface.sha256,
            "method": asdict(self.method),
            "provenance": self.provenance,
            "files": {name: asdict(entry) for name, entry in self.files.items()},
        }

    def dumps(self) -> str:
        """The text of ``contract.json``."""
        return text_of(self.to_json())

    @classmethod
    def loads(cls, text: str) -> MethodContract:
        """Parse and check ``contract.json``; raises :class:`ContractError` naming the first fault."""
        block = parsed(text)
        if not same(kind := block.data.get("kind"), KIND):
            whose = "an SSR-Net, which has no kind" if kind is None else f"a {shown(kind)}"
            raise ContractError(f"kind: this is the bundle of {whose}, expected a method's")
        if not same(version := block["contract_version"], CONTRACT_VERSION):
            raise ContractError(f"contract_version {shown(version)} is unknown, expected {CONTRACT_VERSION}")
        interface = Interface.from_json(block["interface"])
        check_interface(interface, block, text)
        contract = cls(
            name=block.text("name"),
            interface=interface,
            method=Method.from_json(block["method"]),
            provenance=read_provenance(block["provenance"]),
            files=read_files(block["files"]),
        )
        if GRAPH_FILE not in contract.files:
            raise ContractError(f"files: {GRAPH_FILE} is not listed, which is the network of a method")
        return contract


@dataclass(frozen=True)
class MethodBundle:
    """A verified bundle of a method on disk."""

    path: Path
    contract: MethodContract

    def parameters(self) -> Tensors:
        """The numbers of the method by name, as the zoo stores them."""
        return load_tensors(self.path / MODEL_FILE)

    def golden(self) -> Tensors:
        """Recorded ``images`` (N, 64, 64, 3), the first M of them the ``crops``, and the method's float64
        answers ``output`` (N,), clipped."""
        record = load_tensors(self.path / GOLDEN_FILE)
        check_images(record, {"output": ("float64", ())}, self.path)
        return record


ServedContract = Contract | MethodContract
ServedBundle = Bundle | MethodBundle
"""What a model repository serves."""


def read_method(path: str | os.PathLike[str]) -> MethodBundle:
    """Open the bundle of a method at ``path``, as :func:`~ssr_bundle.bundle.read_bundle` opens SSR-Net's."""
    folder = Path(path)
    return MethodBundle(folder, checked_contract(folder, MethodContract.loads))


def read_served(path: str | os.PathLike[str]) -> ServedBundle:
    """Open the bundle at ``path``, SSR-Net's or another method's, by the kind that its contract states.

    Raises :class:`BundleError` naming the file that is missing, truncated, altered or foreign.
    """
    folder = Path(path)
    contract = checked_contract(folder, _loads)
    if isinstance(contract, MethodContract):
        return MethodBundle(folder, contract)
    return Bundle(folder, contract)


def _loads(text: str) -> ServedContract:
    kind = parsed(text).data.get("kind")
    return MethodContract.loads(text) if same(kind, KIND) else Contract.loads(text)
