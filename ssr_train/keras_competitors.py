"""Keras weights of SSR-Net's competitors, MobileNet and DenseNet, as systems of the zoo: the authors' files
(shamangary/SSR-Net)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ssr_bundle.fetch import ASSETS
from ssr_bundle.shown import shown
from ssr_train import zoo
from ssr_train.keras_file import Arrays, KerasFile, KerasImportError
from ssr_train.keras_import import NORM, RELEASED_CROPS
from ssr_train.model import stored

_MAPS = (2, 2, 20)
"""Of MobileNet, what ``feat_a`` reads: height, width and channels, which Keras flattens in this order and
torch as channels, height, width."""


@dataclass(frozen=True)
class Competitor:
    """A network of the zoo with the weights of a file, and where they are from."""

    system: zoo.System
    provenance: dict[str, Any]


def import_competitor(keras: KerasFile) -> Competitor:
    """The network that a file holds: MobileNet by its ``conv1``, of any width, or DenseNet, of any depth.

    It reads 64 x 64 BGR crops, 0..255 as they are. Raises :class:`KerasImportError` naming the first layer
    that is missing, left over, or of another shape.
    """
    layers, path = keras.layers, keras.path
    if "conv1" in layers:
        alpha = _layer(layers, "conv1", path)["kernel"].shape[-1] / 32
        system = zoo.build("mobilenet", alpha=alpha)
        names = _mobilenet()
    else:
        count = sum(re.fullmatch(r"conv2d_\d+", name) is not None for name in layers)
        if count % 3 or count < 6:
            raise KerasImportError(
                f"{path}: {count} layers conv2d_1, conv2d_2, ...: neither MobileNet (no conv1) nor DenseNet "
                f"(which has 3 N + 3); its layers: {shown(sorted(layers))}"
            )
        depth = count + 1
        system = zoo.build("densenet", depth=depth)
        names = _densenet(depth)
    _load(system, names, layers, path)
    return Competitor(system.eval(), _provenance(system, keras.sha256, path))


def _provenance(system: zoo.System, sha256: str, path: Path) -> dict[str, Any]:
    """The authors cut the faces of a data set once for all their networks, so that the cut measured for
    SSR-Net's weights is this network's."""
    asset = next((asset for asset in ASSETS.values() if asset.sha256 == sha256), None)
    data = None if asset is None else asset.name.split("_")[0]
    crop = None if data is None else RELEASED_CROPS[ASSETS[data].sha256]
    return {
        "command": "ssr-train import-keras",
        "system": system.name,
        "source": path.name if asset is None else f"{asset.name} of shamangary/SSR-Net",
        "source_sha256": sha256,
        "crop": None if crop is None else crop.to_json(),
        "crop_source": "not known"
        if data is None
        else f"measured for SSR-Net's weights of {data}, which learned from the same crops (docs/crop.md)",
        "licence": "Apache-2.0" if asset else "not known: not a released file",
        "training_data": "see the authors' repository" if asset else "not known: not a released file",
        "synthetic": False,
    }


def _mobilenet() -> dict[str, str]:
    """Layers of the zoo's network by Keras' names: those without biases, then those with."""
    convolutions = ["conv1", *(f"conv_{kind}_{k}" for k in range(1, 14) for kind in ("dw", "pw"))]
    names = {}
    for i, name in enumerate(convolutions):
        names[f"backbone.body.{i}.0"], names[f"backbone.body.{i}.1"] = name, f"{name}_bn"
    return names | {"backbone.squeeze": "conv2d_1", "head.layers.1": "feat_a", "head.layers.3": "pred_a"}


def _densenet(depth: int) -> dict[str, str]:
    """Keras numbers both kinds of layers in the order in which they are computed: the body's."""
    body = zoo.build("densenet", depth=depth).get_submodule("backbone.body")
    names, counts = {}, {"conv2d": 0, "batch_normalization": 0}
    for name, layer in body.named_modules():
        kinds = {torch.nn.Conv2d: "conv2d", torch.nn.BatchNorm2d: "batch_normalization"}
        if (kind := kinds.get(type(layer))) is not None:
            counts[kind] += 1
            names[f"backbone.body.{name}"] = f"{kind}_{counts[kind]}"
    return names | {"head.layers.0": "dense_1", "head.layers.3": "feat_a", "head.layers.5": "pred_a"}


def _load(system: zoo.System, names: Mapping[str, str], layers: Mapping[str, Arrays], path: Path) -> None:
    if left := sorted(set(layers) - set(names.values())):
        raise KerasImportError(f"{path}: layer {left[0]!r} is none of {system.name}'s")
    made = {}
    for name, expected in stored(system).items():
        owner, _, what = name.rpartition(".")
        layer = _layer(layers, names[owner], path)
        array = _array(layer, what, path, names[owner])
        if names[owner] == "feat_a" and system.name == "mobilenet" and what == "weight":
            height, width, channels = _MAPS
            array = array.reshape(-1, height, width, channels).transpose(0, 3, 1, 2).reshape(len(array), -1)
        if array.shape != tuple(expected.shape):
            raise KerasImportError(
                f"{path}: {names[owner]} has {what} of shape {array.shape}, expected {tuple(expected.shape)}"
            )
        made[name] = torch.from_numpy(np.ascontiguousarray(array))
    system.load_state_dict(made, strict=False)


def _array(layer: Arrays, what: str, path: Path, name: str) -> np.ndarray[Any, Any]:
    """A layer's array by torch's name, in torch's order of axes."""
    key = NORM[what] if "gamma" in layer else {"weight": "kernel", "bias": "bias"}[what]
    if key == "kernel" and "depthwise_kernel" in layer:
        return layer["depthwise_kernel"].transpose(2, 3, 0, 1)
    if key not in layer:
        raise KerasImportError(f"{path}: layer {name!r} has no {key}")
    array = layer[key]
    return array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T


def _layer(layers: Mapping[str, Arrays], name: str, path: Path) -> Arrays:
    if name not in layers:
        raise KerasImportError(f"{path}: layer {name!r} is missing")
    return layers[name]
