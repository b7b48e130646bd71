"""ssr_client: pictures, detectors and crops on their own, then the clients against a real tritonserver."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT, ReleasedBundles, Serve, material

from ssr_bundle.bundle import read_bundle
from ssr_bundle.contract import Crop, Input, Interval
from ssr_ops import Engine, reference
from ssr_ops.golden import write_bundle
from ssr_ops.shipped import default_bundle

cv2 = pytest.importorskip("cv2")
pytest.importorskip("tritonclient.grpc")

from ssr_client import (  # noqa: E402
    AgeClient,
    AsyncAgeClient,
    BadInput,
    ClientError,
    DeadlineExceeded,
    Detection,
    Face,
    InterfaceChanged,
    ModelNotFound,
    ServerUnavailable,
    preprocess,
)
from ssr_client import bench as load_test  # noqa: E402
from ssr_client import detectors as detection  # noqa: E402
from ssr_client.annotate import annotate, label, write_picture  # noqa: E402
from ssr_client.exchange import (  # noqa: E402
    Attempts,
    Deadline,
    RetryBudget,
    ServedModel,
    request_arguments,
)
from ssr_client.faces import Detector  # noqa: E402
from ssr_client.preprocess import as_bgr, crop_faces, read_picture  # noqa: E402

ASTRONAUT = ROOT / "ssr_ops/assets/astronaut.jpg"


@pytest.fixture(autouse=True)
def test_material(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No cache of the machine's, no network."""
    monkeypatch.setenv("SSR_CACHE", str(tmp_path / "cache"))


# -- without a server --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import ssr_client", "numpy cv2 grpc tritonclient torch safetensors rich typer pooch"),
        (
            "from ssr_client import AgeClient, AsyncAgeClient, BadInput, Detection",
            "cv2 grpc tritonclient torch safetensors rich typer pooch",
        ),
        ("import ssr_client.cli", "cv2 grpc tritonclient torch safetensors pooch"),
        ("import ssr_client.bench", "cv2 grpc tritonclient torch safetensors rich typer pooch"),
    ],
)
def test_importing_is_light(statement: str, absent: str) -> None:
    """At most 0.15 s more than ``import tritonclient.grpc``: the heavy modules come on first use."""
    names = [*absent.split(), "ssr_ops", "ssr_train", "triton_repo"]
    code = f"import sys; {statement}; print([m for m in {names} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_golden_crops_to_the_bit() -> None:
    bundle = read_bundle(default_bundle())
    golden = bundle.golden()
    crops = crop_faces(golden["picture"], golden["boxes"], bundle.contract.interface.crop)
    np.testing.assert_array_equal(crops, golden["crops"])


def test_random_crops_equal_the_reference() -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        height, width = rng.integers(3, 400, 2)
        picture = rng.integers(0, 256, (height, width, 3), np.uint8)
        boxes = np.column_stack(
            [
                rng.uniform(0, width, 5),
                rng.uniform(0, height, 5),
                rng.uniform(1, 200, 5),
                rng.uniform(1, 200, 5),
            ]
        )
        crop = Crop(margin=(float(rng.uniform(0, 1)), float(rng.uniform(0, 1))))
        np.testing.assert_array_equal(
            crop_faces(picture, boxes, crop), reference.crop_faces(picture, boxes, crop)
        )


