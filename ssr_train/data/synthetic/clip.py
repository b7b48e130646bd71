"""A clip of drawn people who walk past a camera: for trying videos without filming anybody."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from ssr_bundle.disk import temporary_folder
from ssr_bundle.errors import SsrError
from ssr_train.data.synthetic import draw

HEIGHT, WIDTH, RATE, SECONDS = 540, 960, 25, 10


class Walk(NamedTuple):
    """Who walks by: ``face`` of the seed drawn at ``age`` years, from second ``begin`` to ``end``, its centre
    from ``x`` to ``to_x`` and its size from ``size`` to ``to_size``, as shares of the picture's height."""

    face: int
    age: float
    begin: float
    end: float
    x: float
    to_x: float
    size: float
    to_size: float


WALKS = (
    Walk(1, 8, 0.4, 9.0, 0.25, 0.75, 0.22, 0.26),
    Walk(16, 34, 0.0, 6.5, 1.62, 0.95, 0.26, 0.36),
    Walk(19, 71, 3.0, 10.0, 1.62, 1.50, 0.20, 0.34),
    Walk(21, 52, 7.2, 10.0, 0.30, 0.40, 0.30, 0.34),
)


def frames(seed: int = 3) -> Iterator[NDArray[np.uint8]]:
    """The pictures of the clip, (:data:`HEIGHT`, :data:`WIDTH`, 3) uint8 BGR; ``seed`` draws other people."""
    faces = [draw(seed, walk.face, walk.age)[0] for walk in WALKS]
    walls = _walls(seed)
    for number in range(RATE * SECONDS):
        picture, now = walls[number % len(walls)].copy(), number / RATE
        for walk, face in zip(WALKS, faces, strict=True):
            if walk.begin <= now < walk.end:
                _place(picture, face, walk, now)
        yield picture


def _walls(seed: int, count: int = 5) -> list[NDArray[np.uint8]]:
    """The background with the noise of ``count`` frames."""
    noise = np.random.default_rng(seed)
    shade = np.linspace(205, 120, HEIGHT)[:, None, None] + np.array([6.0, 0.0, -6.0])
    return [(shade + noise.normal(0, 2.0, (HEIGHT, WIDTH, 3))).astype(np.uint8) for _ in range(count)]


def _place(picture: NDArray[np.uint8], face: NDArray[np.uint8], walk: Walk, now: float) -> None:
    """Blend ``face`` into ``picture``, softly at its border; it bobs as somebody who walks."""
    share = (now - walk.begin) / (walk.end - walk.begin)
    side = (walk.size + share * (walk.to_size - walk.size)) * HEIGHT
    left = (walk.x + share * (walk.to_x - walk.x)) * HEIGHT - side / 2
    top = (0.45 + 0.02 * math.sin(2 * math.pi * 1.6 * now)) * HEIGHT - side / 2
    row, column, room = int(top), int(left), math.ceil(side) + 2
    scale = side / len(face)
    move = np.array([[scale, 0, left - column], [0, scale, top - row]])
    soft = np.zeros(face.shape[:2], np.float32)
    cv2.ellipse(soft, (len(face) // 2, len(face) // 2), (26, 28), 0, 0, 360, 1.0, -1)
    weight = cv2.warpAffine(cv2.GaussianBlur(soft, (0, 0), 2.0), move, (room, room))[..., None]
    drawn = cv2.warpAffine(face, move, (room, room), flags=cv2.INTER_CUBIC)
    place = picture[row : row + room, column : column + room]
    place[:] = place * (1 - weight) + drawn * weight


def write_clip(path: Path, seed: int = 3) -> None:
    """Write the clip as an MP4 file, which appears whole. Raises :class:`SsrError` where it cannot."""
    if path.suffix.lower() != ".mp4":
        raise SsrError(f"{path}: expected a file name that ends in .mp4")
    path.parent.mkdir(parents=True, exist_ok=True)
    with temporary_folder(path.parent) as folder:
        made = folder / path.name
        writer = cv2.VideoWriter(str(made), cv2.VideoWriter.fourcc(*"mp4v"), RATE, (WIDTH, HEIGHT))
        try:
            if not writer.isOpened():
                raise SsrError(f"{path}: OpenCV cannot write MP4 files here")
            for picture in frames(seed):
                writer.write(picture)
        finally:
            writer.release()
        made.replace(path)
