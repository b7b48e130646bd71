"""What reading a distribution gives: one record a face, and one problem for whatever was odd.

Nothing here opens a picture: records come from labels and file names alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

Sex = Literal["m", "f", ""]
SplitName = Literal["train", "validation", "test", ""]
Face = Literal["crop", "photo", "central"]
Box = tuple[float, float, float, float]


_SEXES: dict[str, Sex] = {"m": "m", "f": "f"}


def sex_of(text: str) -> Sex:
    """``m`` or ``f`` in any case; "" for anything else."""
    return _SEXES.get(text.lower(), "")


class Record(NamedTuple):
    """One labelled face. An unknown subject, sex, group or split is "".

    ``path`` is relative to the scan's root. ``age`` is in years; ``ages`` are the youngest and the oldest one
    (None: open) where a bin alone is known, of which ``age`` is the middle or, of an open one, the low end.
    ``subject`` tells people of this distribution apart, and nothing else. ``face`` is "crop" where the file
    is the published face crop, "photo" where a face must be found in it first, "central" where it is the one
    nearest to the photo's centre. ``box`` is (x, y, width, height) in pixels: of a crop, the part of the file
    that the published protocol uses; of a photo, the face as the distribution boxes it.
    """

    path: Path
    age: float
    subject: str = ""
    sex: Sex = ""
    group: str = ""
    box: Box | None = None
    split: SplitName = ""
    face: Face = "photo"
    ages: tuple[float, float | None] | None = None

    @property
    def span(self) -> tuple[float, float]:
        """The youngest and the oldest age that the label allows, in years; an open end is infinite."""
        low, high = (self.age, self.age) if self.ages is None else self.ages
        return low, math.inf if high is None else high

    @property
    def labels(self) -> tuple[object, ...]:
        """All that is known of the face; without ``ages`` where there is no bin, as before there were any."""
        return tuple(self) if self.ages is not None else tuple(self)[:-1]


class Problem(NamedTuple):
    """Something odd. ``where`` is a file, a row ("labels.csv:12") or a subject ("subject 31")."""

    kind: str
    where: str
    detail: str


# Kinds that drop the face: there is no record of it.
MALFORMED_NAME = "malformed name"
MALFORMED_LABEL = "malformed label"
AGE_UNKNOWN = "age unknown"
AGE_OUT_OF_RANGE = "age out of range"
SEX_UNKNOWN = "sex unknown"
NO_FACE = "no face"
LOW_FACE_SCORE = "low face score"
SECOND_FACE = "second face"
MISSING_FILE = "missing file"
DUPLICATE = "listed twice"
BOX_OUTSIDE = "box outside the picture"

# Kinds that drop a face where one record a picture was asked for.
COPY = "copy"
CONFLICTING_COPIES = "copies labelled differently"

# Kinds that drop a face when its picture is opened.
UNREADABLE = "unreadable file"
EMPTY_FILE = "empty file"
TRUNCATED = "truncated image"
NO_IMAGE = "not an image"

# Kinds that only say what was seen.
LABEL_CONFLICT = "label conflict"
DUPLICATE_PICTURE = "same picture twice"
UNLISTED_FILE = "unlisted file"
BROKEN_LABELS = "broken labels"
AGES_IN_BINS = "ages in bins"

REMARKS = frozenset({LABEL_CONFLICT, DUPLICATE_PICTURE, UNLISTED_FILE, BROKEN_LABELS, AGES_IN_BINS})
"""Kinds of problem that dropped no face. Every other problem is one face without a record."""


@dataclass(frozen=True)
class Scan:
    """A distribution as it lies on disk.

    ``root`` is the folder that the paths are relative to, which may lie below the one that was asked for.
    ``published`` and ``found`` count the same things: as shipped, before anything is dropped, "images",
    "labelled" (faces with an age, where that is fewer or more), "male", "female", "train", "validation" and
    "test"; of the kept faces "subjects" and the "youngest" and "oldest" age. ``published`` lacks what the
    authors do not tell, ``found`` what the labels do not.
    """

    name: str
    root: Path
    records: list[Record]
    problems: list[Problem]
    published: dict[str, int]
    licence: str
    found: dict[str, int] = field(default_factory=dict)

    @property
    def dropped(self) -> int:
        """Faces that have no record, each with its problem."""
        return sum(problem.kind not in REMARKS for problem in self.problems)
