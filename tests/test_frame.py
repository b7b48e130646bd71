"""Whole frames on a real server: the mode `frame`, its model beside the crops model, the clients."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from background import Background
from bundle_faults import FACE, changed_weights
from conftest import ROOT, Serve, material, until
from numpy.typing import NDArray
from typer.testing import CliRunner

from ssr_bundle.bundle import read_bundle
from ssr_bundle.contract import Crop, Interval, Template
from ssr_bundle.detector import read_detector
from ssr_bundle.errors import SsrError, UsageError
from ssr_ops import Engine
from ssr_ops.golden import write_bundle
from ssr_ops.shipped import default_bundle, default_detector

cv2 = pytest.importorskip("cv2")
grpc = pytest.importorskip("tritonclient.grpc")

from ssr_client import AgeClient, AsyncAgeClient, BadInput, ModelNotFound  # noqa: E402
from ssr_client import detectors as detection  # noqa: E402
from ssr_client.preprocess import crop_faces, read_picture  # noqa: E402
from tritonclient.utils import InferenceServerException  # noqa: E402

from triton_repo import config, pair, repository  # noqa: E402
from triton_repo.cli import app  # noqa: E402
from triton_repo.config import Options  # noqa: E402
from triton_repo.server import Server  # noqa: E402
from triton_repo.settings import ServingSettings  # noqa: E402
from triton_repo.tritonserver import TritonServer  # noqa: E402

Picture = NDArray[np.uint8]
ASTRONAUT = ROOT / "ssr_ops/assets/astronaut.jpg"
MODEL = "ssrnet-frame"

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped network, calibrated."""
    shipped = read_bundle(default_bundle())
    contract = replace(shipped.contract, interval=Interval(0.9, (50.0,), (4.0, 9.0)))
    return write_bundle(tmp_path_factory.mktemp("calibrated") / "b", contract, shipped.parameters()).path


@pytest.fixture(scope="module")
def aligned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    shipped = read_bundle(default_bundle())
    crop = Crop(border="replicate", template=Template(FACE, 112))
    interface = replace(shipped.contract.interface, crop=crop)
    contract = replace(shipped.contract, name="aligned", interface=interface)
    return write_bundle(tmp_path_factory.mktemp("aligned") / "b", contract, shipped.parameters()).path


@pytest.fixture
def server(serve: Serve, calibrated: Path, aligned: Path) -> Server:
    return serve({"ssrnet": calibrated, "aligned": aligned}, frame=True, shared_memory=True)


@pytest.fixture
def client(server: Server) -> Iterator[AgeClient]:
    with AgeClient(server.grpc_url) as opened:
        yield opened


@pytest.fixture(scope="module")
def astronaut() -> Picture:
    return read_picture(ASTRONAUT)


def engine_ages(bundle: Path, picture: Picture, boxes: Any, landmarks: Any = None) -> Any:
    """What the engine answers to the client's own cuts."""
    crop = read_bundle(bundle).contract.interface.crop
    points = (
        None if landmarks is None else [tuple(map(tuple, five)) for five in np.asarray(landmarks).tolist()]
    )
    crops = crop_faces(picture, np.asarray(boxes, np.float32).astype(np.float64), crop, landmarks=points)
    return Engine(bundle).predict(crops)


def random_boxes(picture: Picture, count: int, seed: int) -> NDArray[np.float32]:
    """Some of them partly off the picture."""
    rng = np.random.default_rng(seed)
    height, width = picture.shape[:2]
    sides = rng.uniform(4, 0.8 * min(height, width), (count, 2))
    corners = rng.uniform(-0.4, 0.9, (count, 2)) * (width, height) - 0.1 * sides
    corners = np.maximum(corners, 2 - 0.9 * sides)
    return np.concatenate([corners, sides], axis=1).astype(np.float32)


# What is answered.


def test_a_photo_in_one_request(client: AgeClient, calibrated: Path, astronaut: Picture) -> None:
    (face,) = client.predict_frame(astronaut)
    assert face.age == engine_ages(calibrated, astronaut, [face.box])[0]
    assert face.interval is not None
    assert face.interval[0] < face.age < face.interval[1]
    assert face.landmarks is not None
    assert len(face.landmarks) == 5
    assert client.last is not None
    assert client.last.weights_sha256 == read_bundle(calibrated).contract.weights_sha256
    assert client.last.detector_sha256 == read_detector(default_detector()).contract.weights_sha256
    assert client.last.engine.startswith("fp32 ")
    image_module = pytest.importorskip("PIL.Image")
    assert client.predict_frame(image_module.fromarray(astronaut[..., ::-1])) == [face]


