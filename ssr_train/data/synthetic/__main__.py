"""Drawn faces: ``python -m ssr_train.data.synthetic --sheet faces.png``, or ``--clip people.mp4``."""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ssr_bundle.errors import SsrError
from ssr_train.data.synthetic import OLDEST, draw
from ssr_train.data.synthetic.clip import write_clip


def contact_sheet(seed: int = 0, columns: int = 16, rows: int = 11, zoom: int = 1) -> NDArray[np.uint8]:
    """A picture of ``rows`` ages, 0 at the top to 100, each with ``columns`` different people."""
    strips = []
    for row in range(rows):
        age = OLDEST * row / max(rows - 1, 1)
        strips.append(np.hstack([draw(seed, row * columns + i, age)[0] for i in range(columns)]))
    sheet = np.vstack(strips)
    return np.repeat(np.repeat(sheet, zoom, axis=0), zoom, axis=1)


def _main() -> None:
    parser = argparse.ArgumentParser(
        description="Draw faces: a contact sheet, or a clip of people who walk by."
    )
    made = parser.add_mutually_exclusive_group(required=True)
    made.add_argument("--sheet", type=Path, help="PNG or JPEG to write: youngest at the top")
    made.add_argument("--clip", type=Path, help="MP4 to write: four people, ten seconds")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--zoom", type=int, default=1, help="of the sheet")
    options = parser.parse_args()
    if options.clip is not None:
        try:
            write_clip(options.clip, **({} if options.seed is None else {"seed": options.seed}))
        except (SsrError, OSError) as error:
            parser.exit(1, f"{error}\n")
    elif not cv2.imwrite(str(options.sheet), contact_sheet(options.seed or 0, zoom=options.zoom)):
        parser.error(f"cannot write {options.sheet}")


if __name__ == "__main__":
    _main()
