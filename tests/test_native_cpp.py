"""Builds the C++ test programs once and runs them on small bundles."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from random_bundles import random_bundle

from ssr_train.contract import Architecture


@pytest.fixture(scope="session")
def programs() -> Path:
    """The folder of the built programs; kept between runs, so that only the first one compiles."""
    cmake = shutil.which("cmake", path=str(Path(sys.executable).parent)) or shutil.which("cmake")
    if cmake is None:
        pytest.skip("cmake is not on the PATH")
    folder = ROOT / "build" / "cpp-tests"
    options = {"SSR_TESTS": "ON", "SSR_PYTHON": "OFF", "SSR_TRITON": "OFF", "SSR_CUDA": "OFF"}
    options["Python_EXECUTABLE"] = sys.executable
    configure = [cmake, "-S", ROOT, "-B", folder, *(f"-D{key}={value}" for key, value in options.items())]
    for command in (configure, [cmake, "--build", folder, "-j", "2"]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder / "tests"


ARCHITECTURES = {
    "released": Architecture(),
    "four stages": Architecture(stages=(2, 3, 2, 3), width_x=20, width_s=8, width_fusion=5),
}


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("program", ["network_math_test", "concurrency_test"])
def test_program(programs: Path, program: str, name: str, tmp_path: Path) -> None:
    bundle = random_bundle(tmp_path / "bundle", ARCHITECTURES[name])
    done = subprocess.run(
        [programs / program, bundle.path], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
