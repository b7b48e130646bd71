"""The bundle of a face detector: a folder like an age network's (:mod:`ssr_bundle.bundle`), of another kind.

``contract.json`` says how frames are searched, ``model.safetensors`` holds YuNet's weights by the names of
:func:`units`, ``golden.safetensors`` a picture with what the reference and OpenCV find in it
(:mod:`ssr_ops.detector_golden`). Read as strictly as an age network's.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ssr_bundle.bundle import (
    CONTRACT_FILE,
    GOLDEN_FILE,
    MODEL_FILE,
    BundleError,
    check_arrays,
    checked_contract,
    load_tensors,
)
from ssr_bundle.contract import File, check_model_name, parsed, read_files, read_provenance, text_of
from ssr_bundle.fields import ContractError, Fields, same, whole
from ssr_bundle.shown import shown

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Tensors = dict[str, NDArray[Any]]

KIND = "detector"
CONTRACT_VERSION = 1

MULTIPLE = 32
"""Frames are padded by zeros, right and below, to a multiple of this: the largest stride."""

STRIDES = (8, 16, 32)
STEM, WIDTH = 16, 64
"""Channels of the first convolution, and of every map from ``backbone.1.1`` on."""

HEADS = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}
"""What the network says of each cell of each stride, in this order; values of each."""

LANDMARKS = ("right eye", "left eye", "nose tip", "right mouth corner", "left mouth corner")
"""The person's right."""

SMALLEST_SCALE, LARGEST_SCALE, MOST_SCALES = 32, 8192, 8
LEAST_THRESHOLD = 0.01
MOST_CANDIDATES = 10_000

_INPUT = {"colour": "bgr", "dtype": "uint8", "layout": "hwc", "multiple": MULTIPLE}
_OUTPUT = {"box": "yunet", "landmarks": list(LANDMARKS)}
_ARCHITECTURE = {"kind": "yunet", "stem": STEM, "width": WIDTH, "strides": list(STRIDES)}


class Unit(NamedTuple):
    """A 1x1 convolution with bias, then a 3x3 depthwise one with bias; ``relu`` after it or not."""

    name: str
    inputs: int
    outputs: int
    relu: bool = True


def units() -> list[Unit]:
    """Every unit of YuNet, in the order in which the network computes them."""
    backbone = [("stem.unit", STEM, STEM), ("backbone.1.0", STEM, STEM), ("backbone.1.1", STEM, WIDTH)]
    backbone += [(f"backbone.{stage}.{i}", WIDTH, WIDTH) for stage in (2, 3, 4, 5) for i in (0, 1)]
    neck = [(f"neck.{s}", WIDTH, WIDTH) for s in reversed(STRIDES)]
    shared = [(f"shared.{s}", WIDTH, WIDTH) for s in STRIDES]
    heads = [Unit(f"{head}.{s}", WIDTH, n, relu=False) for s in STRIDES for head, n in HEADS.items()]
    return [*(Unit(*unit) for unit in backbone + neck + shared), *heads]


def parameter_shapes() -> dict[str, tuple[int, ...]]:
    """Name and shape of every stored array; the stem is OIHW, of stride 2."""
    shapes: dict[str, tuple[int, ...]] = {"stem.weight": (STEM, 3, 3, 3), "stem.bias": (STEM,)}
    for name, inputs, outputs, _ in units():
        shapes |= {
            f"{name}.point.weight": (outputs, inputs),
            f"{name}.point.bias": (outputs,),
            f"{name}.depth.weight": (outputs, 3, 3),
            f"{name}.depth.bias": (outputs,),
        }
    return shapes


@dataclass(frozen=True)
class DetectorContract:
    """How frames are searched for faces, and where the weights are from.

    ``scales``: longest sides in pixels; a larger frame is searched in copies shrunk to these by area means
    (:func:`ssr_bundle.detections.sizes_searched`). ``score_threshold``: the least score of a face.
    ``nms_threshold``: the largest overlap of two finds in one copy, of which the ``max_candidates`` best are
    compared. ``merge_threshold``: the same over all copies.
    """

    name: str = "yunet"
    scales: tuple[int, ...] = (640, 1600)
    score_threshold: float = 0.7
    nms_threshold: float = 0.3
    max_candidates: int = 500
    merge_threshold: float = 0.4
    provenance: dict[str, Any] = field(default_factory=dict)
    files: dict[str, File] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_model_name(self.name)
        check_scales(self.scales, "scales")
        for name, least in {
            "score_threshold": LEAST_THRESHOLD,
            "nms_threshold": 0.0,
            "merge_threshold": 0.0,
        }.items():
            if not least <= getattr(self, name) <= 1:
                raise ContractError(f"{name}: must lie in {least:g}..1, got {getattr(self, name)}")
        if not 1 <= self.max_candidates <= MOST_CANDIDATES:
            told = f"must lie in 1..{MOST_CANDIDATES:,}, got {shown(self.max_candidates)}"
            raise ContractError(f"max_candidates: {told}")

    @property
    def weights_sha256(self) -> str:
        """Identity of the detector: the hash of its ``model.safetensors``."""
        return self.files[MODEL_FILE].sha256

    def with_files(self, files: Mapping[str, File]) -> DetectorContract:
        return replace(self, files=dict(sorted(files.items())))

    def to_json(self) -> dict[str, Any]:
        return {
            "contract_version": CONTRACT_VERSION,
            "kind": KIND,
            "name": self.name,
            "input": _INPUT,
            "scales": list(self.scales),
            "score_threshold": self.score_threshold,
            "nms_threshold": self.nms_threshold,
            "max_candidates": self.max_candidates,
            "merge_threshold": self.merge_threshold,
            "output": _OUTPUT,
            "architecture": _ARCHITECTURE,
            "provenance": self.provenance,
            "files": {name: asdict(entry) for name, entry in self.files.items()},
        }

    def dumps(self) -> str:
        """The text of ``contract.json``."""
        return text_of(self.to_json())

    @classmethod
    def loads(cls, text: str) -> DetectorContract:
        """Parse and check ``contract.json``; raises :class:`ContractError` naming the first fault."""
        block = parsed(text)
        if "kind" not in block.data and "interface" in block.data:
            raise ContractError("kind: this is the bundle of an age network, expected that of a detector")
        if not same(block["kind"], KIND):
            raise ContractError(
                f"kind: this is the bundle of a {shown(block['kind'])}, expected a detector's"
            )
        if not same(version := block["contract_version"], CONTRACT_VERSION):
            raise ContractError(f"contract_version {shown(version)} is unknown, expected {CONTRACT_VERSION}")
        for name, expected in (("input", _INPUT), ("output", _OUTPUT), ("architecture", _ARCHITECTURE)):
            _check_fixed(Fields(block[name], name), expected)
        return cls(
            name=block.text("name"),
            scales=tuple(whole(scale, "scales") for scale in block.list("scales")),
            score_threshold=block.number("score_threshold"),
            nms_threshold=block.number("nms_threshold"),
            max_candidates=block.whole("max_candidates"),
            merge_threshold=block.number("merge_threshold"),
            provenance=read_provenance(block["provenance"]),
            files=read_files(block["files"]),
        )


