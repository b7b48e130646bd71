"""The CPU engine's kernels with timers, built from this checkout: what the shipped library need not carry."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from types import ModuleType

_ROOT = Path(__file__).resolve().parents[1]
_BUILD = _ROOT / "build" / "benchmarks"
_OPTIONS = ["-DSSR_BENCHMARKS=ON", "-DSSR_PYTHON=OFF", "-DSSR_TRITON=OFF", "-DSSR_CUDA=OFF"]


@lru_cache
def load() -> ModuleType:
    """The extension module of ``benchmarks/native``, compiled first if it is not up to date.

    ``time_layers(bundle, image, implementation, precision, seconds)`` gives each layer's name and the seconds
    of its quickest run; ``measure_multiply_adds(implementation, seconds, precision)`` the multiply-adds a
    second of a loop of nothing else; ``measure_products(way, seconds)`` those of whole numbers, an AVX2 loop
    each. All raise ``ValueError`` for what they cannot time.
    """
    _BUILD.mkdir(parents=True, exist_ok=True)
    with (_BUILD / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _cmake(
            "-S",
            _ROOT,
            "-B",
            _BUILD,
            f"-DPython_EXECUTABLE={sys.executable}",
            f"-Dpybind11_DIR={_pybind11()}",
            *_OPTIONS,
        )
        _cmake("--build", _BUILD, "--parallel", str(os.cpu_count()), "--target", "_kernels")
    (path,) = (_BUILD / "benchmarks").glob("_kernels.*.so")
    spec = importlib.util.spec_from_file_location("_kernels", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _pybind11() -> str:
    import pybind11

    return pybind11.get_cmake_dir()


def _cmake(*arguments: str | Path) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    done = subprocess.run(
        ["cmake", *arguments],
        env=os.environ | {"PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise SystemExit(f"the benchmarks' kernels do not compile:\n{done.stdout[-8000:]}")
