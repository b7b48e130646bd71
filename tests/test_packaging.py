"""The two wheels: together they carry everything once; the client's needs no compiler, the other serves."""

from __future__ import annotations

import email
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT, Serve

import ssr_bundle
from ssr_bundle.bundle import read_bundle
from ssr_ops import Engine
from ssr_ops.shipped import ASSETS, default_bundle

PACKAGES = {
    "ssr_serve": ("ssr_train", "ssr_ops", "triton_repo"),
    "ssr_client": ("ssr_bundle", "clients/ssr_client", "clients/ssr_video"),
}
LARGEST_CLIENT = 400_000
"""Bytes of the client's wheel: a quarter of it is ``ssr-video watch`` with its page."""
# What Ubuntu 22.04 containers carry.
NEWEST = {"GLIBC": (2, 35), "GLIBCXX": (3, 4, 30)}


def pip(python: str | Path, *arguments: str | Path, **keywords: Any) -> subprocess.CompletedProcess[str]:
    command = [python, "-m", "pip", "--disable-pip-version-check", "-q", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, **keywords)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def build_wheel(source: Path, folder: Path, *settings: str) -> Path:
    pip(sys.executable, "wheel", "--no-build-isolation", "--no-deps", *settings, "-w", folder, source)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def serving_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ssr-serve's wheel, built from this checkout without CUDA (build/wheel is kept between runs)."""
    settings = ["--config-settings=build-dir=build/wheel", "--config-settings=cmake.define.SSR_CUDA=OFF"]
    return build_wheel(ROOT, tmp_path_factory.mktemp("serve"), *settings)


@pytest.fixture(scope="module")
def client_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(ROOT / "clients", tmp_path_factory.mktemp("client"))