@pytest.mark.parametrize("largest", [1 << 22, 0], ids=["filled in", "looked up"])
@pytest.mark.parametrize("border", ["replicate", "constant"])
def test_crops_beyond_the_picture_equal_the_reference(
    border: str, largest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both ways to cut what reaches beyond it, on each side and on several."""
    monkeypatch.setattr(preprocess, "_LARGEST", largest)
    rng = np.random.default_rng(4)
    picture = rng.integers(0, 256, (60, 90, 3), np.uint8)
    boxes = [(30.5, 20.2, 30, 25), (-9.7, 20, 30, 25), (70, 20, 31, 25), (30, -8, 30, 25), (30, 50, 30, 25)]
    for margin in ((0.2, 0.1, 0.3, 0.4), (2.0, 2.0, 2.0, 2.0), (-0.2, -0.1, 0.0, -0.3)):
        crop = Crop(margin=margin, border=border)
        expected = reference.crop_faces(picture, np.array(boxes), crop)
        np.testing.assert_array_equal(crop_faces(picture, boxes, crop), expected)


def test_boxes_that_cannot_be_cut() -> None:
    picture = np.zeros((50, 60, 3), np.uint8)
    for box, fault in (
        ((0, 0, 0, 5), "no area"),
        ((0, 0, float("nan"), 5), "no area"),
        ((500, 0, 5, 5), "outside the picture"),
    ):
        with pytest.raises(BadInput, match=rf"box 1: .*{fault}"):
            crop_faces(picture, [(1, 1, 5, 5), box], Crop())
    with pytest.raises(BadInput, match=r"expected shape \(M, 4\)"):
        crop_faces(picture, [1, 2, 3], Crop())
    assert crop_faces(picture, [], Crop()).shape == (0, 64, 64, 3)


def test_pictures_of_every_kind_become_bgr() -> None:
    rng = np.random.default_rng(2)
    bgr = rng.integers(0, 256, (5, 7, 3), np.uint8)
    np.testing.assert_array_equal(as_bgr(bgr[..., ::-1], "rgb"), bgr)
    np.testing.assert_array_equal(as_bgr(np.dstack([bgr, bgr[..., :1]])), bgr)
    np.testing.assert_array_equal(as_bgr(bgr.astype(np.uint16) * 257), bgr)
    grey = bgr[..., 0]
    np.testing.assert_array_equal(as_bgr(grey), np.dstack([grey] * 3))
    np.testing.assert_array_equal(as_bgr(grey[..., None]), np.dstack([grey] * 3))
    for wrong, fault in (
        (bgr / 255.0, "float64"),
        (bgr[None], "expected shape"),
        (bgr[..., :2], "expected shape"),
        (bgr[:0], "no pixels"),
        ("photo.jpg", "expected pixels"),
        (None, "cv2.imread gives that"),
        ([[1, 2], [3]], "not an array of pixels"),
    ):
        with pytest.raises(BadInput, match=fault):
            as_bgr(wrong)
    with pytest.raises(BadInput, match="'hsv' is unknown, expected 'bgr' or 'rgb'"):
        as_bgr(bgr, "hsv")


def test_image_files(tmp_path: Path) -> None:
    picture = read_picture(ASTRONAUT)
    assert picture.shape == (512, 512, 3)
    deep = np.random.default_rng(3).integers(0, 65536, (9, 8), np.uint16)
    cv2.imwrite(str(tmp_path / "deep.png"), deep)
    assert read_picture(tmp_path / "deep.png").shape == (9, 8, 3)
    assert read_picture(tmp_path / "deep.png").dtype == np.uint8
    (tmp_path / "text.jpg").write_text("no image")
    with pytest.raises(BadInput, match=r"text\.jpg: not an image"):
        read_picture(tmp_path / "text.jpg")
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(BadInput, match=r"empty\.jpg: empty file"):
        read_picture(tmp_path / "empty.jpg")
    with pytest.raises(FileNotFoundError):
        read_picture(tmp_path / "none.jpg")


def test_exif_orientation_is_honoured(tmp_path: Path) -> None:
    image_module = pytest.importorskip("PIL.Image")
    picture = np.zeros((40, 80, 3), np.uint8)
    picture[:, :40] = 255  # stored: left half white
    image = image_module.fromarray(picture)
    exif = image_module.Exif()
    exif[0x0112] = 6  # shown turned a quarter clockwise: the left becomes the top
    image.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    upright = read_picture(tmp_path / "turned.jpg")
    assert upright.shape == (80, 40, 3)
    assert upright[:35].mean() > 240 > 15 > upright[45:].mean()


def yunet() -> detection.YuNet:
    return detection.YuNet(material("detectors/yunet_n_640_640.onnx"))


@pytest.mark.parametrize("make", [yunet, detection.Haar], ids=["yunet", "haar"])
@pytest.mark.parametrize("scale", [0.5, 1, 5])
def test_both_detectors_find_the_astronaut(make: Callable[[], Detector], scale: float) -> None:
    """In large pictures too, which are searched in smaller copies, with the boxes mapped back."""
    detector = make()
    picture = cv2.resize(read_picture(ASTRONAUT), None, fx=scale, fy=scale)
    (face,) = detector.detect(picture)
    x, y, w, h = (v / scale for v in detection.to_convention(face.box, detector.box_convention, "yunet"))
    assert (x + w / 2, y + h / 2) == pytest.approx((224, 120), abs=8)
    assert 75 < w < 105
    assert 85 < h < 130
    if face.landmarks:
        assert face.landmarks[0] == pytest.approx((205 * scale, 103 * scale), abs=10 * scale)


def test_yunet_finds_a_group_left_to_right() -> None:
    found = yunet().detect(read_picture(material("faces/the_flash_cast.png")))
    assert len(found) == 6
    centres = [d.box[0] + d.box[2] / 2 for d in found]
    assert centres == sorted(centres)


def test_haar_filters_its_weak_hits() -> None:
    group = read_picture(material("faces/the_flash_cast.png"))
    real = [d.box for d in yunet().detect(group)]
    found = detection.Haar().detect(group)
    assert 4 <= len(found) <= 6
    for d in found:
        cx, cy = d.box[0] + d.box[2] / 2, d.box[1] + d.box[3] / 2
        assert any(x < cx < x + w and y < cy < y + h for x, y, w, h in real)


def test_the_adapter_brings_haar_closer_to_yunet() -> None:
    group = read_picture(material("faces/the_flash_cast.png"))
    theirs, ours = yunet().detect(group), detection.Haar().detect(group)
    raw, mapped = [], []
    for d in ours:
        near = min(theirs, key=lambda t: abs(t.box[0] - d.box[0]) + abs(t.box[1] - d.box[1])).box
        size = np.array(near[2:])
        raw.append(np.abs(np.array(d.box[2:]) / size - 1).mean())
        mapped.append(np.abs(np.array(detection.to_convention(d.box, "haar", "yunet")[2:]) / size - 1).mean())
    assert np.mean(mapped) < 0.75 * np.mean(raw)


def test_detectors_find_nothing_in_nothing() -> None:
    for detector in (yunet(), detection.Haar()):
        for shape in ((1, 1, 3), (3, 2000, 3), (300, 200, 3)):
            assert detector.detect(np.full(shape, 127, np.uint8)) == []


def test_auto_says_that_it_falls_back(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SSR_SHARED", str(tmp_path))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    with pytest.warns(detection.FallbackWarning, match="Haar cascade, a weaker fallback for YuNet"):
        assert detection.open_detector("auto").box_convention == "haar"
    with pytest.raises(ValueError, match="cannot fetch 'yunet'"):
        detection.open_detector("yunet")
    with pytest.raises(ValueError, match="'mtcnn' is unknown, expected one of auto, yunet, haar"):
        detection.open_detector("mtcnn")
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    for runtime, told in (("opencv", "OpenCV cannot load it"), ("onnxruntime", "not an ONNX model")):
        with pytest.raises(ValueError, match=rf"bad\.onnx: {told}"):
            detection.YuNet(tmp_path / "bad.onnx", runtime=runtime)


def test_annotation_stays_in_the_picture() -> None:
    for ground in (0, 255):
        picture = np.full((200, 300, 3), ground, np.uint8)
        box = (100.0, 90.0, 60.0, 80.0)
        drawn = annotate(picture, [Face(box, None, 43.4)])
        assert (picture == ground).all()
        assert len(np.unique(drawn.reshape(-1, 3), axis=0)) > 10
        np.testing.assert_array_equal(drawn[:, :60], picture[:, :60])
        contrast = np.abs(drawn.astype(int) - ground).max(axis=2)
        assert (contrast > 100).sum() > 800
    for box in ((-20.0, -20.0, 50.0, 50.0), (280.0, 180.0, 50.0, 60.0), (0.0, 0.0, 300.0, 200.0)):
        assert annotate(picture, [Face(box, None, 5.0)]).shape == picture.shape
    assert annotate(np.zeros((1, 1, 3), np.uint8), [Face((0, 0, 1, 1), None, 5.0)]).shape == (1, 1, 3)


def test_labels() -> None:
    assert label(Face((0, 0, 1, 1), None, 43.4)) == "43"
    assert label(Face((0, 0, 1, 1), None, 43.4, (38.2, 49.9))) == "43 (38-50)"
    assert label(Face((0, 0, 1, 1), None, 43.4, track_id=7)) == "#7 43"
    assert label(Face((0, 0, 1, 1), None, None, attributes={"male": 0.934})) == "male 93%"


def test_writing_pictures(tmp_path: Path) -> None:
    picture = np.zeros((4, 4, 3), np.uint8)
    write_picture(tmp_path / "new" / "a.png", picture)
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["a.png"]
    for name, suffix in (("a.xyz", r"\.xyz"), ("a", ""), ("a.pgm", r"\.pgm")):
        with pytest.raises(BadInput, match=f"writes no '{suffix}' files"):
            write_picture(tmp_path / name, picture)


def test_pictures_that_a_format_cannot_hold(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """JPEG ends at 65500 pixels a side, WebP at 16383; OpenCV's own account of it stays off the screen."""
    wide = np.zeros((2, 70_000, 3), np.uint8)
    for name in ("a.jpg", "a.webp"):
        with pytest.raises(BadInput, match=rf"{name}: 70000 x 2 pixels do not fit a \.\w+ file"):
            write_picture(tmp_path / name, wide)
    write_picture(tmp_path / "a.png", wide)
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]
    assert "imencode" not in capfd.readouterr().err