def test_the_faces_that_the_client_finds(client: AgeClient, calibrated: Path) -> None:
    """A photo of six faces, larger than the detector's first scale."""
    picture = read_picture(material("faces/the_flash_cast.png"))
    found = detection.YuNet(material("detectors/yunet_n_640_640.onnx")).detect(picture)
    faces = client.predict_frame(picture)
    assert len(faces) == len(found) >= 5
    for face, own in zip(faces, found, strict=True):
        np.testing.assert_allclose(face.box, own.box, atol=0.5)
        np.testing.assert_allclose(np.array(face.landmarks), np.array(own.landmarks), atol=0.5)
    ages = [face.age for face in faces]
    np.testing.assert_array_equal(ages, engine_ages(calibrated, picture, [face.box for face in faces]))


@pytest.mark.parametrize("format", ["bgr", "rgb", "nv12"])
def test_given_boxes_are_cut_as_the_client_cuts(
    format: str, client: AgeClient, calibrated: Path, astronaut: Picture
) -> None:
    from ssr_client.preprocess import nv12_to_bgr

    said: dict[str, Any] = {}
    picture = frame = astronaut
    if format == "rgb":
        frame = astronaut[..., ::-1]
    elif format == "nv12":
        frame = np.random.default_rng(1).integers(0, 256, (384, 320), dtype=np.uint8)
        said = {"matrix": "bt709", "range": "limited"}
        picture = nv12_to_bgr(frame, **said)
    boxes = random_boxes(picture, 300, 3)
    faces = client.predict_frame(frame, format, boxes=boxes, **said)
    np.testing.assert_array_equal([f.age for f in faces], engine_ages(calibrated, picture, boxes))
    np.testing.assert_array_equal(np.array([f.box for f in faces], np.float32), boxes)


