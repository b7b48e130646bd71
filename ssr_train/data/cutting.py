"""From one record to one picture as it enters the network, or to the reason why not."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from ssr_client.detectors import to_convention
from ssr_client.errors import BadInput
from ssr_client.faces import DETECTORS, Detection
from ssr_client.photo import Finder
from ssr_client.preprocess import crop_faces, decode_picture

from ssr_bundle.contract import IMAGE_SIZE, Crop
from ssr_bundle.crop import Box, intersection_over_union
from ssr_bundle.errors import SsrError
from ssr_train.data.alignment import align
from ssr_train.data.records import (
    BOX_OUTSIDE,
    EMPTY_FILE,
    NO_FACE,
    NO_IMAGE,
    SECOND_FACE,
    TRUNCATED,
    UNREADABLE,
    Problem,
    Record,
)

Picture = NDArray[np.uint8]

ALIGNMENTS = ("none", "similarity")
FINDERS = (*DETECTORS, "none")

SIZES = (8, 1024)
"""Least and largest side of a prepared picture, in pixels."""


@dataclass(frozen=True)
class Cut:
    """How pictures are made. ``detector`` finds the faces of photos; ``none`` takes the published boxes."""

    size: int = IMAGE_SIZE
    align: str = "none"
    detector: str = "auto"

    def __post_init__(self) -> None:
        if not SIZES[0] <= self.size <= SIZES[1]:
            raise SsrError(f"--size must lie in {SIZES[0]}..{SIZES[1]} pixels, got {self.size}")
        for name, value, known in (
            ("align", self.align, ALIGNMENTS),
            ("detector", self.detector, FINDERS),
        ):
            if value not in known:
                raise SsrError(f"--{name} {value}: unknown, expected one of {', '.join(known)}")
        if self.align != "none" and self.detector in ("haar", "none"):
            given = "the Haar cascade finds" if self.detector == "haar" else "published boxes come with"
            raise SsrError(f"--align {self.align} goes by landmarks, and {given} none; use --detector yunet")


class Made(NamedTuple):
    """A picture (size, size, 3) BGR, and the digest of what it was made from: 16 hexadecimal digits, equal
    for byte-identical files (and the same part of them)."""

    picture: Picture
    digest: str


class Found(NamedTuple):
    """A picture (H, W, 3) BGR, and the labelled face in it, in its pixels."""

    picture: Picture
    face: Detection


class Cutter:
    """Makes the pictures of one distribution under ``root``; its detector is opened on first use."""

    def __init__(self, root: Path, cut: Cut) -> None:
        self.root, self.cut = root, cut
        self._crop = Crop()
        self._finder = Finder("auto" if cut.detector == "none" else cut.detector)

    def make(self, record: Record, *, look: bool = False) -> Made | Problem:
        """The record's picture, or the problem that drops it. To ``look`` only, the file must decode and hold
        the record's box at least in part; the picture is empty then."""
        try:
            data = _read(self.root / record.path)
            picture = _decode(data)
            part = picture if record.box is None else picture[_within(record.box, picture)]
            if look:
                made = picture[:0]
            elif record.face == "crop":  # the part of it that the protocol uses, as the contract resizes
                size = (self.cut.size, self.cut.size)
                made = np.asarray(cv2.resize(part, size, interpolation=cv2.INTER_LINEAR), np.uint8)
            else:
                made = self._photo(picture, record)
        except _Dropped as reason:
            kind, detail = reason.args
            return Problem(kind, record.path.as_posix(), detail)
        digest = hashlib.blake2b(data, digest_size=8)
        digest.update(b"" if record.box is None else _text(record.box).encode())
        return Made(made, digest.hexdigest())

    def _photo(self, picture: Picture, record: Record) -> Picture:
        """The face of a photo, by its landmarks or by the contract's crop of the detector's box."""
        if self.cut.detector == "none":
            if record.box is None:
                raise _Dropped(NO_FACE, "the set boxes no face here, and no detector was to look for one")
            box = record.box
        else:
            face = self._face(picture, record)
            if self.cut.align == "similarity":
                if face.landmarks is None:
                    raise _Dropped(NO_FACE, "the detector gave no landmarks to align by")
                return align(picture, face.landmarks, self.cut.size)
            box = to_convention(face.box, self._finder.detector.box_convention, self._crop.box)
        try:
            cut: Picture = crop_faces(picture, [box], self._crop, self.cut.size)[0]
        except BadInput as error:
            raise _Dropped(BOX_OUTSIDE, str(error)) from None
        return cut

    def find(self, record: Record) -> Found | Problem:
        """The record's picture and the labelled face in it, whoever cut it last; or why there is none."""
        try:
            picture = _decode(_read(self.root / record.path))
            if record.face != "crop":
                return Found(picture, self._face(picture, record))
            part = picture if record.box is None else picture[_within(record.box, picture)]
            return Found(part, self._in_crop(part))
        except _Dropped as reason:
            kind, detail = reason.args
            return Problem(kind, record.path.as_posix(), detail)

    def _face(self, picture: Picture, record: Record) -> Detection:
        if record.box is not None:
            return self._boxed(picture, record.box)
        return self._central(picture) if record.face == "central" else self._only(picture)

    def _in_crop(self, picture: Picture) -> Detection:
        """The face of a published crop, looked for in one with half as much more on each side, its border
        repeated: detectors miss a face that fills the picture. Its box may reach beyond the picture."""
        rows, columns = picture.shape[0] // 2, picture.shape[1] // 2
        padded = cv2.copyMakeBorder(picture, rows, rows, columns, columns, cv2.BORDER_REPLICATE)
        return _moved(self._central(np.asarray(padded, np.uint8)), -columns, -rows)

    def _central(self, picture: Picture) -> Detection:
        """The face nearest to the picture's centre."""
        height, width = picture.shape[:2]

        def distance(face: Detection) -> float:
            x, y, w, h = face.box
            return math.hypot(x + w / 2 - width / 2, y + h / 2 - height / 2)

        found = self._finder.find(picture)
        if not found:
            raise _Dropped(NO_FACE, "the detector finds none")
        return min(found, key=distance)

    def _only(self, picture: Picture) -> Detection:
        found = self._finder.find(picture)
        if not found:
            raise _Dropped(NO_FACE, "the detector finds none")
        if len(found) > 1:
            raise _Dropped(
                SECOND_FACE, f"the detector finds {len(found)}, and whose age is labelled is not said"
            )
        return found[0]

    def _boxed(self, picture: Picture, box: Box) -> Detection:
        """The face that overlaps a published ``box`` most, looked for in the box and as much around it."""
        x, y, w, h = box
        around = _within((x - w, y - h, 3 * w, 3 * h), picture)
        left, top = around[1].start, around[0].start
        faces = [_moved(face, left, top) for face in self._finder.find(picture[around])]
        best = max(faces, key=lambda face: intersection_over_union(face.box, box), default=None)
        if best is None or intersection_over_union(best.box, box) <= 0:
            raise _Dropped(NO_FACE, f"the detector finds none at the published box {_text(box)}")
        return best


