"""Keras weights of SSR-Net as bundles, age and gender networks alike: the released files (shamangary/SSR-Net)
and what the authors' script makes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ssr_bundle.contract import BLOCKS, Architecture, Contract, Crop, Input, Interface, Output
from ssr_bundle.fetch import ASSETS
from ssr_bundle.shown import shown
from ssr_train.keras_file import HOW_TO_SAVE, Arrays, KerasImportError, open_keras

NORM = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}
"""Arrays of batch norm: torch's names and Keras'."""


RELEASED_CROPS = {
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

_RELEASED = {asset.sha256: asset.name for asset in ASSETS.values() if asset.kind == "weights"}

_NAME = re.compile(r"ssrnet_(\d+)_(\d+)_(\d+)_\d+_(\d+(?:\.\d+)?)_(\d+(?:\.\d+)?)")
"""Of the authors' script: ``ssrnet_<s1>_<s2>_<s3>_<pixels>_<lambda_local>_<lambda_d>``."""

_OPTIONS = ("--lambda-index", "--lambda-width")

Lambdas = tuple[float, float]
"""What scales eta and Delta: lambda_index (the authors' ``lambda_local``), lambda_width (``lambda_d``)."""


def is_competitor(layers: Mapping[str, Arrays]) -> bool:
    """Whether the layers are of SSR-Net's competitors (:mod:`ssr_train.keras_competitors`): the head that the
    authors put on both."""
    return {"feat_a", "pred_a"} <= set(layers)


def import_keras(
    path: Path,
    name: str | None = None,
    lambda_index: float | None = None,
    lambda_width: float | None = None,
) -> tuple[Contract, Arrays]:
    """Contract and parameters of a Keras file, ready for :func:`ssr_ops.golden.write_bundle`.

    The file says which network it is: age heads are ``pred_age_stage{k}`` (V = 101), those of the
    general (gender) network ``pred_stage{k}`` (V = 1). Bins a stage are read off the head shapes, the lambdas
    off the configuration of a whole model and the file's name; where neither says them, they are asked for.
    Raises :class:`KerasImportError` naming the first layer that does not fit, for a lambda that nothing says,
    and where two say different ones.
    """
    keras = open_keras(path)
    sha256 = keras.sha256
    shape, parameters = _network(keras.layers, path)
    released, measured = sha256 in _RELEASED, RELEASED_CROPS.get(sha256)
    (index, width), told = _lambdas(path, keras.config, shape.stages, released, (lambda_index, lambda_width))
    architecture = replace(shape, lambda_index=index, lambda_width=width)
    output = Output.for_value_range(architecture.value_range)
    contract = Contract(
        name=name or ("ssrnet" if output.name == "age" else f"ssrnet-{output.name}"),
        interface=Interface(Input(colour="bgr"), measured or Crop(), output),
        architecture=architecture,
        provenance={
            "command": "ssr-train import-keras",
            "source": f"{_RELEASED[sha256]} of shamangary/SSR-Net" if released else path.name,
            "source_sha256": sha256,
            "lambda": told,
            "crop": _MEASURED if measured else _OF_THE_DEMO,
            "licence": "Apache-2.0" if released else "not known: not a released file",
            "training_data": "see the authors' repository" if released else "not known: not a released file",
            "synthetic": False,
        },
    )
    return contract, parameters


def _lambdas(
    path: Path, config: Any, bins: tuple[int, ...], released: bool, given: tuple[float | None, float | None]
) -> tuple[Lambdas, str]:
    """Both lambdas, and who says them."""
    said: dict[str, Lambdas] = {}
    if released:
        said["the released file"] = (1.0, 1.0)
    for place, found in zip(("its model_config", "another layer of it"), _in_config(config), strict=False):
        said[place] = found
    if named := _NAME.search(path.name):
        if tuple(map(int, named.groups()[:3])) != bins:
            raise KerasImportError(
                f"{path}: its name says {', '.join(named.groups()[:3])} bins a stage, its layers have "
                f"{', '.join(map(str, bins))}"
            )
        said["its name"] = (float(named[4]), float(named[5]))
    values = []
    for i, option in enumerate(_OPTIONS):
        by = {who: pair[i] for who, pair in said.items()}
        if (asked := given[i]) is not None:
            by[option] = asked
        if len(set(by.values())) > 1:
            told = ", ".join(f"{who} says {value:g}" for who, value in by.items())
            raise KerasImportError(f"{path}: which {option[2:]}? {told}")
        if not by:
            raise KerasImportError(
                f"{path}: neither its name (ssrnet_3_3_3_64_<lambda_local>_<lambda_d>.h5) nor a model_config "
                "in it says the lambdas, which answers depend on: give --lambda-index (lambda_local of the "
                "authors' script) and --lambda-width (lambda_d)"
            )
        values.append(next(iter(by.values())))
    return (values[0], values[1]), " and ".join(said) or " and ".join(_OPTIONS)


