"""A contract's map of answers: what is one, that every runner follows it, and how ``fit-crop`` finds it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundle_faults import Edit, edits_of, refusal_in_cpp, refusal_in_python
from conftest import material
from random_bundles import random_bundle
from rich.console import Console
from test_crops import photos as photos
from test_crops import small_grid as small_grid
from test_crops import some_faces
from typer.testing import CliRunner

import ssr_ops
from ssr_bundle.bundle import Bundle, read_bundle
from ssr_bundle.contract import Architecture, Contract, Interval, Recalibration
from ssr_bundle.fetch import find
from ssr_bundle.tolerances import required
from ssr_ops import Engine, reference
from ssr_ops.drift import reference_answers
from ssr_ops.golden import write_bundle
from ssr_ops.replay import replay_all
from ssr_ops.shipped import default_bundle
from ssr_train.crops.faces import look
from ssr_train.crops.fit_crop import Wanted, fit_crop
from ssr_train.crops.measured import Asked, Half, halves
from ssr_train.crops.recalibrate import recalibrate
from ssr_train.crops.sets import read_sets
from ssr_train.data.spans import Spans
from ssr_train.inference import open_runner
from ssr_train.keras_import import import_keras
from triton_repo.cli import app as serve
from triton_repo.tritonserver import TritonServer

POINTS = Recalibration((0.0, 30.5, 60.25, 101.0), (2.0, 45.0, 45.0, 99.0))
CLIP = (0.0, 101.0)


@pytest.fixture(scope="module")
def plain() -> Bundle:
    return read_bundle(default_bundle())


@pytest.fixture(scope="module")
def bundle(plain: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The shipped network with a map and intervals."""
    contract = replace(plain.contract, recalibration=POINTS, interval=Interval(0.9, (50.0,), (4.0, 9.0)))
    return write_bundle(tmp_path_factory.mktemp("map") / "bundle", contract, plain.parameters())


def mapped(answers: Any) -> Any:
    return np.interp(np.asarray(answers, np.float64), POINTS.before, POINTS.after)


# What is one.

GOOD: dict[str, Any] = {
    "null": None,
    "two points": {"before": [0, 101], "after": [0, 101]},
    "all to one age": {"before": [0.0, 101.0], "after": [50, 50]},
    "as steep as can be": {"before": [0, 10, 30, 101], "after": [0, 0, 80, 80]},
    "a foreign key": {"before": [0, 101], "after": [0, 101], "note": "by hand"},
    "as many points as can be": {"before": [*range(63), 101], "after": [*range(63), 101]},
}
BAD: dict[str, tuple[Any, str]] = {
    "a list": ([0, 101], "recalibration: expected an object"),
    "no after": ({"before": [0, 101]}, "'after' is missing"),
    "one point": (
        {"before": [0], "after": [0]},
        "before: expected 2 to 64 numbers that rise from 0.0 to 101.0",
    ),
    "no point": ({"before": [], "after": []}, "before: expected 2 to 64 numbers"),
    "too many points": (
        {"before": [*range(64), 101], "after": [*range(64), 101]},
        "before: expected 2 to 64 numbers",
    ),
    "another start": ({"before": [1, 101], "after": [0, 101]}, "before: expected 2 to 64 numbers"),
    "another end": ({"before": [0, 100], "after": [0, 101]}, "before: expected 2 to 64 numbers"),
    "falling": ({"before": [0, 50, 40, 101], "after": [0, 50, 60, 101]}, "before: expected"),
    "points too near": ({"before": [0, 50, 50.1, 101], "after": [0, 50, 50, 101]}, "by a thousandth"),
    "after that falls": ({"before": [0, 50, 101], "after": [0, 60, 59]}, "after: expected 3 numbers"),
    "another count": ({"before": [0, 50, 101], "after": [0, 101]}, "after: expected 3 numbers in 0.0..101.0"),
    "beyond the range": (
        {"before": [0, 101], "after": [0, 101.5]},
        "after: expected 2 numbers in 0.0..101.0",
    ),
    "below the range": (
        {"before": [0, 101], "after": [-1e-9, 101]},
        "after: expected 2 numbers in 0.0..101.0",
    ),
    "too steep": ({"before": [0, 10, 101], "after": [0, 40.001, 50]}, "rise at most 4 times as much"),
    "text": ({"before": [0, 101], "after": ["0", 101]}, "after: expected finite numbers|after: expected a l"),
    "true": (
        {"before": [0, 101], "after": [True, 101]},
        "after: expected finite numbers|after: expected a l",
    ),
}


