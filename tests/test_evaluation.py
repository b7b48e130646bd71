"""Runners, metrics, conformal intervals, age gates, model cards: by hand, by simulation, and as commands."""

from __future__ import annotations

import dataclasses
import json
import resource
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Serve, material, unwritable
from random_bundles import random_parameters
from test_cli_train import refused, ssr_train
from tolerances import required
from typer.testing import CliRunner

import ssr_ops
from ssr_bundle.bundle import copy_bundle, read_bundle
from ssr_bundle.contract import Architecture, Contract, Crop, Input, Interface, Output
from ssr_bundle.disk import check_folder
from ssr_bundle.errors import SsrError
from ssr_ops import reference
from ssr_ops.golden import write_bundle
from ssr_ops.shipped import default_bundle
from ssr_train.cli import app
from ssr_train.data.dataset import Dataset
from ssr_train.data.protocols import make_split
from ssr_train.data.spans import Spans
from ssr_train.data.synthetic import draw_faces
from ssr_train.evaluation import gate, gate_report, intervals, selection
from ssr_train.evaluation.asked import Asked, Source
from ssr_train.evaluation.calibrate import calibrate_bundle
from ssr_train.evaluation.calibrating import RECORD
from ssr_train.evaluation.card import card, write_card
from ssr_train.evaluation.evaluate import evaluate
from ssr_train.evaluation.halves import halve
from ssr_train.evaluation.judged import Evaluation
from ssr_train.evaluation.metrics import errors, measure
from ssr_train.evaluation.selection import Origin, Selection
from ssr_train.inference import KINDS, TorchRunner, open_runner
from ssr_train.training.folder import RunFolder, Settings

FEW = Source("synthetic", count=240, workers=1)


