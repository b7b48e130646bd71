"""Faces cut by the C++ core: the client's bytes from every kind of frame, and the same refusals."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from bundle_faults import FACE, GOOD_CROPS
from numpy.typing import NDArray
from random_bundles import random_bundle
from ssr_client import BadInput
from ssr_client.preprocess import crop_faces, nv12_to_bgr

from ssr_bundle import nv12
from ssr_bundle.bundle import read_bundle
from ssr_bundle.contract import Architecture, Input, Interface
from ssr_bundle.errors import SsrError
from ssr_bundle.face_crop import BORDERS, Crop, Template
from ssr_ops import implementations
from ssr_ops.cutting import cut_faces, implementation, to_bgr
from ssr_ops.native import native
from ssr_ops.shipped import default_bundle

Bytes = NDArray[np.uint8]

KINDS = ("portable", "avx2") if "avx2" in implementations() else ("portable",)
TINY = Architecture(stages=(2,), width_x=3, width_s=2, width_fusion=2)
ALIGNED = Crop(border="replicate", template=Template(FACE, 112))
NV12 = list(itertools.product(nv12.MATRICES, nv12.RANGES))


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every implementation that this machine has."""
    monkeypatch.setenv("SSR_FORCE_IMPLEMENTATION", request.param)
    assert implementation() == request.param
    return str(request.param)


