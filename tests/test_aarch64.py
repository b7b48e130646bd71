"""The core on 64-bit Arm: cross-compiled and run under emulation, where both tools are installed."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, ReleasedBundles
from native_programs import Programs, build, run
from random_bundles import quantized_bundle

from ssr_bundle.contract import Architecture

NETWORK = Architecture(stages=(2, 3, 2, 3), width_x=20, width_s=8, width_fusion=5)
PROGRAMS = ["cuda_on_cpu_test", "concurrency_test", "guard_test", "int8_test"]
EMULATOR = ("qemu-aarch64", "-L", "/usr/aarch64-linux-gnu")


@pytest.fixture(scope="session")
def programs() -> Path:
    missing = [tool for tool in ("aarch64-linux-gnu-g++", EMULATOR[0]) if shutil.which(tool) is None]
    if missing:
        pytest.skip(
            f"{' and '.join(missing)} not installed (apt-get install g++-aarch64-linux-gnu qemu-user)"
        )
    toolchain = ROOT / "cmake" / "aarch64-linux-gnu.cmake"
    targets = (*PROGRAMS, "replay_golden", "cut_test")
    return build(Programs("aarch64", targets, (f"-DCMAKE_TOOLCHAIN_FILE={toolchain}",)))


@pytest.mark.parametrize("program", PROGRAMS)
def test_core(programs: Path, program: str, tmp_path: Path) -> None:
    run(*EMULATOR, programs / program, quantized_bundle(tmp_path / "bundle", NETWORK).path)


def test_cutting(programs: Path) -> None:
    run(*EMULATOR, programs / "cut_test", "1", "1500")


def test_golden_record(programs: Path, released: ReleasedBundles, tmp_path: Path) -> None:
    said = run(*EMULATOR, programs / "replay_golden", released("morph2"), tmp_path, "fp32=0.002")
    assert "fp32 portable: off by" in said


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_same_as_here(programs: Path, precision: str, tmp_path: Path) -> None:
    """The portable network computes the same on both machines. In int8 all convolutions are exact, and one
    map that was rounded another way would be seen; what follows them is float32."""
    from ssr_ops import Engine

    bundle = quantized_bundle(tmp_path / "bundle", NETWORK)
    limits = [f"{name}=101" for name in ("fp32", "bf16", "int8")]  # ranges of this network are guesses
    run(*EMULATOR, programs / "replay_golden", bundle.path, tmp_path, *limits)
    here = Engine(bundle.path, precision=precision, implementation="portable").predict_stages(
        bundle.golden()["images"]
    )
    expected = np.column_stack([here.age, here.p, here.eta, here.delta])
    found = np.fromfile(tmp_path / f"{precision}-portable", np.float32).reshape(expected.shape)
    assert np.abs(expected).max() > 1
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 if precision == "int8" else 1e-4)