def test_nv12_is_searched_too(client: AgeClient, astronaut: Picture) -> None:
    yuv = cv2.cvtColor(astronaut, cv2.COLOR_BGR2YUV_I420)
    luma, u, v = np.split(yuv.reshape(-1), [512 * 512, 512 * 512 * 5 // 4])
    frame = np.concatenate([luma, np.stack([u, v], axis=1).reshape(-1)]).reshape(768, 512)
    (face,) = client.predict_frame(frame, "nv12", matrix="bt601", range="limited")
    (own,) = client.predict_frame(astronaut)
    np.testing.assert_allclose(face.box, own.box, atol=1)
    assert abs(face.age - own.age) < 4  # type: ignore[operator]


def test_an_aligned_crop_needs_landmarks_beside_boxes(
    server: Server, aligned: Path, astronaut: Picture
) -> None:
    with AgeClient(server.grpc_url, "aligned") as client:
        (face,) = client.predict_frame(astronaut)
        assert face.landmarks is not None
        given = client.predict_frame(astronaut, boxes=[face.box], landmarks=[face.landmarks])
        assert given[0].age == face.age
        assert face.age == engine_ages(aligned, astronaut, [face.box], [face.landmarks])[0]
        with pytest.raises(BadInput, match="aligns faces by five landmarks each: send the input 'landmarks'"):
            client.predict_frame(astronaut, boxes=[face.box])
        assert client.predict_frame(astronaut, boxes=[]) == []


def test_nobody_is_an_answer(client: AgeClient, astronaut: Picture) -> None:
    for shape in ((1, 1, 3), (3, 2000, 3), (300, 200, 3)):
        assert client.predict_frame(np.full(shape, 127, np.uint8)) == []
    assert client.predict_frame(astronaut, boxes=[]) == []
    assert client.predict_frame(astronaut, boxes=np.empty((0, 4), np.float32)) == []
    assert client.last is not None
    assert client.last.detector_sha256


def test_the_search_is_the_requests(client: AgeClient) -> None:
    """A large photo with a small face: a coarse scale misses it, and no score reaches 0.9999."""
    picture = cv2.copyMakeBorder(read_picture(ASTRONAUT), 600, 600, 900, 900, cv2.BORDER_CONSTANT)
    assert len(client.predict_frame(picture)) == 1
    assert client.predict_frame(picture, scales=[96]) == []
    assert len(client.predict_frame(picture, scales=[64, 1600])) == 1
    assert client.predict_frame(picture, threshold=0.9999) == []


def test_through_shared_memory(server: Server, astronaut: Picture) -> None:
    with AgeClient(server.grpc_url, shared_memory=True) as sharing, AgeClient(server.grpc_url) as sending:
        for _ in range(3):
            assert sharing.predict_frame(astronaut) == sending.predict_frame(astronaut)
        assert sharing.shares_memory


def test_asynchronously(server: Server, astronaut: Picture) -> None:
    async def ask() -> list[Any]:
        async with AsyncAgeClient(server.grpc_url) as client:
            return await asyncio.gather(*(client.predict_frame(astronaut) for _ in range(4)))

    with AgeClient(server.grpc_url) as client:
        assert asyncio.run(ask()) == [client.predict_frame(astronaut)] * 4


def test_many_at_once(server: Server, calibrated: Path, astronaut: Picture) -> None:
    """Searches, boxes and bad requests of several clients: each has its own answer."""
    boxes = random_boxes(astronaut, 20, 5)
    expected = engine_ages(calibrated, astronaut, boxes)
    with AgeClient(server.grpc_url) as client:
        whole = client.predict_frame(astronaut)

        def search() -> None:
            assert client.predict_frame(astronaut) == whole

        def cut(seed: int) -> None:
            part = np.random.default_rng(seed).permutation(20)[:7]
            faces = client.predict_frame(astronaut, boxes=boxes[part])
            np.testing.assert_array_equal([f.age for f in faces], expected[part])

        def refused() -> None:
            with pytest.raises(BadInput, match="box 0"):
                client.predict_frame(astronaut, boxes=[(1.0, 1, -5, 5)])

        wrong: list[BaseException] = []

        def run(works: list[Callable[[], None]]) -> None:
            try:
                for work in works:
                    work()
            except BaseException as error:
                wrong.append(error)

        jobs = [[search] * 4, *([lambda s=s: cut(s) for s in range(k, k + 15)] for k in (0, 50))]  # type: ignore[misc]
        threads = [threading.Thread(target=run, args=(job,)) for job in [*jobs, [refused] * 15]]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []


# What is refused.

GOOD = np.zeros((64, 48, 3), np.uint8)

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no format": ({"parameters": {}}, "request parameter format is missing, expected bgr, rgb or nv12"),
    "an unknown format": (
        {"parameters": {"format": "yuyv"}},
        "format: expected bgr, rgb or nv12, got 'yuyv'",
    ),
    "a format that is a number": (
        {"parameters": {"format": 3}},
        "request parameter format: expected a string",
    ),
    "letters beyond ASCII": (
        {"parameters": {"format": "a" + "é" * 30}},
        "format: expected bgr, rgb or nv12, got 'a????",
    ),
    "an interface of a megabyte": (
        {"parameters": {"format": "bgr", "interface_sha256": "0" * 1_000_000}},
        "interface_sha256: 1000000 characters, expected 64 hexadecimal digits",
    ),
    "landmarks that are NaN": (
        {
            "boxes": np.array([[1, 1, 5, 5]], np.float32),
            "landmarks": np.full((1, 5, 2), np.nan, np.float32),
        },
        "landmarks of face 0 are not finite",
    ),
    "no matrix": (
        {"parameters": {"format": "nv12"}, "frame": GOOD[:, :, :1]},
        "request parameter matrix is missing, expected bt601 or bt709",
    ),
    "no range": (
        {"parameters": {"format": "nv12", "matrix": "bt601"}, "frame": GOOD[:, :, :1]},
        "request parameter range is missing, expected limited or full",
    ),
    "a matrix of bgr": (
        {"parameters": {"format": "bgr", "matrix": "bt601"}},
        "matrix and range belong to format nv12, not to bgr",
    ),
    "four channels": (
        {"frame": np.zeros((8, 8, 4), np.uint8)},
        "input 'frame' has shape [8, 8, 4], expected [height, width, 3]",
    ),
    "no pixels": ({"frame": np.zeros((0, 8, 3), np.uint8)}, "has shape [0, 8, 3], expected"),
    "nv12 with three channels": (
        {"parameters": {"format": "nv12", "matrix": "bt601", "range": "full"}},
        "expected [height * 3 / 2, width, 1] of nv12",
    ),
    "nv12 of an odd height": (
        {
            "parameters": {"format": "nv12", "matrix": "bt601", "range": "full"},
            "frame": np.zeros((9, 8, 1), np.uint8)[:7],
        },
        "expected [height * 3 / 2, width, 1] of nv12",
    ),
    "nv12 of an odd width": (
        {
            "parameters": {"format": "nv12", "matrix": "bt601", "range": "full"},
            "frame": np.zeros((12, 7, 1), np.uint8),
        },
        "input 'frame': ",
    ),
    "too large a frame": ({"frame": np.zeros((3000, 3200, 3), np.uint8)}, "takes at most 9437184 a frame"),
    "too many boxes": (
        {"boxes": np.ones((1025, 4), np.float32)},
        "has 1025 rows, this model takes at most 1024",
    ),
    "boxes of five numbers": (
        {"boxes": np.ones((2, 5), np.float32)},
        "boxes",  # the server's own words
    ),
    "a box without area": (
        {"boxes": np.array([[1, 1, 0, 5]], np.float32)},
        "box 0: (1, 1, 0, 5) has no area",
    ),
    "a negative box": ({"boxes": np.array([[1, 1, 5, -5]], np.float32)}, "has no area"),
    "a box that is NaN": ({"boxes": np.array([[1, 1, 5, 5], [np.nan, 1, 5, 5]], np.float32)}, "box 1: "),
    "an endless box": ({"boxes": np.array([[1, 1, np.inf, 5]], np.float32)}, "has no area"),
    "a box beyond the frame": (
        {"boxes": np.array([[500, 500, 5, 5]], np.float32)},
        "box 0: (500, 500, 5, 5) lies outside the picture",
    ),
    "landmarks alone": (
        {"landmarks": np.ones((1, 5, 2), np.float32)},
        "input 'landmarks' is given without 'boxes'",
    ),
    "landmarks of another count": (
        {"boxes": np.ones((2, 4), np.float32), "landmarks": np.ones((1, 5, 2), np.float32)},
        "input 'landmarks' has 1 rows, 'boxes' has 2",
    ),
    "a parameter with a letter too few": (
        {"parameters": {"format": "bgr", "treshold": "0.5"}},
        "request parameter 'treshold' is unknown, expected threshold",
    ),
    "a parameter in another case": (
        {"parameters": {"Format": "bgr"}},
        "request parameter 'Format' is unknown, expected format",
    ),
    "a parameter in the singular": (
        {"parameters": {"format": "bgr", "scale": "640"}},
        "request parameter 'scale' is unknown, expected scales",
    ),
    "a threshold of 0": (
        {"parameters": {"format": "bgr", "threshold": "0"}},
        "request parameter threshold: expected a number in 0.01..1",
    ),
    "a threshold that is none": (
        {"parameters": {"format": "bgr", "threshold": "high"}},
        "request parameter threshold: expected a number",
    ),
    "scales that fall": (
        {"parameters": {"format": "bgr", "scales": "640,320"}},
        "request parameter scales: expected 1 to 8 rising whole numbers in 32..8192",
    ),
    "a scale of 7": ({"parameters": {"format": "bgr", "scales": 7}}, "request parameter scales: expected"),
    "no scale": ({"parameters": {"format": "bgr", "scales": ""}}, "request parameter scales: expected"),
    "a threshold beside boxes": (
        {"parameters": {"format": "bgr", "threshold": "0.5"}, "boxes": np.ones((1, 4), np.float32)},
        "threshold and scales are the detector's, but boxes are given",
    ),
    "another interface": (
        {"parameters": {"format": "bgr", "interface_sha256": "0" * 64}},
        "another interface is another model name",
    ),
}


def raw_ask(
    url: str, frame: Picture = GOOD, parameters: Any = None, model: str = MODEL, **others: Any
) -> Any:
    with grpc.InferenceServerClient(url) as raw:
        inputs = []
        for name, array in {"frame": frame, **others}.items():
            kind = "UINT8" if name == "frame" else "FP32"
            inputs.append(grpc.InferInput(name, list(array.shape), kind).set_data_from_numpy(array))
        said = {"format": "bgr"} if parameters is None else parameters
        return raw.infer(model, inputs, parameters=said or None)


@pytest.mark.parametrize("what", REFUSED)
def test_one_clear_error(what: str, server: Server) -> None:
    given, message = REFUSED[what]
    with pytest.raises(InferenceServerException) as caught:
        raw_ask(server.grpc_url, **given)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert raw_ask(server.grpc_url).get_response().parameters["faces"].string_param == "0"


@pytest.mark.parametrize("what", ["no format", "a box that is NaN", "four channels", "too many boxes"])
def test_the_same_words_over_http_and_through_shared_memory(what: str, server: Server) -> None:
    given, message = REFUSED[what]
    with pytest.raises(RuntimeError) as caught:
        http_ask(server.http_url, **given)
    assert message in str(caught.value)
    frame, said = given.get("frame", GOOD), given.get("parameters", {"format": "bgr"})
    with AgeClient(server.grpc_url, shared_memory=True) as client:
        region = client._memory.take(frame.nbytes)  # type: ignore[union-attr]
        region.fill(frame)
        client._register(region, _far())
        tensor = grpc.InferInput("frame", list(frame.shape), "UINT8")
        tensor.set_shared_memory(region.name, frame.nbytes)
        inputs = [tensor]
        if (boxes := given.get("boxes")) is not None:
            inputs.append(grpc.InferInput("boxes", list(boxes.shape), "FP32").set_data_from_numpy(boxes))
        with (
            grpc.InferenceServerClient(server.grpc_url) as raw,
            pytest.raises(InferenceServerException) as told,
        ):
            raw.infer(MODEL, inputs, parameters=said or None)
        assert message in str(told.value)
        client._memory.give(region)  # type: ignore[union-attr]


def _far() -> Any:
    from ssr_client.exchange import Deadline

    return Deadline(30)


def http_ask(
    url: str, frame: Picture = GOOD, parameters: Any = None, boxes: Any = None, outputs: Any = None
) -> Any:
    """Triton's HTTP protocol by hand; the answer's JSON."""
    given = {"frame": ("UINT8", frame), **({} if boxes is None else {"boxes": ("FP32", boxes)})}
    inputs = [
        {"name": n, "shape": list(a.shape), "datatype": k, "parameters": {"binary_data_size": a.nbytes}}
        for n, (k, a) in given.items()
    ]
    said = {"format": "bgr"} if parameters is None else parameters
    wanted = outputs or [{"name": "age"}]
    header = json.dumps({"inputs": inputs, "parameters": said, "outputs": wanted}).encode()
    body = header + b"".join(np.ascontiguousarray(a).tobytes() for _, a in given.values())
    request = urllib.request.Request(f"http://{url}/v2/models/{MODEL}/infer", body)
    request.add_header("Inference-Header-Content-Length", str(len(header)))
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        raise RuntimeError(error.read().decode()) from None


def test_no_rows_and_classification_do_not_end_the_server(server: Server, astronaut: Picture) -> None:
    """The server's own classification of an output of no rows reads what is not there."""
    for frame, rows in ((GOOD, 0), (astronaut, 1)):
        found = http_ask(
            server.http_url, frame, outputs=[{"name": "scores", "parameters": {"classification": 1}}]
        )
        assert found["parameters"]["faces"] == str(rows)
    assert server.control.ready(MODEL)


@pytest.mark.parametrize(
    "box", [(np.nan, 1, 5, 5), (1, 1, np.inf, 5), (5, 5, 0, 0), (1, 1, -5, 5), (1e30,) * 4, (1e6, 1e6, 5, 5)]
)
def test_boxes_beside_landmarks_are_checked(box: Any, server: Server, astronaut: Picture) -> None:
    boxes = [(180, 66, 90, 112), box]
    with AgeClient(server.grpc_url, "aligned") as client, pytest.raises(BadInput, match="box 1 "):
        client.predict_frame(astronaut, boxes=boxes, landmarks=[LANDMARKS] * 2)


LANDMARKS = ((205.0, 104.0), (244.0, 103.0), (226.0, 128.0), (208.0, 147.0), (243.0, 146.0))


def test_over_http(server: Server, client: AgeClient, astronaut: Picture) -> None:
    (output,) = http_ask(server.http_url, astronaut)["outputs"]
    (face,) = client.predict_frame(astronaut)
    assert output["shape"] == [1]
    assert np.float32(output["data"][0]) == np.float32(face.age)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"format": "grey"}, "format: expected bgr or rgb or nv12, got 'grey': the bytes cannot say it"),
        ({"format": "nv12"}, "matrix: expected bt601 or bt709, give one"),
        ({"matrix": "bt601"}, "matrix and range belong to format nv12, not to bgr"),
        ({"frame": np.zeros((4, 4, 3))}, "frame: expected uint8 values, got float64"),
        ({"frame": np.zeros((4, 4), np.uint8)}, r"frame: expected shape \(height, width, 3\) for bgr"),
        ({"boxes": [(1, 2, 3)]}, r"boxes: expected shape \(faces, 4\), got \(1, 3\)"),
        ({"boxes": "all"}, "boxes: not numbers"),
        ({"landmarks": np.zeros((1, 5, 2))}, "landmarks: given without boxes"),
        ({"boxes": [], "threshold": 0.5}, "threshold and scales are the detector's, but boxes are given"),
        ({"threshold": "x"}, "threshold: expected a number, got 'x'"),
        ({"threshold": 10**400}, "threshold: expected a number"),
        ({"threshold": 2}, "threshold: expected a number in 0.01..1, got 2"),
        ({"scales": 640}, "scales: expected a list of whole numbers, got 640"),
        ({"scales": [640.7]}, "scales: expected a list of whole numbers"),
    ],
)
def test_the_client_refuses_before_it_asks(given: dict[str, Any], message: str, client: AgeClient) -> None:
    with pytest.raises(BadInput, match=message):
        client.predict_frame(given.pop("frame", GOOD), **given)


def test_without_a_frame_model_one_error_names_the_command(serve: Serve) -> None:
    with AgeClient(serve({"ssrnet": default_bundle()}).grpc_url) as client:
        with pytest.raises(
            ModelNotFound, match=r"no model 'ssrnet-frame'.*`ssr-serve build --frame` makes it"
        ):
            client.predict_frame(GOOD)
        assert client.predict(np.zeros((1, 64, 64, 3), np.uint8)).shape == (1,)


def test_without_a_detector_boxes_are_asked_for(serve: Serve, astronaut: Picture) -> None:
    server = serve({"ssrnet": default_bundle()}, frame=True, detector="none")
    with AgeClient(server.grpc_url) as client:
        with pytest.raises(
            BadInput, match="serves no detector: send the input 'boxes', or build the model with"
        ):
            client.predict_frame(astronaut)
        (face,) = client.predict_frame(astronaut, boxes=[(180, 66, 90, 112)])
        assert face.age is not None
        assert client.last is not None
        assert client.last.detector_sha256 == ""


# The queue.


def test_a_full_queue_says_so_and_loses_nothing(serve: Serve, astronaut: Picture) -> None:
    server = serve({"ssrnet": default_bundle()}, frame=True, max_frames=2)
    large = cv2.resize(astronaut, (1600, 1600))
    done: list[tuple[Any, Any]] = []
    with grpc.InferenceServerClient(server.grpc_url) as raw:
        for _ in range(12):
            tensor = grpc.InferInput("frame", list(large.shape), "UINT8").set_data_from_numpy(large)
            raw.async_infer(
                MODEL,
                [tensor],
                lambda result, error: done.append((result, error)),
                parameters={"format": "bgr"},
            )
        until(lambda: len(done) == 12, 60)
    answered = [result for result, error in done if error is None]
    refused = [str(error) for _, error in done if error is not None]
    assert len(answered) >= 2
    assert all(len(result.as_numpy("age")) == 1 for result in answered)
    assert refused
    assert all("frames wait already, as many as this model takes (max_queue)" in text for text in refused)
    with AgeClient(server.grpc_url) as client:
        assert len(client.predict_frame(astronaut)) == 1


