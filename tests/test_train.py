"""The training loop: what it computes, and that a resumed run is the run that was never stopped."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch: pip install 'ssr-serve[train]'")

from ssr_bundle.bundle import read_bundle  # noqa: E402
from ssr_bundle.contract import Architecture, Contract, Interface  # noqa: E402
from ssr_bundle.errors import Interrupted, SsrError  # noqa: E402
from ssr_ops import reference  # noqa: E402
from ssr_ops.golden import write_bundle  # noqa: E402
from ssr_ops.shipped import default_bundle  # noqa: E402
from ssr_train.data.protocols import random_parts  # noqa: E402
from ssr_train.data.synthetic import draw_faces  # noqa: E402
from ssr_train.data.transforms import augment, random_matrices, to_network, warp  # noqa: E402
from ssr_train.model import SSRNet, load_model  # noqa: E402
from ssr_train.training import service, trainer  # noqa: E402
from ssr_train.training.folder import RunFolder  # noqa: E402
from ssr_train.training.schedule import default_step, learning_rate  # noqa: E402

OPTIONS: dict[str, Any] = {
    "data": "synthetic",
    "count": 100,
    "epochs": 2,
    "batch_size": 8,
    "lr": 0.002,
    "step": None,
    "seed": 3,
    "stages": "3,3,3",
    "dropout": 0.2,
    "augment": True,
    "init": None,
    "device": "cpu",
    "threads": 1,
}


def run(out: Path, checkpoint_every: int = 200, force: bool = False, **changes: Any) -> Path:
    return service.start(out, {**OPTIONS, **changes}, force, 1, checkpoint_every)


def resume(out: Path, **given: Any) -> Path:
    return service.resume(out, {**OPTIONS, **given}, set(given), 1, 200)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small run that nothing interrupted."""
    out = tmp_path_factory.mktemp("run") / "straight"
    run(out)
    return out


# The network.


def test_parameter_counts() -> None:
    model = SSRNet()
    assert sum(v.numel() for v in model.parameters_by_name().values()) == 40_915
    assert sum(p.numel() for p in model.parameters()) == 40_531


