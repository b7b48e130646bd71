"""Calibration: the contract's rules, learned rounding, ``ssr-train quantize`` from pictures to drift."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from conftest import ROOT, material, unwritable
from ssr_client.gather import LEAST, gather
from test_cli_train import refused, ssr_train
from tolerances import required

import ssr_ops
from ssr_bundle.bundle import Bundle, copy_bundle, read_bundle
from ssr_bundle.contract import PRECISIONS, Architecture, ContractError, Quantization, convolution_widths
from ssr_bundle.errors import SsrError
from ssr_ops import quantized, reference
from ssr_ops.drift import Drift
from ssr_ops.replay import ReplayError
from ssr_ops.shipped import default_bundle
from ssr_train.quantize import quantizer
from ssr_train.quantize.crop_source import CropSource
from ssr_train.quantize.quantize_bundle import quantize_bundle
from ssr_train.quantize.rounding import learn_rounding

ASTRONAUT = ROOT / "ssr_ops/assets/astronaut.jpg"
FEW = 128
"""Drawn faces that calibrate; with half as many the shipped network fails its golden record by some seeds."""
SMALL = Architecture(stages=(2,), width_x=2, width_s=3, width_fusion=2)


def block() -> dict[str, Any]:
    """A whole ``quantization`` object for ``SMALL``."""
    widths = convolution_widths(SMALL)
    zeros = {name: [0.0] * width for name, width in widths.items()}
    bits = {
        "stages.0.fuse_x": "f0",
        "stages.0.fuse_s": "00",
    }
    for i in (1, 2, 3):
        bits |= {f"x.{i}": "00" * 5, f"s.{i}": "00" * 11}
    return {
        "ranges": {"x.0": 2.0, "x.1": [1.0, 3.0], "x.2": 4, "x.3": 0.5},
        "bias_correction": {"int8": copy.deepcopy(zeros), "bf16": copy.deepcopy(zeros)},
        "rounding": bits,
        "calibration": {},
    }


def test_block_round_trips() -> None:
    q = Quantization.from_json(block(), SMALL)
    assert q is not None
    assert q.ranges["x.1"] == (1.0, 3.0)
    assert q.ranges["x.2"] == 4.0
    assert q.to_json() == json.loads(json.dumps({**block(), "ranges": {**block()["ranges"], "x.2": 4.0}}))
    assert Quantization.from_json(None, SMALL) is None
    assert Quantization.from_json({**block(), "rounding": None}, SMALL) is not None


RULES: list[tuple[list[str], Any, str]] = [
    ([], 3, "quantization: expected an object"),
    (["ranges"], ..., "quantization: 'ranges' is missing"),
    (["rounding"], ..., "quantization: 'rounding' is missing"),
    (["calibration"], ..., "quantization: 'calibration' is missing"),
    (["calibration"], [], "quantization.calibration: expected an object"),
    (["ranges", "x.3"], ..., "quantization.ranges: 'x.3' is missing"),
    (["ranges", "s.0"], 1.0, "quantization.ranges.s.0: is not this network's"),
    (["ranges", "x.0"], 0.0, "quantization.ranges.x.0: must lie in"),
    (["ranges", "x.0"], -1.0, "quantization.ranges.x.0: must lie in"),
    (["ranges", "x.0"], 1e300, "quantization.ranges.x.0: must lie within"),
    (["ranges", "x.0"], "2", "quantization.ranges.x.0: expected a positive number or a list of 2"),
    (["ranges", "x.0"], True, "quantization.ranges.x.0: expected a positive number or a list of 2"),
    (["ranges", "x.1"], [1.0], "quantization.ranges.x.1: expected 2 finite numbers, got 1 values"),
    (["ranges", "x.1"], [1.0, 0.0], "quantization.ranges.x.1: must lie in"),
    (["ranges", "x.1"], [1.0, float("nan")], "quantization.ranges.x.1: expected 2 finite numbers"),
    (["bias_correction", "bf16"], ..., "quantization.bias_correction: 'bf16' is missing"),
    (["bias_correction", "fp16"], {}, "quantization.bias_correction.fp16: is not this network's"),
    (["bias_correction", "int8", "s.2"], ..., "quantization.bias_correction.int8: 's.2' is missing"),
    (["bias_correction", "int8", "s.2"], [0.0], "bias_correction.int8.s.2: expected 3 finite numbers"),
    (["bias_correction", "int8", "s.2"], [0.0, 1e10, 0.0], "bias_correction.int8.s.2: must lie within"),
    (["bias_correction", "bf16", "stages.1.fuse_x"], [0.0], "bf16.stages.1.fuse_x: is not this network's"),
    (["rounding"], "00", "quantization.rounding: expected an object"),
    (["rounding", "x.0"], "00" * 7, "quantization.rounding.x.0: is not this network's"),
    (["rounding", "x.1"], ..., "quantization.rounding: 'x.1' is missing"),
    (["rounding", "x.1"], "00" * 4, "quantization.rounding.x.1: expected 10 hexadecimal digits"),
    (["rounding", "x.1"], "0G" * 5, "quantization.rounding.x.1: expected 10 hexadecimal digits"),
    (["rounding", "x.1"], "00" * 4 + "01", "rounding.x.1: the 4 bits after the last weight's must be 0"),
]


@pytest.mark.parametrize(("path", "value", "message"), RULES, ids=lambda v: str(v)[:40])
def test_block_refused(path: list[str], value: Any, message: str) -> None:
    data: Any = {"root": block()}
    *keys, last = ["root", *path]
    parent = data
    for key in keys:
        parent = parent[key]
    if value is ...:
        del parent[last]
    else:
        parent[last] = value
    with pytest.raises(ContractError) as error:
        Quantization.from_json(data["root"], SMALL)
    assert message in str(error.value)


def test_contract_keeps_lists_on_one_line() -> None:
    contract = read_bundle(default_bundle()).contract
    text = contract.dumps()
    assert json.loads(text) == contract.to_json()
    assert '"stages": [3, 3, 3]' in text


def test_learned_rounding_beats_nearest_on_correlated_inputs() -> None:
    """Neighbouring inputs are nearly equal, so errors of neighbouring weights should cancel."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4000, 1)) * 50 + rng.normal(size=(4000, 12))
    ratio = rng.uniform(-100, 100, (5, 12))
    up = learn_rounding(ratio, x, x)

    def error(rounded: np.ndarray) -> np.ndarray:
        return ((rounded - ratio) @ x.T).std(axis=1)

    nearest, learned = error(np.rint(ratio)), error(np.floor(ratio) + up)
    assert (learned <= nearest + 1e-9).all()
    assert learned.mean() < 0.35 * nearest.mean()


