"""Builds the C++ test programs under sanitizers, once, and runs them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from native_programs import BUILD_SECONDS, RACING, SANITIZED, build, run
from random_bundles import quantized_bundle, random_bundle

from ssr_bundle.contract import Architecture, Interval
from ssr_ops.shipped import default_detector

pytestmark = pytest.mark.timeout(2 * BUILD_SECONDS)


@pytest.fixture(scope="session")
def programs() -> Path:
    """The folder of the programs, under the address and undefined-behaviour sanitizers."""
    return build(SANITIZED)


ARCHITECTURES = {
    "released": Architecture(),
    "four stages": Architecture(stages=(2, 3, 2, 3), width_x=20, width_s=8, width_fusion=5),
}
TINY = Architecture(stages=(2,), width_x=3, width_s=2, width_fusion=2)
TINY_OF_FOUR = Architecture(stages=(1, 2, 1, 2), width_x=2, width_s=1, width_fusion=1)


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("program", ["cuda_on_cpu_test", "concurrency_test", "guard_test"])
def test_core(programs: Path, program: str, name: str, tmp_path: Path) -> None:
    run(programs / program, quantized_bundle(tmp_path / "bundle", ARCHITECTURES[name]).path)


def test_detector(programs: Path) -> None:
    """Frames, maps and rings beside pages that fault, no allocation in a second search, refusals."""
    assert "nothing outside" in run(programs / "detector_guard_test", default_detector())


@pytest.mark.parametrize(
    "architecture",
    [
        Architecture(),
        Architecture(stages=(2, 3, 2, 3), width_x=20, width_s=3, width_fusion=5),
        Architecture(stages=(3, 3), width_x=40, width_s=20, width_fusion=18),
        Architecture(stages=(1,), width_x=1, width_s=1, width_fusion=1),
    ],
    ids=["released", "four stages", "wide", "narrow"],
)
def test_int8_kernels_to_the_bit(programs: Path, architecture: Architecture, tmp_path: Path) -> None:
    """Every map, feature and dense sum of every int8 implementation against plain loops."""
    run(programs / "int8_test", quantized_bundle(tmp_path / "bundle", architecture).path)


def test_backend_against_a_fake_server(programs: Path) -> None:
    """Split buffers, GPU memory, cancellation, failing server calls, exceptions; nothing leaks."""
    assert "passed" in run(programs / "backend_test")


def test_cutting(programs: Path) -> None:
    """What is refused, pictures beyond 4 GB, and a bounded fuzz of cutting: every fate must have been met."""
    print(run(programs / "cut_test", "1", "2500"))


def test_nothing_races(tmp_path: Path) -> None:
    """Concurrent calls, engines and detectors that come and go, CUDA's blocks, under the thread sanitizer."""
    programs = build(RACING)
    bundle = quantized_bundle(tmp_path / "bundle", TINY)
    randomness = Path("/proc/sys/vm/mmap_rnd_bits")
    # GCC's sanitizer gives up where addresses are more random than it knows.
    fixed = randomness.exists() and int(randomness.read_text()) > 28
    start = ["setarch", "-R"] if fixed else []
    assert "all engines: 0 of" in run(*start, programs / "concurrency_test", bundle.path)
    assert "all detectors: 0 calls differ" in run(*start, programs / "detector_race_test", default_detector())
    assert "failing calls" in run(*start, programs / "cuda_on_cpu_test", bundle.path)


def test_mutated_bundles(programs: Path, tmp_path: Path) -> None:
    """A bounded fuzz of the bundle reader; every check must have had its turn, and networks have answered."""
    interval = Interval(0.9, edges=(30.0,), half_widths=(4.0, 5.0))
    bundles = [
        random_bundle(tmp_path / "one", TINY, interval=interval).path,
        quantized_bundle(tmp_path / "two", TINY).path,
        quantized_bundle(tmp_path / "four", TINY_OF_FOUR).path,
    ]
    said = run(
        programs / "bundle_fuzz_driver", "--seed", "1", "--iterations", "1500", "--seconds", "60", *bundles
    )
    print(said)
    turns = {name: int(count) for name, count in re.findall(r"(\w+) (\d+)(?=[,;\n])", said)}
    for check in ("contract", "files", "safetensors", "parameters", "engine", "answered"):
        assert turns[check] > 0, said
