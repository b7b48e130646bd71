"""YuNet's ONNX file, and files that are nearly YuNet's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import material
from typer.testing import CliRunner

from ssr_bundle.bundle import BundleError
from ssr_bundle.detector import read_detector

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("cv2", reason="OpenCV is not installed")

from ssr_train.cli import app  # noqa: E402
from ssr_train.detector_import import DetectorImportError, import_detector, read_yunet  # noqa: E402


@pytest.fixture
def model() -> Any:
    return onnx.load(material("detectors/yunet_n_640_640.onnx"))


def maker(model: Any, name: str) -> Any:
    return next(node for node in model.graph.node if name in node.output)


def constant(model: Any, name: str) -> Any:
    return next(tensor for tensor in model.graph.initializer if tensor.name == name)


def attribute(node: Any, name: str) -> Any:
    return next(a for a in node.attribute if a.name == name)


def first_stride(model: Any) -> None:
    attribute(model.graph.node[0], "strides").ints[:] = [1, 1]


def other_group(model: Any) -> None:
    node = next(n for n in model.graph.node if "bbox_head.multi_level_kps.0.conv2.weight" in n.input)
    attribute(node, "group").i = 1


def ceil(model: Any) -> None:
    attribute(next(n for n in model.graph.node if n.op_type == "MaxPool"), "ceil_mode").i = 1


def mean_pool(model: Any) -> None:
    next(n for n in model.graph.node if n.op_type == "MaxPool").op_type = "AveragePool"


def linear(model: Any) -> None:
    attribute(next(n for n in model.graph.node if n.op_type == "Resize"), "mode").s = b"linear"


def three_times(model: Any) -> None:
    tensor = constant(model, "512")
    tensor.CopyFrom(onnx.numpy_helper.from_array(np.array([1, 1, 3, 3], np.float32), "512"))


def no_sigmoid(model: Any) -> None:
    maker(model, "cls_8").op_type = "Identity"


def heads_swapped(model: Any) -> None:
    maker(model, "obj_8").input[0], maker(model, "cls_16").input[0] = "342", "366"


def missing_output(model: Any) -> None:
    del model.graph.output[0]


def half_precision(model: Any) -> None:
    tensor = constant(model, "460")
    tensor.CopyFrom(
        onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor).astype(np.float16), "460")
    )


def other_width(model: Any) -> None:
    tensor = constant(model, "462")
    tensor.CopyFrom(onnx.numpy_helper.from_array(np.zeros((8, 1, 3, 3), np.float32), "462"))


def no_bias(model: Any) -> None:
    del model.graph.node[0].input[2]


def computed_weight(model: Any) -> None:
    model.graph.initializer.remove(constant(model, "459"))


def outside(model: Any) -> None:
    onnx.external_data_helper.set_external_data(constant(model, "459"), "/etc/passwd")
    constant(model, "459").ClearField("raw_data")
    constant(model, "459").data_location = onnx.TensorProto.EXTERNAL


def circle(model: Any) -> None:
    maker(model, "263").input[0] = "263"


CHANGES: dict[Callable[[Any], None], str] = {
    first_stride: "Conv '458': strides is [1, 1], expected [2, 2]",
    other_group: "group is 1, expected 10",
    ceil: "ceil_mode is 1, expected 0",
    mean_pool: "is made by AveragePool, expected MaxPool",
    linear: "mode is b'linear', expected b'nearest'",
    three_times: "is not twice as large",
    no_sigmoid: "'cls_8' is made by Identity, expected Sigmoid",
    heads_swapped: "expected",
    missing_output: "its outputs are",
    half_precision: "stem.bias is float16 of shape (16,), expected float32 of (16,)",
    other_width: "stem.unit.depth.weight is float32 of shape (8, 1, 3, 3), expected float32 of (16, 1, 3, 3)",
    no_bias: "stem has no bias",
    computed_weight: "'459' is no constant",
    outside: "'459' lies in another file",
    circle: "is made by Relu, expected",
}


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_another_graph_is_refused_by_what_differs(model: Any, change: Callable[[Any], None]) -> None:
    change(model)
    with pytest.raises(DetectorImportError) as caught:
        read_yunet(model.SerializeToString(), Path("a.onnx"))
    assert str(caught.value).startswith("a.onnx: not ")
    assert CHANGES[change] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_weights_say_that_their_source_is_not_known(model: Any, tmp_path: Path) -> None:
    """And nodes in another order, as far as that is one, are the same network."""
    tensor = constant(model, "460")
    array = onnx.numpy_helper.to_array(tensor) * np.float32(1.001)
    tensor.CopyFrom(onnx.numpy_helper.from_array(array, "460"))
    nodes = list(model.graph.node)
    del model.graph.node[:]
    heads = [n for n in nodes if n.output[0].split("_")[0] in ("cls", "obj", "bbox", "kps")]
    model.graph.node.extend([n for n in nodes if n not in heads] + heads[::-1])
    path = tmp_path / "mine.onnx"
    onnx.save(model, path)
    bundle = import_detector(path, tmp_path / "mine")
    assert read_detector(tmp_path / "mine").contract == bundle.contract
    assert bundle.contract.provenance["source"] == "mine.onnx"
    assert bundle.contract.provenance["licence"] == "not known: not the released file"
    assert set(bundle.contract.files) == {"model.safetensors", "golden.safetensors"}
    with pytest.raises(BundleError, match="exists already"):
        import_detector(path, tmp_path / "mine")
    assert import_detector(path, tmp_path / "mine", overwrite=True).contract == bundle.contract


def test_files_that_are_no_model(tmp_path: Path) -> None:
    data = material("detectors/yunet_n_640_640.onnx").read_bytes()
    for content in (b"", b"no model", data[:-1], data[: len(data) // 2], bytes(1000)):
        with pytest.raises(DetectorImportError, match=r"^a\.onnx: not "):
            read_yunet(content, Path("a.onnx"))
    for place, status in ((tmp_path, 1), (tmp_path / "missing.onnx", 1)):
        result = CliRunner().invoke(app, ["import-detector", str(place), "--out", str(tmp_path / "b")])
        assert result.exit_code == status
        assert not (tmp_path / "b").exists()
