"""Labels that are bins of ages: from a folder through the prepared set to an error, or to a refusal."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ReleasedBundles
from prepared_sets import link_faces, write_set
from typer.testing import CliRunner

from ssr_bundle.bundle import read_bundle
from ssr_bundle.contract import Interval
from ssr_bundle.errors import SsrError
from ssr_ops import Engine
from ssr_ops.shipped import default_bundle
from ssr_train.cli import app
from ssr_train.data.cutting import Cut
from ssr_train.data.dataset import Dataset
from ssr_train.data.prepare import prepare
from ssr_train.data.prepared import INDEX, open_prepared, read_index, rows_of, write_index
from ssr_train.data.records import Record
from ssr_train.data.spans import Spans
from ssr_train.evaluation.asked import Asked, Source
from ssr_train.evaluation.evaluate import evaluate
from ssr_train.evaluation.intervals import measure_coverage
from ssr_train.evaluation.metrics import LEAST_IN_CELL, measure

BINS = [(0.0, 2.0), (10.0, 19.0), (30.0, 39.0), (70.0, math.inf)]


def row(number: int, low: float, high: float, sex: str = "") -> tuple[str, ...]:
    """Of an index with bins."""
    middle = low if math.isinf(high) else (low + high) / 2
    return (
        f"{number}.jpg",
        f"{middle:g}",
        "",
        sex,
        "",
        "",
        f"{low:g}",
        "" if math.isinf(high) else f"{high:g}",
    )


@pytest.fixture(scope="module")
def binned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared set of 40 grey pictures, ten of each of four bins, cut as the shipped bundle wants."""
    rows = [row(i, *BINS[i % 4], sex="mf"[i % 3 == 0]) for i in range(40)]
    crop = read_bundle(default_bundle()).contract.interface.crop
    return write_set(tmp_path_factory.mktemp("bins") / "set", rows, crop=crop)


def test_errors_and_intervals_go_to_the_bin() -> None:
    spans = Spans.of([(30, 30), (30, 39), (70, math.inf)])
    assert spans.binned.tolist() == [False, True, True]
    answers = np.array([[28.0, 28, 60], [31.0, 39.9, 100], [30.0, 41, 70]])
    signed = [(one - spans.nearest(one)).tolist() for one in answers]
    assert signed == [[-2, -2, -10], [1, 0, 0], [0, 1, 0]]
    low, high = np.array([25.0, 40.0, 60.0]), np.array([29.9, 50.0, 70.0])
    assert spans.overlap(low, high).tolist() == [False, True, True]
    assert [spans.name(i) for i in range(3)] == ["30", "30 to 39", "70 and over"]


def test_a_bin_that_holds_both_sides_of_an_age_is_on_neither() -> None:
    spans = Spans.of([(10, 19), (10, 17), (18, 19), (17.5, 17.5), (18, 18), (70, math.inf)])
    assert spans.known_under(18).tolist() == [False, True, False, True, False, False]
    assert spans.known_from(18).tolist() == [False, False, True, False, True, True]


def test_an_interval_that_overlaps_the_bin_holds_it() -> None:
    answers = np.array([20.0, 25.0, 28.0])
    interval, labels = Interval(0.9, (), (5.0,)), Spans.of([(30, 39), (30, 39), (10, 19)])
    found = measure_coverage(interval, answers, labels, (0.0, 101.0))
    assert (found.overall.hits, found.overall.count, found.wanted) == (1, 3, 0.9)


def test_the_index_carries_bins_only_where_there_are_some() -> None:
    exact = [Record(Path("a.jpg"), 30, sex="m"), Record(Path("b.jpg"), 31)]
    assert write_index(rows_of(exact)) == b"path,age,subject,sex,group,split\na.jpg,30,,m,,\nb.jpg,31,,,,\n"
    mixed = [*exact, Record(Path("c.jpg"), 34.5, ages=(30, 39)), Record(Path("d.jpg"), 70, ages=(70, None))]
    lines = write_index(rows_of(mixed)).decode().splitlines()
    assert lines[0] == "path,age,subject,sex,group,split,age_low,age_high"
    assert lines[1:] == ["a.jpg,30,,m,,,,", "b.jpg,31,,,,,,", "c.jpg,34.5,,,,,30,39", "d.jpg,70,,,,,70,"]


def test_bins_survive_a_prepared_set_and_change_its_hash(binned: Path, tmp_path: Path) -> None:
    faces = open_prepared(binned)
    assert faces.binned
    assert [(faces.spans.low[i], faces.spans.high[i]) for i in range(4)] == BINS
    others = write_set(tmp_path / "ages", [row(i, *BINS[i % 4], sex="mf"[i % 3 == 0])[:6] for i in range(40)])
    ages = open_prepared(others)
    assert not ages.binned
    assert (ages.ages == faces.ages).all()
    assert ages.labels_sha256 != faces.labels_sha256


