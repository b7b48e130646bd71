"""Builds and runs the C++ test programs of tests/cpp."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"


def build(folder: str, targets: list[str], *options: str) -> Path:
    """Compile ``targets`` in ``build/<folder>``, kept between runs; returns where the programs are."""
    cmake = shutil.which("cmake", path=PATH)
    if cmake is None:
        pytest.skip("cmake is not installed")
    where = ROOT / "build" / folder
    configure = [cmake, "-S", ROOT, "-B", where, "-DSSR_TESTS=ON", "-DSSR_PYTHON=OFF", "-DSSR_CUDA=OFF"]
    configure += [f"-DPython_EXECUTABLE={sys.executable}", *options]
    for command in (configure, [cmake, "--build", where, "--parallel", "2", "--target", *targets]):
        run(*command, timeout=1100)
    return where / "tests"


def run(*command: str | Path, timeout: float = 280) -> str:
    """What the command printed; it must exit 0, and the sanitizers let it only without a fault."""
    environment = os.environ | {"PATH": PATH, "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1"}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=timeout
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout
