"""The engine around the loop: averages, half precision, several processes, prepared sets, other systems."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch", reason="training needs torch: pip install 'ssr-serve[train]'")

from ssr_bundle.bundle import hash_file, read_bundle  # noqa: E402
from ssr_bundle.contract import Crop  # noqa: E402
from ssr_bundle.errors import SsrError  # noqa: E402
from ssr_train import zoo  # noqa: E402
from ssr_train.data import prepared  # noqa: E402
from ssr_train.data.dataset import Dataset  # noqa: E402
from ssr_train.data.protocols import make_split  # noqa: E402
from ssr_train.data.synthetic import draw_faces  # noqa: E402
from ssr_train.training import processes, service, supply, trainer  # noqa: E402
from ssr_train.training.folder import Settings  # noqa: E402
from ssr_train.training.options import settings_from  # noqa: E402
from ssr_train.training.schedule import batch_size  # noqa: E402
from ssr_train.training.start import build, initialise  # noqa: E402

OPTIONS: dict[str, Any] = {
    "count": 80,
    "epochs": 2,
    "batch_size": 8,
    "seed": 3,
    "device": "cpu",
    "threads": 1,
}
COMMAND = [
    *("--count", "80", "--epochs", "2", "--batch-size", "8", "--seed", "3"),
    *("--device", "cpu", "--threads", "1", "--workers", "1"),
]
AVERAGED = {"ema": 0.9, "precision": "bf16"}


def run(out: Path, force: bool = False, **changes: Any) -> Path:
    return service.start(out, {**OPTIONS, **changes}, force, 1)


def resume(out: Path, **given: Any) -> Path:
    return service.resume(out, {**OPTIONS, **given}, set(given), 1)


def python(code: str, *arguments: object, **keywords: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **keywords)


def weights(path: Path) -> str:
    return hash_file(path / "model.safetensors").sha256


@pytest.fixture(scope="module")
def averaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an uninterrupted run with averaged weights in half precision."""
    out = tmp_path_factory.mktemp("run") / "averaged"
    run(out, **AVERAGED)
    return out


@pytest.fixture(scope="module")
def prepared_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The 80 drawn faces of seed 3 as a prepared set; 10 test images, 40 persons."""
    folder = tmp_path_factory.mktemp("prepared") / "set"
    write_prepared(folder)
    return folder


def write_prepared(folder: Path, size: int = 64, name: str = "drawn") -> None:
    faces = draw_faces(80, 3)
    folder.mkdir()
    np.save(folder / prepared.IMAGES, faces.images[:, :size, :size])
    index = prepared.write_index(
        (f"{i}.png", float(age), str(i // 2), "", "", "test" if i < 10 else "train")
        for i, age in enumerate(faces.ages)
    )
    (folder / prepared.INDEX).write_bytes(index)
    about = {
        "format": prepared.FORMAT,
        "crop": Crop().to_json(),
        "name": name,
        "count": 80,
        "size": size,
        "licence": "Apache-2.0",
        "synthetic": True,
        "index_sha256": hash_file(folder / prepared.INDEX).sha256,
    }
    (folder / prepared.ABOUT).write_text(json.dumps(about))


# Resuming.

KILLED = """
import os, signal, sys
from ssr_train import cli
from ssr_train.training import trainer
step, last = trainer.Trainer._train, int(sys.argv.pop(1))
def until(self, *batch):
    if self.position == last:
        os.kill(os.getpid(), signal.SIGKILL)
    step(self, *batch)
trainer.Trainer._train = until
cli.main()
"""


def test_killed_at_any_step_and_resumed_equals_uninterrupted(averaged: Path, tmp_path: Path) -> None:
    step = random.randrange(16)
    out = tmp_path / "run"
    options = [*COMMAND, "--ema", "0.9", "--precision", "bf16", "--checkpoint-every", "3"]
    assert python(KILLED, step, "fit", "--out", out, *options).returncode == -signal.SIGKILL
    assert not (out / "bundle").exists()
    resume(out)
    for name in ("bundle", "bundle-last"):
        assert weights(out / name) == weights(averaged / name), f"killed before step {step}"


FULL = """
import resource, sys
from ssr_train import cli
from ssr_train.training import trainer
save = trainer.Trainer.save
def save_on_a_full_disk(self):
    if self.folder.checkpoint_file.exists():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
    save(self)
