"""Other methods than SSR-Net as bundles that are served: export, contract, repository, ladder, evaluation."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'ssr-serve[train]'")
onnxruntime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
pytest.importorskip("onnxscript", reason="onnxscript is not installed: pip install 'ssr-serve[train]'")

from typer.testing import CliRunner  # noqa: E402

import ssr_ops  # noqa: E402
from ssr_bundle.bundle import BundleError, read_bundle  # noqa: E402
from ssr_bundle.contract import ContractError, Crop  # noqa: E402
from ssr_bundle.errors import SsrError  # noqa: E402
from ssr_bundle.method import MethodBundle, MethodContract, read_method, read_served  # noqa: E402
from ssr_bundle.tolerances import required  # noqa: E402
from ssr_ops.export import ExportError  # noqa: E402
from ssr_ops.shipped import default_bundle  # noqa: E402
from ssr_train import zoo  # noqa: E402
from ssr_train.cli import app  # noqa: E402
from ssr_train.inference import open_runner  # noqa: E402
from ssr_train.zoo.served import write_method  # noqa: E402
from triton_repo import repository  # noqa: E402
from triton_repo.config import Options, parameter  # noqa: E402
from triton_repo.ladder.climber import Wanted, verify  # noqa: E402

CROP = Crop(margin=(0.1, 0.2, 0.1, 0.0), border="replicate")
SMALL: dict[str, dict[str, Any]] = {"densenet": {"depth": 7}, "ranking-cnn": {"step": 4}}
SERVED = [name for name in zoo.NAMES if name not in ("ssrnet", "hot")]
ONNX = Options(flavors=("onnx",))


def saved(folder: Path, name: str, crop: Crop | None = CROP) -> Path:
    """A system whose weights, drawn by chance, give ages of people for crops of a face."""
    torch.manual_seed(7)
    system = zoo.build(name, **SMALL.get(name, {}))
    system.prepare(torch.arange(1.0, 90.0))
    with torch.no_grad():  # statistics of batch norm as after training, in which nothing explodes
        system.train()
        for _ in range(40):
            system(torch.randint(0, 256, (8, 3, 64, 64)).float())
    recorded = None if crop is None else crop.to_json()
    return zoo.save_system(folder, system.eval(), {"crop": recorded, "synthetic": True})


Exported = Callable[[str], MethodBundle]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """The bundle of a method, exported once; MRCNN's faces are cut otherwise than the others'."""
    folder = tmp_path_factory.mktemp("methods")

    @cache
    def export(name: str) -> MethodBundle:
        crop = Crop(margin=(0.3, 0.3, 0.3, 0.3)) if name == "mrcnn" else CROP
        return write_method(saved(folder / f"{name}-system", name, crop), folder / name)

    return export


@pytest.fixture(scope="module")
def dex(exported: Exported) -> MethodBundle:
    return exported("dex")


@pytest.mark.parametrize("name", SERVED)
def test_the_graph_answers_as_the_method(name: str, exported: Exported) -> None:
    """At any batch size, in ONNX Runtime: what torch answers to the same bytes, within the table's bound."""
    bundle = exported(name)
    assert read_served(bundle.path) == bundle
    session = onnxruntime.InferenceSession(bundle.path / "model.onnx", providers=["CPUExecutionProvider"])
    images = bundle.golden()["crops"]
    system = zoo.load_system(bundle.path.with_name(f"{name}-system"))
    with torch.inference_mode():
        ages = system.predict(torch.from_numpy(images).permute(0, 3, 1, 2).float()).numpy()
    limit = required("onnx", "fp32", bundle.contract).max
    for count in (1, 2, 5):
        (answers,) = session.run(["age"], {"image": images[:count]})
        assert answers.shape == (count, 1)
        assert answers.dtype == np.float32
        assert np.abs(answers[:, 0] - np.clip(ages[:count], 0, 101)).max() <= limit
    assert bundle.contract.method.step == {"orcnn": 1, "ranking-cnn": 4}.get(name, 0)


