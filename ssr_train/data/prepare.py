"""``ssr-train prepare``: a distribution on disk to one memory-mapped file, resumable at any point."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from ssr_client.detectors import YuNet

from ssr_bundle.bundle import hash_file
from ssr_bundle.contract import Crop
from ssr_bundle.disk import check_folder, held, replace_file, room_for
from ssr_bundle.errors import Interrupted, SsrError, stopped_by
from ssr_bundle.shown import note
from ssr_train.data import distributions, prepared
from ssr_train.data.cutting import Cut, Cutter
from ssr_train.data.doctor import Diagnosis, examine
from ssr_train.data.journal import NAME as JOURNAL
from ssr_train.data.journal import Block, Journal, check_plan
from ssr_train.data.measured_cut import SAMPLE, MeasuredCut, Seen, measure
from ssr_train.data.records import Problem, Record, Scan
from ssr_train.data.unique import unique
from ssr_train.data.workers import in_order
from ssr_train.progress import bar

_HEADER = 128
"""Bytes before the first picture in images.npy: NumPy's header for any number of them."""

_BLOCK, _BLOCK_BYTES = 256, 8 << 20
"""Largest number of records, and of bytes of pictures, in one block."""

_LOOKED = 25
"""Records in a block whose cut is measured."""

_OWN = (prepared.IMAGES, prepared.INDEX, prepared.ABOUT, "doctor.json", "doctor.md", "doctor.png", JOURNAL)


class Task(NamedTuple):
    """A block of records for a working process."""

    root: Path
    cut: Cut
    first: int
    records: Sequence[Record]
    look: bool = False
    """At the files only; no picture is made."""


def prepare(
    name: str,
    root: Path,
    out: Path,
    cut: Cut,
    *,
    workers: int = 2,
    limit: int | None = None,
    one_of_copies: bool = False,
    resume: bool = False,
    force: bool = False,
    console: Console | None = None,
) -> Diagnosis:
    """Prepare distribution ``name`` under ``root`` in the folder ``out`` and give the doctor's report.

    With more than one of ``workers`` call it under ``if __name__ == "__main__"``: they are processes.
    ``limit`` takes that many records, spread evenly; ``one_of_copies`` one of each picture, before that, as
    :func:`~ssr_train.data.unique.unique` does. ``resume`` goes on where an earlier call with the same
    arguments stopped, however it stopped, and ends in the same bytes; a whole set is left as it is. ``force``
    starts anew in the place of a prepared or half-prepared set. Raises :class:`SsrError` for a distribution
    that is not there or not laid out as published, an ``out`` that is something else, a full disk, and when
    no picture can be used; :class:`Interrupted` after Ctrl-C or SIGTERM.
    """
    console = console or Console(highlight=False, soft_wrap=True)
    _check_workers(workers)
    if limit is not None and limit < 1:
        raise SsrError(f"--limit must be at least 1, got {limit}")
    _check_out(out, resume, force)
    scan = distributions.scan(name, root)
    if one_of_copies:
        scan = _without_copies(scan, console)
    records = _spread(scan.records, limit)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        cut = _settled(cut, records)
    for warning in said:
        note(console, f"note: {warning.message}")
    with held(out):
        _check_out(out, resume, force)
        work = _Work(out, scan, records, cut)
        if resume and (out / prepared.ABOUT).exists():
            return work.finished()
        if force:
            work.clear()
        work.run(workers, resume, console)
        return work.finish(workers, console)


def diagnose(
    name: str, root: Path, *, workers: int = 2, labels_only: bool = False, console: Console | None = None
) -> Diagnosis:
    """The doctor's report alone: every picture is decoded (unless ``labels_only``), none is kept."""
    _check_workers(workers)
    scan = distributions.scan(name, root)
    if labels_only:
        return examine(scan, scan.records, (), None, None)
    console = console or Console(highlight=False, soft_wrap=True)
    done = Block()
    tasks = _tasks(Task(scan.root, Cut(), 0, scan.records, look=True), _BLOCK)
    with bar(console, f"reading {name}", len(scan.records)) as tick:
        for _, block in in_order(_work, tasks, workers):
            done.extend(block)
            tick(block.records)
    kept = [scan.records[i] for i in done.kept]
    return examine(
        scan, kept, done.problems, done.digests, measure_cut(scan.root, Cut(), kept, workers, console)
    )


def _without_copies(scan: Scan, console: Console) -> Scan:
    with bar(console, "looking for copies", len(scan.records)) as tick:
        records, left_out = unique(scan.root, scan.records, tick)
    return replace(scan, records=records, problems=[*scan.problems, *left_out])