def test_what_is_cancelled_costs_nothing(serve: Serve, astronaut: Picture) -> None:
    """Frames that wait, cancelled, are not searched: the next one has its answer before they could be."""
    server = serve({"ssrnet": default_bundle()}, frame=True)
    large = cv2.resize(astronaut, (1600, 1600))
    with AgeClient(server.grpc_url) as client, grpc.InferenceServerClient(server.grpc_url) as raw:
        client.predict_frame(large)
        begin = time.monotonic()
        client.predict_frame(large)
        one = time.monotonic() - begin
        calls = []
        for _ in range(40):
            tensor = grpc.InferInput("frame", list(large.shape), "UINT8").set_data_from_numpy(large)
            calls.append(
                raw.async_infer(MODEL, [tensor], lambda result, error: None, parameters={"format": "bgr"})
            )
        for call in calls:
            call.cancel()
        begin = time.monotonic()
        client.predict_frame(large)
        assert time.monotonic() - begin < 20 * one


def test_unloading_waits_for_what_is_queued(
    tmp_path: Path, tritonserver: TritonServer, astronaut: Picture
) -> None:
    repo = tmp_path / "models"
    repository.build([("ssrnet", default_bundle())], repo, Options(frame=True))
    done: list[tuple[Any, Any]] = []
    large = cv2.resize(astronaut, (1600, 1600))
    with Server(repo, tritonserver=tritonserver, watch=False) as server:
        with grpc.InferenceServerClient(server.grpc_url) as raw:
            for _ in range(6):
                tensor = grpc.InferInput("frame", list(large.shape), "UINT8").set_data_from_numpy(large)
                raw.async_infer(
                    MODEL,
                    [tensor],
                    lambda result, error: done.append((result, error)),
                    parameters={"format": "bgr"},
                )
            until(lambda: len(done) >= 1)
            server.control.unload(MODEL)
            until(lambda: len(done) == 6)
        late = [error for _, error in done if error is not None]  # a frame may arrive behind the unloading
        gone = ("StatusCode.UNAVAILABLE", "StatusCode.NOT_FOUND")
        assert [error for error in late if error.status() not in gone] == []
        answered = [result for result, error in done if error is None]
        assert len(answered) > 1
        assert all(len(result.as_numpy("age")) == 1 for result in answered)


