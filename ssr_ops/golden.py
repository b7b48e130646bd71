"""The golden record of a bundle: inputs, and what the float64 reference says of them.

Recorded once when the bundle is written and replayed by every later step (import, export, compile,
``ssr-serve build``). The inputs hurt on purpose: face crops, noise, and hard-edged checker patterns
that drive Delta towards -1; operator rows at the denominator floor and outside the clip range.

Arrays: ``images`` (N, 64, 64, 3) uint8 in the contract's colour order; ``p``, ``eta`` (N, sum s_k),
``delta`` (N, K), ``unclipped`` (N,), ``output`` (N,) and, when calibrated, ``output_interval`` (N, 2);
``operator.p``, ``.eta``, ``.delta``, ``.unclipped``; ``picture`` (H, W, 3) uint8, ``boxes`` (M, 4)
float32 as x, y, w, h, ``landmarks`` (M, 5, 2) float32 where the crop is aligned by them, and ``crops``
(M, 64, 64, 3) uint8; all other float arrays float64.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from ssr_bundle.bundle import GOLDEN_FILE, MODEL_FILE, Bundle, check_parameters, check_vacant, seal
from ssr_bundle.contract import IMAGE_SIZE, Contract, Interface
from ssr_bundle.crop import cuts
from ssr_bundle.disk import new_folder, write_file
from ssr_bundle.errors import SsrError
from ssr_ops import reference
from ssr_ops.shipped import ASSETS

INTERVAL_ENDS = 1e-5
"""How far the ends of a calibrated interval may lie from the reference's, in parts of the value range."""

OPERATOR_ROWS = 64
_SEED = 20180713

_BOXES = np.array(
    [
        [43.25, 33.5, 41.5, 58.75],  # the face, as the detector sees it
        [41.0, 31.0, 46.0, 62.0],
        [46.8, 38.2, 36.3, 50.1],
        [8.4, 12.2, 44.9, 60.3],  # clipped at the left border
        [80.0, 70.5, 60.0, 80.0],  # clipped at two borders
        [60.0, 60.0, 3.0, 2.0],  # smaller than the crop: enlarged
    ],
    np.float32,
)

_LANDMARKS = np.array(
    [[0.2246, 0.3613], [0.7097, 0.3823], [0.4251, 0.5617], [0.2056, 0.7096], [0.6173, 0.7266]], np.float32
)
"""Of the face, as the detector sees them: in box widths and heights."""


def write_bundle(
    path: str | os.PathLike[str],
    contract: Contract,
    parameters: Mapping[str, NDArray[Any]],
    *,
    overwrite: bool = False,
) -> Bundle:
    """Write parameters, golden record and contract as a new bundle at ``path``.

    ``contract.files`` is filled in here. The folder appears whole or not at all. Raises ``BundleError`` if
    ``path`` exists (unless ``overwrite`` and it is a bundle), or if the parameters are not the
    architecture's, or hold NaN or infinity.
    """
    folder = Path(path)
    check_vacant(folder, overwrite=overwrite)
    arrays = {name: np.ascontiguousarray(value, np.float32) for name, value in sorted(parameters.items())}
    check_parameters(arrays, contract)
    with new_folder(folder) as made:
        write_file(made / MODEL_FILE, save(arrays))
        write_file(made / GOLDEN_FILE, save(make_golden(contract, arrays)))
        sealed = seal(made, contract)
    return Bundle(folder, sealed)


