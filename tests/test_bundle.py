"""The bundle: appears whole or not at all; a tampered, truncated or foreign one is refused by name."""

from __future__ import annotations

import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from random_bundles import random_bundle, random_contract, random_parameters
from safetensors import numpy as safetensors

from ssr_bundle.bundle import (
    GOLDEN_FILE,
    MODEL_FILE,
    BundleError,
    add_files,
    copy_bundle,
    read_bundle,
    replace_bundle,
    replace_contract,
    seal,
    without,
)
from ssr_bundle.contract import Architecture, Crop, Input, Interface, Interval, Output
from ssr_bundle.errors import SsrError
from ssr_ops import reference
from ssr_ops.golden import write_bundle
from ssr_ops.replay import replay

Edit = Callable[[Path], object]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    architecture = Architecture()
    folder = tmp_path_factory.mktemp("bundle") / "good"
    return write_bundle(folder, random_contract(architecture), random_parameters(architecture)).path


@pytest.fixture
def copied(good: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(good, tmp_path / "bundle"))


def edit_bytes(name: str, where: int = -1) -> Edit:
    def edit(folder: Path) -> None:
        data = bytearray((folder / name).read_bytes())
        data[where] ^= 1
        (folder / name).write_bytes(data)

    return edit


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda f: shutil.rmtree(f), "does not exist"),
        (lambda f: (f / "contract.json").unlink(), "not a bundle"),
        (lambda f: (f / "contract.json").write_bytes(b"\xff\xfe"), "not UTF-8"),
        (lambda f: (f / "contract.json").write_text("{"), "not JSON"),
        (lambda f: (f / MODEL_FILE).unlink(), f"{MODEL_FILE}: missing"),
        (lambda f: (f / GOLDEN_FILE).unlink(), f"{GOLDEN_FILE}: missing"),
        (lambda f: (f / MODEL_FILE).write_bytes(b""), "truncated"),
        (lambda f: (f / MODEL_FILE).write_bytes((f / MODEL_FILE).read_bytes()[:-1]), "truncated"),
        (edit_bytes(MODEL_FILE), "altered"),
        (edit_bytes(GOLDEN_FILE, 4000), "altered"),
    ],
)
def test_damaged_bundles_are_refused_by_name(copied: Path, edit: Edit, message: str) -> None:
    edit(copied)
    with pytest.raises(BundleError) as caught:
        read_bundle(copied)
    assert message in str(caught.value)
    assert str(copied) in str(caught.value)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda p: p.pop("x.0.conv.weight"), "x.0.conv.weight is missing"),
        (lambda p: p.update(foreign=np.zeros(3, np.float32)), "foreign does not belong"),
        (lambda p: p.update({"x.0.conv.bias": np.zeros(31, np.float32)}), "has shape (31,), expected (32,)"),
        (lambda p: p["stages.0.p.bias"].__setitem__(0, np.nan), "NaN or infinite"),
        (lambda p: p["s.3.conv.weight"].__setitem__((0, 0, 0, 0), np.inf), "NaN or infinite"),
        (lambda p: p["x.1.norm.running_var"].__setitem__(3, -1), "negative variance"),
    ],
)
def test_wrong_parameters_never_become_a_bundle(
    tmp_path: Path, edit: Callable[[dict[str, np.ndarray]], object], message: str
) -> None:
    parameters = random_parameters(Architecture())
    edit(parameters)
    with pytest.raises(BundleError) as caught:
        write_bundle(tmp_path / "bundle", random_contract(Architecture()), parameters)
    assert message in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_sealed_bundle_with_foreign_weights_is_refused(copied: Path) -> None:
    contract = read_bundle(copied).contract
    safetensors.save_file({"weight": np.zeros(3, np.float32)}, copied / MODEL_FILE)
    seal(copied, contract)
    with pytest.raises(BundleError, match="is missing"):
        read_bundle(copied).parameters()


def test_an_existing_folder_is_kept(copied: Path, tmp_path: Path) -> None:
    parameters, contract = random_parameters(Architecture(), 1), random_contract(Architecture())
    before = read_bundle(copied).contract.weights_sha256
    with pytest.raises(BundleError, match="exists already; choose another --out, or --force replaces the"):
        write_bundle(copied, contract, parameters)
    assert read_bundle(copied).contract.weights_sha256 == before
    other = tmp_path / "not-a-bundle"
    other.mkdir()
    for overwrite in (False, True):
        with pytest.raises(BundleError, match=r"exists already and is not a bundle; choose .* or remove it"):
            write_bundle(other, contract, parameters, overwrite=overwrite)
    assert write_bundle(copied, contract, parameters, overwrite=True).contract.weights_sha256 != before


def test_the_folder_of_a_run_is_told_where_its_bundle_is(copied: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "settings.json").write_text("{}")
    with pytest.raises(BundleError, match="not a bundle; it is a run without a bundle, unfinished or of"):
        read_bundle(run)
    copied.rename(run / "bundle")
    with pytest.raises(BundleError, match=r"not a bundle; it is a run, its bundle is .*run/bundle$"):
        read_bundle(run)


