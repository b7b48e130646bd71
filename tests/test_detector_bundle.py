"""The detector bundle: shipped, imported, and everything that is refused."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundle_faults import NOT_FILES, edits_of, refusal_in_cpp, refusal_in_python, within
from conftest import material
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner

from ssr_bundle.bundle import BundleError, read_bundle, seal
from ssr_bundle.detector import DetectorContract, parameter_shapes, read_detector, units
from ssr_bundle.errors import SsrError
from ssr_bundle.fields import ContractError
from ssr_ops import Engine
from ssr_ops.detector_golden import write_detector
from ssr_ops.detector_reference import Detections
from ssr_ops.shipped import default_bundle, default_detector

SHIPPED = default_detector()
TEXT = (SHIPPED / "contract.json").read_text()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the shipped bundle."""
    return shutil.copytree(SHIPPED, tmp_path / "yunet")


def refusal(folder: Path) -> str:
    """Why the bundle, or what is in it, is refused: one line."""

    def read_all() -> None:
        bundle = read_detector(folder)
        bundle.parameters()
        bundle.golden()

    with pytest.raises(BundleError) as caught:
        read_all()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def resealed(folder: Path) -> str:
    seal(folder, DetectorContract.loads(TEXT))
    return refusal(folder)


def test_the_shipped_bundle() -> None:
    bundle = read_detector(SHIPPED)
    contract = bundle.contract
    assert contract.scales == (640, 1600)
    assert (contract.score_threshold, contract.nms_threshold, contract.merge_threshold) == (0.7, 0.3, 0.4)
    assert contract.dumps() == TEXT
    assert contract.provenance["licence"] == "MIT, Copyright (c) 2020 Shiqi Yu"
    assert "MIT License" in (SHIPPED / "LICENSE").read_text()
    assert contract.weights_sha256 == contract.files["model.safetensors"].sha256
    parameters = bundle.parameters()
    assert {name: array.shape for name, array in parameters.items()} == parameter_shapes()
    assert len(units()) == 11 + 3 + 3 + 12
    assert sum(file.bytes for file in contract.files.values()) < 500_000


def test_importing_gives_the_shipped_bytes(tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="onnx is not installed")
    pytest.importorskip("cv2", reason="OpenCV is not installed")
    from ssr_train.cli import app

    arguments = ["import-detector", str(material("detectors/yunet_n_640_640.onnx")), "--out"]
    result = CliRunner().invoke(app, [*arguments, str(tmp_path / "made" / "yunet")])
    assert result.exit_code == 0, result.output
    made = sorted((tmp_path / "made" / "yunet").iterdir())
    assert [file.name for file in made] == sorted(file.name for file in SHIPPED.iterdir())
    for file in made:
        assert file.read_bytes() == (SHIPPED / file.name).read_bytes(), file.name


def test_each_reader_names_the_other_kind() -> None:
    with pytest.raises(
        BundleError, match="this is the bundle of an age network, expected that of a detector"
    ):
        read_detector(default_bundle())
    told = r"this is the bundle of a .detector., expected the bundle of an SSR-Net"
    for read in (read_bundle, Engine):
        with pytest.raises(SsrError, match=told) as caught:
            read(SHIPPED)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["detector", "age", None, 1, {}])
def test_the_contract_of_an_age_network_has_no_kind(tmp_path: Path, kind: Any) -> None:
    """In both readers, whatever else it says."""
    folder = shutil.copytree(default_bundle(), tmp_path / "age")
    text = (folder / "contract.json").read_text()
    for contract in ({**json.loads(text), "kind": kind}, {"kind": kind}):
        (folder / "contract.json").write_text(json.dumps(contract))
        for refusal_of in (refusal_in_python, refusal_in_cpp):
            told = refusal_of(folder)
            assert told is not None
            assert "kind: this is the bundle of a " in told


BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "another kind": ({"kind": "tracker"}, "kind: this is the bundle of a 'tracker', expected a detector's"),
    "another version": ({"contract_version": 2}, "contract_version 2 is unknown, expected 1"),
    "a name with a slash": ({"name": "a/b"}, "name: 'a/b' cannot name a model"),
    "no scales": ({"scales": []}, "scales: expected 1 to 8 rising whole numbers in 32..8192, got []"),
    "nine scales": ({"scales": [*range(100, 1000, 100)]}, "scales: expected 1 to 8 rising"),
    "a scale twice": ({"scales": [640, 640]}, "scales: expected 1 to 8 rising"),
    "scales that fall": ({"scales": [1600, 640]}, "scales: expected 1 to 8 rising"),
    "a small scale": ({"scales": [31, 640]}, "scales: expected 1 to 8 rising"),
    "a large scale": ({"scales": [640, 8193]}, "scales: expected 1 to 8 rising"),
    "a broken scale": ({"scales": [640.0]}, "scales: expected a whole number, got 640.0"),
    "no threshold": ({"score_threshold": 0}, "score_threshold: must lie in 0.01..1, got 0"),
    "a threshold above 1": ({"score_threshold": 1.01}, "score_threshold: must lie in 0.01..1"),
    "a threshold that is true": ({"score_threshold": True}, "score_threshold: expected a finite number"),
    "a negative overlap": ({"nms_threshold": -0.1}, "nms_threshold: must lie in 0..1, got -0.1"),
    "an overlap above 1": ({"merge_threshold": 2}, "merge_threshold: must lie in 0..1, got 2"),
    "no candidates": ({"max_candidates": 0}, "max_candidates: must lie in 1..10,000, got 0"),
    "many candidates": ({"max_candidates": 10_001}, "max_candidates: must lie in 1..10,000"),
    "half a candidate": ({"max_candidates": 0.5}, "max_candidates: expected a whole number"),
    "another multiple": (
        {"input": {"colour": "bgr", "dtype": "uint8", "layout": "hwc", "multiple": 64}},
        "input.multiple: 64 is not supported, expected 32",
    ),
    "a foreign key of the input": (
        {"input": {"colour": "bgr", "dtype": "uint8", "layout": "hwc", "multiple": 32, "mean": 0}},
        "input.'mean': is not a detector's",
    ),
    "another network": (
        {"architecture": {"kind": "yunet", "stem": 16, "width": 32, "strides": [8, 16, 32]}},
        "architecture.width: 32 is not supported, expected 64",
    ),
    "another box": ({"output": {"box": "haar", "landmarks": []}}, "output.box: 'haar' is not supported"),
    "an unknown licence": ({"provenance": {"licence": 3}}, "provenance.licence: expected a string, got 3"),
    "a hidden file": ({"files": {".x": {"sha256": "0" * 64, "bytes": 1}}}, "'.x' is not a plain file name"),
    "no files": ({"files": {}}, "model.safetensors is not listed"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_contract_is_refused_by_name(folder: Path, what: str) -> None:
    changes, message = BROKEN[what]
    (folder / "contract.json").write_text(json.dumps({**json.loads(TEXT), **changes}))
    told = refusal(folder)
    assert told.startswith(f"{folder / 'contract.json'}: ")
    assert message in told


def test_numbers_at_their_limits() -> None:
    for changes in (
        {"scales": [32]},
        {"scales": [32, 33, 34, 35, 36, 37, 38, 8192]},
        {"score_threshold": 0.01, "nms_threshold": 0, "merge_threshold": 1, "max_candidates": 1},
        {"score_threshold": 1, "nms_threshold": 1.0, "merge_threshold": 0.0, "max_candidates": 10_000},
        {"foreign": {"a": [1]}},
    ):
        contract = DetectorContract.loads(json.dumps({**json.loads(TEXT), **changes}))
        assert DetectorContract.loads(contract.dumps()) == contract


def test_every_single_edit_is_read_or_refused_in_one_line() -> None:
    """Nothing but a ContractError comes of a contract of which one thing differs."""
    refusals, read = [], 0
    for edit in edits_of(TEXT):
        try:
            contract = DetectorContract.loads(edit.text.decode("utf-8", errors="surrogateescape"))
        except ContractError as error:
            refusals.append(str(error))
        else:
            assert DetectorContract.loads(contract.dumps()) == contract, edit.what
            read += 1
    assert not [told for told in refusals if "\n" in told or len(told) > 1000]
    assert len(refusals) > 5 * read > 100


@pytest.mark.parametrize("kind", NOT_FILES)
@pytest.mark.parametrize("name", ["contract.json", "model.safetensors", "golden.safetensors", "LICENSE"])
def test_only_regular_files_are_opened(folder: Path, name: str, kind: str) -> None:
    make, message = NOT_FILES[kind]
    (folder / name).unlink()
    make(folder / name)
    told = within(5, lambda: refusal(folder))
    assert told is not None
    assert re.search(message, told)


def test_files_are_missing_truncated_altered(folder: Path) -> None:
    for name in ("model.safetensors", "golden.safetensors", "LICENSE"):
        whole = (folder / name).read_bytes()
        (folder / name).unlink()
        assert refusal(folder) == f"{folder / name}: missing, but the contract lists it"
        (folder / name).write_bytes(whole[:-1])
        assert "truncated or altered" in refusal(folder)
        (folder / name).write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        assert "altered" in refusal(folder)
        (folder / name).write_bytes(whole)
    assert read_detector(folder).contract == read_detector(SHIPPED).contract
    shutil.rmtree(folder)
    assert "does not exist, expected a bundle folder" in refusal(folder)
    folder.mkdir()
    assert "no contract.json, so this is not a bundle" in refusal(folder)


def _without(name: str) -> Callable[[dict[str, Any]], Any]:
    return lambda arrays: arrays.pop(name)


def _with(name: str, change: Callable[[Any], Any]) -> Callable[[dict[str, Any]], Any]:
    return lambda arrays: arrays.update({name: np.ascontiguousarray(change(arrays.get(name)))})


def _nan(array: Any) -> Any:
    array = array.copy()
    array.flat[-1] = np.nan
    return array


WRONG_MODELS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "missing": (_without("kps.8.point.bias"), "kps.8.point.bias is missing (1 in all)"),
    "foreign": (_with("extra", lambda _: np.zeros(3, np.float32)), "extra does not belong to this network"),
    "transposed": (_with("backbone.1.1.point.weight", np.transpose), "has shape (16, 64), expected (64, 16)"),
    "float64": (_with("stem.bias", lambda a: a.astype(np.float64)), "stem.bias is float64, expected float32"),
    "NaN": (_with("neck.16.depth.weight", _nan), "neck.16.depth.weight holds NaN or infinite values"),
}


