"""From one record to one picture as it enters the network, or to the reason why not."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from ssr_client.detectors import to_convention
from ssr_client.errors import BadInput
from ssr_client.faces import DETECTORS, Detection
from ssr_client.opencv import without_libjpeg
from ssr_client.photo import Finder
from ssr_client.preprocess import CutShort, crop_faces, decode_picture

from ssr_bundle.contract import IMAGE_SIZE, Crop, Template
from ssr_bundle.crop import Box, cuts, intersection_over_union
from ssr_bundle.errors import SsrError
from ssr_train.data.measured_cut import Seen, in_padded, look, moved
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

PLAIN = Crop(border="replicate")
"""How faces are cut where nothing else is said."""

ALIGNED = Crop(
    border="replicate",
    template=Template(((41.51, 43.57), (58.41, 43.47), (50.01, 53.17), (43.07, 63.06), (57.06, 62.99)), 100),
)
"""How they are cut with ``--align similarity``.

The shape is the 112 x 112 template of ArcFace (Deng et al. 2019, InsightFace). Scale and centre are those of
:data:`PLAIN`: the height from eyes to mouth there is 0.195 of the side, its middle lies at 0.533, the mean of
YuNet's landmarks on seven faces of the two photos that this project tests with.
"""

ALIGNMENTS = ("none", "similarity")
FINDERS = (*DETECTORS, "none")

SIZES = (8, 1024)
"""Least and largest side of a prepared picture, in pixels."""


@dataclass(frozen=True)
class Cut:
    """How pictures are made. ``detector`` finds the faces of photos; ``none`` takes the published boxes.

    ``crop``: how faces are cut, None for the default: a margin of 0.4 boxes, the border repeated, or what
    ``align`` says. ``recut``: published crops are cut anew too, where they are only resized otherwise.
    """

    size: int = IMAGE_SIZE
    align: str = "none"
    detector: str = "auto"
    recut: bool = False
    crop: Crop | None = None

    def __post_init__(self) -> None:
        if not SIZES[0] <= self.size <= SIZES[1]:
            raise SsrError(f"--size must lie in {SIZES[0]}..{SIZES[1]} pixels, got {self.size}")
        for name, value, known in (
            ("align", self.align, ALIGNMENTS),
            ("detector", self.detector, FINDERS),
        ):
            if value not in known:
                raise SsrError(f"--{name} {value}: unknown, expected one of {', '.join(known)}")
        if self.align != "none" and self.crop is not None:
            raise SsrError("--align and --crop contradict each other: a crop says whether it is aligned")
        if self.wanted.template is not None and self.detector in ("haar", "none"):
            given = "the Haar cascade finds" if self.detector == "haar" else "published boxes come with"
            raise SsrError(f"an aligned crop goes by landmarks, and {given} none; use --detector yunet")
        if self.recut and self.detector == "none":
            raise SsrError("--recut looks for the faces anew, --detector none does not; leave one out")

    @property
    def wanted(self) -> Crop:
        """How faces are cut."""
        return self.crop or (ALIGNED if self.align == "similarity" else PLAIN)

    def resizes(self, record: Record) -> bool:
        """Whether the record's picture is a published crop that is only resized."""
        return record.face == "crop" and not self.recut

    def to_json(self) -> dict[str, Any]:
        """What decides the bytes of a set, for its journal."""
        crop = {} if self.crop is None else {"crop": self.crop.to_json()}
        recut = {"recut": True} if self.recut else {}
        return {"size": self.size, "align": self.align, "detector": self.detector, **recut, **crop}