def test_what_the_contract_does_not_list_stays_unlisted(copied: Path, tmp_path: Path) -> None:
    """A card or notes beside a bundle that is changed in its place, also by way of a link."""
    bundle = add_files(read_bundle(copied), {"model.onnx": b"a graph", "model.int8.onnx": b"another"})
    (copied / "CARD.md").write_text("a card")
    (copied / "plots").mkdir()
    (copied / "plots" / "one.txt").write_text("a plot")
    contract = replace(bundle.contract, name="renamed")
    bundle = replace_contract(bundle, contract, ["model.int8.onnx"])
    assert bundle.contract.name == "renamed"
    assert sorted(bundle.contract.files) == [GOLDEN_FILE, "model.onnx", MODEL_FILE]
    assert not (copied / "model.int8.onnx").exists()
    (tmp_path / "link").symlink_to(copied)
    draft = copy_bundle(without(bundle, ["model.onnx"]), contract, tmp_path / "draft")
    bundle = replace_bundle(read_bundle(tmp_path / "link"), draft)
    (copied / "CARD.md").write_text("another card")
    assert sorted(read_bundle(tmp_path / "link").contract.files) == [GOLDEN_FILE, MODEL_FILE]
    assert (copied / "plots" / "one.txt").read_text() == "a plot"
    assert not (copied / "model.onnx").exists()
    assert (tmp_path / "link").is_symlink()
    assert not list(tmp_path.glob(".tmp-*"))


def test_added_files_are_pinned(copied: Path) -> None:
    bundle = add_files(read_bundle(copied), {"model.onnx": b"a graph", "model.fp16.onnx": b"half"})
    assert bundle.contract.files["model.onnx"].bytes == 7
    bundle = add_files(bundle, {"model.onnx": b"a second graph"})
    assert {n: f.bytes for n, f in bundle.contract.files.items() if "onnx" in n} == {
        "model.onnx": 14,
        "model.fp16.onnx": 4,
    }
    assert not list(copied.glob(".tmp-*"))
    (copied / "model.onnx").write_bytes(b"another")
    with pytest.raises(BundleError, match=r"model.onnx: sha256 .* altered|model.onnx: 7 bytes"):
        read_bundle(copied)