def test_learned_rounding_makes_up_for_its_inputs() -> None:
    """The network's inputs are 10 % small: weights go up to make up for it."""
    rng = np.random.default_rng(1)
    real = rng.normal(size=(3000, 6))
    ratio = np.full((1, 6), 4.4)
    assert learn_rounding(ratio, 0.9 * real, real).all()
    assert not learn_rounding(ratio, real, real).all()


def test_correct_matches_the_mean_after_the_activation() -> None:
    rng = np.random.default_rng(2)
    v = rng.normal(size=(4, 9, 9, 3)).astype(np.float32)
    for name, activate in (("x.1", lambda z: np.maximum(z, 0)), ("s.1", np.tanh)):
        target = activate(v + np.array([0.1, -0.2, 0.05])).mean(axis=(0, 1, 2))
        np.testing.assert_allclose(quantizer.correct(name, v, target), [0.1, -0.2, 0.05], atol=1e-4)
    silent = np.full((1, 2, 2, 1), -5, np.float32)
    assert quantizer.correct("x.0", silent, np.array([0.5])) == [0.0]


def test_relit_crops_differ_and_are_reproducible() -> None:
    images = np.random.default_rng(3).integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)
    first, again = (quantizer.relight(images, np.random.default_rng(5)) for _ in range(2))
    assert np.array_equal(first, again)
    assert first.dtype == np.uint8
    assert (first != images).mean() > 0.5


