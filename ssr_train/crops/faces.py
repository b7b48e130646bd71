"""Faces that can be cut anew: each picture is read, and looked at by the detector, once."""

from __future__ import annotations

import math
import mmap
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from ssr_client.detectors import to_convention
from ssr_client.errors import BadInput
from ssr_client.preprocess import crop_faces

from ssr_bundle.contract import Crop
from ssr_bundle.crop import Box
from ssr_bundle.errors import SsrError
from ssr_train.crops.sets import LEAST, Source
from ssr_train.data.cutting import Cut, Cutter, Picture
from ssr_train.data.records import BOX_OUTSIDE, Problem, Record
from ssr_train.data.spans import Spans
from ssr_train.data.workers import in_order
from ssr_train.evaluation.metrics import Years
from ssr_train.progress import bar

REACH = 2.2
"""Box widths and heights around a box that are kept of its picture: no crop of the search shows more."""

WOBBLE = 0.02
"""Box widths and heights by which a detector's box moves from one picture of a face to the next, and more."""

_BLOCK = 16
"""Records of one item of work."""


class Looked(NamedTuple):
    """One face: what is kept of its ``picture``, the ``box`` in its pixels, and the face as the bundle's crop
    cuts it (64, 64, 3); None where that one needs landmarks and the detector gives none."""

    picture: Picture
    box: Box
    today: Picture | None


@dataclass(frozen=True)
class Faces:
    """The faces of one set, N of them, BGR.

    ``today``: as the bundle's crop cuts them, (N, 64, 64, 3) or None. ``spans``: the ages that the labels
    allow. ``ages``: the label's age, of a bin its middle. ``owners``: persons where all are named, else
    files, as whole numbers. ``missed``: pictures without a usable face, by the reason.
    """

    name: str
    pictures: Sequence[Picture]
    boxes: Sequence[Box]
    today: Picture | None
    spans: Spans
    ages: Years
    owners: NDArray[np.int64]
    missed: Mapping[str, int]

    def __len__(self) -> int:
        return len(self.boxes)

    @property
    def binned(self) -> bool:
        return bool(self.spans.binned.any())

    def cut(self, rows: NDArray[np.int64], crop: Crop, view: int = 0) -> Picture:
        """The faces ``rows`` (M,) as ``crop`` cuts them, (M, 64, 64, 3); raises :class:`BadInput` where one
        then lies outside its picture. ``view``: 0 for the boxes as found, another number for boxes moved a
        little, the same for every crop."""
        crops = [crop_faces(self.pictures[i], [_moved(self.boxes[i], int(i), view)], crop) for i in rows]
        return np.concatenate(crops)

    def signed(self, answers: Years, rows: NDArray[np.int64]) -> Years:
        """Errors of ``answers`` (M,) to the faces ``rows`` in years: answer less age, or less the nearer end
        of the bin; 0 within."""
        return np.asarray(answers - self.spans[rows].nearest(answers))


def look(source: Source, box: str, today: Crop, workers: int, console: Console) -> Faces:
    """Read the pictures of ``source`` and find the labelled faces by the detector ``box``; ``today`` is the
    bundle's crop. With more than one of ``workers`` call it under ``if __name__ == "__main__"``.

    Raises :class:`SsrError` when fewer than :data:`~ssr_train.crops.sets.LEAST` faces are found.
    """
    store, records, todays = _Store(), [], []
    boxes: list[Box] = []
    missed: Counter[str] = Counter()
    first: Problem | None = None
    step = range(0, len(source.records), _BLOCK)
    tasks = (_Task(source.root, source.records[i : i + _BLOCK], box, today) for i in step)
    with bar(console, f"faces in {source.name}", len(source.records)) as tick:
        for task, found in zip(step, in_order(_look, tasks, workers), strict=True):
            for record, one in zip(source.records[task : task + _BLOCK], found, strict=True):
                if isinstance(one, Problem):
                    missed[one.kind] += 1
                    first = first or one
                    continue
                records.append(record)
                boxes.append(one.box)
                todays.append(one.today)
                store.add(one.picture)
            tick(len(found))
    if len(records) < LEAST:
        why = f"; the first without: {first.where}: {first.kind}, {first.detail}" if first else ""
        raise SsrError(
            f"{source.root}: {len(records)} faces found in {len(source.records):,} pictures, expected at "
            f"least {LEAST}{why}"
        )
    return Faces(
        source.name,
        store.pictures(),
        boxes,
        None if any(one is None for one in todays) else np.stack([one for one in todays if one is not None]),
        Spans.of(record.span for record in records),
        np.array([record.age for record in records]),
        _owners(records),
        dict(missed),
    )


def _moved(box: Box, number: int, view: int) -> Box:
    """The box of face ``number`` shifted and scaled by up to :data:`WOBBLE`."""
    if view == 0:
        return box
    x, y, w, h = box
    right, down, larger = np.random.default_rng((number, view)).uniform(-WOBBLE, WOBBLE, 3).tolist()
    return (x + (right - larger / 2) * w, y + (down - larger / 2) * h, (1 + larger) * w, (1 + larger) * h)


class _Task(NamedTuple):
    root: Path
    records: Sequence[Record]
    box: str
    today: Crop


@lru_cache(maxsize=1)
def _cutter(root: Path, box: str) -> Cutter:
    return Cutter(root, Cut(detector=box))


def _look(task: _Task) -> list[Looked | Problem]:
    """Runs in a working process."""
    cutter = _cutter(task.root, task.box)
    return [_look_at(cutter, record, task) for record in task.records]


def _look_at(cutter: Cutter, record: Record, task: _Task) -> Looked | Problem:
    found = cutter.find(record)
    if isinstance(found, Problem):
        return found
    picture, face = found
    x, y, w, h = face.box
    today = None
    try:
        if task.today.template is None or face.landmarks is not None:
            box = to_convention(face.box, task.box, task.today.box)
            today = crop_faces(picture, [box], task.today, landmarks=[face.landmarks])[0]
    except BadInput as error:
        return Problem(BOX_OUTSIDE, record.path.as_posix(), str(error))
    top, bottom = _kept(y, h, picture.shape[0])
    left, right = _kept(x, w, picture.shape[1])
    return Looked(np.ascontiguousarray(picture[top:bottom, left:right]), (x - left, y - top, w, h), today)


def _kept(start: float, length: float, limit: int) -> tuple[int, int]:
    """First pixel and the one behind the last that any crop of the search shows, of ``limit``."""
    reach = REACH * length
    return max(math.floor(start - reach), 0), min(math.ceil(start + length + reach) + 1, limit)


def _owners(records: Sequence[Record]) -> NDArray[np.int64]:
    persons = all(record.subject for record in records)
    names = [record.subject if persons else record.path.as_posix() for record in records]
    return np.unique(names, return_inverse=True)[1].astype(np.int64)


class _Store:
    """Pictures in one temporary file, mapped: the machine's memory holds what it has room for."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="ssr-faces-")  # noqa: SIM115  # the mapping outlives it
        self._shapes: list[tuple[int, ...]] = []

    def add(self, picture: Picture) -> None:
        self._file.write(picture.tobytes())
        self._shapes.append(picture.shape)

    def pictures(self) -> list[Picture]:
        """All of them, not to be written to."""
        self._file.flush()
        mapped = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        self._file.close()
        return list(self._views(mapped))

    def _views(self, mapped: mmap.mmap) -> Iterator[Picture]:
        offset = 0
        for shape in self._shapes:
            size = math.prod(shape)
            yield np.frombuffer(mapped, np.uint8, size, offset).reshape(shape)
            offset += size
