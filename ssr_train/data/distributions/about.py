"""What is known of a distribution before it is read, and what reading it gives."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ssr_bundle.errors import SsrError
from ssr_train.data.distributions.files import Files, folders_in
from ssr_train.data.records import AGE_OUT_OF_RANGE, DUPLICATE, MISSING_FILE, Problem, Record, Scan

_NESTING = 2
"""Levels below the root at which the unpacked folder is looked for: archives often nest it twice."""


@dataclass(frozen=True)
class About:
    """One distribution: where it comes from, how it lies on disk, what its labels hold.

    ``layout`` is what a correct copy looks like, one path a line. ``gives`` names what a record holds beside
    the age: any of "subject", "sex", "group", "box", "split". ``ages`` is the range that is kept, both ends
    included. ``published`` counts what its authors say is in it, in the vocabulary of :class:`Scan`.
    """

    name: str
    title: str
    source: str
    layout: str
    gives: tuple[str, ...]
    published: dict[str, int]
    licence: str
    ages: tuple[int, int] = (0, 120)

    def keeps(self, age: float) -> bool:
        return self.ages[0] <= age <= self.ages[1]

    def locate(
        self,
        root: Path,
        prefer: str,
        *,
        labels: Sequence[str] = (),
        holds: Callable[[Path], bool] | None = None,
        picture: str = "",
        absent: str = "",
    ) -> Path:
        """The folder, ``root`` or up to two levels below it, that has one of the files ``labels``, or for
        which ``holds`` is true; the shallowest one.

        Of several at one depth the one named ``prefer`` is taken (any case). Raises :class:`SsrError` when
        the choice is not clear, and when there is none: with what is ``absent`` then or, where ``picture``
        says how picture files are called, with the first that is called otherwise.
        """
        level = [root]
        for _ in range(_NESTING + 1):
            found = [
                folder
                for folder in level
                if (holds(folder) if holds else any((folder / name).is_file() for name in labels))
            ]
            preferred = [folder for folder in found if folder.name.lower() == prefer.lower()]
            if len(preferred or found) == 1:
                return (preferred or found)[0]
            if found:
                several = ", ".join(str(folder.relative_to(root)) for folder in found)
                raise SsrError(
                    f"{root}: more than one copy of {self.title} ({several}); name one of these folders"
                )
            level = [folder / name for folder in level for name in folders_in(folder)]
        if picture and (first := next(iter(Files(root)), None)) is not None:
            raise self.wrong_layout(root, f"the first picture is called {first}, expected {picture}")
        names = sorted(entry.name for entry in os.scandir(root))
        shown = ", ".join([*names[:3], *(["..."] if len(names) > 3 else [])]) or "an empty folder"
        absent = absent or (f"no {labels[0]}" if labels else "nothing of it")
        raise self.wrong_layout(root, f"found {shown}, and {absent} up to two levels down")

    def require(self, folder: Path, *paths: str) -> None:
        """Raise :class:`SsrError` for the first of ``paths`` ("x/" for a folder) not in ``folder``."""
        for path in paths:
            there = (folder / path).is_dir() if path.endswith("/") else (folder / path).is_file()
            if not there:
                raise self.wrong_layout(folder, f"{path} is missing")

    def wrong_layout(self, folder: Path, difference: str) -> SsrError:
        """The error for a folder that is not laid out as published."""
        layout = ", ".join(line.strip() for line in self.layout.splitlines())
        return SsrError(f"{folder}: not the layout of {self.title}: {difference}. Expected: {layout}")


class Reading:
    """A distribution while it is read: the picture files of the folder ``root``, those in its sub-folders
    ``below`` and in what is in them, and the records and problems so far."""

    def __init__(self, about: About, root: Path, below: Sequence[str] = (".",)) -> None:
        self.about, self.root, self.files = about, root, Files(root, below)
        self.records: list[Record] = []
        self.problems: list[Problem] = []

    def report(self, kind: str, where: str, detail: str) -> None:
        """Note a problem."""
        self.problems.append(Problem(kind, where, detail))

    def claim(self, path: str, where: str, otherwise: str | None = None) -> str | None:
        """The file ``path`` as it is spelled on disk, else ``otherwise``, for a label that must be the only
        one of its file; None, and noted, where it is not there or not the only one."""
        before = len(self.files.asked)
        found = self.files.find(path) or (otherwise and self.files.find(otherwise)) or None
        if not found:
            self.report(MISSING_FILE, path, f"listed in {where}, not on disk")
        elif len(self.files.asked) == before:
            self.report(DUPLICATE, path, f"listed again in {where}; the first one counts")
            return None
        return found

    def keep(self, record: Record, where: str) -> bool:
        """Take ``record``, or note that its age is out of the range that is kept; whether it was taken."""
        kept = self.about.keeps(record.age)
        if kept:
            self.records.append(record)
        else:
            low, high = self.about.ages
            self.report(AGE_OUT_OF_RANGE, where, f"{record.age:g} years, kept are {low} to {high}")
        return kept

    def scan(self, found: dict[str, int], labels: str = "", remarks: Iterable[Problem] = ()) -> Scan:
        """What was read, ``remarks``, and one for every file not listed in ``labels``. ``found`` is counted
        as shipped, the subjects and the range of ages here."""
        ages = [record.age for record in self.records]
        of_records = {"youngest": int(min(ages)), "oldest": int(max(ages))} if ages else {}
        if "subject" in self.about.gives:
            of_records["subjects"] = len({record.subject for record in self.records} - {""})
        unlisted, about = self.files.unlisted(labels) if labels else [], self.about
        problems, counted = [*self.problems, *remarks, *unlisted], found | of_records
        return Scan(about.name, self.root, self.records, problems, about.published, about.licence, counted)
