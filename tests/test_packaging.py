"""The wheel: carries everything, runs on older systems, and serves from an empty environment."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT

PACKAGES = {
    "ssr_train": ROOT / "ssr_train",
    "ssr_ops": ROOT / "ssr_ops",
    "triton_repo": ROOT / "triton_repo",
    "ssr_client": ROOT / "clients" / "ssr_client",
}
# What Ubuntu 22.04 containers carry.
NEWEST = {"GLIBC": (2, 35), "GLIBCXX": (3, 4, 30)}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's wheel, built from this checkout without CUDA (build/wheel is kept between runs)."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-build-isolation", "--no-deps"]
    settings = ["-Cbuild-dir=build/wheel", "-Ccmake.define.SSR_CUDA=OFF"]
    subprocess.run([*command, *settings, "-w", str(folder), str(ROOT)], check=True)
    (path,) = folder.glob("*.whl")
    return path


def test_wheel_carries_every_file_of_the_packages(wheel: Path) -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    expected = set()
    for package, folder in PACKAGES.items():
        inside = folder.relative_to(ROOT).as_posix() + "/"
        names = [name.removeprefix(inside) for name in tracked if name.startswith(inside)]
        expected |= {f"{package}/{name}" for name in names if not name.startswith("csrc/")}
    found = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    native = {name for name in found if name.endswith(".so")}
    assert {Path(name).name.split(".")[0] for name in native} == {"_native", "libtriton_ssr"}
    assert found - native == expected


def test_native_files_run_on_older_systems(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path)
    libraries = list(tmp_path.rglob("*.so"))
    assert len(libraries) == 2
    for library in libraries:
        text = subprocess.run(["objdump", "-T", library], check=True, capture_output=True, text=True).stdout
        for name, newest in NEWEST.items():
            versions = {tuple(map(int, v.split("."))) for v in re.findall(rf"\b{name}_([\d.]+)", text)}
            assert versions, f"{library.name} links {name} dynamically"
            assert max(versions) <= newest, f"{library.name} needs {name}_{max(versions)}"


def test_instruction_sets_stay_in_their_files(wheel: Path) -> None:
    """An inline function that an AVX file shares with others could be the copy that the linker keeps."""
    objects = [o for o in (ROOT / "build" / "wheel").rglob("*.o") if "_avx" in o.name]
    if not objects and os.uname().machine == "x86_64":
        pytest.fail("no AVX objects where the wheel was built")
    for path in objects:
        text = subprocess.run(["nm", path], check=True, capture_output=True, text=True).stdout
        shared = [line for line in text.splitlines() if re.search(r" [WVu] ", line)]
        assert not shared, f"{path.name}: {shared}"


@pytest.mark.server
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_wheel_serves_from_an_empty_environment(wheel: Path, tmp_path: Path) -> None:
    """A fresh environment with the wheel alone, outside the checkout, without torch: the whole demo."""
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    requirement = f"ssr-serve[import,serve,client] @ {wheel.as_uri()}"
    install = [python, "-m", "pip", "install", "-q", "-c", ROOT / "constraints.txt", requirement]
    subprocess.run(install, check=True, cwd=tmp_path)
    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV", "SSR_WEIGHTS_DIR")}
    where = "import ssr_ops, ssr_client, triton_repo; print(ssr_ops.__file__)"
    found = subprocess.run([python, "-c", where], cwd=tmp_path, env=clean, check=True, capture_output=True)
    assert str(environment) in found.stdout.decode()
    program = shutil.copy(ROOT / "demo.py", tmp_path)  # in the checkout it would import the checkout
    demo = [python, program, "--bundle", "default", "--out", tmp_path / "annotated.jpg"]
    run = subprocess.run(demo, cwd=tmp_path, env=clean, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "age" in run.stdout
    assert "drawn faces" in run.stdout + run.stderr
    assert (tmp_path / "annotated.jpg").stat().st_size > 10_000
