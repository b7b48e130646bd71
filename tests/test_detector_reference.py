"""The detector's reference against ONNX Runtime, OpenCV, and arithmetic done by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from conftest import material
from numpy.typing import NDArray

from ssr_bundle.detections import Detection, inside, left_to_right, sizes_searched, suppress
from ssr_bundle.detector import HEADS, STRIDES, DetectorBundle, DetectorContract, read_detector
from ssr_bundle.disk import sha256_of
from ssr_bundle.tolerances import FACES, FACES_OF_OPENCV
from ssr_ops import detector_reference as reference
from ssr_ops.detector_golden import golden_picture
from ssr_ops.detector_reference import Detections
from ssr_ops.detector_replay import replay_detector
from ssr_ops.replay import ReplayError
from ssr_ops.shipped import default_detector

cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")

from ssr_client.detectors import YuNet  # noqa: E402
from ssr_client.onnx_sizes import for_any_size  # noqa: E402

RNG = np.random.default_rng(16)


@pytest.fixture(scope="module")
def bundle() -> DetectorBundle:
    return read_detector(default_detector())


@pytest.fixture(scope="module")
def parameters(bundle: DetectorBundle) -> dict[str, NDArray[Any]]:
    return bundle.parameters()


@pytest.fixture(scope="module")
def session() -> Any:
    data = for_any_size(material("detectors/yunet_n_640_640.onnx").read_bytes())
    return onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])


def pictures() -> dict[str, NDArray[np.uint8]]:
    group = cv2.imread(str(material("faces/the_flash_cast.png")))
    return {
        "golden": golden_picture(),
        "group": group[:257, :331],
        "noise": RNG.integers(0, 256, (96, 64, 3), dtype=np.uint8),
        "black": np.zeros((32, 32, 3), np.uint8),
        "white, one row beyond a multiple": np.full((33, 64, 3), 255, np.uint8),
    }


def test_what_the_network_says_is_what_onnx_runtime_says(
    session: Any, parameters: dict[str, NDArray[Any]]
) -> None:
    """To float32's rounding; ONNX gives ``cls`` and ``obj`` behind the sigmoid."""
    for name, picture in pictures().items():
        padded = reference.padded(picture)
        outputs = session.run(None, {"input": padded.astype(np.float32).transpose(2, 0, 1)[None]})
        theirs = dict(zip([output.name for output in session.get_outputs()], outputs, strict=True))
        for stride, ours in zip(STRIDES, reference.network(parameters, padded), strict=True):
            assert ours.shape == (padded.shape[0] // stride, padded.shape[1] // stride, 16)
            cells, first = ours.reshape(-1, 16), 0
            for head, count in HEADS.items():
                values = cells[:, first : first + count]
                if head in ("cls", "obj"):
                    values = 1 / (1 + np.exp(-values))
                assert theirs[f"{head}_{stride}"][0] == pytest.approx(values, abs=2e-5, rel=2e-5), (
                    name,
                    head,
                )
                first += count


def test_the_faces_are_those_of_the_client_s_yunet(
    bundle: DetectorBundle, parameters: dict[str, NDArray[Any]]
) -> None:
    """With OpenCV and with ONNX Runtime. Where a picture is searched in a smaller copy, OpenCV's differs in
    single units, by the rounding of means."""
    files = [material("faces/the_flash_cast.png"), *sorted(material("real/portraits").glob("*.jpg"))[:5]]
    model = material("detectors/yunet_n_640_640.onnx")
    count = 0
    for runtime in ("opencv", "onnxruntime"):
        client = YuNet(model, runtime=runtime)
        for file in files:
            picture = cv2.imread(str(file))
            ours, theirs = reference.detect(bundle.contract, parameters, picture), client.detect(picture)
            boxes = np.array([face.box for face in theirs]).reshape(-1, 4)
            assert ours.boxes.shape == boxes.shape, file
            landmarks = np.array([face.landmarks for face in theirs]).reshape(-1, 5, 2)
            limits = FACES["fp32"] if max(picture.shape) <= 640 else FACES_OF_OPENCV
            assert np.abs(ours.boxes - boxes).max(initial=0) < limits.pixels, file
            assert np.abs(ours.landmarks - landmarks).max(initial=0) < limits.pixels, file
            assert ours.scores == pytest.approx([face.score for face in theirs], abs=limits.score)
            count += len(boxes)
    assert count >= 22


def test_small_copies_of_a_large_picture(bundle: DetectorBundle, parameters: dict[str, NDArray[Any]]) -> None:
    """Here the picture is larger than the first scale; its copies differ from OpenCV's in single units."""
    picture = cv2.imread(str(material("faces/the_flash_cast.png")))
    contract = replace(bundle.contract, scales=(256, 416))
    ours = reference.detect(contract, parameters, picture)
    client = YuNet(material("detectors/yunet_n_640_640.onnx"), runtime="opencv")
    client.SIDES = (256, 416)  # type: ignore[misc]
    theirs = client.detect(picture)
    assert len(theirs) == len(ours.boxes) >= 5
    assert ours.boxes == pytest.approx(np.array([face.box for face in theirs]), abs=0.5)
    given = reference.detect(bundle.contract, parameters, picture, scales=(256, 416))
    assert all(np.array_equal(one, other) for one, other in zip(given, ours, strict=True))


@pytest.mark.parametrize("size", [(50, 80), (25, 40), (33, 47), (49, 79), (7, 80), (50, 1), (1, 1), (17, 8)])
def test_shrinking_is_the_mean_of_areas(size: tuple[int, int]) -> None:
    """Against exact means, and within one of OpenCV's, which are in float32."""
    picture = RNG.integers(0, 256, (50, 80, 3), dtype=np.uint8)
    height, width = size
    found = reference.shrunk(picture, height, width)
    assert found.shape == (height, width, 3)
    assert found.dtype == np.uint8
    theirs = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    assert np.abs(found.astype(int) - theirs).max() <= 1
    fine = picture.repeat(height, axis=0).repeat(width, axis=1).astype(np.int64)
    means = fine.reshape(height, 50, width, 80, 3).sum(axis=(1, 3)) / (50 * 80)
    assert np.array_equal(found, np.floor(means + 0.5))


def test_halves_are_rounded_up() -> None:
    picture = np.array([[[0, 1, 254], [1, 2, 255]]], np.uint8)
    assert reference.shrunk(picture, 1, 1).tolist() == [[[1, 2, 255]]]


def test_which_copies_are_searched() -> None:
    def sizes(*arguments: Any) -> list[tuple[int, int]]:
        return list(sizes_searched(*arguments))

    assert sizes(480, 640, (640, 1600)) == [(480, 640)]
    assert sizes(481, 641, (640, 1600)) == [(480, 640), (481, 641)]
    assert sizes(1080, 1920, (640, 1600)) == [(360, 640), (900, 1600)]
    assert sizes(1080, 1920, (640,)) == [(360, 640)]
    assert sizes(100, 100, (640, 1600)) == [(100, 100)]
    assert sizes(7, 100, (640, 1600)) == []
    assert sizes(15, 1700, (640, 1600)) == [(14, 1600)]
    assert sizes(1, 100_000, (640, 1600)) == []
    assert sizes(5, 128, (64,)) == []


def test_suppression_is_opencv_s() -> None:
    """Boxes cut to whole pixels; also those of no area and those that touch."""
    for _ in range(50):
        boxes = np.concatenate([RNG.uniform(-20, 60, (40, 2)), RNG.uniform(0.1, 50, (40, 2))], axis=1)
        scores = np.sort(RNG.uniform(0.75, 1, 40))[::-1]
        theirs = cv2.dnn.NMSBoxes(np.trunc(boxes).tolist(), scores.tolist(), 0.7, 0.3)
        area = boxes[:, 2:].min(axis=1) >= 1
        found = reference.not_the_same(boxes, 0.3)
        assert [i for i in found if area[i]] == [i for i in np.ravel(theirs).tolist() if area[i]]


def test_a_cell_is_decoded() -> None:
    """By hand: the cell in column 1 and row 2 of stride 16."""
    raw = [np.zeros((side, side, 16)) for side in (8, 4, 2)]
    raw[1][2, 1] = [1.0, 2.0, 0.25, -0.5, math.log(2), math.log(3), *np.arange(10) / 10]
    boxes, scores, landmarks = reference.decoded(raw)
    cell = 64 + 2 * 4 + 1
    assert boxes[cell] == pytest.approx([1.25 * 16 - 16, 1.5 * 16 - 24, 32, 48])
    assert scores[cell] == pytest.approx(math.sqrt(1 / (1 + math.exp(-1)) / (1 + math.exp(-2))))
    assert landmarks[cell, :2] == pytest.approx(np.array([[16.0, 33.6], [19.2, 36.8]]))
    assert scores[0] == pytest.approx(0.5)


def test_finds_that_are_no_numbers_are_dropped() -> None:
    """And those beyond 2^24 pixels; the others are found as if these were not there."""
    contract = DetectorContract(max_candidates=3)
    raw = [np.zeros((side, side, 16)) for side in (8, 4, 2)]
    raw[0][..., :2] = -9.0
    for column, (value, place) in enumerate([(np.nan, 0), (np.inf, 4), (800.0, 5), (3e6, 6), (-np.inf, 2)]):
        raw[0][0, column, :2] = 9.0
        raw[0][0, column, place] = value
    raw[0][5, 5, :2] = 5.0
    found = reference.search(contract, raw)
    assert found.boxes.tolist() == [[36.0, 36.0, 8.0, 8.0]]


def test_at_most_so_many_candidates() -> None:
    raw = [np.full((side, side, 16), -9.0) for side in (8, 4, 2)]
    for row in range(8):
        raw[0][row, :, :2], raw[0][row, :, 2:] = 9.0 - row / 10, 0.0
    assert len(reference.search(DetectorContract(), raw).boxes) == 64
    assert len(reference.search(DetectorContract(max_candidates=9), raw).boxes) == 9


def test_which_finds_are_faces() -> None:
    def find(x: float, y: float, w: float, h: float, score: float = 0.9) -> Detection:
        return Detection((x, y, w, h), score)

    good, behind = find(0, 0, 10, 10), find(60, 0, 10, 10)
    assert inside([good, behind, find(-9, 0, 10, 10), find(1, 1, 0.5, 9)], 20, 50) == [good]
    assert inside([find(math.nan, 0, 9, 9), find(0, 0, math.inf, 9)], 20, 50) == []
    weaker = find(1, 1, 10, 10, 0.8)
    assert suppress([weaker, good], 0.4) == [good]
    inner = find(2, 2, 4, 4, 0.95)
    assert suppress([good, inner], 0.4) == [inner]
    assert left_to_right([behind, find(0, 5, 10, 10), good]) == [good, find(0, 5, 10, 10), behind]


class Played:
    """A detector that answers what it was given."""

    def __init__(self, *answers: Detections) -> None:
        self._answers = answers
        self._asked = 0

    def detect(self, frame: NDArray[np.uint8]) -> Detections:
        self._asked += 1
        return self._answers[(self._asked - 1) % len(self._answers)]


@pytest.fixture(scope="module")
def faces(bundle: DetectorBundle, parameters: dict[str, NDArray[Any]]) -> Detections:
    return reference.detect(bundle.contract, parameters, bundle.golden()["picture"])


def test_the_golden_record_is_the_reference_s(bundle: DetectorBundle, faces: Detections) -> None:
    replayed = replay_detector(bundle, Played(faces))
    assert replayed.faces == 3
    assert replayed.pixels < 1e-4
    assert replayed.score < 1e-6


def test_opencv_still_finds_what_is_recorded(bundle: DetectorBundle) -> None:
    """Of the installed version, whose bits may differ."""
    golden = bundle.golden()
    for runtime in ("opencv", "onnxruntime"):
        found = YuNet(material("detectors/yunet_n_640_640.onnx"), runtime=runtime).detect(golden["picture"])
        assert np.array([face.box for face in found]) == pytest.approx(golden["opencv.boxes"], abs=2e-3)
        assert [face.score for face in found] == pytest.approx(golden["opencv.scores"], abs=2e-3)


def test_a_replay_names_what_is_off(bundle: DetectorBundle, faces: Detections) -> None:
    def refused(*answers: Detections, precision: str = "fp32") -> str:
        with pytest.raises(ReplayError) as caught:
            replay_detector(bundle, Played(*answers), precision)
        return str(caught.value)

    boxes, scores, landmarks = faces
    nothing = Detections(np.empty((0, 4)), np.empty(0), np.empty((0, 5, 2)))
    assert "gives arrays of [(0, 4), (0,), (0, 5, 2)], OpenCV's are of [(3, 4)" in refused(nothing)
    assert "two runs of the detector over its golden record differ" in refused(faces, nothing)
    assert "differ" in refused(Detections(boxes + np.nan, scores, landmarks))
    assert "is off OpenCV's faces by 0.6" in refused(Detections(boxes + 0.6, scores, landmarks))
    told = "is off the reference's faces by 0.02 pixels, allowed 0.01"
    assert told in refused(Detections(boxes, scores, landmarks + 0.02))
    assert "by 0.001 of score, allowed 0.0001" in refused(Detections(boxes, scores - 0.001, landmarks))
    assert replay_detector(bundle, Played(Detections(boxes, scores, landmarks + 0.02)), "int8").faces == 3


def test_the_golden_picture_asks_for_every_stride(parameters: dict[str, NDArray[Any]]) -> None:
    """One face is found by each, and padding is needed on both sides."""
    picture = golden_picture()
    assert all(side % 32 for side in picture.shape[:2])
    raw = reference.network(parameters, reference.padded(picture))
    best = [reference.decoded([r if r is one else r * 0 - 9 for r in raw]).scores.max() for one in raw]
    assert min(best) > 0.7, best


def test_the_material_is_what_was_imported(bundle: DetectorBundle) -> None:
    """So that the tests above compare the same weights."""
    path = material("detectors/yunet_n_640_640.onnx")
    assert bundle.contract.provenance["source_sha256"] == sha256_of(path)
