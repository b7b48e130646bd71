"""The prepared set: one folder with every picture as it enters the network, in one memory-mapped file.

images.npy      (N, S, S, 3) uint8 BGR, C order, NumPy's own format
index.csv       a row a picture, in order: path, age, subject, sex, group, split (empty where unknown); of a
                set with bins also age_low and age_high (both empty where the age is known, the latter where
                the bin is open), and as age the bin's middle, of an open one its low end
prepared.json   name, size, count, licence, how it was cut (``crop``: as in a contract; null where that could
                not be told), and the hashes of the other two; written last: a folder without it is not a
                prepared set
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ssr_bundle.contract import Crop, canonical_json
from ssr_bundle.disk import need_folder
from ssr_bundle.errors import SsrError
from ssr_train.data.dataset import SEXES, SPLITS, Dataset
from ssr_train.data.records import Record
from ssr_train.data.spans import Spans

IMAGES, INDEX, ABOUT = "images.npy", "index.csv", "prepared.json"
COLUMNS = ("path", "age", "subject", "sex", "group", "split")
BINS = ("age_low", "age_high")
"""Columns of a set with bins, behind the others."""

FORMAT = 1


def check(path: Path) -> dict[str, Any]:
    """What prepared.json says, once it and the two files beside it agree; :class:`SsrError` otherwise."""
    need_folder(path, "a prepared set")
    try:
        about = json.loads((path / ABOUT).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SsrError(f"{path}: not a prepared set, or an unfinished one: {_missing(path)}") from None
    except ValueError as error:
        raise SsrError(f"{path / ABOUT}: not JSON: {error}") from None
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        found = about.get("format") if isinstance(about, dict) else about
        raise SsrError(f"{path / ABOUT}: format {found!r} is unknown, this version reads {FORMAT}")
    for key, kind in (("name", str), ("count", int), ("size", int), ("index_sha256", str), ("licence", str)):
        if not isinstance(about.get(key), kind):
            raise SsrError(f"{path / ABOUT}: {key} is {about.get(key)!r}, expected {kind.__name__}")
    return about


def open_prepared(path: Path) -> Dataset:
    """The prepared set at ``path``, its pictures memory-mapped and read-only."""
    about = check(path)
    try:
        index = (path / INDEX).read_bytes()
        images = np.load(path / IMAGES, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        raise SsrError(f"{error.filename}: missing from the prepared set") from None
    except (ValueError, EOFError) as error:
        raise SsrError(f"{path / IMAGES}: not the array it should be: {error}") from None
    if hashlib.sha256(index).hexdigest() != about["index_sha256"]:
        raise SsrError(f"{path / INDEX}: changed since it was prepared (sha256 differs from {ABOUT}'s)")
    expected = (about["count"], about["size"], about["size"], 3)
    if images.shape != expected or images.dtype != np.uint8:
        raise SsrError(f"{path / IMAGES}: {images.dtype} {images.shape}, {ABOUT} says uint8 {expected}")
    columns = read_index(index, path / INDEX)
    if len(columns["age"]) != about["count"]:
        raise SsrError(f"{path / INDEX}: {len(columns['age'])} rows, {ABOUT} says {about['count']}")
    return Dataset(
        images,
        np.array(columns["age"], np.float32),
        description=f"{about['name']}: {about['count']:,} pictures prepared at {about['size']} x "
        f"{about['size']} ({about.get('cut', 'cut as not recorded')}), "
        f"index sha256 {about['index_sha256'][:12]}",
        synthetic=bool(about.get("synthetic", False)),
        licence=about["licence"],
        name=about["name"],
        pictures=_pictures(about),
        crop=_crop(about, path / ABOUT),
        subjects=np.array(columns["subject"], np.str_),
        sexes=np.array(columns["sex"], np.str_),
        groups=np.array(columns["group"], np.str_),
        splits=np.array(columns["split"], np.str_),
        spans=_spans(columns, path / INDEX),
    )


def rows_of(records: Sequence[Record]) -> Iterator[tuple[str, ...]]:
    """A row of index.csv for each of ``records``; all with :data:`BINS` where one has a bin."""
    binned = any(record.ages is not None for record in records)
    for r in records:
        row = (r.path.as_posix(), f"{r.age:.9g}", r.subject, r.sex, r.group, r.split)
        ends = ("" if age is None else f"{age:.9g}" for age in r.ages or (None, None))
        yield (*row, *ends) if binned else row


def write_index(rows: Iterable[Sequence[str | float]]) -> bytes:
    """index.csv of ``rows``, each as :data:`COLUMNS` says, of a set with bins also :data:`BINS`."""
    written = list(rows)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow((*COLUMNS, *BINS)[: len(written[0])])
    writer.writerows(written)
    return text.getvalue().encode("utf-8", "surrogateescape")  # a file name need not be UTF-8


def read_index(data: bytes, where: Path) -> dict[str, list[Any]]:
    """The columns of index.csv, those of bins where it has them; ages are floats."""
    try:
        header, *rows = csv.reader(io.StringIO(data.decode("utf-8", "surrogateescape")))
        if tuple(header) not in (COLUMNS, (*COLUMNS, *BINS)):
            raise SsrError(
                f"{where}: columns {','.join(header)}, expected {','.join(COLUMNS)}, of a set with bins also "
                f"{','.join(BINS)}"
            )
        filled = zip(*rows, strict=True) if rows else [()] * len(header)
        columns: dict[str, list[Any]] = {
            name: list(values) for name, values in zip(header, filled, strict=True)
        }
        columns["age"] = [_age(text, row, where) for row, text in enumerate(columns["age"], 1)]
    except SsrError:
        raise
    except ValueError as error:
        raise SsrError(f"{where}: not an index of pictures: {error}") from None
    for name, known in (("sex", SEXES), ("split", SPLITS)):
        if foreign := set(columns[name]) - set(known):
            raise SsrError(
                f"{where}: {name} {foreign.pop()!r} is unknown, expected one of {', '.join(known)}"
            )
    return columns


def _age(text: str, row: int, where: Path) -> float:
    """Years of the row ``row``, counted from 1 below the header; :class:`SsrError` for what is no age."""
    try:
        age = float(text)
    except ValueError:
        age = math.nan
    if not 0 <= age < math.inf:
        raise SsrError(f"{where}: row {row}: age {text!r}, expected a finite number of years from 0 on")
    return age


def _spans(columns: dict[str, list[Any]], where: Path) -> Spans:
    """What the labels say of ages; :class:`SsrError` for what is no bin."""
    ages = columns["age"]
    if BINS[0] not in columns:
        return Spans.of(zip(ages, ages, strict=True))
    ends: list[tuple[float, float]] = []
    for row, (age, low, high) in enumerate(zip(ages, *(columns[name] for name in BINS), strict=True), 1):
        if not low and not high:
            ends.append((age, age))
            continue
        youngest = _age(low, row, where)
        oldest = _age(high, row, where) if high else math.inf
        if not youngest < oldest:
            raise SsrError(f"{where}: row {row}: ages {low} to {high}, expected a bin that rises")
        ends.append((youngest, oldest))
    return Spans.of(ends)


def crop(path: Path) -> Crop | None:
    """How the faces of the set at ``path`` were cut; None where it does not say."""
    return _crop(check(path), path / ABOUT)


def _crop(about: dict[str, Any], where: Path) -> Crop | None:
    """How the faces were cut; None where that could not be told, or was not recorded yet."""
    if about.get("crop") is None:
        return None
    try:
        return Crop.from_json(about["crop"])
    except SsrError as error:
        raise SsrError(f"{where}: {str(error).replace('interface.crop', 'crop')}") from None


def _pictures(about: dict[str, Any]) -> str:
    """What identifies the pixels: the hash of images.npy, and of a set from before there was one, all that is
    recorded of how it was made. The file itself is not read: that would take as long as an epoch."""
    made = {key: about.get(key) for key in ("size", "cut", "template", "settings", "index_sha256")}
    return str(about.get("images_sha256") or canonical_json(made))


def _missing(path: Path) -> str:
    if (path / "journal.jsonl").exists():
        return "`ssr-train prepare --resume` finishes it"
    return f"there is no {ABOUT} in it, which `ssr-train prepare` writes"