# The pair.


def versions(repo: Path) -> dict[str, list[int]]:
    return {
        folder.name: [v.number for v in repository.read_model(folder).good]
        for folder in repository.model_folders(repo)
    }


def test_one_publish_and_one_rollback_move_both(
    tmp_path: Path, tritonserver: TritonServer, astronaut: Picture
) -> None:
    """Under load: whoever asks has an answer of a version, and in the end both serve the same."""
    repo = tmp_path / "models"
    repository.build([("ssrnet", default_bundle())], repo, Options(frame=True))
    other = changed_weights(read_bundle(default_bundle()), tmp_path / "other")
    hashes = [read_bundle(path).contract.weights_sha256 for path in (default_bundle(), other)]
    with Server(repo, tritonserver=tritonserver) as server, AgeClient(server.grpc_url) as client:
        seen: set[str] = set()

        def ask() -> None:
            with AgeClient(server.grpc_url) as own:
                while not load._stop.is_set():
                    own.predict_frame(astronaut, boxes=[(180, 66, 90, 112)])
                    seen.add(str(own.weights_sha256))

        def both() -> list[str | None]:
            client.predict_frame(astronaut, boxes=[(180, 66, 90, 112)])
            frames = client.weights_sha256
            client.predict(np.zeros((1, 64, 64, 3), np.uint8))
            return [frames, client.weights_sha256]

        with (load := Background([ask])):
            assert both() == [hashes[0]] * 2
            repository.publish(other, repo, "ssrnet")
            assert versions(repo) == {"ssrnet": [2, 1], MODEL: [2, 1]}
            until(lambda: both() == [hashes[1]] * 2)
            repository.rollback(repo, "ssrnet")
            assert versions(repo) == {"ssrnet": [1], MODEL: [1]}
            until(lambda: both() == [hashes[0]] * 2)
        assert seen == set(hashes)
    for change in (lambda: repository.publish(other, repo, MODEL), lambda: repository.rollback(repo, MODEL)):
        with pytest.raises(repository.RepositoryError, match="serves the versions of ssrnet, and is "):
            change()


