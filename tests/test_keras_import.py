"""Keras files of every writer and name: the same bundle, or a sentence that says what is missing.

The files here have the structure that Keras 2.0.6, tf.keras 2.21 and Keras 3.15 write, and random weights.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import material
from random_bundles import random_parameters
from test_cli_train import refused, ssr_train

from ssr_bundle.bundle import read_bundle
from ssr_bundle.contract import BLOCKS, Architecture
from ssr_train.keras_import import KerasImportError, import_keras

h5py = pytest.importorskip("h5py")

NETWORK = Architecture(stages=(3, 2, 4), lambda_index=0.25, lambda_width=0.75)
WEIGHTS = random_parameters(NETWORK)
NAMED = "ssrnet_3_2_4_64_0.25_0.75"
STAGES = range(len(NETWORK.stages))

Layers = dict[str, dict[str, Any]]
Names = Callable[[str, int], str]

CLASSES = {"conv2d": "Conv2D", "batch_normalization": "BatchNormalization", "dense": "Dense"}


def keras2(kind: str, number: int) -> str:
    return f"{kind}_{number + 1}"


def tf_keras(kind: str, number: int) -> str:
    return f"{kind}_{number}" if number else kind


def second_model(kind: str, number: int) -> str:
    """Numbers that go from one digit to two in the midst of the network."""
    return f"{kind}_{number + {'conv2d': 4, 'batch_normalization': 8, 'dense': 9}[kind]}"


def kernel_and_bias(ours: str) -> dict[str, Any]:
    weight = WEIGHTS[f"{ours}.weight"]
    return {
        "kernel": weight.transpose(2, 3, 1, 0) if weight.ndim == 4 else weight.T,
        "bias": WEIGHTS[f"{ours}.bias"],
    }


def layers_of(names: Names, head: str = "pred_age_stage") -> Layers:
    """The network's layers in the order in which the authors' script makes them."""
    blocks = [f"{stream}.{block}" for stream in "xs" for block in range(BLOCKS)]
    convolutions = [f"{block}.conv" for block in blocks]
    convolutions += [f"stages.{k}.{fuse}" for k in STAGES for fuse in ("fuse_s", "fuse_x")]
    dense = [f"stages.{k}.{name}" for k in STAGES for name in ("bins_s", "bins_x", "mix")]
    layers = {names("conv2d", i): kernel_and_bias(ours) for i, ours in enumerate(convolutions)}
    for i, block in enumerate(blocks):
        ours = {
            "gamma": "weight",
            "beta": "bias",
            "moving_mean": "running_mean",
            "moving_variance": "running_var",
        }
        layers[names("batch_normalization", i)] = {
            theirs: WEIGHTS[f"{block}.norm.{name}"] for theirs, name in ours.items()
        }
    layers |= {names("dense", i): kernel_and_bias(ours) for i, ours in enumerate(dense)}
    for k in STAGES:
        for theirs, ours in {head: "p", "local_delta_stage": "eta", "delta_s": "delta"}.items():
            layers[f"{theirs}{k + 1}"] = kernel_and_bias(f"stages.{k}.{ours}")
    return layers


def class_of(name: str) -> str:
    return next((CLASSES[kind] for kind in CLASSES if name.startswith(kind)), "Dense")


def configuration(layers: Layers, lambdas: tuple[float, float] | None = (0.25, 0.75)) -> dict[str, Any]:
    """Of a model that computes its layers in another order than they were made, as every model does."""
    listed = [{"class_name": class_of(n), "config": {"name": n}} for n in reversed(layers)]
    if lambdas:
        arguments = {"s1": 3, "lambda_local": lambdas[0], "lambda_d": lambdas[1]}
        listed.append({"class_name": "Lambda", "config": {"name": "pred_a", "arguments": arguments}})
    return {"class_name": "Functional", "config": {"name": "model", "layers": listed}}


def legacy(path: Path, layers: Layers, config: Mapping[str, Any] | None = None, suffix: str = ":0") -> Path:
    """``.h5`` of Keras 2 and tf.keras; with ``suffix`` empty, of Keras 3."""
    with h5py.File(path, "w") as file:
        root = file
        if config is not None:
            file.attrs["model_config"] = json.dumps(config)
            file["optimizer_weights/adam/conv2d/kernel_m"] = np.zeros(3)
            root = file.create_group("model_weights")
        for name, arrays in layers.items():
            for leaf, array in arrays.items():
                root[f"{name}/{name}/{leaf}{suffix}"] = array
    return path


def newer(target: Any, layers: Layers, named: bool) -> None:
    """``.weights.h5``: layers numbered as the model computes them, with their names in Keras 3 alone."""
    counts = dict.fromkeys(CLASSES.values(), 0)
    kinds = {kind: name for name, kind in CLASSES.items()}
    with h5py.File(target, "w") as file:
        for name in reversed(layers):
            kind = class_of(name)
            place = f"layers/{tf_keras(kinds[kind], counts[kind])}/vars"
            counts[kind] += 1
            for i, array in enumerate(layers[name].values()):
                file[f"{place}/{i}"] = array
            if named:
                file[place].attrs["name"] = name
        file["metrics/mean/vars/0"] = 0.0
        file["optimizer/vars/0"] = np.zeros(3)


def weights_h5(path: Path, layers: Layers, named: bool = True) -> Path:
    newer(path, layers, named)
    return path


def keras(
    path: Path, layers: Layers, named: bool, lambdas: tuple[float, float] | None = (0.25, 0.75)
) -> Path:
    held = io.BytesIO()
    newer(held, layers, named)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", "{}")
        archive.writestr("config.json", json.dumps(configuration(layers, lambdas)))
        archive.writestr("model.weights.h5", held.getvalue())
    return path


def assert_ours(path: Path, told: str, **given: float) -> None:
    contract, parameters = import_keras(path, **given)
    assert contract.architecture == NETWORK
    assert contract.provenance["lambda"] == told
    assert parameters.keys() == WEIGHTS.keys()
    for name, value in WEIGHTS.items():
        np.testing.assert_array_equal(parameters[name], value, err_msg=name)


# Which layer is which.


@pytest.mark.parametrize("names", [keras2, tf_keras, second_model])
@pytest.mark.parametrize("suffix", [":0", ""], ids=["keras2", "keras3"])
def test_layers_are_told_by_the_order_in_which_they_were_made(
    names: Names, suffix: str, tmp_path: Path
) -> None:
    layers = layers_of(names)
    assert_ours(legacy(tmp_path / f"{NAMED}.h5", layers, suffix=suffix), "its name")
    whole = legacy(tmp_path / "whole.h5", layers, configuration(layers), suffix)
    assert_ours(whole, "its model_config")


@pytest.mark.parametrize("names", [tf_keras, second_model])
def test_files_that_number_layers_as_the_model_computes_them(names: Names, tmp_path: Path) -> None:
    layers = layers_of(names)
    assert_ours(weights_h5(tmp_path / f"{NAMED}.weights.h5", layers), "its name")
    assert_ours(keras(tmp_path / "keras3.keras", layers, named=True), "its model_config")
    assert_ours(keras(tmp_path / "tf.keras", layers, named=False), "its model_config")


def test_without_names_it_is_said_how_to_save_them(tmp_path: Path) -> None:
    path = weights_h5(tmp_path / f"{NAMED}.weights.h5", layers_of(tf_keras), named=False)
    line = refused(ssr_train("import-keras", path, "--out", tmp_path / "b"))
    assert "keeps no names, as save_weights('....weights.h5') of tf.keras does" in line
    assert "model.save('ssrnet.keras')" in line
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("kind", CLASSES)
def test_where_the_order_is_not_certain_nothing_is_guessed(kind: str, tmp_path: Path) -> None:
    layers = layers_of(tf_keras)
    layers[f"{kind}_99"] = dict(layers[kind])
    with pytest.raises(
        KerasImportError, match=rf"layers {kind}, {kind}_1, .*: which is which is not certain"
    ):
        import_keras(legacy(tmp_path / f"{NAMED}.h5", layers))
    layers = layers_of(lambda kind, number: f"my_{kind}_{number}")
    with pytest.raises(KerasImportError, match=r"0 layers conv2d, .* its layers: .*my_"):
        import_keras(legacy(tmp_path / f"{NAMED}.h5", layers))


def test_another_order_shows_in_the_shapes(tmp_path: Path) -> None:
    layers = layers_of(tf_keras)
    layers["conv2d_8"], layers["conv2d_9"] = layers["conv2d_9"], layers["conv2d_8"]
    with pytest.raises(KerasImportError, match=r"stages\.0\.fuse_.\.weight has shape .* another order"):
        import_keras(legacy(tmp_path / f"{NAMED}.h5", layers))


def test_what_is_no_keras_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "saved_model.pb").touch()
    with zipfile.ZipFile(tmp_path / "torch.pt", "w") as archive:
        archive.writestr("archive/data.pkl", "")
    (tmp_path / "cut.keras").write_bytes(
        keras(tmp_path / "k.keras", layers_of(tf_keras), True).read_bytes()[:999]
    )
    with h5py.File(tmp_path / "config.h5", "w") as file:
        file.attrs["model_config"] = "{"
    for name, told in {
        "saved": "a TensorFlow SavedModel: load it",
        "torch.pt": "not a .keras file but PyTorch's, perhaps",
        "cut.keras": "not a readable .keras file",
        "config.h5": "the configuration of its model is no JSON",
    }.items():
        with pytest.raises(KerasImportError, match=rf"{name}: .*{told}"):
            import_keras(tmp_path / name)


# What scales eta and Delta.


def test_lambdas_that_nothing_says_are_asked_for(tmp_path: Path) -> None:
    layers = layers_of(keras2)
    path = legacy(tmp_path / "best.h5", layers)
    line = refused(ssr_train("import-keras", path, "--out", tmp_path / "b"))
    for words in ("best.h5: neither its name", "--lambda-index (lambda_local", "--lambda-width (lambda_d)"):
        assert words in line
    with pytest.raises(KerasImportError, match="neither its name"):
        import_keras(path, lambda_index=0.25)
    with pytest.raises(KerasImportError, match="neither its name"):
        import_keras(legacy(tmp_path / "whole.h5", layers, configuration(layers, None)))
    assert_ours(path, "--lambda-index and --lambda-width", lambda_index=0.25, lambda_width=0.75)
    options = ("--lambda-index", "0.25", "--lambda-width", "0.75")
    result = ssr_train("import-keras", path, "--out", tmp_path / "b", *options)
    assert result.returncode == 0, result.stderr
    assert read_bundle(tmp_path / "b").contract.architecture == NETWORK
    refused(ssr_train("import-keras", path, "--out", tmp_path / "c", "--lambda-index", "2"), status=2)


@pytest.mark.parametrize(
    "name", [f"{NAMED}.h5", f"wiki-{NAMED} (1).h5", f"{NAMED}_best.h5", "ssrnet_3_2_4_64_.25_.75.h5"]
)
def test_names_of_the_authors_script(name: str, tmp_path: Path) -> None:
    path = legacy(tmp_path / name, layers_of(keras2))
    if "_.25" in name:
        with pytest.raises(KerasImportError, match="neither its name"):
            import_keras(path)
    else:
        assert_ours(path, "its name")


def test_contradictions_are_refused(tmp_path: Path) -> None:
    layers = layers_of(keras2)
    path = legacy(tmp_path / "ssrnet_3_2_4_64_1.0_0.75.h5", layers, configuration(layers))
    with pytest.raises(
        KerasImportError, match=r"which lambda-index\? its model_config says 0.25, its name says 1"
    ):
        import_keras(path)
    assert_ours(
        legacy(tmp_path / f"{NAMED}.h5", layers, configuration(layers)), "its model_config and its name"
    )
    with pytest.raises(
        KerasImportError, match=r"which lambda-width\? .* its name says 0.75, --lambda-width says 1"
    ):
        import_keras(tmp_path / f"{NAMED}.h5", lambda_width=1.0)
    with pytest.raises(KerasImportError, match="its name says 3, 3, 3 bins a stage, its layers have 3, 2, 4"):
        import_keras(legacy(tmp_path / "ssrnet_3_3_3_64_1.0_1.0.h5", layers))


def test_a_released_file_is_known_by_its_bytes_and_no_other_is_called_one(tmp_path: Path) -> None:
    released = material("weights/ssrnet_morph2.h5").read_bytes()
    path = tmp_path / "renamed.h5"
    path.write_bytes(released)
    contract, _ = import_keras(path)
    assert (contract.architecture.lambda_index, contract.architecture.lambda_width) == (1.0, 1.0)
    assert contract.provenance["source"] == "morph2 of shamangary/SSR-Net"
    assert contract.provenance["licence"] == "Apache-2.0"
    with pytest.raises(KerasImportError, match=r"the released file says 1, --lambda-index says 0.5"):
        import_keras(path, lambda_index=0.5)
    other = tmp_path / "ssrnet_3_3_3_64_1.0_1.0.h5"
    other.write_bytes(released)
    with h5py.File(other, "r+") as file:
        file["conv2d_1/conv2d_1/bias:0"][0] += 1
    provenance = import_keras(other)[0].provenance
    assert provenance["source"] == other.name
    assert provenance["licence"] == provenance["training_data"] == "not known: not a released file"
    assert "shamangary" not in json.dumps(provenance)
