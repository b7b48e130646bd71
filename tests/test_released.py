"""What the released networks are worth: one set of numbers, in results/, in the package and on the card."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from conftest import ROOT, ReleasedBundles

from ssr_bundle.bundle import read_bundle
from ssr_bundle.contract import Contract, Crop, Recalibration
from ssr_bundle.fetch import ASSETS
from ssr_ops.shipped import default_bundle
from ssr_train.data.spans import Spans
from ssr_train.evaluation import released as measured
from ssr_train.evaluation.card import card

RESULTS = ROOT / "benchmarks/results"
NETWORKS = ("imdb", "wiki", "morph2", "megaface_asian")


def card_of(contract: Contract) -> str:
    return card(replace(read_bundle(default_bundle()), contract=contract))


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    pytest.importorskip("torch")
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import real_faces

    return real_faces


@pytest.fixture(scope="module")
def numbers() -> Any:
    return json.loads((RESULTS / "real-faces.json").read_text())


def contract_of(name: str) -> Contract:
    """As a bundle of the released file ``name`` has it, for what a card says of it."""
    contract = read_bundle(default_bundle()).contract
    crop = Crop.from_json(measured.facts()["networks"][name]["crop"])
    provenance = {"source_sha256": ASSETS[name].sha256}
    return replace(contract, interface=replace(contract.interface, crop=crop), provenance=provenance)


def test_the_table_and_the_package_hold_the_numbers_of_the_benchmark(
    benchmark: ModuleType, numbers: Any
) -> None:
    assert benchmark.markdown(numbers) == (RESULTS / "real-faces.md").read_text()
    assert benchmark.card_facts(numbers) == measured.facts()
    for name in ("real-faces.md", "real-faces.json", "real-faces.png"):
        assert (RESULTS / name).stat().st_size < 300_000


def test_every_released_age_network_is_measured(numbers: Any) -> None:
    networks = measured.facts()["networks"]
    assert tuple(networks) == NETWORKS
    for name, found in networks.items():
        assert found["source_sha256"] == ASSETS[name].sha256
        assert found["errors"]["portraits"]["age"]["70 and over"]["bias"] < -5  # they come out young
        assert abs(found["coverage"]["utkface"] - 0.9) <= 0.02
    titles = [line for line in (RESULTS / "real-faces.md").read_text().splitlines() if line.startswith("## ")]
    of_utkface = [line for line in titles if "UTKFace" in line or "Under age" in line]
    assert all("identities unknown, training sets may overlap" in line for line in of_utkface)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_card_shows_what_the_released_weights_are_worth(name: str) -> None:
    text = card_of(contract_of(name))
    assert "## What the released weights are worth on real faces" in text
    found = measured.facts()["networks"][name]["errors"]
    whole, oldest = found["utkface"]["all"], found["portraits"]["age"]["70 and over"]
    assert f"| **UTKFace** | {whole['count']:,} | {whole['mae']:.1f} [" in text
    assert f"| portraits, age 70 and over | {oldest['count']} | {oldest['mae']:.1f} [" in text
    assert f"| {oldest['bias']:+.1f} |" in text
    assert "are estimated at 25 or older and would pass as adults" in text
    assert "Identities are unknown" in text
    assert "Measured with another crop" not in text


def test_a_card_says_where_the_numbers_are_of_another_crop_or_map() -> None:
    contract = contract_of("imdb")
    other = replace(contract.interface, crop=Crop(margin=(0.1, 0.1, 0.1, 0.1)))
    assert "Measured with another crop than this bundle's" in card_of(replace(contract, interface=other))
    mapped = replace(contract, recalibration=Recalibration((0.0, 101.0), (0.0, 101.0)))
    assert "Measured without this bundle's recalibration" in card_of(mapped)


def test_a_card_of_other_weights_shows_none_of_it(released: ReleasedBundles) -> None:
    for provenance in ({}, {"source_sha256": "0" * 64}):
        assert measured.of(replace(contract_of("imdb"), provenance=provenance)) == []
    assert "What the released weights are worth" not in card(read_bundle(default_bundle()))
    assert "What the released weights are worth" in card(read_bundle(released("morph2")))


def test_weighted_intervals_of_even_weights_are_the_plain_ones(benchmark: ModuleType) -> None:
    from _coverage import Answered, weighted  # type: ignore[import-not-found]

    rng = np.random.default_rng(0)
    ages = np.repeat(np.arange(9) * 10 + 5.0, 100)
    faces = Answered(ages + rng.normal(0, 5, len(ages)), Spans.exact(ages), {})
    even, plain = weighted(faces), faces.calibrated()
    assert even.edges == plain.edges
    np.testing.assert_allclose(even.half_widths, plain.half_widths, atol=1e-3)


def test_the_numbers_travel_with_the_package() -> None:
    assert measured.FACTS.is_relative_to(Path(measured.__file__).parent)
    assert measured.FACTS.stat().st_size < 100_000


def test_the_readme_quotes_the_tables() -> None:
    def rows(of: str) -> list[list[str]]:
        part = (ROOT / "README.md").read_text().partition(f"## {of}\n")[2].partition("\n## ")[0]
        lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in part.splitlines()]
        return [cells for cells in lines if cells and not cells[0].startswith("---")][1:]

    faces = (RESULTS / "real-faces.md").read_text()
    worth = rows("What is an age worth?")
    assert len(worth) > 5
    for _, *cells in worth:
        assert f"| {' | '.join(cells)} |" in faces
    engines = {
        slug: (RESULTS / f"engine-{slug}.md").read_text()
        for slug in ("intel-xeon-family-6-model-167", "amd-epyc-family-23-model-49")
    }
    speeds = rows("How fast?")
    assert len(speeds) > 5
    for name, *cells in speeds:
        for table, (one, many) in zip(engines.values(), (cells[:2], cells[2:]), strict=True):
            if one:
                kind = name.partition(" (")[0].strip("*")
                quoted = [line for line in table.splitlines() if kind in line and f" {one} |" in line]
                assert any(f"| {many} |" in line for line in quoted), (name, one, many)
