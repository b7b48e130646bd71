"""How do Haar's boxes map to YuNet's, and what does the map leave, in years?

Measures the constants in ``ssr_client.detectors.ADAPTERS``: both detectors look at jittered, scaled,
flipped and relit views of photos with known faces; where they agree on a face, centre shift and size
ratios are taken, and their medians are the adapter. The residual is given for faces of persons that
the medians have not seen (leave one person out), as ages by a released network, against the same
faces cut from YuNet's boxes. YuNet's own change from view to view is printed beside it.

    python benchmarks/haar_adapter.py [--weights NAME] [--views N] [PHOTO...]
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from ssr_client.crops import Picture
from ssr_client.detectors import Haar, YuNet
from ssr_client.preprocess import crop_faces, read_picture

from ssr_bundle import commandline as command
from ssr_bundle.contract import Crop
from ssr_bundle.crop import Box, intersection_over_union
from ssr_bundle.fetch import fetch
from ssr_ops import Engine
from ssr_ops.golden import write_bundle
from ssr_train.keras_import import import_keras

ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("SSR_SHARED", ROOT.parent / "shared"))
PHOTOS = [ROOT / "ssr_ops/assets/astronaut.jpg", SHARED / "faces/the_flash_cast.png"]
FEWEST = 10
"""Pairs that a person must give to count: fewer are chance hits of the cascade."""
Pair = tuple[str, Picture, Box, Box]
"""Person, view, Haar's box, YuNet's box."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("photos", nargs="*", type=Path, help="default: the sample photos")
    parser.add_argument("--weights", default="morph2")
    parser.add_argument("--views", type=int, default=40, help="views of each photo")
    arguments = parser.parse_args()
    photos = arguments.photos or [p for p in PHOTOS if p.is_file()]
    found = [pair for photo in photos for pair in pairs(photo, arguments.views)]
    often = Counter(pair[0] for pair in found)
    found = [pair for pair in found if often[pair[0]] >= FEWEST]
    persons = sorted({pair[0] for pair in found})
    names = np.array([pair[0] for pair in found])
    measured = np.array([relation(ours, theirs) for _, _, ours, theirs in found])
    print(f"{len(found)} pairs of boxes, {len(persons)} persons; {platform.machine()}, cv2 {cv2.__version__}")
    for name in persons:
        rows = measured[names == name]
        print(f"  {name}: {len(rows)} pairs, median {np.median(rows, axis=0).round(3).tolist()}")
    print("adapter (dx, dy, sw, sh):", fit(measured, names).round(3).tolist())

    unseen = {name: fit(measured[names != name], names[names != name]) for name in persons}
    boxes = {
        "yunet": [theirs for _, _, _, theirs in found],
        "raw": [ours for _, _, ours, _ in found],
        "mapped": [apply(unseen[name], ours) for name, _, ours, _ in found],
    }
    with tempfile.TemporaryDirectory() as folder:
        bundle = write_bundle(Path(folder) / "bundle", *import_keras(fetch(arguments.weights)))
        engine = Engine(bundle.path)
        ages = {
            key: engine.predict(
                np.concatenate([crop_faces(p[1], [b], Crop()) for p, b in zip(found, value, strict=True)])
            )
            for key, value in boxes.items()
        }
    for key, what in (("raw", "raw Haar box"), ("mapped", "mapped Haar box, person left out")):
        apart = np.abs(ages[key] - ages["yunet"])
        shared = np.mean([overlap(a, b) for a, b in zip(boxes[key], boxes["yunet"], strict=True)])
        print(
            f"{what} against YuNet's: the cuts' mean IoU {shared:.3f}; {arguments.weights}: "
            f"mean {apart.mean():.2f}, p90 {np.percentile(apart, 90):.2f}, max {apart.max():.2f} years"
        )
    own = [np.abs(a - np.median(a)).mean() for a in (ages["yunet"][names == n] for n in persons)]
    print(f"YuNet's own boxes, view to view, about each person's median: mean {np.mean(own):.2f} years")