@pytest.fixture
def environment(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """Python of an empty environment, and variables with which nothing but that environment is found."""
    folder = tmp_path / "environment"
    venv.create(folder, with_pip=True)
    foreign = ("PYTHONPATH", "VIRTUAL_ENV", "SSR_WEIGHTS_DIR", "CC", "CXX")
    clean = {k: v for k, v in os.environ.items() if k not in foreign}
    return folder / "bin" / "python", {**clean, "PATH": str(folder / "bin")}


def files_of(wheel: Path) -> list[str]:
    return [name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name]


def metadata(wheel: Path) -> Any:
    archive = zipfile.ZipFile(wheel)
    (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
    return email.message_from_bytes(archive.read(name))


def test_wheels_carry_every_file_of_the_packages_once(serving_wheel: Path, client_wheel: Path) -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    expected = []
    for folder in (folder for folders in PACKAGES.values() for folder in folders):
        names = [name.removeprefix("clients/") for name in tracked if name.startswith(f"{folder}/")]
        expected += [name for name in names if not name.startswith("ssr_ops/csrc/")]
    found = files_of(serving_wheel) + files_of(client_wheel)
    native = {name for name in found if name.endswith(".so")}
    assert {Path(name).name.split(".")[0] for name in native} == {"_native", "libtriton_ssr"}
    assert sorted(set(found) - native) == sorted(expected)
    assert len(found) == len(set(found))


def test_the_clients_wheel_is_small_and_runs_anywhere(client_wheel: Path) -> None:
    assert client_wheel.name == f"ssr_client-{ssr_bundle.__version__}-py3-none-any.whl"
    assert client_wheel.stat().st_size <= LARGEST_CLIENT
    assert {name.split("/")[0] for name in files_of(client_wheel)} == {
        "ssr_bundle",
        "ssr_client",
        "ssr_video",
    }
    assert (ROOT / "clients/LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_serving_needs_the_client_of_its_own_version(serving_wheel: Path, client_wheel: Path) -> None:
    version = ssr_bundle.__version__
    assert [metadata(wheel)["Version"] for wheel in (serving_wheel, client_wheel)] == [version] * 2
    needed = metadata(serving_wheel).get_all("Requires-Dist")
    assert f"ssr-client=={version}" in [requirement.replace(" ", "") for requirement in needed]


def test_a_source_distribution_of_the_client(client_wheel: Path, tmp_path: Path) -> None:
    """It carries the files that the checkout links to, and gives the same wheel."""
    command = [sys.executable, "-m", "build", "--sdist", "--no-isolation", "-o", tmp_path, ROOT / "clients"]
    subprocess.run(command, check=True, capture_output=True)
    (source,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        assert all(member.isfile() for member in archive)
    rebuilt = build_wheel(source, tmp_path / "wheel")
    assert sorted(zipfile.ZipFile(rebuilt).namelist()) == sorted(zipfile.ZipFile(client_wheel).namelist())


def test_an_editable_install_sees_edits(environment: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    """Its modules are the checkout's files, ssr_bundle's among them."""
    python, clean = environment
    pip(sys.executable, "--python", python, "install", "hatchling", "editables", env=os.environ)
    pip(python, "install", "--no-deps", "--no-build-isolation", "-e", ROOT / "clients", env=clean)
    where = "import ssr_bundle, ssr_client; print(ssr_bundle.__file__, ssr_client.__file__)"
    run = subprocess.run([python, "-c", where], cwd=tmp_path, env=clean, check=True, capture_output=True)
    found = [Path(name).resolve() for name in run.stdout.decode().split()]
    assert found == [ROOT / "ssr_bundle/__init__.py", ROOT / "clients/ssr_client/__init__.py"]


def test_native_files_run_on_older_systems(serving_wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(serving_wheel).extractall(tmp_path)
    libraries = list(tmp_path.rglob("*.so"))
    assert len(libraries) == 2
    for library in libraries:
        text = subprocess.run(["objdump", "-T", library], check=True, capture_output=True, text=True).stdout
        for name, newest in NEWEST.items():
            versions = {tuple(map(int, v.split("."))) for v in re.findall(rf"\b{name}_([\d.]+)", text)}
            assert versions, f"{library.name} links {name} dynamically"
            assert max(versions) <= newest, f"{library.name} needs {name}_{max(versions)}"


def test_instruction_sets_stay_in_their_files(serving_wheel: Path) -> None:
    """An inline function that an AVX file shares with others could be the copy that the linker keeps."""
    objects = [o for o in (ROOT / "build" / "wheel").rglob("*.o") if "_avx" in o.name]
    if not objects and os.uname().machine == "x86_64":
        pytest.fail("no AVX objects where the wheel was built")
    for path in objects:
        text = subprocess.run(["nm", path], check=True, capture_output=True, text=True).stdout
        shared = [line for line in text.splitlines() if re.search(r" [WVu] ", line)]
        assert not shared, f"{path.name}: {shared}"


_CROPS = """
import importlib.util, json, sys
import numpy
import ssr_bundle, ssr_client
from ssr_client import AgeClient
assert ssr_client.__file__.startswith(sys.prefix) and ssr_bundle.__file__.startswith(sys.prefix)
assert not [name for name in ("cv2", "safetensors", "ssr_ops", "torch") if importlib.util.find_spec(name)]
with AgeClient(sys.argv[1]) as client:
    print(json.dumps(client.predict(numpy.load("crops.npy")).tolist()))
    try:
        client.predict_photo(numpy.zeros((99, 99, 3), numpy.uint8))
    except ssr_client.ClientError as error:
        print(error)
"""
_SENTENCE = "photos need OpenCV: pip install 'ssr-client[photo]'"


@pytest.mark.server
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_client_alone_asks_a_server(
    client_wheel: Path, environment: tuple[Path, dict[str, str]], serve: Serve, tmp_path: Path
) -> None:
    """Its wheel alone, no compiler, outside the checkout: crops without OpenCV, then photos with it."""
    python, clean = environment
    url = serve({"ssrnet": default_bundle()}).grpc_url
    assert shutil.which("c++", path=clean["PATH"]) is shutil.which("cc", path=clean["PATH"]) is None

    def install(extras: str) -> None:
        requirement = f"ssr-client{extras} @ {client_wheel.as_uri()}"
        pip(python, "install", "-c", ROOT / "constraints.txt", requirement, env=clean, cwd=tmp_path)

    def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=tmp_path, env=clean, capture_output=True, text=True, check=False, timeout=60
        )

    install("")
    crops = read_bundle(default_bundle()).golden()["crops"]
    np.save(tmp_path / "crops.npy", crops)
    asked = run(python, "-c", _CROPS, url)
    assert asked.returncode == 0, asked.stderr
    ages, refusal = asked.stdout.splitlines()
    np.testing.assert_array_equal(np.float32(json.loads(ages)), Engine(default_bundle()).predict(crops))
    assert refusal.startswith(_SENTENCE)
    program = python.with_name("ssr-client")
    loaded = run(program, "bench", "--url", url, "--batch", "4", "--duration", "0.3", "--warm-up", "0.1")
    assert loaded.returncode == 0, loaded.stderr
    assert "answers validated" in loaded.stdout
    photo = [program, "image", ASSETS / "astronaut.jpg", "--url", url, "--detector", "haar", "--json"]
    refused = run(*photo)
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"ssr-client: {_SENTENCE}")
    assert refused.stderr.count("\n") == 1

    lacking = run(python.with_name("ssr-video"), "run", "clip.mp4")
    assert (lacking.returncode, lacking.stderr.count("\n")) == (1, 1)
    assert lacking.stderr.startswith("ssr-video: videos need PyAV: pip install 'ssr-client[video]'")

    install("[photo]")
    answered = run(*photo)
    assert answered.returncode == 0, answered.stderr
    (result,) = json.loads(answered.stdout)["photos"]
    (face,) = result["faces"]
    assert 0 < face["age"] < 101


@pytest.mark.server
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_wheels_serve_from_an_empty_environment(
    serving_wheel: Path, client_wheel: Path, environment: tuple[Path, dict[str, str]], tmp_path: Path
) -> None:
    """A fresh environment with the two wheels alone, outside the checkout, without torch: the whole demo."""
    python, clean = environment
    wheels = [f"ssr-serve[import,photo] @ {serving_wheel.as_uri()}", f"ssr-client @ {client_wheel.as_uri()}"]
    pip(python, "install", "-c", ROOT / "constraints.txt", *wheels, cwd=tmp_path, env=clean)
    clean["PATH"] = os.environ["PATH"]  # tritonserver is looked for there
    where = "import ssr_ops, ssr_client, triton_repo; print(ssr_ops.__file__)"
    found = subprocess.run([python, "-c", where], cwd=tmp_path, env=clean, check=True, capture_output=True)
    assert str(python.parents[1]) in found.stdout.decode()
    program = shutil.copy(ROOT / "demo.py", tmp_path)  # in the checkout it would import the checkout
    demo = [python, program, "--bundle", "default", "--out", tmp_path / "annotated.jpg"]
    run = subprocess.run(demo, cwd=tmp_path, env=clean, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "age" in run.stdout
    assert "drawn faces" in run.stdout + run.stderr
    assert (tmp_path / "annotated.jpg").stat().st_size > 10_000
