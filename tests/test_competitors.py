"""The authors' MobileNet and DenseNet: their Keras files as systems of the zoo, and how they are trained."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

h5py = pytest.importorskip("h5py", reason="h5py is not installed: pip install 'ssr-serve[import]'")
torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'ssr-serve[train]'")

from conftest import material  # noqa: E402
from torch import nn  # noqa: E402
from typer.testing import CliRunner  # noqa: E402

from ssr_bundle.contract import Crop  # noqa: E402
from ssr_bundle.fetch import ASSETS  # noqa: E402
from ssr_bundle.tolerances import OFFICIAL  # noqa: E402
from ssr_train import zoo  # noqa: E402
from ssr_train.cli import app  # noqa: E402
from ssr_train.keras_competitors import import_competitor  # noqa: E402
from ssr_train.keras_file import KerasImportError, open_keras  # noqa: E402
from ssr_train.keras_import import RELEASED_CROPS, import_keras  # noqa: E402
from ssr_train.zoo.storage import read_header  # noqa: E402

FILES = {
    "mobilenet": ("morph2_mobilenet_reg_0.25_64", {"alpha": 0.25}, 226_309),
    "densenet": ("morph2_densenet_reg_19_64", {"depth": 19}, 242_009),
}


def released(name: str) -> Path:
    return material(f"weights/competitors/{FILES[name][0]}.h5")


@pytest.mark.parametrize("name", FILES)
def test_it_answers_as_the_original_network(name: str) -> None:
    """What the authors' Keras networks printed for twelve images."""
    run, options, count = FILES[name]
    golden = np.load(material("golden/competitors.npz"))
    found = import_competitor(open_keras(released(name)))
    system = found.system
    assert system.name == name
    assert {option: system.options[option] for option in options} == options
    assert system.count().stored == count
    images = torch.from_numpy(golden["images"]).permute(0, 3, 1, 2).float()
    with torch.inference_mode():
        ages = system.predict(images).numpy()
    expected = golden[f"{run.replace('_', '.', 1)}.output"][:, 0]
    assert np.abs(ages - expected).max() <= OFFICIAL
    assert np.ptp(expected) > 5


@pytest.mark.parametrize("name", FILES)
def test_a_released_file_brings_the_cut_that_was_measured_for_its_data(name: str) -> None:
    provenance = import_competitor(open_keras(released(name))).provenance
    assert (
        provenance["source"]
        == f"{FILES[name][0].replace('_reg', '').removesuffix('_64')} of shamangary/SSR-Net"
    )
    assert Crop.from_json(provenance["crop"]) == RELEASED_CROPS[ASSETS["morph2"].sha256]


def spoiled(path: Path, change: Callable[[Any], None]) -> Path:
    with h5py.File(path, "r+") as file:
        change(file)
    return path


def _less(file: Any) -> None:
    del file["feat_a"]["feat_a"]["bias:0"]


def _missing(file: Any) -> None:
    del file["mobilenet_0.25_64"]["conv_pw_7"]


def _more(file: Any) -> None:
    file["mobilenet_0.25_64/conv_pw_14/kernel:0"] = np.zeros((1, 1, 2, 2), np.float32)


def _wider(file: Any) -> None:
    del file["pred_a/pred_a/kernel:0"]
    file["pred_a/pred_a/kernel:0"] = np.zeros((33, 1), np.float32)


def _neither(file: Any) -> None:
    del file["mobilenet_0.25_64"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_less, "layer 'feat_a' has no bias"),
        (_missing, "layer 'conv_pw_7' is missing"),
        (_more, "layer 'conv_pw_14' is none of mobilenet's"),
        (_wider, r"pred_a has weight of shape \(1, 33\), expected \(1, 32\)"),
        (_neither, r"1 layers conv2d_1, .*: neither MobileNet \(no conv1\) nor DenseNet"),
    ],
)
def test_another_network_is_refused(change: Callable[[Any], None], told: str, tmp_path: Path) -> None:
    path = spoiled(Path(shutil.copy(released("mobilenet"), tmp_path / "a.h5")), change)
    with pytest.raises(KerasImportError, match=told):
        import_competitor(open_keras(path))


