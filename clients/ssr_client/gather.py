"""Face crops to quantize on: found in a folder of photos, or ready ones."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ssr_bundle.contract import IMAGE_SIZE, Interface
from ssr_bundle.crop import Box
from ssr_bundle.disk import need_folder
from ssr_bundle.errors import SsrError
from ssr_client.faces import Landmarks

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm")

LEAST = 32
"""Crops that quantizing and a drift table take at least; fewer leave ranges and percentiles to chance."""


@dataclass(frozen=True)
class Crops:
    """Crops (N, 64, 64, 3) in the network's colour order; which file each is of (N,); how many faces.

    ``files``: sha256 of each file that gave a crop, in order. ``skipped``: one line a file that did not.
    """

    images: NDArray[np.uint8]
    owners: NDArray[np.int64]
    faces: int
    files: tuple[str, ...]
    skipped: tuple[str, ...] = ()

    def split(self, every: int) -> tuple[Crops, Crops]:
        """All but every ``every``-th file's crops, and those; no file in both."""
        last = self.owners % every == every - 1
        return self._choose(~last), self._choose(last)

    def _choose(self, which: NDArray[np.bool_]) -> Crops:
        kept = sorted(set(self.owners[which].tolist()))
        share = self.faces * int(which.sum()) // max(len(which), 1)
        files = tuple(self.files[i] for i in kept)
        return Crops(self.images[which], np.searchsorted(kept, self.owners[which]), share, files)

    @property
    def sha256(self) -> str:
        """One hash for the list of files."""
        return hashlib.sha256("\n".join(self.files).encode()).hexdigest()


def gather(
    folder: Path,
    interface: Interface,
    jitter: int,
    detector: str = "auto",
    tick: Callable[[int, int], None] = lambda done, total: None,
) -> Crops:
    """Every face in the pictures under ``folder``, cut as ``interface`` says.

    A picture of exactly 64 x 64 is a crop already. Each face found gives its own cut and ``jitter`` more
    with the box moved by up to 8 % of its size and scaled by up to 12 %, half of them mirrored. Files that
    cannot be read or show no face are skipped; copies of a file count once. ``tick``: files done, and all.
    Raises :class:`SsrError` if the folder is missing or no face is found in it.
    """
    from ssr_client.crops import in_colour
    from ssr_client.opencv import without_libjpeg
    from ssr_client.photo import Finder
    from ssr_client.preprocess import crop_faces, read_picture

    need_folder(folder, "a folder with photos or 64 x 64 face crops")
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    if not paths:
        raise SsrError(f"{folder}: no pictures in it (looked for {', '.join(SUFFIXES)})")
    finder = Finder(detector)
    images: list[NDArray[np.uint8]] = []
    owners: list[int] = []
    files: list[str] = []
    skipped: list[str] = []
    faces = 0
    for done, path in enumerate(paths):
        tick(done, len(paths))
        try:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            with without_libjpeg():
                picture = read_picture(path)
        except (SsrError, OSError) as error:
            skipped.append(str(error))
            continue
        if digest in files:
            skipped.append(f"{path}: the same bytes as another file")
            continue
        rng = np.random.default_rng(int(digest[:16], 16))
        if picture.shape == (IMAGE_SIZE, IMAGE_SIZE, 3):
            cut = in_colour(picture[None], "bgr", interface.input.colour)
            found = 1
        else:
            detections = finder.find(picture)
            if not detections:
                skipped.append(f"{path}: no face found")
                continue
            boxes = finder.boxes(detections, interface)
            moved = [
                _moved(box, face.landmarks, rng if again else None)
                for box, face in zip(boxes, detections, strict=True)
                for again in range(1 + jitter)
            ]
            try:
                cut = crop_faces(
                    picture, [b for b, _ in moved], interface.crop, landmarks=[points for _, points in moved]
                )
            except SsrError as error:
                skipped.append(f"{path}: {error}")
                continue
            found = len(boxes)
            cut = in_colour(cut, "bgr", interface.input.colour)
            mirrored = rng.random(len(cut)) < 0.5
            mirrored[:: jitter + 1] = False
            cut = np.where(mirrored[:, None, None, None], cut[:, :, ::-1], cut)
        images.append(cut)
        owners += [len(files)] * len(cut)
        files.append(digest)
        faces += found
    tick(len(paths), len(paths))
    if not files:
        raise SsrError(f"{folder}: no face found in its {len(paths)} pictures; the first: {skipped[0]}")
    return Crops(np.concatenate(images), np.array(owners), faces, tuple(files), tuple(skipped))


def enough(crops: Crops, what: str | os.PathLike[str]) -> None:
    """Raise :class:`SsrError` unless there are ``LEAST`` crops."""
    if len(crops.images) < LEAST:
        raise SsrError(
            f"{what}: {len(crops.images)} crops of {crops.faces} faces, at least {LEAST} are needed: "
            "give more pictures, or raise --jitter"
        )


def _moved(
    box: Box, landmarks: Landmarks | None, rng: np.random.Generator | None
) -> tuple[Box, Landmarks | None]:
    """A face shifted and scaled by chance; as it is without ``rng``."""
    if rng is None:
        return box, landmarks
    x, y, w, h = box
    scale = float(np.exp(rng.uniform(-0.12, 0.12)))
    dx, dy = rng.uniform(-0.08, 0.08, 2).tolist()
    cx, cy = x + (0.5 + dx) * w, y + (0.5 + dy) * h
    points = None
    if landmarks is not None:
        points = tuple((cx + (px - x - w / 2) * scale, cy + (py - y - h / 2) * scale) for px, py in landmarks)
    return (cx - scale * w / 2, cy - scale * h / 2, scale * w, scale * h), points
