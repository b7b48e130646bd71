"""Keras weight files of every writer, as layers by the names that their model gave them.

================================  =======================================================
legacy HDF5 (``.h5``)             ``model.save``, ``save_weights`` of Keras 2 and tf.keras;
                                  ``model.save`` of Keras 3
``.weights.h5``                   ``save_weights`` of Keras 3, and of tf.keras, which keeps no names
``.keras``                        ``model.save`` of Keras 3 and tf.keras: a zip of the latter and a
                                  configuration
================================  =======================================================
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ssr_bundle.errors import SsrError
from ssr_bundle.fetch import LARGEST
from ssr_bundle.regular import read_whole

Arrays = dict[str, NDArray[np.float32]]

HOW_TO_SAVE = "save it by name, as model.save('ssrnet.h5') or model.save('ssrnet.keras')"

_VARIABLES = {2: ("kernel", "bias"), 4: ("gamma", "beta", "moving_mean", "moving_variance")}
"""What the newer format numbers, by how many a layer has: convolution and dense, and batch normalization."""

_KINDS = {"Conv2D": "conv2d", "BatchNormalization": "batch_normalization", "Dense": "dense"}
"""Classes of the layers that have weights, and what the newer format calls each, counted from the second."""

_NUMBERED = re.compile(r"(?:layers|_layer_checkpoint_dependencies)[/\\]([^/\\]+)/vars/(\d+)")
"""An array of the newer format; ``metrics/`` and ``optimizer/`` beside them are of training."""


class KerasImportError(SsrError):
    """A file that holds no SSR-Net that can be imported for certain."""


class KerasFile(NamedTuple):
    """Layers by name, each a dict of its arrays by plain name (``kernel``, ``bias``, ...); the configuration
    of the model, where the file holds a whole one; and which file it is."""

    layers: dict[str, Arrays]
    config: Any | None
    path: Path
    sha256: str


def open_keras(path: Path) -> KerasFile:
    """What the file at ``path`` holds. Raises :class:`KerasImportError`."""
    data = _read(path)
    return KerasFile(*_layers(data, path), path, hashlib.sha256(data).hexdigest())


def _layers(data: bytes, path: Path) -> tuple[dict[str, Arrays], Any]:
    if not data.startswith(b"PK\x03\x04"):
        return _read_hdf5(data, path, None)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            config, weights = (_member(archive, name, path) for name in ("config.json", "model.weights.h5"))
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise KerasImportError(f"{path}: not a readable .keras file ({error})") from None
    return _read_hdf5(weights, path, _parsed(config, path))


def _read(path: Path) -> bytes:
    """The content of ``path``. Raises :class:`KerasImportError` where no regular file is."""
    if (path / "saved_model.pb").is_file():
        raise KerasImportError(
            f"{path}: a TensorFlow SavedModel: load it with Keras 2 or tf.keras; {HOW_TO_SAVE}"
        )
    if not path.exists():
        raise KerasImportError(f"{path}: no such file")
    return read_whole(path, LARGEST, KerasImportError)


def _member(archive: zipfile.ZipFile, name: str, path: Path) -> bytes:
    try:
        if archive.getinfo(name).file_size > LARGEST:
            raise KerasImportError(f"{path}: its {name} has more than {LARGEST >> 20} MB")
        return archive.read(name)
    except KeyError:
        what = "PyTorch's, perhaps" if any(n.endswith("data.pkl") for n in archive.namelist()) else "a zip"
        raise KerasImportError(f"{path}: no {name} in it: not a .keras file but {what}") from None


def _read_hdf5(data: bytes, path: Path, config: Any) -> tuple[dict[str, Arrays], Any]:
    import h5py

    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            if config is None and (text := file.attrs.get("model_config")) is not None:
                config = _parsed(text, path)
            arrays: dict[str, Any] = {}
            names: dict[str, str] = {}

            def visit(name: str, item: Any) -> None:
                if hasattr(item, "shape"):
                    arrays[name] = np.asarray(item, np.float32)
                elif name.endswith("/vars") and isinstance(given := item.attrs.get("name"), str):
                    names[name] = given

            file.get("model_weights", file).visititems(visit)
    except (OSError, RuntimeError, ValueError, TypeError) as error:
        raise KerasImportError(f"{path}: not a readable HDF5 file ({error})") from None
    newer = {name: found for name in arrays if (found := _NUMBERED.fullmatch(name))}
    if newer:
        return _numbered(arrays, newer, names, config, path), config
    return _named(arrays), config


def _named(arrays: dict[str, Any]) -> dict[str, Arrays]:
    """Layers of the legacy format, where an array is GROUP/SCOPE/LEAF:0. A layer is a group of one scope,
    which may be called otherwise; a model inside the model is a group with a scope for each of its layers."""
    paths = {name: name.split("/") for name in arrays}
    scopes: dict[str, set[tuple[str, ...]]] = {}
    for group, *within in paths.values():
        scopes.setdefault(group, set()).add(tuple(within[:-1]))
    layers: dict[str, Arrays] = {}
    for name, (group, *within) in paths.items():
        layer = group if len(scopes[group]) == 1 else (group, *within)[-2]
        layers.setdefault(layer, {})[name.split("/")[-1].split(":")[0]] = arrays[name]
    return layers


def _numbered(
    arrays: dict[str, Any],
    newer: dict[str, re.Match[str]],
    names: dict[str, str],
    config: Any,
    path: Path,
) -> dict[str, Arrays]:
    """Layers of the newer format, which calls them ``conv2d``, ``conv2d_1``, ... in the order in which the
    model is computed: their own names stand beside them, or in the configuration."""
    listed = _by_place(config)
    found: dict[str, dict[int, Any]] = {}
    for name, match in newer.items():
        place = match[1]
        layer = names.get(name.rpartition("/")[0]) or listed.get(place)
        if layer is None:
            raise KerasImportError(
                f"{path}: it numbers its layers ({place}, ...) and keeps no names, as save_weights"
                f"('....weights.h5') of tf.keras does: {HOW_TO_SAVE}"
            )
        found.setdefault(layer, {})[int(match[2])] = arrays[name]
    return {
        layer: {variable: values[i] for i, variable in enumerate(_VARIABLES[len(values)]) if i in values}
        for layer, values in found.items()
        if len(values) in _VARIABLES
    }


def _by_place(config: Any) -> dict[str, str]:
    """Names of layers by what the newer format calls them: one after the other, by class."""
    seen: Counter[str] = Counter()
    places: dict[str, str] = {}
    try:
        for layer in config["config"]["layers"] if config else ():
            if (kind := _KINDS.get(layer["class_name"])) is not None:
                places[f"{kind}_{seen[kind]}" if seen[kind] else kind] = str(layer["config"]["name"])
                seen[kind] += 1
    except (KeyError, TypeError):
        return {}
    return places


def _parsed(text: Any, path: Path) -> Any:
    try:
        return json.loads(text)
    except (ValueError, TypeError, RecursionError):
        raise KerasImportError(f"{path}: the configuration of its model is no JSON") from None
