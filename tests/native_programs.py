"""Builds and runs the C++ test programs of tests/cpp."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import ROOT

PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
BUILD_SECONDS = 1100


@dataclass(frozen=True)
class Programs:
    """``targets`` of tests/cpp in ``build/<folder>``, which is kept between runs."""

    folder: str
    targets: tuple[str, ...]
    options: tuple[str, ...]


SANITIZED = Programs(
    "cpp",
    (
        "cuda_on_cpu_test",
        "concurrency_test",
        "detector_guard_test",
        "guard_test",
        "int8_test",
        "backend_test",
        "bundle_fuzz_driver",
        "cut_test",
    ),
    ("-DSSR_SANITIZE=address,undefined",),
)
RACING = Programs(
    "cpp-thread",
    ("concurrency_test", "cuda_on_cpu_test", "detector_race_test"),
    ("-DSSR_SANITIZE=thread",),
)

_builder = ThreadPoolExecutor(1, "native-programs")
_ahead: dict[Programs, Future[Path]] = {}
_compiling: set[subprocess.Popen[str]] = set()
_stopped = threading.Event()


def build_ahead(*wanted: Programs) -> None:
    """Compile at low priority while other tests run: it takes minutes, and most tests leave a core free."""
    for programs in wanted:
        _ahead[programs] = _builder.submit(_build, programs)


def stop_building() -> None:
    """End what :func:`build_ahead` began and nobody will ask for."""
    _stopped.set()
    _builder.shutdown(wait=False, cancel_futures=True)
    for process in list(_compiling):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)


def build(programs: Programs) -> Path:
    """Where the compiled programs are; skips where there is no CMake."""
    return _ahead[programs].result() if programs in _ahead else _build(programs)


def _build(programs: Programs) -> Path:
    cmake = shutil.which("cmake", path=PATH)
    if cmake is None:
        pytest.skip("cmake is not installed")
    where = ROOT / "build" / programs.folder
    configure = [cmake, "-S", str(ROOT), "-B", str(where), "-DSSR_TESTS=ON", "-DSSR_PYTHON=OFF"]
    configure += ["-DSSR_CUDA=OFF", f"-DPython_EXECUTABLE={sys.executable}", *programs.options]
    make = [cmake, "--build", str(where), "--parallel", "2", "--target", *programs.targets]
    with _alone(where):
        for command in (configure, make):
            _compile(["nice", "-n", "19", *command])
    return where / "tests"


@contextmanager
def _alone(where: Path) -> Iterator[None]:
    """Of the processes that run tests side by side one compiles; it leaves the others nothing to do."""
    where.mkdir(parents=True, exist_ok=True)
    with (where / ".lock").open("w") as lock:
        while not _stopped.is_set():
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                _stopped.wait(0.2)
            else:
                break
        yield


def _compile(command: list[str]) -> None:
    with subprocess.Popen(
        command,
        env=os.environ | {"PATH": PATH},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # one group to end
    ) as process:
        _compiling.add(process)
        if _stopped.is_set():
            process.kill()
        try:
            said, _ = process.communicate(timeout=BUILD_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        finally:
            _compiling.discard(process)
    assert process.returncode == 0, said[-8000:]


def run(*command: str | Path, timeout: float = 280) -> str:
    """What the command printed; it must exit 0, and the sanitizers let it only without a fault."""
    environment = os.environ | {"PATH": PATH, "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1"}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=timeout
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout
