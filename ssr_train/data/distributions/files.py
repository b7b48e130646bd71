"""Finding a distribution and its files on disk: nested folders, other cases, other Unicode forms."""

from __future__ import annotations

import csv
import os
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

from ssr_bundle.errors import SsrError
from ssr_train.data.distributions.about import About, Reading
from ssr_train.data.records import DUPLICATE, MISSING_FILE, UNLISTED_FILE, Problem

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")

_NESTING = 2
"""Levels below the root at which the unpacked folder is looked for: archives often nest it twice."""

_DEPTH = 5
"""Levels below it at which pictures are looked for: a link that leads back ends here."""


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


def locate(
    root: Path,
    about: About,
    holds: Callable[[Path], bool],
    prefer: str,
    picture: str = "",
    absent: str = "nothing of it",
) -> Path:
    """The folder, ``root`` or up to two levels below it, for which ``holds`` is true; the shallowest one.

    Of several at one depth the one named ``prefer`` is taken (any case). Raises :class:`SsrError` when the
    choice is not clear, and when none holds: with what is ``absent`` then or, where ``picture`` says how
    picture files are called, with the first that is called otherwise.
    """
    level = [root]
    for _ in range(_NESTING + 1):
        found = [folder for folder in level if holds(folder)]
        preferred = [folder for folder in found if folder.name.lower() == prefer.lower()]
        if len(preferred or found) == 1:
            return (preferred or found)[0]
        if found:
            several = ", ".join(str(folder.relative_to(root)) for folder in found)
            raise SsrError(
                f"{root}: more than one copy of {about.title} ({several}); name one of these folders"
            )
        level = [folder / name for folder in level for name in folders_in(folder)]
    first = next(iter(Files(root)), None) if picture else None
    if first is not None:
        raise wrong_layout(root, about, f"the first picture is called {first}, expected {picture}")
    raise wrong_layout(root, about, f"found {_first_entries(root)}, and {absent} up to two levels down")


def require(folder: Path, about: About, *paths: str) -> None:
    """Raise :class:`SsrError` for the first of ``paths`` (relative, "x/" for a folder) that is not there."""
    for path in paths:
        there = (folder / path).is_dir() if path.endswith("/") else (folder / path).is_file()
        if not there:
            raise wrong_layout(folder, about, f"{path} is missing")


def wrong_layout(folder: Path, about: About, difference: str) -> SsrError:
    """The error for a folder that is not laid out as published."""
    layout = ", ".join(line.strip() for line in about.layout.splitlines())
    return SsrError(f"{folder}: not the layout of {about.title}: {difference}. Expected: {layout}")


class Files:
    """The image files under one folder, to be matched with labels.

    A label's path is found whatever the case of its letters on disk and the Unicode form of its accents.
    What was never asked for is :meth:`unlisted`.
    """

    def __init__(self, folder: Path, below: tuple[str, ...] = (".",)) -> None:
        """Lists ``folder``'s sub-folders ``below`` and what is in them; one that is missing is empty."""
        self._exact = {
            path for start in below for path in _images(folder / start, "" if start == "." else start + "/")
        }
        self._folded = {_fold(path): path for path in self._exact}
        self._asked: set[str] = set()

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
        self._asked.add(path)
        return path

    def claim(self, reading: Reading, path: str, where: str, otherwise: str | None = None) -> str | None:
        """:meth:`find` ``path``, else ``otherwise``, for a label that must be the only one of its file; None,
        and noted in ``reading``, where it is not there or not the only one."""
        before = len(self._asked)
        found = self.find(path) or (otherwise and self.find(otherwise)) or None
        if not found:
            reading.report(MISSING_FILE, path, f"listed in {where}, not on disk")
        elif len(self._asked) == before:
            reading.report(DUPLICATE, path, f"listed again in {where}; the first one counts")
            return None
        return found

    def unlisted(self, labels: str) -> list[Problem]:
        """A remark for every file that no label named, sorted."""
        return [
            Problem(UNLISTED_FILE, path, f"on disk, not listed in {labels}")
            for path in sorted(self._exact - self._asked)
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


def _first_entries(folder: Path) -> str:
    names = sorted(entry.name for entry in os.scandir(folder))
    shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    return shown or "an empty folder"
