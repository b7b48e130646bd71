"""The native face detector: a frame in, boxes, scores and landmarks out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from numbers import Integral
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ssr_bundle import pillow
from ssr_bundle.errors import SsrError
from ssr_ops.native import call, folder_of, native, thread_count

if TYPE_CHECKING:
    from ssr_bundle.detector import DetectorBundle

Floats = NDArray[np.float32]


class Detections(NamedTuple):
    """Faces of a frame from left to right, in its pixels, float32.

    ``boxes`` (M, 4): x, y, width, height; ``scores`` (M,); ``landmarks`` (M, 5, 2) as x, y of right eye, left
    eye, nose tip, right and left corner of the mouth (the person's right).
    """

    boxes: Floats
    scores: Floats
    landmarks: Floats


class Detector:
    """The face detector of one bundle in C++, safe to call from several threads at once.

    ``threads``: how many threads one call may use, the caller's among them. ``precision``: ``fp32``. The bits
    of what is found depend on the frame and on ``detect``'s options alone, not on threads.
    ``SSR_FORCE_IMPLEMENTATION`` or ``implementation`` picks one of :func:`ssr_ops.implementations`.

    Raises :class:`ssr_bundle.errors.SsrError` (a ``ValueError``) naming the file that is missing, damaged
    or foreign, or the option that this machine or build cannot honour.
    """

    def __init__(
        self,
        bundle: str | os.PathLike[str] | DetectorBundle,
        threads: int = 1,
        precision: str = "fp32",
        implementation: str | None = None,
    ) -> None:
        self.precision, self.threads = str(precision), thread_count(threads)
        options = (self.precision, self.threads, implementation or "")
        self._detector = detector = call(native.Detector, folder_of(bundle), *options)
        self.implementation: str = detector.implementation
        """What really runs: one of :func:`ssr_ops.implementations`."""
        self.name: str = detector.name
        """The contract's name of the detector."""
        self.scales: tuple[int, ...] = tuple(detector.scales)
        """The contract's longest sides in pixels that larger frames are shrunk to."""
        self.threshold: float = detector.threshold
        """The contract's least score of a face."""
        self.weights_sha256: str = detector.weights_sha256

    def detect(
        self, frame: ArrayLike, *, threshold: float | None = None, scales: Sequence[int] | None = None
    ) -> Detections:
        """The faces in ``frame``, uint8 (H, W, 3) in BGR order, any strides.

        ``threshold`` (0.01..1) and ``scales`` (rising longest sides in 32..8192) stand in for the contract's.
        Raises :class:`SsrError` for another dtype or shape, or for options out of range.
        """
        if threshold is not None and not 0 < threshold <= 1:  # 0 means the contract's in C++
            raise SsrError(f"threshold: must lie in 0.01..1, got {threshold!r}")
        if scales is not None and not (len(scales) and all(_is_side(scale) for scale in scales)):
            raise SsrError(f"scales: expected 1 to 8 rising whole numbers in 32..8192, got {scales!r}")
        sides = [] if scales is None else [int(scale) for scale in scales]
        return Detections(*call(self._detector.detect, as_frame(frame), float(threshold or 0), sides))

    def raw(self, frame: ArrayLike) -> list[Floats]:
        """What the network says of the frame as it is, padded to a multiple of 32: for each stride s
        (H/s, W/s, 16), of each cell ``cls``, ``obj``, ``bbox`` (4), ``kps`` (10), before the sigmoid."""
        picture = as_frame(frame)
        values = call(self._detector.raw, picture)
        height, width = (-(-side // 32) * 32 for side in picture.shape[:2])
        cells, begin = [], 0
        for stride in (8, 16, 32):
            rows, columns = height // stride, width // stride
            end = begin + rows * columns * 16
            cells.append(values[begin:end].reshape(rows, columns, 16))
            begin = end
        return cells

    def __repr__(self) -> str:
        return (
            f"Detector({self.name!r}, threads={self.threads}, precision={self.precision!r}, "
            f"implementation={self.implementation!r})"
        )


def _is_side(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and 0 < int(value) < 1 << 31


def as_frame(frame: ArrayLike) -> NDArray[np.uint8]:
    """``frame`` as contiguous (H, W, 3) uint8 (copied only if it must be).

    Raises :class:`SsrError` naming the dtype or shape that is wrong.
    """
    pillow.refuse(frame, "frame", "expected uint8 (H, W, 3) in BGR order")
    try:
        picture: NDArray[Any] = np.asarray(frame)
    except (ValueError, TypeError) as error:
        raise SsrError(f"frame: not an array ({error})") from None
    if picture.dtype != np.uint8:
        raise SsrError(f"frame: dtype {picture.dtype}, expected uint8 (H, W, 3)")
    if picture.ndim != 3 or picture.shape[2] != 3 or 0 in picture.shape:
        raise SsrError(f"frame: shape {picture.shape}, expected uint8 (H, W, 3) with pixels")
    return np.ascontiguousarray(picture)