@dataclass(frozen=True)
class DetectorBundle:
    """A verified detector bundle on disk."""

    path: Path
    contract: DetectorContract

    def parameters(self) -> Tensors:
        """Stored arrays by name, float32 (:func:`parameter_shapes`)."""
        parameters = load_tensors(self.path / MODEL_FILE)
        check_arrays(parameters, parameter_shapes())
        return parameters

    def golden(self) -> Tensors:
        """A picture, and what the reference and OpenCV find in it (:mod:`ssr_ops.detector_golden`)."""
        record = load_tensors(self.path / GOLDEN_FILE)
        check_golden(record, self.path)
        return record


def read_detector(path: str | os.PathLike[str]) -> DetectorBundle:
    """Open the detector bundle at ``path``, as :func:`ssr_bundle.bundle.read_bundle` opens an age network's.

    Raises :class:`BundleError` naming the file that is missing, truncated, altered or foreign.
    """
    folder = Path(path)
    return DetectorBundle(folder, checked_contract(folder, DetectorContract.loads))


def copy_detector(bundle: DetectorBundle, folder: Path) -> DetectorBundle:
    """A copy of ``bundle`` as the new ``folder``, checked as it lies there."""
    folder.mkdir()
    for name in (*bundle.contract.files, CONTRACT_FILE):
        shutil.copyfile(bundle.path / name, folder / name)
    return read_detector(folder)


def check_scales(scales: tuple[int, ...], where: str) -> None:
    """Raise :class:`ContractError` unless frames can be searched at these longest sides."""
    within = all(SMALLEST_SCALE <= scale <= LARGEST_SCALE for scale in scales)
    rising = all(a < b for a, b in pairwise(scales))
    if not (1 <= len(scales) <= MOST_SCALES and within and rising):
        told = f"{SMALLEST_SCALE}..{LARGEST_SCALE}, got {shown(list(scales))}"
        raise ContractError(f"{where}: expected 1 to {MOST_SCALES} rising whole numbers in {told}")


def check_golden(record: Mapping[str, NDArray[Any]], where: Path) -> None:
    """Raise :class:`BundleError` unless the arrays of a golden record that a replay reads are there, of one
    picture: at most 1,024 pixels a side, M faces of the reference, P of OpenCV."""
    picture = _array(record, "picture", "uint8", ("H", "W", 3), where)
    height, width = picture.shape[:2]
    if not (8 <= height <= 1024 and 8 <= width <= 1024):
        raise BundleError(f"{where}: the golden record's 'picture' has {height} x {width} pixels")
    for stride in STRIDES:
        rows, columns = (-(-side // MULTIPLE) * MULTIPLE // stride for side in (height, width))
        _array(record, f"raw.{stride}", "float32", (rows, columns, sum(HEADS.values())), where)
    for prefix in ("", "opencv."):
        faces = len(_array(record, f"{prefix}boxes", "float32", ("M", 4), where))
        _array(record, f"{prefix}scores", "float32", (faces,), where)
        _array(record, f"{prefix}landmarks", "float32", (faces, len(LANDMARKS), 2), where)


def _array(
    record: Mapping[str, NDArray[Any]], name: str, dtype: str, shape: tuple[int | str, ...], where: Path
) -> NDArray[Any]:
    """The array ``name`` of a golden record; a letter in ``shape`` stands for any number."""
    if name not in record:
        raise BundleError(f"{where}: the golden record has no {name!r}")
    array = record[name]
    fits = len(array.shape) == len(shape) and all(
        isinstance(want, str) or want == have for want, have in zip(shape, array.shape, strict=True)
    )
    if array.dtype != dtype or not fits:
        told = ", ".join(map(str, shape))
        raise BundleError(
            f"{where}: the golden record's {name!r} is {array.dtype} of shape {array.shape}, "
            f"expected {dtype} of ({told})"
        )
    return array


def _check_fixed(block: Fields, expected: Mapping[str, Any]) -> None:
    """Raise :class:`ContractError` unless the object has these keys with these values, and no others."""
    for key, value in expected.items():
        if not same(found := block[key], value):
            raise ContractError(f"{block.where}.{key}: {shown(found)} is not supported, expected {value!r}")
    if foreign := sorted(set(block.data) - set(expected)):
        raise ContractError(f"{block.where}.{shown(foreign[0])}: is not a detector's")
