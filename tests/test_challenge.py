"""``ssr-train challenge``: who passes under age, by hand, as a command, and what it refuses."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prepared_sets import write_set
from test_bins import row
from typer.testing import CliRunner

from ssr_bundle.bundle import read_bundle
from ssr_bundle.errors import SsrError
from ssr_ops.shipped import default_bundle
from ssr_train.cli import app
from ssr_train.data.spans import Spans
from ssr_train.evaluation import challenge
from ssr_train.evaluation.asked import Source
from ssr_train.evaluation.challenge import People, Row, measure_challenge


def made(folder: Path, rows: list[tuple[Any, ...]]) -> str:
    return str(write_set(folder, rows, crop=read_bundle(default_bundle()).contract.interface.crop))


def ages(*given: float) -> list[tuple[Any, ...]]:
    """Rows of an index: sexes in turn, two groups."""
    return [(f"{i}.jpg", age, "", "mf"[i % 2], "ab"[i // 2 % 2], "") for i, age in enumerate(given)]


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the network is made to answer."""
    said: list[float] = []
    monkeypatch.setattr(challenge, "ask", lambda *_: np.array(said))
    return said


def test_rates_by_hand() -> None:
    labels = Spans.of([(14, 14), (17.9, 17.9), (18, 18), (25, 25), (30, 30), (13, 13), (10, 19), (10, 13)])
    people = People.of(labels, 14, 18)
    assert people.minors.tolist() == [True, True, *[False] * 6]
    assert people.left_out == 1
    answers = np.array([25.0, 24.9, 30, 24, 31, 40, 40, 40])
    found = Row.of("all", np.ones(8, np.bool_), answers, labels, people.minors, (18, 25))
    assert (found.passed[25].hits, found.passed[25].count) == (1, 2)
    assert (found.asked[25].hits, found.asked[25].count) == (1, 2)
    assert (found.passed[18].hits, found.asked[18].count) == (2, 3)


def test_the_rows_are_everybody_the_groups_the_sexes_and_both(answers: list[float], tmp_path: Path) -> None:
    answers += [30, 20, 30, 20, 30, 20, 30, 20]
    data = made(tmp_path / "set", ages(16, 16, 16, 16, 40, 40, 40, 40))
    found = measure_challenge(default_bundle(), Source(data))
    names = ["everybody", "a", "b", "f", "m", "a, f", "b, f", "a, m", "b, m"]
    assert [line.name for line in found.rows] == names
    assert [line.name for line in found.lines] == ["everybody", "a", "b"]
    by = {line.name: line for line in found.rows}
    assert (by["m"].passed[25].value, by["f"].passed[25].value, by["a"].passed[25].value) == (1, 0, 0.5)
    assert (by["m"].asked[25].value, by["f"].asked[25].value) == (0, 1)
    assert list(by["m"].passed) == [float(age) for age in range(18, 31)]
    text = found.report().markdown()
    assert "| everybody | 4 | 100.0 [39.8, 100.0] |" in text
    assert "people of 25 and over who are asked for proof: 50.00%" in text


def test_faces_whose_bin_holds_the_legal_age_are_left_out_and_counted(
    answers: list[float], tmp_path: Path
) -> None:
    answers += [30, 30, 30, 30]
    rows = [row(0, 10, 19), row(1, 14, 17), row(2, 20, 29), row(3, 70, math.inf)]
    found = measure_challenge(default_bundle(), Source(made(tmp_path / "set", rows)))
    everybody = found.rows[0]
    assert (found.left_out, everybody.passed[25].count) == (1, 1)
    assert everybody.asked[25].count == 1
    assert found.adults_asked.count == 2
    text = found.report().markdown()
    assert "left out: 1 faces whose bin of ages holds both sides of 14 or of 18; where it holds both" in text
    assert "by sex and group: the labels do not give it" in text


@pytest.mark.parametrize(
    ("rows", "keywords", "message"),
    [
        (ages(16, 30), {"challenge": 17}, "--challenge must be at least the legal age of 18 and below 101"),
        (ages(16, 30), {"challenge": 101}, "--challenge must be at least the legal age of 18 and below 101"),
        (ages(16, 30), {"challenge": math.nan}, "--challenge must be at least .*, got nan"),
        (ages(16, 30), {"age": 0}, "--age must lie between 0 and 101 years, got 0"),
        (ages(16, 30), {"youngest": 18}, "--youngest must lie between 0 and the legal age of 18, got 18"),
        (ages(16, 30), {"youngest": -1}, "--youngest must lie between 0 and the legal age of 18, got -1"),
        (ages(20, 30), {}, "none of the 2 faces is known to be of 14 to <18 years$"),
        (ages(3, 30), {}, "none of the 2 faces is known to be of 14 to <18 years$"),
        ([row(0, 10, 19), row(1, 20, 29)], {}, "<18 years; left out, with a bin that holds both sides: 1"),
        ([("0.jpg", "", "", "", "", "")], {}, "row 1: age '', expected a finite number of years"),
    ],
)  # fmt: skip
def test_what_cannot_be_counted_is_refused(
    rows: list[tuple[Any, ...]], keywords: dict[str, float], message: str, tmp_path: Path
) -> None:
    with pytest.raises(SsrError, match=message):
        measure_challenge(default_bundle(), Source(made(tmp_path / "set", rows)), **keywords)


def test_the_command_writes_table_numbers_and_picture(tmp_path: Path) -> None:
    help_text = CliRunner().invoke(app, ["challenge", "--help"], env={"COLUMNS": "200"}).stdout
    assert "challenge T" in help_text
    assert "NIST" in help_text
    data = made(tmp_path / "set", ages(*[15.0, 16, 17, 40] * 4))
    given = ["challenge", str(default_bundle()), "--data", data, "--out", str(tmp_path / "out"), "--json"]
    result = CliRunner().invoke(app, given)
    assert result.exit_code == 0, result.output
    numbers = json.loads((tmp_path / "out/challenge.json").read_text())
    assert numbers["rows"][0]["passed"]["25"]["count"] == 12
    assert numbers["rows"][0]["asked_for_proof"]["18"]["count"] == 4
    assert (tmp_path / "out/challenge.png").read_bytes().startswith(b"\x89PNG")
    assert (
        "Under age (14 to <18 years) and estimated at T or older"
        in (tmp_path / "out/challenge.md").read_text()
    )