def test_drift_of_known_answers() -> None:
    drift = Drift.of(np.array([1.0, 2.0, 5.0]), np.array([2.0, 2.0, 3.0]))
    assert drift.to_json() == {"mean": 1.0, "signed": 0.33333, "p99": 1.98, "max": 2.0}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default bundle, plain, quantized on a few drawn faces."""
    folder = tmp_path_factory.mktemp("drawn")
    plain(folder / "plain")
    return quantize_bundle(
        folder / "plain", CropSource(data="synthetic", count=FEW), folder / "quantized"
    ).path


def plain(path: Path) -> Path:
    """The default bundle without its quantization, at ``path``."""
    bundle = read_bundle(default_bundle())
    return copy_bundle(bundle, replace(bundle.contract, quantization=None), path).path


def test_drawn_faces_end_to_end(drawn: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle, before = read_bundle(drawn), read_bundle(default_bundle())
    assert bundle.contract.weights_sha256 == before.contract.weights_sha256
    assert bundle.contract.interface.sha256 == before.contract.interface.sha256
    record = bundle.contract.quantization.calibration  # type: ignore[union-attr]
    assert record["source"] == {"data": "synthetic", "synthetic": True, "count": FEW, "seed": 1}
    assert record["held_out"]["crops"] == FEW
    for precision, limit in (("int8", 0.4), ("bf16", 0.15)):
        drift = record["drift"][precision]["held_out"]
        assert 0 < drift["mean"] < limit
        assert abs(record["held_out"]["mae"][precision] - record["held_out"]["mae"]["fp32"]) < limit
    with pytest.raises(SsrError, match="quantized already; --force does it again"):
        quantize_bundle(drawn, CropSource(data="synthetic", count=FEW))


def test_the_command_without_torch_gives_the_same_contract_in_place(drawn: Path, tmp_path: Path) -> None:
    bundle = plain(tmp_path / "b")
    arguments = ("quantize", bundle, "--data", "synthetic", "--count", str(FEW))
    result = ssr_train(*arguments, blocked=("torch", "h5py", "scipy"))
    assert result.returncode == 0, result.stderr
    assert read_bundle(bundle).contract.dumps() == read_bundle(drawn).contract.dumps()
    assert f"{FEW} held out" in result.stdout
    assert result.stdout.count("replayed by the native engine") == 1 + sum(
        bool(ssr_ops.implementations(precision=p)) for p in ("int8", "bf16")
    )
    assert "quantized already; --force does it again" in refused(ssr_train(*arguments))
    assert f"int8 on {FEW} held out crops: mean" in ssr_train("info", bundle).stdout


def test_what_lies_beside_and_graphs_of_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Calibration itself left out, for time: it finds what the shipped bundle holds, then something else."""
    pytest.importorskip("onnx")
    from ssr_ops.export import PRECISIONS as GRAPHS
    from ssr_ops.export import onnx_name
    from ssr_ops.export.write import export

    shipped = read_bundle(default_bundle())
    same = shipped.contract.quantization
    assert same is not None
    corrections = {p: {n: tuple(v) for n, v in c.items()} for p, c in same.bias_correction.items()}
    corrections["int8"]["x.0"] = tuple(1.001 * v for v in corrections["int8"]["x.0"])
    other = replace(same, bias_correction=corrections)
    bundle = copy_bundle(shipped, shipped.contract, tmp_path / "b").path
    export(bundle, GRAPHS)
    (bundle / "CARD.md").write_text("a card")
    source = CropSource(data="synthetic", count=LEAST)
    monkeypatch.setattr("ssr_train.quantize.quantize_bundle.find_quantization", lambda *_: same)
    quantize_bundle(bundle, source, force=True)
    assert "note: model" not in capsys.readouterr().out
    (bundle / "CARD.md").write_text("another card")
    assert set(map(onnx_name, GRAPHS)) < set(read_bundle(bundle).contract.files)
    monkeypatch.setattr("ssr_train.quantize.quantize_bundle.find_quantization", lambda *_: other)
    for out in (tmp_path / "out", None):
        written = quantize_bundle(bundle, source, out, force=True)
        note = "note: model.int8.onnx held the quantization of before and is left out; write it again: "
        assert f"{note}ssr-train export {written.path} --precision int8\n" in capsys.readouterr().out
        assert {"model.onnx", "model.fp16.onnx"} < set(written.contract.files)
        assert not {"model.int8.onnx", "CARD.md"} & set(written.contract.files)
        assert not (written.path / "model.int8.onnx").exists()
    export(bundle, ["int8"])
    assert (bundle / "CARD.md").read_text() == "another card"


