"""The released Keras weights (shamangary/SSR-Net, ``.h5``) as bundles: age and gender networks alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssr_bundle.bundle import hash_file
from ssr_bundle.contract import BLOCKS, Architecture, Contract, Crop, Input, Interface, Output
from ssr_bundle.errors import SsrError
from ssr_bundle.fetch import ASSETS

Arrays = dict[str, NDArray[np.float32]]

_NORM = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}


_CROPS = {
    ASSETS[name].sha256: Crop(margin=margin, border=border)
    for name, margin, border in (
        ("imdb", (0.55, 0.2, 0.55, 0.3), "constant"),
        ("wiki", (0.6, 0.15, 0.6, 0.35), "replicate"),
        ("morph2", (0.5, 0.1, 0.5, 0.3), "constant"),
        ("megaface_asian", (0.35, 0.25, 0.35, 0.15), "replicate"),
    )
}
"""How faces are cut for a released age network, by its file's sha256: ``ssr-train fit-crop`` over UTKFace,
portraits and FairFace (benchmarks/results/crop.md). The gender networks answer no age to measure by: theirs
is the crop of the authors' demo, as any other file's is."""

_MEASURED = "measured: ssr-train fit-crop over UTKFace, portraits and FairFace (docs/crop.md)"
_OF_THE_DEMO = "as the authors' demo cuts faces; not measured"


class KerasImportError(SsrError):
    """A file that is not a released SSR-Net weight file."""


def read_keras(path: Path) -> tuple[Architecture, Arrays]:
    """Architecture and parameters from a released weight file.

    The file says which network it is: age heads are ``pred_age_stage{k}`` (V = 101), those of the
    general (gender) network ``pred_stage{k}`` (V = 1). Bins a stage are read off the head shapes.
    Raises :class:`KerasImportError` naming the first layer that does not fit.
    """
    import h5py

    if not path.is_file():
        raise KerasImportError(f"{path}: no such file")
    try:
        with h5py.File(path, "r") as file:
            layers = _layers(file.get("model_weights", file))
    except OSError as error:
        raise KerasImportError(f"{path}: not a readable HDF5 file ({error})") from None
    ages = "pred_age_stage1" in layers
    if not ages and "pred_stage1" not in layers:
        raise KerasImportError(
            f"{path}: neither 'pred_age_stage1' nor 'pred_stage1' in it: not a released SSR-Net weight file"
        )
    head = "pred_age_stage" if ages else "pred_stage"
    stages = sum(f"{head}{k}" in layers for k in range(1, 10))
    bins = tuple(_layer(layers, f"{head}{k}", path)["bias"].shape[0] for k in range(1, stages + 1))
    architecture = Architecture(stages=bins, value_range=101.0 if ages else 1.0)
    parameters = _rename(layers, head, stages, path)
    for name, shape in architecture.parameter_shapes().items():
        if parameters[name].shape != shape:
            raise KerasImportError(f"{path}: {name} has shape {parameters[name].shape}, expected {shape}")
    return architecture, parameters


def import_keras(path: Path, name: str | None = None, source: str | None = None) -> tuple[Contract, Arrays]:
    """Contract and parameters of a released file, ready for :func:`ssr_ops.golden.write_bundle`."""
    architecture, parameters = read_keras(path)
    output = Output.for_value_range(architecture.value_range)
    sha256 = hash_file(path).sha256
    measured = _CROPS.get(sha256)
    contract = Contract(
        name=name or ("ssrnet" if output.name == "age" else f"ssrnet-{output.name}"),
        interface=Interface(Input(colour="bgr"), measured or Crop(), output),
        architecture=architecture,
        provenance={
            "command": "ssr-train import-keras",
            "source": source or f"{path.name} of shamangary/SSR-Net",
            "source_sha256": sha256,
            "crop": _MEASURED if measured else _OF_THE_DEMO,
            "licence": "Apache-2.0",
            "training_data": "see the authors' repository: the file name says which data set",
            "synthetic": False,
        },
    )
    return contract, parameters


def _layers(root: Any) -> dict[str, Arrays]:
    """Layer name to its arrays by plain name: ``conv2d_1`` to ``{kernel, bias}``."""
    layers: dict[str, Arrays] = {}

    def visit(name: str, item: Any) -> None:
        if hasattr(item, "shape"):
            layer, leaf = name.split("/")[0], name.split("/")[-1].split(":")[0]
            layers.setdefault(layer, {})[leaf] = np.asarray(item, np.float32)

    root.visititems(visit)
    return layers


def _layer(layers: dict[str, Arrays], name: str, path: Path) -> Arrays:
    if name not in layers:
        raise KerasImportError(f"{path}: layer {name!r} is missing: not a released SSR-Net weight file")
    return layers[name]


def _rename(layers: dict[str, Arrays], head: str, stages: int, path: Path) -> Arrays:
    """Keras layer names and layouts to the bundle's: kernels HWIO to OIHW, dense (in, out) to (out, in)."""
    parameters: Arrays = {}

    def take(ours: str, theirs: str) -> None:
        layer = _layer(layers, theirs, path)
        if {"kernel", "bias"} - set(layer):
            raise KerasImportError(f"{path}: layer {theirs!r} has no kernel and bias")
        kernel = layer["kernel"]
        parameters[f"{ours}.weight"] = kernel.transpose(3, 2, 0, 1) if kernel.ndim == 4 else kernel.T
        parameters[f"{ours}.bias"] = layer["bias"]

    for number in range(1, 2 * BLOCKS + 1):
        block = f"{'x' if number <= BLOCKS else 's'}.{(number - 1) % BLOCKS}"
        take(f"{block}.conv", f"conv2d_{number}")
        norm = _layer(layers, f"batch_normalization_{number}", path)
        for ours, theirs in _NORM.items():
            if theirs not in norm:
                raise KerasImportError(f"{path}: batch_normalization_{number} has no {theirs}")
            parameters[f"{block}.norm.{ours}"] = norm[theirs]
    for k in range(1, stages + 1):
        for ours, theirs in {
            "fuse_s": f"conv2d_{2 * BLOCKS + 2 * k - 1}",
            "fuse_x": f"conv2d_{2 * BLOCKS + 2 * k}",
            "bins_s": f"dense_{3 * k - 2}",
            "bins_x": f"dense_{3 * k - 1}",
            "mix": f"dense_{3 * k}",
            "p": f"{head}{k}",
            "eta": f"local_delta_stage{k}",
            "delta": f"delta_s{k}",
        }.items():
            take(f"stages.{k - 1}.{ours}", theirs)
    return {name: np.ascontiguousarray(value) for name, value in parameters.items()}