class Failure(Exception):
    """As tritonclient's InferenceServerException."""

    def __init__(self, status: str, message: str = "reason") -> None:
        self._status, self._message = status, message

    def status(self) -> str:
        return f"StatusCode.{self._status}"

    def message(self) -> str:
        return self._message


def test_only_unavailable_is_tried_again_with_full_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[float, float]] = []
    monkeypatch.setattr(random, "uniform", lambda low, high: asked.append((low, high)) or 0.0)  # type: ignore[func-returns-value]
    attempts = Attempts(3, RetryBudget(), Deadline(10), "host:1")
    for _ in range(3):
        attempts.pause(Failure("UNAVAILABLE"))
    assert asked == [(0, 0.1), (0, 0.2), (0, 0.4)]
    with pytest.raises(ServerUnavailable, match="4 attempts"):
        attempts.pause(Failure("UNAVAILABLE"))
    for status, kind in (
        ("INVALID_ARGUMENT", BadInput),
        ("NOT_FOUND", ModelNotFound),
        ("INTERNAL", ClientError),
        ("UNAUTHENTICATED", ClientError),
    ):
        with pytest.raises(kind, match=r"host:1: .*reason"):
            Attempts(3, RetryBudget(), Deadline(10), "host:1").pause(Failure(status))
    with pytest.raises(DeadlineExceeded):
        Attempts(3, RetryBudget(), Deadline(10), "host:1").pause(Failure("DEADLINE_EXCEEDED"))
    with pytest.raises(DeadlineExceeded, match="queue"):
        Attempts(3, RetryBudget(), Deadline(10), "").pause(Failure("UNAVAILABLE", "Request timeout expired"))


def test_a_deadline_is_the_queue_timeout_too() -> None:
    interface = read_bundle(default_bundle()).contract.interface
    arguments = request_arguments(ServedModel(interface, 8, ("age",)), True, left=0.25)
    assert (arguments["client_timeout"], arguments["timeout"]) == (0.25, 250_000)
    assert arguments["parameters"] == {"interface_sha256": interface.sha256}


def test_the_budget_stops_a_storm_of_retries() -> None:
    budget = RetryBudget()

    def storm() -> int:
        spent = 0
        for _ in range(100):
            with contextlib.suppress(ServerUnavailable):
                Attempts(1, budget, Deadline(10), "host:1").pause(Failure("UNAVAILABLE"))
                spent += 1
        return spent

    assert storm() == 10
    for _ in range(25):
        budget.earn()
    assert storm() == 2


@pytest.mark.parametrize(
    "options",
    [
        {"timeout": 0},
        {"timeout": "5"},
        {"timeout": None},
        {"wait": -1},
        {"wait": "long"},
        {"wait": float("nan")},
        {"retries": -1},
        {"retries": 1.5},
        {"in_flight": 0},
        {"url": None},
        {"url": 8001},
        {"url": ""},
        {"model": None},
        {"version": "newest"},
        {"version": 1.0},
        {"version": -1},
        {"version": "²"},
        {"detector": "mtcnn"},
        {"headers": "key=value"},
    ],
    ids=str,
)
def test_options_that_make_no_sense(options: dict[str, Any]) -> None:
    for kind in (AgeClient, AsyncAgeClient):
        with pytest.raises(BadInput, match=next(iter(options))):
            kind(**options)


@pytest.mark.parametrize(
    ("headers", "fault"),
    [
        ({"Key": "v"}, "'Key': expected a name"),
        ({"a key": "v"}, "'a key': expected a name"),
        ({"": "v"}, "'': expected a name"),
        ({"clé": "v"}, "'clé': expected a name"),
        ({1: "v"}, "1: expected a name"),
        ({"key": "secret\n"}, "'key': its value must be printable ASCII"),
        ({"key": "sécret"}, "'key': its value must be printable ASCII"),
        ({"key": 1}, "'key': its value must be printable ASCII"),
        ({"key-bin": "secret"}, "'key-bin': its value must be bytes, got str"),
    ],
)
def test_headers_that_grpc_refuses(headers: Any, fault: str) -> None:
    """By name, and without the value, which may be secret."""
    with pytest.raises(BadInput, match=f"headers: {fault}") as caught:
        AgeClient(headers=headers)
    assert "cret" not in str(caught.value)


def test_tokens_that_grpc_refuses() -> None:
    for token in ("secret\n", "sécret", b"secret"):
        with pytest.raises(BadInput, match="token: expected printable ASCII") as caught:
            AgeClient(token=token)
        assert "cret" not in str(caught.value)


def test_versions() -> None:
    for given, sent in ((None, ""), ("", ""), (3, "3"), ("12", "12")):
        assert AgeClient(version=given).version == sent


@pytest.fixture
def closed_port() -> Iterator[int]:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        yield unused.getsockname()[1]


def test_no_server(closed_port: int) -> None:
    begin = time.monotonic()
    with (
        pytest.raises(ServerUnavailable, match=rf"127\.0\.0\.1:{closed_port}: no server answers"),
        AgeClient(f"127.0.0.1:{closed_port}", wait=0.5),
    ):
        pass
    assert time.monotonic() - begin < 4

    async def ask() -> None:
        async with AsyncAgeClient(f"127.0.0.1:{closed_port}", wait=0.5):
            pass

    with pytest.raises(ServerUnavailable, match="no server answers"):
        asyncio.run(ask())


