"""``ssr-train fit-crop``: sets of faces to cut anew, the search, its report, and the bundle it writes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytest
from conftest import ROOT, material
from random_bundles import calibrated_for_precisions, quantized_bundle, random_bundle
from ssr_client.detectors import YuNet
from ssr_client.preprocess import crop_faces, read_picture
from typer.testing import CliRunner

from ssr_bundle.bundle import Bundle, read_bundle
from ssr_bundle.contract import Architecture, Crop, Interval
from ssr_bundle.errors import SsrError, UsageError
from ssr_bundle.face_crop import BORDERS
from ssr_bundle.fetch import find
from ssr_ops import Engine
from ssr_ops.golden import write_bundle
from ssr_ops.replay import replay_all
from ssr_train.cli import app
from ssr_train.crops import faces as looking
from ssr_train.crops import report as looking_at
from ssr_train.crops import search as searching
from ssr_train.crops.faces import Faces, look
from ssr_train.crops.fit_crop import RECORD, Wanted, fit_crop
from ssr_train.crops.measured import Half, halves, result
from ssr_train.crops.search import LIMITS, Errors, Trial, around, search
from ssr_train.crops.sets import LEAST, read_sets
from ssr_train.data.cutting import ALIGNED, Cut, Cutter, Found
from ssr_train.data.records import Problem, Record
from ssr_train.data.spans import Spans
from ssr_train.evaluation.calibrating import RECORD as INTERVAL_RECORD
from ssr_train.evaluation.metrics import correlation
from ssr_train.keras_import import import_keras

ASTRONAUT = ROOT / "ssr_ops/assets/astronaut.jpg"


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A labelled folder: the astronaut, lighter and darker, once without a face and once with a bin."""
    folder = tmp_path_factory.mktemp("photos")
    photo = cv2.resize(read_picture(ASTRONAUT), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    lines = ["file,age_low,age_high"]
    for i in range(LEAST + 2):
        lit = np.clip(photo * (0.7 + i / 70), 0, 255).astype(np.uint8)
        name = f"{i:03}.jpg"
        cv2.imwrite(str(folder / name), np.zeros_like(lit) if i == 3 else lit)
        lines.append(f"{name},{20 + i % 30},{20 + i % 30 if i % 2 else 60}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def small_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    """A coarse grid of few crops."""
    monkeypatch.setattr(searching, "ACROSS", (0.2, 0.6))
    monkeypatch.setattr(searching, "ALONG", (0.2,))
    monkeypatch.setattr(searching, "SHIFTS", (0.0,))


def some_faces(count: int = 60, **changes: object) -> Faces:
    """Faces in noise, one a file."""
    rng = np.random.default_rng(0)
    fields = {
        "name": "noise",
        "pictures": list(rng.integers(0, 256, (count, 80, 90, 3), np.uint8)),
        "boxes": [(25.0, 20.0, 40.5, 45.25)] * count,
        "today": None,
        "spans": Spans(np.full(count, 30.0), np.full(count, 30.0)),
        "ages": np.full(count, 30.0),
        "owners": np.arange(count),
        "missed": {},
    }
    return Faces(**{**fields, **changes})


# The search.


def distance(trial: Trial, to: Trial) -> float:
    apart = sum((getattr(trial, name) - getattr(to, name)) ** 2 for name in LIMITS)
    return float(apart**0.5) + 0.3 * (trial.border != to.border)


@pytest.mark.parametrize("at", [(0.65, 0.25, -0.1), (0.05, -0.1, 0.15), (1.2, 0.9, 0.0), (-0.3, 0.4, -0.45)])
@pytest.mark.parametrize("border", BORDERS)
def test_one_sets_best_crop_is_found(at: tuple[float, float, float], border: str) -> None:
    best, asked = Trial(*at, border), []

    def measure(trial: Trial) -> Errors:
        asked.append(trial)
        return (10 + distance(trial, best),)

    tried = search(measure)
    assert tried.chosen() == best
    assert tried.regrets()[best] == 0
    assert len(asked) == len(set(asked)) == len(tried.errors), "measured twice"
    assert len(asked) < len(searching.coarse()) + 200


def test_of_several_sets_the_worst_regret_decides() -> None:
    """Two sets want crops that are 0.4 apart; one is twice as hard, the other three times as steep."""
    one, other = Trial(0.3, 0.2, 0.0, "replicate"), Trial(0.7, 0.2, 0.0, "replicate")

    def measure(trial: Trial) -> Errors:
        return 5 + 3 * distance(trial, one), 10 + distance(trial, other)

    tried = search(measure)
    assert (tried.own_best(0), tried.own_best(1)) == (one, other)
    assert tried.chosen() == Trial(0.4, 0.2, 0.0, "replicate")  # 3 * 0.1 = 0.4 - 0.1, and not the mean's 0.3
    assert tried.regrets()[tried.chosen()] == pytest.approx(0.3)


def test_the_best_by_each_measure_are_measured_again() -> None:
    one, other = Trial(0.3, 0.2, 0.0, "replicate"), Trial(0.7, 0.2, 0.0, "replicate")
    tried = search(lambda trial: (distance(trial, one), distance(trial, other)))
    again = searching.finalists(tried)
    assert len(again) == len(set(again)) <= 3 * searching.FINALISTS
    assert {one, other, tried.chosen()} <= set(again)


def test_every_crop_of_the_search_is_one_of_the_contract() -> None:
    ends = [
        Trial(a, b, c, "clip") for a in LIMITS["across"] for b in LIMITS["along"] for c in LIMITS["shift"]
    ]
    for trial in (*searching.coarse(), *ends):
        crop = trial.crop("haar")
        assert crop.margin == tuple(round(m, 2) for m in crop.margin)
        assert max(crop.margin) < looking.REACH
    assert Trial(0.55, 0.2, -0.15, "replicate").crop("yunet") == Crop(
        "yunet", (0.55, 0.05, 0.55, 0.35), "replicate"
    )
    assert Trial(1.5, 0.2, 0, "clip").moved(across=0.05) is None


def test_a_map_is_a_square_around_the_chosen_one() -> None:
    places = around(Trial(1.4, 0.2, 0.1, "clip"), 2, 0.1)
    assert places[2][2] == Trial(1.4, 0.2, 0.1, "clip")
    assert places[0][1] == Trial(1.3, 0.0, 0.1, "clip")
    assert [row[4] for row in places] == [None] * 5


# Faces that are cut anew.


@pytest.mark.parametrize("border", BORDERS)
def test_what_is_kept_of_a_picture_gives_the_same_cuts(border: str) -> None:
    rng = np.random.default_rng(2)
    whole = rng.integers(0, 256, (400, 500, 3), np.uint8)
    for box in [(230.4, 190.3, 30.2, 36.9), (10.0, 380.0, 60.0, 70.0), (-8.5, -9.5, 40.0, 50.0)]:
        x, y, w, h = box
        top, bottom = looking._kept(y, h, 400)
        left, right = looking._kept(x, w, 500)
        part, moved = whole[top:bottom, left:right], (x - left, y - top, w, h)
        for at in [(1.5, 1.5, 0.6), (1.5, 1.5, -0.6), (-0.3, 0.3, 0.6), (0.4, 0.4, 0.0)]:
            crop = Trial(*at, border).crop("yunet")
            np.testing.assert_array_equal(crop_faces(part, [moved], crop), crop_faces(whole, [box], crop))


def test_errors_are_distances_to_the_label() -> None:
    faces = some_faces(4, spans=Spans.of([(30, 30), (30, 39), (70, np.inf), (4, 4)]))
    rows = np.arange(4)
    assert faces.binned
    assert faces.signed(np.array([28.0, 28, 60, 4.5]), rows).tolist() == [-2, -2, -10, 0.5]
    assert faces.signed(np.array([31.0, 40, 100, 0]), rows).tolist() == [1, 0, 0, -4]
    assert faces.signed(np.array([41.0]), rows[1:2]).tolist() == [1]


def test_halves_share_no_file_and_no_person() -> None:
    faces = some_faces(60, owners=np.arange(60) // 3)
    first, second = halves(faces, 7)
    assert sorted([*first.rows, *second.rows]) == list(range(60))
    assert not {*faces.owners[first.rows]} & {*faces.owners[second.rows]}
    assert len(first.rows) == len(second.rows) == 30
    assert first.rows.tolist() == halves(faces, 7)[0].rows.tolist() != halves(faces, 8)[0].rows.tolist()


def test_a_published_crop_is_looked_at_in_a_padded_picture(tmp_path: Path) -> None:
    """The astronaut's face alone fills the picture; what is found is in the picture's own pixels."""
    photo = read_picture(ASTRONAUT)
    whole = Cutter(ASTRONAUT.parent, Cut(detector="haar")).find(Record(Path(ASTRONAUT.name), 40))
    assert isinstance(whole, Found)
    x, y, w, h = (int(v) for v in whole.face.box)
    cv2.imwrite(str(tmp_path / "chip.png"), photo[y : y + h, x : x + w])
    chip = Cutter(tmp_path, Cut(detector="haar")).find(Record(Path("chip.png"), 40, face="crop"))
    assert isinstance(chip, Found)
    assert chip.picture.shape == (h, w, 3)
    np.testing.assert_allclose(np.array(chip.face.box), (0, 0, w, h), atol=0.15 * w)


def test_of_several_faces_the_central_one_is_meant(tmp_path: Path) -> None:
    photo = read_picture(ASTRONAUT)
    cv2.imwrite(str(tmp_path / "two.png"), np.hstack([photo, photo[:, :300]]))
    cutter = Cutter(tmp_path, Cut(detector="haar"))
    refused = cutter.find(Record(Path("two.png"), 40))
    assert isinstance(refused, Problem)
    assert refused.kind == "second face"
    central = cutter.find(Record(Path("two.png"), 40, face="central"))
    assert isinstance(central, Found)
    x, _, w, _ = central.face.box
    assert abs(x + w / 2 - (photo.shape[1] + 300) / 2) < (photo.shape[1] + 300) / 4


def test_faces_that_are_not_found_are_counted(photos: Path) -> None:
    (source,) = read_sets([str(photos)], None, 0)
    seen = look(source, "haar", Crop(), 1, looking.Console(quiet=True))
    assert len(seen) == LEAST + 1
    assert seen.missed == {"no face": 1}
    assert seen.today is not None
    assert seen.today.shape == (LEAST + 1, 64, 64, 3)
    assert look(source, "haar", ALIGNED, 1, looking.Console(quiet=True)).today is None
    few = source._replace(records=source.records[:LEAST])
    with pytest.raises(SsrError, match=r"39 faces found in 40 pictures, .* at least 40; .* 003.jpg: no face"):
        look(few, "haar", Crop(), 1, looking.Console(quiet=True))


# What is measured.


def test_correlation_has_bounds() -> None:
    rng = np.random.default_rng(3)
    ages = rng.uniform(0, 80, 300)
    answers = ages + rng.normal(0, 20, 300)
    found, bounds = correlation(answers, ages, np.arange(300))
    assert found == pytest.approx(np.corrcoef(answers, ages)[0, 1])
    assert bounds is not None
    assert bounds.low < found < bounds.high
    assert 0.02 < bounds.high - bounds.low < 0.15
    wide = correlation(answers, ages, np.arange(300) // 30)[1]
    assert wide is not None
    nothing, no_bounds = correlation(np.full(300, 5.0), ages, np.arange(300))
    assert np.isnan(nothing)
    assert no_bounds is None


def test_regret_is_paired() -> None:
    """Both cuts on the same faces: a constant difference has no scatter."""
    half = Half(some_faces(), np.arange(60))
    own = 30 + np.linspace(1, 20, 60)
    found = result("later", None, own + 2, half, own)
    assert found.regret == pytest.approx(2)
    assert found.regret_bounds is not None
    assert found.regret_bounds.low == pytest.approx(2)
    assert found.mae_bounds is not None
    assert found.mae_bounds.low < found.mae < found.mae_bounds.high


# The whole.


def calibrated(folder: Path) -> Bundle:
    """A bundle with intervals, and the record of them."""
    provenance = {"synthetic": True, INTERVAL_RECORD: {"data": "some"}, "source": "nobody"}
    interval = Interval(0.9, (30.0,), (5.0, 9.0))
    return random_bundle(folder, Architecture(), interval=interval, provenance=provenance)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return calibrated(tmp_path / "before")


class Fitted(NamedTuple):
    before: Bundle
    out: Path
    written: Bundle
    found: looking_at.Found


@pytest.fixture(scope="module")
def fitted(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    folder = tmp_path_factory.mktemp("fitted")
    before, out = calibrated(folder / "before"), folder / "after"
    return Fitted(before, out, *fit_crop(before.path, Wanted([str(photos)], None, 3, "haar", 1), out))


def test_a_new_bundle_has_the_same_weights_and_the_measured_crop(fitted: Fitted, photos: Path) -> None:
    before, out, written, found = fitted
    after = read_bundle(out)
    assert after.contract == written.contract
    assert after.contract.weights_sha256 == before.contract.weights_sha256
    assert after.contract.interface.crop == found.crop
    assert found.crop.box == "haar"
    assert replace(after.contract.interface, crop=Crop()) == before.contract.interface
    assert after.contract.interval is None
    assert after.contract.architecture == before.contract.architecture
    replay_all(after)
    provenance = after.contract.provenance
    assert provenance["source"] == "nobody"
    assert INTERVAL_RECORD not in provenance
    record = provenance[RECORD]
    assert record["command"] == f"ssr-train fit-crop {before.path} --data {photos} --seed 3 --box haar"
    (of_set,) = record["sets"]
    assert (of_set["name"], of_set["pictures"], of_set["missed"]) == (photos.name, LEAST + 2, {"no face": 1})
    assert of_set["searched"] + of_set["held_out"] == LEAST + 1
    told = (out / "crop.md").read_text()
    for word in (found.crop.describe(), "always saying the median", "anti-aliased", "are dropped", "×"):
        assert word in told, word
    numbers = json.loads((out / "crop.json").read_text())
    assert numbers["crop"] == found.crop.to_json()
    assert len(numbers["map"]) > 20
    assert (out / "crop.png").stat().st_size > 5000


def test_the_errors_told_are_those_of_the_cut_faces(fitted: Fitted, photos: Path) -> None:
    """Counted again here: the held-out half, cut by the chosen crop, from the pictures on the disk."""
    (source,) = read_sets([str(photos)], None, 3)
    cutter, engine = Cutter(source.root, Cut(detector="haar")), Engine(fitted.written)
    errors = []
    for record in source.records:
        seen = cutter.find(record)
        if isinstance(seen, Problem):
            continue
        age = float(engine.predict(crop_faces(seen.picture, [seen.face.box], fitted.found.crop))[0])
        low, high = record.ages or (record.age, record.age)
        assert high is not None
        errors.append(abs(age - low) if low == high else max(0.0, low - age, age - high - 1))
    held_out = halves(some_faces(len(errors)), 3)[1].rows
    results = {one.label.partition(":")[0]: one for one in fitted.found.sets[0].results}
    assert list(results) == [
        "none",
        "the bundle's",
        "the set's own best",
        "chosen",
        "chosen, anti-aliased (no contract says that)",
    ]
    assert results["chosen"].mae == pytest.approx(np.mean(np.array(errors)[held_out]), abs=1e-4)
    assert results["the bundle's"].crop == Crop()
    assert results["chosen"].regret == 0


@pytest.mark.parametrize("fits", [True, False])
def test_a_quantization_is_kept_where_it_fits(
    fits: bool, photos: Path, tmp_path: Path, small_grid: None
) -> None:
    before = quantized_bundle(tmp_path / "b", Architecture())
    if fits:
        before = calibrated_for_precisions(before, tmp_path / "fits")
    written, found = fit_crop(before.path, Wanted([str(photos)], box="haar", workers=1), tmp_path / "out")
    assert written.contract.quantization == (before.contract.quantization if fits else None)
    assert f"The quantization is {'kept' if fits else 'dropped'}" in (tmp_path / "out/crop.md").read_text()
    assert any("--force finds them anew" in note for note in found.notes) == fits


def test_bad_sets_are_refused_by_name(photos: Path, tmp_path: Path) -> None:
    few = tmp_path / "few"
    few.mkdir()
    (few / "labels.csv").write_text("file,age\na.jpg,4\n")
    (few / "a.jpg").touch()
    (tmp_path / "prepared").mkdir()
    (tmp_path / "prepared" / "prepared.json").touch()
    (tmp_path / "bare").mkdir()
    for named, message in [
        ([str(tmp_path / "nowhere")], "does not exist, expected a folder with labels.csv, or NAME=FOLDER"),
        ([str(tmp_path / "bare")], "an empty folder, and no labels.csv"),
        ([str(tmp_path / "prepared")], "a prepared set, whose faces are cut already"),
        ([f"utkface={tmp_path / 'prepared'}"], "a prepared set, whose faces are cut already"),
        ([f"utkfaces={photos}"], "'utkfaces' is no known set, expected one of: imdb, wiki"),
        ([f"utkface={tmp_path / 'nowhere'}"], "does not exist, expected the pictures of utkface"),
        (["utkface"], "say where it lies: --data utkface=FOLDER"),
        ([str(few)], "1 labelled faces, expected at least 40"),
        ([str(photos), str(photos)], "given twice"),
    ]:
        with pytest.raises(SsrError, match=message):
            read_sets(named, None, 0)
    for limit in (0, 39, -1):
        with pytest.raises(SsrError, match=f"--limit must be at least 40, got {limit}"):
            read_sets([str(photos)], limit, 0)
    assert len(read_sets([str(photos)], 41, 0)[0].records) == 41
    assert read_sets([str(photos)], 41, 0) != read_sets([str(photos)], 41, 1)
    for wrong in ({"data": []}, {"data": ["a"], "box": "dlib"}, {"data": ["a"], "workers": 0}):
        with pytest.raises(UsageError):
            Wanted(**wrong)


def test_bad_bundles_are_refused_and_nothing_is_written(
    photos: Path, bundle: Bundle, tmp_path: Path, small_grid: None
) -> None:
    male = random_bundle(tmp_path / "male", Architecture(value_range=1.0))
    (tmp_path / "taken").mkdir()
    before = sorted(tmp_path.rglob("*"))
    for path, out, data, message in [
        (male.path, "out", photos, "answers male (probability), expected ages"),
        (bundle.path, "taken", photos, "exists already and is not a bundle"),
        (bundle.path, "before", photos, "exists already"),
        (tmp_path / "nowhere", "out", photos, "does not exist"),
        (bundle.path, "out", tmp_path / "taken", "no labels.csv"),
    ]:
        done = CliRunner().invoke(
            app, ["fit-crop", str(path), "--data", str(data), "--out", str(tmp_path / out), "--box", "haar"]
        )
        assert isinstance(done.exception, SsrError), done.output
        assert message in str(done.exception)
        assert sorted(tmp_path.rglob("*")) == before


def test_the_command_teaches_and_reports(
    photos: Path, bundle: Bundle, tmp_path: Path, small_grid: None
) -> None:
    run = CliRunner()
    told = run.invoke(app, ["fit-crop", "--help"], env={"COLUMNS": "120"})
    assert "Examples:" in told.output
    out = str(tmp_path / "out")
    given = ["fit-crop", str(bundle.path), "--data", str(photos), "--out", out, "--box", "haar"]
    done = run.invoke(app, [*given, "--workers", "1", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["sets"][0]["name"] == photos.name
    assert run.invoke(app, ["fit-crop", str(bundle.path), "--out", out]).exit_code == 2
    assert run.invoke(app, [*given, "--box", "dlib"]).exit_code == 2


# The released networks.


def released_file(name: str) -> Path:
    """A released weight file, from a local folder or the cache, or skip the test."""
    found = find(name)
    if found is None:
        pytest.skip(f"the released file {name} is not here (SSR_WEIGHTS_DIR names its folder)")
    return found


@pytest.mark.parametrize("name", ["imdb", "wiki", "morph2", "megaface_asian"])
def test_released_age_networks_come_with_their_measured_crop(name: str) -> None:
    """As the table in benchmarks/results says."""
    contract, _ = import_keras(released_file(name))
    assert "fit-crop" in contract.provenance["crop"]
    table = (ROOT / "benchmarks/results/crop.md").read_text()
    assert f"| {name} | {contract.interface.crop.describe()} |" in table


@pytest.mark.parametrize("name", ["imdb_gender_models", "wiki_gender_models", "morph_gender_models"])
def test_released_gender_networks_keep_the_crop_of_the_demo(name: str) -> None:
    contract, _ = import_keras(released_file(name))
    assert contract.interface.crop == Crop()
    assert "not measured" in contract.provenance["crop"]


def test_a_portrait_cut_close_to_the_face_answers_much_as_the_whole_photo(tmp_path: Path) -> None:
    """A mean of at most 5 years with wiki, where the crop of contract version 1 has more than 6."""
    folder = material("real/portraits")
    bundle = write_bundle(tmp_path / "wiki", *import_keras(released_file("wiki")))
    engine, detector = Engine(bundle), YuNet(material("detectors/yunet_n_640_640.onnx"))
    moved: dict[str, list[float]] = {"measured": [], "version 1": []}
    for path in sorted(folder.glob("*.jpg")):
        photo = read_picture(path)
        (face, *_) = detector.detect(photo)
        x, y, w, h = face.box
        left, top = max(int(x - 0.12 * w), 0), max(int(y - 0.12 * h), 0)
        tight = photo[top : int(y + 1.12 * h) + 1, left : int(x + 1.12 * w) + 1]
        for name, crop in (("measured", bundle.contract.interface.crop), ("version 1", Crop())):
            whole = crop_faces(photo, [face.box], crop)
            close = crop_faces(tight, [(x - left, y - top, w, h)], crop)
            one, other = engine.predict(np.concatenate([whole, close])).tolist()
            moved[name].append(abs(one - other))
    assert len(moved["measured"]) > 200
    assert np.mean(moved["measured"]) <= 5
    assert np.mean(moved["version 1"]) > 6
