"""The files of a distribution on disk: nested folders, other cases, other Unicode forms; its tables."""

from __future__ import annotations

import csv
import os
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path

from ssr_bundle.errors import SsrError
from ssr_train.data.records import UNLISTED_FILE, Problem

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")

_DEPTH = 5
"""Levels below a folder at which pictures are looked for: a link that leads back ends here."""


def nfc(text: str) -> str:
    """``text`` in Unicode's composed form: file systems and archives disagree on accents."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def is_image(name: str) -> bool:
    return name.lower().endswith(IMAGE_SUFFIXES)


def images_in(folder: Path) -> Iterator[str]:
    """Names of the image files directly in ``folder``, in no particular order."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if is_image(entry.name) and not _litter(entry.name) and entry.is_file():
                yield entry.name


def folders_in(folder: Path) -> list[str]:
    """Names of the folders directly in ``folder``, sorted."""
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if not _litter(entry.name) and entry.is_dir())


class Files:
    """The image files under one folder, to be matched with labels.

    A label's path is found whatever the case of its letters on disk and the Unicode form of its accents.
    What was never asked for is :meth:`unlisted`.
    """

    def __init__(self, folder: Path, below: Sequence[str] = (".",)) -> None:
        """Lists ``folder``'s sub-folders ``below`` and what is in them; one that is missing is empty."""
        self._exact = {
            path for start in below for path in _images(folder / start, "" if start == "." else start + "/")
        }
        self._folded = {_fold(path): path for path in self._exact}
        self.asked: set[str] = set()

    def __len__(self) -> int:
        return len(self._exact)

    def __iter__(self) -> Iterator[str]:
        """Every path, sorted."""
        return iter(sorted(self._exact))

    def find(self, path: str) -> str | None:
        """``path`` (posix, relative) as it is spelled on disk, or None."""
        if path not in self._exact:
            spelled = self._folded.get(_fold(path.replace("\\", "/")))
            if spelled is None:
                return None
            path = spelled
        self.asked.add(path)
        return path

    def unlisted(self, labels: str) -> list[Problem]:
        """A remark for every file that no label named, sorted."""
        return [
            Problem(UNLISTED_FILE, path, f"on disk, not listed in {labels}")
            for path in sorted(self._exact - self.asked)
        ]


def read_csv(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, list[str]]]:
    """Rows of ``path`` as (line number, values of ``columns`` in this order, stripped).

    A row with too few fields gives no values, which the caller reports. Raises :class:`SsrError` for a file
    without these columns.
    """
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as stream:
        reader = csv.reader(stream)
        header = [name.strip().lower() for name in next(reader, [])]
        absent = [name for name in columns if name not in header]
        if absent:
            shown = ", ".join(header) or "nothing"
            raise SsrError(
                f"{path}: column {absent[0]} is missing; expected {', '.join(columns)}, found {shown}"
            )
        places = [header.index(name) for name in columns]
        needed = max(places)
        try:
            for row in reader:
                if len(row) > needed:
                    yield reader.line_num, [row[place].strip() for place in places]
                elif row:
                    yield reader.line_num, []
        except csv.Error as error:
            raise SsrError(f"{path}:{reader.line_num}: not readable as CSV: {error}") from None


def number(text: str) -> float | None:
    """A finite number, or None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if abs(value) < 1e9 else None


def _images(folder: Path, prefix: str, levels: int = _DEPTH) -> Iterator[str]:
    try:
        entries = list(os.scandir(folder))
    except FileNotFoundError:
        return
    for entry in entries:
        if _litter(entry.name):
            continue
        if is_image(entry.name) and entry.is_file():
            yield prefix + entry.name
        elif levels and entry.is_dir():
            yield from _images(folder / entry.name, f"{prefix}{entry.name}/", levels - 1)


def _litter(name: str) -> bool:
    """Hidden files, and what the archiver of macOS leaves ("__MACOSX/._face.jpg" looks like a picture)."""
    return name.startswith((".", "__MACOSX"))


def _fold(path: str) -> str:
    return nfc(path).casefold()
