"""The cut of a set: recorded, measured where others cut, held against what weights want, and served."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from chips import copy_portraits, make_chips, portraits
from conftest import ReleasedBundles, Serve
from rich.console import Console
from ssr_client.client import AgeClient
from typer.testing import CliRunner

from ssr_bundle.bundle import read_bundle
from ssr_bundle.contract import Crop, Template
from ssr_bundle.errors import SsrError
from ssr_ops import Engine
from ssr_ops.golden import write_bundle
from ssr_train.cli import app
from ssr_train.data.cut_of import check_cut, read_crop, same_cut
from ssr_train.data.cutting import ALIGNED, PLAIN, Cut
from ssr_train.data.doctor import Diagnosis
from ssr_train.data.measured_cut import LEAST, MeasuredCut, Seen, measure
from ssr_train.data.prepare import prepare
from ssr_train.data.prepared import open_prepared, read_index

COUNT, ALL = 48, 208
"""Portraits of a set; of one whose mean answer is judged."""
TIGHT = Crop(margin=(0.1, -0.15, 0.11, 0.02), border="replicate")
"""About as UTKFace's chips are cut."""
TEMPLATE = Template(((60.0, 58.0), (139.0, 59.0), (98.0, 104.0), (64.0, 136.0), (134.0, 136.0)), 200)
UPRIGHT = Crop(border="replicate", template=TEMPLATE)

QUIET = Console(quiet=True)