trainer.Trainer.save = save_on_a_full_disk
cli.main()
"""


def test_a_full_disk_leaves_the_old_checkpoint(averaged: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    options = [*COMMAND, "--ema", "0.9", "--precision", "bf16", "--checkpoint-every", "3"]
    result = python(FULL, "fit", "--out", out, *options)
    assert result.returncode == 1
    assert "checkpoint.pt: file too large; the file from before stays" in result.stderr
    assert "Traceback" not in result.stderr
    state = torch.load(out / "checkpoint.pt", weights_only=True)
    assert state["position"][:2] == [0, 3]
    assert not list(out.glob(".tmp-*"))
    resume(out)
    assert weights(out / "bundle") == weights(averaged / "bundle")


def test_settings_of_the_first_version_are_read_and_its_checkpoints_refused(tmp_path: Path) -> None:
    first = {
        **{"data": "synthetic", "count": 80, "epochs": 2, "batch_size": 8, "lr": 0.002, "step": 1, "seed": 3},
        **{"stages": [3, 3, 3], "dropout": 0.2, "augment": True, "device": "cpu", "threads": 1},
        **{"init": None, "init_sha256": None},
    }
    settings = Settings.from_json(first)
    assert settings.system == "ssrnet"
    assert settings.options == {"stages": [3, 3, 3], "dropout": 0.2}
    assert Settings.from_json(settings.to_json()) == settings
    out = tmp_path / "run"
    out.mkdir()
    (out / "settings.json").write_text(json.dumps(first))
    torch.save({"settings": first, "model": {}}, out / "checkpoint.pt")
    with pytest.raises(SsrError, match=r"checkpoint.pt: form 1 of another version"):
        resume(out)


# Averages and half precision.


def test_the_average_is_the_recursion_of_every_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected: list[NDArray[np.float64]] = []
    step = trainer.Trainer._train

    def follow(self: trainer.Trainer, *batch: Any) -> None:
        step(self, *batch)
        now = flat(self.system)
        expected[:] = [now if not expected else 0.9 * expected[0] + 0.1 * now]

    monkeypatch.setattr(trainer.Trainer, "_train", follow)
    out = tmp_path / "run"
    run(out, epochs=1, ema=0.9)
    state = torch.load(out / "checkpoint.pt", weights_only=True)
    saved = zoo.load_system(out / "bundle-last")
    np.testing.assert_allclose(flat(saved), expected[0], rtol=1e-5, atol=1e-6)
    raw = zoo.build("ssrnet")
    raw.load_state_dict(state["system"])
    assert np.abs(flat(raw) - expected[0]).max() > 1e-3


def flat(system: zoo.System) -> NDArray[np.float64]:
    """Parameters and running statistics, one after another."""
    floating = [v for v in system.state_dict().values() if v.is_floating_point()]
    return torch.cat([v.double().flatten() for v in floating]).numpy()


def test_half_precision_gives_the_same_direction() -> None:
    images, ages = draw_faces(32, 1)
    inputs, labels = torch.from_numpy(images).permute(0, 3, 1, 2).float(), torch.from_numpy(ages)
    torch.manual_seed(0)
    system = zoo.build("ssrnet", dropout=0.0).train()
    directions, answers = [], []
    for enabled in (False, True):
        system.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            outputs = system(inputs)
        assert outputs.dtype == torch.float32
        system.loss(outputs, labels).backward()
        directions.append(torch.cat([p.grad.flatten() for p in system.parameters()]))
        answers.append(outputs.detach())
    assert 0 < float((answers[0] - answers[1]).abs().mean()) < 0.25, "years"
    assert float(torch.cosine_similarity(*directions, dim=0)) > 0.99


# Several processes.


IN_DOUBLE = """
from ssr_train import cli
from ssr_train.training import trainer
build = trainer.build
trainer.build = lambda settings: build(settings).double()
trainer.to_network = lambda images: images.permute(0, 3, 1, 2).double()
cli.main()
"""
LAUNCH = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


def test_two_processes_train_what_one_does(tmp_path: Path) -> None:
    """With dropout and augmentation, in float64: Adam makes whole steps of what float32 rounding leaves."""
    script = tmp_path / "train.py"
    script.write_text(IN_DOUBLE)
    one, two = tmp_path / "one", tmp_path / "two"
    for out, launch in ((one, ()), (two, LAUNCH)):
        command = [sys.executable, *launch, str(script), "fit", "--out", str(out), *COMMAND]
        result = subprocess.run(command, capture_output=True, text=True, timeout=240)
        assert result.returncode == 0, result.stderr
        assert result.stdout.count("epoch 2/2") == 1
    assert "shared by 2 processes" in result.stdout
    states = [torch.load(out / "checkpoint.pt", weights_only=True)["system"] for out in (one, two)]
    for name, value in states[0].items():
        close = {"rtol": 0, "atol": 1e-5}  # a two-hundredth of one step of Adam
        torch.testing.assert_close(states[1][name], value, **close, msg=lambda m, name=name: f"{name}: {m}")
    rows = [json.loads((out / "history.json").read_text())[-1] for out in (one, two)]
    for key in ("train_mae", "val_mae"):
        assert rows[0][key] == pytest.approx(rows[1][key], rel=1e-6)
    assert "torchrun --nproc-per-node 2" in read_bundle(two / "bundle").contract.provenance["command"]


def test_one_of_two_processes_says_why_a_run_cannot_begin(averaged: Path) -> None:
    command = [sys.executable, *LAUNCH, "-m", "ssr_train.cli", "fit", "--out", str(averaged), *COMMAND]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert result.returncode == 1
    assert result.stderr.count("holds a finished run; --resume continues it") == 1, result.stderr
    assert "gloo" not in result.stderr, "the other process waited for the one that had ended"


STATUS = """
import os, pathlib, time
try:
    cli.main()