@pytest.mark.parametrize(
    ("low", "high", "message"),
    [
        ("39", "30", "row 2: ages 39 to 30, expected a bin that rises"),
        ("30", "30", "row 2: ages 30 to 30, expected a bin that rises"),
        ("", "30", "row 2: age '', expected a finite number of years"),
        ("-1", "2", "row 2: age '-1', expected a finite number of years"),
        ("thirty", "", "row 2: age 'thirty', expected a finite number of years"),
    ],
)
def test_an_index_with_what_is_no_bin_is_refused(low: str, high: str, message: str, tmp_path: Path) -> None:
    rows = [row(0, 30, 39), ("1.jpg", "30", "", "", "", "", low, high)]
    with pytest.raises(SsrError, match=message):
        open_prepared(write_set(tmp_path / "set", rows))
    with pytest.raises(SsrError, match=r"expected path,age,.*of a set with bins also age_low,age_high"):
        read_index(b"path,age,subject,sex,group,split,age_low\n", tmp_path / INDEX)


def test_parts_of_an_evaluation_are_bins_and_bands() -> None:
    """A face of 34 stands in its band, one of 30 to 39 under its bin, whatever the bin's middle."""
    spans = Spans.of([(34, 34)] * 25 + [(30, 39)] * 25 + [(10, 19)] * 3)
    ages = spans.low.astype(np.float32)
    faces = Dataset(
        np.zeros((53, 4, 4, 3), np.uint8), ages, "made", False, "", sexes=np.array(["m"] * 53), spans=spans
    )
    found = measure(np.full(53, 44.0), faces, np.arange(53))
    parts = found.parts["age"]
    assert list(parts) == ["bin 10 to 19", "30 to <40", "bin 30 to 39"]
    assert [part.mae for part in parts.values()] == [24, 10, 4]
    assert [(cell.names, cell.count, cell.errors is None) for cell in found.cells] == [
        (("bin 10 to 19", "m"), 3, True),
        (("30 to <40", "m"), 25, False),
        (("bin 30 to 39", "m"), 25, False),
    ]
    data = found.to_json()["cells"]
    assert data[0] == {"age": "bin 10 to 19", "sex": "m", "count": 3, "errors": None}
    assert data[1]["errors"]["mae"] == 10


def test_the_report_says_what_errors_of_bins_are(binned: Path) -> None:
    found = evaluate(default_bundle(), Source(str(binned)), Asked())
    text = found.report().markdown()
    assert "Of a face with a bin of ages the error is the distance to the bin, 0 inside" in text
    assert "| bin 70 and over | 10 |" in text
    assert f"## By true age and sex; a dash: fewer than {LEAST_IN_CELL} images" in text
    assert "| bin 0 to 2 | m | 6 | - | - |" in text
    assert "Errors by group: the labels do not give it." in text
    assert found.to_json()["bins"] == 40
    answer = float(found.judged[0].answers[0])
    expected = [answer - float(np.clip(answer, low, high + 1)) for low, high in BINS]
    assert found.judged[0].metrics.overall.bias == pytest.approx(np.mean(expected))


@pytest.mark.parametrize(
    ("command", "what"),
    [
        (("calibrate", "BUNDLE", "--force", "--out", "OUT"), "calibrate"),
        (("gate", "BUNDLE", "--age", "18"), "gate"),
        (("fit", "--out", "OUT", "--epochs", "1", "--batch-size", "8"), "training"),
    ],
    ids=["calibrate", "gate", "fit"],
)
def test_what_needs_ages_refuses_bins(
    command: tuple[str, ...], what: str, binned: Path, tmp_path: Path
) -> None:
    places = {"BUNDLE": str(default_bundle()), "OUT": str(tmp_path / "out")}
    result = CliRunner().invoke(app, [*(places.get(word, word) for word in command), "--data", str(binned)])
    assert isinstance(result.exception, SsrError)
    expected = f"40 of the 40 labels are bins of ages, and {what} needs ages"
    assert expected in str(result.exception)
    assert str(binned) in str(result.exception)


def test_fairface_is_prepared_and_evaluated_by_its_bins(released: ReleasedBundles, tmp_path: Path) -> None:
    bundle = read_bundle(released("megaface_asian"))
    root = link_faces(tmp_path / "faces", "fairface", 24)
    cut = Cut(detector="yunet", crop=bundle.contract.interface.crop)
    prepare("folder", root, tmp_path / "set", cut, workers=1)
    faces = open_prepared(tmp_path / "set")
    assert faces.spans.binned.all()
    found = evaluate(bundle.path, Source(str(tmp_path / "set")), Asked()).judged[0].metrics
    answers: Any = Engine(bundle).predict(np.ascontiguousarray(faces.images)).astype(np.float64)
    below, above = faces.spans.low - answers, answers - faces.spans.above
    distance = np.maximum(np.maximum(below, above), 0)
    assert found.overall.mae == pytest.approx(distance.mean())
    assert found.overall.mae < np.abs(answers - faces.ages).mean()
