"""Intervals that keep their coverage on several sets, and in each group of people."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from prepared_sets import write_set
from typer.testing import CliRunner

from ssr_bundle.bundle import read_bundle
from ssr_bundle.contract import Interval
from ssr_bundle.errors import SsrError, UsageError
from ssr_ops import reference
from ssr_ops.shipped import default_bundle
from ssr_train.cli import app
from ssr_train.data.spans import Spans
from ssr_train.data.synthetic import draw_faces
from ssr_train.evaluation.asked import Asked, Source
from ssr_train.evaluation.calibrate import calibrate_bundle
from ssr_train.evaluation.calibrating import RECORD
from ssr_train.evaluation.evaluate import evaluate
from ssr_train.evaluation.intervals import calibrate, measure_coverage, widest

CLIP = (0.0, 101.0)


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Two prepared sets of drawn faces. Of the first, group b's labels are wrong by up to 30 years; the
    second gives no group."""
    folder = tmp_path_factory.mktemp("sets")
    crop = read_bundle(default_bundle()).contract.interface.crop
    faces = draw_faces(1000, seed=77)
    wrong = np.random.default_rng(0).uniform(-30, 30, 1000) * (np.arange(1000) % 3 == 0)
    ages = np.clip(faces.ages + wrong, 0, 100)
    rows = [
        (f"{i}.png", f"{age:.2f}", "", "mf"[i % 2], "ab"[i % 3 == 0] if i < 700 else "", "")
        for i, age in enumerate(ages)
    ]
    first = write_set(folder / "first", rows[:700], faces.images[:700], crop)
    rest = [(*row[:4], "", "") for row in rows[700:]]
    return str(first), str(write_set(folder / "second", rest, faces.images[700:], crop))


def test_the_widest_by_hand() -> None:
    one = Interval(0.9, (20.0, 40.0), (5.0, 6.0, 9.0))
    two = Interval(0.9, (30.0,), (7.0, 4.0))
    assert widest([one, two]) == Interval(0.9, (20.0, 30.0, 40.0), (7.0, 7.0, 6.0, 9.0))
    assert widest([one]) == one
    answers = np.array([0.0, 19.9, 20, 29.9, 30, 39.9, 40, 101])
    outer = reference.interval(widest([one, two]), answers, CLIP)
    for interval in (one, two):
        inner = reference.interval(interval, answers, CLIP)
        assert (outer[:, 0] <= inner[:, 0]).all()
        assert (outer[:, 1] >= inner[:, 1]).all()
    with pytest.raises(ValueError, match="unpack"):
        widest([one, Interval(0.8, (), (1.0,))])


def test_the_widest_keeps_the_coverage_where_pooling_loses_it() -> None:
    """A small population with errors of 12 years among a large one with errors of 4."""
    rng = np.random.default_rng(5)

    def sample(n: int, spread: float) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
        ages = rng.uniform(0, 100, n)
        return ages + rng.normal(0, spread, n), ages

    pooled, kept = [], []
    for _ in range(40):
        large, small, new = sample(2000, 4), sample(200, 12), sample(1000, 12)
        together = calibrate(*(np.concatenate(pair) for pair in zip(large, small, strict=True)), 0.9)[0]
        each = widest([calibrate(*large, 0.9)[0], calibrate(*small, 0.9)[0]])
        for interval, found in ((together, pooled), (each, kept)):
            found.append(measure_coverage(interval, new[0], Spans.exact(new[1]), CLIP).overall.value)
    assert np.mean(pooled) < 0.8
    assert np.mean(kept) > 0.89


def test_each_group_and_each_set_is_calibrated_and_measured(sets: tuple[str, str], tmp_path: Path) -> None:
    first, second = sets
    source = Source(first)
    plain = calibrate_bundle(default_bundle(), source, 0.9, tmp_path / "plain", force=True)
    kept = calibrate_bundle(
        default_bundle(), source, 0.9, tmp_path / "kept", also=[second], each=["group", "sex"], force=True
    )
    before, after = (one.contract.provenance[RECORD] for one in (plain, kept))
    assert before["method"] == "split conformal by band of answers"
    assert (before["also"], before["parts"], before["each"]) == ([], [], [])
    assert after["method"].endswith(
        "the widest of 6"
    )  # both sets whole, groups a and b, m and f of the first
    parts = {part["name"]: part for part in after["parts"]}
    assert list(parts) == ["group a", "group b", "sex f", "sex m"]
    assert all(part["calibrated"] for part in parts.values())
    assert not any(part["calibrated"] for part in after["also"][0]["parts"])  # 75 faces of each sex
    bad = parts["group b"]["held_out"]
    assert bad["hits"] / bad["count"] > 0.85
    a, b = plain.contract.interval, kept.contract.interval
    assert a is not None
    assert b is not None
    answers = np.linspace(0, 101, 50)
    widths = [np.diff(reference.interval(one, answers, CLIP), axis=1) for one in (a, b)]
    assert (widths[1] >= widths[0]).all()
    text = CliRunner().invoke(app, ["card", str(kept.path)]).stdout
    assert text.count("Calibrated on: made:") == 2
    assert "Of group b: " in text
    for where in sets:
        lines = evaluate(kept.path, Source(where), Asked()).selection.lines
        assert any("some of these pictures calibrated the intervals" in line for line in lines)


def test_what_cannot_be_kept_is_refused(sets: tuple[str, str], tmp_path: Path) -> None:
    first, second = sets
    out = tmp_path / "out"
    for data, also, each, error, text in (
        (first, [], ["age"], UsageError, "--each age: unknown, expected one of: sex, group"),
        (second, [], ["group"], SsrError, "--each group: the labels of made do not give it"),
        (first, [first], [], SsrError, "--also: the same labelled faces were given twice"),
        (first, ["synthetic"], [], SsrError, "--also synthetic: drawn faces say nothing of photos"),
        (None, [first], [], SsrError, "--also names further sets; name the first one by --data"),
        (first, [str(tmp_path / "no")], [], SsrError, "no: unknown, expected one of"),
    ):
        with pytest.raises(error, match=text):
            calibrate_bundle(default_bundle(), Source(data), 0.9, out, also=also, each=each, force=True)
    assert not out.exists()
