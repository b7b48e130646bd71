"""YuNet's ONNX file as a detector bundle: the graph must be the network's, the weights get our names."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssr_bundle.detector import HEADS, STRIDES, DetectorBundle, DetectorContract, parameter_shapes, units
from ssr_bundle.errors import SsrError
from ssr_bundle.fetch import ASSETS, LARGEST
from ssr_bundle.regular import read_whole
from ssr_ops.detector_golden import golden_picture, write_detector
from ssr_ops.detector_reference import Detections
from ssr_ops.shipped import default_detector

Arrays = dict[str, NDArray[np.float32]]

_CONV = {"auto_pad": b"NOTSET", "dilations": [1, 1], "group": 1, "pads": [0] * 4, "strides": [1, 1]}
_POOL = {
    "auto_pad": b"NOTSET",
    "ceil_mode": 0,
    "dilations": [1, 1],
    "kernel_shape": [2, 2],
    "pads": [0] * 4,
    "strides": [2, 2],
}
_RESIZE = {
    "coordinate_transformation_mode": b"asymmetric",
    "mode": b"nearest",
    "nearest_mode": b"floor",
}
_DEFAULTS: dict[str, dict[str, Any]] = {"Conv": _CONV, "MaxPool": _POOL}
"""What an attribute is where the file leaves it out, as far as it is looked at."""


class DetectorImportError(SsrError):
    """A file that is not YuNet's network."""


def import_detector(onnx_file: Path, out: Path, *, overwrite: bool = False) -> DetectorBundle:
    """Write the network in ``onnx_file`` as a detector bundle at ``out``; the same bytes on every machine.

    Raises :class:`DetectorImportError` for a file that is not YuNet's, ``BundleError`` if ``out`` exists.
    """
    data = read_whole(onnx_file, LARGEST, DetectorImportError)
    parameters = read_yunet(data, onnx_file)
    sha256, released = hashlib.sha256(data).hexdigest(), ASSETS["yunet"]
    known = sha256 == released.sha256
    contract = DetectorContract(
        provenance={
            "command": "ssr-train import-detector",
            "source": f"{released.file} of ShiqiYu/libfacedetection.train" if known else onnx_file.name,
            "source_sha256": sha256,
            "licence": "MIT, Copyright (c) 2020 Shiqi Yu" if known else "not known: not the released file",
            "training_data": "WIDER FACE" if known else None,
        }
    )
    beside = {"LICENSE": (default_detector() / "LICENSE").read_bytes()} if known else {}
    found = _opencv(data, onnx_file, contract)
    return write_detector(out, contract, parameters, found, overwrite=overwrite, beside=beside)


