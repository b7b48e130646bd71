"""The golden record of a detector bundle: a picture, and what the reference and OpenCV find in it.

Recorded once when the bundle is written, replayed by every later step. The picture is drawn from the golden
record's portrait: faces of three sizes, one for each stride, on sides that are no multiples of 32.

Arrays: ``picture`` (H, W, 3) uint8, BGR; ``raw.8``, ``raw.16``, ``raw.32`` (rows, columns, 16), what the
network says of the padded picture (:func:`ssr_ops.detector_reference.network`); ``boxes`` (M, 4), ``scores``
(M,), ``landmarks`` (M, 5, 2), the reference's faces from left to right; ``opencv.boxes`` and so on, those of
``cv2.FaceDetectorYN``, to a thousandth. All float32, so that every machine writes the same bytes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from ssr_bundle.bundle import GOLDEN_FILE, MODEL_FILE, check_arrays, check_vacant, seal
from ssr_bundle.detector import STRIDES, DetectorBundle, DetectorContract, parameter_shapes
from ssr_bundle.disk import new_folder, write_file
from ssr_ops import detector_reference as reference
from ssr_ops.detector_reference import Detections
from ssr_ops.shipped import ASSETS


def write_detector(
    path: str | os.PathLike[str],
    contract: DetectorContract,
    parameters: Mapping[str, NDArray[Any]],
    opencv: Detections,
    *,
    overwrite: bool = False,
    beside: Mapping[str, bytes] | None = None,
) -> DetectorBundle:
    """Write parameters, golden record and contract as a new detector bundle at ``path``, and the files
    ``beside`` them.

    ``opencv``: what OpenCV finds in :func:`golden_picture`. Raises ``BundleError`` as
    :func:`ssr_ops.golden.write_bundle` does.
    """
    folder = Path(path)
    check_vacant(folder, overwrite=overwrite)
    arrays = {name: np.ascontiguousarray(value, np.float32) for name, value in sorted(parameters.items())}
    check_arrays(arrays, parameter_shapes())
    with new_folder(folder) as made:
        write_file(made / MODEL_FILE, save(arrays))
        write_file(made / GOLDEN_FILE, save(make_golden(contract, arrays, opencv)))
        for name, data in (beside or {}).items():
            write_file(made / name, data)
        sealed = seal(made, contract)
    return DetectorBundle(folder, sealed)


def make_golden(
    contract: DetectorContract, parameters: Mapping[str, NDArray[Any]], opencv: Detections
) -> dict[str, NDArray[Any]]:
    """Compute the golden record of a detector."""
    picture = golden_picture()
    raw = reference.network(parameters, reference.padded(picture))
    faces = reference.detect(contract, parameters, picture)
    numbers: dict[str, NDArray[Any]] = {
        f"raw.{stride}": values for stride, values in zip(STRIDES, raw, strict=True)
    }
    numbers |= faces._asdict()
    for name, values in opencv._asdict().items():
        numbers[f"opencv.{name}"] = values.round(3)
    record: dict[str, NDArray[Any]] = {"picture": picture}
    for name, value in numbers.items():
        record[name] = np.ascontiguousarray(value, np.float32)
    return record


def golden_picture() -> NDArray[np.uint8]:
    """The golden portrait (NASA, public domain) at twice its size, as it is, and mirrored at half its size:
    (170, 222, 3) BGR, the rest grey."""
    portrait: NDArray[np.uint8] = np.load(ASSETS / "golden_picture.npy", allow_pickle=False)
    picture = np.full((170, 222, 3), 96, np.uint8)
    large = portrait[18:103, 28:98].repeat(2, axis=0).repeat(2, axis=1)
    picture[:, :140] = large
    picture[:90, 140:] = portrait[16:106, 20:102]
    small = reference.shrunk(portrait, 64, 64)[:, ::-1]
    picture[98:162, 150:214] = small
    return picture