def prepared(name: str, root: Path, out: Path, **cut: Any) -> Path:
    prepare(name, root, out, Cut(**cut), workers=1, console=QUIET)
    return out


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Prepared sets of the same portraits by name: how their faces were cut, and by whom."""
    folder = tmp_path_factory.mktemp("cut")

    def make(name: str) -> Path:
        out = folder / name
        if out.exists():
            return out
        if name in ("by margins", "aligned"):  # published crops, used as they are
            crop = TIGHT if name == "by margins" else UPRIGHT
            chips = make_chips(folder / f"{name} chips", crop, ALL, turned=name == "aligned")
            return prepared("utkface", chips, out)
        crop = {"detected": None, "detected tight": TIGHT, "detected aligned": UPRIGHT}[name]
        photos = folder / f"{name} photos"
        copy_portraits(photos, COUNT, turned=name == "detected aligned")
        return prepared("folder", photos, out, detector="yunet", crop=crop)

    return make


# What is recorded.


def test_margins_of_published_crops_are_measured(sets: Callable[[str], Path]) -> None:
    data = open_prepared(sets("by margins"))
    assert data.crop is not None
    assert (data.crop.box, data.crop.border, data.crop.alignment) == ("yunet", "replicate", "none")
    np.testing.assert_allclose(data.crop.margin, TIGHT.margin, atol=0.04)
    found = Diagnosis.load(sets("by margins")).cut
    assert found is not None
    assert (found.looked_at, found.taken) == (ALL, "margin")
    assert found.one_face >= 0.95 * ALL
    page = (sets("by margins") / "doctor.md").read_text()
    assert "How the published crops were cut" in page
    assert "recorded cut" in page


def test_landmarks_of_aligned_crops_are_measured(sets: Callable[[str], Path]) -> None:
    data = open_prepared(sets("aligned"))
    assert data.crop is not None
    assert data.crop.template is not None
    found = np.array(data.crop.template.points) / data.crop.template.size
    np.testing.assert_allclose(found, np.array(TEMPLATE.points) / TEMPLATE.size, atol=0.04)
    diagnosis = Diagnosis.load(sets("aligned")).cut
    assert diagnosis is not None
    assert diagnosis.taken == "landmarks"
    assert diagnosis.spread["landmarks"] < diagnosis.spread["margin"]


def test_a_detected_cut_is_recorded_as_it_was_asked_for(sets: Callable[[str], Path]) -> None:
    assert open_prepared(sets("detected")).crop == PLAIN
    assert open_prepared(sets("detected tight")).crop == TIGHT
    assert open_prepared(sets("detected aligned")).crop == UPRIGHT


def test_recut_cuts_published_crops_by_the_detector(tmp_path: Path) -> None:
    chips = make_chips(tmp_path / "chips", TIGHT, 6)
    out = prepared("utkface", chips, tmp_path / "out", recut=True, detector="yunet", crop=PLAIN)
    data = open_prepared(out)
    assert data.crop == PLAIN
    assert "faces by YuNet: yunet box + 0.4 x 0.4 on each side, border repeated" in data.description
    for picture in data.images:  # the chip ends at the brow: above it, its first row is repeated
        assert np.abs(np.diff(picture[:8].astype(float), axis=0)).max() <= 1


def seen(crop: Crop, wobble: float, count: int = 60, landmarks: bool = True) -> list[Seen]:
    """Crops of 100 x 100 cut by ``crop``, whose boxes and landmarks a detector finds about right."""
    rng = np.random.default_rng(0)
    left, top, right, bottom = crop.margin
    w, h = 100 / (1 + left + right), 100 / (1 + top + bottom)
    shape = np.array(ALIGNED.template.points if ALIGNED.template else ()) / 100 * 60 + 20
    found = []
    for _ in range(count):
        x, y = left * w + rng.normal(0, wobble), top * h + rng.normal(0, wobble)
        points = tuple((float(a), float(b)) for a, b in shape + rng.normal(0, wobble, 2))
        found.append(Seen(100, 100, 1, (x, y, w, h), points if landmarks else None))
    return found


def test_neither_steady_is_said_and_no_cut_is_recorded() -> None:
    wild = measure(seen(PLAIN, wobble=40.0))
    assert wild.taken is None
    assert wild.crop is None
    assert wild.rows()[-1] == (
        "recorded cut",
        "none, neither spreads less than 0.1 sides: --recut cuts the faces anew",
    )
    few = measure(seen(PLAIN, 1.0, LEAST - 1))
    assert few.crop is None
    assert "too few faces" in few.rows()[-1][1]
    nobody = measure([Seen(100, 100, 0), Seen(100, 100, 2)] * 30)
    assert (nobody.looked_at, nobody.one_face, nobody.crop) == (60, 0, None)


def test_without_landmarks_the_margins_tell_the_cut() -> None:
    found = measure(seen(PLAIN, 0.5, landmarks=False))
    assert found.taken == "margin"
    assert found.landmarks == {}
    assert found.crop is not None
    assert same_cut(found.crop, PLAIN)


def test_crops_that_are_not_square_are_told_by_margins() -> None:
    wide = [one._replace(height=80) for one in seen(PLAIN, 0.5)]
    assert measure(wide).landmarks == {}


def test_a_measured_cut_survives_its_json() -> None:
    found = measure(seen(PLAIN, 2.0))
    assert MeasuredCut.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_a_set_without_a_face_records_no_cut(tmp_path: Path) -> None:
    folder = tmp_path / "UTKFace"
    folder.mkdir()
    for number in range(30):
        noise = np.random.default_rng(number).integers(0, 256, (200, 200, 3), np.uint8)
        cv2.imwrite(str(folder / f"30_0_0_2017{number:013}.jpg.chip.jpg"), noise)
    out = prepared("utkface", folder, tmp_path / "out")
    assert open_prepared(out).crop is None
    with pytest.raises(SsrError, match=r"does not record how its faces were cut.*--recut"):
        check_cut(PLAIN, open_prepared(out), "--data X", "weights")
    with pytest.raises(SsrError, match=r"none of 30 pictures can be used; the first: .*: no face"):
        prepared("utkface", folder, tmp_path / "recut", recut=True, detector="yunet")
    result = CliRunner().invoke(
        app, ["fit", "--data", str(out), "--out", str(tmp_path / "run"), "--epochs", "1", "--batch-size", "8"]
    )
    assert result.exit_code == 1
    assert "does not record how its faces were cut" in str(result.exception)
    assert not (tmp_path / "run").exists()


# What is refused.


def test_the_same_cut() -> None:
    assert same_cut(PLAIN, PLAIN)
    assert same_cut(TIGHT, replace(TIGHT, margin=(0.11, -0.16, 0.1, 0.03)))
    assert not same_cut(TIGHT, replace(TIGHT, margin=(0.13, -0.15, 0.11, 0.02)))
    assert not same_cut(PLAIN, Crop())
    assert not same_cut(PLAIN, replace(PLAIN, box="haar"))
    assert not same_cut(PLAIN, ALIGNED)
    halved = Template(tuple((x / 2, y / 2) for x, y in TEMPLATE.points), TEMPLATE.size // 2)
    assert same_cut(UPRIGHT, replace(UPRIGHT, template=halved))
    assert not same_cut(UPRIGHT, ALIGNED)


@pytest.mark.parametrize("command", ["evaluate", "calibrate", "gate", "fit"])
def test_another_cut_is_refused(
    command: str, sets: Callable[[str], Path], released: ReleasedBundles, tmp_path: Path
) -> None:
    bundle = released("megaface_asian")
    words = {
        "evaluate": ["evaluate", str(bundle)],
        "calibrate": ["calibrate", str(bundle), "--out", str(tmp_path / "out")],
        "gate": ["gate", str(bundle), "--age", "50"],
        "fit": [
            "fit",
            "--init",
            str(bundle),
            "--out",
            str(tmp_path / "out"),
            "--batch-size",
            "8",
            "--epochs",
            "1",
        ],
    }[command]
    result = CliRunner().invoke(app, [*words, "--data", str(sets("detected tight"))])
    assert result.exit_code == 1
    told = str(result.exception)
    assert "is cut otherwise than" in told
    assert "left, -0.15 top" in told
    assert f"ssr-train prepare --recut --crop {bundle}" in told
    assert not (tmp_path / "out").exists()


def test_a_crop_is_read_from_wherever_it_is(
    sets: Callable[[str], Path], released: ReleasedBundles, tmp_path: Path
) -> None:
    bundle = released("megaface_asian")
    assert read_crop(bundle) == read_bundle(bundle).contract.interface.crop
    assert read_crop(sets("detected tight")) == TIGHT
    (tmp_path / "crop.json").write_text(json.dumps(UPRIGHT.to_json()))
    assert read_crop(tmp_path / "crop.json") == UPRIGHT
    (tmp_path / "bad.json").write_text(json.dumps({**TIGHT.to_json(), "margin": [9, 9, 9, 9]}))
    for path, message in (
        (tmp_path / "bad.json", "margin: expected two numbers in"),
        (tmp_path / "gone", "expected a bundle, a prepared set, or a JSON file"),
        (tmp_path, "not a prepared set"),
    ):
        with pytest.raises(SsrError, match=message):
            read_crop(path)
    (tmp_path / "text.json").write_text("no JSON")
    with pytest.raises(SsrError, match="expected a bundle, a prepared set, or a JSON file"):
        read_crop(tmp_path / "text.json")


def test_a_cut_that_contradicts_itself() -> None:
    for keywords, message in (
        ({"align": "similarity", "crop": PLAIN}, "--align and --crop contradict each other"),
        ({"crop": UPRIGHT, "detector": "haar"}, "the Haar cascade finds none; use --detector yunet"),
        ({"recut": True, "detector": "none"}, "--recut looks for the faces anew"),
    ):
        with pytest.raises(SsrError, match=message):
            Cut(**keywords)  # type: ignore[arg-type]


def test_a_network_is_quantized_on_a_set_of_its_cut(
    sets: Callable[[str], Path], released: ReleasedBundles, tmp_path: Path
) -> None:
    given = read_bundle(released("megaface_asian"))
    data = sets("detected tight")
    words = ["quantize", "--data", str(data), "--count", "32"]
    refused = CliRunner().invoke(app, [*words, str(given.path), "--out", str(tmp_path / "out")])
    assert "is cut otherwise than" in str(refused.exception)
    interface = replace(given.contract.interface, crop=TIGHT)
    bundle = write_bundle(
        tmp_path / "tight", replace(given.contract, interface=interface), given.parameters()
    )
    few = CliRunner().invoke(app, [*words, str(bundle.path), "--out", str(tmp_path / "out")])
    assert f"{COUNT} pictures of 64 x 64, expected at least 64 (twice --count)" in str(few.exception)
    assert not (tmp_path / "out").exists()


# What is served: the bundle says the set's cut, and the client cuts whole photos so.


@pytest.mark.server
@pytest.mark.parametrize(
    ("name", "exact"),
    [
        ("detected", True),
        ("detected tight", True),
        ("detected aligned", True),
        ("by margins", False),
        ("aligned", False),
    ],
)
def test_whole_photos_are_answered_as_prepared_pictures(
    name: str,
    exact: bool,
    sets: Callable[[str], Path],
    released: ReleasedBundles,
    serve: Serve,
    tmp_path: Path,
) -> None:
    """Of faces that our detector cut the served answers are within half a year in the mean; of crops that
    others cut, within half a year on balance."""
    data = open_prepared(sets(name))
    assert data.crop is not None
    given = read_bundle(released("morph2"))
    interface = replace(given.contract.interface, crop=data.crop)
    bundle = write_bundle(
        tmp_path / "bundle", replace(given.contract, interface=interface), given.parameters()
    )
    paths = read_index((sets(name) / "index.csv").read_bytes(), sets(name) / "index.csv")["path"]
    order = np.argsort([path[-26:] for path in paths])  # of a chip: its number, after age and sex
    expected = Engine(bundle).predict(np.asarray(data.images)[order])
    with AgeClient(serve({"ssrnet": bundle.path}).grpc_url, detector="yunet") as client:
        faces = [
            client.predict_photo(picture) for _, _, picture in portraits(len(data), turned="aligned" in name)
        ]
    answers = np.array([max(found, key=lambda face: face.box[2]).age for found in faces])
    differences = answers - expected
    print(f"{name}: mean {differences.mean():+.3f}, absolute {np.abs(differences).mean():.3f} years")
    if exact:
        assert np.abs(differences).mean() <= 0.5
    else:
        assert abs(differences.mean()) <= 0.5
