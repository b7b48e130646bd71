"""precision="auto": the quickest arithmetic here among those that keep the tolerance of their bundle."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ssr_ops
from ssr_bundle.bundle import Bundle, copy_bundle, read_bundle
from ssr_bundle.contract import Recalibration
from ssr_bundle.errors import SsrError
from ssr_bundle.tolerances import required
from ssr_ops.shipped import default_bundle
from triton_repo.config import Options
from triton_repo.repository import build

KEPT = {"fp32": 1000.0, "bf16": 2000.0, "int8": 3000.0}
CLOSE = {"mean": 0.0, "signed": 0.0, "p99": 0.0, "max": 0.0}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SSR_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SSR_FORCE_IMPLEMENTATION", raising=False)
    return tmp_path / "cache"


_count: Iterator[int] = iter(range(1 << 30))


def another(folder: Path, drift: Any = None, **changes: Any) -> Bundle:
    """The shipped bundle with another contract, so that nothing is known of its speeds; ``drift``: recorded
    for both precisions."""
    bundle = read_bundle(default_bundle())
    q = bundle.contract.quantization
    assert q is not None
    record = {"drift": dict.fromkeys(("bf16", "int8"), drift)} if drift is not None else q.calibration
    contract = replace(
        bundle.contract, name=f"n{next(_count)}", quantization=replace(q, calibration=record), **changes
    )
    return copy_bundle(bundle, contract, folder / contract.name)


def kept_files(cache: Path) -> list[Path]:
    return sorted((cache / "precisions").glob("*"))


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> str:
    """How this machine is called in what is kept, read from a file that a real measurement wrote."""
    folder = tmp_path_factory.mktemp("machine")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSR_CACHE", str(folder / "cache"))
        patch.delenv("SSR_FORCE_IMPLEMENTATION", raising=False)
        choice = ssr_ops.choose_precision(another(folder))
    (path,) = kept_files(folder / "cache")
    kept = json.loads(path.read_text())
    assert kept["images_per_second"] == choice.speeds
    assert set(choice.speeds) == set(KEPT)
    assert min(choice.speeds.values()) > 0
    return str(kept["about"]["machine"])


def keep(cache: Path, machine: str, bundle: Bundle, speeds: Any = KEPT) -> Path:
    """As if an earlier process had measured these speeds."""
    contract = hashlib.sha256((bundle.path / "contract.json").read_bytes()).hexdigest()
    about = {"contract_sha256": contract, "machine": machine}
    name = hashlib.sha256(json.dumps(about, separators=(",", ":")).encode()).hexdigest()
    path = cache / "precisions" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"about": about, "images_per_second": speeds}))
    return path


@pytest.mark.parametrize(
    ("speeds", "expected"),
    [
        (KEPT, "int8"),
        ({**KEPT, "int8": 2050.0}, "bf16"),  # not worth int8's drift
        ({**KEPT, "bf16": 1040.0, "int8": 620.0}, "fp32"),
        ({"fp32": 1000.0}, "fp32"),
    ],
)
def test_the_quickest_by_a_twentieth_is_taken(
    cache: Path, machine: str, tmp_path: Path, speeds: dict[str, float], expected: str
) -> None:
    bundle = another(tmp_path)
    keep(cache, machine, bundle, speeds)
    choice = ssr_ops.choose_precision(bundle)
    assert (choice.precision, choice.speeds) == (expected, speeds)
    assert choice.note("auto").startswith(f"precision auto is {expected} here: ")
    engine = ssr_ops.Engine(bundle, precision="auto")
    assert engine.precision == expected
    images = bundle.golden()["images"][:2]
    same = ssr_ops.Engine(bundle, precision=expected)
    assert np.array_equal(engine.predict(images), same.predict(images))
    assert engine.implementation == same.implementation


def test_a_precision_slower_than_fp32_is_said(cache: Path, machine: str, tmp_path: Path) -> None:
    bundle = another(tmp_path)
    keep(cache, machine, bundle, {"fp32": 1000.0, "bf16": 985.0, "int8": 620.0})
    choice = ssr_ops.choose_precision(bundle)
    assert choice.note("int8") == (
        "int8 has 0.62 of fp32's speed on this machine; precision auto takes the quickest"
    )
    assert choice.note("bf16") == choice.note("fp32") == ""


def test_the_engine_says_that_a_precision_is_slower_than_fp32_and_obeys(
    cache: Path, machine: str, tmp_path: Path
) -> None:
    bundle = another(tmp_path, CLOSE)
    keep(cache, machine, bundle, {"fp32": 1000.0, "bf16": 2000.0, "int8": 600.0})
    with pytest.warns(ssr_ops.SlowPrecision, match="int8 has 0.60 of fp32.s speed on this machine") as said:
        engine = ssr_ops.Engine(bundle, precision="int8")
    assert engine.precision == "int8"
    assert said[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ssr_ops.Engine(bundle, precision="bf16")
        ssr_ops.Engine(bundle, precision="auto")
        ssr_ops.Engine(bundle, precision="int8", note=False)
        ssr_ops.Engine(bundle, precision="int8", implementation="portable")


STEEP = Recalibration((0.0, 50.0, 101.0), (0.0, 100.0, 101.0))


@pytest.mark.parametrize("recalibration", [None, STEEP], ids=["years", "recalibrated"])
@pytest.mark.parametrize(
    ("precision", "quantity"),
    [("bf16", "mean"), ("bf16", "max"), ("int8", "mean"), ("int8", "signed"), ("int8", "p99")],
)
def test_what_lies_beyond_its_tolerance_is_left_out(
    cache: Path,
    machine: str,
    tmp_path: Path,
    precision: str,
    quantity: str,
    recalibration: Recalibration | None,
) -> None:
    """The bounds are those of the table of tolerances, to a thousandth."""
    for factor, held in ((0.999, True), (1.001, False)):
        bundle = another(tmp_path, recalibration=recalibration)
        bound = required("native", precision, bundle.contract).bounds(many=True)[quantity]
        sign = -1 if quantity == "signed" else 1
        bundle = another(
            tmp_path, {"held_out": {**CLOSE, quantity: sign * factor * bound}}, recalibration=recalibration
        )
        keep(cache, machine, bundle, {"fp32": 1000.0, precision: 2000.0})
        choice = ssr_ops.choose_precision(bundle)
        assert choice.precision == (precision if held else "fp32"), choice.reason
        assert held or f"{precision} is left out: its drift has" in choice.reason


@pytest.mark.parametrize(
    "drift",
    [{}, {"held_out": {"mean": 0.0}}, {"held_out": "small"}, {"calibration": [0.0]}, "none", 7],
)
def test_a_drift_that_is_not_stated_is_not_assumed(
    cache: Path, machine: str, tmp_path: Path, drift: Any
) -> None:
    bundle = another(tmp_path, drift)
    keep(cache, machine, bundle)
    choice = ssr_ops.choose_precision(bundle)
    assert choice.precision == "fp32"
    assert "int8 is left out: its contract states no drift" in choice.reason


def test_drift_on_the_same_crops_does_where_none_were_held_out(
    cache: Path, machine: str, tmp_path: Path
) -> None:
    bundle = another(tmp_path, {"calibration": CLOSE})
    keep(cache, machine, bundle)
    assert ssr_ops.choose_precision(bundle).precision == "int8"


def test_a_bundle_that_is_not_quantized_runs_in_fp32(cache: Path, tmp_path: Path) -> None:
    bundle = read_bundle(default_bundle())
    plain = copy_bundle(bundle, replace(bundle.contract, quantization=None), tmp_path / "plain")
    choice = ssr_ops.choose_precision(plain)
    assert (choice.precision, choice.reason, choice.speeds) == ("fp32", "the bundle is not quantized", {})
    assert ssr_ops.Engine(plain, precision="auto").precision == "fp32"
    assert not cache.exists(), "there was nothing to measure"


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_text("{"),
        lambda path: path.write_bytes(b"\xff" * 100_000),
        lambda path: path.write_text(path.read_text().replace("2000.0", "-1")),
        lambda path: path.write_text(path.read_text().replace("about", "of")),
        lambda path: path.write_text("[]"),
        lambda path: (path.unlink(), path.mkdir()),
    ],
    ids=["cut short", "large", "negative", "of nothing", "a list", "a folder"],
)
def test_what_was_kept_badly_is_measured_again(
    cache: Path, machine: str, tmp_path: Path, damage: Any
) -> None:
    bundle = another(tmp_path)
    path = keep(cache, machine, bundle)
    damage(path)
    choice = ssr_ops.choose_precision(bundle)
    assert set(choice.speeds) == set(KEPT)
    assert choice.speeds != KEPT
    if path.is_file():
        assert json.loads(path.read_text())["images_per_second"] == choice.speeds
    assert len(kept_files(cache)) == 1, "a draft was left behind"


def test_measured_once_a_process_where_nothing_can_be_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSR_CACHE", "/proc/none")
    bundle = another(tmp_path)
    assert ssr_ops.choose_precision(bundle) == ssr_ops.choose_precision(bundle)


def test_a_forced_implementation_has_its_own_speeds(
    cache: Path, machine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = another(tmp_path)
    keep(cache, machine, bundle)
    assert ssr_ops.choose_precision(bundle).speeds == KEPT
    assert ssr_ops.choose_precision(bundle, implementation="portable").speeds != KEPT
    monkeypatch.setenv("SSR_FORCE_IMPLEMENTATION", "portable")
    engine = ssr_ops.Engine(bundle, precision="auto")
    assert engine.implementation == "portable"
    assert len(kept_files(cache)) == 2


def test_an_implementation_without_fp32_can_be_asked_for(cache: Path) -> None:
    """As amx is: who forces it and names a precision is no worse off for what auto would be."""
    choice = ssr_ops.choose_precision(default_bundle(), implementation="none of fp32's")
    assert (choice.precision, choice.speeds, choice.note("int8")) == ("fp32", {}, "")
    assert choice.reason == "the implementation asked for has no fp32 to compare with"
    assert not cache.exists()


def test_a_gpu_has_fp32(tmp_path: Path) -> None:
    choice = ssr_ops.choose_precision(default_bundle(), device="cuda")
    assert (choice.precision, choice.reason) == ("fp32", "the GPU has no other")


def test_refusals() -> None:
    with pytest.raises(SsrError, match="precision 'fast' is unknown, expected fp32, bf16 or int8, or auto"):
        ssr_ops.Engine(default_bundle(), precision="fast")
    with pytest.raises(SsrError, match="implementation 'neon' is not available here"):
        ssr_ops.Engine(default_bundle(), precision="auto", implementation="neon")


def test_no_precision_that_replays_badly_is_built_for_auto(tmp_path: Path) -> None:
    """Whichever is the quickest where it is loaded: each has to replay."""
    bundle = read_bundle(default_bundle())
    q = bundle.contract.quantization
    assert q is not None
    small = replace(q, ranges=dict.fromkeys(q.ranges, 1e-6), rounding=None)
    broken = copy_bundle(bundle, replace(bundle.contract, quantization=small), tmp_path / "broken")
    with pytest.raises(SsrError, match="int8"):
        build([("a", broken.path)], tmp_path / "repo", Options(precision="auto"))
    assert not (tmp_path / "repo").exists()