def test_a_bundle_is_the_system_again(dex: MethodBundle) -> None:
    images = dex.golden()["crops"]
    answers = {}
    for kind in ("onnx", "torch"):
        with open_runner(dex.path, kind) as runner:
            answers[kind] = runner.predict(images)
            assert runner.weights_sha256 == dex.contract.weights_sha256
    np.testing.assert_allclose(answers["onnx"], answers["torch"], atol=1e-3)
    np.testing.assert_allclose(answers["onnx"], dex.golden()["output"][: len(images)], atol=2e-3)
    with pytest.raises(SsrError, match="is dex, which runs in onnx and torch, in fp32; not in native fp32"):
        open_runner(dex.path, "native")


def test_it_is_judged_by_the_same_commands(dex: MethodBundle) -> None:
    """Drawn faces say nothing of people, but that the commands take the bundle."""
    run = CliRunner().invoke
    for words in (["evaluate"], ["challenge"]):
        found = run(app, [words[0], str(dex.path), "--data", "synthetic", "--count", "60"])
        assert found.exit_code == 0, found.output
        assert "onnx fp32" in found.output
    for words in (["calibrate", "--data", "synthetic"], ["card"], ["quantize", "--data", "synthetic"]):
        refused = run(app, [words[0], str(dex.path), *words[1:]])
        assert refused.exit_code == 1
        assert "expected the bundle of an SSR-Net" in str(refused.exception)


def test_what_is_not_served_says_why(tmp_path: Path) -> None:
    torch.manual_seed(0)
    with pytest.raises(ExportError, match="Hot is not served: it ends in support vectors"):
        write_method(zoo.save_system(tmp_path / "hot", zoo.build("hot"), {}), tmp_path / "b")
    with pytest.raises(ExportError, match=r"does not record how the faces were cut .* give --crop"):
        write_method(saved(tmp_path / "dex", "dex", crop=None), tmp_path / "b")
    with pytest.raises(ExportError, match="records how its faces were cut, which is what it needs"):
        write_method(saved(tmp_path / "cut", "dex"), tmp_path / "b", crop=CROP)
    assert not (tmp_path / "b").exists()
    (tmp_path / "b").mkdir()
    with pytest.raises(BundleError, match="exists already and is not a bundle"):
        write_method(tmp_path / "dex", tmp_path / "b", crop=CROP)


def test_the_engine_and_readers_of_ssrnet_refuse_it(dex: MethodBundle) -> None:
    for opening in (read_bundle, ssr_ops.Engine):
        with pytest.raises(SsrError, match=r"the bundle of a .method., expected the bundle of an SSR-Net"):
            opening(str(dex.path))
    with pytest.raises(BundleError, match="this is the bundle of an SSR-Net, which has no kind"):
        read_method(default_bundle())


def _kind(contract: dict[str, Any]) -> None:
    contract["kind"] = "detector"


def _version(contract: dict[str, Any]) -> None:
    contract["contract_version"] = 2


def _no_graph(contract: dict[str, Any]) -> None:
    del contract["files"]["model.onnx"]


def _step(contract: dict[str, Any]) -> None:
    contract["method"]["step"] = -1


def _interface(contract: dict[str, Any]) -> None:
    contract["interface"]["crop"]["margin"][0] = 0.5


def _nameless(contract: dict[str, Any]) -> None:
    del contract["method"]["name"]


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (_kind, "kind: this is the bundle of a 'detector', expected a method's"),
        (_version, "contract_version 2 is unknown, expected 1"),
        (_no_graph, "files: model.onnx is not listed"),
        (_step, "method.step: must not be negative, got -1"),
        (_interface, "interface_sha256 is"),
        (_nameless, "method: 'name' is missing"),
    ],
)
def test_a_broken_contract_is_refused(
    dex: MethodBundle, spoil: Callable[[dict[str, Any]], None], told: str
) -> None:
    contract = json.loads(dex.contract.dumps())
    spoil(contract)
    with pytest.raises(ContractError) as raised:
        MethodContract.loads(json.dumps(contract))
    assert told in str(raised.value)