def random_frame(rng: np.random.Generator) -> tuple[Bytes, dict[str, str], Bytes]:
    """A frame of any format and size, how it is to be read, and the same as BGR."""
    height, width = (rng.integers(1, 60, 2) * rng.choice([1, 1, 6], 2)).tolist()
    form = rng.choice(["bgr", "rgb", "nv12"])
    if form == "nv12":
        matrix, levels = NV12[rng.integers(len(NV12))]
        height, width = height + height % 2, width + width % 2
        frame = rng.integers(0, 256, (height * 3 // 2, width), np.uint8)
        meaning = {"format": "nv12", "matrix": matrix, "range": levels}
        return frame, meaning, nv12_to_bgr(frame, matrix, levels)
    frame = rng.integers(0, 256, (height, width, 3), np.uint8)
    return frame, {"format": str(form)}, frame if form == "bgr" else frame[..., ::-1]


def random_faces(rng: np.random.Generator, n: int, height: int, width: int) -> tuple[Any, Any]:
    """Boxes and landmarks (float32) in a picture and about it, tiny to huge."""
    boxes = np.column_stack(
        [rng.uniform(-0.4, 1.1, (n, 2)) * (width, height), np.exp(rng.uniform(-2, 6, (n, 2)))]
    )
    landmarks = np.empty((n, 5, 2))
    for points in landmarks:
        scale, turn = math.exp(rng.uniform(-4, 3)), rng.uniform(-math.pi, math.pi)
        c, s = math.cos(turn) * scale, math.sin(turn) * scale
        points[:] = (np.array(FACE) - 56) @ np.array([[c, s], [-s, c]]) + rng.normal(0, 2 * scale, (5, 2))
        points += rng.uniform(-0.3, 1.3, 2) * (width, height)
    return boxes.astype(np.float32), landmarks.astype(np.float32)


def outcome(cut: Callable[..., Bytes], *given: Any, **named: Any) -> Bytes | str:
    """The crops, or the words of the refusal."""
    try:
        return cut(*given, **named)
    except (SsrError, BadInput) as refusal:
        return str(refusal)


def check_same(found: Bytes | str, expected: Bytes | str) -> None:
    if isinstance(expected, str):
        assert found == expected
    else:
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", GOOD_CROPS)
def test_every_crop_has_the_clients_bytes(name: str, kind: str) -> None:
    crop = Crop.from_json(GOOD_CROPS[name][1])
    rng = np.random.default_rng(list(GOOD_CROPS).index(name))
    cut = 0
    for _ in range(30):
        frame, meaning, picture = random_frame(rng)
        boxes, landmarks = random_faces(rng, 6, *picture.shape[:2])
        faces: list[int] = []
        for i in range(len(boxes)):
            one = {"landmarks": landmarks[i : i + 1]}
            expected = outcome(crop_faces, picture, boxes[i : i + 1], crop, **one)
            if not isinstance(expected, str):
                faces.append(i)
                continue
            found = outcome(cut_faces, frame, boxes[i : i + 1], crop, colour="bgr", **meaning, **one)
            check_same(found, expected)
        expected = crop_faces(picture, boxes[faces], crop, landmarks=landmarks[faces].tolist())
        for colour, order in (("bgr", slice(None)), ("rgb", slice(None, None, -1))):
            found = cut_faces(frame, boxes[faces], crop, colour=colour, landmarks=landmarks[faces], **meaning)
            np.testing.assert_array_equal(found, expected[..., order])
        cut += len(faces)
    assert cut > 30


@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("size", [(1, 1), (1, 2), (2, 1), (2, 2), (1, 3), (3, 3), (2, 4)])
def test_the_smallest_frames(size: tuple[int, int], border: str, kind: str) -> None:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (*size, 3), np.uint8)
    boxes = [(0, 0, 1, 1), (-1, -1, 3, 3), (0.5, 0, 0.1, 0.1), (-30, -2, 40, 9), (-90, -90, 200, 200)]
    crop = Crop(margin=(0.1, 0.2, 0.3, 0.0), border=border)
    points = [[(x / 30, y / 30) for x, y in FACE], [(x - 50, y - 50) for x, y in FACE]]
    for form, frame, bgr in (("bgr", picture, picture), ("rgb", picture, picture[..., ::-1])):
        found = cut_faces(frame, boxes, crop, format=form, colour="bgr")
        np.testing.assert_array_equal(found, crop_faces(bgr, np.array(boxes, np.float32), crop))
    if border != "clip":
        crop = replace(ALIGNED, border=border)
        found = cut_faces(picture, boxes[:2], crop, format="bgr", colour="bgr", landmarks=points)
        expected = crop_faces(picture, boxes[:2], crop, landmarks=np.array(points, np.float32).tolist())
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("border", ["replicate", "constant"])
def test_a_cut_of_65536_pixels_costs_no_more_than_a_small_one(border: str, kind: str) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    crop = Crop(margin=(0.0, 0.0), border=border)
    boxes = [(-30_000.0, -30_000.0, 65_535.0, 65_535.0), (-65_530.0, 3.0, 65_535.0, 20.0)]
    begin = time.perf_counter()
    found = cut_faces(picture, boxes, crop, format="bgr", colour="bgr")
    assert time.perf_counter() - begin < 0.1
    np.testing.assert_array_equal(found, crop_faces(picture, boxes, crop))
    with pytest.raises(SsrError, match="too large, expected a cut of at most 65,536 pixels a side"):
        cut_faces(picture, [(0, 0, 65_536, 9)], crop, format="bgr", colour="bgr")


def test_a_bundle_says_crop_and_colour(tmp_path: Path, kind: str) -> None:
    bundle = read_bundle(default_bundle())
    golden = bundle.golden()
    found = cut_faces(
        golden["picture"], golden["boxes"], bundle, format=bundle.contract.interface.input.colour
    )
    np.testing.assert_array_equal(found, golden["crops"])
    rgb = random_bundle(tmp_path / "rgb", TINY, interface=replace(Interface(), input=Input(colour="rgb")))
    picture = golden["picture"]
    expected = crop_faces(picture, golden["boxes"], rgb.contract.interface.crop)[..., ::-1]
    np.testing.assert_array_equal(cut_faces(picture, golden["boxes"], rgb, format="bgr"), expected)
    with pytest.raises(SsrError, match="colour: 'bgr', but the bundle's is rgb"):
        cut_faces(picture, golden["boxes"], rgb, format="bgr", colour="bgr")


@pytest.mark.parametrize("name", GOOD_CROPS)
def test_the_core_reads_the_crop_of_a_contract(name: str, tmp_path: Path) -> None:
    crop = Crop.from_json(GOOD_CROPS[name][1])
    bundle = random_bundle(tmp_path / "bundle", TINY, interface=replace(Interface(), crop=crop))
    read = native.Engine(str(bundle.path), "cpu", "fp32", 1, "").crop
    assert (read.box, read.border, tuple(read.margin)) == (crop.box, crop.border, crop.margin)
    points, size = (crop.template.points, crop.template.size) if crop.template else ((), 0)
    assert (tuple(map(tuple, read.points)), read.size) == (points, size)


# -- what is refused ---------------------------------------------------------------------------------

INFINITE, NOTHING = float("inf"), float("nan")


@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize(
    "box",
    [
        *[(1, 1, *size) for size in ((0, 5), (5, -1), (-0.0, 5), (NOTHING, 5), (5, INFINITE), (1e300, 1))],
        *[
            (*place, 5, 5)
            for place in ((NOTHING, 0), (-INFINITE, 0), (1e300, 0), (50, 0), (0, -11), (-3e38, 3e38))
        ],
        *[(-1e30, -1e30, 3e30, 3e30), (-1e38, 0, 3e38, 9), (0, 0, 1e-45, 1e-45), (3e38, 0, 3e38, 1)],
    ],
)
def test_boxes_are_refused_as_by_the_client(box: Any, border: str, kind: str) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)
    crop = Crop(margin=(0.4, 0.4), border=border)
    with np.errstate(over="ignore"):
        boxes = np.array([(1, 1, 5, 5), box]).astype(np.float32)
    expected = outcome(crop_faces, picture, boxes, crop)
    check_same(outcome(cut_faces, picture, boxes, crop, format="bgr", colour="bgr"), expected)
    assert not isinstance(expected, str) or expected.startswith("box 1: (")


