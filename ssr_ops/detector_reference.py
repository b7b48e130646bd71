"""The readable ground truth of the face detector, NumPy in float64: shrinking, network, decoding, faces.

The network is YuNet (Wu, Peng, Yu: YuNet, a tiny millisecond-level face detector, 2023), decoded as OpenCV's
``FaceDetectorYN`` does. The native detector is held to :func:`detect`; this module is itself held to ONNX
Runtime and to OpenCV.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ssr_bundle.detections import Detection, faces_among, sizes_searched
from ssr_bundle.detector import HEADS, MULTIPLE, STRIDES, DetectorContract

Array = NDArray[np.float64]
Parameters = Mapping[str, NDArray[Any]]

LARGEST_COORDINATE = float(1 << 24)
"""A find with a number beyond this many pixels, or that is no number, is dropped."""


class Detections(NamedTuple):
    """Faces of a frame from left to right, in its pixels.

    ``boxes`` (M, 4): x, y, width, height; ``scores`` (M,); ``landmarks`` (M, 5, 2) as x, y in the contract's
    order. Float64 here, float32 from the native detector.
    """

    boxes: NDArray[Any]
    scores: NDArray[Any]
    landmarks: NDArray[Any]


def detect(
    contract: DetectorContract, parameters: Parameters, frame: NDArray[np.uint8], scales: Sequence[int] = ()
) -> Detections:
    """The faces in a BGR ``frame`` (H, W, 3), searched at the contract's ``scales`` or at those given."""
    height, width = frame.shape[:2]
    found: list[Detection] = []
    for rows, columns in sizes_searched(height, width, scales or contract.scales):
        raw = network(parameters, padded(shrunk(frame, rows, columns)))
        boxes, scores, landmarks = search(contract, raw)
        back = np.array([width / columns, height / rows])
        for box, score, points in zip(boxes * np.tile(back, 2), scores, landmarks * back, strict=True):
            found.append(Detection(tuple(box.tolist()), float(score), tuple(map(tuple, points.tolist()))))
    faces = faces_among(found, height, width, contract.merge_threshold)
    return Detections(
        np.array([f.box for f in faces]).reshape(-1, 4),
        np.array([f.score for f in faces]),
        np.array([f.landmarks for f in faces]).reshape(-1, 5, 2),
    )