def _in_config(config: Any) -> set[Lambdas]:
    """The arguments of the layer that merges the stages, of a whole model's configuration."""
    found, left = set(), [config]
    while left:
        item = left.pop()
        if isinstance(item, dict):
            index, width = item.get("lambda_local"), item.get("lambda_d")
            if isinstance(index, int | float) and isinstance(width, int | float):
                found.add((float(index), float(width)))
            left += item.values()
        elif isinstance(item, list):
            left += item
    return found


def _network(layers: dict[str, Arrays], path: Path) -> tuple[Architecture, Arrays]:
    """The network, its lambdas left open, and the arrays by the bundle's names."""
    ages = "pred_age_stage1" in layers
    if not ages and "pred_stage1" not in layers:
        raise KerasImportError(
            f"{path}: neither 'pred_age_stage1' nor 'pred_stage1' in it: not an SSR-Net of the authors' "
            f"script; its layers: {shown(sorted(layers))}"
        )
    head = "pred_age_stage" if ages else "pred_stage"
    stages = sum(f"{head}{k}" in layers for k in range(1, 10))
    bins = tuple(
        _layer(layers, f"{head}{k}", path, ("kernel", "bias"))["bias"].size for k in range(1, stages + 1)
    )
    architecture, parameters = Architecture(bins, 101.0 if ages else 1.0), _rename(layers, head, stages, path)
    for name, shape in architecture.parameter_shapes().items():
        if parameters[name].shape != shape:
            raise KerasImportError(
                f"{path}: {name} has shape {parameters[name].shape}, expected {shape}: another network, or "
                "layers made in another order than the authors' script makes them"
            )
    return architecture, parameters


def _layer(layers: dict[str, Arrays], name: str, path: Path, needed: tuple[str, ...]) -> Arrays:
    if name not in layers:
        raise KerasImportError(f"{path}: layer {name!r} is missing: not an SSR-Net of the authors' script")
    if missing := [array for array in needed if array not in layers[name]]:
        raise KerasImportError(f"{path}: layer {name!r} has no {' and '.join(missing)}")
    return layers[name]


def _in_order(layers: dict[str, Arrays], kind: str, expected: int, path: Path) -> list[str]:
    """Layers that Keras named by itself, in the order in which they were made: Keras 2 counts from
    ``kind_1``, tf.keras and Keras 3 from ``kind``, and each goes on in a second model of a session."""
    numbered = re.compile(rf"{kind}(?:_(\d+))?")
    found = [(int(match[1] or 0), name) for name in layers if (match := numbered.fullmatch(name))]
    if len(found) != expected:
        raise KerasImportError(
            f"{path}: {len(found)} layers {kind}, {kind}_1, ..., the authors' network has {expected}: which "
            "is which is not certain. Build it by the authors' script, load these weights, and "
            f"{HOW_TO_SAVE}; its layers: {shown(sorted(layers))}"
        )
    return [name for _, name in sorted(found)]


def _rename(layers: dict[str, Arrays], head: str, stages: int, path: Path) -> Arrays:
    """Keras layer names and layouts to the bundle's: kernels HWIO to OIHW, dense (in, out) to (out, in)."""
    parameters: Arrays = {}

    def take(ours: str, theirs: str) -> None:
        layer = _layer(layers, theirs, path, ("kernel", "bias"))
        kernel = layer["kernel"]
        parameters[f"{ours}.weight"] = kernel.transpose(3, 2, 0, 1) if kernel.ndim == 4 else kernel.T
        parameters[f"{ours}.bias"] = layer["bias"]

    convolutions = _in_order(layers, "conv2d", 2 * BLOCKS + 2 * stages, path)
    norms = _in_order(layers, "batch_normalization", 2 * BLOCKS, path)
    dense = _in_order(layers, "dense", 3 * stages, path)
    for number in range(2 * BLOCKS):
        block = f"{'x' if number < BLOCKS else 's'}.{number % BLOCKS}"
        take(f"{block}.conv", convolutions[number])
        norm = _layer(layers, norms[number], path, tuple(NORM.values()))
        for ours, theirs in NORM.items():
            parameters[f"{block}.norm.{ours}"] = norm[theirs]
    for k in range(stages):
        for ours, theirs in {
            "fuse_s": convolutions[2 * BLOCKS + 2 * k],
            "fuse_x": convolutions[2 * BLOCKS + 2 * k + 1],
            "bins_s": dense[3 * k],
            "bins_x": dense[3 * k + 1],
            "mix": dense[3 * k + 2],
            "p": f"{head}{k + 1}",
            "eta": f"local_delta_stage{k + 1}",
            "delta": f"delta_s{k + 1}",
        }.items():
            take(f"stages.{k}.{ours}", theirs)
    return {name: np.ascontiguousarray(value) for name, value in parameters.items()}