def test_adding_files_leaves_a_whole_bundle_wherever_it_stops(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = add_files(read_bundle(copied), {"model.onnx": b"a graph"})
    replace_file, left = Path.replace, [0]

    def stop(path: Path, target: Path) -> Path:
        if left[0] == 0:
            raise OSError("the disk is gone")
        left[0] -= 1
        return replace_file(path, target)

    monkeypatch.setattr(Path, "replace", stop)
    for allowed in range(4):  # contract, two files, contract
        left[0] = allowed
        with pytest.raises(OSError, match="the disk is gone"):
            add_files(before, {"model.onnx": b"a second graph", "model.int8.onnx": b"third"})
        assert read_bundle(copied).contract.weights_sha256 == before.contract.weights_sha256
        assert not list(copied.glob(".tmp-*"))


@contextmanager
def full_beyond(size: int) -> Iterator[None]:
    """No file can be written beyond ``size`` bytes, as on a disk that fills up."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_told_by_the_file_that_does_not_fit(copied: Path, tmp_path: Path) -> None:
    bundle = read_bundle(copied)
    other = read_bundle(Path(shutil.copytree(copied, tmp_path / "other")))
    parameters = bundle.parameters()
    with full_beyond(1000):
        with pytest.raises(OSError, match="File too large") as copying:
            copy_bundle(bundle, bundle.contract, tmp_path / "copy")
        with pytest.raises(OSError, match="File too large") as writing:
            write_bundle(tmp_path / "new", bundle.contract, parameters)
        with pytest.raises(OSError, match="File too large") as adding:
            add_files(bundle, {"model.onnx": b"x" * 2000})
    for caught, place, name in (
        (copying, tmp_path, ".tmp-copy-*/golden.safetensors"),
        (writing, tmp_path, ".tmp-new-*/model.safetensors"),
        (adding, copied, ".tmp-*/model.onnx"),
    ):
        assert fnmatch(caught.value.filename, f"{place}/{name}")
    for beside in ("notes", "plots/notes"):
        (copied / beside).parent.mkdir(exist_ok=True)
        (copied / beside).write_bytes(b"x" * 3_000_000)
        with (
            full_beyond(2_000_000),
            pytest.raises(SsrError, match=rf"/\.tmp-bundle-\w+/{beside}: file too large$"),
        ):
            replace_bundle(bundle, other)
        (copied / beside).unlink()
    assert read_bundle(copied) == bundle
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "other"]


def test_golden_record_hurts_where_it_should(good: Path) -> None:
    """The record really reaches the denominator floor, the clip range and the picture's border."""
    bundle = read_bundle(good)
    golden, architecture = bundle.golden(), bundle.contract.architecture
    widths = 1 + architecture.lambda_width * golden["operator.delta"]
    floor = architecture.denominator_floor
    for k in range(len(architecture.stages)):
        assert (widths[:, k] < floor).any()
        assert ((widths[:, k] > floor) & (widths[:, k] < 3 * floor)).any()
    low, high = bundle.contract.interface.output.clip
    assert (golden["operator.unclipped"] > high).any()
    assert ((golden["operator.unclipped"] > low) & (golden["operator.unclipped"] < high)).any()
    assert (golden["output"] == np.clip(golden["unclipped"], low, high)).all()
    x, y, w, h = golden["boxes"].T
    left, _, right, bottom = bundle.contract.interface.crop.margin
    height, width = golden["picture"].shape[:2]
    assert (x - left * w < 0).any()
    assert (x + w + right * w > width).any()
    assert (y + h + bottom * h > height).any()


def test_golden_operator_rows_follow_equation_7(good: Path) -> None:
    """The recorded answers, against the paper's formula written out for one row at a time."""
    bundle = read_bundle(good)
    golden, a = bundle.golden(), bundle.contract.architecture
    for row in range(len(golden["operator.p"])):
        age, bins, column = 0.0, 1.0, 0
        for k, s in enumerate(a.stages):
            bins *= s * max(1 + float(golden["operator.delta"][row, k]), a.denominator_floor)
            for i in range(s):
                p, eta = golden["operator.p"][row, column], golden["operator.eta"][row, column]
                age += float(p) * (i + float(eta)) * a.value_range / bins
                column += 1
        assert golden["operator.unclipped"][row] == pytest.approx(age, rel=1e-12)


def test_calibrated_interval_in_golden(tmp_path: Path) -> None:
    calibrated = Interval(0.9, (30.0,), (5.0, 9.0))
    golden = random_bundle(tmp_path / "b", Architecture(), interval=calibrated).golden()
    half = np.where(golden["output"] >= 30, 9.0, 5.0)
    expected = np.clip(np.stack([golden["output"] - half, golden["output"] + half], 1), 0, 101)
    np.testing.assert_array_equal(golden["output_interval"], expected)
    at_edge = reference.interval(calibrated, np.array([30.0]), (0.0, 101.0))
    np.testing.assert_array_equal(at_edge, [[21.0, 39.0]])


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        *(
            (name, lambda array: None, f"has no '{name}'")
            for name in ("images", "crops", "p", "eta", "delta", "output")
        ),
        ("images", lambda array: array.astype(np.float32), "'images' is float32 of shape"),
        ("images", lambda array: array[..., :1], "expected uint8 of (N, 64, 64, 3)"),
        ("images", lambda array: array[:3], "has 6 crops among 3 images"),
        ("crops", lambda array: array[:0], "has 0 crops"),
        ("crops", lambda array: array[0], "'crops' is uint8 of shape (64, 64, 3)"),
        ("p", lambda array: array.astype(np.float32), "'p' is float32"),
        ("eta", lambda array: array.T, "'eta' is float64 of shape (9, 26)"),
        ("delta", lambda array: array[:-1], "'delta' has 25 rows for 26 images"),
        ("output", lambda array: array[0], "'output' is float64 of shape ()"),
    ],
)
def test_golden_records_that_cannot_be_replayed(
    copied: Path, name: str, change: Callable[[NDArray[Any]], NDArray[Any] | None], message: str
) -> None:
    """Well-hashed, but without the arrays that a replay reads: an error of ours in each."""
    arrays = safetensors.load_file(copied / GOLDEN_FILE)
    changed = change(arrays.pop(name))
    if changed is not None:
        arrays[name] = np.array(changed, order="C")
    safetensors.save_file(arrays, copied / GOLDEN_FILE)
    seal(copied, read_bundle(copied, replaced=[GOLDEN_FILE]).contract)
    with pytest.raises(BundleError, match=re.escape(message)):
        replay(read_bundle(copied))


def test_golden_follows_colour_and_crop(tmp_path: Path, good: Path) -> None:
    contract = random_contract(
        Architecture(), interface=Interface(Input(colour="rgb"), Crop(margin=(0.2, 0.3)), Output())
    )
    golden = write_bundle(tmp_path / "b", contract, random_parameters(Architecture())).golden()
    other = read_bundle(good).golden()
    np.testing.assert_array_equal(golden["picture"], other["picture"][..., ::-1])
    assert (golden["crops"] != other["crops"][..., ::-1]).any()


@pytest.mark.parametrize("module", ["ssr_bundle.bundle", "ssr_bundle.contract", "ssr_ops.reference"])
def test_light_modules_need_no_torch_and_no_native_code(module: str) -> None:
    code = f"import sys; sys.modules['torch'] = sys.modules['ssr_ops._native'] = None; import {module}"
    subprocess.run([sys.executable, "-c", code], check=True)
