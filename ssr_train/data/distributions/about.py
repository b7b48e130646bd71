"""What is known of a distribution before it is read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ssr_train.data.records import Problem, Record, Scan


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

    def out_of_range(self, age: float) -> str:
        """The detail of an age out of range."""
        return f"{age:g} years, kept are {self.ages[0]} to {self.ages[1]}"

    def scan(self, root: Path, records: list[Record], problems: list[Problem], found: dict[str, int]) -> Scan:
        """The scan; ``found`` is counted as shipped, the subjects and the range of ages here."""
        ages = [record.age for record in records]
        of_records = {"youngest": int(min(ages)), "oldest": int(max(ages))} if ages else {}
        if "subject" in self.gives:
            of_records["subjects"] = len({record.subject for record in records} - {""})
        counted = found | of_records
        return Scan(self.name, root, records, problems, self.published, self.licence, counted)