def test_a_file_of_unknown_origin_has_no_cut(tmp_path: Path) -> None:
    path = spoiled(
        Path(shutil.copy(released("mobilenet"), tmp_path / "mine.h5")),
        lambda file: file["pred_a/pred_a/bias:0"].write_direct(np.array([1.0], np.float32)),
    )
    provenance = import_competitor(open_keras(path)).provenance
    assert (provenance["crop"], provenance["source"]) == (None, "mine.h5")


def test_on_the_command_line(tmp_path: Path) -> None:
    """From the released file to a bundle that is served."""
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    run, system, bundle = CliRunner().invoke, tmp_path / "system", tmp_path / "bundle"
    imported = run(app, ["import-keras", str(released("mobilenet")), "--out", str(system)])
    assert imported.exit_code == 0, imported.output
    assert "MobileNet (alpha 0.25" in imported.output
    assert read_header(system)["name"] == "mobilenet"
    exported = run(app, ["export", str(system), "--out", str(bundle), "--name", "mobile"])
    assert exported.exit_code == 0, exported.output
    assert "replayed in ONNX Runtime: 26 images" in exported.output
    informed = run(app, ["info", str(bundle)])
    assert informed.exit_code == 0, informed.output
    assert "mobilenet (alpha 0.25" in informed.output
    for arguments, told in (
        (
            ["import-keras", str(released("mobilenet")), "--lambda-index", "1", "--out", "x"],
            "holds no SSR-Net",
        ),
        (["export", str(system)], "--out names its bundle"),
        (["export", str(system), "--out", "x", "--precision", "int8"], "is exported in fp32 alone"),
        (["export", str(bundle), "--name", "x"], "--name and --crop are of another method"),
    ):
        refused = run(app, arguments)
        assert refused.exit_code == 2
        assert told in " ".join(refused.output.replace("│", " ").split())


def test_ssrnets_importer_names_the_other(tmp_path: Path) -> None:
    with pytest.raises(KerasImportError, match="not an SSR-Net of the authors' script"):
        import_keras(released("densenet"))


# How they are trained


def test_densenet_penalises_the_weights_that_the_authors_did() -> None:
    """L2 of 1e-4 on the first convolution and on the transitions', on no other."""
    torch.manual_seed(3)
    system = zoo.build("densenet", depth=7)
    backbone = system.get_submodule("backbone")
    bare = [layer for layer in backbone.get_submodule("body") if isinstance(layer, nn.Conv2d)]
    assert [layer.kernel_size for layer in bare] == [(3, 3), (1, 1), (1, 1)]
    expected = 1e-4 * sum(float(layer.weight.detach().square().sum()) for layer in bare)
    assert float(backbone.penalty().detach()) == pytest.approx(expected, rel=1e-5)  # type: ignore[operator]
    assert zoo.build("densenet", depth=7, l2=0.0).get_submodule("backbone").penalty() == 0  # type: ignore[operator]
    ages, images = torch.tensor([20.0, 60.0]), torch.zeros(2, 3, 64, 64)
    system.eval()
    with torch.no_grad():
        outputs = system(images)
        loss = float(system.loss(outputs, ages))
    head = (system.decode(outputs) - ages).abs().mean()
    assert loss - float(head) == pytest.approx(expected, rel=1e-2)


@pytest.mark.parametrize("name", FILES)
def test_they_start_as_keras_starts(name: str) -> None:
    torch.manual_seed(0)
    system = zoo.build(name)
    for layer in system.get_submodule("head").modules():
        if isinstance(layer, nn.Linear):
            glorot = math.sqrt(6 / (layer.in_features + layer.out_features))
            assert 0.9 * glorot < float(layer.weight.abs().max()) <= glorot
            assert not layer.bias.any()
    if name == "densenet":
        convolutions = [m for m in system.modules() if isinstance(m, nn.Conv2d) and m.weight.numel() > 5000]
        for layer in convolutions:
            deviation = math.sqrt(2 / layer.weight[0].numel())
            assert float(layer.weight.abs().max()) <= 2 * deviation  # truncated
            assert float(layer.weight.std()) == pytest.approx(0.88 * deviation, rel=0.05)
    torch.manual_seed(0)
    other = zoo.build(name, initialiser="torch")
    last = [m for m in other.get_submodule("head").modules() if isinstance(m, nn.Linear)][-1]
    assert last.bias.any()
    with pytest.raises(Exception, match="initialiser he: expected keras or torch"):
        zoo.build(name, initialiser="he")