class Made(NamedTuple):
    """A picture (size, size, 3) BGR, and the :func:`digest_of` what it was made from."""

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
            elif self.cut.resizes(record):  # the part of it that the protocol uses, as the contract resizes
                size = (self.cut.size, self.cut.size)
                made = np.asarray(cv2.resize(part, size, interpolation=cv2.INTER_LINEAR), np.uint8)
            else:
                made = self._cut(picture, record)
        except _Dropped as reason:
            kind, detail = reason.args
            return Problem(kind, record.path.as_posix(), detail)
        return Made(made, digest_of(data, record.box))

    def look(self, record: Record) -> Seen:
        """The faces in the record's published crop, or in what is cut by the published box of its photo.

        Raises :class:`SsrError` for a file that could be read before and cannot be now.
        """
        try:
            picture = _decode(_read(self.root / record.path))
            box = record.box
            if record.face != "crop" and box is not None:
                rows, columns = next(cuts([box], self.cut.wanted, *picture.shape[:2]))
                box = (columns.start, rows.start, len(columns), len(rows))
            return look(picture if box is None else picture[_within(box, picture)], self._finder)
        except _Dropped as reason:
            raise SsrError(f"{self.root / record.path}: {reason.args[1]}") from None

    def find(self, record: Record) -> Found | Problem:
        """The record's picture and the labelled face in it, whoever cut it last; or why there is none."""
        try:
            picture = _decode(_read(self.root / record.path))
            if record.face == "crop" and record.box is not None:
                picture = picture[_within(record.box, picture)]
                record = record._replace(box=None)
            return Found(picture, self._face(picture, record))
        except _Dropped as reason:
            kind, detail = reason.args
            return Problem(kind, record.path.as_posix(), detail)

    def _cut(self, picture: Picture, record: Record) -> Picture:
        """The face of a photo, or of a published crop that is cut anew, as the wanted crop says."""
        crop = self.cut.wanted
        if self.cut.detector == "none":
            if record.box is None:
                raise _Dropped(NO_FACE, "the set boxes no face here, and no detector was to look for one")
            face, box = Detection(record.box), record.box
        else:
            face = self._face(picture, record)
            box = to_convention(face.box, self._finder.detector.box_convention, crop.box)
        try:
            cut: Picture = crop_faces(picture, [box], crop, self.cut.size, [face.landmarks])[0]
        except BadInput as error:
            kind = BOX_OUTSIDE if crop.template is None else NO_FACE
            raise _Dropped(kind, str(error)) from None
        return cut

    def _face(self, picture: Picture, record: Record) -> Detection:
        if record.box is not None:
            return self._boxed(picture, record.box)
        if record.face == "central":
            return _central(self._finder.find(picture), picture)
        return _only(
            in_padded(picture, self._finder) if record.face == "crop" else self._finder.find(picture)
        )

    def _boxed(self, picture: Picture, box: Box) -> Detection:
        """The face that overlaps a published ``box`` most, looked for in the box and as much around it."""
        x, y, w, h = box
        around = _within((x - w, y - h, 3 * w, 3 * h), picture)
        left, top = around[1].start, around[0].start
        faces = [moved(face, left, top) for face in self._finder.find(picture[around])]
        best = max(faces, key=lambda face: intersection_over_union(face.box, box), default=None)
        if best is None or intersection_over_union(best.box, box) <= 0:
            raise _Dropped(NO_FACE, f"the detector finds none at the published box {_text(box)}")
        return best


def _only(found: list[Detection]) -> Detection:
    if not found:
        raise _Dropped(NO_FACE, "the detector finds none")
    if len(found) > 1:
        raise _Dropped(SECOND_FACE, f"the detector finds {len(found)}, and whose age is labelled is not said")
    return found[0]


def _central(found: list[Detection], picture: Picture) -> Detection:
    """The face nearest to the picture's centre."""
    height, width = picture.shape[:2]

    def distance(face: Detection) -> float:
        x, y, w, h = face.box
        return math.hypot(x + w / 2 - width / 2, y + h / 2 - height / 2)

    if not found:
        raise _Dropped(NO_FACE, "the detector finds none")
    return min(found, key=distance)


def digest_of(data: bytes, box: Box | None) -> str:
    """16 hexadecimal digits, equal for byte-identical files and the same ``box`` in them."""
    digest = hashlib.blake2b(data, digest_size=8)
    digest.update(b"" if box is None else _text(box).encode())
    return digest.hexdigest()


class _Dropped(Exception):
    """Why a picture cannot be made: the kind of problem, and the detail."""


def _read(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise _Dropped(UNREADABLE, error.strerror or str(error)) from None
    if not data:
        raise _Dropped(EMPTY_FILE, "it has no bytes")
    return data


def _decode(data: bytes) -> Picture:
    try:
        with without_libjpeg():
            return decode_picture(data, "picture")
    except CutShort as error:
        raise _Dropped(TRUNCATED, str(error).removeprefix("picture: ")) from None
    except BadInput as error:
        raise _Dropped(NO_IMAGE, str(error).removeprefix("picture: ")) from None


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


def _text(box: Box) -> str:
    return "(" + ", ".join(f"{v:g}" for v in box) + ")"