def read_yunet(data: bytes, path: Path) -> Arrays:
    """The weights in the bytes of an ONNX file, by the bundle's names; ``path`` is for messages."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        graph = _Graph(onnx.load_model_from_string(data).graph)
        return graph.weights()
    except (DecodeError, ValueError, TypeError) as error:
        raise DetectorImportError(f"{path}: not an ONNX file that can be read ({error})") from None
    except _Otherwise as error:
        raise DetectorImportError(f"{path}: not YuNet's network: {error}") from None


class _Otherwise(Exception):
    """What of the graph is not as in YuNet."""


class _Graph:
    """The nodes of a model, walked from its outputs to its input."""

    def __init__(self, graph: Any) -> None:
        from onnx import numpy_helper

        self._makers = {name: node for node in graph.node for name in node.output}
        self._constants = {tensor.name: tensor for tensor in graph.initializer}
        self._array = numpy_helper.to_array
        self._inputs = [i.name for i in graph.input if i.name not in self._constants]
        self._outputs = {o.name for o in graph.output}
        self._units = {unit.name: unit for unit in units()}
        self._shapes = parameter_shapes()
        self._found: Arrays = {}

    def weights(self) -> Arrays:
        expected = {f"{head}_{s}" for s in STRIDES for head in HEADS}
        if self._outputs != expected:
            raise _Otherwise(f"its outputs are {sorted(self._outputs)[:12]}, expected {sorted(expected)}")
        neck = {s: self._unit(f"shared.{s}", self._shared(s)) for s in STRIDES}
        at_8, up = self._sum(self._unit("neck.8", neck[8]))
        self._same(up, neck[16], "the map that neck.8 adds")
        at_16, up = self._sum(self._unit("neck.16", neck[16]))
        self._same(up, neck[32], "the map that neck.16 adds")
        at_32 = self._unit("neck.32", neck[32])
        self._same(self._pooled(self._stage(5, at_32)), at_16, "the map that stage 5 reads")
        self._same(self._pooled(self._stage(4, at_16)), at_8, "the map that stage 4 reads")
        x = self._stage(1, self._stage(2, self._pooled(self._stage(3, at_8))))
        x = self._take("Relu", self._unit("stem.unit", self._pooled(x)))[0]
        x = self._convolution("stem", x, (16, 3, 3, 3), strides=[2, 2], pads=[1] * 4)
        if [x] != self._inputs:
            raise _Otherwise(f"its inputs are {self._inputs[:12]}, and the first convolution reads {x!r}")
        return self._found

    def _shared(self, stride: int) -> str:
        """The map that all heads of a stride read."""
        read = {head: self._head(head, stride) for head in HEADS}
        for head, x in read.items():
            self._same(x, read["cls"], f"the map that {head}.{stride} reads")
        return read["cls"]

    def _head(self, head: str, stride: int) -> str:
        x = f"{head}_{stride}"
        if head in ("cls", "obj"):
            x = self._take("Sigmoid", x)[0]
        x, shape = self._take("Reshape", x)
        if self._constant(shape).tolist() != [1, -1, HEADS[head]]:
            raise _Otherwise(f"{head}.{stride} is not reshaped to a row a cell")
        return self._unit(f"{head}.{stride}", self._take("Transpose", x, perm=[0, 2, 3, 1])[0])

    def _stage(self, number: int, x: str) -> str:
        return self._unit(f"backbone.{number}.0", self._unit(f"backbone.{number}.1", x))

    def _unit(self, name: str, x: str) -> str:
        """What the unit whose answer is ``x`` reads."""
        _, inputs, outputs, relu = self._units[name]
        if relu:
            x = self._take("Relu", x)[0]
        x = self._convolution(f"{name}.depth", x, (outputs, 1, 3, 3), group=outputs, pads=[1] * 4)
        return self._convolution(f"{name}.point", x, (outputs, inputs, 1, 1))

    def _convolution(self, name: str, x: str, shape: tuple[int, ...], **attributes: Any) -> str:
        read, *constants = self._take("Conv", x, **{**_CONV, "kernel_shape": [*shape[2:]], **attributes})
        if len(constants) != 2:
            raise _Otherwise(f"{name} has no bias")
        for what, constant, want in zip(("weight", "bias"), constants, (shape, shape[:1]), strict=True):
            array = self._constant(constant)
            if array.shape != want or array.dtype != np.float32:
                raise _Otherwise(
                    f"{name}.{what} is {array.dtype} of shape {array.shape}, expected float32 of {want}"
                )
            stored = self._shapes[f"{name}.{what}"]
            self._found[f"{name}.{what}"] = np.ascontiguousarray(array.reshape(stored))
        return read

    def _pooled(self, x: str) -> str:
        return self._take("MaxPool", x, **_POOL)[0]

    def _sum(self, x: str) -> tuple[str, str]:
        """The map and the one half as large whose sum is ``x``."""
        one, other = self._take("Add", x)
        if self._makers.get(one) is not None and self._makers[one].op_type == "Resize":
            one, other = other, one
        small, _, *scales = self._take("Resize", other, **_RESIZE)
        if [self._constant(scale).tolist() for scale in scales] != [[1.0, 1.0, 2.0, 2.0]]:
            raise _Otherwise(f"{other!r} is not twice as large")
        return one, small

    def _take(self, kind: str, x: str, **attributes: Any) -> Sequence[str]:
        """Inputs of the node that makes ``x``, which must be of this kind and have these attributes."""
        from onnx.helper import get_attribute_value

        node = self._makers.get(x)
        if node is None or node.op_type != kind:
            found = "no node" if node is None else node.op_type
            raise _Otherwise(f"{x!r} is made by {found}, expected {kind}")
        have: Mapping[str, Any] = {a.name: get_attribute_value(a) for a in node.attribute}
        for name, want in attributes.items():
            found = have.get(name, _DEFAULTS.get(kind, {}).get(name))
            if found != want:
                raise _Otherwise(f"{kind} {x!r}: {name} is {found}, expected {want}")
        return list(node.input)

    def _constant(self, name: str) -> NDArray[Any]:
        if name not in self._constants:
            raise _Otherwise(f"{name!r} is no constant")
        if self._constants[name].external_data:
            raise _Otherwise(f"{name!r} lies in another file")
        return np.asarray(self._array(self._constants[name]))

    def _same(self, one: str, other: str, what: str) -> None:
        if one != other:
            raise _Otherwise(f"{what} is {one!r}, expected {other!r}")


def _opencv(data: bytes, path: Path, contract: DetectorContract) -> Detections:
    """What OpenCV's FaceDetectorYN finds in the golden picture, from left to right."""
    import cv2

    picture = golden_picture()
    size = (picture.shape[1], picture.shape[0])
    numbers = (contract.score_threshold, contract.nms_threshold, contract.max_candidates)
    buffer, none = np.frombuffer(data, np.uint8), np.empty(0, np.uint8)
    try:
        _, rows = cv2.FaceDetectorYN.create("onnx", buffer, none, size, *numbers).detect(picture)
    except cv2.error as error:
        raise DetectorImportError(f"{path}: OpenCV cannot run it as YuNet ({error.err})") from None
    found = np.empty((0, 15)) if rows is None else np.asarray(rows, np.float64)
    found = found[np.argsort(found[:, 0] + found[:, 2] / 2)]
    return Detections(found[:, :4], found[:, 14], found[:, 4:14].reshape(-1, 5, 2))
