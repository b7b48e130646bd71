"""The crops that int8 is calibrated on, and others to measure drift on."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from peers.contestant import Images
from ssr_train.bundle import Bundle

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")


def drawn_crops(calibration: int, fresh: int, bundle: Bundle) -> tuple[Images, Images, str]:
    """Drawn faces of two seeds in the contract's colour order, and what to call them."""
    from ssr_train.data.synthetic import draw_faces

    source = f"{calibration} drawn faces; drift on {fresh} others"
    drawn = [draw_faces(count, seed).images for count, seed in ((calibration, 11), (fresh, 12))]
    if bundle.contract.interface.input.colour == "rgb":
        drawn = [np.ascontiguousarray(images[..., ::-1]) for images in drawn]
    return drawn[0], drawn[1], source


def photographed_crops(folder: Path, bundle: Bundle) -> tuple[Images, Images, str]:
    """The faces in the photos of ``folder``: of every other photo for calibration, of the rest for drift."""
    from ssr_client.detectors import open_detector
    from ssr_client.preprocess import crop_faces, in_colour, read_picture

    if not folder.is_dir():
        raise SystemExit(f"engine: --images {folder}: no such folder")
    photos = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURES)
    detector, contract = open_detector(), bundle.contract.interface
    halves: tuple[list[Images], list[Images]] = ([], [])
    used = 0
    for path in photos:
        picture = read_picture(path)
        boxes = [found.box for found in detector.detect(picture)]
        if boxes:
            crops = crop_faces(picture, boxes, contract.crop)
            halves[used % 2].append(in_colour(crops, "bgr", contract.input.colour))
            used += 1
    if used < 2:
        raise SystemExit(f"engine: --images {folder}: faces in {used} of {len(photos)} photos, 2 are needed")
    calibration, fresh = (np.concatenate(half) for half in halves)
    source = f"{len(calibration)} faces in {len(halves[0])} photos; drift on {len(fresh)} in {len(halves[1])}"
    return calibration, fresh, source
