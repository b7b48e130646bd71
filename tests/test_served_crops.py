"""Crops of contract version 2 on a real server, and a model that changes from version 1 to 2 under load."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import time
import urllib.request
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from background import Background
from bundle_faults import FACE
from conftest import ROOT, Serve, material
from numpy.typing import NDArray
from typer.testing import CliRunner

from ssr_bundle.bundle import read_bundle
from ssr_bundle.contract import Crop, Template
from ssr_ops import Engine, reference
from ssr_ops.golden import write_bundle
from ssr_ops.shipped import default_bundle

pytest.importorskip("cv2")
pytest.importorskip("tritonclient.grpc")

from ssr_client import AgeClient, AsyncAgeClient, BadInput, Detection, Face, InterfaceChanged
from ssr_client import detectors as detection
from ssr_client.cli import app
from ssr_client.preprocess import read_picture

ASTRONAUT = ROOT / "ssr_ops/assets/astronaut.jpg"

CROPS = {
    "margins": Crop(margin=(0.1, -0.15, 0.11, 0.02), border="replicate"),
    "black": Crop(margin=(0.6, 0.5, 0.4, 0.3), border="constant"),
    "aligned": Crop(border="replicate", template=Template(FACE, 112)),
}

LANDMARKS = ((205.0, 104.0), (244.0, 103.0), (226.0, 128.0), (208.0, 147.0), (243.0, 146.0))
"""Of the astronaut, about."""


class Told:
    """A detector that was told where the faces are."""

    def __init__(self, *found: Detection, box_convention: str = "yunet") -> None:
        self.found, self.box_convention = list(found), box_convention

    def detect(self, picture: Any) -> list[Detection]:
        return self.found


BOX = (180.0, 66.0, 90.0, 112.0)
ONE = Told(Detection(BOX, landmarks=LANDMARKS))


def yunet() -> detection.YuNet:
    return detection.YuNet(material("detectors/yunet_n_640_640.onnx"))


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The shipped network with other crops, each with weights of its own, which an answer names."""
    shipped = read_bundle(default_bundle())
    made = {"plain": default_bundle()}
    for i, (name, crop) in enumerate(CROPS.items()):
        interface = dataclasses.replace(shipped.contract.interface, crop=crop)
        contract = dataclasses.replace(shipped.contract, name=name, interface=interface)
        parameters = {
            k: v * np.float32(1.01 + i / 100) if k.endswith("eta.bias") else v
            for k, v in shipped.parameters().items()
        }
        folder = tmp_path_factory.mktemp("bundles") / name
        made[name] = write_bundle(folder, contract, parameters).path
    return made


@pytest.fixture
def url(serve: Serve, bundles: dict[str, Path]) -> str:
    return serve(bundles).grpc_url


def pictures() -> dict[str, NDArray[np.uint8]]:
    """The sample photo, and parts of it in which the face comes near the border or over it."""
    whole = read_picture(ASTRONAUT)
    return {
        "whole": whole,
        "tight": np.ascontiguousarray(whole[62:182, 176:276]),
        "left and top cut off": np.ascontiguousarray(whole[85:300, 190:400]),
        "right cut off": np.ascontiguousarray(whole[20:300, 60:262]),
    }


def expected_ages(bundle: Path, picture: NDArray[np.uint8], found: list[Detection]) -> list[float]:
    """The reference's crops, the engine's answers."""
    crop = read_bundle(bundle).contract.interface.crop
    boxes = [face.box for face in found]
    landmarks = [face.landmarks for face in found]
    crops = reference.crop_faces(picture, boxes, crop, landmarks)  # type: ignore[arg-type]
    return [float(age) for age in Engine(bundle).predict(crops)]


# -- served end to end -------------------------------------------------------------------------------


@pytest.mark.server
@pytest.mark.parametrize("name", ["plain", *CROPS])
def test_a_photo_is_answered_to_the_bit(url: str, bundles: dict[str, Path], name: str) -> None:
    """By YuNet, through both clients; near the border too."""
    detector = yunet()
    seen = 0
    with AgeClient(url, name, detector=detector) as client:
        assert client.interface.crop == CROPS.get(name, Crop())
        for what, picture in pictures().items():
            found = detector.detect(picture)
            faces = client.predict_photo(picture)
            assert [face.age for face in faces] == expected_ages(bundles[name], picture, found), what
            assert client.predict_photo(picture[..., ::-1], colour="rgb") == faces
            seen += len(faces)

            async def ask(picture: Any = picture) -> list[Face]:
                async with AsyncAgeClient(url, name, detector=detector) as other:
                    return await other.predict_photo(picture)

            assert asyncio.run(ask()) == faces
    assert seen >= 3


