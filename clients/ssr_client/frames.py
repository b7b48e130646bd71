"""Whole frames for a served frame model: what is sent, and the faces that come back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ssr_bundle import pillow
from ssr_bundle.alignment import Points
from ssr_bundle.nv12 import FORMATS, MATRICES, RANGES
from ssr_client import exchange
from ssr_client.crops import Picture, from_pillow, in_colour
from ssr_client.errors import BadInput, ClientError
from ssr_client.exchange import AnswerSource, ServedModel
from ssr_client.faces import Detection, Face, faces_of
from ssr_client.shared_memory import Region

SUFFIX = "-frame"
"""Of the name of the model that takes frames."""


@dataclass(frozen=True)
class Frame:
    """A frame, what its bytes mean, and perhaps where its faces are.

    ``pixels``: uint8 (H, W, 3) in ``format`` bgr or rgb, or NV12 as (H * 3 / 2, W, 1), which says its
    ``matrix`` and ``range`` too. ``boxes``: float32 (N, 4) as x, y, width, height in pixels, in the
    convention of the served contract's crop, or None to have the server search, with a ``threshold`` and at
    ``scales`` of its own. ``landmarks``: float32 (N, 5, 2), which an aligned crop needs beside boxes.
    """

    pixels: Picture
    format: str
    matrix: str | None = None
    range: str | None = None
    boxes: NDArray[np.float32] | None = None
    landmarks: NDArray[np.float32] | None = None
    threshold: float | None = None
    scales: tuple[int, ...] | None = None

    @classmethod
    def checked(
        cls,
        pixels: Any,
        format: str,
        matrix: str | None,
        range: str | None,
        boxes: ArrayLike | None,
        landmarks: ArrayLike | None,
        threshold: float | None,
        scales: Sequence[int] | None,
    ) -> Frame:
        """Raises :class:`BadInput` naming what is wrong. A PIL image says its own colours, and is turned
        upright as its EXIF orientation says; boxes beside one that must be turned are refused."""
        _check_choice("format", format, FORMATS)
        if format == "nv12":
            _check_choice("matrix", matrix, MATRICES)
            _check_choice("range", range, RANGES)
        elif matrix is not None or range is not None:
            raise BadInput(f"matrix and range belong to format nv12, not to {format}")
        if boxes is None and landmarks is not None:
            raise BadInput("landmarks: given without boxes")
        if boxes is not None and (threshold is not None or scales is not None):
            raise BadInput("threshold and scales are the detector's, but boxes are given")
        if pillow.is_image(pixels) and format != "nv12":
            if boxes is not None and pillow.is_turned(pixels):
                raise BadInput(
                    "boxes: of the picture as it lies, or as its EXIF orientation turns it? Give "
                    "PIL.ImageOps.exif_transpose(picture), and its boxes"
                )
            pixels = in_colour(from_pillow(pixels, "frame"), "rgb", format)
        elif pillow.is_image(pixels):
            raise BadInput("frame: a PIL image holds no NV12, expected an array (height * 3 / 2, width)")
        array = np.asarray(pixels)
        if array.dtype != np.uint8:
            raise BadInput(f"frame: expected uint8 values, got {array.dtype}")
        if format == "nv12" and array.ndim == 2:
            array = array[:, :, None]
        channels = 1 if format == "nv12" else 3
        if array.ndim != 3 or array.shape[2] != channels or 0 in array.shape:
            expected = "(height * 3 / 2, width)" if format == "nv12" else "(height, width, 3)"
            raise BadInput(f"frame: expected shape {expected} for {format}, got {np.asarray(pixels).shape}")
        return cls(
            array,
            format,
            matrix,
            range,
            None if boxes is None else _rows("boxes", boxes, (4,)),
            None if landmarks is None else _rows("landmarks", landmarks, (5, 2)),
            _threshold(threshold),
            _scales(scales),
        )

    def tensor(self, region: Region | None = None) -> Any:
        """``InferInput`` of the pixels; with a region, they are copied to there."""
        from tritonclient.grpc import InferInput

        tensor = InferInput("frame", list(self.pixels.shape), "UINT8")
        if region is None:
            return tensor.set_data_from_numpy(np.ascontiguousarray(self.pixels))
        region.fill(self.pixels)
        return tensor.set_shared_memory(region.name, self.pixels.nbytes)

    def others(self) -> list[Any]:
        """``InferInput`` of boxes and landmarks, where they are given."""
        from tritonclient.grpc import InferInput

        given = {"boxes": self.boxes, "landmarks": self.landmarks}
        return [
            InferInput(name, list(rows.shape), "FP32").set_data_from_numpy(rows)
            for name, rows in given.items()
            if rows is not None
        ]

    def parameters(self) -> dict[str, Any]:
        """What the request says of the bytes, and how to search them."""
        said: dict[str, Any] = {"format": self.format, "matrix": self.matrix, "range": self.range}
        if self.threshold is not None:
            said["threshold"] = repr(float(self.threshold))  # older clients of Triton have no doubles
        if self.scales is not None:
            said["scales"] = ",".join(map(str, self.scales))
        return {key: value for key, value in said.items() if value is not None}


def request_arguments(frame: Frame, served: ServedModel, left: float) -> dict[str, Any]:
    """Keywords of ``infer`` that say what is wanted and by when (seconds ``left``)."""
    from tritonclient.grpc import InferRequestedOutput

    wanted = [name for name in served.outputs if frame.boxes is None or name.startswith(_answer(served))]
    return {
        "outputs": [InferRequestedOutput(name) for name in wanted],
        "parameters": frame.parameters(),
        **exchange.deadline_arguments(left),
    }


def read_faces(result: Any, frame: Frame, served: ServedModel) -> tuple[list[Face], AnswerSource]:
    """The faces of an answer and what gave them. Raises :class:`ClientError` for anything else."""
    name = _answer(served)
    count = _count(result, name)
    if frame.boxes is not None and count != len(frame.boxes):
        raise ClientError(f"the server answers {count} faces, expected {len(frame.boxes)}")
    if count == 0:
        return [], exchange.source_of(result.get_response())
    answer, source = exchange.read_answer(result, count, served, False)
    boxes, landmarks, scores = frame.boxes, frame.landmarks, None
    if boxes is None:
        for key, row in {"boxes": (4,), "scores": (), "landmarks": (5, 2)}.items():
            if key not in answer or answer[key].shape[1:] != row or not np.isfinite(answer[key]).all():
                raise ClientError(f"output {key!r}: the server sent none that can be read for {count} faces")
        boxes, scores, landmarks = answer["boxes"], answer["scores"], answer["landmarks"]
    found = [
        Detection(
            (box[0], box[1], box[2], box[3]),
            1.0 if scores is None else float(scores[i]),
            None if landmarks is None else _points(landmarks[i]),
        )
        for i, box in enumerate(boxes.tolist())
    ]
    return faces_of(found, [face.box for face in found], answer, name), source


def _points(landmarks: NDArray[np.float32]) -> Points:
    return tuple((x, y) for x, y in landmarks.tolist())


def _answer(served: ServedModel) -> str:
    return served.interface.output.name


def _count(result: Any, name: str) -> int:
    """Faces of an answer: of none the server sends no outputs."""
    response = result.get_response()
    for output in response.outputs:
        if output.name == name and len(output.shape) == 1:
            return int(output.shape[0])
    if "faces" in response.parameters and response.parameters["faces"].string_param == "0":
        return 0
    raise ClientError(f"output {name!r}: the server sent none, or of another shape")


def _threshold(value: Any) -> float | None:
    if value is None:
        return None
    try:
        threshold = float(value)
    except (TypeError, ValueError, OverflowError):
        raise BadInput(f"threshold: expected a number, got {value!r}") from None
    if not 0 < threshold <= 1:
        raise BadInput(f"threshold: expected a number in 0.01..1, got {value!r}")
    return threshold


def _scales(values: Any) -> tuple[int, ...] | None:
    if values is None:
        return None
    try:
        scales = tuple(values)
    except TypeError:
        raise BadInput(f"scales: expected a list of whole numbers, got {values!r}") from None
    if not scales or not all(isinstance(v, Integral) and not isinstance(v, bool) for v in scales):
        raise BadInput(f"scales: expected a list of whole numbers, got {values!r}")
    return tuple(int(scale) for scale in scales)


def _check_choice(name: str, value: object, choices: Sequence[str]) -> None:
    if value not in choices:
        told = "give one" if value is None else f"got {value!r}"
        raise BadInput(f"{name}: expected {' or '.join(choices)}, {told}: the bytes cannot say it")


def _rows(name: str, values: ArrayLike, row: tuple[int, ...]) -> NDArray[np.float32]:
    try:
        with np.errstate(over="ignore"):  # the server refuses what is not finite
            rows = np.ascontiguousarray(values, np.float32)
    except (TypeError, ValueError) as error:
        raise BadInput(f"{name}: not numbers ({error})") from None
    if rows.size == 0:
        rows = rows.reshape(0, *row)
    if rows.shape[1:] != row:
        raise BadInput(f"{name}: expected shape (faces, {', '.join(map(str, row))}), got {rows.shape}")
    return rows