except SystemExit as end:
    pathlib.Path(__file__).with_name(os.environ["RANK"]).write_text(str(end.code))
    time.sleep(3)  # torchrun ends whoever is left when one has gone
    raise
"""


def test_a_full_disk_ends_two_processes_with_one_line(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(FULL.replace("cli.main()", STATUS))
    command = [sys.executable, *LAUNCH, str(script), "fit", "--out", str(tmp_path / "run"), *COMMAND]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert result.returncode == 1
    assert result.stderr.count("checkpoint.pt: file too large; the file from before stays") == 1
    statuses = [(tmp_path / rank).read_text() for rank in "01"]
    assert statuses == ["1", "1"], "the other process waited for the one that had ended"
    assert "gloo" not in result.stderr
    assert not (tmp_path / "run" / "bundle").exists()


def test_a_run_of_two_processes_is_resumed_by_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "run"
    out.mkdir()
    monkeypatch.setattr("ssr_train.training.options.launched", lambda: 2)
    settings = settings_from(OPTIONS)
    monkeypatch.undo()
    (out / "settings.json").write_text(json.dumps(settings.to_json()))
    with pytest.raises(SsrError, match=r"has 2 processes, not 1; continue with: torchrun --nproc-per-node 2"):
        resume(out)
    monkeypatch.setattr("ssr_train.training.options.launched", lambda: 3)
    with pytest.raises(SsrError, match="--batch-size 8 cannot be shared by 3 processes"):
        run(tmp_path / "other")


# Data.


def test_a_prepared_set_trains_as_the_same_faces_in_memory(prepared_set: Path, tmp_path: Path) -> None:
    drawn, mapped = run(tmp_path / "drawn"), run(tmp_path / "mapped", data=str(prepared_set), count=None)
    assert weights(drawn) == weights(mapped)
    provenance = read_bundle(mapped).contract.provenance
    assert provenance["command"].startswith("ssr-train fit --data PREPARED --out RUN --epochs")
    assert provenance["leak"].startswith("leak: ")
    assert "drawn: 80 pictures prepared at 64 x 64" in provenance["data"]


def test_protocols_are_kept_with_the_run(prepared_set: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    bundle = run(out, data=str(prepared_set), count=None, protocol="distributed", epochs=1)
    provenance = read_bundle(bundle).contract.provenance
    assert provenance["protocol"] == "distributed"
    assert "70 training, 10 validation and test images" in provenance["split"]
    saved = json.loads((out / "split.json").read_text())
    assert saved["data_sha256"] == provenance["data_sha256"]
    assert (saved["train"], saved["test"]) == (70, 10)


def test_a_changed_set_is_not_resumed(tmp_path: Path) -> None:
    data, out = tmp_path / "set", tmp_path / "run"
    write_prepared(data)
    settings = settings_from({**OPTIONS, "data": str(data), "count": None})
    out.mkdir()
    (out / "settings.json").write_text(json.dumps(settings.to_json()))
    faces = prepared.open_prepared(data)
    (out / "split.json").write_text(json.dumps(make_split(faces, "random", 3).to_json()))
    text = (data / prepared.INDEX).read_text().replace("0.png,", "0.png,1", 1)
    (data / prepared.INDEX).write_text(text)
    about = json.loads((data / prepared.ABOUT).read_text())
    about["index_sha256"] = hash_file(data / prepared.INDEX).sha256
    (data / prepared.ABOUT).write_text(json.dumps(about))
    with pytest.raises(SsrError, match=r"split.json: split: made for other pictures or labels"):
        resume(out)


def test_a_set_that_moved_is_the_same_and_one_prepared_anew_is_not(
    prepared_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, data, moved = (tmp_path / name for name in ("run", "set", "moved"))
    shutil.copytree(prepared_set, data)
    monkeypatch.setattr(trainer.Trainer, "finish", stopped)
    with pytest.raises(service.Interrupted):
        run(out, data=str(data), count=None)
    monkeypatch.undo()
    data.rename(moved)
    with pytest.raises(
        SsrError, match=r"set: the run's pictures do not lie there; say where they do: --data"
    ):
        resume(out)
    about = json.loads((moved / prepared.ABOUT).read_text())
    (moved / prepared.ABOUT).write_text(json.dumps({**about, "images_sha256": "another"}))
    with pytest.raises(SsrError, match="may be the same faces prepared otherwise"):
        resume(out, data=str(moved))
    (moved / prepared.ABOUT).write_text(json.dumps(about))
    with pytest.raises(SsrError, match=r"this run has --data .*/set, not synthetic"):
        resume(out, data="synthetic")
    assert weights(resume(out, data=str(moved))) == weights(
        run(tmp_path / "whole", data=str(moved), count=None)
    )


def stopped(self: trainer.Trainer) -> Path:
    raise service.Interrupted("stopped")


def test_reading_ahead_gives_the_faces_asked_for(prepared_set: Path) -> None:
    faces = prepared.open_prepared(prepared_set)
    assert isinstance(faces.images, np.memmap)
    source = supply.Supply(faces, torch.device("cpu"))
    pieces = supply.cut(np.random.default_rng(0).permutation(80), 7)
    assert [len(p) for p in pieces] == [7] * 11 + [3]
    got = list(source.stream(pieces))
    assert len(got) == 12
    for piece, (images, ages) in zip(pieces, got, strict=True):
        assert (images.numpy() == faces.images[piece]).all()
        assert (ages.numpy() == faces.ages[piece]).all()


def test_the_papers_batch_sizes(tmp_path: Path) -> None:
    assert (batch_size("imdb"), batch_size("wiki"), batch_size("synthetic")) == (128, 50, 50)
    write_prepared(tmp_path / "set", name="imdb")
    assert settings_from({"data": str(tmp_path / "set")}).batch_size == 128
    assert settings_from({}).batch_size == 50


# Other systems, and chains.


def test_what_is_fitted_after_training_is_in_the_saved_system(tmp_path: Path) -> None:
    path = run(tmp_path / "run", system="hot", set=["faces=60"], epochs=1)
    assert path == tmp_path / "run" / "system"
    system = zoo.load_system(path)
    assert float(system.head.fitted) == 1.0
    faces = draw_faces(80, 3)
    held = make_split(Dataset(*faces, "", True, ""), "random", 3).validation
    with torch.no_grad():
        answers = system.predict(torch.from_numpy(faces.images[held]).permute(0, 3, 1, 2).float())
    mae = float(np.abs(answers.numpy() - faces.ages[held]).mean())
    header = json.loads((path / "system.json").read_text())
    assert header["options"]["faces"] == 60
    metrics = header["provenance"]["metrics"]
    assert metrics["val_mae_finished"] == pytest.approx(mae, abs=2e-3)
    assert "--system hot" in header["provenance"]["command"]
    assert "--set faces=60" in header["provenance"]["command"]


def test_a_system_goes_on_from_another_run(tmp_path: Path) -> None:
    first = run(tmp_path / "first", system="dex", epochs=1)
    second = run(tmp_path / "second", system="dex", epochs=1, lr=1e-12, init=str(first))
    a, b = (zoo.load_system(path) for path in (first, second))
    for x, y in zip(a.parameters(), b.parameters(), strict=True):
        torch.testing.assert_close(x, y, rtol=0, atol=1e-9)
    header = json.loads((second / "system.json").read_text())
    assert header["provenance"]["initial_weights_sha256"] == weights(first)
    for changes, message in (
        ({"system": "ldl"}, "is a dex, --system says ldl"),
        ({"system": "dex", "set": ["bins=91"]}, "has bins 101, this run has 91"),
        ({"system": "ssrnet"}, "is a dex, --system says ssrnet"),
    ):
        with pytest.raises(SsrError, match=message):
            run(tmp_path / "third", init=str(first), **changes)
    assert not (tmp_path / "third").exists()


@pytest.mark.parametrize("system", ["hot", "arn"])
def test_initial_weights_are_neither_overwritten_nor_answered_by_old_support_vectors(
    system: str, tmp_path: Path
) -> None:
    """ARN's regressors would start at the new ages' quantiles, Hot's old SVR would judge the new epochs."""
    options = {"set": ["faces=60"]} if system == "hot" else {}
    first = run(tmp_path / "first", system=system, epochs=1, **options)
    settings = settings_from({**OPTIONS, "system": system, "init": str(first), **options})
    given, made = zoo.load_system(first), build(settings)
    initialise(made, settings, np.full(9, 99, np.float32))
    for x, y in zip(given.parameters(), made.parameters(), strict=True):
        torch.testing.assert_close(x, y, rtol=0, atol=0)
    if system == "hot":
        assert float(given.head.fitted) == 1.0
        assert float(made.head.fitted) == 0.0


