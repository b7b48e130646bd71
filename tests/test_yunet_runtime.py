"""ssr_client's YuNet by ONNX Runtime: the faces of OpenCV, in pictures of any size."""

from __future__ import annotations

import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import material
from numpy.typing import NDArray

from ssr_bundle.crop import intersection_over_union
from ssr_bundle.errors import SsrError

cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")

from ssr_client.detectors import YuNet  # noqa: E402
from ssr_client.faces import Detection  # noqa: E402
from ssr_client.onnx_sizes import OnnxError, for_any_size  # noqa: E402

RNG = np.random.default_rng(5)


@pytest.fixture(scope="module")
def model() -> Path:
    return material("detectors/yunet_n_640_640.onnx")


@pytest.fixture(scope="module")
def both(model: Path) -> tuple[YuNet, YuNet]:
    return YuNet(model, runtime="opencv"), YuNet(model, runtime="onnxruntime")


def check_the_same(theirs: list[Detection], ours: list[Detection]) -> int:
    """Recall and precision of 1 at IoU 0.9, and everything within 0.1 pixels; how many there are."""
    assert len(ours) == len(theirs)
    for one, other in zip(theirs, ours, strict=True):
        assert intersection_over_union(one.box, other.box) > 0.9
        assert other.box == pytest.approx(one.box, abs=0.1)
        assert np.array(other.landmarks) == pytest.approx(np.array(one.landmarks), abs=0.1)
        assert other.score == pytest.approx(one.score, abs=1e-4)
    return len(ours)


def test_the_same_faces(both: tuple[YuNet, YuNet]) -> None:
    portraits = sorted(material("real/portraits").glob("*.jpg"))[::6]
    opencv, ours = both
    count = 0
    for file in [material("faces/the_flash_cast.png"), *portraits]:
        picture = cv2.imread(str(file))
        count += check_the_same(opencv.detect(picture), ours.detect(picture))
    assert count >= 35


def test_pictures_of_any_size(both: tuple[YuNet, YuNet]) -> None:
    """One session for all; sides that are no multiples of 32 are padded."""
    group = cv2.imread(str(material("faces/the_flash_cast.png")))
    count = 0
    for height, width in RNG.integers(8, 577, (30, 2)).tolist():
        row, column = RNG.integers(0, 577 - height), RNG.integers(0, 1025 - width)
        part = np.ascontiguousarray(group[row : row + height, column : column + width])
        count += check_the_same(*(detector.detect(part) for detector in both))
    large = cv2.resize(group, (2050, 1153))
    count += check_the_same(*(detector.detect(large) for detector in both))
    assert count > 25


def test_which_one_runs_is_said_and_can_be_chosen(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert YuNet(model).runtime == f"onnxruntime {onnxruntime.__version__}"
    assert YuNet(model, runtime="opencv").runtime == f"opencv {cv2.__version__}"
    with pytest.raises(SsrError, match="'openvino' is unknown, expected one of auto, onnxruntime, opencv"):
        YuNet(model, runtime="openvino")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert YuNet(model).runtime == f"opencv {cv2.__version__}"
    with pytest.raises(SsrError, match=r"ONNX Runtime is not installed: pip install 'ssr-client\[photo,onnx"):
        YuNet(model, runtime="onnxruntime")


def test_several_threads_find_the_same(both: tuple[YuNet, YuNet]) -> None:
    """In pictures of different sizes, at once."""
    group = cv2.imread(str(material("faces/the_flash_cast.png")))
    pictures: list[NDArray[np.uint8]] = [group[:, : 400 + 100 * i] for i in range(4)]
    alone = [both[1].detect(picture) for picture in pictures]
    together: list[Any] = [None] * len(pictures)

    def detect(i: int) -> None:
        together[i] = both[1].detect(pictures[i])

    threads = [threading.Thread(target=detect, args=(i,)) for i in range(len(pictures))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == alone


def test_files_that_are_no_yunet(model: Path, tmp_path: Path) -> None:
    def refused(content: bytes) -> str:
        (tmp_path / "a.onnx").write_bytes(content)
        with pytest.raises(SsrError) as caught:
            YuNet(tmp_path / "a.onnx", runtime="onnxruntime")
        assert "\n" not in str(caught.value)
        return str(caught.value).removeprefix(f"{tmp_path / 'a.onnx'}: ")

    data = model.read_bytes()
    assert refused(b"no model") == "not an ONNX model, expected YuNet's"
    assert refused(data[:-1]) == "not an ONNX model, expected YuNet's"
    assert refused(b"").startswith("ONNX Runtime cannot load it as YuNet (")
    renamed = data.replace(b"cls_8", b"cls_9")
    assert refused(renamed) == "its outputs are not YuNet's"
    assert refused(data.replace(b"Conv", b"Cnov")).startswith("ONNX Runtime cannot load it as YuNet (")
    with pytest.raises(SsrError, match="no such file, expected YuNet's ONNX model"):
        YuNet(tmp_path / "missing.onnx")


def test_only_shapes_are_changed(model: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    before, after = onnx.load(model), onnx.load_model_from_string(for_any_size(model.read_bytes()))
    shape = after.graph.input[0].type.tensor_type.shape
    assert [d.dim_value or d.dim_param for d in shape.dim] == [1, 3, "height", "width"]
    assert not any(o.type.tensor_type.HasField("shape") for o in after.graph.output)
    for graph in (before.graph, after.graph):
        del graph.value_info[:]
        for value in (*graph.input, *graph.output):
            value.type.tensor_type.ClearField("shape")
    assert after == before
    once = for_any_size(model.read_bytes())
    assert for_any_size(once) == once


def test_bytes_that_are_no_model_raise_one_error(model: Path) -> None:
    """Cut anywhere, with any bytes changed, it gives other bytes or an OnnxError, and nothing else."""
    data = model.read_bytes()
    refused = 0
    for _ in range(2000):
        changed = bytearray(data[-9000:] if RNG.random() < 0.5 else data[:200] + data[-9000:])
        for _ in range(RNG.integers(1, 4)):
            changed[RNG.integers(len(changed))] = RNG.integers(256)
        with suppress(OnnxError):
            for_any_size(bytes(changed[: RNG.integers(len(changed))]))
            refused -= 1
        refused += 1
    assert refused > 100
