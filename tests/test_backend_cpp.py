"""The backend's C++ against a fake server, under the address and undefined-behaviour sanitizers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT


def test_backend_against_a_fake_server() -> None:
    """Split buffers, GPU memory, cancellation, failing server calls, exceptions; nothing leaks."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    cmake = shutil.which("cmake", path=path)
    if cmake is None:
        pytest.skip("cmake is not installed")
    build = ROOT / "build" / "cpp"
    configure = [cmake, "-S", ROOT, "-B", build, "-DSSR_TESTS=ON", "-DSSR_PYTHON=OFF", "-DSSR_CUDA=OFF"]
    configure += ["-DSSR_SANITIZE=address,undefined", f"-DPython_EXECUTABLE={sys.executable}"]
    if shutil.which("ninja", path=path):
        configure += ["-G", "Ninja"]
    environment = os.environ | {"PATH": path, "UBSAN_OPTIONS": "halt_on_error=1"}
    for command in (configure, [cmake, "--build", build, "--target", "backend_test", "--parallel", "2"]):
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    run = subprocess.run([build / "tests" / "backend_test"], env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "passed" in run.stdout