@pytest.mark.parametrize("says", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"], ids=["silent", "http"])
def test_something_else_listens_there(says: bytes) -> None:
    """A TCP server that accepts and then says nothing, or closes with something that is not gRPC."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        kept = []

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    kept.append(connection)
                    if says:
                        connection.sendall(says)
                        connection.close()

        threading.Thread(target=accept, daemon=True).start()
        begin = time.monotonic()
        url = f"127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(ServerUnavailable, match="waited 1 s"), AgeClient(url, wait=1.0):
            pass
        assert time.monotonic() - begin < 5
        listener.shutdown(socket.SHUT_RDWR)
        for connection in kept:
            connection.close()


def test_a_closed_client_says_so() -> None:
    client = AgeClient("127.0.0.1:1")
    with pytest.raises(ServerUnavailable, match="not open"):
        client.predict(np.zeros((1, 64, 64, 3), np.uint8))


# -- against a real server ---------------------------------------------------------------------------


OPEN = {"shared_memory": True, "open": True}
"""What lets clients share memory, and list the models that there are."""


@pytest.fixture(scope="module")
def url(serve: Serve) -> str:
    """The shipped default bundle as ``ssrnet``, merging batches of up to 16, and its calibrated twin."""
    return serve({"ssrnet": default_bundle(), "calibrated": calibrated(serve)}, max_batch=16, **OPEN).grpc_url


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[AgeClient]:
    with AgeClient(url, detector=detection.Haar()) as opened:
        yield opened


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(default_bundle())


def calibrated(serve: Serve) -> Path:
    path = serve._folder / "calibrated-bundle"
    if not path.exists():
        bundle = read_bundle(default_bundle())
        interval = Interval(0.9, (30.0, 50.0), (4.0, 6.5, 9.0))
        write_bundle(path, dataclasses.replace(bundle.contract, interval=interval), bundle.parameters())
    return path


def noise(n: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(seed).integers(0, 256, (n, 64, 64, 3), np.uint8)


@pytest.fixture(scope="module")
def portraits() -> np.ndarray[Any, np.dtype[np.uint8]]:
    """150 crops that all differ in age: cuts of the astronaut."""
    rng = np.random.default_rng(5)
    boxes = np.array([178.0, 66, 92, 111]) + rng.uniform(-25, 25, (150, 4))
    return crop_faces(read_picture(ASTRONAUT), boxes, Crop())


@pytest.mark.server
def test_answers_have_the_engines_bits(client: AgeClient, engine: Engine, portraits: Any) -> None:
    """Split into batches of at most 16, several in flight, joined in order."""
    assert client.max_batch_size == 16
    expected = engine.predict(portraits)
    assert len(np.unique(expected)) > 100
    for n in (1, 2, 15, 16, 17, 33, 150):
        answer = client.predict(portraits[:n])
        assert answer.dtype == np.float32
        np.testing.assert_array_equal(answer, expected[:n])
    np.testing.assert_array_equal(client.predict(portraits[::-7]), expected[::-7])
    np.testing.assert_array_equal(client.predict(portraits[..., ::-1], colour="rgb"), expected)
    assert not np.array_equal(client.predict(portraits, colour="rgb"), expected)
    np.testing.assert_array_equal(client.predict(list(portraits[:3])), expected[:3])


@pytest.mark.server
def test_a_local_server_is_reached_past_a_proxy(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    with AgeClient(url, wait=2) as client:
        assert client.predict(noise(1)).shape == (1,)


@pytest.mark.server
def test_nothing_asks_nobody(client: AgeClient) -> None:
    before = client.statistics()[0].inference_count
    assert client.predict(noise(0)).shape == (0,)
    assert client.predict([]).dtype == np.float32
    assert client.predict_full(noise(0)).keys() == {"age"}
    assert client.statistics()[0].inference_count == before


@pytest.mark.server
def test_which_weights_answered(client: AgeClient) -> None:
    client.predict(noise(1))
    contract = read_bundle(default_bundle()).contract
    assert client.weights_sha256 == contract.weights_sha256
    assert client.synthetic is True
    assert client.interface == contract.interface


@pytest.mark.server
def test_intervals(url: str, portraits: Any, engine: Engine) -> None:
    with AgeClient(url, "calibrated", detector=detection.Haar()) as client:
        full = client.predict_full(portraits[:20])
        assert full.keys() == {"age", "age_interval"}
        np.testing.assert_array_equal(full["age"], engine.predict(portraits[:20]))
        assert full["age_interval"].shape == (20, 2)
        assert (full["age_interval"][:, 0] < full["age"]).all()
        np.testing.assert_array_equal(client.predict(portraits[:20]), full["age"])
        assert client.predict_full([])["age_interval"].shape == (0, 2)
        (face,) = client.predict_photo(read_picture(ASTRONAUT))
        assert face.interval is not None
        assert face.age is not None
        assert face.interval[0] < face.age < face.interval[1]


@pytest.mark.server
def test_gender_network(serve: Serve, released: ReleasedBundles) -> None:
    bundle = released("imdb_gender_models")
    with AgeClient(serve({"general": bundle}).grpc_url, "general", detector=yunet()) as client:
        (face,) = client.predict_photo(read_picture(ASTRONAUT))
        assert client.synthetic is False
    assert face.age is None
    assert face.attributes.keys() == {"male"}
    assert 0 <= face.attributes["male"] < 0.5


@pytest.mark.server
def test_photo(client: AgeClient, engine: Engine) -> None:
    picture = read_picture(ASTRONAUT)
    (face,) = client.predict_photo(picture)
    crops = crop_faces(picture, [face.box], client.interface.crop)
    assert face.age == engine.predict(crops)[0]
    assert client.predict_photo(picture[..., ::-1], colour="rgb") == [face]
    assert client.predict_photo(np.full((200, 200, 3), 90, np.uint8)) == []
    image_module = pytest.importorskip("PIL.Image")
    assert client.predict_photo(image_module.fromarray(picture[..., ::-1])) == [face]
    assert client.predict([image_module.fromarray(crop[..., ::-1]) for crop in crops]) == [face.age]
    with pytest.raises(BadInput, match="expected uint8"):
        client.predict_photo(picture / 255)


@pytest.mark.server
def test_own_detector_warns_once(url: str) -> None:
    class Mine:
        box_convention = "mine"

        def detect(self, picture: Any) -> list[Detection]:
            return [
                Detection((178.0, 66.0, 92.0, 111.0)),
                Detection((50.0, 60.0, 70.0, 80.0)),
                Detection((900.0, 900.0, 10.0, 10.0)),  # outside the picture: left out
            ]

    with AgeClient(url, detector=Mine()) as client:
        picture = read_picture(ASTRONAUT)
        with pytest.warns(detection.BoxConventionWarning, match="'mine'.*'yunet'"):
            faces = client.predict_photo(picture)
        assert [f.box[0] for f in faces] == [50.0, 178.0]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert client.predict_photo(picture) == faces


@pytest.mark.server
def test_threads_share_a_client(client: AgeClient, engine: Engine, portraits: Any) -> None:
    expected = engine.predict(portraits)

    def ask(i: int) -> bool:
        part = slice(i, i + 1 + i % 40)
        return np.array_equal(client.predict(portraits[part]), expected[part])

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(100)))


@pytest.mark.server
def test_async_twin(url: str, engine: Engine, portraits: Any) -> None:
    expected = engine.predict(portraits)

    async def ask() -> None:
        async with AsyncAgeClient(url, detector=detection.Haar()) as client:
            answers = await asyncio.gather(*(client.predict(portraits[:n]) for n in (1, 16, 17, 150, 0)))
            for n, answer in zip((1, 16, 17, 150, 0), answers, strict=True):
                np.testing.assert_array_equal(answer, expected[:n])
            assert client.synthetic is True
            assert len(await client.predict_photo(read_picture(ASTRONAUT))) == 1
            with pytest.raises(BadInput, match="expected uint8"):
                await client.predict(portraits.astype(np.float32))
        async with AsyncAgeClient(url, "calibrated") as client:
            assert (await client.predict_full(portraits[:3]))["age_interval"].shape == (3, 2)
        with pytest.raises(ModelNotFound, match="no model 'none'; it has calibrated, ssrnet"):
            async with AsyncAgeClient(url, "none"):
                pass
        async with AsyncAgeClient(url) as client:
            client.options = dataclasses.replace(client.options, timeout=0.05)
            with pytest.raises(DeadlineExceeded, match=r"within 0\.05 s"):
                await client.predict(np.concatenate([portraits] * 40))

    asyncio.run(ask())


@pytest.mark.server
def test_crops_that_are_none(client: AgeClient) -> None:
    good = noise(2)
    for crops, fault in (
        (good.astype(np.float32), "float32 values, expected uint8"),
        (good[:, :32], r"shape \(2, 32, 64, 3\), expected \(N, 64, 64, 3\)"),
        (good[0], r"pass crop\[None\]"),
        ([good[0], good[0, :32]], "expected uint8"),
        (None, "expected"),
    ):
        with pytest.raises(BadInput, match=fault):
            client.predict(crops)
    with pytest.raises(BadInput, match="'yuv' is unknown"):
        client.predict(good, colour="yuv")


@pytest.mark.server
def test_unknown_models_and_versions(url: str) -> None:
    begin = time.monotonic()
    for model, version, fault in (
        ("none", "", "no model 'none'; it has calibrated, ssrnet"),
        ("ssrnet", 7, "no version 7 of model 'ssrnet'"),
    ):
        with pytest.raises(ModelNotFound, match=fault), AgeClient(url, model, version):
            pass
    assert time.monotonic() - begin < 3
    with AgeClient(url, version=1) as client:
        assert client.predict(noise(1)).shape == (1,)


@pytest.mark.server
def test_raw_bad_requests_leave_the_server_whole(url: str, client: AgeClient, engine: Engine) -> None:
    """What this client never sends: wrong dtype, shape, byte size, names, batches, over the real wire."""
    from tritonclient.grpc import InferenceServerClient, InferInput, InferRequestedOutput
    from tritonclient.utils import InferenceServerException

    raw = InferenceServerClient(url)

    def tensor(array: Any, name: str = "image", dtype: str = "UINT8", shape: Any = None) -> InferInput:
        made = InferInput(name, list(shape or array.shape), dtype)
        made._raw_content = array.tobytes()
        return made

    good = noise(2)
    cases: list[tuple[str, dict[str, Any]]] = [
        ("data-type|datatype", {"inputs": [tensor(good.astype(np.float32), dtype="FP32")]}),
        ("shape", {"inputs": [tensor(good[:, :32])]}),
        ("batch-size must be <= 16", {"inputs": [tensor(good[0])]}),
        ("byte size", {"inputs": [tensor(good, shape=(3, 64, 64, 3))]}),
        ("byte size", {"inputs": [tensor(good, shape=(1, 64, 64, 3))]}),
        ("unexpected inference input|unexpected input", {"inputs": [tensor(good, name="picture")]}),
        ("expected 1 inputs|missing", {"inputs": []}),
        ("expected 12288, got 0", {"inputs": [tensor(noise(0))]}),
        ("batch-size must be <= 16", {"inputs": [tensor(noise(17))]}),
        ("output", {"inputs": [tensor(good)], "outputs": [InferRequestedOutput("gender")]}),
        ("interface", {"inputs": [tensor(good)], "parameters": {"interface_sha256": "0" * 64}}),
        ("unknown model", {"inputs": [tensor(good)], "model_name": "none"}),
        ("unknown model|version", {"inputs": [tensor(good)], "model_version": "9"}),
    ]
    for fault, arguments in cases:
        with pytest.raises(InferenceServerException, match=f"(?i){fault}"):
            raw.infer(**{"model_name": "ssrnet", **arguments})
    raw.close()
    np.testing.assert_array_equal(client.predict(good), engine.predict(good))


@pytest.mark.server
def test_deadlines_are_kept_and_sent(url: str, client: AgeClient, engine: Engine, portraits: Any) -> None:
    """A deadline that cannot be kept is an error in time, and the next call is answered."""
    crops = np.concatenate([portraits] * 40)
    with AgeClient(url) as hurried:
        hurried.options = dataclasses.replace(hurried.options, timeout=0.05)
        begin = time.monotonic()
        with pytest.raises(DeadlineExceeded, match=r"within 0\.05 s"):
            hurried.predict(crops)
        assert time.monotonic() - begin < 2
    np.testing.assert_array_equal(client.predict(portraits[:3]), engine.predict(portraits[:3]))


@pytest.mark.server
def test_a_request_past_its_deadline_is_not_computed(url: str, client: AgeClient, engine: Engine) -> None:
    """A client's deadline ends its request in the server's queue: no queue policy is needed for that."""
    from ssr_client import exchange
    from tritonclient.grpc import InferenceServerClient

    raw = InferenceServerClient(url)

    def computed() -> int:
        return int(raw.get_inference_statistics("ssrnet").model_stats[0].inference_count)

    before, crops, busy = computed(), noise(16), 1200
    done = threading.Semaphore(0)
    with AgeClient(url, shared_memory=True) as sharing, AgeClient(url) as hurried:
        hurried.options = dataclasses.replace(hurried.options, timeout=0.1)
        # Crops in memory that all requests share: they reach the queue, two seconds of work, at once.
        assert sharing._memory is not None
        region = sharing._memory.take(crops.nbytes)
        tensor = exchange.tensor_of(crops, sharing._now(), region)
        sharing._register(region, exchange.Deadline(10))
        for _ in range(busy):
            raw.async_infer("ssrnet", [tensor], callback=lambda result, error: done.release())
        with pytest.raises(DeadlineExceeded):
            hurried.predict(noise(1))
        for _ in range(busy):
            assert done.acquire(timeout=60)
    np.testing.assert_array_equal(client.predict(crops), engine.predict(crops))
    assert computed() - before == 16 * (busy + 1)
    raw.close()


@pytest.mark.server
def test_closing_under_way_is_told_as_such(url: str) -> None:
    """Threads whose client is closed under them get the client's own error, at once."""
    opened = AgeClient(url)
    opened.open()
    crops, found = noise(400), []

    def work() -> None:
        try:
            while True:
                opened.predict(crops)
        except Exception as error:
            found.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(0.2)
    opened.close()
    for thread in threads:
        thread.join(20)
    assert [type(error) for error in found] == [ServerUnavailable] * 4, found


@pytest.mark.server
def test_closing_under_way_is_told_as_such_to_tasks(url: str) -> None:
    """The asynchronous twin; a bare CancelledError would be taken for the task's own."""
    crops = noise(400)

    async def work(opened: AsyncAgeClient) -> None:
        while True:
            await opened.predict(crops)

    async def go() -> list[Any]:
        opened = AsyncAgeClient(url, in_flight=1)
        await opened.open()
        tasks = [asyncio.create_task(work(opened)) for _ in range(4)]
        await asyncio.sleep(0.2)
        await opened.close()
        return await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 20)

    found = asyncio.run(go())
    assert [type(error) for error in found] == [ServerUnavailable] * 4, found
    assert all("the client is closed" in str(error) for error in found)


@pytest.mark.server
def test_a_cancelled_task_stays_cancelled(url: str) -> None:
    """Also if its client is closed in the same moment."""
    crops = noise(400)

    async def go(closing: bool) -> asyncio.Task[Any]:
        opened = AsyncAgeClient(url, in_flight=1)
        await opened.open()
        task = asyncio.create_task(opened.predict(crops))
        await asyncio.sleep(0.02)
        task.cancel()
        if closing:
            await opened.close()
        await asyncio.wait([task], timeout=20)
        if not closing:
            assert (await opened.predict(crops[:1])).shape == (1,)
        await opened.close()
        return task

    for closing in (False, True):
        assert asyncio.run(go(closing)).cancelled()


@pytest.mark.server
def test_async_calls_are_not_held_back(url: str, engine: Engine) -> None:
    """``in_flight`` bounds the parts of one call, not the calls: the server gets to merge them."""
    crops = noise(64)

    async def go() -> tuple[list[Any], int]:
        async with AsyncAgeClient(url, in_flight=1) as opened:
            now = most = 0
            send = opened._client.infer

            async def counted(*arguments: Any, **keywords: Any) -> Any:
                nonlocal now, most
                now, most = now + 1, max(most, now + 1)
                try:
                    return await send(*arguments, **keywords)
                finally:
                    now -= 1

            opened._client.infer = counted
            return await asyncio.gather(*(opened.predict(c[None]) for c in crops)), most

    answers, most = asyncio.run(go())
    np.testing.assert_array_equal(np.concatenate(answers), engine.predict(crops))
    assert most > 8


