"""Published face crops, made from labelled portraits as others make them, so that their true cut is known."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from conftest import material
from numpy.typing import NDArray
from ssr_client.detectors import YuNet
from ssr_client.preprocess import crop_faces, read_picture

from ssr_bundle.contract import Crop
from ssr_bundle.crop import cuts

SIDE = 320
"""Pixels of an aligned chip: as many as its face has in the photo, or more."""

LOSSLESS = [
    *(cv2.IMWRITE_JPEG_QUALITY, 100),
    *(cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444),
]
"""As nearly as JPEG can be: halved colours alone move the answers of these networks by half a year."""


def portraits(count: int, turned: bool = False) -> Iterator[tuple[str, float, NDArray[np.uint8]]]:
    """Name, age and picture of the first of them; ``turned`` by up to 20 degrees, as heads are held."""
    table = material("real/portraits/labels.csv")
    rng = np.random.default_rng(0)
    with table.open(newline="") as rows:
        for row in islice(csv.DictReader(rows), count):
            picture = read_picture(table.parent / row["file"])
            if turned:
                size = picture.shape[1::-1]
                turn = cv2.getRotationMatrix2D((size[0] / 2, size[1] / 2), rng.uniform(-20, 20), 1)
                picture = np.asarray(
                    cv2.warpAffine(picture, turn, size, borderMode=cv2.BORDER_REPLICATE), np.uint8
                )
            yield row["file"], float(row["age"]), picture


def make_chips(folder: Path, crop: Crop, count: int, turned: bool = False) -> Path:
    """Chips of ``count`` portraits, laid out and named as UTKFace's aligned release is."""
    folder.mkdir(parents=True)
    detector = YuNet(material("detectors/yunet_n_640_640.onnx"))
    for number, (_, age, picture) in enumerate(portraits(count, turned)):
        face = detector.detect(picture)[0]
        if crop.template is None:  # in the photo's own pixels, as sets that were cut by boxes are
            (part,) = cuts([face.box], crop, *picture.shape[:2])
            rows, columns = (np.clip(v, 0, n - 1) for v, n in zip(part, picture.shape[:2], strict=True))
            chip = picture[np.ix_(rows, columns)]
        else:
            chip = crop_faces(picture, [face.box], crop, SIDE, [face.landmarks])[0]
        name = f"{age:.0f}_0_0_2017{number:013}.jpg.chip.jpg"
        cv2.imwrite(str(folder / name), chip, LOSSLESS)
    return folder


def copy_portraits(folder: Path, count: int, turned: bool = False) -> Path:
    """A labelled folder of ``count`` portraits, without loss."""
    folder.mkdir(parents=True)
    lines = ["file,age"]
    for name, age, picture in portraits(count, turned):
        file = f"{Path(name).stem}.png"
        cv2.imwrite(str(folder / file), picture)
        lines.append(f"{file},{age:.0f}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder
