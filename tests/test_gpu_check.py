"""benchmarks/gpu_check.sh and the GPU's benchmarks, as far as a machine without a GPU can show."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

BENCHMARKS = ROOT / "benchmarks"
SCRIPT = BENCHMARKS / "gpu_check.sh"


def check(*options: str | Path, **environment: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SCRIPT, *options],
        env=os.environ | {name: str(value) for name, value in environment.items()},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


def program(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def nvcc(tmp_path: Path) -> Path:
    """Knows two architectures and compiles nothing."""
    says = "echo compute_75; echo compute_90"
    return program(tmp_path / "nvcc", f'case "$*" in --list*) {says};; *) echo bad >&2; exit 3; esac')


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--archs", "90"], "--archs: no such option"),
        (["--arch"], "--arch: expected a value"),
        (["--compile-only", "--arch", "90,70"], "--arch 70: this nvcc compiles for 75, 90"),
    ],
)
def test_wrong_options(nvcc: Path, options: list[str], message: str) -> None:
    done = check(*options, CUDACXX=nvcc)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr


def test_without_a_compiler(tmp_path: Path) -> None:
    done = check("--compile-only", CUDACXX=tmp_path / "none")
    assert done.returncode == 1
    assert re.fullmatch(r"gpu_check: .*/none not found: install the CUDA toolkit, .*\n", done.stderr)


def test_without_a_gpu(tmp_path: Path, nvcc: Path) -> None:
    program(tmp_path / "nvidia-smi", "echo no devices; exit 9")
    done = check(CUDACXX=nvcc, PATH=f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert done.returncode == 1
    assert done.stderr == (
        "gpu_check: no NVIDIA GPU here (nvidia-smi finds none); --compile-only compiles without one\n"
    )


def test_a_failing_step_is_told(tmp_path: Path, nvcc: Path) -> None:
    done = check("--compile-only", "--build", tmp_path / "build", CUDACXX=nvcc)
    assert done.returncode == 1
    assert "bad" in done.stdout
    assert re.search(r"compile every architecture +FAILED +exit 3 after", done.stdout)
    assert "compiled for" not in done.stdout


def test_after_a_failing_step_the_others_run(tmp_path: Path, nvcc: Path) -> None:
    """On a machine that has a card and nothing that works but the build; an older run's numbers are gone."""
    script = tmp_path / "benchmarks" / SCRIPT.name
    (script.parent / "results").mkdir(parents=True)
    shutil.copy(SCRIPT, script)
    program(tmp_path / "nvidia-smi", "echo Card")
    program(tmp_path / "ssr-serve", "exit 4")
    python = program(
        tmp_path / "python",
        f"""case "$*" in
          "-m venv "*) mkdir -p "$3/bin"; cp "$0" "$3/bin/python" ;;
          *purelib*) echo {tmp_path} ;;
          *NotInstalled*) echo no TensorRT is installed ;;
          *pytest* | benchmarks/*) exit 5 ;;
        esac""",
    )
    logs = tmp_path / "build" / "logs"
    logs.mkdir(parents=True)
    (logs / "operator").write_text("## Of another run\n")
    done = subprocess.run(
        [script, "--build", tmp_path / "build", "--python", python],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "CUDACXX": str(nvcc)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    table = (tmp_path / "benchmarks" / "results" / "gpu-card.md").read_text()
    found = dict(re.findall(r"^\| (.+?) \| (passed|FAILED|not run) \|", table, re.MULTILINE))
    assert found["compile every architecture"] == "FAILED"
    assert found["build with CUDA"] == "passed"
    assert found["operator"] == found["served from the GPU"] == "FAILED"
    assert found["TensorRT"] == "not run"
    assert "Of another run" not in table


def test_kernels_compile_and_keep_their_registers(tmp_path: Path) -> None:
    """Warnings are errors; what the numbers hang on touches no local memory."""
    if shutil.which(os.environ.get("CUDACXX", "nvcc")) is None:
        pytest.skip("nvcc is not installed")
    done = check("--compile-only", "--arch", "90", "--build", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "compiled for 90; nothing was run on a GPU" in done.stdout
    logs = "".join(path.read_text() for path in (tmp_path / "logs").iterdir())
    frames = dict(re.findall(r"Function properties for (\S+)\n +(\d+) bytes stack frame", logs))
    for kernel in ("ForwardFixedIf", "BackwardFixedIf", "ConvolvePictures", "ConvolveMaps", "FuseStages"):
        found = {size for name, size in frames.items() if kernel in name}
        assert found == {"0"}, f"{kernel}: {found}"


def test_script_is_sound() -> None:
    subprocess.run(["bash", "-n", SCRIPT], check=True)
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")
    subprocess.run(["shellcheck", SCRIPT], check=True)


@pytest.mark.parametrize("name", ["fused_operator_gpu", "engine_gpu"])
def test_benchmarks_need_a_gpu(name: str) -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    done = subprocess.run(
        [sys.executable, BENCHMARKS / f"{name}.py"], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 1
    assert "finds no GPU" in done.stderr
    assert "Traceback" not in done.stderr


def test_operator_benchmark_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrong answers and wrong gradients are not timed; what is timed goes by the CPU's clock here."""
    torch = pytest.importorskip("torch")
    monkeypatch.syspath_prepend(BENCHMARKS)
    import _gpu
    import _results
    import fused_operator_gpu as benchmark

    def refused(*_: Any, **__: Any) -> Any:
        raise RuntimeError("no compiler")

    monkeypatch.setattr(_gpu, "medians", _results.medians)
    monkeypatch.setattr(torch, "compile", refused)
    cpu, notes = torch.device("cpu"), set[str]()
    measured = benchmark.measure(8192, cpu, 0.5, notes)
    assert [line[0] for line in measured.lines] == [
        f"8,192, {step}, {name}"
        for step in ("forward", "forward + backward")
        for name in ("PyTorch eager", "**fused**")
    ]
    assert measured.share > 0
    assert measured.ratio > 1
    assert notes == {"torch.compile did not run here: RuntimeError: no compiler"}

    leaves = benchmark.inputs(8192, cpu)
    assert float(leaves[2].min()) == -1.0
    with pytest.raises(SystemExit, match="wrong: wrong answers, not timed"):
        benchmark.validate("wrong", lambda *x: benchmark.eager(*x) * 1.0001, leaves)
    with pytest.raises(SystemExit, match="wrong: wrong gradients, not timed"):
        benchmark.validate("wrong", lambda p, e, d: benchmark.eager(p, e.detach() + 0 * e, d), leaves)
