"""The dataset doctor: what a distribution on this disk holds against what its authors published.

``doctor.json``, ``doctor.md`` and ``doctor.png`` (ages) lie beside a prepared set; ``ssr-train doctor``
prints it alone.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssr_bundle.errors import SsrError
from ssr_bundle.report import Picture, Report, Table, table
from ssr_train.data.measured_cut import MeasuredCut
from ssr_train.data.records import DUPLICATE_PICTURE, LABEL_CONFLICT, REMARKS, Problem, Record, Scan

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EXAMPLES = 3
"""Cases shown of each kind of problem."""

_CUT = "How the published crops were cut: median (quartiles)"
_DECADE = 10
_PROBLEMS = ("problem", "count", "faces", "first cases")


@dataclass(frozen=True)
class Finding:
    """All problems of one kind. ``drops``: each of them is a face that is left out."""

    kind: str
    count: int
    drops: bool
    examples: tuple[str, ...]


@dataclass(frozen=True)
class Diagnosis:
    """What the doctor says.

    ``published`` and ``found`` as in :class:`~ssr_train.data.records.Scan`; ``usable`` counts the faces that
    are kept in the end. ``opened``: whether the pictures were read, or the labels only. ``ages`` counts the
    usable faces by whole year; ``sexes``, ``groups`` and ``splits`` by label, "" where unknown.
    """

    name: str
    licence: str
    opened: bool
    published: dict[str, int]
    found: dict[str, int]
    usable: int
    subjects: int
    findings: tuple[Finding, ...]
    ages: dict[int, int]
    sexes: dict[str, int]
    groups: dict[str, int]
    splits: dict[str, int]
    cut: MeasuredCut | None = None
    """Of crops that are used as they were published."""

    @property
    def dropped(self) -> int:
        return sum(finding.count for finding in self.findings if finding.drops)

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "dropped": self.dropped}

    @classmethod
    def load(cls, folder: Path) -> Diagnosis:
        """The one that was written into ``folder``."""
        path = folder / "doctor.json"
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            del data["dropped"]
            data["ages"] = {int(age): count for age, count in data["ages"].items()}
            data["findings"] = tuple(
                Finding(**{**finding, "examples": tuple(finding["examples"])}) for finding in data["findings"]
            )
            if data.get("cut") is not None:
                data["cut"] = MeasuredCut.from_json(data["cut"])
            return cls(**data)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise SsrError(f"{path}: not a doctor's report ({error!r})") from None

    def counts(self) -> list[tuple[str, str, str, str]]:
        """Rows of what, published, found, and the difference."""
        rows = []
        for key in dict.fromkeys((*self.published, *self.found)):
            said, seen = self.published.get(key), self.found.get(key)
            gap = "as published" if said == seen else ""
            if said is not None and seen is not None and said != seen:
                gap = f"{seen - said:+,}"
            rows.append((key, _number(said), _number(seen), gap))
        return rows

    def problems(self) -> list[tuple[str, str, str, str]]:
        """Rows of kind, count, what becomes of it, and the first cases, a line each."""
        return [
            (
                finding.kind,
                f"{finding.count:,}",
                "dropped" if finding.drops else "kept",
                "\n".join((*finding.examples, *(["..."] if finding.count > len(finding.examples) else []))),
            )
            for finding in self.findings
        ]

    def who(self) -> list[tuple[str, str]]:
        """Rows on the usable faces: how many, of whom, and how old."""
        rows = [("usable faces", f"{self.usable:,}"), ("dropped", f"{self.dropped:,}")]
        rows.append(("persons", f"{self.subjects:,}" if self.subjects else "not named"))
        for title, counted in (("sex", self.sexes), ("group", self.groups), ("published part", self.splits)):
            known = ", ".join(f"{label or 'unknown'} {count:,}" for label, count in counted.items())
            rows.append((title, known if set(counted) - {""} else "not given"))
        decades: Counter[int] = Counter()
        for age, count in self.ages.items():
            decades[age // _DECADE * _DECADE] += count
        shown = ", ".join(f"{low}-{low + _DECADE - 1}: {decades[low]:,}" for low in sorted(decades))
        return [*rows, ("ages", shown or "none")]

    def report(self) -> Report:
        """For :meth:`~ssr_bundle.report.Report.write`."""
        opened = "" if self.opened else " The labels only were read, no picture was opened."
        problems = Table("Problems", _PROBLEMS, self.problems()) if self.findings else "## Problems\n\nNone."
        parts = (
            self.licence + opened,
            Table("Counts", ("", "published", "found", ""), self.counts()),
            Table("Usable faces", ("", ""), self.who()),
            problems,
            *([] if self.cut is None else [Table(_CUT, ("", ""), self.cut.rows())]),
            Picture("", self._draw, (8, 3)),
        )
        return Report(self.name, parts, self.to_json(), "doctor")

    def show(self) -> None:
        """Print the tables alone, the usable faces first."""
        table(self.who())
        table(self.counts(), header=("count", "published", "found", ""))
        if self.findings:
            table(self.problems(), header=_PROBLEMS)
        if self.cut is not None:
            table(self.cut.rows(), header=(_CUT, ""))

    def _draw(self, figure: Figure) -> None:
        axes = figure.subplots()
        axes.bar(list(self.ages), list(self.ages.values()), width=0.9)
        axes.set(xlabel="age (years)", ylabel="faces", title=f"{self.name}: {self.usable:,} usable faces")


def examine(
    scan: Scan,
    usable: Sequence[Record],
    problems: Sequence[Problem],
    digests: Sequence[str] | None,
    cut: MeasuredCut | None,
) -> Diagnosis:
    """The diagnosis of a scan, of which ``usable`` records are kept.

    ``problems`` are those met in opening the pictures, ``digests`` one for each usable record, equal for
    copies of a picture; None if none was opened. ``cut``: how published crops were cut.
    """
    copies = [] if digests is None else _copies(usable, digests)
    kinds: dict[str, list[Problem]] = {}
    for problem in (*scan.problems, *problems, *copies):
        kinds.setdefault(problem.kind, []).append(problem)
    findings = []
    for kind, cases in kinds.items():
        first = (f"{case.where} ({case.detail})" if case.detail else case.where for case in cases[:EXAMPLES])
        findings.append(Finding(kind, len(cases), kind not in REMARKS, tuple(first)))
    findings.sort(key=lambda finding: (not finding.drops, -finding.count, finding.kind))
    return Diagnosis(
        name=scan.name,
        licence=scan.licence,
        opened=digests is not None,
        published=dict(scan.published),
        found=dict(scan.found),
        usable=len(usable),
        subjects=len({record.subject for record in usable} - {""}),
        findings=tuple(findings),
        ages=dict(sorted(Counter(int(record.age) for record in usable).items())),
        sexes=_counted(record.sex for record in usable),
        groups=_counted(record.group for record in usable),
        splits=_counted(record.split for record in usable),
        cut=cut,
    )


def _copies(usable: Sequence[Record], digests: Sequence[str]) -> list[Problem]:
    """Pictures that are an earlier one's copy, and the copies that are labelled otherwise."""
    first: dict[str, Record] = {}
    found = []
    for record, digest in zip(usable, digests, strict=True):
        original = first.setdefault(digest, record)
        if original is record:
            continue
        where, other = record.path.as_posix(), original.path.as_posix()
        parts = f", {original.split} there and {record.split} here" if original.split != record.split else ""
        found.append(Problem(DUPLICATE_PICTURE, where, f"the same bytes as {other}{parts}"))
        if original.age != record.age:
            ages = f"{original.age:g} years there and {record.age:g} here"
            found.append(Problem(LABEL_CONFLICT, where, f"the same picture as {other}, labelled {ages}"))
    return found


def _counted(labels: Any) -> dict[str, int]:
    return dict(sorted(Counter(labels).items()))


def _number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"