def test_a_folder_that_cannot_be_written_is_said_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = plain(tmp_path / "b")
    monkeypatch.setattr("ssr_train.quantize.quantize_bundle._parts", lambda *_: pytest.fail("work was done"))
    source = CropSource(data="synthetic", count=FEW)
    (tmp_path / "file").touch()
    with pytest.raises(SsrError, match="file: is a file, expected a folder for the bundle"):
        quantize_bundle(bundle, source, tmp_path / "file" / "below")
    unwritable(monkeypatch, bundle)
    with pytest.raises(SsrError, match=r"b: cannot be written to \(Read-only .*a folder for the bundle"):
        quantize_bundle(bundle, source)


def test_a_golden_record_that_does_not_replay_names_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen with 32 drawn faces; which network needs how many is chance."""

    def off(bundle: Bundle) -> None:
        raise ReplayError(f"{bundle.path}: the engine is off by 1.88 years")

    monkeypatch.setattr("ssr_train.quantize.quantize_bundle.replay_all", off)
    bundle = plain(tmp_path / "b")
    before = (bundle / "contract.json").read_bytes()
    with pytest.raises(SsrError, match=r"/b: .* 1\.88 years; quantized on 32 crops, more of them may help"):
        quantize_bundle(bundle, CropSource(data="synthetic", count=32))
    assert (bundle / "contract.json").read_bytes() == before


def test_usage_errors() -> None:
    bundle = default_bundle()
    refused(ssr_train("quantize", bundle), status=2)
    refused(ssr_train("quantize", bundle, "--images", "a", "--data", "synthetic"), status=2)
    refused(ssr_train("quantize", bundle, "--data", "synthetic", "--test", "a"), status=2)
    refused(ssr_train("quantize", bundle, "--images", "a", "--jitter", "-1"), status=2)


@pytest.mark.parametrize("precision", ["int8", "bf16"])
def test_engine_and_reference_agree(drawn: Path, precision: str) -> None:
    """The native engine against the reference's exact arithmetic."""
    if not ssr_ops.implementations(precision=precision):
        pytest.skip(f"this build has no {precision} engine")
    bundle = read_bundle(drawn)
    images = bundle.golden()["images"]
    network = {"int8": quantized.int8, "bf16": quantized.bf16}[precision]
    q, a = bundle.contract.quantization, bundle.contract.architecture
    assert q is not None
    expected = network(bundle.parameters(), a, q, images).stages
    for name in ssr_ops.implementations(precision=precision):
        found = ssr_ops.Engine(drawn, precision=precision, implementation=name).predict_stages(images)
        for key in ("p", "eta", "delta"):
            wanted = getattr(expected, key)
            apart = np.abs(getattr(found, key) - wanted).max() / max(1.0, np.abs(wanted).max())
            assert apart < (1e-4 if precision == "int8" else 2e-2), (name, key)


def write_photo(path: Path, picture: Any) -> None:
    assert cv2.imwrite(str(path), picture)


def crops_folder(path: Path, count: int, seed: int = 0) -> Path:
    """Drawn faces as ready 64 x 64 crops."""
    from ssr_train.data.synthetic import draw_faces

    path.mkdir()
    for i, image in enumerate(draw_faces(count, seed).images):
        write_photo(path / f"{i:03}.png", image)
    return path


