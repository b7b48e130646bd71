"""``ssr-train`` as a person meets it: output, one line an error, exit status, torch only where it trains."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import RELEASED, ROOT, ReleasedBundles, material

from ssr_bundle.bundle import read_bundle
from ssr_bundle.signals import ECHO
from ssr_ops.shipped import default_bundle

BLOCK = """
import sys
sys.modules.update({{name: None for name in {names!r}}})
from ssr_train.cli import main
main()
"""


def ssr_train(
    *arguments: str | Path, blocked: tuple[str, ...] = (), **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own, with the packages ``blocked`` missing."""
    return subprocess.run(
        [sys.executable, "-c", BLOCK.format(names=blocked), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "COLUMNS": "120", "NO_COLOR": "1", **environment},
        cwd=ROOT,
    )


def refused(result: subprocess.CompletedProcess[str], status: int = 1) -> str:
    """The one line of a failed command."""
    assert result.returncode == status, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    lines = result.stderr.strip().splitlines()
    if status == 1:
        assert len(lines) == 1, result.stderr
        assert lines[0].startswith("ssr-train: ")
    return result.stderr


def test_fetch_needs_no_package_and_prints_the_path(tmp_path: Path) -> None:
    material("weights/ssrnet_morph2.h5")
    blocked = ("torch", "h5py", "cv2", "scipy", "matplotlib")
    result = ssr_train("fetch", "morph2", "--out", tmp_path, blocked=blocked)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == str(tmp_path / "ssrnet_morph2.h5")
    assert (tmp_path / "ssrnet_morph2.h5").is_file()
    listed = ssr_train("fetch", "--list", blocked=blocked)
    assert listed.returncode == 0, listed.stderr
    for name in ("imdb", "wiki", "morph2", "megaface_asian"):
        assert name in listed.stdout


def test_fetch_refuses(tmp_path: Path) -> None:
    line = refused(ssr_train("fetch", "resnet", "--out", tmp_path))
    assert "'resnet'" in line
    assert "morph2" in line
    refused(ssr_train("fetch"), status=2)


@pytest.mark.parametrize("name", RELEASED)
def test_import_keras_replays_the_original_networks_outputs(name: str, tmp_path: Path) -> None:
    h5, out = material(f"weights/ssrnet_{name}.h5"), tmp_path / "bundle"
    result = ssr_train("import-keras", h5, "--out", out, blocked=("torch", "cv2"))
    assert result.returncode == 0, result.stderr
    gender = "gender" in name
    assert ("probability of male" in result.stdout) is gender
    assert "SSR-Net (3, 3, 3)" in result.stdout
    assert "40,915 stored" in result.stdout
    assert "replayed by" in result.stdout
    assert {file.stat().st_mode & 0o777 for file in out.iterdir()} == {0o644}, "a server is another user"
    contract = read_bundle(out).contract
    assert contract.name == ("ssrnet-male" if gender else "ssrnet")
    assert contract.provenance["synthetic"] is False
    assert ssr_train("import-keras", h5, "--out", out, "--force", "--name", "mine").returncode == 0
    assert read_bundle(out).contract.name == "mine"


def test_import_keras_refuses_by_name(tmp_path: Path) -> None:
    h5 = material("weights/ssrnet_morph2.h5")
    out = tmp_path / "bundle"
    assert "absent.h5: no such file" in refused(ssr_train("import-keras", "absent.h5", "--out", out))
    text = tmp_path / "text.h5"
    text.write_text("not weights")
    assert "text.h5: not a readable HDF5 file" in refused(ssr_train("import-keras", text, "--out", out))
    cut = tmp_path / "cut.h5"
    cut.write_bytes(h5.read_bytes()[:100_000])
    assert "cut.h5" in refused(ssr_train("import-keras", cut, "--out", out))
    assert not out.exists()
    (out / "photos").mkdir(parents=True)
    assert "exists already" in refused(ssr_train("import-keras", h5, "--out", out))
    assert "is not a bundle" in refused(ssr_train("import-keras", h5, "--out", out, "--force"))
    assert (out / "photos").is_dir()