def test_a_version_that_one_of_the_pair_refuses_is_neither_s(
    tmp_path: Path, tritonserver: TritonServer, astronaut: Picture
) -> None:
    """The frame model declares intervals, which a version without cannot give: not published at all; and put
    there by hand, not served by the crops model either."""
    shipped = read_bundle(default_bundle())
    contract = replace(shipped.contract, interval=Interval(0.9, (), (5.0,)))
    first = write_bundle(tmp_path / "first", contract, shipped.parameters())
    repo = tmp_path / "models"
    repository.build([("ssrnet", first.path)], repo, Options(frame=True))
    path = repo / "ssrnet" / "config.pbtxt"
    parsed = config.parse(path.read_text())
    del parsed.output[1]
    path.write_text(config.to_text(parsed))
    with pytest.raises(repository.RepositoryError, match="is not calibrated"):
        repository.publish(default_bundle(), repo, "ssrnet")
    assert versions(repo) == {"ssrnet": [1], MODEL: [1]}
    assert not list((repo / MODEL).glob("2"))
    pair.add_link(repo / MODEL, 2)
    shutil.copytree(default_bundle(), repo / "ssrnet" / "2")
    with Server(repo, tritonserver=tritonserver) as server:
        with AgeClient(server.grpc_url) as client:
            client.predict(np.zeros((1, 64, 64, 3), np.uint8))
            assert client.last is not None
            crops = client.last.model_version
            client.predict_frame(astronaut)
            assert (crops, client.last.model_version) == ("1", "1")
        told = [str(failure) for failure in server.failures]
    assert any("ssrnet version 2" in line for line in told)
    assert any(f"{MODEL} version 2" in line for line in told)


def test_pairs_that_are_none_are_not_served(tmp_path: Path) -> None:
    """Whatever somebody did to the links: a version of one model alone is good in neither."""
    repo, other = tmp_path / "models", changed_weights(read_bundle(default_bundle()), tmp_path / "other")

    def build() -> None:
        repository.build([("ssrnet", default_bundle())], repo, Options(frame=True), force=True)

    def good() -> dict[str, list[int]]:
        return versions(repo)

    build()
    repository.publish(other, repo, "ssrnet")
    (repo / MODEL / "2").unlink()
    assert good() == {"ssrnet": [1], MODEL: [1]}
    repository.publish(other, repo, "ssrnet")  # which repairs it
    assert good() == {"ssrnet": [3, 2, 1], MODEL: [3, 2, 1]}
    (repo / MODEL / "97").symlink_to("../ssrnet/1")
    assert good() == {"ssrnet": [3, 2, 1], MODEL: [3, 2, 1]}
    build()
    (repo / MODEL / "2").mkdir()
    with pytest.raises(SsrError, match=r"2: is in the way of a link to \.\./ssrnet/2, remove it"):
        repository.publish(other, repo, "ssrnet")
    assert good() == {"ssrnet": [1], MODEL: [1]}
    build()
    repository.publish(other, repo, "ssrnet")
    copied = Path(shutil.copytree(repo, tmp_path / "copied"))  # links become copies
    repository.rollback(copied, "ssrnet")
    assert versions(copied) == {"ssrnet": [1], MODEL: [1]}


@pytest.mark.parametrize("what", ["gone", "truncated", "an age bundle"])
def test_a_pair_without_its_detector_is_not_served(what: str, tmp_path: Path) -> None:
    repo = tmp_path / "models"
    repository.build([("ssrnet", default_bundle())], repo, Options(frame=True))
    detector = repo / MODEL / "detector"
    if what == "truncated":
        (detector / "model.safetensors").write_bytes(b"")
    else:
        shutil.rmtree(detector)
    if what == "an age bundle":
        shutil.copytree(default_bundle(), detector)
    assert versions(repo) == {"ssrnet": [], MODEL: []}
    assert all("detector" in v.fault for v in repository.read_model(repo / MODEL).versions)


def test_what_is_built(tmp_path: Path) -> None:
    repo = tmp_path / "models"
    built = repository.build([(None, default_bundle())], repo, Options(frame=True, precision="int8"))
    assert [model.name for model in built] == ["ssrnet", MODEL]
    frame = config.read(repo / MODEL)
    assert (config.mode(frame), frame.max_batch_size) == ("frame", 0)
    assert config.precision(frame) == "int8"
    assert (repo / MODEL / "1").is_symlink()
    assert (repo / MODEL / "1").resolve() == (repo / "ssrnet" / "1").resolve()
    assert read_detector(repo / MODEL / "detector").contract == read_detector(default_detector()).contract
    with pytest.raises(repository.RepositoryError, match="exists; `ssr-serve publish` adds a version"):
        repository.build([(None, default_bundle())], repo, Options(frame=True))
    with pytest.raises(
        repository.RepositoryError, match="build both anew with --frame, or remove its folder"
    ):
        repository.build([(None, default_bundle())], repo, Options(), force=True)
    repository.build([(None, default_bundle())], repo, Options(frame=True), force=True)
    assert versions(repo) == {"ssrnet": [1], MODEL: [1]}


