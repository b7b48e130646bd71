"""Draw faces and their answers into a picture."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ssr_bundle.disk import replace_file
from ssr_client.crops import Picture
from ssr_client.errors import BadInput
from ssr_client.faces import Face
from ssr_client.opencv import cv2, quiet

ACCENT = (80, 200, 255)
INK = (30, 24, 20)
_FONT = cv2.FONT_HERSHEY_DUPLEX
_AA = cv2.LINE_AA
_SHIFT = 3


def annotate(picture: Picture, faces: Iterable[Face]) -> Picture:
    """A copy of the BGR ``picture`` with a rounded frame and a label on each face.

    Line width and text scale with the picture and, between bounds, with the face; a dark rim keeps the
    frame readable on bright ground, the filled label on any.
    """
    canvas = picture.copy()
    for face in faces:
        _draw(canvas, face)
    return canvas


def label(face: Face) -> str:
    """The answer in a few characters: ``43``, ``43 (38-49)``, ``male 93%``; of a tracked person ``#7 43``."""
    if face.age is None:
        text = ", ".join(f"{name} {100 * value:.0f}%" for name, value in face.attributes.items()) or "?"
    elif face.interval is None:
        text = f"{face.age:.0f}"
    else:
        text = f"{face.age:.0f} ({face.interval[0]:.0f}-{face.interval[1]:.0f})"
    return text if face.track_id is None else f"#{face.track_id} {text}"


def write_picture(path: str | Path, picture: Picture) -> None:
    """Write an image file; its ending says the format. The file appears whole or not at all."""
    target = Path(path)
    data = _encoded(picture, target.suffix)
    if data is None:
        check_format(target)
        height, width = picture.shape[:2]
        raise BadInput(
            f"{target}: {width} x {height} pixels do not fit a {target.suffix} file "
            "(the longest side of .jpg is 65500, of .webp 16383); .png holds more"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    replace_file(target, data)


def check_format(path: str | Path) -> None:
    """Raise :class:`BadInput` unless OpenCV writes pictures in the format that this name's ending says."""
    suffix = Path(path).suffix
    if _encoded(np.zeros((64, 64, 3), np.uint8), suffix) is None:
        raise BadInput(f"{path}: OpenCV writes no {suffix!r} files, expected .jpg, .png, .webp, ...")


def _encoded(picture: Picture, suffix: str) -> bytes | None:
    """The file's bytes, or None if OpenCV cannot, which it then does not print."""
    jpeg = suffix.lower() in (".jpg", ".jpeg")
    try:
        with quiet():
            done, data = cv2.imencode(suffix, picture, [cv2.IMWRITE_JPEG_QUALITY, 92] if jpeg else [])
    except cv2.error:
        return None
    return bytes(data.tobytes()) if done else None


def _draw(canvas: Picture, face: Face) -> None:
    height, width = canvas.shape[:2]
    x, y, w, h = face.box
    unit = max(1.0, 0.5 * min(height, width) / 256 + 0.5 * min(w, h) / 64)
    line = max(1, round(unit))
    _frame(canvas, face.box, INK, 2 * line + 1)
    _frame(canvas, face.box, ACCENT, line)

    text = label(face)
    scale = float(np.clip(min(w, h) / 110, 0.4, 0.28 * unit + 0.4))
    weight = max(1, round(1.4 * scale))
    (text_w, text_h), _ = cv2.getTextSize(text, _FONT, scale, weight)
    pad = max(3, round(0.45 * text_h))
    label_w, label_h = text_w + 2 * pad, text_h + 2 * pad
    left = int(np.clip(x + w / 2 - label_w / 2, 0, max(0, width - label_w)))
    gap = 2 * line
    above, below = y - gap - label_h, y + h + gap
    top = above if above >= 0 else below if below + label_h <= height else y + gap
    top = int(np.clip(top, 0, max(0, height - label_h)))
    _pill(canvas, (left, top, label_w, label_h), INK, grow=max(1, line // 2 + 1))
    _pill(canvas, (left, top, label_w, label_h), ACCENT, grow=0)
    cv2.putText(canvas, text, (left + pad, top + pad + text_h), _FONT, scale, INK, weight, _AA)


def _frame(canvas: Picture, box: tuple[float, ...], colour: tuple[int, ...], thickness: int) -> None:
    """A rounded rectangle, placed to an eighth of a pixel."""
    x, y, w, h = box
    r = 0.12 * min(w, h)

    def at(u: float, v: float) -> tuple[int, int]:
        return round(u * 2**_SHIFT), round(v * 2**_SHIFT)

    for (u0, v0), (u1, v1) in (
        ((x + r, y), (x + w - r, y)),
        ((x + r, y + h), (x + w - r, y + h)),
        ((x, y + r), (x, y + h - r)),
        ((x + w, y + r), (x + w, y + h - r)),
    ):
        cv2.line(canvas, at(u0, v0), at(u1, v1), colour, thickness, _AA, _SHIFT)
    for u, v, begin in (
        (x + r, y + r, 180),
        (x + w - r, y + r, 270),
        (x + w - r, y + h - r, 0),
        (x + r, y + h - r, 90),
    ):
        cv2.ellipse(canvas, at(u, v), at(r, r), 0, begin, begin + 90, colour, thickness, _AA, _SHIFT)


def _pill(canvas: Picture, box: tuple[int, int, int, int], colour: tuple[int, ...], grow: int) -> None:
    x, y, w, h = box[0] - grow, box[1] - grow, box[2] + 2 * grow, box[3] + 2 * grow
    r = min(w, h) // 4
    cv2.rectangle(canvas, (x + r, y), (x + w - r, y + h), colour, -1, _AA)
    cv2.rectangle(canvas, (x, y + r), (x + w, y + h - r), colour, -1, _AA)
    for u, v in ((x + r, y + r), (x + w - r, y + r), (x + r, y + h - r), (x + w - r, y + h - r)):
        cv2.circle(canvas, (u, v), r, colour, -1, _AA)