@pytest.mark.server
@pytest.mark.parametrize("name", ["plain", *CROPS])
def test_faces_of_a_detector_of_ones_own(url: str, bundles: dict[str, Path], name: str) -> None:
    picture = read_picture(ASTRONAUT)
    others = [
        Detection(
            (460.0, 400.0, 90.0, 110.0), landmarks=tuple((x * 0.8 + 420, y * 0.9 + 370) for x, y in FACE)
        ),
        Detection((-20.0, 300.0, 70.0, 80.0), landmarks=np.array(FACE) * 0.7 + (-25, 280)),  # type: ignore[arg-type]
    ]
    told = Told(others[1], *ONE.found, others[0])
    with AgeClient(url, name, detector=told) as client, warnings.catch_warnings():
        warnings.simplefilter("error")
        faces = client.predict_photo(picture)
    assert [face.age for face in faces] == expected_ages(bundles[name], picture, told.found)


@pytest.mark.server
def test_every_crop_gives_another_age(url: str) -> None:
    ages = set()
    for name in ("plain", *CROPS):
        with AgeClient(url, name, detector=ONE) as client:
            ages |= {face.age for face in client.predict_photo(read_picture(ASTRONAUT))}
    assert len(ages) == 4


NO_LANDMARKS = (
    "the network wants faces aligned by five landmarks as yunet gives them, and the detector (haar) gives "
    "none: use detector 'yunet', or one of your own with landmarks"
)


@pytest.mark.server
def test_without_landmarks_nothing_is_aligned(url: str) -> None:
    picture = read_picture(ASTRONAUT)
    with AgeClient(url, "aligned", detector=detection.Haar()) as client:
        with pytest.raises(BadInput) as caught:
            client.predict_photo(picture)
        assert str(caught.value) == NO_LANDMARKS
        assert client.predict_photo(np.full((200, 200, 3), 90, np.uint8)) == []

    async def ask() -> None:
        async with AsyncAgeClient(url, "aligned", detector="haar") as client:
            await client.predict_photo(picture)

    with pytest.raises(BadInput) as caught:
        asyncio.run(ask())
    assert str(caught.value) == NO_LANDMARKS
    with AgeClient(url, "margins", detector=detection.Haar()) as client:
        assert len(client.predict_photo(picture)) == 1

    half = Told(*ONE.found, Detection((300.0, 66.0, 90.0, 112.0)))
    with AgeClient(url, "aligned", detector=half) as client, pytest.raises(BadInput, match="landmarks"):
        client.predict_photo(picture)


@pytest.mark.server
@pytest.mark.parametrize(
    ("landmarks", "message"),
    [
        (LANDMARKS[:3], r"face 0: landmarks: expected 5 points as x, y \(right eye, .*, got 3"),
        (((224.0, 100.0),) * 5, "face 0: landmarks: the five points lie on one line"),
        (((float("nan"), 100.0), *LANDMARKS[1:]), "face 0: landmarks: expected positions within"),
    ],
    ids=["three", "one spot", "NaN"],
)
def test_landmarks_that_are_none(url: str, landmarks: Any, message: str) -> None:
    with AgeClient(url, "aligned", detector=Told(Detection(BOX, landmarks=landmarks))) as client:
        with pytest.raises(BadInput, match=message):
            client.predict_photo(read_picture(ASTRONAUT))
        assert client.predict(np.zeros((1, 64, 64, 3), np.uint8)).shape == (1,)


@pytest.mark.server
def test_landmarks_of_another_convention_warn_once(url: str) -> None:
    """Also where boxes of that convention could be mapped: landmarks are not."""
    for convention in ("mine", "haar"):
        with AgeClient(url, "aligned", detector=Told(*ONE.found, box_convention=convention)) as client:
            with pytest.warns(
                detection.BoxConventionWarning, match=f"landmarks are '{convention}'"
            ) as caught:
                faces = client.predict_photo(read_picture(ASTRONAUT))
            assert caught[0].filename == __file__
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                assert client.predict_photo(read_picture(ASTRONAUT)) == faces