def test_a_repository_serves_it_by_onnx_runtime(dex: MethodBundle, tmp_path: Path) -> None:
    """By SSR-Net's configuration but for the contract's own interface, so that the same client asks it."""
    for options, told in (
        (Options(), "is dex, whose network is an ONNX graph in fp32: flavor onnx serves it"),
        (Options(flavors=("onnx",), precision="fp16"), "not flavor onnx in fp16"),
    ):
        with pytest.raises(SsrError, match=told):
            repository.build([(None, dex.path)], tmp_path / "repo", options)
    assert not (tmp_path / "repo").exists()
    [model] = repository.build([(None, dex.path)], tmp_path / "repo", ONNX)
    assert model.name == "dex-onnx"
    assert json.loads(parameter(model.config, "interface")) == dex.contract.interface.to_json()
    assert [(i.name, list(i.dims)) for i in model.config.input] == [("image", [64, 64, 3])]
    assert [(o.name, list(o.dims)) for o in model.config.output] == [("age", [1])]
    assert repository.read_model(model.path).good[0].contract == dex.contract


def test_versions_of_another_method_and_of_ssrnet_stand_side_by_side(
    dex: MethodBundle, exported: Exported, tmp_path: Path
) -> None:
    """What a client relies on is the interface: a version may be of another method."""
    repo = tmp_path / "repo"
    repository.build([("age", dex.path)], repo, ONNX)
    assert repository.publish(exported("ldl").path, repo, "age-onnx").number == 2
    assert repository.rollback(repo, "age-onnx")[0].number == 1
    with pytest.raises(SsrError, match="its interface"):
        repository.publish(exported("mrcnn").path, repo, "age-onnx")


@pytest.mark.parametrize(
    ("name", "told"),
    [("model.onnx", "altered"), ("model.safetensors", "altered"), ("golden.safetensors", "")],
)
def test_a_damaged_version_is_not_served(dex: MethodBundle, tmp_path: Path, name: str, told: str) -> None:
    repository.build([("age", dex.path)], tmp_path, ONNX)
    file = tmp_path / "age-onnx" / "1" / name
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    [version] = repository.read_model(tmp_path / "age-onnx").versions
    assert name in version.fault
    assert told in version.fault


def test_a_graph_of_another_method_is_refused(dex: MethodBundle, exported: Exported, tmp_path: Path) -> None:
    """As one that was exchanged and pinned anew."""
    other, copy = exported("ldl"), tmp_path / "copy"
    shutil.copytree(dex.path, copy)
    shutil.copyfile(other.path / "model.onnx", copy / "model.onnx")
    contract = json.loads((copy / "contract.json").read_text())
    contract["files"]["model.onnx"] = json.loads(other.contract.dumps())["files"]["model.onnx"]
    (copy / "contract.json").write_text(json.dumps(contract))
    with pytest.raises(SsrError, match=r"ssr\.network_sha256 is .*: exported from another system"):
        repository.build([("age", copy)], tmp_path / "repo", ONNX)


def test_it_climbs_the_ladder(dex: MethodBundle, tmp_path: Path) -> None:
    ladder = verify(str(dex.path), Wanted(steps=("torch", "onnx", "native")), lambda *_, **__: None)
    assert [(row.step, row.precision, row.verdict) for row in ladder.rows] == [
        ("reference", "fp64", "ok"),
        ("torch", "fp32", "ok"),
        ("onnx", "fp32", "ok"),
    ]
    repository.build([("age", dex.path)], tmp_path, ONNX)
    ladder = verify(str(tmp_path), Wanted(steps=("onnx",)), lambda *_, **__: None)
    assert [(row.step, row.verdict) for row in ladder.rows] == [("reference", "ok"), ("onnx", "ok")]