def with_map(text: str, points: Any, version: int = 2) -> bytes:
    return json.dumps({**json.loads(text), "contract_version": version, "recalibration": points}).encode()


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    architecture = Architecture(stages=(2,), width_x=3, width_s=3, width_fusion=1)
    return random_bundle(
        tmp_path_factory.mktemp("small") / "b", architecture, recalibration=POINTS, provenance={}
    ).path


def refusals(folder: Path, text: bytes) -> tuple[str | None, str | None]:
    path = folder / "contract.json"
    before = path.read_bytes()
    try:
        path.write_bytes(text)
        return refusal_in_python(folder), refusal_in_cpp(folder)
    finally:
        path.write_bytes(before)


@pytest.mark.parametrize("what", GOOD)
def test_good_maps(small: Path, what: str) -> None:
    version = 1 if GOOD[what] is None else 2
    text = with_map((small / "contract.json").read_text(), GOOD[what], version)
    assert refusals(small, text) == (None, None)
    contract = Contract.loads(text.decode())
    assert Contract.loads(contract.dumps()) == contract
    assert ("recalibration" in contract.to_json()) == (contract.to_json()["contract_version"] == 2)


@pytest.mark.parametrize("what", BAD)
def test_bad_maps(small: Path, what: str) -> None:
    points, message = BAD[what]
    for told in refusals(small, with_map((small / "contract.json").read_text(), points)):
        assert told is not None
        assert any(part in told for part in message.split("|")), told
        assert "\n" not in told


def test_a_map_needs_version_2_and_version_2_a_reason(small: Path) -> None:
    text = (small / "contract.json").read_text()
    for points, version in ((POINTS.to_json(), 1), (None, 2)):
        what = "recalibration" if version == 1 else "interface.crop"
        for told in refusals(small, with_map(text, points, version)):
            assert told is not None
            assert f"contract_version {version}: this {what} is one of version {3 - version}" in told


def test_both_readers_judge_every_edit_of_a_map_alike(small: Path) -> None:
    def judged(edit: Edit) -> str | None:
        python, cpp = refusals(small, edit.text)
        return f"{edit.what}: {python}, {cpp}" if (python is None) != (cpp is None) else None

    text = (small / "contract.json").read_text()
    edits = [edit for edit in edits_of(text) if edit.what.startswith("('recalibration'")]
    assert len(edits) > 300
    assert [told for told in map(judged, edits) if told] == []


def test_what_a_contract_without_one_looks_like_is_unchanged(plain: Bundle) -> None:
    text = (plain.path / "contract.json").read_text()
    assert plain.contract.dumps() == text
    assert "recalibration" not in text


# Who follows it.


def test_the_record_and_every_precision(bundle: Bundle, plain: Bundle) -> None:
    golden, before = read_bundle(bundle.path).golden(), plain.golden()
    np.testing.assert_allclose(golden["output"], mapped(before["output"]), atol=1e-9)
    np.testing.assert_allclose(golden["unclipped"], before["unclipped"], rtol=1e-12)
    assert bundle.contract.magnified == pytest.approx(43 / 30.5)
    assert required("native", "int8", bundle.contract).p99 == pytest.approx(1.75 * 43 / 30.5)
    for found in replay_all(bundle):
        engine, other = (Engine(b, precision=found.precision) for b in (bundle, plain))
        images = golden["images"]
        expected = mapped(other.predict(images)).astype(np.float32)
        answers = engine.predict_full(images)
        np.testing.assert_allclose(answers["age"], expected, rtol=3e-7)
        half = np.where(answers["age"] < 50, 4.0, 9.0)[:, None]
        ends = np.clip(answers["age"][:, None] + half * [-1, 1], *CLIP)
        np.testing.assert_allclose(answers["age_interval"], ends, rtol=3e-7)