@pytest.mark.parametrize("dynamo", [False, True])
@pytest.mark.filterwarnings("ignore")
def test_exports_to_onnx(dynamo: bool, finished: Path, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    if dynamo:
        pytest.importorskip("onnxscript", reason="the dynamo exporter needs onnxscript")
    bundle = read_bundle(default_bundle())
    golden, path = bundle.golden(), tmp_path / "model.onnx"
    example = torch.rand(2, 3, 64, 64) * 255
    batch: dict[str, Any] = (
        {"dynamic_shapes": ({0: torch.export.Dim("batch", min=1, max=4096)},)}
        if dynamo
        else {"dynamic_axes": {"image": {0: "batch"}, "age": {0: "batch"}}}
    )
    torch.onnx.export(
        load_model(bundle),
        (example,),
        str(path),
        input_names=["image"],
        output_names=["age"],
        dynamo=dynamo,
        **batch,
    )
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    crops = golden["crops"]
    expected = golden["unclipped"][: len(crops)]
    for size in (1, 3, len(crops)):
        images = crops[:size].transpose(0, 3, 1, 2).astype(np.float32)
        ages = session.run(None, {"image": images})[0]
        assert ages.shape == (size, 1)
        np.testing.assert_allclose(ages[:, 0], expected[:size], atol=2e-3, rtol=0)


# Data on its way in.


def test_identity_warp_and_exact_mirror() -> None:
    images = to_network(torch.from_numpy(draw_faces(4, 1).images))
    assert images.shape == (4, 3, 64, 64)
    assert images.is_contiguous(memory_format=torch.channels_last)
    identity = torch.tensor([[1.0, 0, 0], [0, 1, 0]]).expand(4, 2, 3)
    torch.testing.assert_close(warp(images, identity), images, atol=0.01, rtol=0)
    mirror = torch.tensor([[-1.0, 0, 0], [0, 1, 0]]).expand(4, 2, 3)
    torch.testing.assert_close(warp(images, mirror), images.flip(3), atol=0.01, rtol=0)


def test_shift_moves_content_and_repeats_the_border() -> None:
    images = torch.arange(64.0).expand(1, 3, 64, 64).clone()
    moved = warp(images, torch.tensor([[[1.0, 0, 2 * 8 / 64], [0, 1, 0]]]))
    torch.testing.assert_close(moved[..., :56], images[..., 8:], atol=0.01, rtol=0)
    assert (moved[..., 56:] == 63).all()


def test_random_matrices_follow_the_published_ranges() -> None:
    torch.manual_seed(0)
    m = random_matrices(20_000)
    mirrored = torch.linalg.det(m[:, :, :2]) < 0
    assert 0.48 < mirrored.float().mean() < 0.52
    moved = (m[:, :, 2] != 0).any(1).float().mean()
    assert 0.23 < moved < 0.27
    assert m[:, :, 2].abs().max() <= 0.4
    still = ((m - torch.tensor([[1.0, 0, 0], [0, 1, 0]])).abs().amax((1, 2)) == 0).float().mean()
    assert math.isclose(float(still), 0.5 * 0.75**4, abs_tol=0.02)
    area = torch.linalg.det(m[:, :, :2]).abs()
    assert area.min() > 0.64 * math.cos(0.2) - 1e-3
    assert area.max() < 1.44 + 1e-3


def test_augmentation_follows_torchs_generator() -> None:
    images = to_network(torch.from_numpy(draw_faces(4, 1).images))
    torch.manual_seed(1)
    one = augment(images)
    torch.manual_seed(1)
    assert torch.equal(one, augment(images))
    assert not torch.equal(one, augment(images))


def test_schedule() -> None:
    assert default_step(90) == 30
    assert [default_step(n) for n in (1, 2, 3, 12, 100)] == [1, 1, 1, 4, 34]
    rates = [learning_rate(0.002, epoch, 30) for epoch in (0, 29, 30, 59, 60, 89)]
    assert rates == [0.002, 0.002, 0.0002, 0.0002, 2e-5, 2e-5]


# The loop.


def test_a_small_batch_is_learned_by_heart(tmp_path: Path) -> None:
    bundle = run(
        tmp_path / "run",
        count=20,
        batch_size=16,
        epochs=70,
        step=55,
        lr=0.01,
        augment=False,
        dropout=0.0,
        seed=0,
    )
    history = json.loads((bundle.parent / "history.json").read_text())
    assert history[-1]["train_mae"] < 2.5, history[-1]
    assert history[0]["train_mae"] > 15


def test_a_run_leaves_everything(finished: Path) -> None:
    history = json.loads((finished / "history.json").read_text())
    assert [row["epoch"] for row in history] == [1, 2]
    assert (finished / "history.csv").read_text().splitlines()[0] == "epoch,rate,train_mae,val_mae,seconds"
    assert (finished / "curves.png").read_bytes().startswith(b"\x89PNG")
    best = min(history, key=lambda row: row["val_mae"])
    contract = read_bundle(finished / "bundle").contract
    provenance = contract.provenance
    assert contract.name == "ssrnet"
    assert provenance["synthetic"] is True
    assert provenance["seed"] == 3
    assert provenance["count"] == 100
    assert provenance["licence"] == "Apache-2.0"
    assert provenance["weights"] == f"best epoch by validation MAE ({best['epoch']})"
    assert provenance["metrics"]["val_mae_best"] == round(best["val_mae"], 3)
    assert provenance["metrics"]["val_mae_last"] == round(history[-1]["val_mae"], 3)
    assert "--count 100 --epochs 2" in provenance["command"]
    assert read_bundle(finished / "bundle-last").contract.provenance["weights"] == "last epoch (2)"


def test_recorded_validation_mae_is_the_bundles(finished: Path) -> None:
    data = draw_faces(100, 3)
    _, validation, _ = random_parts(100, 3)
    bundle = read_bundle(finished / "bundle")
    ages = reference.network(bundle.parameters(), bundle.contract.architecture, data.images[validation]).age
    mae = np.abs(ages - data.ages[validation]).mean()
    assert math.isclose(mae, bundle.contract.provenance["metrics"]["val_mae"], abs_tol=2e-3)


def test_two_runs_are_equal_and_seeds_matter(finished: Path, tmp_path: Path) -> None:
    again, other = run(tmp_path / "again"), run(tmp_path / "other", seed=4)
    assert weights(again) == weights(finished / "bundle")
    assert weights(other) != weights(finished / "bundle")


def test_fine_tuning_starts_from_the_bundle(finished: Path, tmp_path: Path) -> None:
    bundle = run(tmp_path / "run", epochs=1, lr=1e-12, init=str(finished / "bundle-last"))
    before, after = read_bundle(finished / "bundle-last").parameters(), read_bundle(bundle).parameters()
    for name in (n for n in before if "running" not in n):
        np.testing.assert_allclose(after[name], before[name], atol=1e-9)
    started = read_bundle(finished / "bundle-last").contract.weights_sha256
    assert read_bundle(bundle).contract.provenance["initial_weights_sha256"] == started


# Interruption.

KILLED = """
import os, signal, sys
from ssr_train import cli
from ssr_train.training import trainer
save, saves = trainer.Trainer.save, 0
def kill_at_the_third(self):
    global saves
    saves += 1
    if saves == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    save(self)
trainer.Trainer.save = kill_at_the_third
cli.main()
"""


def arguments(out: Path) -> list[str]:
    options = "--count 100 --epochs 2 --batch-size 8 --seed 3 --device cpu --threads 1 --workers 1"
    return ["fit", "--out", str(out), *options.split()]


def test_killed_and_resumed_equals_uninterrupted(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = [sys.executable, "-c", KILLED, *arguments(out), "--checkpoint-every", "3"]
    assert subprocess.run(command, timeout=120).returncode == -signal.SIGKILL
    position = torch.load(out / "checkpoint.pt", weights_only=True)["position"]
    assert position[:2] == [0, 6], "the kill must fall in the middle of an epoch"
    assert not (out / "bundle").exists()
    assert_same_run(resume(out).parent, finished)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_says_how_to_go_on(
    number: int, status: int, finished: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    slow = (
        "import time; from ssr_train import cli; from ssr_train.training import trainer\n"
        "step = trainer.Trainer._train\n"
        "def pause(self, *batch):\n    time.sleep(0.2); step(self, *batch)\n"
        "trainer.Trainer._train = pause; cli.main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", slow, *arguments(out), "--checkpoint-every", "1"],
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not (out / "checkpoint.pt").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    for _ in range(2):  # as `timeout` does: to the command, then to its group
        os.kill(process.pid, number)
        time.sleep(0.05)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == status, errors
    assert "--resume" in errors
    assert "Traceback" not in errors
    assert not (out / "bundle").exists()
    assert_same_run(resume(out).parent, finished)


def assert_same_run(one: Path, other: Path) -> None:
    for bundle in ("bundle", "bundle-last"):
        assert weights(one / bundle) == weights(other / bundle)
        assert (
            read_bundle(one / bundle).contract.provenance == read_bundle(other / bundle).contract.provenance
        )
    rows = [json.loads((run / "history.json").read_text()) for run in (one, other)]
    for a, b in zip(*rows, strict=True):
        assert {**a, "seconds": 0} == {**b, "seconds": 0}


def weights(bundle: Path) -> str:
    return read_bundle(bundle).contract.weights_sha256


@pytest.mark.parametrize(("stop", "number"), [(KeyboardInterrupt(), 2), (SystemExit(143), 15)])
def test_stopped_while_drawing(
    stop: BaseException, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def drawing(*_: Any, **__: Any) -> None:
        raise stop

    monkeypatch.setattr("ssr_train.data.load", drawing)
    with pytest.raises(Interrupted, match=r"stopped while drawing; continue with: .* --resume") as caught:
        run(tmp_path / "run")
    assert caught.value.status == 128 + number


def test_weights_to_start_from_are_not_cleared_away(finished: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(finished)
    (tmp_path / "linked").mkdir()
    for file in (finished / "bundle").iterdir():
        (tmp_path / "linked" / file.name).symlink_to(file)
    before = sorted(finished.rglob("*"))
    for out, init in (
        (finished, finished / "bundle"),
        (finished, finished / "bundle-last"),
        (tmp_path / "link", finished / "bundle"),
        (finished, tmp_path / "link" / "bundle-last"),
        (finished, tmp_path / "linked"),
    ):
        with pytest.raises(
            SsrError, match=r"--force would remove the weights to start from, .*; choose anot"
        ):
            run(out, force=True, init=str(init))
    assert sorted(finished.rglob("*")) == before


def test_resuming_a_finished_run_changes_nothing(finished: Path) -> None:
    before = weights(finished / "bundle")
    assert weights(resume(finished)) == before


def test_a_loss_that_is_not_finite_stops_and_keeps_the_batch(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(trainer.Divergence, match=r"smaller --lr"):
        run(out, lr=1e30)
    assert not (out / "bundle").exists()
    with np.load(out / "bad_batch.npz") as saved:
        assert saved["images"].shape == (8, 3, 64, 64)
        assert saved["ages"].shape == (8,)


# Bad input, each with its word.


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"count": 9}, r"--count 9 leaves 7 faces to train on.*one batch of 8"),
        ({"count": 2, "batch_size": 2}, r"leaves no validation images of its 2"),
        ({"epochs": 0}, r"--epochs must be at least 1, got 0"),
        ({"batch_size": 1}, r"--batch-size must be at least 2"),
        ({"lr": 0.0}, r"--lr must be positive"),
        ({"lr": float("nan")}, r"--lr must be positive"),
        ({"seed": -1}, r"--seed must not be negative"),
        ({"dropout": 1.0}, r"--dropout must lie in 0..1"),
        ({"threads": 0}, r"--threads must be at least 1"),
        ({"stages": "3,x"}, r"--stages 3,x: expected numbers"),
        ({"stages": "3,3,3,3,3"}, r"5 stages"),
        ({"data": "imagenet"}, r"imagenet: unknown, expected one of: synthetic"),
        *(
            ({"device": device}, f"device '{device}' is unknown, expected cpu, cuda or cuda:N")
            for device in ("toaster", "meta", "mps", "vulkan", "cpu:7", "cuda:", "")
        ),
        *(
            ({"set": [f"value_range={years}"]}, f"--set value_range={years}: expected years, more than 1 ")
            for years in ("1", "0.5", "200.5", "1000")
        ),
        ({"init": "/nonexistent"}, r"/nonexistent: does not exist"),
    ],
)
def test_refused_before_anything_is_written(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(SsrError, match=message):
        run(tmp_path / "run", **changes)
    assert not (tmp_path / "run").exists()


def test_no_gpu_is_said(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("a GPU is here")
    with pytest.raises(SsrError, match="no GPU"):
        run(tmp_path / "run", device="cuda")


def test_an_initial_bundle_of_another_network_is_refused(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(SsrError, match=r"stages \[3, 3, 3\], --stages says \[4, 4\]"):
        run(tmp_path / "run", init=str(finished / "bundle"), stages="4,4")
    architecture = Architecture(value_range=1.0)
    parameters = {n: v.numpy() for n, v in SSRNet(architecture).parameters_by_name().items()}
    other = write_bundle(tmp_path / "b", Contract("x", Interface(), architecture), parameters)
    with pytest.raises(SsrError, match="another network"):
        run(tmp_path / "run", init=str(other.path))


def test_folders_that_are_in_the_way(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(SsrError, match=r"finished run; --resume continues it, --force"):
        run(finished)
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "me.jpg").write_text("x")
    for force in (False, True):
        with pytest.raises(SsrError, match="not a run's folder"):
            run(photos, force=force)
    assert (photos / "me.jpg").exists()
    with pytest.raises(SsrError, match="is a file"):
        run(photos / "me.jpg")
    with pytest.raises(SsrError, match="no run to resume"):
        resume(tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


def test_resume_refuses_other_settings(finished: Path) -> None:
    with pytest.raises(SsrError, match=r"this run has --epochs 2, not 9"):
        resume(finished, epochs=9)


def test_damaged_checkpoint_and_settings_are_named(finished: Path, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    with folder.lock():
        folder.start(RunFolder(finished).settings(), force=False)
    folder.checkpoint_file.write_bytes((finished / "checkpoint.pt").read_bytes()[:5000])
    with pytest.raises(SsrError, match=r"checkpoint.pt: not a readable checkpoint"):
        resume(folder.path)
    folder.settings_file.write_text("{")
    with pytest.raises(SsrError, match=r"settings.json: not JSON"):
        resume(folder.path)
    folder.settings_file.write_text('{"seed": 1}')
    with pytest.raises(SsrError, match=r"settings.json: expected the keys"):
        resume(folder.path)
    good = json.loads((finished / "settings.json").read_text())
    for key, value in (("count", "x"), ("options", 3), ("augment", 1), ("seed", True), ("lr", None)):
        folder.settings_file.write_text(json.dumps({**good, key: value}))
        with pytest.raises(SsrError, match=rf"settings.json: {key} is "):
            resume(folder.path)


def test_a_folder_that_is_no_run_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / ".lock").write_text("somebody's")
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(SsrError, match="not a run's folder"):
        run(tmp_path)
    assert (tmp_path / ".lock").read_text() == "somebody's"
    assert sorted(f.name for f in tmp_path.iterdir()) == [".lock", "notes.txt"]


def test_two_trainers_in_one_run_are_refused(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "run").lock(), pytest.raises(SsrError, match="another ssr-train"):
        run(tmp_path / "run")


# What the project ships.


def test_default_bundle_learned_something_and_says_what() -> None:
    bundle = read_bundle(default_bundle())
    p = bundle.contract.provenance
    assert bundle.contract.name == "ssrnet"
    assert p["synthetic"] is True
    assert p["command"].startswith("ssr-train fit --data synthetic --out RUN ")
    assert p["metrics"]["val_mae"] < 0.5 * p["metrics"]["val_mae_of_mean_age"]
    assert all(f.stat().st_size < 1_000_000 for f in bundle.path.iterdir())
    unseen = draw_faces(200, seed=991)
    ages = reference.network(bundle.parameters(), bundle.contract.architecture, unseen.images).age
    mae = np.abs(ages - unseen.ages).mean()
    print(f"MAE on faces of another seed: {mae:.2f}")
    assert mae < 1.25 * p["metrics"]["val_mae"]
    photo = bundle.golden()["unclipped"][: len(bundle.golden()["crops"])]
    assert np.isfinite(photo).all()
    assert ((photo > 0) & (photo < 101)).all(), photo
