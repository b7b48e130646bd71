"""The benchmarks run, and refuse to time what answers wrongly."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from ssr_bundle.bundle import read_bundle
from ssr_ops import Engine
from ssr_ops.shipped import default_bundle

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


def test_engine_without_peers(tmp_path: Path) -> None:
    options = ["--peers", "none", "--precisions", "fp32", "--batches", "1,2", "--seconds", "0.05"]
    done = subprocess.run(
        [sys.executable, BENCHMARKS / "engine.py", *options, "--output", tmp_path],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    (table,) = tmp_path.glob("engine-*.md")
    (picture,) = tmp_path.glob("engine-*.svg")
    assert "**ours fp32, portable**" in table.read_text()
    assert picture.name in table.read_text()
    assert picture.stat().st_size < 200_000


def test_cutting(tmp_path: Path) -> None:
    """Every candidate's bytes are checked before it is timed."""
    done = subprocess.run(
        [sys.executable, BENCHMARKS / "cutting.py", "--seconds", "0.05", "--output", tmp_path],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "ours portable, aligned**, NV12" in next(tmp_path.glob("cutting-*.md")).read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--peers", "tensorrt"], "'tensorrt' is none of onnxruntime, openvino, tflite, torch"),
        (["--batches", "0"], r"expected numbers in 1..128"),
        (["--precisions", "fp8"], "'fp8' is none of fp32, bf16, int8"),
        (["nowhere"], "nowhere: does not exist, expected a bundle"),
    ],
)
def test_engine_refuses_bad_options(options: list[str], message: str) -> None:
    done = subprocess.run(
        [sys.executable, BENCHMARKS / "engine.py", *options],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode != 0
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("precision", "shift"), [("fp32", 0.003), ("int8", 4.0), ("int8", np.nan)])
def test_wrong_answers_are_not_timed(precision: str, shift: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from peers.contest import Judge, WrongError
    from peers.contestant import Contestant, Plan

    bundle = read_bundle(default_bundle())
    engine = Engine(bundle)
    crops = bundle.golden()["crops"]
    answers = engine.predict(crops)

    def compile(variant: str, chunk: int, threads: int):  # type: ignore[no-untyped-def]
        off = shift if variant == "wrong" else 0.0
        return lambda images: lambda: engine.predict(images) + np.float32(off)

    contestant = Contestant("peer", "peer", precision, compile)
    right, wrong = Plan("right", 4), Plan("wrong", 4)
    judge = Judge(bundle, crops, answers)
    assert judge.drift(contestant, [right]).worst < 1e-3
    with pytest.raises(WrongError, match="years off"):
        judge.drift(contestant, [right, wrong])


def test_a_peer_that_fails_costs_a_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Wrong, missing, crashing, hanging on to nothing: each has its reason, and the others are timed."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import engine
    from peers.comparison import lines
    from peers.contestant import Contestant

    def peer(title: str, compile: object) -> None:
        def contestants(material: object, precision: str) -> list[Contestant]:
            return [Contestant(f"{title} {precision}", title, precision, compile, chunks=(1,))]  # type: ignore[arg-type]

        module = SimpleNamespace(TITLE=title, PRECISIONS=("fp32",), contestants=contestants)
        monkeypatch.setitem(sys.modules, f"peers.with_{title}", module)

    def wrong(variant: str, chunk: int, threads: int) -> object:
        return lambda images: lambda: np.full(len(images), 200, np.float32)

    def raising(variant: str, chunk: int, threads: int) -> object:
        raise RuntimeError("no kernel\nfor this CPU")

    many = len(read_bundle(default_bundle()).golden()["crops"]) + 10  # the contest alone makes seven more

    def late(variant: str, chunk: int, threads: int) -> object:
        real, calls = Engine(default_bundle()), [0]

        def call(images: np.ndarray) -> object:
            calls[0] += 1
            if calls[0] > many:
                raise MemoryError("after many calls")
            return real.predict(images)

        return lambda images: lambda: call(images)

    def crashing(variant: str, chunk: int, threads: int) -> object:
        os.kill(os.getpid(), signal.SIGILL)
        return None

    for name, compile in {"wrong": wrong, "raising": raising, "late": late, "crashing": crashing}.items():
        peer(name, compile)

    def missing(material: object, precision: str) -> list[Contestant]:
        raise ImportError("No module named 'absent'", name="absent")

    module = SimpleNamespace(TITLE="missing", PRECISIONS=("fp32",), contestants=missing)
    monkeypatch.setitem(sys.modules, "peers.with_missing", module)
    options = argparse.Namespace(
        peers=("wrong", "raising", "late", "crashing", "missing"),
        precisions=("fp32",),
        batches=(1,),
        threads=(1,),
        seconds=0.5,
        images=None,
    )
    results = engine.run(read_bundle(default_bundle()), options, tmp_path)
    reasons = {item.name: item.reason for item in results.absent}
    assert set(reasons) == {f"{name} fp32" for name in options.peers}
    assert "years off" in reasons["wrong fp32"]
    assert reasons["raising fp32"] == "RuntimeError: no kernel"
    assert reasons["late fp32"] == "MemoryError: after many calls"
    assert reasons["crashing fp32"] == "ends the process by SIGILL"
    assert reasons["missing fp32"].startswith("not installed (absent)")
    assert all(each.ours for each in results.contestants)
    table = "\n".join(lines(results, "picture.svg"))
    assert f"- wrong fp32: {reasons['wrong fp32']}" in table
    assert "**ours fp32, portable**" in table


def test_loading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import _results
    import loading

    monkeypatch.setattr(_results, "RESULTS", tmp_path)
    monkeypatch.setattr(sys, "argv", ["loading.py", "--no-server", "--bar", "0.001"])
    with pytest.raises(SystemExit, match="above the bar"):
        loading.main()
    (table,) = tmp_path.glob("loading-*.md")
    assert all(f"| {precision}, " in table.read_text() for precision in loading.PRECISIONS)
    assert 1 < loading.peak_memory(os.getpid()) < 100_000


def test_detector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours alone is timed; other faces than the reference's are not."""
    done = subprocess.run(
        [
            sys.executable,
            BENCHMARKS / "detector.py",
            "--without-peers",
            "--seconds",
            "0.1",
            "--output",
            tmp_path,
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    (table,) = tmp_path.glob("detector-*.md")
    assert table.read_text().count("| ours, portable |") == 5
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import detector

    from ssr_ops.detector_reference import Detections

    one = Detections(np.zeros((1, 4)), np.ones(1), np.zeros((1, 5, 2)))
    assert detector.multiply_adds(640, 640) == 542_393_600
    assert detector.check(one, one) == 0
    with pytest.raises(detector.WrongError, match="1 faces, the reference sees 0"):
        detector.check(one, Detections(*(array[:0] for array in one)))
    with pytest.raises(detector.WrongError, match=r"boxes are 0\.60 pixels off"):
        detector.check(one._replace(boxes=one.boxes + 0.6), one)


def test_onnx_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both layouts answer alike and are timed; another network's answers are not."""
    pytest.importorskip("onnxruntime")
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import onnx_layout

    from ssr_ops.export.network import build_onnx

    bundle = read_bundle(default_bundle())
    exported = build_onnx(bundle)
    planes = onnx_layout.from_planes(exported)
    models = {onnx_layout.BYTES: exported.SerializeToString(), onnx_layout.PLANES: planes.SerializeToString()}
    text, ratio = onnx_layout.section(bundle, models, 7, 0.5)
    assert "## Batch 7" in text
    assert 0.3 < ratio < 3
    models[onnx_layout.BYTES] = build_onnx(bundle, "int8").SerializeToString()
    with pytest.raises(SystemExit, match="from the reference: nothing is timed"):
        onnx_layout.section(bundle, models, 7, 0.5)


@pytest.mark.server
def test_endurance(tmp_path: Path) -> None:
    """A few of everything; the numbers that count take minutes."""
    few = (
        "--malformed",
        "300",
        "--changes",
        "2",
        "--kills",
        "2",
        "--soak",
        "0.05",
        "--output",
        str(tmp_path),
    )
    done = subprocess.run(
        [sys.executable, BENCHMARKS / "endurance.py", *few], capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr + done.stdout
    (table,) = tmp_path.glob("endurance-*.md")
    rows = [line for line in table.read_text().splitlines() if line.startswith("| ")][1:]
    assert len([row for row in rows if row.endswith("| 0 |")]) == 4