def pairs(photo: Path, count: int) -> list[Pair]:
    """Faces on which both detectors agree, over ``count`` views of the photo."""
    yunet, haar, picture = YuNet(), Haar(), read_picture(photo)
    known = [d.box for d in yunet.detect(picture)]
    found = []
    for view, matrix in views(picture, count):
        hits = [d.box for d in haar.detect(view)]
        for theirs in (d.box for d in yunet.detect(view)):
            person = whose(theirs, known, matrix)
            ours = [box for box in hits if same_face(box, theirs)]
            if person is not None and ours:
                found.append((f"{photo.stem} {person + 1}", view, ours[0], theirs))
    return found


def views(picture: Picture, count: int) -> list[tuple[Picture, NDArray[np.float64]]]:
    """Views of ``picture`` and the 2x3 matrices that took it there."""
    rng = np.random.default_rng(0)
    height, width = picture.shape[:2]
    made = []
    for i in range(count):
        scale, angle = rng.uniform(0.6, 1.3), rng.uniform(-6, 6)
        size = (round(width * scale), round(height * scale))
        matrix = cv2.getRotationMatrix2D((width / 2, height / 2), angle, scale)
        matrix[:, 2] += (np.array(size) - (width, height)) / 2 + rng.uniform(-4, 4, 2)
        if i % 2:
            matrix = np.array([[-1, 0, size[0] - 1], [0, 1, 0]]) @ np.vstack([matrix, [0, 0, 1]])
        view = cv2.warpAffine(picture, matrix, size, flags=cv2.INTER_AREA)
        view = np.clip(view * rng.uniform(0.7, 1.2) + rng.uniform(-10, 20), 0, 255).astype(np.uint8)
        made.append((view, matrix))
    return made


def whose(box: Box, known: list[Box], matrix: NDArray[np.float64]) -> int | None:
    """Index of the known face whose centre the view shows within ``box``."""
    for i, (x, y, w, h) in enumerate(known):
        cx, cy = matrix @ (x + w / 2, y + h / 2, 1)
        if box[0] < cx < box[0] + box[2] and box[1] < cy < box[1] + box[3]:
            return i
    return None


def same_face(ours: Box, theirs: Box) -> bool:
    cx, cy = ours[0] + ours[2] / 2, ours[1] + ours[3] / 2
    inside = theirs[0] < cx < theirs[0] + theirs[2] and theirs[1] < cy < theirs[1] + theirs[3]
    return inside and bool(0.6 < ours[2] / np.sqrt(theirs[2] * theirs[3]) < 1.7)


def overlap(a: Box, b: Box) -> float:
    """Intersection over union of what the contract cuts for the two boxes."""
    m, n = Crop().margin[:2]
    p, q = ((x - m * w, y - n * h, (1 + 2 * m) * w, (1 + 2 * n) * h) for x, y, w, h in (a, b))
    return intersection_over_union(p, q)


def relation(ours: Box, theirs: Box) -> tuple[float, float, float, float]:
    """Centre shift in our widths and heights, width and height ratio."""
    x, y, w, h = ours
    u, v, p, q = theirs
    return ((u + p / 2 - x - w / 2) / w, (v + q / 2 - y - h / 2) / h, p / w, q / h)


def fit(measured: NDArray[np.float64], names: NDArray[np.str_]) -> NDArray[np.float64]:
    """Median over persons of each person's median; sideways 0, since a mirrored face is a face too."""
    medians = np.median([np.median(measured[names == n], axis=0) for n in sorted(set(names))], axis=0)
    return np.array([0.0, *medians[1:]])


def apply(adapter: NDArray[np.float64], box: Box) -> Box:
    dx, dy, sw, sh = adapter.tolist()
    x, y, w, h = box
    return (x + (0.5 + dx - sw / 2) * w, y + (0.5 + dy - sh / 2) * h, sw * w, sh * h)


if __name__ == "__main__":
    command.run(main, "haar_adapter")