def test_ready_crops_and_held_out_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = crops_folder(tmp_path / "crops", 33)
    (images / "broken.jpg").write_bytes(b"no picture")
    (images / "copy.png").write_bytes((images / "000.png").read_bytes())
    (images / "notes.txt").write_text("ignored")
    result = quantize_bundle(plain(tmp_path / "b"), CropSource(images=images), tmp_path / "out")
    printed = capsys.readouterr().out
    assert "broken.jpg: not an image" in printed
    assert "copy.png: the same bytes as another file" in printed
    assert "33 faces in 33 pictures, 33 crops" in printed
    assert "too few photos to hold some out" in printed
    record = result.contract.quantization.calibration  # type: ignore[union-attr]
    assert record["calibration"]["files"] == 33
    assert "held_out" not in record
    with pytest.raises(SsrError, match="exists already; choose another --out"):
        quantize_bundle(tmp_path / "b", CropSource(images=images), tmp_path / "out")


def test_bad_folders(tmp_path: Path) -> None:
    bundle = plain(tmp_path / "b")
    before = (bundle / "contract.json").read_bytes()

    def refuse(message: str, **source: Any) -> None:
        with pytest.raises(SsrError, match=message):
            quantize_bundle(bundle, CropSource(**source))

    refuse("absent: does not exist, expected a folder with photos", images=tmp_path / "absent")
    refuse("contract.json: is a file", images=bundle / "contract.json")
    empty = tmp_path / "empty"
    empty.mkdir()
    refuse("empty: no pictures in it", images=empty)
    write_photo(empty / "grey.png", np.full((200, 200, 3), 90, np.uint8))
    refuse("empty: no face found in its 1 pictures", images=empty)
    few = crops_folder(tmp_path / "few", 5)
    refuse("few: 5 crops of 5 faces, at least 32 are needed", images=few)
    enough = crops_folder(tmp_path / "enough", 33, seed=9)
    (few / "same.png").write_bytes((enough / "007.png").read_bytes())
    refuse("few: 1 of its files lie in .*enough too", images=enough, test=few)
    refuse("--data faces: unknown, expected one of: synthetic", data="faces")
    refuse("--count must be at least 32", data="synthetic", count=3)
    refuse("either --images DIR or --data NAME", data="synthetic", images=enough)
    assert (bundle / "contract.json").read_bytes() == before
    assert not list(tmp_path.glob(".tmp-*"))


def test_jitter_moves_boxes_within_bounds(tmp_path: Path) -> None:
    photo = Path(str(material("faces/the_flash_cast.png")))
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "cast.png").write_bytes(photo.read_bytes())
    interface = read_bundle(default_bundle()).contract.interface
    once, again = (gather(folder, interface, 3) for _ in range(2))
    assert (once.faces, len(once.images), len(once.files)) == (6, 24, 1)
    assert np.array_equal(once.images, again.images)
    assert np.array_equal(once.images[::4], gather(folder, interface, 0).images)


def test_released_network_on_another_photo(
    morph2_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calibrated on the six faces of one photo, measured on the face of another."""
    monkeypatch.setattr(quantizer, "MOST", 48)  # for time
    for name, photo in (("cast", material("faces/the_flash_cast.png")), ("astronaut", ASTRONAUT)):
        (tmp_path / name).mkdir()
        (tmp_path / name / photo.name).write_bytes(photo.read_bytes())
    source = CropSource(images=tmp_path / "cast", test=tmp_path / "astronaut", jitter=31)
    result = quantize_bundle(morph2_bundle, source, tmp_path / "out")
    record = result.contract.quantization.calibration  # type: ignore[union-attr]
    assert (record["calibration"]["crops"], record["held_out"]["crops"]) == (192, 32)
    for precision in PRECISIONS:
        for quantity, limit in required("native", precision, result.contract).bounds(many=True).items():
            assert abs(record["drift"][precision]["held_out"][quantity]) <= limit, (precision, quantity)


def test_quantized_answers_need_no_torch(drawn: Path) -> None:
    bundle = read_bundle(drawn)
    q = bundle.contract.quantization
    assert q is not None
    images = bundle.golden()["crops"][:2]
    age = quantized.int8(bundle.parameters(), bundle.contract.architecture, q, images).stages.age
    exact = reference.network(bundle.parameters(), bundle.contract.architecture, images).age
    assert np.abs(age - exact).max() < 1.75
