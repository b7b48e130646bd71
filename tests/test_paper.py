"""The paper's tables and figures: right numbers from few faces, runs shared and gone on with, refusals."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import material
from rich.console import Console
from typer.testing import CliRunner, Result

from ssr_bundle.contract import Crop
from ssr_bundle.errors import Interrupted, SsrError
from ssr_ops import Engine
from ssr_train import zoo
from ssr_train.cli import app
from ssr_train.data import load
from ssr_train.data.prepared import ABOUT, FORMAT, IMAGES, INDEX, write_index
from ssr_train.data.protocols import random_parts
from ssr_train.paper.ablation import ablation
from ssr_train.paper.budget import Budget
from ssr_train.paper.figure2 import read_official
from ssr_train.paper.figure3 import figure3
from ssr_train.paper.timing import milliseconds
from ssr_train.paper.trained import Entry, Runs, entries
from ssr_train.progress import Reporter
from ssr_train.training.folder import RunFolder
from ssr_train.training.processes import Processes
from ssr_train.zoo.count import orcnn, ssrnet, stages_for

COUNT = 60
BUDGET = Budget(count=COUNT, epochs=2, batch_size=16, threads=1, device="cpu")
OPTIONS = ["--count", str(COUNT), "--epochs", "2", "--batch-size", "16", "--threads", "1", "--device", "cpu"]
SYSTEMS = ("ssrnet", "mobilenet", "dex")


def ssr_train(*arguments: object) -> Result:
    return CliRunner(env={"COLUMNS": "300"}).invoke(app, [str(argument) for argument in arguments])


def quiet() -> Reporter:
    return Reporter(Console(quiet=True))


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with Table 1 of three systems."""
    folder = tmp_path_factory.mktemp("paper") / "drawn"
    result = ssr_train("table1", "--out", folder, "--systems", ",".join(SYSTEMS), "--seconds", 0.5, *OPTIONS)
    assert result.exit_code == 0, result.output
    return folder