@pytest.mark.server
def test_the_command_line_aligns_and_says_what_it_needs(
    url: str, bundles: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSR_DETECTORS_DIR", str(material("detectors/yunet_n_640_640.onnx").parent))
    common = ["image", str(ASTRONAUT), "--url", url, "--model", "aligned", "--json"]
    result = CliRunner().invoke(app, [*common, "--detector", "yunet"])
    assert result.exit_code == 0, result.output
    (face,) = json.loads(result.stdout)["photos"][0]["faces"]
    picture = read_picture(ASTRONAUT)
    assert face["age"] == pytest.approx(
        expected_ages(bundles["aligned"], picture, yunet().detect(picture))[0]
    )
    result = CliRunner().invoke(app, [*common, "--detector", "haar"])
    assert result.exit_code == 1
    assert json.loads(result.stdout)["photos"][0]["error"] == f"{ASTRONAUT}: {NO_LANDMARKS}"
    assert sum(NO_LANDMARKS in line for line in result.stderr.splitlines()) == 1


# -- a new crop is a new interface -------------------------------------------------------------------


class Cameras(Background):
    """Photo clients, sync and async, that ask without a pause; what each answer was, and every error.

    ``model``: a callable that names the model to ask next; a client of another name is opened beside.
    """

    def __init__(self, url: str, model: Callable[[], str], threads: int = 2, tasks: int = 2) -> None:
        self._url, self._model, self._tasks = url, model, tasks
        self.answers: list[tuple[str, float]] = []
        self.errors: list[str] = []
        super().__init__([*[self._work] * threads, lambda: asyncio.run(self._work_async())])

    def _keep(self, weights: str, faces: list[Face]) -> None:
        (face,) = faces
        assert face.age is not None
        self.answers.append((weights, face.age))

    def _work(self) -> None:
        picture = read_picture(ASTRONAUT)
        try:
            while not self._stop.is_set():
                name = self._model()
                with AgeClient(self._url, name, detector=ONE) as client:
                    while not self._stop.is_set() and self._model() == name:
                        faces = client.predict_photo(picture)
                        assert client.last is not None
                        self._keep(client.last.weights_sha256, faces)
        except Exception as error:
            self.errors.append(f"{type(error).__name__}: {error}")

    async def _work_async(self) -> None:
        await asyncio.gather(*(self._task() for _ in range(self._tasks)))

    async def _task(self) -> None:
        picture = read_picture(ASTRONAUT)
        try:
            while not self._stop.is_set():
                name = self._model()
                async with AsyncAgeClient(self._url, name, detector=ONE) as client:
                    while not self._stop.is_set() and self._model() == name:
                        faces = await client.predict_photo(picture)
                        assert client.last is not None
                        self._keep(client.last.weights_sha256, faces)
        except Exception as error:
            self.errors.append(f"{type(error).__name__}: {error}")

    def sees(self, bundle: Path, count: int = 20) -> None:
        """Wait until so many answers from now on were by these weights."""
        weights = read_bundle(bundle).contract.weights_sha256
        start, deadline = len(self.answers), time.monotonic() + 30
        while sum(w == weights for w, _ in self.answers[start:]) < count:
            assert not self.errors, self.errors
            assert time.monotonic() < deadline, Counter(w for w, _ in self.answers[start:])
            time.sleep(0.02)


@contextmanager
def running(repository: Path, tritonserver: Any) -> Iterator[Any]:
    """A server over a repository with the contract 1 model, which follows what changes there."""
    from triton_repo.repository import build
    from triton_repo.server import Server

    build([("ssrnet", default_bundle())], repository)
    with Server(repository, tritonserver=tritonserver) as server:
        yield server


def check_answers(cameras: Cameras, *bundles: Path) -> None:
    """No error, and each answer to the bit that of the network which the answer names, by its own crop."""
    picture = read_picture(ASTRONAUT)
    expected = {
        read_bundle(bundle).contract.weights_sha256: expected_ages(bundle, picture, ONE.found)[0]
        for bundle in bundles
    }
    assert len(set(expected.values())) == len(bundles)
    assert cameras.errors == []
    assert Counter(cameras.answers).keys() == set(expected.items())


@pytest.mark.server
@pytest.mark.parametrize("successor", ["aligned", "margins"])
def test_a_new_crop_beside_the_old_loses_no_request(
    tmp_path: Path, tritonserver: Any, bundles: dict[str, Path], successor: str
) -> None:
    """The recipe of docs/operations.md: another name beside the first, clients move, the first goes."""
    from triton_repo.cli import app as operator

    repository = tmp_path / "models"
    name = "ssrnet"
    with running(repository, tritonserver) as server, Cameras(server.grpc_url, lambda: name) as cameras:
        cameras.sees(bundles["plain"])
        build = ["build", "--bundle", f"ssrnet-2={bundles[successor]}", "--repo", str(repository)]
        assert CliRunner().invoke(operator, build).exit_code == 0
        until_ready(server, "ssrnet-2", True)
        cameras.sees(bundles["plain"])
        name = "ssrnet-2"
        cameras.sees(bundles[successor])
        before = len(cameras.answers)
        while len(cameras.answers) < before + 50:  # the last client of the first name has moved
            time.sleep(0.02)
        counted = _inferences(server, "ssrnet")
        cameras.sees(bundles[successor])
        assert _inferences(server, "ssrnet") == counted > 0
        (repository / "ssrnet").rename(repository / ".retired-ssrnet")
        until_ready(server, "ssrnet", False)
        cameras.sees(bundles[successor])
    check_answers(cameras, bundles["plain"], bundles[successor])


def _inferences(server: Any, model: str) -> int:
    """As curl reads it."""
    with urllib.request.urlopen(f"http://{server.http_url}/v2/models/{model}/stats", timeout=10) as answer:
        return sum(int(v["inference_count"]) for v in json.load(answer)["model_stats"])


def until_ready(server: Any, model: str, ready: bool) -> None:
    from tritonclient.grpc import InferenceServerClient

    deadline = time.monotonic() + 20
    with InferenceServerClient(server.grpc_url) as raw:
        while raw.is_model_ready(model) != ready:
            assert time.monotonic() < deadline
            time.sleep(0.05)


@pytest.mark.server
def test_a_new_crop_under_the_same_name_loses_no_photo(
    tmp_path: Path, tritonserver: Any, bundles: dict[str, Path]
) -> None:
    """`build --force` there and back: clients of photos read the new interface and cut anew; clients of crops
    are told, once."""
    from triton_repo.cli import app as operator

    repository = tmp_path / "models"
    with running(repository, tritonserver) as server, Cameras(server.grpc_url, lambda: "ssrnet") as cameras:
        cameras.sees(bundles["plain"])
        with AgeClient(server.grpc_url) as of_crops:
            of_crops.predict(np.zeros((1, 64, 64, 3), np.uint8))
            for name in ("aligned", "margins", "plain", "aligned"):
                build = ["build", "--force", "--bundle", f"ssrnet={bundles[name]}", "--repo", str(repository)]
                assert CliRunner().invoke(operator, build).exit_code == 0
                cameras.sees(bundles[name])
            with pytest.raises(InterfaceChanged, match=r"cut them again by client\.interface\.crop"):
                of_crops.predict(np.zeros((1, 64, 64, 3), np.uint8))
            assert of_crops.interface.crop == CROPS["aligned"]
            assert of_crops.predict(np.zeros((1, 64, 64, 3), np.uint8)).shape == (1,)
    check_answers(cameras, bundles["plain"], bundles["aligned"], bundles["margins"])


def test_publish_refuses_a_new_crop(tmp_path: Path, bundles: dict[str, Path]) -> None:
    """Nothing but another name, or --force, brings another interface into a repository."""
    from triton_repo.repository import RepositoryError, build, publish

    build([("ssrnet", default_bundle())], tmp_path / "models")
    with pytest.raises(RepositoryError, match="another interface is another model name"):
        publish(bundles["aligned"], tmp_path / "models", "ssrnet")
    with pytest.raises(RepositoryError, match="exists; `ssr-serve publish` adds a version"):
        build([("ssrnet", bundles["aligned"])], tmp_path / "models")
    assert sorted(p.name for p in (tmp_path / "models" / "ssrnet").iterdir()) == ["1", "config.pbtxt"]