@pytest.fixture(scope="module")
def images() -> np.ndarray[Any, np.dtype[np.uint8]]:
    return draw_faces(40, seed=11).images


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default bundle with an exported graph, then calibrated on drawn faces."""
    from ssr_ops.export.write import export

    folder = tmp_path_factory.mktemp("calibrated")
    shipped = read_bundle(default_bundle())
    plain = copy_bundle(shipped, dataclasses.replace(shipped.contract, interval=None), folder / "plain")
    export(plain.path)
    calibrate_bundle(plain.path, Source("synthetic", count=4000, workers=1), 0.9, folder / "calibrated")
    return folder / "calibrated"


def people(count: int = 12, **labels: Any) -> Dataset:
    """Pictures that nobody looks at, ages 0, 5, 10, ..."""
    ages = np.arange(count, dtype=np.float32) * 5
    pictures = np.zeros((count, 64, 64, 3), np.uint8)
    return Dataset(pictures, ages, description="faces: a list", synthetic=False, licence="", **labels)


def gender_bundle(path: Path) -> Path:
    architecture = Architecture(stages=(2,), value_range=1.0)
    contract = Contract("male", Interface(Input(), Crop(), Output.for_value_range(1.0)), architecture)
    return write_bundle(path, contract, random_parameters(architecture)).path


# -- metrics ------------------------------------------------------------------------------------------


def test_metrics_by_hand() -> None:
    ages = np.array([20.0, 30, 40, 50, 60])
    answers = ages + np.array([-3.0, 0.0, 3.0, 5.0, 7.5])
    found = errors(answers, ages)
    assert found.mae == pytest.approx(18.5 / 5)
    assert found.bias == pytest.approx(12.5 / 5)
    assert found.rmse == pytest.approx(np.sqrt((9 + 9 + 25 + 56.25) / 5))
    assert (found.ca_below[3], found.ca_within[3]) == (0.2, 0.6)
    assert (found.ca_below[5], found.ca_within[5]) == (0.6, 0.8)
    assert (found.ca_below[7], found.ca_within[7]) == (0.8, 0.8)
    assert found.percentiles[50] == 3.0
    assert found.mae_bounds is None


def test_metrics_refuse() -> None:
    for answers, ages, text in (
        ([], [], "no images"),
        ([1.0], [1.0, 2.0], "expected as many"),
        ([np.nan], [1.0], "NaN or infinite"),
        ([1.0], [np.inf], "NaN or infinite"),
    ):
        with pytest.raises(SsrError, match=text):
            errors(answers, ages)


def test_bootstrap_is_the_normal_interval_of_many_images() -> None:
    rng = np.random.default_rng(0)
    ages = rng.uniform(0, 90, 2000)
    answers = ages + rng.normal(1, 4, 2000)
    found = errors(answers, ages, resamples=1000)
    assert found.bias_bounds is not None
    half = 1.96 * np.std(answers - ages) / np.sqrt(2000)
    assert (found.bias_bounds.high - found.bias_bounds.low) / 2 == pytest.approx(half, rel=0.1)
    assert found.bias_bounds.low < found.bias < found.bias_bounds.high
    assert errors(answers, ages, resamples=1000) == found


def test_bootstrap_draws_persons_where_they_are_known() -> None:
    """Ten copies of every image: by image the interval is too narrow by sqrt(10), by subject it is not."""
    rng = np.random.default_rng(1)
    one = rng.normal(0, 4, 200)
    answers, ages = np.repeat(50 + one, 10), np.full(2000, 50.0)
    subjects = np.repeat(np.arange(200), 10).astype(np.str_)

    def width(names: Any) -> float:
        bounds = errors(answers, ages, names, resamples=1000).bias_bounds
        assert bounds is not None
        return bounds.high - bounds.low

    assert width(subjects) / width(None) == pytest.approx(np.sqrt(10), rel=0.15)
    subjects[3] = ""  # one unknown person: by image again
    assert width(subjects) == width(None)


def test_parts_are_by_band_sex_and_group() -> None:
    faces = people(
        sexes=np.array(["m", "f"] * 6),
        groups=np.array(["a"] * 4 + [""] * 8),
        subjects=np.array(list("abcdef" * 2)),
    )
    index = np.array([0, 1, 2, 3, 4, 11])  # ages 0, 5, 10, 15, 20, 55
    found = measure(faces.ages[index] + [1, 2, 3, 4, 5, 6], faces, index)
    assert {name: part.count for name, part in found.parts["age"].items()} == {
        "0 to <10": 2,
        "10 to <18": 2,
        "18 to <30": 1,
        "50 to <60": 1,
    }
    assert found.parts["age"]["10 to <18"].mae == 3.5
    assert found.parts["sex"]["f"].mae == 4.0
    assert {name: part.count for name, part in found.parts["group"].items()} == {"unknown": 2, "a": 4}
    assert found.resampled == "subject"
    assert "sex" not in measure(faces.ages, people(), np.arange(12)).parts


# -- runners ------------------------------------------------------------------------------------------


def test_runners_agree_with_the_reference(images: Any, tmp_path: Path) -> None:
    from ssr_ops.export.write import export

    shipped = read_bundle(default_bundle())
    bundle = copy_bundle(shipped, shipped.contract, tmp_path / "bundle")
    export(bundle.path, ["fp32", "int8"])
    expected = reference.answer(
        bundle.contract, reference.network(bundle.parameters(), bundle.contract.architecture, images)
    )["age"]
    for kind, precision in (("torch", "fp32"), ("native", "fp32"), ("onnx", "fp32"), ("onnx", "int8")):
        with open_runner(bundle.path, kind, precision=precision) as runner:
            found = runner.predict(images)
        assert found.dtype == np.float64
        assert np.abs(found - expected).max() <= required(kind, precision, bundle.contract).few, runner.name
        assert precision in runner.name
        assert runner.weights_sha256 == bundle.contract.weights_sha256
    best = ssr_ops.implementations()[0]
    assert open_runner(bundle.path, "native").name == f"native fp32 ({best})"


def test_runners_take_bgr_whatever_the_network_takes(images: Any, tmp_path: Path) -> None:
    from ssr_ops.export.write import export

    shipped = read_bundle(default_bundle())
    interface = dataclasses.replace(shipped.contract.interface, input=Input("rgb"))
    contract = dataclasses.replace(shipped.contract, interface=interface, quantization=None)
    rgb = write_bundle(tmp_path / "rgb", contract, shipped.parameters())
    export(rgb.path)
    expected = ssr_ops.Engine(shipped).predict(images[..., ::-1])
    for kind in ("torch", "native", "onnx"):
        with open_runner(rgb.path, kind) as runner:
            np.testing.assert_allclose(runner.predict(images), expected, atol=2e-3, err_msg=kind)


def test_runners_clip_and_zoo_systems_run_in_torch(images: Any, tmp_path: Path) -> None:
    import torch

    from ssr_train import zoo

    system = zoo.build("mobilenet")
    zoo.save_system(tmp_path / "system", system, {})
    with open_runner(tmp_path / "system") as runner:
        found = runner.predict(images)
    with torch.inference_mode():
        given = system.eval().predict(torch.from_numpy(images).permute(0, 3, 1, 2).float())
    np.testing.assert_allclose(found, given.numpy().clip(0, 101), atol=1e-3)
    with pytest.raises(SsrError, match="runs in torch only"):
        open_runner(tmp_path / "system", "native")


def test_runners_refuse(images: Any, tmp_path: Path) -> None:
    import torch

    from ssr_train import zoo

    with pytest.raises(SsrError, match=f"expected one of {', '.join(KINDS)}"):
        open_runner(default_bundle(), "tflite")
    with pytest.raises(SsrError, match="torch runs in fp32"):
        open_runner(default_bundle(), "torch", precision="int8")
    with pytest.raises(SsrError, match="--device cuda: ONNX Runtime runs on the CPU here"):
        open_runner(default_bundle(), "onnx", device="cuda")
    for kind, device in (("torch", "meta"), ("torch", "mps"), ("torch", "cpu:7"), ("native", "mps")):
        with pytest.raises(ValueError, match=f"device '{device}' is unknown, expected cpu, cuda or cuda:N"):
            open_runner(default_bundle(), kind, device=device)
    with pytest.raises(SsrError, match="ssr-train export"):
        open_runner(default_bundle(), "onnx", precision="fp16")
    with pytest.raises(SsrError, match=r"pictures uint8 \(40, 64, 32, 3\), expected uint8 \(N, 64, 64, 3\)"):
        open_runner(default_bundle(), "native").predict(images[:, :, :32])
    male = gender_bundle(tmp_path / "male")
    for kind in ("torch", "native", "onnx"):
        with pytest.raises(SsrError, match="answers male in probability, expected ages in years"):
            open_runner(male, kind)
    system = zoo.save_system(tmp_path / "dex", zoo.build("dex"), {})
    for kind in ("native", "onnx", "served"):
        with pytest.raises(SsrError, match=f"a system of the zoo runs in torch only, not in {kind}"):
            open_runner(system, kind)
    broken = zoo.build("ssrnet")
    with torch.no_grad():
        next(broken.parameters()).fill_(torch.nan)
    with pytest.raises(SsrError, match="40 of 40 answers are NaN"):
        TorchRunner(broken).predict(images)


@pytest.mark.server
def test_served_runner_gives_the_engines_bits_and_checks_the_weights(
    images: Any, serve: Serve, tmp_path: Path
) -> None:
    server = serve({"ssrnet": default_bundle()})
    with open_runner(default_bundle(), "native") as runner:
        expected = runner.predict(images)
    shipped = read_bundle(default_bundle())
    for what in (default_bundle(), None):
        with open_runner(what, "served", url=server.grpc_url) as runner:
            np.testing.assert_array_equal(runner.predict(images), expected)
            assert runner.weights_sha256 == shipped.contract.weights_sha256
    parameters = shipped.parameters()
    parameters["stages.0.p.bias"] = parameters["stages.0.p.bias"] + 1
    other = write_bundle(tmp_path / "other", shipped.contract, parameters)
    with (
        open_runner(other, "served", url=server.grpc_url) as runner,
        pytest.raises(SsrError, match=f"the bundle's are {other.contract.weights_sha256[:12]}"),
    ):
        runner.predict(images)
    found = evaluate(None, FEW, Asked("served", url=server.grpc_url))
    assert found.judged[0].runner == f"served (ssrnet at {server.grpc_url})"
    assert any("not recorded" in line for line in found.selection.lines)


# -- which pictures -----------------------------------------------------------------------------------


def shipped_origin() -> Origin:
    return Origin.of(read_bundle(default_bundle()).contract.provenance)


def test_pictures_of_the_training_run_are_known(tmp_path: Path) -> None:
    origin = shipped_origin()
    assert (origin.drawn, origin.count, origin.seed) == ("synthetic", 20000, 0)
    faces = dataclasses.replace(people(), name="synthetic")
    same, other = origin.learned_from(faces, 0), origin.learned_from(faces, 1)
    assert same is not None
    assert other is not None
    assert (len(same), len(other)) == (12, 0)
    with pytest.raises(SsrError, match="240 of the 240 pictures are among those of the training run"):
        evaluate(default_bundle(), dataclasses.replace(FEW, seed=0), Asked())
    found = evaluate(default_bundle(), dataclasses.replace(FEW, seed=0, allow_training_images=True), Asked())
    assert found.selection.trained == 240
    assert any(line.startswith("WARNING: 240 of the 240") for line in found.selection.lines)


def test_the_split_of_a_prepared_set_is_made_again() -> None:
    faces = dataclasses.replace(people(20), name="utkface")
    split = make_split(faces, "random", 5)
    provenance = {
        "command": "ssr-train fit --data PREPARED --out RUN",
        "data": "utkface: 20 pictures",
        "data_sha256": split.data_sha256,
        "protocol": "random",
        "seed": 5,
        "count": 20000,
    }
    origin = Origin.of(provenance)
    found = origin.split(faces, seed=99)
    assert found is not None
    np.testing.assert_array_equal(found.test, split.test)
    np.testing.assert_array_equal(origin.learned_from(faces, 99), split.train)
    assert origin.learned_from(dataclasses.replace(people(19), name="utkface"), 99) is None  # prepared anew
    other = origin.learned_from(dataclasses.replace(people(19), name="afad"), 99)
    assert other is not None
    assert len(other) == 0
    for command in ("ssr-train import-keras", "it's no command line"):
        assert Origin.of({**provenance, "command": command}).learned_from(faces, 0) is None


def test_a_set_is_known_by_its_recorded_name_and_hashes() -> None:
    cut, otherwise = (dataclasses.replace(people(20), name="afad", pictures=text) for text in ("a", "b"))
    provenance = {
        "command": "as it was typed",
        "data": "AFAD, so many pictures",
        "data_name": "afad",
        "data_sha256": cut.sha256,
        "labels_sha256": cut.labels_sha256,
        "protocol": "random",
        "seed": 5,
    }
    origin = Origin.of(provenance)
    for faces, other in ((cut, False), (otherwise, True)):  # the same persons, cut in two ways
        np.testing.assert_array_equal(origin.learned_from(faces, 0), make_split(faces, "random", 5).train)
        assert origin.cut_otherwise(faces) == other
    assert origin.learned_from(dataclasses.replace(people(19), name="afad"), 0) is None
    drawn = Origin.of({**provenance, "data_name": "synthetic-persons"})
    assert (origin.drawn, drawn.drawn) == (None, "synthetic-persons")


def test_the_pictures_that_chose_the_epoch_are_counted(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "run", 1200)
    bundle = calibrate_bundle(run / "bundle", Source(workers=1), 0.9, tmp_path / "out")
    record = bundle.contract.provenance[RECORD]
    assert record["chose_epoch"] == 240
    assert any("240 of the 240 pictures also chose the epoch" in line for line in record["selection"])
    fair = Source(protocol="subject-exclusive", seed=3, data="synthetic-persons", count=1200, workers=1)
    found = evaluate(run / "bundle", dataclasses.replace(fair, allow_training_images=True), Asked())
    assert 0 < found.to_json()["chose_epoch"] < 120
    for path, source in ((run / "bundle-last", Source(workers=1)), (default_bundle(), FEW)):
        assert evaluate(path, source, Asked()).to_json()["chose_epoch"] == 0


def test_a_run_whose_pictures_moved_says_where_they_were(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "run")
    settings = dataclasses.replace(RunFolder(run).settings(), data="/moved/set")
    (run / "settings.json").write_text(json.dumps(settings.to_json()))
    with pytest.raises(SsrError, match="/moved/set: the run's pictures do not lie there any more; say where"):
        evaluate(run, Source(), Asked())


def test_halves_share_no_person() -> None:
    faces = people(40, subjects=np.repeat(np.arange(10), 4).astype(np.str_))
    halves = halve(Selection(faces, np.arange(40), (), 0), np.zeros(40), 0)
    first, second = (set(faces.subjects[part].tolist()) for part in halves.index)
    assert not first & second
    assert first | second == set(faces.subjects.tolist())
    assert halves.by == "subject"
    assert len(halves.index[0]) == 20
    assert halve(Selection(people(40), np.arange(40), (), 0), np.zeros(40), 0).by == "image"
    for seed in range(4):  # whoever comes first, also where one person has most of the pictures
        faces = people(40, subjects=np.repeat(["one", "most"], [4, 36]))
        halves = halve(Selection(faces, np.arange(40), (), 0), np.zeros(40), seed)
        assert sorted(map(len, halves.index)) == [4, 36]
    faces = people(40, subjects=np.repeat("one", 40))
    with pytest.raises(SsrError, match="all pictures are of one person"):
        halve(Selection(faces, np.arange(40), (), 0), np.zeros(40), 0)


# -- conformal intervals ------------------------------------------------------------------------------


def test_half_width_by_hand() -> None:
    ten = np.array([4.0, 1, 2, 3, 5, 6, 7, 8, 9])
    assert intervals.half_width(ten, 0.9) == 9.0  # rank ceil(10 * 0.9) = 9 of 9
    assert intervals.half_width(ten, 0.5) == 5.0
    assert intervals.half_width(ten[:8], 0.9) == np.inf  # rank 9 of 8
    assert intervals.half_width(ten, 1e-12) == 1.0  # never below rank 1
    assert intervals.least_faces(0.9) == intervals.LEAST
    assert intervals.least_faces(0.995) == 199


def test_bands_are_merged_with_the_smaller_neighbour() -> None:
    answers = np.repeat([5.0, 15.0, 25.0, 35.0], [5, 3, 9, 4])
    assert intervals.merge_bands(answers, (10.0, 20.0, 30.0), 4) == ([20.0, 30.0], [8, 9, 4])
    assert intervals.merge_bands(answers, (10.0, 20.0, 30.0), 8) == ([20.0], [8, 13])
    edges, counts = intervals.merge_bands(answers, (10.0, 20.0, 30.0), 100)
    assert (edges, counts) == ([], [21])
    assert intervals.merge_bands(np.array([10.0]), (10.0,), 1) == ([], [1])


def test_coverage_is_nominal_over_many_draws() -> None:
    """Heavy-tailed errors that grow with age: on average 90 % is covered, in each band."""
    rng = np.random.default_rng(3)

    def sample(n: int) -> tuple[Any, Any]:
        ages = rng.uniform(0, 100, n)
        return (ages + rng.standard_t(3, n) * (1 + ages / 20)).clip(0, 101), ages

    found = []
    for _ in range(150):
        interval, counts = intervals.calibrate(*sample(400), 0.9, edges=(50.0,))
        assert min(counts) >= intervals.LEAST
        answers, ages = sample(400)
        covered = intervals.measure_coverage(interval, answers, Spans.exact(ages), (0.0, 101.0))
        found.append([covered.overall.value, *(share.value for share in covered.bands.values())])
    np.testing.assert_allclose(np.mean(found, axis=0), 0.9, atol=0.012)


def test_binomial_bounds_are_exact() -> None:
    low, high = intervals.Share(0, 10).bounds()
    assert low == 0.0
    assert high == pytest.approx(1 - 0.025 ** (1 / 10))
    assert intervals.Share(0, 0).bounds() == (0.0, 1.0)


def test_calibrate_reaches_the_nominal_coverage_on_faces_held_out(calibrated: Path) -> None:
    bundle = read_bundle(calibrated)
    interval, record = bundle.contract.interval, bundle.contract.provenance[RECORD]
    assert interval is not None
    assert interval.coverage == 0.9
    assert sum(record["faces"]) == 2000
    assert min(record["faces"]) >= intervals.LEAST
    assert set(record["held_out"]) >= {"fp32"}
    for precision, found in record["held_out"].items():
        assert abs(found["overall"]["hits"] / found["overall"]["count"] - 0.9) <= 0.02, precision
    others = evaluate(calibrated, Source("synthetic", count=2000, seed=4711, workers=1), Asked())
    covered = others.judged[0].coverage
    assert covered is not None
    assert abs(covered.overall.value - 0.9) <= 0.02
    assert not any("calibrated the intervals" in line for line in others.selection.lines)
    assert "model.onnx" not in bundle.contract.files  # it held no intervals


def test_a_calibrated_bundle_serves_its_intervals(calibrated: Path, images: Any) -> None:
    bundle = read_bundle(calibrated)
    interval = bundle.contract.interval
    assert interval is not None
    full = ssr_ops.Engine(calibrated).predict_full(images)
    expected = reference.interval(
        interval, full["age"].astype(np.float64), bundle.contract.interface.output.clip
    )
    np.testing.assert_allclose(full["age_interval"], expected, atol=1e-4)
    assert "output_interval" in bundle.golden()
    unchanged = read_bundle(calibrated.parent / "plain")
    assert unchanged.contract.interval is None
    assert unchanged.contract.weights_sha256 == bundle.contract.weights_sha256


def test_coverage_of_the_calibrating_faces_is_said_to_be_no_test(calibrated: Path, tmp_path: Path) -> None:
    again = calibrate_bundle(calibrated, FEW, 0.9, tmp_path / "again", force=True)
    for seed, count, said in ((102, FEW.count, True), (102, 60, True), (103, 60, False)):
        found = evaluate(again.path, dataclasses.replace(FEW, seed=seed, count=count), Asked())
        assert any("calibrated the intervals" in line for line in found.selection.lines) == said


def test_calibrate_refuses(calibrated: Path, tmp_path: Path) -> None:
    plain = calibrated.parent / "plain"
    for path, source, coverage, text in (
        (calibrated, FEW, 0.9, "has calibrated intervals already; --force"),
        (plain, FEW, 1.0, "--coverage must lie between 0 and 1"),
        (
            plain,
            dataclasses.replace(FEW, count=60),
            0.9,
            "0.9 needs at least 100; half of .* --count N draws",
        ),
        (plain, FEW, 0.999, "needs at least 999"),
        (plain, Source("synthetic", count=240, seed=0, workers=1), 0.9, "among those of the training run"),
        (plain, Source("faces"), 0.9, "--data faces: unknown"),
        (gender_bundle(tmp_path / "male"), FEW, 0.9, "expected ages in years"),
    ):
        with pytest.raises(SsrError, match=text):
            calibrate_bundle(path, source, coverage, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(SsrError, match="exists already"):
        calibrate_bundle(plain, FEW, 0.9, calibrated)


# -- the gate -----------------------------------------------------------------------------------------


def test_threshold_by_hand() -> None:
    assert gate.fewest_young(0.05, 0.95) == 59  # 0.95 ** 59 < 0.05
    assert gate.accepts_allowed(59, 0.05, 0.95) == 0
    assert gate.accepts_allowed(58, 0.05, 0.95) == -1
    assert gate.accepts_allowed(93, 0.05, 0.95) == 1
    assert gate.choose_threshold(np.arange(59.0), 0.05, 0.95) == 58.01
    assert gate.choose_threshold(np.arange(93.0), 0.05, 0.95) == 91.01  # one of 93 lies above
    with pytest.raises(SsrError, match=r"58 faces under the age .* needs at least 59"):
        gate.choose_threshold(np.arange(58.0), 0.05, 0.95)
    for rate in (0.0, 1e-17, 1.0, np.nan):  # 1 - 1e-17 is 1: no logarithm to divide by
        with pytest.raises(SsrError, match=f"--false-accept must lie between 1e-09 and 1, got {rate:g}"):
            gate.choose_threshold(np.arange(58.0), rate, 0.95)
    with pytest.raises(SsrError, match="needs at least 2,995,732,273"):
        gate.choose_threshold(np.arange(58.0), 1e-9, 0.95)


def test_threshold_keeps_the_rate_with_the_confidence_asked_for() -> None:
    """Uniform answers: the rate behind a threshold t is 1 - t."""
    rng = np.random.default_rng(8)
    rates = np.array(
        [1 - gate.choose_threshold(rng.uniform(0, 100, 200), 0.05, 0.9) / 100 for _ in range(1500)]
    )
    assert np.mean(rates > 0.05) <= 0.1 + 3 * np.sqrt(0.1 * 0.9 / 1500)
    assert np.mean(rates) > 0.02  # and does not keep it by refusing everybody


def test_chances_by_hand_and_by_simulation() -> None:
    few = gate.Residuals((), (np.array([-2.0, -1.0, 0.0, 1.0]),))
    np.testing.assert_allclose(few.at_least(18, np.array([17.0, 18.0, 20.0, 21.0])), [0.2, 0.4, 0.8, 0.8])
    rng = np.random.default_rng(9)
    answers = rng.uniform(0, 100, 20000)
    ages = answers + rng.normal(2, 5, 20000)
    chances = gate.Residuals.of(answers[:10000], ages[:10000]).at_least(18, answers[10000:])
    said = gate.reliability(chances, ages[10000:] >= 18)
    assert max(abs(mean - share) for mean, share, count in said if count > 100) < 0.08
    assert sum(count for _, _, count in said) == 10000


def test_roc_and_auc_by_hand() -> None:
    scores, old = np.array([1.0, 2.0, 2.0, 3.0]), np.array([False, False, True, True])
    false, true = gate.roc(scores, old)
    assert false.tolist() == [0.0, 0.0, 0.5, 1.0]
    assert true.tolist() == [0.0, 0.5, 1.0, 1.0]
    assert gate.auc(scores, old) == pytest.approx(3.5 / 4)


def test_gate_of_drawn_faces(tmp_path: Path) -> None:
    source = Source("synthetic", count=1600, workers=1)
    found = gate_report.measure_gate(default_bundle(), source, 18.0, 0.05, 0.95)
    held_out = found.held_out
    assert held_out.false_accepts.bounds()[0] <= 0.05
    assert held_out.false_accepts.count + held_out.false_rejects.count == 800
    assert sum(share.count for share in held_out.accepts_by_true_age.values()) == 800
    assert 0.85 < held_out.auc < 1
    found.report().write(tmp_path / "gate")
    written = json.loads((tmp_path / "gate/gate.json").read_text())
    assert written["threshold"] == found.threshold
    assert written["synthetic"] is True
    text = (tmp_path / "gate/gate.md").read_text()
    assert "drawn faces (synthetic)" in text.splitlines()[0]
    assert f"at least {found.threshold:.2f} years" in text
    assert (tmp_path / "gate/gate.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(SsrError, match="--age must lie between 0 and 101 years, got 0"):
        gate_report.measure_gate(default_bundle(), FEW, 0.0, 0.05, 0.95)
    with pytest.raises(SsrError, match=r"no faces of at least 100\.5 years to choose on"):
        gate_report.measure_gate(default_bundle(), FEW, 100.5, 0.05, 0.95)


# -- commands -----------------------------------------------------------------------------------------


def run_folder(path: Path, count: int = 200) -> Path:
    """A finished run as `ssr-train fit` leaves it: the shipped weights, and others for the last epoch."""
    shipped = read_bundle(default_bundle())
    provenance = {
        **shipped.contract.provenance,
        "command": f"ssr-train fit --data synthetic-persons --out RUN --count {count}",
        "data": f"synthetic: drawn faces, generator version 1, {count} pictures, 4 of each person",
        "count": count,
        "seed": 3,
        "protocol": "random",
    }
    contract = dataclasses.replace(shipped.contract, provenance=provenance, quantization=None)
    run = RunFolder(path)
    path.mkdir()
    run.start(Settings(data="synthetic-persons", count=count, seed=3), force=False)
    write_bundle(run.bundle, contract, shipped.parameters())
    worse = shipped.parameters()
    worse["stages.0.p.bias"] = worse["stages.0.p.bias"] + 0.1
    last = dataclasses.replace(contract, provenance={**provenance, "weights": "last epoch (12)"})
    write_bundle(run.bundle_last, last, worse)
    return path


def test_a_run_is_judged_on_its_own_test_pictures_best_beside_last(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "run")
    found = evaluate(run, Source(workers=1), Asked())
    split = make_split(found.selection.faces, "random", 3)
    np.testing.assert_array_equal(found.selection.index, split.test)
    assert [one.label for one in found.judged] == ["best epoch", "last epoch"]
    assert found.judged[0].weights_sha256 != found.judged[1].weights_sha256
    assert found.judged[0].metrics != found.judged[1].metrics
    lines = found.selection.lines
    assert any(line.startswith("leak: ") and "% of the test images" in line for line in lines)
    assert any("the best epoch is chosen on the test images" in line for line in lines)
    check_report(found, tmp_path / "report")
    (run / "bundle").rename(run / "elsewhere")
    with pytest.raises(SsrError, match="unfinished run"):
        evaluate(run, Source(), Asked())


def check_report(found: Evaluation, folder: Path) -> None:
    found.report().write(folder)
    text = (folder / "report.md").read_text()
    assert "on drawn faces (synthetic)" in text.splitlines()[0]
    assert "CA(5), error <= 5" in text
    assert "CA(5), error < 5" in text
    data = json.loads((folder / "report.json").read_text())
    first = found.judged[0].metrics.overall
    assert data["results"][0]["overall"]["mae"] == first.mae
    assert data["results"][0]["overall"]["ca"]["3"]["<"] == first.ca_below[3]
    assert (folder / "report.png").read_bytes().startswith(b"\x89PNG")


def test_the_commands(calibrated: Path, tmp_path: Path) -> None:
    """Without torch, as an operator has it."""
    arguments = ("--data", "synthetic", "--count", "240", "--workers", "1")
    result = ssr_train("evaluate", calibrated, *arguments, "--json", blocked=("torch",))
    assert result.returncode == 0, result.stderr
    data = json.loads(result.stdout)
    assert data["images"] == 240
    assert data["results"][0]["overall"]["mae_bounds"][0] < data["results"][0]["overall"]["mae"]
    refused(ssr_train("evaluate", calibrated, "--count", "0"), status=2)
    line = refused(ssr_train("evaluate", tmp_path / "nothing", *arguments))
    assert "does not exist" in line
    line = refused(ssr_train("gate", calibrated, "--age", "18", *arguments))
    assert "needs at least 299; half of the 240 pictures are held out: --data synthetic --count N" in line


def test_where_nothing_can_be_written_is_said_first(
    calibrated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(*_: Any) -> None:
        raise AssertionError("it began to work")

    monkeypatch.setattr(selection, "load", work)
    (tmp_path / "file").write_text("")
    under = tmp_path / "file" / "deep" / "out"
    few = ("--data", "synthetic", "--count", "240")
    for command in (
        ("evaluate", calibrated, *few),
        ("gate", calibrated, "--age", "18", *few),
        ("card", calibrated, *few),
        ("calibrate", calibrated.parent / "plain", *few),
    ):
        result = CliRunner().invoke(app, [*map(str, command), "--out", str(under)])
        assert isinstance(result.exception, SsrError)
        assert f"{tmp_path / 'file'}: is a file, expected a folder for the" in str(result.exception)
    unwritable(monkeypatch, tmp_path)
    with pytest.raises(SsrError, match=r"cannot be written to \(Read-only .*a folder for the report"):
        check_folder(tmp_path / "new")


def test_a_full_disk_leaves_the_old_report(tmp_path: Path) -> None:
    found = evaluate(default_bundle(), FEW, Asked())
    found.report().write(tmp_path / "report")
    before = {file.name: file.read_bytes() for file in (tmp_path / "report").iterdir()}
    other = evaluate(default_bundle(), dataclasses.replace(FEW, seed=7), Asked())
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(SsrError, match="file too large; the report was not written"):
            other.report().write(tmp_path / "report")
        with pytest.raises(SsrError, match="file too large; the card was not written"):
            write_card(default_bundle(), None, tmp_path / "CARD.md")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert {file.name: file.read_bytes() for file in (tmp_path / "report").iterdir()} == before
    assert not (tmp_path / "CARD.md").exists()


def test_evaluate_refuses(tmp_path: Path) -> None:
    shipped = default_bundle()
    for path, source, asked, text in (
        (None, FEW, Asked(), "name a bundle"),
        (tmp_path, FEW, Asked(), "not a bundle"),
        (shipped, FEW, Asked("tflite"), "--runner tflite: unknown"),
        (shipped, dataclasses.replace(FEW, fold=2), Asked(), "--fold belongs to"),
        (shipped, dataclasses.replace(FEW, workers=0), Asked(), "--workers must be at least 1"),
        (shipped, Source(count=5), Asked(), "--count and --seed belong to --data"),
        (shipped, dataclasses.replace(FEW, protocol="distributed"), Asked(), "leaves no train images"),
        (shipped, FEW, Asked(precision="fp8"), "fp8"),
        (gender_bundle(tmp_path / "male"), Source(), Asked(), "expected ages in years"),
    ):
        with pytest.raises(SsrError, match=text):
            evaluate(path, source, asked)


def test_an_unreachable_server_is_one_error() -> None:
    pytest.importorskip("tritonclient.grpc")
    from ssr_client import ServerUnavailable

    from ssr_train.inference import ServedRunner

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(ServerUnavailable, match=str(port)):
        ServedRunner(f"127.0.0.1:{port}", "ssrnet", wait=0.5)


def test_imported_weights_need_data_and_say_what_is_not_known(morph2_bundle: Path) -> None:
    material("weights/ssrnet_morph2.h5")
    with pytest.raises(SsrError, match="what these weights learned from is not recorded"):
        evaluate(morph2_bundle, Source(), Asked())
    found = evaluate(morph2_bundle, FEW, Asked())
    assert found.selection.trained is None
    assert any(
        "whether the weights learned from these pictures is not recorded" in x for x in found.selection.lines
    )
    text = card(read_bundle(morph2_bundle))
    assert "- protocol: not recorded" in text
    assert "- started from: not recorded" in text
    assert "not recorded: this card was written without an evaluation" in text


# -- the card -----------------------------------------------------------------------------------------


def test_card_says_what_is_recorded_and_measured(calibrated: Path, tmp_path: Path) -> None:
    bundle = read_bundle(calibrated)
    text = write_card(calibrated, dataclasses.replace(FEW, data="synthetic-persons"), tmp_path / "CARD.md")
    assert text == (tmp_path / "CARD.md").read_text()
    for expected in (
        bundle.contract.weights_sha256,
        "Learned from drawn faces (synthetic)",
        bundle.contract.provenance["command"],
        "- data: synthetic: drawn faces, generator version 1, faces 0..19999",
        "- identity leak: ",
        "### By true age",
        "### By sex",
        "Errors by group: the labels do not give it",
        "Drift of the answers from fp32's",
        "## Licence\n\nApache-2.0",
    ):
        assert expected in text
    held_out = bundle.contract.provenance[RECORD]["held_out"]["fp32"]["overall"]
    assert f"{held_out['hits']:,} of {held_out['count']:,}" in text
    with pytest.raises(SsrError, match="exists already; --force"):
        write_card(calibrated, None, tmp_path / "CARD.md")
    bare = write_bundle(
        tmp_path / "bare",
        Contract("bare", Interface(), Architecture()),
        read_bundle(default_bundle()).parameters(),
    )
    unknown = card(bare)
    for line in ("- data: not recorded", "- synthetic: not recorded", "## Licence\n\nnot recorded"):
        assert line in unknown
    assert "the answers carry no uncertainty" in unknown