@pytest.mark.parametrize("what", ["calibrated", "aligned"])
def test_the_ladder_climbs_frames_too(what: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Each crop is a frame by itself; the answers are the bits of the engine on the reference's cuts."""
    request.getfixturevalue("tritonserver")
    repo = tmp_path / "models"
    options = Options(frame=True, precision="int8")
    repository.build([("ages", request.getfixturevalue(what))], repo, options)
    found = CliRunner().invoke(app, ["verify", str(repo), "--rungs", "served", "--json"])
    assert found.exit_code == 0, found.output
    rows = [row for row in json.loads(found.stdout)["rows"] if row["step"] == "served"]
    assert [(row["model"], row["verdict"]) for row in rows] == [("ages/1", "ok"), ("ages-frame/1", "ok")]


def test_names_that_a_pair_would_take(tmp_path: Path) -> None:
    repo = tmp_path / "models"
    repository.build([("y-frame", default_bundle())], repo, Options())
    with pytest.raises(
        repository.RepositoryError, match="y-frame: exists and takes no frames of y; remove its"
    ):
        repository.build([("y", default_bundle())], repo, Options(frame=True), force=True)
    given = [("z", default_bundle()), ("z-frame", default_bundle())]
    with pytest.raises(repository.RepositoryError, match="z-frame: given twice, or the frame model"):
        repository.build(given, repo, Options(frame=True))


@pytest.mark.parametrize("useless", [{"detector": "none"}, {"max_boxes": 3}, {"max_frames": 3}])
def test_options_of_frames_need_frames(useless: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="nothing without frame, ask for it"):
        Options(**useless)


def test_the_frame_model_takes_what_tune_found(tmp_path: Path) -> None:
    from triton_repo import tune as tuning

    repo = tmp_path / "models"
    repository.build([("ages", default_bundle())], repo, Options(frame=True))
    with pytest.raises(tuning.TuneError, match="takes the settings of ages, which is to be tuned"):
        tuning.TunedModel.of_repository(repo, "ages-frame")
    target = tuning.TunedModel.of_repository(repo, None)
    assert target.name == "ages"

    class Judged:
        present = type("P", (), {"settings": ServingSettings(1, 1, 64)})
        best = type("B", (), {"settings": ServingSettings(3, 2, 32, precision="int8")})
        reason = "quicker"

    tuning._write(target, config.parse(target.text), Judged)  # type: ignore[arg-type]
    frame = config.read(repo / "ages-frame")
    assert (frame.instance_group[0].count, config.parameter(frame, "threads")) == (3, "2")
    assert config.precision(frame) == config.precision(config.read(repo / "ages")) == "int8"
    assert frame.max_batch_size == 0


# The examples.


@pytest.fixture(scope="module")
def ppm(tmp_path_factory: pytest.TempPathFactory, astronaut: Picture) -> Path:
    path = tmp_path_factory.mktemp("ppm") / "astronaut.ppm"
    cv2.imwrite(str(path), astronaut)
    return path


def run_example(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def expected_line(client: AgeClient, picture: Picture) -> str:
    (face,) = client.predict_frame(picture)
    x, y, width, height = face.box
    return f"{face.age:.1f} years at {x:.0f},{y:.0f} {width:.0f}x{height:.0f}"


EXAMPLES = ROOT / "clients/examples"


def test_the_python_example(server: Server, client: AgeClient, astronaut: Picture) -> None:
    found = run_example([sys.executable, str(EXAMPLES / "frame.py"), str(ASTRONAUT), server.grpc_url])
    assert found.strip() == expected_line(client, astronaut)


def test_the_node_example(server: Server, client: AgeClient, ppm: Path, astronaut: Picture) -> None:
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    found = run_example(["node", str(EXAMPLES / "frame.mjs"), str(ppm), server.http_url])
    assert found.startswith(expected_line(client, astronaut))


def test_the_curl_example(server: Server, client: AgeClient, ppm: Path, astronaut: Picture) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    found = json.loads(run_example([str(EXAMPLES / "frame.sh"), str(ppm), server.http_url]))
    (face,) = client.predict_frame(astronaut)
    ages = next(output["data"] for output in found["outputs"] if output["name"] == "age")
    assert np.float32(ages[0]) == np.float32(face.age)


def test_the_cpp_example(
    server: Server, client: AgeClient, ppm: Path, astronaut: Picture, tmp_path: Path
) -> None:
    if not all(map(shutil.which, ("protoc", "grpc_cpp_plugin", "pkg-config"))):
        pytest.skip("protoc, grpc_cpp_plugin or pkg-config is not installed (apt-get install libgrpc++-dev "
                    "protobuf-compiler-grpc pkg-config)")  # fmt: skip
    build = tmp_path / "build"
    configure = ["cmake", "-S", str(EXAMPLES), "-B", str(build), f"-DPython_EXECUTABLE={sys.executable}"]
    for command in (configure, ["cmake", "--build", str(build), "-j2"]):
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
    found = run_example([str(build / "frame"), str(ppm), server.grpc_url])
    assert found.startswith(expected_line(client, astronaut))
