"""A contact sheet of drawn faces: ``python -m ssr_train.data.synthetic --sheet faces.png``."""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ssr_train.data.synthetic import OLDEST, draw


def contact_sheet(seed: int = 0, columns: int = 16, rows: int = 11, zoom: int = 1) -> NDArray[np.uint8]:
    """A picture of ``rows`` ages, 0 at the top to 100, each with ``columns`` different people."""
    strips = []
    for row in range(rows):
        age = OLDEST * row / max(rows - 1, 1)
        strips.append(np.hstack([draw(seed, row * columns + i, age)[0] for i in range(columns)]))
    sheet = np.vstack(strips)
    return np.repeat(np.repeat(sheet, zoom, axis=0), zoom, axis=1)


def _main() -> None:
    parser = argparse.ArgumentParser(description="Draw a contact sheet of faces, youngest at the top.")
    parser.add_argument("--sheet", type=Path, required=True, help="PNG or JPEG to write")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--zoom", type=int, default=1)
    options = parser.parse_args()
    if not cv2.imwrite(str(options.sheet), contact_sheet(options.seed, zoom=options.zoom)):
        parser.error(f"cannot write {options.sheet}")


if __name__ == "__main__":
    _main()
