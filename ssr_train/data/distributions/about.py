"""What is known of a distribution before it is read, and what reading it gives."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ssr_train.data.records import AGE_OUT_OF_RANGE, Problem, Record, Scan


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


class Reading:
    """A distribution while it is read: the records and problems of the folder ``root`` so far."""

    def __init__(self, about: About, root: Path) -> None:
        self.about, self.root = about, root
        self.records: list[Record] = []
        self.problems: list[Problem] = []

    def report(self, kind: str, where: str, detail: str) -> None:
        """Note a problem."""
        self.problems.append(Problem(kind, where, detail))

    def keep(self, record: Record, where: str) -> bool:
        """Take ``record``, or note that its age is out of the range that is kept; whether it was taken."""
        kept = self.about.keeps(record.age)
        if kept:
            self.records.append(record)
        else:
            low, high = self.about.ages
            self.report(AGE_OUT_OF_RANGE, where, f"{record.age:g} years, kept are {low} to {high}")
        return kept

    def scan(self, found: dict[str, int], remarks: Iterable[Problem] = ()) -> Scan:
        """What was read, and ``remarks``. ``found`` is counted as shipped, the subjects and the range of ages
        here."""
        ages = [record.age for record in self.records]
        of_records = {"youngest": int(min(ages)), "oldest": int(max(ages))} if ages else {}
        if "subject" in self.about.gives:
            of_records["subjects"] = len({record.subject for record in self.records} - {""})
        problems, about = [*self.problems, *remarks], self.about
        counted = found | of_records
        return Scan(about.name, self.root, self.records, problems, about.published, about.licence, counted)