class _Dropped(Exception):
    """Why a picture cannot be made: the kind of problem, and the detail."""


def _read(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise _Dropped(UNREADABLE, error.strerror or str(error)) from None
    if not data:
        raise _Dropped(EMPTY_FILE, "it has no bytes")
    if not _whole(data):
        raise _Dropped(TRUNCATED, f"its {len(data):,} bytes end before the picture does")
    return data


def _decode(data: bytes) -> Picture:
    try:
        return decode_picture(data, "picture")
    except BadInput as error:
        raise _Dropped(NO_IMAGE, str(error).removeprefix("picture: ")) from None


def _whole(data: bytes) -> bool:
    """Whether a JPEG or PNG has its end; OpenCV would fill the rest with grey and say nothing.

    In a JPEG the end marker FF D9 cannot occur inside the coded picture, so it must follow the last start of
    a scan, FF DA. Whatever else a file is, its decoder must tell.
    """
    if data.startswith(b"\xff\xd8"):
        return data.rfind(b"\xff\xd9") > data.rfind(b"\xff\xda")
    return not data.startswith(b"\x89PNG") or b"IEND" in data


def _within(box: Box, picture: Picture) -> tuple[slice, slice]:
    """Rows and columns of ``box`` that lie in the picture, to whole pixels outward."""
    x, y, w, h = box
    height, width = picture.shape[:2]
    if all(map(math.isfinite, box)):
        top, bottom = max(math.floor(y), 0), min(math.ceil(y + h), height)
        left, right = max(math.floor(x), 0), min(math.ceil(x + w), width)
        if top < bottom and left < right:
            return slice(top, bottom), slice(left, right)
    raise _Dropped(BOX_OUTSIDE, f"{_text(box)} lies outside the picture of {width} x {height}")


def _moved(face: Detection, left: int, top: int) -> Detection:
    x, y, w, h = face.box
    points = face.landmarks and tuple((px + left, py + top) for px, py in face.landmarks)
    return Detection((x + left, y + top, w, h), face.score, points)


def _text(box: Box) -> str:
    return "(" + ", ".join(f"{v:g}" for v in box) + ")"