@pytest.mark.parametrize(
    "points",
    [
        [(NOTHING, 1.0), *FACE[1:]],
        [(INFINITE, 1.0), *FACE[1:]],
        [(1e300, 1.0), *FACE[1:]],
        [(17e6, 1.0), *FACE[1:]],
        [(5.0, 5.0)] * 5,
        [(10.0 * i, 20.0 * i) for i in range(5)],
        [(x * 1e5, y * 1e5) for x, y in FACE],
        [(x * 1e-40, y * 1e-40) for x, y in FACE],
        [(x - 1e7, y - 1e7) for x, y in FACE],
        [(112 - x, y) for x, y in FACE],
    ],
)
def test_landmarks_are_refused_as_by_the_client(points: Any, kind: str) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)
    boxes = [(1, 1, 5, 5)] * 2
    with np.errstate(over="ignore"):
        landmarks = np.array([FACE, points]).astype(np.float32)
    expected = outcome(crop_faces, picture, boxes, ALIGNED, landmarks=landmarks.tolist())
    check_same(
        outcome(cut_faces, picture, boxes, ALIGNED, format="bgr", colour="bgr", landmarks=landmarks), expected
    )
    assert not isinstance(expected, str) or expected.startswith("face 1: landmarks: ")


BGR, YUV = np.zeros((6, 4, 3), np.uint8), np.zeros((6, 4), np.uint8)