@pytest.fixture
def own_server(tmp_path: Path, tritonserver: Any) -> Iterator[Any]:
    """A server that a test may stop, restart and rebuild: ``(server, rebuild)``."""
    from triton_repo.repository import build
    from triton_repo.server import Server

    repository = tmp_path / "repository"

    def variant(name: str, **changes: Any) -> Path:
        bundle = read_bundle(default_bundle())
        interface = dataclasses.replace(bundle.contract.interface, **changes)
        contract = dataclasses.replace(bundle.contract, interface=interface)
        return write_bundle(tmp_path / name, contract, bundle.parameters()).path

    build([("ssrnet", default_bundle())], repository)
    server = Server(repository, tritonserver=tritonserver, watch=False, open=True).start()

    def rebuild(name: str, **changes: Any) -> Path:
        path = variant(name, **changes)
        build([("ssrnet", path)], repository, force=True)
        server.refresh()
        return path

    try:
        yield server, rebuild
    finally:
        server.stop()


@pytest.mark.server
def test_follows_the_interface_across_reloads(own_server: Any, portraits: Any) -> None:
    server, rebuild = own_server
    picture = read_picture(ASTRONAUT)
    with AgeClient(server.grpc_url, detector=detection.Haar()) as client:
        first = client.predict(portraits[:3])
        (before,) = client.predict_photo(picture)

        rgb = Engine(rebuild("rgb", input=Input(colour="rgb", name="face")))
        np.testing.assert_array_equal(client.predict(portraits[:3]), rgb.predict(portraits[:3, ..., ::-1]))
        assert client.interface.input.colour == "rgb"
        assert not np.array_equal(first, client.predict(portraits[:3]))

        tight = Engine(rebuild("tight", crop=Crop(margin=(0.1, 0.2))))
        with pytest.raises(InterfaceChanged, match="cut them again"):
            client.predict(portraits[:3])
        np.testing.assert_array_equal(client.predict(portraits[:3]), tight.predict(portraits[:3]))

        tighter = Engine(rebuild("tighter", crop=Crop(margin=(0.0, 0.1))))
        (face,) = client.predict_photo(picture)
        assert face.box == before.box
        assert face.age == tighter.predict(crop_faces(picture, [face.box], Crop(margin=(0.0, 0.1))))[0]

    async def follow() -> None:
        async with AsyncAgeClient(server.grpc_url, detector=detection.Haar()) as client:
            await asyncio.to_thread(rebuild, "wide", crop=Crop(margin=(0.5, 0.5)))
            with pytest.raises(InterfaceChanged, match="cut them again"):
                await client.predict(portraits[:3])
            await asyncio.to_thread(rebuild, "wider", crop=Crop(margin=(0.6, 0.6)))
            assert len(await client.predict_photo(picture)) == 1
            assert client.interface.crop == Crop(margin=(0.6, 0.6))

    asyncio.run(follow())


@pytest.mark.server
def test_survives_a_restart_and_reports_an_end(own_server: Any, tritonserver: Any, portraits: Any) -> None:
    from triton_repo.server import Server

    server, _ = own_server
    port = int(server.grpc_url.rsplit(":", 1)[1])
    with AgeClient(server.grpc_url, retries=8) as client:
        expected = client.predict(portraits[:3])
        server.stop()
        again = Server(server.repository, tritonserver=tritonserver, grpc_port=port, watch=False)
        starting = threading.Timer(0.3, again.start)
        starting.start()
        try:
            np.testing.assert_array_equal(client.predict(portraits[:3]), expected)
        finally:
            starting.join()
            again.stop()
        with pytest.raises(ServerUnavailable, match="no server answers"):
            client.predict(portraits[:3])


