"""YuNet's network in a runtime: what ``cv2.FaceDetectorYN`` does, by OpenCV itself or by ONNX Runtime."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ssr_bundle.errors import SsrError
from ssr_bundle.fetch import LARGEST
from ssr_bundle.regular import read_whole
from ssr_client.crops import Picture
from ssr_client.onnx_sizes import OnnxError, for_any_size
from ssr_client.opencv import cv2

RUNTIMES = ("auto", "onnxruntime", "opencv")
"""Who computes the network; ``auto`` is ONNX Runtime where it is installed, else OpenCV."""

NMS_THRESHOLD, MOST_CANDIDATES = 0.3, 500
_STRIDES, _MULTIPLE = (8, 16, 32), 32
_HEADS = ("cls", "obj", "bbox", "kps")
_OUTPUTS = [f"{head}_{stride}" for head in _HEADS for stride in _STRIDES]

Rows = NDArray[np.float32]
"""(N, 15): x, y, width, height, five landmarks as x, y, score; in pixels of the picture searched."""


class Network(Protocol):
    runtime: str
    """Name and version of what computes it."""

    def find(self, picture: Picture) -> Rows:
        """Faces of a BGR picture (H, W, 3), strongest first; may be called from several threads."""


def open_network(model: str | Path, threshold: float, runtime: str = "auto") -> Network:
    """YuNet's ONNX file in one of :data:`RUNTIMES`. Raises :class:`SsrError` for a file that is none, and
    where ONNX Runtime is asked for and not installed."""
    if runtime not in RUNTIMES:
        raise SsrError(f"runtime {runtime!r} is unknown, expected one of {', '.join(RUNTIMES)}")
    if not Path(model).is_file():
        raise SsrError(f"{model}: no such file, expected YuNet's ONNX model")
    if runtime != "opencv":
        try:
            import onnxruntime
        except ImportError as error:
            if runtime == "onnxruntime":
                needed = "pip install 'ssr-client[photo,onnxruntime]'"
                raise SsrError(f"ONNX Runtime is not installed: {needed} ({error})") from None
        else:
            return _OnnxRuntime(onnxruntime, Path(model), threshold)
    return _OpenCV(model, threshold)


class _OpenCV:
    def __init__(self, model: str | Path, threshold: float) -> None:
        numbers = (threshold, NMS_THRESHOLD, MOST_CANDIDATES)
        try:
            self._net = cv2.FaceDetectorYN.create(str(model), "", (320, 320), *numbers)
        except cv2.error as error:
            raise SsrError(f"{model}: OpenCV cannot load it as YuNet ({error.err})") from None
        self._lock = threading.Lock()  # the net keeps its input size
        self.runtime = f"opencv {cv2.__version__}"

    def find(self, picture: Picture) -> Rows:
        with self._lock:
            self._net.setInputSize((picture.shape[1], picture.shape[0]))
            _, rows = self._net.detect(picture)
        return np.empty((0, 15), np.float32) if rows is None else np.asarray(rows, np.float32)


class _OnnxRuntime:
    """One session for pictures of all sizes. It uses as many threads as OpenCV does (``cv2.setNumThreads``)
    when it is opened."""

    def __init__(self, onnxruntime: Any, model: Path, threshold: float) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = max(1, cv2.getNumThreads())
        options.inter_op_num_threads = 1
        options.enable_mem_pattern = False  # one would be kept for each size
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            data = for_any_size(read_whole(model, LARGEST))
            self._session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        except OnnxError as error:
            raise SsrError(f"{model}: {error}, expected YuNet's") from None
        except Exception as error:  # its errors have no class in common
            told = " ".join(str(error).split())[:200]
            raise SsrError(f"{model}: ONNX Runtime cannot load it as YuNet ({told})") from None
        if {output.name for output in self._session.get_outputs()} != set(_OUTPUTS):
            raise SsrError(f"{model}: its outputs are not YuNet's")
        self._input = self._session.get_inputs()[0].name
        self._threshold = threshold
        self.runtime = f"onnxruntime {onnxruntime.__version__}"

    def find(self, picture: Picture) -> Rows:
        below, right = (-side % _MULTIPLE for side in picture.shape[:2])
        padded: Any = picture
        if below or right:
            padded = cv2.copyMakeBorder(picture, 0, below, 0, right, cv2.BORDER_CONSTANT, value=(0, 0, 0))
        values = self._session.run(_OUTPUTS, {self._input: cv2.dnn.blobFromImage(padded)})
        by_name = dict(zip(_OUTPUTS, values, strict=True))
        found = [
            _decoded(
                *(by_name[f"{head}_{stride}"] for head in _HEADS),
                stride=stride,
                columns=padded.shape[1] // stride,
                threshold=self._threshold,
            )
            for stride in _STRIDES
        ]
        return _not_the_same(np.concatenate(found), self._threshold)


def _decoded(
    cls: Rows, obj: Rows, bbox: Rows, kps: Rows, *, stride: int, columns: int, threshold: float
) -> Rows:
    """What one stride sees of a picture ``columns`` cells wide, in float32 as OpenCV computes it.

    cls, obj (1, cells, 1), bbox (1, cells, 4), kps (1, cells, 10).
    """
    scores = np.sqrt(np.clip(cls[0, :, 0], 0, 1) * np.clip(obj[0, :, 0], 0, 1))
    chosen = np.flatnonzero(scores >= np.float32(threshold))
    cell = np.stack([chosen % columns, chosen // columns], axis=1).astype(np.float32)
    boxes, points = bbox[0, chosen], kps[0, chosen].reshape(-1, 5, 2)
    size = np.exp(boxes[:, 2:]) * stride
    corner = (cell + boxes[:, :2]) * stride - size / 2
    landmarks = ((points + cell[:, None]) * stride).reshape(-1, 10)
    return np.concatenate([corner, size, landmarks, scores[chosen, None]], axis=1)


def _not_the_same(rows: Rows, threshold: float) -> Rows:
    """As ``FaceDetectorYN`` suppresses: strongest first, overlaps those of whole pixels."""
    if len(rows) < 2:
        return rows
    boxes = np.trunc(rows[:, :4]).astype(np.float64)
    kept = cv2.dnn.NMSBoxes(
        boxes.tolist(), rows[:, 14].tolist(), threshold, NMS_THRESHOLD, 1.0, MOST_CANDIDATES
    )
    return rows[np.asarray(kept, np.intp).reshape(-1)]