@pytest.mark.parametrize("name", ssr_ops.implementations())
def test_every_implementation(name: str, plain: Bundle, tmp_path: Path) -> None:
    """On answers over the whole range, both ends among them."""
    images, pieces = plain.golden()["images"], set()
    for factor in (0.0, 0.5, 1.5, 10.0):
        parameters = plain.parameters()
        for key in parameters:
            if ".p." in key:
                parameters[key] = parameters[key] * np.float32(factor)
        contracts = (plain.contract, replace(plain.contract, recalibration=POINTS))
        before, found = (
            Engine(
                write_bundle(tmp_path / f"{factor}-{i}", contract, parameters), implementation=name
            ).predict(images)
            for i, contract in enumerate(contracts)
        )
        np.testing.assert_allclose(found, mapped(before), rtol=3e-7)
        pieces |= {*np.searchsorted(POINTS.before, before).tolist()}
        assert factor < 10 or before.max() == CLIP[1]
    assert pieces == {0, 1, 2, 3}


def test_the_map_at_its_points(tmp_path: Path, plain: Bundle) -> None:
    """A map that ends a piece at the very answer of an image, to the bit."""
    images = plain.golden()["images"]
    answers = Engine(plain).predict(images)
    point = next(float(v) for v in answers if 20 < v < 80)
    points = Recalibration((0.0, point, 101.0), (0.0, 33.0, 101.0))
    made = write_bundle(tmp_path / "b", replace(plain.contract, recalibration=points), plain.parameters())
    assert (Engine(made).predict(images)[answers == np.float32(point)] == 33).all()


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_the_readable_network(precision: str, bundle: Bundle, plain: Bundle) -> None:
    images = plain.golden()["crops"]
    if precision == "fp32":
        stages = reference.network(plain.parameters(), plain.contract.architecture, images)
        found, expected = reference.answer(bundle.contract, stages)["age"], stages.age
    else:
        found, expected = (reference_answers(b, precision, images) for b in (bundle, plain))
    np.testing.assert_allclose(found, mapped(expected), rtol=3e-7)


@pytest.mark.parametrize("kind", ["torch", "native"])
def test_runners_of_the_trainer(kind: str, bundle: Bundle) -> None:
    with open_runner(bundle, kind) as runner:
        golden = bundle.golden()
        assert np.abs(runner.predict(golden["crops"]) - golden["output"][: len(golden["crops"])]).max() < 3e-3


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_the_exported_graph(precision: str, bundle: Bundle, plain: Bundle) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    from ssr_ops.export.network import build_onnx

    images = plain.golden()["images"]

    def answers(b: Bundle) -> Any:
        session = onnxruntime.InferenceSession(
            build_onnx(b, precision).SerializeToString(), providers=["CPUExecutionProvider"]
        )
        return session.run(None, {"image": images})

    age, interval = answers(bundle)
    np.testing.assert_allclose(age[:, 0], mapped(answers(plain)[0][:, 0]), atol=4e-5)
    half = np.where(age < 50, 4.0, 9.0)
    np.testing.assert_allclose(interval, np.clip(age + half * [-1, 1], *CLIP), atol=1e-5)


def test_a_graph_of_before_is_not_this_network(bundle: Bundle, plain: Bundle) -> None:
    from ssr_ops.export.names import network_sha256

    assert network_sha256(bundle.contract, "fp32") != network_sha256(
        replace(bundle.contract, recalibration=None), "fp32"
    )