@pytest.mark.server
def test_a_model_between_two_loads_is_waited_for(own_server: Any, portraits: Any) -> None:
    """A server that reloads or drains says that the model has no available versions: not its last word."""
    from tritonclient.grpc import InferenceServerClient

    server, _ = own_server
    raw = InferenceServerClient(server.grpc_url)
    with AgeClient(server.grpc_url, retries=8) as client, AgeClient(server.grpc_url, retries=0) as hasty:
        expected = client.predict(portraits[:3])
        raw.unload_model("ssrnet")
        with pytest.raises(ServerUnavailable, match=rf"{server.grpc_url}: .*no available versions"):
            hasty.predict(portraits[:3])
        loading = threading.Timer(0.3, raw.load_model, ("ssrnet",))
        loading.start()
        np.testing.assert_array_equal(client.predict(portraits[:3]), expected)
        loading.join()
        client.model = "none"
        begin = time.monotonic()
        with pytest.raises(ModelNotFound, match=rf"{server.grpc_url}: .*'none'"):
            client.predict(portraits[:3])
        assert time.monotonic() - begin < 1
    raw.close()


@pytest.mark.server
def test_a_server_that_keeps_its_index_to_itself(tmp_path: Path, tritonserver: Any) -> None:
    from triton_repo.repository import build
    from triton_repo.server import Server

    build([("ssrnet", default_bundle())], tmp_path / "repository")
    options = ["--grpc-restricted-protocol=model-repository,statistics:key=secret"]
    with Server(tmp_path / "repository", tritonserver=tritonserver, watch=False, arguments=options) as server:
        url = server.grpc_url
        with AgeClient(url) as client:
            assert client.predict(noise(1)).shape == (1,)
        with (
            pytest.raises(ModelNotFound, match=rf"{url}: .*'none' is not found"),
            AgeClient(url, "none", wait=0.5),
        ):
            pass

        async def ask() -> None:
            async with AsyncAgeClient(url, "none", wait=0.5):
                pass

        with pytest.raises(ModelNotFound, match=rf"{url}: .*'none' is not found"):
            asyncio.run(ask())

        load = ["bench", "--url", url, "--duration", "0.1", "--warm-up", "0"]
        assert "access refused: This protocol is restricted" in command(*load).stderr
        key = ["--header", "other=a=b", "--header", "triton-grpc-protocol-key=secret"]
        result = command(*load, *key)
        assert result.returncode == 0, result.stderr
        result = command("image", ASTRONAUT, "--url", url, "--model", "none", *key)
        assert "no model 'none'; it has ssrnet" in result.stderr


# -- the command line --------------------------------------------------------------------------------


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from ssr_client.cli import main; main()", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONWARNINGS": "default", "COLUMNS": "300"},
    )


@pytest.mark.server
def test_command_image(url: str, tmp_path: Path) -> None:
    (tmp_path / "none.jpg").write_text("no image")
    cv2.imwrite(str(tmp_path / "plain.png"), np.full((80, 80, 3), 120, np.uint8))
    common = ["--url", url, "--detector", "haar", "--out", tmp_path / "out"]
    result = command("image", tmp_path / "none.jpg", tmp_path / "plain.png", ASTRONAUT, "gone.jpg", *common)
    assert result.returncode == 1
    lines = result.stdout.splitlines()
    assert f"{tmp_path / 'plain.png'}: no face found" in lines
    assert any(" face 1 at x " in line and line.endswith(" years") for line in lines)
    errors = result.stderr.splitlines()
    assert f"ssr-client: {tmp_path / 'none.jpg'}: not an image" in errors[0]
    assert "ssr-client: gone.jpg: No such file or directory" in errors
    assert "drawn faces" in errors[-1]
    assert "ssr-train fetch imdb" in errors[-1]
    assert len(errors) == 3
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["astronaut.jpg", "plain.jpg"]
    assert not np.array_equal(read_picture(tmp_path / "out" / "astronaut.jpg"), read_picture(ASTRONAUT))


@pytest.mark.server
def test_command_image_json(url: str, engine: Engine, tmp_path: Path) -> None:
    out = tmp_path / "one.png"
    result = command("image", ASTRONAUT, "--json", "--url", url, "--detector", "haar", "--out", out)
    assert result.returncode == 0
    answer = json.loads(result.stdout)
    assert answer["synthetic"] is True
    assert answer["weights_sha256"] == read_bundle(default_bundle()).contract.weights_sha256
    ((face,),) = [photo["faces"] for photo in answer["photos"]]
    assert face.keys() == {"box", "landmarks", "age", "interval", "attributes"}
    assert 0 <= face["age"] <= 101
    assert out.is_file()


@pytest.mark.server
def test_command_image_does_what_it_can(url: str, tmp_path: Path) -> None:
    """Files that cannot be read or written are one error line each; the rest is done."""
    cv2.imwrite(str(tmp_path / "wide.png"), np.full((2, 70_000, 3), 120, np.uint8))
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "broken.png").symlink_to("nowhere")
    secret = tmp_path / "secret.png"
    secret.write_bytes(ASTRONAUT.read_bytes())
    secret.chmod(0)
    photos = [tmp_path / name for name in ("wide.png", "folder.png", "broken.png")]
    # Root too shall be refused by a file's mode, so that it drops CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH.
    code = (
        "import ctypes, os, sys; [ctypes.CDLL(None).prctl(24, capability) for capability in (1, 2)];"
        "run = 'from ssr_client.cli import main; main()';"
        "os.execv(sys.executable, [sys.executable, '-c', run, *sys.argv[1:]])"
    )
    common = ["--url", url, "--detector", "haar", "--out", tmp_path / "out", "--json"]
    arguments = map(str, ["image", *photos, secret, ASTRONAUT, *common])
    result = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 1
    *errors, synthetic = result.stderr.splitlines()
    assert "drawn faces" in synthetic
    assert errors == [
        f"ssr-client: {tmp_path / 'out' / 'wide.jpg'}: 70000 x 2 pixels do not fit a .jpg file "
        "(the longest side of .jpg is 65500, of .webp 16383); .png holds more",
        f"ssr-client: {photos[1]}: Is a directory",
        f"ssr-client: {photos[2]}: No such file or directory",
        f"ssr-client: {secret}: Permission denied",
    ]
    told = json.loads(result.stdout)["photos"]
    assert [f"ssr-client: {photo['error']}" for photo in told[:4]] == errors
    assert told[4]["error"] is None
    assert len(told[4]["faces"]) == 1
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["astronaut.jpg"]


