"""Prepared sets with labels of one's choice, of pictures that are made up."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from conftest import material
from numpy.typing import NDArray

from ssr_bundle.contract import Crop
from ssr_train.data.prepared import ABOUT, FORMAT, IMAGES, INDEX, write_index


def write_set(
    folder: Path,
    rows: Sequence[Sequence[str | float]],
    images: NDArray[np.uint8] | None = None,
    crop: Crop | None = None,
) -> Path:
    """A prepared set of the ``rows`` of its index; grey ``images`` without them."""
    folder.mkdir(parents=True)
    if images is None:
        images = np.full((len(rows), 64, 64, 3), 128, np.uint8)
    np.save(folder / IMAGES, images)
    index = write_index(rows)
    (folder / INDEX).write_bytes(index)
    about: dict[str, Any] = {
        "format": FORMAT,
        "crop": (crop or Crop()).to_json(),
        "name": "made",
        "count": len(rows),
        "size": 64,
        "licence": "none",
        "index_sha256": hashlib.sha256(index).hexdigest(),
    }
    (folder / ABOUT).write_text(json.dumps(about))
    return folder


def link_faces(folder: Path, name: str, count: int) -> Path:
    """A labelled folder with the first ``count`` pictures of the real set ``name``."""
    source = material(f"real/{name}/labels.csv")
    with source.open(newline="") as stream:
        header, *rows = csv.reader(stream)
    folder.mkdir(parents=True)
    for row in rows[:count]:
        (folder / row[0]).symlink_to(source.parent / row[0])
    text = "\n".join(",".join(row) for row in [header, *rows[:count]])
    (folder / "labels.csv").write_text(text + "\n")
    return folder
