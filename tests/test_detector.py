"""The native face detector against the float64 reference and OpenCV, in every implementation."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import material
from numpy.typing import NDArray

from ssr_bundle.crop import intersection_over_union
from ssr_bundle.detector import read_detector
from ssr_bundle.errors import SsrError
from ssr_ops import Detector, detector_reference, implementations
from ssr_ops.detector import Detections
from ssr_ops.shipped import default_bundle, default_detector

IMPLEMENTATIONS = ("avx512", "avx2", "portable")
Picture = NDArray[np.uint8]

ROUNDING = 2e-5
"""Of a network's largest output; measured 4e-6 against the float64 reference on noise and faces."""


def detector(implementation: str, **options: Any) -> Detector:
    """The shipped detector, or a skip with the reason."""
    if implementation not in implementations():
        pytest.skip(f"this CPU or build has no {implementation}")
    made = Detector(default_detector(), implementation=implementation, **options)
    assert made.implementation == implementation
    return made


def noise(height: int, width: int, seed: int = 0) -> Picture:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def golden() -> dict[str, NDArray[Any]]:
    return read_detector(default_detector()).golden()


@pytest.fixture(scope="module")
def parameters() -> dict[str, NDArray[Any]]:
    return read_detector(default_detector()).parameters()


def same_bits(a: Detections, b: Detections) -> None:
    for name in a._fields:
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_replays_golden(implementation: str, golden: dict[str, NDArray[Any]]) -> None:
    """What the network says of the golden picture, and the faces in it, are the reference's."""
    native = detector(implementation)
    for stride, cells in zip((8, 16, 32), native.raw(golden["picture"]), strict=True):
        expected = golden[f"raw.{stride}"]
        assert np.abs(cells - expected).max() <= ROUNDING * np.abs(expected).max()
    found = native.detect(golden["picture"])
    assert len(found.boxes) == len(golden["boxes"]) > 0
    for name, bound in (("boxes", 1e-3), ("scores", 1e-5), ("landmarks", 1e-3)):
        np.testing.assert_allclose(getattr(found, name), golden[name], rtol=0, atol=bound)


# Sides of one and of many blocks, no multiples of 32, and more columns than a strip has.
SIZES = ((1, 1), (31, 33), (8, 500), (300, 70), (64, 96), (97, 1700))


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_network_is_the_references(
    height: int, width: int, implementation: str, parameters: dict[str, NDArray[Any]]
) -> None:
    picture = noise(height, width)
    expected = detector_reference.network(parameters, detector_reference.padded(picture))
    for native, cells in zip(detector(implementation).raw(picture), expected, strict=True):
        assert native.shape == cells.shape
        assert np.abs(native - cells).max() <= ROUNDING * np.abs(cells).max()


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_bits_depend_on_the_frame_alone(implementation: str) -> None:
    """Not on threads, nor on what was searched before or is searched meanwhile, nor on strides."""
    one, three = detector(implementation), detector(implementation, threads=3)
    pictures = [noise(*size, seed=i) for i, size in enumerate(((200, 1700), (97, 130), (64, 64), (330, 200)))]
    expected = [one.raw(picture) for picture in pictures]
    for found in (one, three):
        for picture, cells in zip(pictures[::-1], expected[::-1], strict=True):
            for a, b in zip(found.raw(picture), cells, strict=True):
                np.testing.assert_array_equal(a, b)
    with ThreadPoolExecutor(4) as pool:
        for _ in range(2):
            for cells, again in zip(expected, pool.map(three.raw, pictures), strict=True):
                for a, b in zip(cells, again, strict=True):
                    np.testing.assert_array_equal(a, b)
    planes = np.asfortranarray(pictures[1])
    np.testing.assert_array_equal(one.raw(planes)[0], expected[1][0])


def photos() -> Iterator[tuple[str, Picture]]:
    """A few of the real photos: small, large, crowded."""
    cv2 = pytest.importorskip("cv2")
    for folder, step in (("real/portraits", 20), ("real/fairface", 60), ("faces", 1)):
        paths = sorted(p for p in material(folder).rglob("*") if p.suffix in (".jpg", ".png", ".jpeg"))
        for path in paths[::step]:
            yield path.name, cv2.imread(str(path))


def test_finds_what_opencv_finds() -> None:
    """Recall, precision and distances to FaceDetectorYN, through the client's own search."""
    pytest.importorskip("cv2")
    from ssr_client.detectors import YuNet

    opencv = YuNet(material("detectors/yunet_n_640_640.onnx"), runtime="opencv")
    native = Detector(default_detector())
    theirs = ours = both = 0
    for name, picture in photos():
        expected, found = opencv.detect(picture), native.detect(picture)
        theirs += len(expected)
        ours += len(found.boxes)
        for face in expected:
            overlaps = [intersection_over_union(face.box, tuple(box)) for box in found.boxes.tolist()]
            best = int(np.argmax(overlaps)) if overlaps else -1
            if best < 0 or overlaps[best] < 0.9:
                continue
            both += 1
            assert np.abs(np.array(face.box) - found.boxes[best]).max() <= 0.5, name
            assert np.abs(np.array(face.landmarks) - found.landmarks[best]).max() <= 0.5, name
            assert abs(face.score - found.scores[best]) <= 1e-3, name
    assert theirs >= 15
    assert both / theirs >= 0.995
    assert both / ours >= 0.995


def test_is_the_references_search(golden: dict[str, NDArray[Any]]) -> None:
    """Shrinking, several scales, another threshold: what the reference finds in a picture drawn larger."""
    bundle = read_detector(default_detector())
    picture = golden["picture"].repeat(3, axis=0).repeat(3, axis=1)[:467, :601]
    expected = detector_reference.detect(bundle.contract, bundle.parameters(), picture, (96, 160))
    found = Detector(bundle).detect(picture, scales=(96, 160))
    assert len(found.boxes) == len(expected.boxes) > 0
    for name in found._fields:
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=0, atol=2e-3)
    strong = Detector(bundle).detect(picture, threshold=0.99, scales=(96, 160))
    assert len(strong.boxes) < len(found.boxes)
    weak = Detector(bundle).detect(picture, threshold=0.05, scales=[96])
    assert weak.scores.min() < 0.7


@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((120, 200, 3), np.uint8),
        np.full((64, 64, 3), 255, np.uint8),
        np.zeros((1, 1, 3), np.uint8),
        np.full((7, 90, 3), 128, np.uint8),
        np.full((1, 5000, 3), 200, np.uint8),
        np.full((5000, 1, 3), 10, np.uint8),
        np.full((5000, 40, 3), 10, np.uint8),
        noise(60, 90),
    ],
    ids=lambda picture: str(picture.shape),
)
def test_finds_nothing_where_nothing_is(picture: Picture) -> None:
    found = Detector(default_detector()).detect(picture)
    assert (found.boxes.shape, found.scores.shape, found.landmarks.shape) == ((0, 4), (0,), (0, 5, 2))
    assert {array.dtype for array in found} == {np.dtype(np.float32)}


def test_a_large_frame(golden: dict[str, NDArray[Any]]) -> None:
    """4K: the faces of the golden picture, drawn into it, are found in their place."""
    frame = np.full((2160, 3840, 3), 96, np.uint8)
    small = golden["picture"].repeat(2, axis=0).repeat(2, axis=1)
    frame[1000 : 1000 + len(small), 2000 : 2000 + small.shape[1]] = small
    found = Detector(default_detector(), threads=2).detect(frame)
    assert len(found.boxes) > 0
    assert ((found.boxes[:, 0] > 1950) & (found.boxes[:, 0] < 2450)).all()


def test_speaks_of_what_it_has() -> None:
    bundle = read_detector(default_detector())
    found = Detector(bundle, threads=np.int64(2))
    assert found.weights_sha256 == bundle.contract.weights_sha256
    assert (found.scales, found.threshold, found.name) == ((640, 1600), 0.7, "yunet")
    assert repr(found).startswith("Detector('yunet', threads=2, precision='fp32', implementation='")


def test_forced_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSR_FORCE_IMPLEMENTATION", "portable")
    assert Detector(default_detector()).implementation == "portable"
    monkeypatch.setenv("SSR_FORCE_IMPLEMENTATION", "abacus")
    with pytest.raises(SsrError, match="SSR_FORCE_IMPLEMENTATION: implementation 'abacus' is not available"):
        Detector(default_detector())


FRAMES = [
    (np.zeros((4, 4), np.uint8), r"frame: shape \(4, 4\), expected uint8 \(H, W, 3\)"),
    (np.zeros((4, 4, 4), np.uint8), r"frame: shape \(4, 4, 4\)"),
    (np.zeros((0, 4, 3), np.uint8), r"frame: shape \(0, 4, 3\), expected uint8 \(H, W, 3\) with pixels"),
    (np.zeros((4, 4, 3), np.float32), r"frame: dtype float32, expected uint8"),
    ([[1], [2, 3]], r"frame: not an array"),
]


@pytest.mark.parametrize(("frame", "message"), FRAMES, ids=[m for _, m in FRAMES])
def test_refuses_frames(frame: Any, message: str) -> None:
    with pytest.raises(SsrError, match=message):
        Detector(default_detector()).detect(frame)


