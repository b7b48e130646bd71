"""Builds the C++ test programs once, under the address and undefined-behaviour sanitizers, and runs them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from random_bundles import random_bundle

from ssr_train.contract import Architecture

PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"


@pytest.fixture(scope="session")
def programs() -> Path:
    """The folder of the built programs; kept between runs, so that only the first one compiles."""
    cmake = shutil.which("cmake", path=PATH)
    if cmake is None:
        pytest.skip("cmake is not installed")
    folder = ROOT / "build" / "cpp"
    configure = [cmake, "-S", ROOT, "-B", folder, "-DSSR_TESTS=ON", "-DSSR_PYTHON=OFF", "-DSSR_CUDA=OFF"]
    configure += ["-DSSR_SANITIZE=address,undefined", f"-DPython_EXECUTABLE={sys.executable}"]
    targets = ["network_math_test", "concurrency_test", "backend_test"]
    for command in (configure, [cmake, "--build", folder, "--parallel", "2", "--target", *targets]):
        run(*command)
    return folder / "tests"


def run(*command: str | Path) -> str:
    environment = os.environ | {"PATH": PATH, "UBSAN_OPTIONS": "halt_on_error=1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


ARCHITECTURES = {
    "released": Architecture(),
    "four stages": Architecture(stages=(2, 3, 2, 3), width_x=20, width_s=8, width_fusion=5),
}


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("program", ["network_math_test", "concurrency_test"])
def test_core(programs: Path, program: str, name: str, tmp_path: Path) -> None:
    run(programs / program, random_bundle(tmp_path / "bundle", ARCHITECTURES[name]).path)


def test_backend_against_a_fake_server(programs: Path) -> None:
    """Split buffers, GPU memory, cancellation, failing server calls, exceptions; nothing leaks."""
    assert "passed" in run(programs / "backend_test")