def make_golden(contract: Contract, parameters: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Compute the golden record of a network (about 25 reference evaluations)."""
    pictures = golden_pictures(contract.interface)
    images = pictures["images"]
    stages = reference.network(parameters, contract.architecture, images)
    outputs = reference.answer(contract, stages)
    name = contract.interface.output.name
    operator = operator_rows(contract)
    a = contract.architecture
    record = {
        "p": stages.p,
        "eta": stages.eta,
        "delta": stages.delta,
        "unclipped": stages.age,
        **{key.replace(name, "output", 1): value for key, value in outputs.items()},
        **{f"operator.{key}": value for key, value in operator.items()},
        "operator.unclipped": reference.soft_stagewise_regression(
            operator["p"],
            operator["eta"],
            operator["delta"],
            *(a.stages, a.value_range, a.lambda_index, a.lambda_width, a.denominator_floor),
        ),
        **pictures,
    }
    return {key: np.ascontiguousarray(value) for key, value in record.items()}


def golden_pictures(interface: Interface) -> dict[str, NDArray[Any]]:
    """Of a golden record what no network computes: a picture, the faces in it, their cuts, and all images."""
    picture = _picture(interface)
    boxes = _boxes(interface, picture)
    landmarks = boxes[:, None, :2] + _LANDMARKS * boxes[:, None, 2:]
    crops = reference.crop_faces(picture, boxes, interface.crop, landmarks.tolist())
    return {
        "images": np.concatenate([crops, _noise(6), _checkers()]),
        "picture": picture,
        "boxes": boxes,
        **({} if interface.crop.template is None else {"landmarks": landmarks}),
        "crops": crops,
    }


def face_drift(golden: Mapping[str, NDArray[Any]], answers: NDArray[np.floating]) -> NDArray[np.floating]:
    """How far ``answers`` (N,) to the golden images lie from the reference's on the face crops among them, of
    which there are M, the first ones: (M,), or a NaN, which no limit accepts, where one has fewer."""
    faces = len(golden["crops"])
    found, expected = answers[:faces], golden["output"][:faces]
    return np.abs(found - expected) if found.shape == expected.shape == (faces,) else np.full(1, np.nan)


def interval_drift(
    contract: Contract, answers: NDArray[np.floating], ends: NDArray[np.floating]
) -> tuple[float, float]:
    """How far the ``ends`` (N, 2) of calibrated intervals lie from those of ``answers`` (N,), and may."""
    assert contract.interval is not None
    expected = reference.interval(
        contract.interval, answers.astype(np.float64), contract.interface.output.clip
    )
    drift = float(np.abs(ends - expected).max()) if ends.shape == expected.shape else float("nan")
    return drift, INTERVAL_ENDS * contract.architecture.value_range


def operator_rows(contract: Contract) -> dict[str, NDArray[np.float64]]:
    """Operator inputs: ordinary rows, then Delta just above, at and below the floor in every stage."""
    rng = np.random.default_rng(_SEED)
    bins, stages = sum(contract.architecture.stages), len(contract.architecture.stages)
    p = rng.gamma(0.7, 0.4, (OPERATOR_ROWS, bins))
    eta = np.tanh(rng.normal(0, 1, (OPERATOR_ROWS, bins)))
    delta = np.tanh(rng.normal(0, 0.8, (OPERATOR_ROWS, stages)))
    floor = contract.architecture.denominator_floor
    for row, value in enumerate((-1.0, -1.0 + floor / 2, -1.0 + floor, -1.0 + 2 * floor)):
        for k in range(stages):
            delta[row * stages + k, k] = value
    delta[4 * stages] = -1.0
    p[4 * stages + 1] = 0.0
    return {"p": p, "eta": eta, "delta": delta}


def _picture(interface: Interface) -> NDArray[np.uint8]:
    """A 128 x 128 portrait (NASA, public domain; cut from the project's sample photo)."""
    bgr: NDArray[np.uint8] = np.load(ASSETS / "golden_picture.npy", allow_pickle=False)
    return bgr if interface.input.colour == "bgr" else np.ascontiguousarray(bgr[..., ::-1])


def _boxes(interface: Interface, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Those of the boxes whose cut meets the picture; margins that reach far into a box can miss it."""

    def meets(box: NDArray[np.float32]) -> bool:
        try:
            next(cuts([box.tolist()], interface.crop, *picture.shape[:2]))
        except SsrError:
            return False
        return True

    return _BOXES[[meets(box) for box in _BOXES]]


def _noise(count: int) -> NDArray[np.uint8]:
    rng = np.random.default_rng(_SEED)
    return rng.integers(0, 256, (count, IMAGE_SIZE, IMAGE_SIZE, 3), dtype=np.uint8)


def _checkers() -> NDArray[np.uint8]:
    """Hard-edged checkers with squares of 1 to 32 pixels, alone in each channel and in all, and extremes."""
    row, column = np.indices((IMAGE_SIZE, IMAGE_SIZE))
    boards = []
    for size in (1, 2, 4, 8, 16, 32):
        board = ((row // size + column // size) % 2 * 255).astype(np.uint8)
        boards.append(np.stack([board, board, board], axis=-1))
        boards.append(np.stack([board, 255 - board, np.zeros_like(board)], axis=-1))
    boards += [np.full((IMAGE_SIZE, IMAGE_SIZE, 3), value, np.uint8) for value in (0, 255)]
    return np.stack(boards)