OPTIONS: list[tuple[dict[str, Any], str]] = [
    ({"threshold": 0.0}, "threshold: must lie in 0.01..1, got 0.0"),
    ({"threshold": 0.001}, "threshold: must lie in 0.01..1"),
    ({"threshold": 1.5}, "threshold: must lie in 0.01..1, got 1.5"),
    ({"threshold": float("nan")}, "threshold: must lie in 0.01..1, got nan"),
    ({"scales": []}, "scales: expected 1 to 8 rising whole numbers in 32..8192"),
    ({"scales": [640, 320]}, r"scales: expected 1 to 8 rising whole numbers in 32..8192, got \[640,320\]"),
    ({"scales": [8]}, "scales: expected 1 to 8 rising whole numbers in 32..8192"),
    ({"scales": [32, 8193]}, "scales: expected 1 to 8 rising whole numbers"),
    ({"scales": list(range(32, 41))}, "scales: expected 1 to 8 rising whole numbers"),
    ({"scales": [640.0]}, "scales: expected 1 to 8 rising whole numbers"),
]


@pytest.mark.parametrize(("options", "message"), OPTIONS, ids=[str(o) for o, _ in OPTIONS])
def test_refuses_searches(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SsrError, match=message):
        Detector(default_detector()).detect(noise(40, 40), **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threads": 0}, "threads must be a whole number in 1..256, got 0"),
        ({"threads": True}, "threads must be a whole number in 1..256, got True"),
        ({"precision": "int8"}, "precision 'int8' is none of a detector's, expected fp32"),
        ({"implementation": "amx"}, "implementation 'amx' is not available here"),
    ],
)
def test_refuses_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SsrError, match=message):
        Detector(default_detector(), **options)


def change(path: Path, **fields: Any) -> None:
    contract = json.loads((path / "contract.json").read_text())
    (path / "contract.json").write_text(json.dumps({**contract, **fields}))


FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"kind": "gate"}, 'kind: this is the bundle of a "gate", expected a detector\'s'),
    ({"contract_version": 2}, "contract_version 2 is unknown, expected 1"),
    ({"contract_version": 1.0}, r"contract_version 1\.0 is unknown, expected 1"),
    ({"input": {"colour": "rgb"}}, 'input.colour: "rgb" is not supported, expected "bgr"'),
    ({"scales": [640, 640]}, r"scales: expected 1 to 8 rising whole numbers in 32..8192, got \[640,640\]"),
    ({"scales": 640}, "scales: expected a list, got 640"),
    ({"scales": [1e30]}, "scales: expected 1 to 8 rising"),
    ({"score_threshold": 0}, r"score_threshold: must lie in 0\.01\.\.1, got 0"),
    ({"nms_threshold": 2}, "nms_threshold: must lie in 0"),
    ({"merge_threshold": "x"}, 'merge_threshold: expected a finite number, got "x"'),
    ({"max_candidates": 0}, "max_candidates: expected a whole number in 1..10000, got 0"),
    ({"name": "../x"}, "cannot name a model"),
    ({"files": {}}, "files: model.safetensors is not listed"),
]


@pytest.mark.parametrize(("fields", "message"), FAULTS, ids=[str(f) for f, _ in FAULTS])
def test_refuses_contracts(fields: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = shutil.copytree(default_detector(), tmp_path / "bundle")
    change(path, **fields)
    with pytest.raises(SsrError, match=message):
        Detector(path)


def test_refuses_damaged_bundles(tmp_path: Path) -> None:
    path = shutil.copytree(default_detector(), tmp_path / "bundle")
    weights = (path / "model.safetensors").read_bytes()
    (path / "model.safetensors").write_bytes(weights[:-4])
    with pytest.raises(SsrError, match="truncated or altered"):
        Detector(path)
    (path / "model.safetensors").write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))
    with pytest.raises(SsrError, match="altered"):
        Detector(path)
    (path / "model.safetensors").unlink()
    with pytest.raises(SsrError, match="missing, but the contract lists it"):
        Detector(path)
    with pytest.raises(SsrError, match=r"no contract\.json in it, expected a bundle folder"):
        Detector(tmp_path)
    with pytest.raises(SsrError, match="this is the bundle of an age network, expected that of a detector"):
        Detector(default_bundle())


def test_many_callers() -> None:
    """Detectors that come and go beside one that is in use by all threads."""
    shared, picture = Detector(default_detector(), threads=2), noise(150, 250)
    expected = shared.detect(picture, threshold=0.01)
    faults: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(5):
                same_bits(shared.detect(picture, threshold=0.01), expected)
                same_bits(Detector(default_detector()).detect(picture, threshold=0.01), expected)
        except BaseException as error:
            faults.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults
