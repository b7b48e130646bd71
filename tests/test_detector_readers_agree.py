"""Python and the C++ core accept the same detector bundles, and refuse the same."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from bundle_faults import NOT_FILES, edits_of, texts_of, within
from test_detector_bundle import WRONG_MODELS

from ssr_bundle.bundle import BundleError, seal
from ssr_bundle.detector import DetectorContract, read_detector
from ssr_bundle.errors import SsrError
from ssr_ops import Detector, implementations
from ssr_ops.detector_replay import replay_detector
from ssr_ops.shipped import default_detector

EVERY = 1 if os.environ.get("SSR_ALL_EDITS") == "1" else 4


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(default_detector(), tmp_path / "yunet"))


def in_python(folder: Path) -> str | None:
    try:
        read_detector(folder).parameters()
    except BundleError as error:
        return str(error)
    return None


def in_cpp(folder: Path) -> str | None:
    try:
        Detector(folder)
    except SsrError as error:
        return str(error)
    return None


def test_single_edits_of_a_contract(folder: Path) -> None:
    path = folder / "contract.json"
    text = path.read_text()
    wrong, count = [], [0, 0]
    for edit in (*edits_of(text, every=EVERY), *texts_of(text)):
        path.write_bytes(edit.text)
        python, cpp = in_python(folder), in_cpp(folder)
        count[python is not None] += 1
        if (python is None) != (cpp is None) or "\n" in f"{python}{cpp}":
            wrong.append(f"{edit.what}: Python: {python}; C++: {cpp}")
    assert not wrong, "\n".join(wrong[:40])
    assert count[0] > 20
    assert count[1] > 300


@pytest.mark.parametrize("kind", NOT_FILES)
@pytest.mark.parametrize("name", ["contract.json", "model.safetensors", "golden.safetensors", "LICENSE"])
def test_what_is_no_file_is_refused_at_once(folder: Path, name: str, kind: str) -> None:
    (folder / name).unlink()
    NOT_FILES[kind][0](folder / name)
    for refusal in (in_python, in_cpp):
        assert name in str(within(5, lambda refusal=refusal: refusal(folder)))  # type: ignore[misc]


@pytest.mark.parametrize("name", ["contract.json", "model.safetensors", "golden.safetensors", "LICENSE"])
def test_files_that_are_missing_or_altered(folder: Path, name: str) -> None:
    whole = (folder / name).read_bytes()
    for content in (None, b"", whole[:-3], whole + b"}", whole[:-9] + bytes([whole[-9] ^ 64]) + whole[-8:]):
        (folder / name).unlink()
        if content is not None:
            (folder / name).write_bytes(content)
        else:
            assert name in str(in_python(folder))
            assert name in str(in_cpp(folder))
            (folder / name).touch()
        assert in_python(folder) is not None
        assert in_cpp(folder) is not None


@pytest.mark.parametrize("what", WRONG_MODELS)
def test_arrays_that_are_not_the_network_s(folder: Path, what: str) -> None:
    from safetensors.numpy import load_file, save_file

    arrays = load_file(folder / "model.safetensors")
    WRONG_MODELS[what][0](arrays)
    save_file(arrays, folder / "model.safetensors")
    seal(folder, DetectorContract.loads((folder / "contract.json").read_text()))
    assert in_python(folder) is not None
    assert in_cpp(folder) is not None


@pytest.mark.parametrize("implementation", implementations())
def test_the_native_detector_replays_the_golden_record(implementation: str) -> None:
    bundle = read_detector(default_detector())
    replayed = replay_detector(bundle, Detector(bundle, implementation=implementation))
    assert replayed.faces == 3
    assert replayed.pixels < 1e-3