def shrunk(frame: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Means of the areas that the new pixels cover: (H, W, 3) to (height, width, 3), neither side larger.

    As ``cv2.INTER_AREA``, in whole numbers: rounded to nearest, halves up.
    """
    sums = _sums(_sums(frame.astype(np.int64), height).swapaxes(0, 1), width).swapaxes(0, 1)
    area = frame.shape[0] * frame.shape[1]
    means: NDArray[np.uint8] = ((2 * sums + area) // (2 * area)).astype(np.uint8)
    return means


def _sums(values: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Integrals over ``count`` equal parts of the first axis (L, ...), in units of 1 / count of a value."""
    last, part = np.divmod(np.arange(count + 1) * len(values), count)
    none = np.zeros_like(values[:1])
    before = np.concatenate([none, values.cumsum(axis=0)])[last] * count
    begun = np.concatenate([values, none])[last] * part.reshape(-1, *[1] * (values.ndim - 1))
    parts: NDArray[np.int64] = np.diff(before + begun, axis=0)
    return parts


def padded(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Zeros right and below up to a multiple of 32: (H, W, 3) to (H', W', 3)."""
    below, right = (-side % MULTIPLE for side in picture.shape[:2])
    return np.pad(picture, ((0, below), (0, right), (0, 0)))


def network(parameters: Parameters, picture: NDArray[np.uint8]) -> list[Array]:
    """What YuNet says of a padded BGR picture (H, W, 3): for each stride s (H/s, W/s, 16), of each cell
    ``cls``, ``obj``, ``bbox`` (4), ``kps`` (10); before the sigmoid."""

    def unit(name: str, x: Array, relu: bool = True) -> Array:
        point = x @ weights[f"{name}.point.weight"].T + weights[f"{name}.point.bias"]
        taps = weights[f"{name}.depth.weight"]
        y = sum(w * taps[:, i, j] for i, j, w in _windows(point)) + weights[f"{name}.depth.bias"]
        return np.maximum(y, 0) if relu else y

    def stage(number: int, x: Array) -> Array:
        return unit(f"backbone.{number}.1", unit(f"backbone.{number}.0", x))

    weights = {name: np.asarray(value, np.float64) for name, value in parameters.items()}
    taps = weights["stem.weight"].transpose(2, 3, 1, 0)
    x = sum(w[::2, ::2] @ taps[i, j] for i, j, w in _windows(picture.astype(np.float64)))
    x = pooled(unit("stem.unit", np.maximum(x + weights["stem.bias"], 0)))
    x = pooled(stage(2, stage(1, x)))
    at_8 = stage(3, x)
    at_16 = stage(4, pooled(at_8))
    neck = {32: unit("neck.32", stage(5, pooled(at_16)))}
    neck[16] = unit("neck.16", at_16 + doubled(neck[32]))
    neck[8] = unit("neck.8", at_8 + doubled(neck[16]))
    shared = {s: unit(f"shared.{s}", neck[s]) for s in STRIDES}
    return [
        np.concatenate([unit(f"{head}.{s}", shared[s], relu=False) for head in HEADS], -1) for s in STRIDES
    ]


def _windows(x: Array) -> Iterator[tuple[int, int, Array]]:
    """The nine shifts of a map (H, W, C) in a border of one zero, each with its place in the kernel."""
    height, width, _ = x.shape
    bordered = np.pad(x, ((1, 1), (1, 1), (0, 0)))
    for i, j in np.ndindex(3, 3):
        yield i, j, bordered[i : i + height, j : j + width]


def pooled(x: Array) -> Array:
    """Largest of each 2x2: (H, W, C) to (H/2, W/2, C)."""
    height, width, channels = x.shape
    pooled: Array = x.reshape(height // 2, 2, width // 2, 2, channels).max(axis=(1, 3))
    return pooled


def doubled(x: Array) -> Array:
    """Each value four times: (H, W, C) to (2 H, 2 W, C)."""
    return x.repeat(2, axis=0).repeat(2, axis=1)


def search(contract: DetectorContract, raw: Sequence[Array]) -> Detections:
    """Faces of one picture from what the network says of it (:func:`network`), strongest first."""
    boxes, scores, landmarks = decoded(raw)
    numbers = np.concatenate([boxes, landmarks.reshape(-1, 10)], axis=1)
    sane = (np.abs(numbers) <= LARGEST_COORDINATE).all(axis=1)  # false for NaN
    chosen = np.flatnonzero(sane & (scores >= contract.score_threshold))
    best = chosen[np.argsort(-scores[chosen], kind="stable")][: contract.max_candidates]
    kept = best[not_the_same(boxes[best], contract.nms_threshold)]
    return Detections(boxes[kept], scores[kept], landmarks[kept])


def decoded(raw: Sequence[Array]) -> Detections:
    """One find a cell, all strides one after the other, rows from the top.

    With s the stride, of the cell in column c and row r: score sqrt(sigmoid(cls) * sigmoid(obj)); centre
    (c + b0, r + b1) * s, width and height exp(b2) * s and exp(b3) * s; landmarks (c + k, r + k') * s.
    """
    boxes, scores, landmarks = [], [], []
    for s, values in zip(STRIDES, raw, strict=True):
        cells = values.reshape(-1, sum(HEADS.values()))
        rows, columns = np.indices(values.shape[:2]).reshape(2, -1)
        cell = np.stack([columns, rows], axis=1)
        with np.errstate(over="ignore"):
            size = np.exp(cells[:, 4:6]) * s
            scores.append(np.sqrt(1 / (1 + np.exp(-cells[:, 0])) / (1 + np.exp(-cells[:, 1]))))
        boxes.append(np.concatenate([(cell + cells[:, 2:4]) * s - size / 2, size], axis=1))
        landmarks.append((cell[:, None] + cells[:, 6:].reshape(-1, 5, 2)) * s)
    return Detections(*(np.concatenate(parts) for parts in (boxes, scores, landmarks)))


def not_the_same(boxes: Array, most: float) -> list[int]:
    """Of boxes (N, 4), strongest first: those that overlap no kept one by more than ``most`` (IoU).

    As ``cv2.dnn.NMSBoxes`` on what ``FaceDetectorYN`` gives it: x, y, width and height each cut to the whole
    number next to 0.
    """
    kept: list[int] = []
    x, y, w, h = np.trunc(boxes).T
    for i in range(len(boxes)):
        k = np.array(kept, np.intp)
        wide = np.minimum(x[i] + w[i], x[k] + w[k]) - np.maximum(x[i], x[k])
        high = np.minimum(y[i] + h[i], y[k] + h[k]) - np.maximum(y[i], y[k])
        shared = np.maximum(wide, 0) * np.maximum(high, 0)
        union = w[i] * h[i] + w[k] * h[k] - shared
        if not (shared > most * union).any():
            kept.append(i)
    return kept