@pytest.mark.parametrize(
    ("frame", "meaning", "fault"),
    [
        (BGR, {"format": "bgra"}, "format: 'bgra' is unknown, expected one of bgr, rgb, nv12"),
        (BGR, {"format": None}, "format: None is unknown"),
        (BGR, {"format": "bgr", "matrix": "bt601"}, "matrix: only an NV12 frame has one, and this is bgr"),
        (BGR, {"format": "rgb", "range": "full"}, "range: only an NV12 frame has one, and this is rgb"),
        (BGR.astype(np.float32), {"format": "bgr"}, "frame: dtype float32, expected uint8"),
        (BGR[..., 0], {"format": "bgr"}, r"frame: shape \(6, 4\), expected uint8 \(H, W, 3\)"),
        ([[1], [1, 2]], {"format": "bgr"}, "frame: not an array"),
        ([[1], [1, 2]], {"format": "nv12", "matrix": "bt601", "range": "full"}, "frame: not an array"),
        (BGR[:0], {"format": "rgb"}, r"frame: shape \(0, 4, 3\)"),
        (YUV, {"format": "nv12", "range": "full"}, "matrix: an NV12 frame needs it, one of bt601, bt709"),
        (YUV, {"format": "nv12", "matrix": "bt601"}, "range: an NV12 frame needs it, one of limited, full"),
        (YUV, {"format": "nv12", "matrix": "bt2020", "range": "full"}, "matrix: 'bt2020' is unknown"),
        (YUV, {"format": "nv12", "matrix": "bt601", "range": "tv"}, "range: 'tv' is unknown"),
        (YUV[:, :3], {"format": "nv12", "matrix": "bt601", "range": "full"}, r"NV12 of shape \(6, 3\)"),
        (YUV[:5], {"format": "nv12", "matrix": "bt601", "range": "full"}, "with even H and W"),
        (YUV[:0], {"format": "nv12", "matrix": "bt601", "range": "full"}, r"shape \(0, 4\)"),
        (BGR, {"format": "nv12", "matrix": "bt601", "range": "full"}, r"NV12 of shape \(6, 4, 3\)"),
        (YUV.astype(int), {"format": "nv12", "matrix": "bt601", "range": "full"}, "NV12 of dtype int64"),
    ],
)
def test_frames_that_are_none(frame: Any, meaning: Any, fault: str) -> None:
    with pytest.raises(SsrError, match=fault):
        cut_faces(frame, [(1, 1, 2, 2)], Crop(), colour="bgr", **meaning)
    with pytest.raises(SsrError, match=fault):
        to_bgr(frame, **meaning)


def test_faces_that_are_none() -> None:
    def cut(boxes: Any, crop: Crop = Crop(), **named: Any) -> Bytes:  # noqa: B008
        return cut_faces(BGR, boxes, crop, **{"format": "bgr", "colour": "bgr", **named})

    assert cut([]).shape == (0, 64, 64, 3)
    assert cut(np.empty((0, 4)), ALIGNED, landmarks=[]).shape == (0, 64, 64, 3)
    for boxes in ([1, 2, 3, 4], [(1, 2, 3)], [[(1, 2, 3, 4)]]):
        with pytest.raises(SsrError, match=r"boxes: expected shape \(M, 4\) as x, y, width, height, got"):
            cut(boxes)
    with pytest.raises(SsrError, match="boxes: not numbers"):
        cut([("a", 1, 2, 3)])
    with pytest.raises(SsrError, match="boxes: not numbers"):
        cut([(10**400, 1, 2, 3)])
    with pytest.raises(SsrError, match="crop: expected a Crop or a Bundle, got str"):
        cut([(0, 0, 2, 2)], "bundle")  # type: ignore[arg-type]
    with pytest.raises(SsrError, match="colour: a bare crop does not say it, expected bgr or rgb, got None"):
        cut([(0, 0, 2, 2)], colour=None)
    one = [(0, 0, 2, 2)]
    with pytest.raises(SsrError, match="five landmarks each: 1 expected, got 0"):
        cut(one, ALIGNED)
    with pytest.raises(SsrError, match="five landmarks each: 1 expected, got 2"):
        cut(one, ALIGNED, landmarks=[FACE, FACE])
    with pytest.raises(SsrError, match="face 0: this crop aligns faces by five landmarks, and it has none"):
        cut(one, ALIGNED, landmarks=[None])
    with pytest.raises(SsrError, match="landmarks: expected five points a face, got 5"):
        cut(one, ALIGNED, landmarks=5)
    with pytest.raises(SsrError, match=r"landmarks: expected shape \(M, 5, 2\) as five points as x, y"):
        cut(one, ALIGNED, landmarks=[FACE[:4]])
    assert cut(one, landmarks="not looked at").shape == (1, 64, 64, 3)


# -- frames ------------------------------------------------------------------------------------------


def every_nv12() -> Bytes:
    """Every luma beside chroma of every fifth step: 256 x 3,025 pixels."""
    steps = np.unique([*range(0, 256, 5), 127, 128, 129])
    chroma = np.array(list(itertools.product(steps, steps)), np.uint8)
    luma = np.arange(256, dtype=np.uint8).reshape(64, 4)  # 64 blocks of 2 x 2 for each pair
    rows = np.tile(luma.reshape(64, 2, 2).transpose(1, 0, 2).reshape(2, 128), (len(chroma), 1))
    return np.concatenate([rows, np.tile(chroma[:, None], (1, 64, 1)).reshape(-1, 128)])