def test_foreign_and_altered_keras_files_are_refused(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    foreign = tmp_path / "resnet.h5"
    with h5py.File(foreign, "w") as file:
        file.create_dataset("conv1/conv1/kernel:0", data=np.zeros((3, 3, 3, 8)))
    line = refused(ssr_train("import-keras", foreign, "--out", tmp_path / "b"))
    assert "resnet.h5" in line
    assert "not an SSR-Net of the authors' script; its layers: ['conv1']" in line
    altered = tmp_path / "ssrnet_3_3_3_64_1.0_1.0.h5"
    altered.write_bytes(material("weights/ssrnet_morph2.h5").read_bytes())
    with h5py.File(altered, "r+") as file:
        kernels: list[str] = []
        file.visit(lambda name: kernels.append(name) if name.endswith("conv2d_3/kernel:0") else None)
        file[kernels[0]][0, 0, 0, 0] = np.nan
    line = refused(ssr_train("import-keras", altered, "--out", tmp_path / "b"))
    assert "x.2.conv.weight holds NaN" in line
    with h5py.File(altered, "r+") as file:
        del file[kernels[0]]
    line = refused(ssr_train("import-keras", altered, "--out", tmp_path / "b"))
    assert "layer 'conv2d_3' has no kernel" in line
    assert not (tmp_path / "b").exists()


def test_info_says_what_it_is_without_torch(released: ReleasedBundles) -> None:
    bundle = released("morph2")
    result = ssr_train("info", bundle, blocked=("torch", "h5py", "cv2", "scipy"))
    assert result.returncode == 0, result.stderr
    for words in ("age, years, clipped to 0..101", "BGR", "yunet box + 0.5 left", "Apache-2.0"):
        assert words in result.stdout
    assert "drawn faces" not in result.stdout
    contract = json.loads(ssr_train("info", bundle, "--json").stdout)
    assert contract["interface"]["output"]["name"] == "age"


def test_info_warns_of_drawn_faces() -> None:
    result = ssr_train("info", default_bundle(), blocked=("torch",))
    assert result.returncode == 0, result.stderr
    assert "do not trust them on photos" in result.stdout
    assert "val_mae_of_mean_age" in result.stdout


def test_info_refuses(tmp_path: Path) -> None:
    assert "does not exist" in refused(ssr_train("info", tmp_path / "none"))
    assert "not a bundle" in refused(ssr_train("info", tmp_path))


@pytest.mark.parametrize(
    ("package", "extra", "arguments"),
    [
        ("h5py", "import", ("import-keras", ROOT / "pyproject.toml", "--out", "never")),
        ("torch", "train", ("fit", "--out", "never")),
        ("cv2", "train", ("fit", "--out", "never", "--count", "20", "--batch-size", "4")),
    ],
)
def test_a_missing_package_is_one_line(package: str, extra: str, arguments: tuple[str, ...]) -> None:
    try:
        line = refused(ssr_train(*arguments, blocked=(package,)))
    finally:
        left = (ROOT / "never").exists()
    assert not left
    assert f"needs the package {package}" in line
    assert f"pip install 'ssr-serve[{extra}]'" in line


def test_fit_from_the_command_line(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    out = tmp_path / "run"
    options = ("--count", "60", "--epochs", "1", "--batch-size", "8", "--threads", "1", "--workers", "1")
    result = ssr_train("fit", "--out", out, *options)
    assert result.returncode == 0, result.stderr
    assert "rate 0.002" in result.stdout
    assert "val MAE" in result.stdout
    assert "do not trust them on photos" in result.stdout
    assert read_bundle(out / "bundle").contract.provenance["epochs"] == 1
    assert "holds a finished run" in refused(ssr_train("fit", "--out", out, *options))
    resumed = ssr_train("fit", "--out", out, "--resume")
    assert resumed.returncode == 0
    assert "this run is finished" in resumed.stdout
    assert "--epochs 1, not 2" in refused(ssr_train("fit", "--out", out, "--resume", "--epochs", "2"))


@pytest.mark.parametrize(
    ("status", "arguments"), [(2, ("fit", "--out", "never", "--epochs", "many")), (1, ("info", "nowhere"))]
)
def test_of_several_processes_the_first_says_what_is_wrong(status: int, arguments: tuple[str, ...]) -> None:
    for rank, says in (("0", True), ("1", False)):
        result = ssr_train(*arguments, LOCAL_RANK=rank)
        assert result.returncode == status
        assert bool(result.stderr) == says, result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("fit",),
        ("fit", "--out", "never", "--epochs", "many"),
        ("fit", "--out", "never", "--resume", "--force"),
        ("fit", "--out", "never", "--workers", "0"),
        ("import-keras", "x.h5"),
        ("conjure",),
    ],
)
def test_usage_errors_exit_2(arguments: tuple[str, ...]) -> None:
    pytest.importorskip("torch")
    refused(ssr_train(*arguments), status=2)
    assert not (ROOT / "never").exists()


@pytest.mark.parametrize("command", ["export", "fetch", "fit", "fit-crop", "import-keras", "info"])
def test_help_teaches_by_example_without_any_package(command: str) -> None:
    result = ssr_train(command, "--help", blocked=("torch", "h5py", "cv2", "scipy", "matplotlib"))
    assert result.returncode == 0
    assert f"ssr-train {command}" in result.stdout


STOPPING = pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])


def busy(folder: Path, clean_up: float = 0) -> subprocess.Popen[str]:
    """A command that works in a folder within ``folder``, and has something to clean up when it ends."""
    program = (
        "import sys, tempfile, time; from ssr_bundle.commandline import run\n"
        "def app():\n"
        "    with tempfile.TemporaryDirectory(dir=sys.argv[1]):\n"
        "        try: print('ready', flush=True); time.sleep(60)\n"
        "        finally: time.sleep(float(sys.argv[2]))\n"
        "run(app, 'ssr-train')"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, folder, str(clean_up)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@STOPPING
def test_signals_leave_nothing_behind(tmp_path: Path, number: int, status: int) -> None:
    """Temporary folders go and servers are stopped, whichever signal ends a command."""
    process = busy(tmp_path)
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == status
    assert "Traceback" not in errors
    assert list(tmp_path.iterdir()) == []


@STOPPING
def test_one_wish_to_stop_may_arrive_twice(tmp_path: Path, number: int, status: int) -> None:
    """``timeout`` signals a command and then its group: the second is no second request."""
    process = busy(tmp_path, clean_up=0.3)
    for _ in range(3):
        process.send_signal(number)
        time.sleep(0.05)
    process.communicate(timeout=30)
    assert process.returncode == status
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, 130)])
def test_a_second_wish_ends_at_once(tmp_path: Path, number: int, status: int) -> None:
    process = busy(tmp_path, clean_up=60)
    process.send_signal(number)
    time.sleep(2 * ECHO)
    process.send_signal(number)
    process.communicate(timeout=30)
    assert process.returncode == status