@pytest.mark.server
def test_every_rung_of_the_ladder(bundle: Bundle, tritonserver: TritonServer) -> None:
    """Served over gRPC too, in each mode: the engine's bits."""
    pytest.importorskip("onnxruntime")
    result = CliRunner().invoke(serve, ["verify", str(bundle.path), "--json"])
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)["rows"]
    ok = {row["step"] for row in rows if row["verdict"] == "ok"}
    assert ok >= {"reference", "torch", "native", "onnx", "served"}
    assert not [row for row in rows if row["verdict"] == "failed"]


def test_info_and_card_say_it(bundle: Bundle) -> None:
    from ssr_train.cli import app

    words = "0 to 2, 30.5 to 45, 60.25 to 45, 101 to 99"
    info = CliRunner().invoke(app, ["info", str(bundle.path)], env={"COLUMNS": "300"})
    assert f"recalibrated: {words}" in info.stdout
    card = CliRunner().invoke(app, ["card", str(bundle.path)])
    assert f"clipped to 0..101, recalibrated ({words})" in card.stdout


# How it is found.


def half_of(ages: Any, high: Any = None) -> Half:
    low = np.asarray(ages, np.float64)
    faces = some_faces(len(low), spans=Spans(low, low if high is None else np.asarray(high, np.float64)))
    return Half(faces, np.arange(len(low)))


def test_a_known_map_is_found() -> None:
    rng = np.random.default_rng(5)
    ages = rng.uniform(20, 80, 400)
    answers = np.clip(0.6 * ages + 5, *CLIP)
    found = recalibrate([half_of(ages)], [answers], CLIP)
    again = np.interp(answers, found.before, found.after)
    assert np.abs(again - ages).mean() < 0.3 < np.abs(answers - ages).mean()
    assert (found.before[0], found.before[-1], found.after[0], found.after[-1]) == (0, 101, 0, 101)
    assert Recalibration.from_json(found.to_json(), CLIP) == found


def test_faces_that_are_right_are_left_alone() -> None:
    ages = np.linspace(5, 95, 91)
    found = recalibrate([half_of(ages)], [ages], CLIP)
    assert np.abs(np.interp(ages, found.before, found.after) - ages).max() < 1e-3


def test_an_answer_within_its_bin_asks_for_nothing() -> None:
    """All lie in their bins, but for one bin, whose faces all lie five years below it."""
    low = np.repeat([20.0, 30, 40, 50], 50)
    answers = low + np.tile(np.linspace(1, 8, 50), 4)
    answers[100:150] = np.linspace(33, 35, 50)
    bins = half_of(low, low + 9)
    found = recalibrate([bins], [answers], CLIP)
    again = np.interp(answers, found.before, found.after)
    lost, before = (np.abs(bins.faces.signed(v, bins.rows)).mean() for v in (again, answers))
    assert lost < before
    open_end = half_of(np.full(60, 70.0), np.full(60, np.inf))
    found = recalibrate([open_end], [np.linspace(50, 60, 60)], CLIP)
    assert np.interp(50, found.before, found.after) >= 69.9


@pytest.mark.parametrize("answers", [np.zeros(60), np.full(60, 101.0), np.full(60, 50.0)])
def test_answers_that_do_not_vary(answers: Any) -> None:
    found = recalibrate([half_of(np.linspace(20, 60, 60))], [answers], CLIP)
    assert Recalibration.from_json(found.to_json(), CLIP) == found


def test_a_map_never_falls_whatever_the_faces() -> None:
    rng = np.random.default_rng(3)
    for count in (20, 60, 400):
        ages = rng.uniform(0, 101, count)
        found = recalibrate([half_of(ages)], [101 - ages], CLIP)
        assert Recalibration.from_json(found.to_json(), CLIP) == found


