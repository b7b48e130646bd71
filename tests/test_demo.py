"""``make demo`` and ``make demo-video`` on a real tritonserver, with released weights or the shipped ones."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from conftest import ROOT, material

if TYPE_CHECKING:
    from triton_repo.tritonserver import TritonServer

cv2 = pytest.importorskip("cv2")
pytest.importorskip("tritonclient.grpc")

ASTRONAUT = ROOT / "ssr_ops/assets/astronaut.jpg"
DEAD = "http://127.0.0.1:9"


def demo(
    folder: Path, *arguments: object, program: str = "demo.py", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run it in ``folder``, with no network, an empty cache of weights, and torch made unimportable."""
    (folder / "torch.py").write_text("raise ImportError('the demo needs no torch')")
    return subprocess.run(
        [sys.executable, ROOT / program, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": str(folder),
            "http_proxy": DEAD,
            "https_proxy": DEAD,
            "SSR_SHARED": str(folder / "nothing"),
            **environment,
        },
    )


@pytest.fixture(autouse=True)
def empty_cache(tritonserver: TritonServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine's own cache holds the server, and maybe the released files."""
    monkeypatch.setenv("TRITONSERVER", str(tritonserver.binary))
    monkeypatch.setenv("SSR_CACHE", str(tmp_path / "cache"))


@pytest.mark.server
def test_offline_with_the_shipped_weights(tmp_path: Path) -> None:
    result = demo(tmp_path)
    assert result.returncode == 0, result.stderr
    for step in ("weights", "model repository", "tritonserver", "ages", "stop"):
        assert re.search(rf"^{step} .*\(\d+\.\d s\)$", result.stdout, re.MULTILINE), result.stdout
    (age,) = re.findall(r"^face 1 at x .* pixels: (\d+\.\d) years$", result.stdout, re.MULTILINE)
    assert 0 < float(age) < 101
    assert "learned from drawn faces" in result.stdout
    assert "Haar cascade, a weaker fallback for YuNet" in result.stderr
    assert "ssr-train fetch imdb" in result.stderr
    annotated = cv2.imread(str(tmp_path / "demo" / "annotated.jpg"))
    assert np.abs(annotated.astype(int) - cv2.imread(str(ASTRONAUT))).max() > 100


@pytest.mark.server
def test_released_weights_and_a_photo_of_ones_own(tmp_path: Path) -> None:
    shared = material("weights/ssrnet_morph2.h5").parents[1]
    photo = material("faces/the_flash_cast.png")
    result = demo(tmp_path, "--photo", photo, "--out", "six.png", SSR_SHARED=str(shared))
    assert result.returncode == 0, result.stderr
    assert "released morph2" in result.stdout
    assert len(re.findall(r"^face \d at .* years$", result.stdout, re.MULTILINE)) == 6
    assert result.stderr == ""
    assert (tmp_path / "six.png").is_file()


@pytest.mark.server
def test_a_photo_without_faces(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "plain.png"), np.full((90, 90, 3), 120, np.uint8))
    result = demo(tmp_path, "--photo", "plain.png", "--detector", "haar")
    assert result.returncode == 1
    assert result.stderr.splitlines() == ["demo: plain.png: no face found in it"]
    assert not (tmp_path / "demo").exists()


def test_photos_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("no image")
    for name, fault in (("gone.jpg", "gone.jpg: No such file"), ("text.jpg", "text.jpg: not an image")):
        result = demo(tmp_path, "--photo", name)
        assert result.returncode == 1
        assert len(result.stderr.splitlines()) == 1
        assert fault in result.stderr
    (tmp_path / "own.jpg").write_bytes(ASTRONAUT.read_bytes())
    result = demo(tmp_path, "--photo", "own.jpg", "--out", "own.jpg")
    assert result.returncode == 1
    assert "would overwrite the photo" in result.stderr
    assert demo(tmp_path, "--colour", "rgb").returncode == 2


@pytest.mark.server
def test_people_in_a_clip_of_drawn_ones(tmp_path: Path) -> None:
    """From frames to files, with nothing replaced: everybody who walks by is followed once and has an age."""
    result = demo(tmp_path, "--bundle", "default", program="demo_video.py")
    assert result.returncode == 0, result.stderr
    assert "drawn people show that everything works, not how old anybody is" in result.stderr
    out = tmp_path / "demo" / "video"
    names = ["ages.jsonl", "annotated.mp4", "captions.vtt", "drawn.mp4", "people.csv"]
    assert sorted(path.name for path in out.iterdir()) == names
    *told, summary = (json.loads(line) for line in (out / "ages.jsonl").read_text().splitlines())
    assert (summary["complete"], summary["frames"], summary["unreadable"]) == (True, 250, 0)
    assert summary["model"]["synthetic"] is True
    ended = [event for event in told if event["event"] == "end"]
    assert len(ended) == summary["tracks"] == 4
    assert all(0 < event["age"] < 101 for event in ended)
    assert cv2.VideoCapture(str(out / "annotated.mp4")).get(cv2.CAP_PROP_FRAME_COUNT) == 250
    gone = demo(tmp_path, "--video", "gone.mp4", program="demo_video.py")
    assert (gone.returncode, gone.stderr) == (1, "demo-video: gone.mp4: no such file\n")