@pytest.mark.parametrize("what", WRONG_MODELS)
def test_arrays_that_are_not_the_network_s(folder: Path, what: str) -> None:
    change, message = WRONG_MODELS[what]
    arrays = load_file(folder / "model.safetensors")
    change(arrays)
    save_file(arrays, folder / "model.safetensors")
    assert message in resealed(folder)


WRONG_RECORDS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "no picture": (_without("picture"), "the golden record has no 'picture'"),
    "grey": (_with("picture", lambda a: a[..., 0]), "expected uint8 of (H, W, 3)"),
    "large": (_with("picture", lambda a: a.repeat(7, axis=0)), "'picture' has 1190 x 222 pixels"),
    "another picture": (_with("picture", lambda a: a[:100]), "'raw.8' is float32 of shape (24, 28, 16)"),
    "float64": (_with("raw.32", lambda a: a.astype(np.float64)), "'raw.32' is float64"),
    "fewer scores": (_with("scores", lambda a: a[:2]), "'scores' is float32 of shape (2,)"),
    "no landmarks": (_without("opencv.landmarks"), "the golden record has no 'opencv.landmarks'"),
}


@pytest.mark.parametrize("what", WRONG_RECORDS)
def test_a_golden_record_that_is_none(folder: Path, what: str) -> None:
    change, message = WRONG_RECORDS[what]
    arrays = load_file(folder / "golden.safetensors")
    change(arrays)
    save_file(arrays, folder / "golden.safetensors")
    assert message in resealed(folder)


def test_writing_replaces_nothing_unasked(folder: Path, tmp_path: Path) -> None:
    parameters = read_detector(SHIPPED).parameters()
    none = Detections(np.empty((0, 4)), np.empty(0), np.empty((0, 5, 2)))
    with pytest.raises(BundleError, match="exists already; choose another --out, or --force replaces the"):
        write_detector(folder, DetectorContract(), parameters, none)
    assert (folder / "LICENSE").exists()
    wrong = {**parameters, "stem.bias": np.full(16, np.inf)}
    with pytest.raises(BundleError, match=r"stem\.bias holds NaN or infinite values"):
        write_detector(tmp_path / "new", DetectorContract(), wrong, none)
    assert not (tmp_path / "new").exists()
    made = write_detector(folder, DetectorContract(name="mine"), parameters, none, overwrite=True)
    assert read_detector(folder).contract == made.contract
    assert not (folder / "LICENSE").exists()


def test_what_cannot_be_written() -> None:
    for wrong in (
        {"scales": (640, 320)},
        {"score_threshold": float("nan")},
        {"max_candidates": 0},
        {"name": ""},
    ):
        with pytest.raises(ContractError, match=next(iter(wrong))):
            DetectorContract(**wrong)  # type: ignore[arg-type]