@pytest.mark.server
@pytest.mark.parametrize("form", [[], ["--json"]], ids=["text", "json"])
def test_command_image_keeps_what_was_answered(own_server: Any, tmp_path: Path, form: list[str]) -> None:
    """The server ends between two photos; the second comes through a pipe, and so after that."""
    server, _ = own_server
    pipe = tmp_path / "pipe.jpg"
    os.mkfifo(pipe)
    arguments = ["image", ASTRONAUT, pipe, ASTRONAUT, "--url", server.grpc_url, "--detector", "haar", *form]
    arguments += ["--timeout", "1"]
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(command, *arguments)
        with pipe.open("wb") as second:
            server.stop()
            second.write(ASTRONAUT.read_bytes())
        result = job.result()
    assert result.returncode == 1
    lines = result.stderr.splitlines()
    assert f"ssr-client: {server.grpc_url}: no server answers there" in lines[-1]
    assert sum("no server answers" in line for line in lines) == 1
    if form:
        first, *others = json.loads(result.stdout)["photos"]
        assert first["error"] is None
        assert len(first["faces"]) == 1
        assert [photo["photo"] for photo in others] == [str(pipe), str(ASTRONAUT)]
        assert all(photo["faces"] == [] and "no server answers" in photo["error"] for photo in others)
    else:
        assert result.stdout.count(" face 1 at x ") == 1


@pytest.mark.server
def test_command_faults(url: str, tmp_path: Path, closed_port: int) -> None:
    copy = tmp_path / "a.jpg"
    copy.write_bytes(ASTRONAUT.read_bytes())
    for arguments, status, fault in (
        (["image", copy, "--url", f"127.0.0.1:{closed_port}", "--wait", "0.3"], 1, "no server answers"),
        (["image", copy, "--url", url, "--model", "x"], 1, "no model 'x'"),
        (["image", copy, "--url", url, "--detector", "x"], 2, "detector 'x' is unknown"),
        (["image", copy, "--url", url, "--out", tmp_path / "a.txt"], 1, "OpenCV writes no '.txt' files"),
        (["image", copy, "--url", url, "--out", copy], 1, "would overwrite this photo"),
        (["image", copy, ASTRONAUT, "--url", url, "--out", copy], 1, "is a file, expected a folder"),
        (["image", copy, ASTRONAUT, "--url", url, "--out", "all.jpg"], 1, "names one picture"),
        (["image", copy, "--url", url, "--wait", "inf"], 2, "wait: must be seconds"),
        (["image", copy, "--url", url, "--timeout", "0"], 2, "timeout: must be seconds above 0"),
        (["image", copy, "--url", url, "--version", "new"], 2, "version: expected a version's number"),
        (["image", copy, "--url", url, "--header", "x"], 2, "--header: expected KEY=VALUE, got 'x'"),
        (["image", copy, "--url", url, "--header", "=x"], 2, "--header: expected KEY=VALUE, got '=x'"),
        (["bench", "--url", url, "--header", "X=1"], 2, "headers: 'X': expected a name"),
        (["bench", "--url", url, "--token", "a\n"], 2, "token: expected printable ASCII"),
        (["image", copy, "--url", url, "--root-certificates", "x.pem"], 2, "ask for one"),
        (["image", copy, "--url", url, "--tls", "--root-certificates", "x.pem"], 2, "no such file"),
        (["image"], 2, "Missing argument"),
        (["bench", "--batch", "0"], 2, "--batch"),
        (["bench", "--url", url, "--duration", "0"], 2, "duration must be 0.1 to 3600"),
        (["bench", "--url", url, "--duration", "nan"], 2, "duration must be 0.1 to 3600"),
        (["bench", "--url", url, "--warm-up", "-1"], 2, "warm-up 0 to 3600"),
        (["bench", "--url", url, "--rate", "1"], 2, "at least 10 requests"),
    ):
        result = command(*arguments)
        assert result.returncode == status, result.stderr
        assert fault in result.stderr
        assert "Traceback" not in result.stderr
        assert result.stdout == ""
        if status == 1:
            assert len(result.stderr.splitlines()) == 1
    assert copy.read_bytes() == ASTRONAUT.read_bytes()


@pytest.mark.server
def test_command_bench(url: str) -> None:
    arguments = ["bench", "--url", url, "--duration", "0.5", "--warm-up", "0.1", "--batch", "12"]
    result = command(*arguments, "--json")
    assert result.returncode == 0, result.stderr
    measured = json.loads(result.stdout)
    assert measured["images_per_second"] == pytest.approx(measured["requests"] * 12 / measured["seconds"])
    assert 0 < measured["p50_ms"] <= measured["p90_ms"] <= measured["p99_ms"]
    assert 1 <= measured["mean_batch"] <= 16
    assert measured["engine"] == f"fp32 {Engine(default_bundle()).implementation}"
    text = command(*arguments, "--rate", "100")
    assert "images/s" in text.stdout
    assert "answers validated" in text.stdout
    assert "open loop, 100 requests/s" in text.stdout
    assert command(*arguments, "--batch", "17").stderr.endswith("takes at most 16 crops a request\n")


def test_arrivals_are_a_poisson_process() -> None:
    moments = np.array(list(load_test._arrivals(np.random.default_rng(3), 1000, 20)))
    gaps = np.diff(moments)
    assert moments[0] > 0
    assert moments[-1] < 20
    assert len(moments) == pytest.approx(20_000, rel=0.03)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.03)
    assert (gaps > 0).all()


@pytest.mark.server
def test_an_open_loop_counts_from_the_intended_moment(
    client: AgeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that stalls for 0.3 s sends what was due meanwhile late, and the latencies say so."""
    regular = [0.01 * k for k in range(60)]
    monkeypatch.setattr(load_test, "_arrivals", lambda *_: iter(regular))
    send = load_test._Load._send

    def stalls(self: Any, since: float) -> None:
        if len(self.late) == 10:
            time.sleep(0.3)
        send(self, since)

    monkeypatch.setattr(load_test._Load, "_send", stalls)
    result = load_test.bench(client, batch=1, seconds=0.6, warm_up=0.0, rate=100)
    assert result.requests == 60
    assert result.late_p99_ms > 250
    assert result.p99_ms > 250
    assert result.p90_ms > 100


@pytest.mark.server
@pytest.mark.parametrize("sharing", [False, True], ids=["grpc", "shared-memory"])
def test_an_interrupt_ends_a_load_at_once(url: str, sharing: bool) -> None:
    """Sending in the main thread, one interrupt in seven left a call that closing waited for forever."""
    moments = np.random.default_rng(7).uniform(0.05, 0.2, 12)
    for moment, rate in zip(moments, (0.0, 500.0) * 6, strict=True):
        interrupt = threading.Timer(moment, os.kill, (os.getpid(), signal.SIGINT))
        with AgeClient(url, shared_memory=sharing) as opened:
            interrupt.start()
            with pytest.raises(KeyboardInterrupt):
                load_test.bench(opened, 8, 1, 60.0, 0.0, rate=rate)
            begin = time.monotonic()
        assert time.monotonic() - begin < 2


@pytest.mark.server
def test_after_all_of_this_the_server_answers(client: AgeClient, engine: Engine, portraits: Any) -> None:
    np.testing.assert_array_equal(client.predict(portraits), engine.predict(portraits))