class _Work:
    """One set being prepared in ``out``."""

    def __init__(self, out: Path, scan: Scan, records: Sequence[Record], cut: Cut) -> None:
        self.out, self.scan, self.records, self.cut = out, scan, records, cut
        self.images = out / prepared.IMAGES
        self.journal = Journal(out)
        self.row = cut.size * cut.size * 3
        self.step = max(min(_BLOCK, _BLOCK_BYTES // self.row), 1)

    def clear(self) -> None:
        """Remove what an earlier call left; first of all what says that it is finished."""
        for name in (prepared.ABOUT, *_OWN):
            (self.out / name).unlink(missing_ok=True)

    def run(self, workers: int, resume: bool, console: Console) -> None:
        """Make every picture that is not yet on the disk."""
        size, count = self.cut.size, len(self.records)
        room = f"{count:,} pictures of {size} x {size} take up to {self._bytes(count):,} bytes"
        with room_for(self.images, f"{room}; --resume goes on when there is room"):
            if resume:
                self.journal.resume(self._plan())
                self._check_pictures()
            else:
                self.journal.begin(self._plan())
            with self.images.open("r+b" if self.images.exists() else "w+b") as stream:
                try:
                    self._make(stream.fileno(), workers, console)
                except (KeyboardInterrupt, SystemExit) as stop:
                    raise Interrupted(
                        f"stopped after {self.journal.done.records:,} of {count:,} faces; "
                        "the same command with --resume goes on",
                        stopped_by(stop),
                    ) from None
                finally:  # what is not finished takes no room
                    os.ftruncate(stream.fileno(), self._made())

    def finished(self) -> Diagnosis:
        """The report of the whole set in ``out``; :class:`SsrError` if its plan was another."""
        check_plan(self.out, prepared.check(self.out).get("settings") or {}, self._plan())
        self.journal.remove()  # still there after a kill between the set's last two steps
        return Diagnosis.load(self.out)

    def _check_pictures(self) -> None:
        """The pictures of which the journal tells must be there."""
        there = self.images.stat().st_size if self.images.exists() else 0
        if self.journal.done.kept and there < self._made():
            raise SsrError(
                f"{self.images}: {there:,} bytes, the journal tells of {self._made():,}; --force starts anew"
            )

    def _make(self, file: int, workers: int, console: Console) -> None:
        begin = self.journal.done.records
        os.posix_fallocate(file, 0, self._bytes(len(self.records)))
        tasks = _tasks(Task(self.scan.root, self.cut, begin, self.records[begin:]), self.step)
        with bar(console, f"preparing {self.scan.name}", len(self.records)) as tick:
            tick(begin)
            for pictures, block in in_order(_work, tasks, workers):
                _write_at(file, pictures, self._made())
                os.fsync(file)
                self.journal.add(block)
                tick(block.records)

    def finish(self, workers: int, console: Console) -> Diagnosis:
        """Index, report, and last of all prepared.json, which says that the set is whole."""
        done = self.journal.done
        kept = [self.records[i] for i in done.kept]
        if not kept:
            self.clear()
            first = done.problems[0]
            raise SsrError(
                f"{self.scan.root}: none of {len(self.records):,} pictures can be used; the first: "
                f"{first.where}: {first.kind}, {first.detail}"
            )
        measured = measure_cut(self.scan.root, self.cut, kept, workers, console)
        crop = self._crop(kept, measured)
        hint = "--resume goes on when there is room"
        with room_for(self.out, hint):
            with self.images.open("r+b") as stream:
                shape = (len(kept), self.cut.size, self.cut.size, 3)
                header = {"descr": "|u1", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(stream, header)
                assert stream.tell() == _HEADER
                stream.flush()
                os.fsync(stream.fileno())
            index = prepared.write_index(prepared.rows_of(kept))
            replace_file(self.out / prepared.INDEX, index)
            diagnosis = examine(self.scan, kept, done.problems, done.digests, measured)
            diagnosis.report().write(self.out, hint)
            about = {
                "format": prepared.FORMAT,
                "name": self.scan.name,
                "count": len(kept),
                "size": self.cut.size,
                "cut": _how(self.cut, self.records),
                "crop": None if crop is None else crop.to_json(),
                "settings": self._plan(),
                "licence": self.scan.licence,
                "synthetic": False,
                "index_sha256": hashlib.sha256(index).hexdigest(),
                "images_sha256": hash_file(self.images).sha256,
            }
            replace_file(self.out / prepared.ABOUT, (json.dumps(about, indent=2) + "\n").encode())
        self.journal.remove()
        return diagnosis

    def _crop(self, kept: Sequence[Record], measured: MeasuredCut | None) -> Crop | None:
        """How the pictures were cut; None where that cannot be told."""
        published = {_as_published(self.cut, record) for record in kept}
        if published == {False}:
            return self.cut.wanted
        return measured.crop if published == {True} and measured is not None else None

    def _plan(self) -> dict[str, Any]:
        """What decides the bytes of the set; the records themselves by their hash."""
        digest = hashlib.sha256()
        for record in self.records:
            digest.update(repr(record.labels).encode("utf-8", "surrogateescape"))
        return {
            "data": self.scan.name,
            **self.cut.to_json(),
            "faces": len(self.records),
            "labels sha256": digest.hexdigest(),
        }

    def _bytes(self, rows: int) -> int:
        return _HEADER + rows * self.row

    def _made(self) -> int:
        """Bytes of the finished pictures."""
        return self._bytes(len(self.journal.done.kept))


def measure_cut(
    root: Path, cut: Cut, records: Sequence[Record], workers: int, console: Console
) -> MeasuredCut | None:
    """How those of the ``records`` were cut that are used as published; None if there are none, or if there
    is no YuNet to look with, which is told."""
    published = [record for record in records if _as_published(cut, record)]
    if not published:
        return None
    try:
        YuNet()
    except (SsrError, OSError) as error:
        console.print(f"note: how the crops were cut is not measured: {error}", markup=False)
        return None
    looked = _spread(published, SAMPLE)
    tasks = _tasks(Task(root, replace(cut, detector="yunet"), 0, looked), _LOOKED)
    seen: list[Seen] = []
    with bar(console, "measuring the cut", len(looked)) as tick:
        for found in in_order(_look, tasks, min(workers, -(-len(looked) // _LOOKED))):
            seen += found
            tick(len(found))
    return measure(seen)


def _as_published(cut: Cut, record: Record) -> bool:
    """Whether the record's picture is, or comes with, a cut that others made."""
    return cut.resizes(record) or cut.detector == "none"


def _look(task: Task) -> list[Seen]:
    """Runs in a working process."""
    cutter = _cutter(task.root, task.cut)
    return [cutter.look(record) for record in task.records]


@lru_cache(maxsize=1)
def _cutter(root: Path, cut: Cut) -> Cutter:
    return Cutter(root, cut)


def _work(task: Task) -> tuple[bytes, Block]:
    """A block's pictures (k, S, S, 3), and its line for the journal; runs in a working process."""
    cutter, pictures, block = _cutter(task.root, task.cut), [], Block()
    for i, record in enumerate(task.records, task.first):
        made = cutter.make(record, look=task.look)
        if isinstance(made, Problem):
            block.problems.append(made)
        else:
            block.kept.append(i)
            block.digests.append(made.digest)
            pictures.append(made.picture.tobytes())
    return b"".join(pictures), block


def _tasks(whole: Task, step: int) -> Iterator[Task]:
    """``whole`` in blocks of ``step`` records."""
    for i in range(0, len(whole.records), step):
        yield whole._replace(first=whole.first + i, records=whole.records[i : i + step])


def _check_workers(workers: int) -> None:
    if workers < 1:
        raise SsrError(f"--workers must be at least 1, got {workers}")


def _check_out(out: Path, resume: bool, force: bool) -> None:
    """Refuse an ``out`` that is something else, or whose state needs another word from the user."""
    check_folder(out, "the prepared set")
    names = {f.name for f in out.iterdir()} if out.is_dir() else set()
    if foreign := sorted(n for n in names - set(_OWN) if n != ".lock" and not n.startswith(".tmp-")):
        raise SsrError(f"{out}: holds {foreign[0]}, which no prepared set does; choose another --out")
    if force:
        return
    if prepared.ABOUT in names:
        if resume:
            return
        raise SsrError(f"{out}: holds a prepared set already; --force prepares it anew")
    if JOURNAL in names and not resume:
        raise SsrError(f"{out}: holds a half-prepared set; --resume goes on with it, --force starts anew")
    if resume and JOURNAL not in names:
        raise SsrError(f"{out}: nothing to resume here (no {JOURNAL})")


def _spread(records: Sequence[Record], limit: int | None) -> Sequence[Record]:
    """All records, or ``limit`` of them at even distances."""
    if limit is None or limit >= len(records):
        return records
    return [records[i * len(records) // limit] for i in range(limit)]


def _settled(cut: Cut, records: Sequence[Record]) -> Cut:
    """``cut`` with the detector that will be used, opened once here, so that what is missing is told now."""
    photos = [record for record in records if not cut.resizes(record)]
    if not photos:
        if cut.align != "none" or cut.crop is not None:
            option = "--crop" if cut.crop is not None else f"--align {cut.align}"
            raise SsrError(
                f"{option}: every picture of this set is a published crop, which is only resized; --recut "
                "cuts the faces in them anew"
            )
        return replace(cut, detector="none")
    if cut.detector == "none":
        unboxed = sum(record.box is None for record in photos)
        if unboxed:
            raise SsrError(
                f"--detector none: {unboxed:,} of the photos have no published box to cut by; "
                "expected yunet, haar or auto"
            )
        return cut
    from ssr_client.detectors import open_detector

    return replace(cut, detector=str(getattr(open_detector(cut.detector), "name", cut.detector)))


def _how(cut: Cut, records: Sequence[Record]) -> str:
    """How the pictures were made, for provenance."""
    how = []
    resized = [record for record in records if cut.resizes(record)]
    if resized:
        parts = any(record.box for record in resized)
        how.append("published crops, the part of them that the protocol uses" if parts else "published crops")
    if len(resized) < len(records):
        found = {"yunet": "YuNet", "haar": "the Haar cascade", "none": "published boxes"}[cut.detector]
        how.append(f"faces by {found}: {cut.wanted.describe()}")
    return " and ".join(how) + ", resized bilinearly"


def _write_at(file: int, data: bytes, offset: int) -> None:
    """All of ``data`` at ``offset``."""
    rest = memoryview(data)
    while rest:
        written = os.pwrite(file, rest, offset)
        rest, offset = rest[written:], offset + written