def test_nv12_is_the_standard(kind: str) -> None:
    frame = every_nv12()
    height = len(frame) // 3 * 2
    y = frame[:height].astype(float)
    u, v = (np.repeat(np.repeat(frame[height:, k::2], 2, 0), 2, 1) - 128.0 for k in (0, 1))
    for matrix, levels in NV12:
        kr, kb = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722)}[matrix]
        kg = 1 - kr - kb
        black, light, colour = (16, 255 / 219, 255 / 224) if levels == "limited" else (0, 1, 1)
        grey, pb, pr = light * (y - black), 2 * colour * u, 2 * colour * v
        blue, red = grey + (1 - kb) * pb, grey + (1 - kr) * pr
        green = grey - ((1 - kb) * kb * pb + (1 - kr) * kr * pr) / kg
        error = np.abs(np.clip(np.stack([blue, green, red], -1), 0, 255) - nv12.to_bgr(frame, matrix, levels))
        assert error[y >= black].max() < (0.70 if (matrix, levels) == ("bt601", "limited") else 0.51)
        found = to_bgr(frame, format="nv12", matrix=matrix, range=levels)
        np.testing.assert_array_equal(found, nv12.to_bgr(frame, matrix, levels))
        np.testing.assert_array_equal(found, nv12_to_bgr(frame, matrix, levels))
        if (matrix, levels) == ("bt601", "limited"):
            np.testing.assert_array_equal(found, cv2.cvtColor(frame, cv2.COLOR_YUV2BGR_NV12))


def test_frames_of_every_width_become_bgr(kind: str) -> None:
    rng = np.random.default_rng(0)
    for width in (*range(1, 40), 63, 64, 65, 66, 127, 128, 130, 1920):
        picture = rng.integers(0, 256, (4, width, 3), np.uint8)
        np.testing.assert_array_equal(to_bgr(picture, format="bgr"), picture)
        np.testing.assert_array_equal(to_bgr(picture, format="rgb"), picture[..., ::-1])
        frame = rng.integers(0, 256, (6, width + width % 2), np.uint8)
        for matrix, levels in NV12:
            found = to_bgr(frame[..., None], format="nv12", matrix=matrix, range=levels)
            np.testing.assert_array_equal(found, nv12.to_bgr(frame, matrix, levels))


def test_frames_that_are_views() -> None:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (60, 80, 3), np.uint8)
    yuv = rng.integers(0, 256, (180, 120), np.uint8)[::2, ::2]
    box = [(10.0, 5.0, 30.0, 40.0)]
    for view in (picture[:, ::-1], picture[::2], picture[..., ::-1], picture.transpose(1, 0, 2)):
        found = cut_faces(view, box, Crop(), format="bgr", colour="bgr")
        np.testing.assert_array_equal(found, crop_faces(view, box, Crop()))
    found = cut_faces(yuv, box, Crop(), format="nv12", matrix="bt709", range="full", colour="bgr")
    np.testing.assert_array_equal(found, crop_faces(nv12_to_bgr(yuv, "bt709", "full"), box, Crop()))


def test_the_client_refuses_what_is_no_nv12() -> None:
    with pytest.raises(BadInput, match="matrix: an NV12 frame needs it"):
        nv12_to_bgr(YUV, None, "full")  # type: ignore[arg-type]
    with pytest.raises(BadInput, match=r"NV12 of shape \(4, 4\)"):
        nv12_to_bgr(YUV[:4], "bt601", "limited")


def test_a_forced_implementation_of_an_engine_does_not_hinder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the name: cutting has only its own."""
    monkeypatch.setenv("SSR_FORCE_IMPLEMENTATION", "avx512vnni")
    assert implementation() == KINDS[-1]
    assert len(cut_faces(BGR, [(0, 0, 3, 3)], Crop(), format="bgr", colour="bgr")) == 1