@pytest.fixture(scope="module")
def held_out() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Pictures and ages of the test faces, and the ages of the training faces."""
    faces = load("synthetic", count=COUNT, seed=0, workers=1)
    train, _, test = random_parts(COUNT, 0)
    return faces.images[test], faces.ages[test], faces.ages[train]


def read(folder: Path, name: str) -> Any:
    """The JSON of a table, once its three files are there and say what they were measured on."""
    text = (folder / f"{name}-synthetic.md").read_text()
    assert text.splitlines()[0].endswith(": drawn faces (synthetic)")
    assert f"]({name}-synthetic.png)" in text
    assert (folder / f"{name}-synthetic.png").read_bytes().startswith(b"\x89PNG")
    numbers = json.loads((folder / f"{name}-synthetic.json").read_text())
    assert numbers["synthetic"] is True
    return numbers


def errors_of(path: Path, images: Any, ages: Any) -> Any:
    """Sizes of the errors of the system at ``path``, written out."""
    with torch.inference_mode():
        answers = zoo.load_system(path).predict(torch.from_numpy(images).permute(0, 3, 1, 2).float())
    return np.abs(np.clip(answers.double().numpy(), 0, 101) - ages)


# Figure 3.


def test_figure3_counts_what_the_networks_hold() -> None:
    numbers = figure3([27, 101]).numbers
    by_stages = {row["stages"]: row for row in numbers["configurations"]}
    row = by_stages[3, 3, 3]
    assert row["numbers"] == zoo.build("ssrnet").count().trainable == 40_531
    assert row["single"] == zoo.build("ssrnet", stages=[27]).count().trainable
    heads = [p.numel() for name, p in zoo.build("ssrnet").named_parameters() if ".stages." in name]
    assert row["heads"] == sum(heads)
    v101 = numbers["classes"][1]
    assert [one["stages"] for one in v101["ssrnet"]] == [(101,), (11, 11), (5, 5, 5), (4, 4, 4, 4)]
    assert v101["orcnn"] == zoo.build("orcnn").count().trainable
    assert all(np.prod(stages) <= 256 for stages in by_stages)
    assert len(by_stages) == 15 + 5 + 3


def test_figure3_says_where_the_papers_claim_begins() -> None:
    numbers = figure3().numbers
    for stages, least in numbers["fewer_than_single_stage_from"].items():
        for classes in range(2, 257):
            fewer = ssrnet(stages_for(classes, int(stages))).trainable < ssrnet((classes,)).trainable
            assert fewer or classes < least
            assert not (fewer and classes == least - 1)
    for stages, most in numbers["fewer_than_orcnn_up_to"].items():
        below = [ssrnet(stages_for(c, int(stages))).trainable < orcnn(c).trainable for c in range(2, 257)]
        assert all(below[: most - 1])
        assert most == 256 or not below[most - 1]


def test_figure3_on_the_command_line(tmp_path: Path) -> None:
    result = ssr_train("figure3", "--out", tmp_path, "--classes", "27,101")
    assert result.exit_code == 0, result.output
    assert "(5,5,5) 42,215" in result.output
    assert {path.name for path in tmp_path.iterdir()} == {f"figure3.{kind}" for kind in ("md", "json", "png")}
    assert "synthetic" not in (tmp_path / "figure3.md").read_text()


# Tables 1 and 2.


def test_table1_measures_the_test_faces(out: Path, held_out: Any) -> None:
    images, ages, trained = held_out
    numbers = read(out, "table1")
    assert [row["system"] for row in numbers["systems"]] == list(SYSTEMS)
    for row in numbers["systems"]:
        folder = RunFolder(out / "runs" / row["system"])
        history = json.loads(folder.history_json.read_text())
        for which, path in (("best", folder.best), ("last", folder.last)):
            assert path is not None
            assert row[which]["mae"] == pytest.approx(errors_of(path, images, ages).mean(), abs=1e-3)
            low, high = row[which]["mae_bounds"]
            assert low <= row[which]["mae"] <= high
        assert row["best"]["epoch"] == 1 + int(np.argmin([epoch["val_mae"] for epoch in history]))
        assert row["last"]["epoch"] == len(history) == 2
        assert row["milliseconds"]["cpu"] > 0
    assert numbers["mean_age"]["mae"] == pytest.approx(np.abs(trained.mean() - ages).mean(), abs=1e-3)
    assert 0 < numbers["native_engine_milliseconds"] < numbers["systems"][0]["milliseconds"]["cpu"]


def test_table1_keeps_the_papers_numbers_apart(out: Path) -> None:
    numbers = read(out, "table1")
    ours = {row["system"]: row for row in numbers["systems"]}
    assert ours["ssrnet"]["paper"] == {
        "mae": 3.16,
        "megabytes": 0.32,
        "milliseconds": {"gpu": 0.17, "cpu": 2.69},
    }
    assert ours["ssrnet"]["stored_numbers"] == ours["ssrnet"]["stored_numbers_at_paper_size"] == 40_915
    assert ours["dex"]["stored_numbers_at_paper_size"] == 134_674_341
    assert ours["dex"]["stored_numbers"] == zoo.build("dex").count().stored
    text = (out / "table1-synthetic.md").read_text()
    assert "| DEX, made small |" in text
    assert "on MORPH2 after pre-training" in text
    assert "another data set than ours, drawn faces (synthetic): not to be compared" in text
    assert "leak: none of the 12 test images" in text
    assert "the best epoch is chosen on the test images" in text


def test_table2_counts_both_readings_of_the_runs_that_are_there(out: Path, held_out: Any) -> None:
    before = {path: path.stat().st_mtime_ns for path in out.glob("runs/*/checkpoint.pt")}
    result = ssr_train("table2", "--out", out, "--systems", "ssrnet,mobilenet", *OPTIONS)
    assert result.exit_code == 0, result.output
    assert result.output.count("finished before, taken as it is") == 2
    assert before == {path: path.stat().st_mtime_ns for path in out.glob("runs/*/checkpoint.pt")}
    images, ages, _ = held_out
    for row in read(out, "table2")["systems"]:
        last = RunFolder(out / "runs" / row["system"]).last
        assert last is not None
        sizes = errors_of(last, images, ages)
        for n in (3, 5):
            assert row["last"]["ca"][str(n)]["<"] == pytest.approx((sizes < n).mean())
            assert row["last"]["ca"][str(n)]["<="] == pytest.approx((sizes <= n).mean())
    assert row["paper"]["ca"] == {"3": 0.440, "5": 0.606}


def test_the_engine_is_not_timed_when_it_answers_otherwise(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = out / "runs" / "ssrnet" / "bundle"
    monkeypatch.setattr(Engine, "predict", lambda self, images: np.array([200.0]))
    image = np.zeros((1, 64, 64, 3), np.uint8)
    with pytest.raises(SsrError, match="does not answer as PyTorch does"):
        milliseconds({"ssrnet": zoo.load_system(bundle)}, image, bundle=bundle, seconds=0.1)
    assert torch.get_num_threads() >= 1


# Figure 2.


def test_figure2_overlays_the_official_curves(out: Path) -> None:
    official = material("golden/official_histories.json")
    arguments = ["figure2", "--out", out, "--systems", "ssrnet,mobilenet,dex", "--official", official]
    result = ssr_train(*arguments, *OPTIONS)
    assert result.exit_code == 0, result.output
    numbers = read(out, "figure2")
    theirs = numbers["official"]
    assert set(theirs) == {"ssrnet", "mobilenet"}
    assert theirs["ssrnet"]["best_val_mae"] == pytest.approx(3.190, abs=5e-4)
    assert theirs["ssrnet"]["last_val_mae"] == pytest.approx(3.192, abs=5e-4)
    assert theirs["mobilenet"]["best_val_mae"] == pytest.approx(4.89, abs=5e-3)
    assert theirs["mobilenet"]["last_val_mae"] == pytest.approx(6.50, abs=5e-3)
    assert theirs["mobilenet"]["last_epoch"] == 90
    history = json.loads((out / "runs" / "dex" / "history.json").read_text())
    assert numbers["ours"]["dex"]["val_mae"] == [row["val_mae"] for row in history]
    assert "DEX: no official curves on morph2" in result.output
    assert "official, morph2" in result.output


def test_official_curves_are_read_or_refused(tmp_path: Path) -> None:
    file = tmp_path / "histories.json"
    run = {"train_mae": [5.0, 4.0, 3.0], "val_mae": [6.0, 4.5, 5.0]}
    file.write_text(json.dumps({"megaface_asian/ssrnet_3_3_3_64_1.0_1.0": run}))
    curves = read_official(file, "megaage-asian", ["ssrnet", "densenet"])
    assert list(curves) == ["ssrnet"]
    assert curves["ssrnet"].best == 2
    with pytest.raises(SsrError, match="no runs on wiki in it, expected names such as wiki/ssrnet"):
        read_official(file, "wiki", ["ssrnet"])
    with pytest.raises(SsrError, match="lfw: unknown, expected one of: morph2"):
        read_official(file, "lfw", ["ssrnet"])
    for text in (
        "[1]",
        "{",
        '{"morph2/ssrnet_3_3_3_64_1.0_1.0": {"train_mae": [1], "val_mae": []}}',
        '{"morph2/ssrnet_3_3_3_64_1.0_1.0": {"train_mae": [1, 2], "val_mae": [NaN, 3]}}',
    ):
        file.write_text(text)
        with pytest.raises(SsrError, match=r"histories\.json: (not curves|no runs)"):
            read_official(file, "morph2", ["ssrnet"])


# The ablation.


def test_ablation_trains_without_and_switches_off(out: Path, held_out: Any) -> None:
    report = ablation(Runs(out, BUDGET, quiet()))
    images, ages, _ = held_out
    rows = report.numbers["rows"]
    trained = {
        which: zoo.load_system(out / "runs" / which / "bundle") for which in ("ssrnet", "ssrnet-fixed-range")
    }
    assert trained["ssrnet"].options["dynamic_range"] is True
    assert trained["ssrnet-fixed-range"].options["dynamic_range"] is False
    p = Engine(out / "runs" / "ssrnet" / "bundle").predict_stages(images).p.astype(np.float64)
    bins = np.array([i * 101 / 3 ** (k + 1) for k in range(3) for i in range(3)])  # Equation 3
    by_hand = np.abs(np.clip(p @ bins, 0, 101) - ages).mean()
    assert rows["trained with, then switched off"]["best"]["mae"] == pytest.approx(by_hand, abs=1e-3)
    without = errors_of(out / "runs" / "ssrnet-fixed-range" / "bundle", images, ages).mean()
    assert rows["trained without"]["best"]["mae"] == pytest.approx(without, abs=1e-3)
    assert report.numbers["paper_mae"] == {"with": 3.16, "without": 9.29}


# Runs: one budget, taken up again, chains.


class Stopping(Reporter):
    """Sends the signal in the first step of the ``at``-th system."""

    def __init__(self, at: int, number: int = signal.SIGINT) -> None:
        super().__init__(Console(quiet=True))
        self.left, self.number = at, number

    def say(self, line: str) -> None:
        self.left -= line.endswith("of 2)")

    def step(self, done: int, train_mae: float) -> None:
        if self.left == 0 and done == 1:
            os.kill(os.getpid(), self.number)


def test_an_interrupted_table_goes_on(tmp_path: Path) -> None:
    wanted = [Entry("first", "mrcnn"), Entry("second", "mrcnn")]
    message = r"second: stopped in epoch 1 of 2, step [12] of 3; the same command goes on"
    with pytest.raises(Interrupted, match=message) as caught:
        Runs(tmp_path, BUDGET, Stopping(2, signal.SIGTERM)).train(wanted)
    assert caught.value.status == 143
    finished = (tmp_path / "runs" / "first" / "checkpoint.pt").stat().st_mtime_ns
    first, second = Runs(tmp_path, BUDGET, quiet()).train(wanted)
    assert (tmp_path / "runs" / "first" / "checkpoint.pt").stat().st_mtime_ns == finished
    weights = [run.system(last=True).state_dict() for run in (first, second)]
    for name, value in weights[0].items():
        assert torch.equal(value, weights[1][name]), name


def test_another_budget_is_refused_or_trained_anew(tmp_path: Path) -> None:
    wanted = [Entry("mrcnn", "mrcnn")]
    Runs(tmp_path, BUDGET, quiet()).train(wanted)
    longer = dataclasses.replace(BUDGET, epochs=1)
    with pytest.raises(
        SsrError, match="runs/mrcnn: was trained with epochs 2, this table asks for epochs 1; choose"
    ):
        Runs(tmp_path, longer, quiet()).train(wanted)
    (run,) = Runs(tmp_path, longer, quiet(), force=True).train(wanted)
    assert len(run.history) == 1
    with pytest.raises(SsrError, match=r"was trained with count 60, this table asks for count 50"):
        Runs(tmp_path, dataclasses.replace(longer, count=50), quiet()).train(wanted)
    elsewhere = dataclasses.replace(longer, threads=2)
    (again,) = Runs(tmp_path, elsewhere, quiet()).train(wanted)
    assert again.history == run.history
    for text in ("[]", "{", '[{"epoch": 1}]', "1"):
        run.folder.history_json.write_text(text)
        with pytest.raises(SsrError, match=r"history\.json: not the history of a finished run; remove"):
            Runs(tmp_path, longer, quiet()).train(wanted)


def test_a_chain_starts_from_the_set_before(tmp_path: Path) -> None:
    budget = dataclasses.replace(BUDGET, pretrain=[Path("synthetic-persons")], epochs=1)
    runs = Runs(tmp_path / "here", budget, quiet())
    (run,) = runs.train(entries(["mrcnn"]))
    before = RunFolder(tmp_path / "here" / "runs" / "mrcnn-pretrain-1")
    assert before.settings().data == "synthetic-persons"
    assert run.folder.settings().init == str(before.system)
    header = json.loads((before.system / "system.json").read_text())
    assert run.folder.settings().init_sha256 == header["files"]["model.safetensors"]["sha256"]
    assert any("after the same on synthetic-persons" in line for line in runs.facts())
    (tmp_path / "here").rename(tmp_path / "there")
    (moved,) = Runs(tmp_path / "there", budget, quiet()).train(entries(["mrcnn"]))
    assert moved.history == run.history
    alone = dataclasses.replace(budget, pretrain=None)
    with pytest.raises(
        SsrError,
        match=r"with --pretrain, from .*mrcnn-pretrain-1/system, this table asks for no pre-training;",
    ):
        Runs(tmp_path / "there", alone, quiet()).train(entries(["mrcnn"]))


class Saying(Reporter):
    """Keeps the lines."""

    def __init__(self) -> None:
        super().__init__(Console(quiet=True))
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


def test_what_does_not_fit_is_said_before_anything_is_trained(tmp_path: Path) -> None:
    """The run of the last system, the second set of a chain: not hours later, when they are reached."""
    face, out = prepared(tmp_path / "afad", "afad"), tmp_path / "out"
    wanted = entries(["mrcnn", "dex"])
    budget = dataclasses.replace(BUDGET, data=str(face), epochs=1)
    Runs(out, budget, quiet()).train(wanted[1:])

    def refuse(message: str, **changes: Any) -> None:
        with pytest.raises(SsrError, match=message):
            Runs(out, dataclasses.replace(budget, **changes), quiet()).train(wanted)
        assert [folder.name for folder in (out / "runs").iterdir()] == ["dex"]

    refuse("runs/dex: was trained with seed 0, this table asks for seed 1; choose", seed=1)
    other = prepared(tmp_path / "wiki", "wiki")
    refuse("dex: was trained with no pre-training, this table asks for --pretrain, ", pretrain=[other])
    refuse("dex: was trained with --data .*/afad, this table asks for --data .*/wiki", data=str(other))
    small = prepared(tmp_path / "small", "utkface", size=32)
    refuse(
        "--pretrain .*/small: utkface has pictures of 32 x 32, mrcnn takes 64 x 64; prepare a data set with",
        pretrain=[other, small],
    )
    few = prepared(tmp_path / "few", "utkface", count=16)
    refuse(
        "--pretrain .*/few leaves 13 faces to train on and 3 to validate on, expected at least one batch",
        pretrain=[few, other],
    )
    large = prepared(tmp_path / "imdb", "imdb")
    with pytest.raises(SsrError, match="--batch-size 128 cannot be shared by 5 processes equally"):
        Runs(
            out,
            dataclasses.replace(budget, pretrain=[large], batch_size=None),
            quiet(),
            Processes(0, 5),
        ).train(wanted)
    history = out / "runs" / "dex" / "history.json"
    kept = history.read_text()
    history.write_text("[]")
    refuse(r"history\.json: not the history of a finished run")
    history.write_text(kept)

    reporter = Saying()
    chain = dataclasses.replace(budget, pretrain=[other])
    Runs(out, chain, reporter).train(wanted[:1])
    assert [line for line in reporter.lines if "of 1)" in line] == [
        "mrcnn (1 of 1): on wiki first",
        "mrcnn (1 of 1): then on afad",
    ]
    elsewhere = dataclasses.replace(budget, pretrain=[face])
    message = "mrcnn-pretrain-1: was trained with --pretrain .*/wiki, this table asks for --pretrain .*/afad"
    with pytest.raises(SsrError, match=message):
        Runs(out, elsewhere, quiet()).train(wanted[:1])


def prepared(
    folder: Path, name: str, subjects: Sequence[str] = ("",) * 44, *, size: int = 64, count: int = 44
) -> Path:
    """A miniature of the published set ``name``, from drawn faces: 32 to train on, 12 to test."""
    faces = load("synthetic", count=count, seed=5, workers=1)
    folder.mkdir()
    rows = [
        (f"{i}.jpg", float(age), subjects[i], "", "", "test" if i >= 32 else "train")
        for i, age in enumerate(faces.ages)
    ]
    index = write_index(rows)
    np.save(folder / IMAGES, faces.images[:, :size, :size])
    (folder / INDEX).write_bytes(index)
    about = {
        "format": FORMAT,
        "crop": Crop().to_json(),
        "name": name,
        "count": count,
        "size": size,
        "licence": "none",
        "cut": "miniature",
    }
    about["index_sha256"] = hashlib.sha256(index).hexdigest()
    (folder / ABOUT).write_text(json.dumps(about))
    return folder


def test_a_set_that_moved_is_not_trained_on_again_and_one_prepared_anew_is(tmp_path: Path) -> None:
    wanted = entries(["mrcnn"])

    def runs(place: Path, *, force: bool = False) -> Runs:
        budget = dataclasses.replace(BUDGET, data=str(place), epochs=1)
        return Runs(tmp_path / "out", budget, quiet(), force=force)

    place = prepared(tmp_path / "set", "afad")
    (run,) = runs(place).train(wanted)
    place = place.rename(tmp_path / "moved")
    (again,) = runs(place).train(wanted)
    assert again.history == run.history
    place = place.rename(tmp_path / "set")
    about = json.loads((place / ABOUT).read_text())
    (place / ABOUT).write_text(json.dumps({**about, "cut": "otherwise"}))
    with pytest.raises(
        SsrError, match=r"was trained on other pictures than .*/set holds now; choose another"
    ):
        runs(place).train(wanted)
    (anew,) = runs(place, force=True).train(wanted)
    assert anew.history[0]["seconds"] != run.history[0]["seconds"]


def test_the_leak_of_a_chain_is_counted_where_names_are_the_same_sets(tmp_path: Path) -> None:
    first = prepared(tmp_path / "first", "afad", [f"p{i % 7}" for i in range(44)])
    again = prepared(tmp_path / "again", "afad", [f"p{i % 7 if i else 'x'}" for i in range(44)])
    other = prepared(tmp_path / "other", "utkface")
    budget = dataclasses.replace(BUDGET, data=str(first), pretrain=[again, other])
    runs = Runs(tmp_path / "out", budget, quiet())
    counted, unknown = (line for line in runs.facts() if line.startswith("before, on "))
    tested = [f"p{i % 7}" for i in runs.split.test]
    trained = {f"p{i % 7}" if i else "px" for i in random_parts(44, 0)[0]}
    share = sum(who in trained for who in tested)
    assert f"({share:,} of {len(tested):,}, " in counted
    assert unknown.startswith("before, on utkface: leak not counted: persons have other names there than in")
    before = runs.numbers()["leak_before"]
    assert [one["known"] for one in before] == [True, False]
    assert before[0]["images"] == share


def test_table2_takes_a_published_sets_own_test_images(tmp_path: Path) -> None:
    faces = prepared(tmp_path / "megaage", "megaage-asian")
    out, options = tmp_path / "out", ["--data", faces, "--systems", "mrcnn", *OPTIONS[2:]]
    result = ssr_train("table2", "--out", out, *options)
    assert result.exit_code == 0, result.output
    assert "protocol: distributed by seed 0: 32 training, 12 validation and test images" in result.output
    assert "leak: identities unknown" in result.output
    assert "paper: its own numbers, on MegaAge-Asian after pre-training\n" in result.output
    assert "synthetic" not in (out / "table2.md").read_text()
    assert json.loads((out / "table2.json").read_text())["test_images"] == 12
    refused = ssr_train("table2", "--out", out, *options, "--count", 50)
    assert "is a prepared set" in str(refused.exception)


@pytest.mark.parametrize(
    ("command", "arguments", "message"),
    [
        ("table1", ["--systems", "resnet"], "system resnet: unknown, expected one of: ssrnet, mobilenet"),
        ("table1", ["--data", "nowhere"], "--data nowhere: unknown"),
        ("table1", ["--pretrain", "nowhere"], "--pretrain nowhere: unknown"),
        ("table1", ["--protocol", "fair"], "protocol 'fair' is unknown"),
        ("table1", ["--protocol", "leave-one-subject-out"], "has a test for each person, a table has one"),
        ("table1", ["--epochs", "0"], "--epochs must be at least 1, got 0"),
        ("table2", ["--protocol", "distributed"], "synthetic has no split of its own"),
        ("figure2", ["--count", "30"], "--count 30 leaves 24 faces to train on"),
        ("ablation", ["--device", "cuda:99"], "--device cuda:99"),
        ("table1", ["--device", "meta"], "device 'meta' is unknown, expected cpu, cuda or cuda:N"),
        ("figure3", ["--classes", "300"], "--classes 300: expected 2 to 256"),
        ("figure3", ["--classes", "many"], "--classes many: expected whole numbers"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(
    command: str, arguments: list[str], message: str, tmp_path: Path
) -> None:
    result = ssr_train(command, "--out", tmp_path / "out", *arguments)
    assert isinstance(result.exception, SsrError)
    assert message in str(result.exception)
    assert not (tmp_path / "out").exists()


def test_out_must_be_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for command in ("table1", "figure3"):
        for out in ("file", "file/below"):
            result = ssr_train(command, "--out", tmp_path / out)
            assert "file: is a file, expected a folder" in str(result.exception)
            assert not result.output


def test_official_data_belongs_to_official(tmp_path: Path) -> None:
    result = ssr_train("figure2", "--out", tmp_path, "--official-data", "wiki")
    assert result.exit_code == 2
    assert "--official JSON" in result.output
