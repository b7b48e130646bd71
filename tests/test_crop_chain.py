"""Bundles of contract version 2 through everything that is not the server: records, replay, configuration,
graphs, quantizing, and what is printed of them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundle_faults import BAD_CROPS, FACE, GOOD_CROPS
from conftest import ROOT, material
from random_bundles import random_bundle
from typer.testing import CliRunner

from ssr_bundle.bundle import Bundle, read_bundle
from ssr_bundle.contract import Architecture, Crop, Interface, Output, Template, canonical_json
from ssr_bundle.errors import SsrError
from ssr_ops import Engine, reference
from ssr_ops.golden import make_golden, write_bundle
from ssr_ops.replay import replay, replay_all
from ssr_ops.shipped import default_bundle

cv2 = pytest.importorskip("cv2")
pytest.importorskip("tritonclient.grpc")

from ssr_client import ClientError, Detection  # noqa: E402
from ssr_client import detectors as detection  # noqa: E402
from ssr_client.exchange import ServedModel  # noqa: E402
from ssr_client.gather import gather  # noqa: E402
from ssr_client.preprocess import crop_faces, read_picture  # noqa: E402

ASTRONAUT = ROOT / "ssr_ops/assets/astronaut.jpg"
SMALL = Architecture(stages=(2,), width_x=4, width_s=4, width_fusion=2)
ALIGNED = Crop(border="replicate", template=Template(FACE, 112))
MARGINS = Crop(margin=(0.1, -0.15, 0.11, 0.02), border="replicate")


def small(path: Path, crop: Crop) -> Bundle:
    interface = Interface(crop=crop, output=Output.for_value_range(SMALL.value_range))
    return random_bundle(path, SMALL, interface=interface)


def shipped_with(path: Path, crop: Crop) -> Bundle:
    shipped = read_bundle(default_bundle())
    interface = dataclasses.replace(shipped.contract.interface, crop=crop)
    contract = dataclasses.replace(shipped.contract, name=path.name, interface=interface)
    return write_bundle(path, contract, shipped.parameters())


@pytest.fixture(scope="module")
def aligned(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return shipped_with(tmp_path_factory.mktemp("chain") / "aligned", ALIGNED)


@pytest.fixture(scope="module")
def margins(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return shipped_with(tmp_path_factory.mktemp("chain") / "margins", MARGINS)


# -- the golden record -------------------------------------------------------------------------------


@pytest.mark.parametrize("what", GOOD_CROPS)
def test_the_record_of_every_crop_is_cut_alike_by_the_client(what: str, tmp_path: Path) -> None:
    crop = Crop.from_json(GOOD_CROPS[what][1])
    bundle = small(tmp_path / "b", crop)
    golden = read_bundle(bundle.path).golden()
    assert ("landmarks" in golden) == (crop.template is not None)
    assert len(golden["crops"]) == len(golden["boxes"]) >= 5
    made = crop_faces(golden["picture"], golden["boxes"], crop, landmarks=golden.get("landmarks"))
    np.testing.assert_array_equal(made, golden["crops"])
    assert replay(bundle).images == len(golden["images"])
    assert json.loads((bundle.path / "contract.json").read_text())["contract_version"] == GOOD_CROPS[what][0]


@pytest.mark.parametrize(
    "margin",
    [
        (-0.9, -0.9, 0.0001, 0.0001),
        (0.0001, 0.0001, -0.9, -0.9),
        (4.0, 4.0, 4.0, 4.0),
        (-0.9, 4.0, 4.0, -0.9),
    ],
)
@pytest.mark.parametrize("border", ["clip", "replicate", "constant"])
def test_margins_at_their_limits_have_a_record(margin: Any, border: str, tmp_path: Path) -> None:
    """One of the recorded boxes lies half beyond the picture: such a margin cuts nothing of it."""
    golden = small(tmp_path / "b", Crop(margin=margin, border=border)).golden()
    assert len(golden["crops"]) == len(golden["boxes"]) >= 5


def test_the_record_of_version_1_is_as_before() -> None:
    """The shipped record was written when there was no version 2."""
    shipped = read_bundle(default_bundle())
    golden, again = shipped.golden(), make_golden(shipped.contract, shipped.parameters())
    assert golden.keys() == again.keys()
    for key in ("picture", "boxes", "crops", "images"):
        np.testing.assert_array_equal(again[key], golden[key])


def test_the_record_of_an_aligned_crop(aligned: Bundle) -> None:
    golden = aligned.golden()
    assert (golden["landmarks"].shape, golden["landmarks"].dtype) == ((6, 5, 2), np.float32)
    x, y, w, h = golden["boxes"].T[:, :, None]
    px, py = np.moveaxis(golden["landmarks"], -1, 0)
    assert ((x < px) & (px < x + w) & (y < py) & (py < y + h)).all()
    assert len({crop.tobytes() for crop in golden["crops"]}) == 6
    assert {row.precision for row in replay_all(aligned)} >= {"fp32"}
    answers = Engine(aligned.path).predict(golden["crops"])
    assert np.abs(answers - golden["output"][:6]).max() < 2e-3


# -- the configuration -------------------------------------------------------------------------------


@pytest.mark.parametrize("what", GOOD_CROPS)
@pytest.mark.parametrize("flavor", ["ssr", "onnx", "tensorrt"])
def test_a_configuration_carries_the_crop(what: str, flavor: str, tmp_path: Path) -> None:
    from triton_repo.config import Options, parse, render
    from triton_repo.flavors import named
    from triton_repo.repository import check_fits

    contract = dataclasses.replace(
        read_bundle(default_bundle()).contract, interface=Interface(crop=Crop.from_json(GOOD_CROPS[what][1]))
    )
    config = parse(render("m", contract, Options(), named(flavor)))
    assert ServedModel.from_config(config, "m").interface == contract.interface
    check_fits(contract, config, "here")
    other = dataclasses.replace(contract, interface=Interface(crop=Crop(margin=(1.0, 1.0))))
    with pytest.raises(SsrError, match="another interface is another model name"):
        check_fits(other, config, "here")


@pytest.mark.parametrize(
    "what",
    [
        "three margins",
        "four points",
        "points on one line",
        "aligned and clipped",
        "an unknown border",
        "no size",
    ],
)
def test_a_served_crop_that_is_none_is_not_followed(what: str) -> None:
    from triton_repo.config import Options, parse, render

    contract = read_bundle(default_bundle()).contract
    config = parse(render("m", contract, Options()))
    interface = {**contract.interface.to_json(), "crop": BAD_CROPS[what][1]}
    config.parameters["interface"].string_value = canonical_json(interface)
    with pytest.raises(ClientError, match=r"m: the served interface cannot be followed: interface\.crop"):
        ServedModel.from_config(config, "m")


def test_both_flavors_of_an_aligned_bundle_are_built(aligned: Bundle, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    from triton_repo.cli import app

    repo = tmp_path / "models"
    arguments = ["build", "--bundle", f"age={aligned.path}", "--repo", str(repo), "--flavor", "ssr,onnx"]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    session = onnxruntime.InferenceSession(repo / "age-onnx/1/model.onnx", providers=["CPUExecutionProvider"])
    golden = aligned.golden()
    ages = session.run(["age"], {"image": golden["crops"]})[0][:, 0]
    assert np.abs(ages - golden["output"][:6]).max() < 2e-3
    listed = CliRunner().invoke(app, ["versions", "--repo", str(repo), "--json"])
    assert [(row["model"], row["state"]) for row in json.loads(listed.stdout)] == [
        ("age", "serving"),
        ("age-onnx", "serving"),
    ]


def test_the_ladder_of_an_aligned_bundle(aligned: Bundle) -> None:
    pytest.importorskip("onnxruntime")
    from triton_repo.cli import app

    rungs = ["--rungs", "native,onnx", "--precision", "fp32", "--json"]
    result = CliRunner().invoke(app, ["verify", str(aligned.path), *rungs])
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)["rows"]
    assert {row["step"] for row in rows if row["verdict"] == "ok"} >= {"native", "onnx"}


# -- what is printed ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("aligned", "aligned by yunet's five landmarks, border repeated"),
        ("margins", "yunet box + 0.1 left, -0.15 top, 0.11 right, 0.02 bottom, border repeated"),
    ],
)
def test_info_and_card_say_how_faces_are_cut(name: str, words: str, request: pytest.FixtureRequest) -> None:
    from ssr_train.cli import app

    bundle = request.getfixturevalue(name)
    info = CliRunner().invoke(app, ["info", str(bundle.path)], env={"COLUMNS": "300"})
    assert info.exit_code == 0, info.output
    assert words in info.stdout
    told = json.loads(CliRunner().invoke(app, ["info", str(bundle.path), "--json"]).stdout)
    assert told["contract_version"] == 2
    card = CliRunner().invoke(app, ["card", str(bundle.path)])
    assert card.exit_code == 0, card.output
    assert f"64 x 64 BGR face crops: {words}" in card.stdout


# -- quantizing --------------------------------------------------------------------------------------


class Told:
    """A detector that was told where the faces are."""

    box_convention = "yunet"

    def __init__(self, landmarks: Any) -> None:
        self.landmarks = landmarks

    def detect(self, picture: Any) -> list[Detection]:
        return [Detection((180.0, 66.0, 90.0, 112.0), landmarks=self.landmarks)]


LANDMARKS = ((205.0, 104.0), (244.0, 103.0), (226.0, 128.0), (208.0, 147.0), (243.0, 146.0))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "astronaut.jpg").write_bytes(ASTRONAUT.read_bytes())
    return tmp_path / "photos"


@pytest.mark.parametrize("as_array", [False, True])
def test_photos_are_gathered_aligned_and_moved(
    photos: Path, aligned: Bundle, monkeypatch: pytest.MonkeyPatch, as_array: bool
) -> None:
    """The first cut is the face's own; of each other one the landmarks are the face's, moved and scaled."""
    landmarks: Any = np.array(LANDMARKS) if as_array else LANDMARKS
    monkeypatch.setattr(detection, "open_detector", lambda name: Told(landmarks))
    interface, picture, box = aligned.contract.interface, read_picture(ASTRONAUT), [(0.0, 0.0, 9.0, 9.0)]
    crops = gather(photos, interface, 12)
    assert (crops.faces, len(crops.images), crops.skipped) == (1, 13, ())
    own = reference.crop_faces(picture, box, interface.crop, [LANDMARKS])[0]
    np.testing.assert_array_equal(crops.images[0], own)
    assert len({image.tobytes() for image in crops.images}) == 13
    apart = [np.abs(image.astype(int) - own).mean() for image in crops.images[1:]]
    mirrored = [np.abs(image[:, ::-1].astype(int) - own).mean() for image in crops.images[1:]]
    assert all(min(pair) < 45 for pair in zip(apart, mirrored, strict=True))  # other parts: above 60
    np.testing.assert_array_equal(gather(photos, interface, 12).images, crops.images)
    np.testing.assert_array_equal(gather(photos, interface, 0).images, crops.images[:1])


def test_a_photo_whose_face_cannot_be_aligned_is_skipped(
    photos: Path, aligned: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Changing(Told):
        """A line for the smaller photo."""

        def detect(self, picture: Any) -> list[Detection]:
            line = tuple((200.0 + i, 100.0 + i) for i in range(5))
            return Told(line if len(picture) < 400 else LANDMARKS).detect(picture)

    cv2.imwrite(str(photos / "other.png"), read_picture(ASTRONAUT)[:300])
    monkeypatch.setattr(detection, "open_detector", lambda name: Changing(None))
    crops = gather(photos, aligned.contract.interface, 3)
    assert (crops.faces, len(crops.images), len(crops.files)) == (1, 4, 1)
    (told,) = crops.skipped
    assert told.startswith(f"{photos / 'other.png'}: face 0: landmarks: the five points lie on one line")


def test_quantizing_an_aligned_bundle_needs_landmarks(photos: Path, aligned: Bundle, tmp_path: Path) -> None:
    from ssr_train.cli import app

    before = (aligned.path / "contract.json").read_bytes()
    arguments = ["quantize", str(aligned.path), "--force", "--images", str(photos), "--detector", "haar"]
    result = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "out")])
    assert result.exit_code == 1
    assert "aligned by five landmarks as yunet gives them, and the detector (haar) gives none" in str(
        result.exception
    )
    assert not (tmp_path / "out").exists()
    assert (aligned.path / "contract.json").read_bytes() == before


def test_quantizing_on_drawn_faces_says_how_they_are_cut(
    aligned: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from ssr_train.quantize import quantize_bundle as module
    from ssr_train.quantize.crop_source import CropSource

    monkeypatch.setattr(
        module, "find_quantization", lambda *_, **__: aligned.contract.quantization
    )  # for time
    for name, told in (("aligned", True), ("default", False)):
        bundle = aligned if name == "aligned" else read_bundle(default_bundle())
        source = CropSource(data="synthetic", count=32)
        module.quantize_bundle(bundle.path, source, tmp_path / name, force=True)
        assert ("drawn faces are cut otherwise than these weights want" in capsys.readouterr().out) == told


def test_quantizing_keeps_the_crop(aligned: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On photos, by the command: the contract stays one of version 2, with the interface's hash as before."""
    from ssr_train.quantize import quantizer
    from ssr_train.quantize.crop_source import CropSource
    from ssr_train.quantize.quantize_bundle import quantize_bundle

    monkeypatch.setattr(quantizer, "MOST", 24)  # for time
    monkeypatch.setenv("SSR_DETECTORS_DIR", str(material("detectors/yunet_n_640_640.onnx").parent))
    (tmp_path / "cast").mkdir()
    photo = material("faces/the_flash_cast.png")
    (tmp_path / "cast" / photo.name).write_bytes(photo.read_bytes())
    source = CropSource(images=tmp_path / "cast", jitter=5, detector="yunet")
    plain = dataclasses.replace(aligned.contract, quantization=None)
    bundle = write_bundle(tmp_path / "plain", plain, aligned.parameters())
    made = quantize_bundle(bundle.path, source, tmp_path / "out").contract
    assert made.interface == aligned.contract.interface
    assert made.quantization is not None
    assert made.to_json()["contract_version"] == 2
    assert made.quantization.calibration["calibration"]["crops"] == 36
