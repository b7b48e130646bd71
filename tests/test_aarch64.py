"""The core on 64-bit Arm: cross-compiled and run under emulation, where both tools are installed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from conftest import ROOT, ReleasedBundles
from native_programs import build, run
from random_bundles import random_bundle

from ssr_train.contract import Architecture
from ssr_train.replay import TOLERANCE

EMULATOR = ("qemu-aarch64", "-L", "/usr/aarch64-linux-gnu")


@pytest.fixture(scope="session")
def programs() -> Path:
    missing = [tool for tool in ("aarch64-linux-gnu-g++", EMULATOR[0]) if shutil.which(tool) is None]
    if missing:
        pytest.skip(
            f"{' and '.join(missing)} not installed (apt-get install g++-aarch64-linux-gnu qemu-user)"
        )
    toolchain = ROOT / "cmake" / "aarch64-linux-gnu.cmake"
    targets = ["network_math_test", "concurrency_test", "guard_test", "replay_golden"]
    return build("aarch64", targets, f"-DCMAKE_TOOLCHAIN_FILE={toolchain}")


@pytest.mark.parametrize("program", ["network_math_test", "concurrency_test", "guard_test"])
def test_core(programs: Path, program: str, tmp_path: Path) -> None:
    network = Architecture(stages=(2, 3, 2, 3), width_x=20, width_s=8, width_fusion=5)
    run(*EMULATOR, programs / program, random_bundle(tmp_path / "bundle", network).path)


def test_golden_record(programs: Path, released: ReleasedBundles) -> None:
    limits = [f"{precision}={limit}" for precision, limit in TOLERANCE.items()]
    said = run(*EMULATOR, programs / "replay_golden", released("morph2"), *limits)
    assert "fp32 portable: off by" in said
