"""A trained method of the zoo as the bundle that is served: contract, numbers, golden record, ONNX graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save as save_arrays
from safetensors.torch import save as save_tensors

from ssr_bundle.bundle import GOLDEN_FILE, MODEL_FILE, check_vacant, hash_file, seal
from ssr_bundle.contract import IMAGE_SIZE, Crop, Input, Interface, Output
from ssr_bundle.disk import new_folder, write_file
from ssr_bundle.errors import SsrError
from ssr_bundle.method import GRAPH_FILE, Method, MethodBundle, MethodContract
from ssr_ops.export import ExportError
from ssr_ops.export.names import metadata
from ssr_ops.export.runtime import replay_onnx
from ssr_ops.golden import golden_pictures
from ssr_train.zoo.graph import Answering, build_graph
from ssr_train.zoo.storage import load_system, numbers, read_header
from ssr_train.zoo.system import System

_SUPPORT_VECTORS = (
    "it ends in support vectors, thousands of the training faces' features, which are searched for every face"
)


def write_method(
    folder: Path, out: Path, *, name: str | None = None, crop: Crop | None = None, overwrite: bool = False
) -> MethodBundle:
    """Write the system in ``folder`` as the bundle ``out`` and return it, its graph replayed.

    ``name``: of the model, by default the method's. ``crop``: how faces must be cut for it, where the system
    does not record how those were cut that it learned from. Raises :class:`ExportError` for a system whose
    crop is not known, that is served as another kind of bundle or not at all, and for a graph that misses the
    golden record in ONNX Runtime.
    """
    header, system = read_header(folder), load_system(folder)
    _check_served(folder, system)
    provenance = header["provenance"]
    recorded = provenance.get("crop")
    if recorded is not None:
        if crop is not None:
            raise ExportError(f"--crop: {folder} records how its faces were cut, which is what it needs")
        crop = Crop.from_json(recorded)
    if crop is None:
        raise ExportError(
            f"{folder}: does not record how the faces were cut that it learned from, without which no photo "
            "can be cut alike: give --crop, a bundle, a prepared set or a JSON file with a contract's crop"
        )
    check_vacant(out, overwrite=overwrite)
    contract = MethodContract(
        name=name or system.name,
        interface=Interface(Input("bgr"), crop, Output()),
        method=Method(system.name, dict(system.options), step=system.step),
        provenance={**provenance, "crop": recorded, "command": provenance.get("command", "ssr-train export")},
    )
    with new_folder(out) as made:
        write_file(made / MODEL_FILE, save_tensors(numbers(system)))
        contract = contract.with_files({MODEL_FILE: hash_file(made / MODEL_FILE)})
        graph = build_graph(system, contract.interface, metadata(contract, "fp32"))
        write_file(made / GRAPH_FILE, graph)
        write_file(made / GOLDEN_FILE, save_arrays(_golden(system, contract.interface)))
        replay_onnx(graph, MethodBundle(made, contract), str(out / GRAPH_FILE))
        sealed = seal(made, contract)
    return MethodBundle(out, sealed)


def _golden(system: System, interface: Interface) -> dict[str, NDArray[np.generic]]:
    """Pictures, and what the method answers in float64, clipped."""
    record = golden_pictures(interface)
    network = Answering(system.double().eval(), interface.output.clip)
    with torch.inference_mode():
        record["output"] = network(torch.from_numpy(record["images"]))[:, 0].numpy()
    return {name: np.ascontiguousarray(value) for name, value in record.items()}


def _check_served(folder: Path, system: System) -> None:
    """Raise :class:`ExportError` for what cannot be served as a graph from 64 x 64 crops to an age."""
    if system.name == "ssrnet":
        raise SsrError(f"{folder}: is SSR-Net, whose bundle is exported as it is")
    if system.name == "hot":
        raise ExportError(f"{folder}: {system.description.title} is not served: {_SUPPORT_VECTORS}")
    if system.input_size != IMAGE_SIZE:
        raise ExportError(
            f"{folder}: {system.name} reads pictures of {system.input_size} x {system.input_size}; what is "
            f"served reads crops of {IMAGE_SIZE} x {IMAGE_SIZE}"
        )