def test_the_ablation_is_trained_and_bundled(tmp_path: Path) -> None:
    bundle = run(tmp_path / "run", set=["dynamic_range=false"], epochs=1)
    architecture = read_bundle(bundle).contract.architecture
    assert (architecture.lambda_index, architecture.lambda_width) == (0.0, 0.0)


# Bad input, each with its word.


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"precision": "fp8"}, "--precision fp8: unknown, expected one of: fp32, bf16"),
        ({"ema": 1.0}, "--ema must lie between 0 and 1"),
        ({"protocol": "fair"}, "protocol 'fair' is unknown, expected one of: random"),
        ({"fold": 3}, "fold 3: the protocol random has one fold, 0"),
        ({"protocol": "leave-one-subject-out", "fold": 80}, r"fold 80: expected 0\.\.79"),
        ({"protocol": "subject-exclusive", "batch_size": 65}, "leaves 64 faces to train on and 8"),
        ({"protocol": "distributed"}, "--protocol distributed: synthetic has no split of its own"),
        ({"system": "resnet"}, "system resnet: unknown, expected one of: ssrnet"),
        ({"system": "dex", "stages": "3,3"}, "dex: no option stages"),
        ({"system": "dex", "set": ["value_range=1"]}, "--set value_range=1: expected years"),
        ({"set": ["depth"]}, "--set depth: expected NAME=VALUE"),
        ({"set": ["depth=3"]}, "ssrnet: no option depth, expected one of: stages"),
        ({"system": "dex", "set": ["backbone=vgg16"]}, "pictures of 224 x 224, faces are drawn at 64 x 64"),
    ],
)
def test_refused_before_anything_is_written(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(SsrError, match=message):
        run(tmp_path / "run", **changes)
    assert not (tmp_path / "run").exists()


def test_sets_that_cannot_be_trained_on(prepared_set: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(SsrError, match="--count says how many faces to draw"):
        run(out, data=str(prepared_set))
    write_prepared(tmp_path / "small", size=32)
    with pytest.raises(SsrError, match=r"small: drawn has pictures of 32 x 32, ssrnet takes 64 x 64"):
        run(out, data=str(tmp_path / "small"), count=None)
    with pytest.raises(SsrError, match=r"leaves 64 faces to train on and 16 to validate on"):
        run(out, data=str(prepared_set), count=None, batch_size=65)
    assert not out.exists()


def test_logs_are_checked_first(tmp_path: Path) -> None:
    with pytest.raises(SsrError, match="--log wandb: unknown, expected one of: csv, tensorboard"):
        service.start(tmp_path / "run", OPTIONS, log="wandb")
    assert not (tmp_path / "run").exists()


def test_tensorboard_has_the_historys_numbers(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="TensorBoard is not here: pip install 'ssr-serve[log]'")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    out = tmp_path / "run"
    service.start(out, OPTIONS, False, 1, 200, "tensorboard")
    events = EventAccumulator(str(out / "logs"))
    events.Reload()
    history = json.loads((out / "history.json").read_text())
    assert [e.value for e in events.Scalars("mae/validation")] == pytest.approx(
        [r["val_mae"] for r in history]
    )
    assert [e.step for e in events.Scalars("loss/train")] == list(range(1, 17))


def test_a_full_disk_under_tensorboard_ends_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tensorboard", reason="TensorBoard is not here: pip install 'ssr-serve[log]'")
    from tensorboard.summary.writer.record_writer import RecordWriter

    write, left = RecordWriter.write, 20

    def until_full(self: Any, data: bytes) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(self, data)

    monkeypatch.setattr(RecordWriter, "write", until_full)
    hook = threading.excepthook
    best = service.start(tmp_path / "run", OPTIONS, False, 1, 200, "tensorboard")
    assert threading.excepthook is hook
    printed, failed = capfd.readouterr()
    note = "logs: No space left on device; the run goes on without TensorBoard's files"
    assert printed.count(note) == 1
    assert "Traceback" not in failed
    assert weights(best) == weights(run(tmp_path / "plain"))


def test_a_process_alone_is_the_first() -> None:
    alone = processes.Processes()
    assert alone.first
    assert alone.share(50) == slice(0, 50)
    assert processes.Processes(1, 2).share(50) == slice(25, 50)


# The benchmark.


def test_the_benchmark_times_only_what_learns_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[1] / "benchmarks"))
    import training as benchmark

    faces = Dataset(*draw_faces(40, 0), "drawn faces", True, "", crop=Crop())
    assert len(benchmark.validate(faces, 16)) == 3
    step = benchmark.plain_step
    monkeypatch.setattr(benchmark, "plain_step", lambda n, o, images, ages: step(n, o, images, ages + 5))
    with pytest.raises(SystemExit, match=r"fp32: gradients' cosine .* not the same step"):
        benchmark.validate(faces, 16)
    monkeypatch.setattr(benchmark, "warped", lambda image, matrix: image)
    with pytest.raises(SystemExit, match="not the same pictures"):
        benchmark.validate(faces, 16)