def test_each_set_counts_alike() -> None:
    """Ten times as many faces of one set change nothing."""
    ages, other = np.linspace(30, 60, 60), np.linspace(30, 60, 60) + 8
    answers = np.linspace(30, 60, 60)
    one = recalibrate([half_of(ages), half_of(other)], [answers, answers], CLIP)
    many = recalibrate([half_of(np.tile(ages, 10)), half_of(other)], [np.tile(answers, 10), answers], CLIP)

    def worth(found: Recalibration) -> float:
        again = np.interp(answers, found.before, found.after)
        return float(np.abs(again - ages).mean() + np.abs(again - other).mean())

    assert worth(many) == pytest.approx(worth(one), abs=0.3)


def test_fit_crop_recalibrates_where_asked(photos: Path, tmp_path: Path, small_grid: None) -> None:
    before = random_bundle(tmp_path / "before", Architecture(), provenance={"synthetic": True})
    wanted = Wanted([str(photos)], None, 3, "haar", 1, recalibrate=True)
    written, found = fit_crop(before.path, wanted, tmp_path / "out")
    points = found.recalibration
    assert points is not None
    assert read_bundle(written.path).contract.recalibration == points
    assert written.contract.version == 2
    assert "--recalibrate" in written.contract.provenance["crop_fit"]["command"]
    rows = {one.label: one for one in found.sets[0].results}
    assert rows["chosen, recalibrated"].mae != rows["chosen"].mae
    told = (tmp_path / "out/crop.md").read_text()
    assert f"answers recalibrated: {points.describe()} years" in told
    assert json.loads((tmp_path / "out/crop.json").read_text())["recalibration"] == points.to_json()
    # The next search asks the network itself, and says what becomes of the map.
    again, anew = fit_crop(written.path, Wanted([str(photos)], None, 3, "haar", 1), tmp_path / "again")
    assert again.contract.recalibration is None
    assert "The recalibration is dropped" in (tmp_path / "again/crop.md").read_text()
    assert anew.crop == found.crop
    of_again = {one.label: one.mae for one in anew.sets[0].results}
    assert of_again["chosen"] == rows["chosen"].mae
    assert of_again["the bundle's"] == pytest.approx(rows["chosen, recalibrated"].mae, abs=1e-4)


def test_the_network_is_asked_without_its_map(bundle: Bundle, plain: Bundle) -> None:
    images = plain.golden()["crops"]
    np.testing.assert_array_equal(Asked(bundle, 1).ages(images), Engine(plain).predict(images))


def test_a_map_that_helps_nobody_is_said(
    photos: Path, tmp_path: Path, small_grid: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    worst = Recalibration(CLIP, (100.0, 101.0))
    monkeypatch.setattr("ssr_train.crops.fit_crop.recalibrate", lambda *_: worst)
    before = random_bundle(tmp_path / "before", Architecture())
    wanted = Wanted([str(photos)], None, 3, "haar", 1, recalibrate=True)
    _, found = fit_crop(before.path, wanted, tmp_path / "out")
    assert any("recalibration makes the answers to photos" in note for note in found.notes)


def test_real_faces_held_out_gain_by_it(tmp_path: Path) -> None:
    """morph2 takes the portraits for 13 years younger. A map fitted to half of them halves the error of the
    others, whom it never saw."""
    weights = find("morph2")
    if weights is None:
        pytest.skip("the released file morph2 is not here (SSR_WEIGHTS_DIR names its folder)")
    (source,) = read_sets([str(material("real/portraits"))], 100, 0)
    made = write_bundle(tmp_path / "b", *import_keras(weights))
    crop = made.contract.interface.crop
    faces = look(source, "yunet", crop, 1, Console(quiet=True))
    first, second = halves(faces, 0)
    asked = Asked(made, 1)
    found = recalibrate([first], [asked.on(first, crop)], CLIP)
    before = asked.on(second, crop)
    after = np.interp(before, found.before, found.after)
    lost, gained = (np.abs(faces.signed(v, second.rows)).mean() for v in (before, after))
    assert gained < 0.75 * lost
