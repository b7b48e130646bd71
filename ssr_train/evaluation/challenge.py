"""``ssr-train challenge``: who passes where everybody is asked for proof who is estimated younger than T.

NIST's Face Analysis Technology Evaluation (FATE) of age verification (Hanaoka et al., NIST IR 8525, 2024)
reports it so: of the people of 14 to 17, the share estimated at T or older, by sex and group, for T from the
legal age on; "challenge 25" is T = 25 for a legal age of 18.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from ssr_bundle.errors import SsrError
from ssr_bundle.method import read_served
from ssr_bundle.report import Facts, Part, Picture, Report, Table, plain
from ssr_train.data.spans import Spans
from ssr_train.evaluation.asked import Source
from ssr_train.evaluation.gate import check_age, decisions
from ssr_train.evaluation.intervals import Share, TooFew
from ssr_train.evaluation.metrics import Flags, Years, crossed, divisions
from ssr_train.evaluation.plots import draw_challenge
from ssr_train.evaluation.selection import DRAWN, Selection, ask, select_for
from ssr_train.evaluation.subject import title
from ssr_train.inference import open_runner, runner_of

SEED = 104
"""Of the faces drawn where no seed is said: others than those of the other commands."""

_YEARS_OF_MINORS = 4
_COLUMNS = 12
"""Challenge ages counted above the legal age; the tables show every second."""


@dataclass(frozen=True)
class People:
    """Which of N faces can be judged. ``minors``: from the youngest age counted to the legal one;
    ``left_out``: faces whose bin holds both sides of one of these two ages."""

    minors: Flags
    left_out: int

    @classmethod
    def of(cls, labels: Spans, youngest: float, age: float) -> People:
        below, adult = labels.known_under(age), labels.known_from(age)
        infants, others = labels.known_under(youngest), labels.known_from(youngest)
        judged = (below | adult) & (infants | others)
        return cls(below & others, int((~judged).sum()))


@dataclass(frozen=True)
class Row:
    """One group of people at each challenge age. ``passed``: of those under age, estimated at it or older.
    ``asked``: of those as old as it or older, estimated younger, and so asked for proof."""

    name: str
    passed: Mapping[float, Share]
    asked: Mapping[float, Share]

    @classmethod
    def of(
        cls, name: str, rows: Flags, answers: Years, labels: Spans, minors: Flags, ages: Sequence[float]
    ) -> Row:
        found = {t: decisions(answers, t, minors & rows, labels.known_from(t) & rows) for t in ages}
        return cls(name, {t: one for t, (one, _) in found.items()}, {t: two for t, (_, two) in found.items()})


@dataclass(frozen=True)
class Challenge:
    """``rows``: everybody, then by group, by sex, and by both. ``lines``: those that the picture draws.
    ``missing``: what the labels do not give of sex and group. ``adults_asked``: of all of legal age, asked
    for proof at ``challenge``."""

    bundle: str
    weights_sha256: str
    runner: str
    selection: Selection
    age: float
    youngest: float
    challenge: float
    left_out: int
    adults_asked: Share
    rows: Sequence[Row]
    lines: Sequence[Row]
    missing: Sequence[str]

    def report(self) -> Report:
        age, limit = f"{self.age:g}", f"{self.challenge:g}"
        title = f"Challenge {limit} for a legal age of {age}, {self.bundle}{self.selection.drawn}"
        passed, asked = self.rows[0].passed[self.challenge], self.rows[0].asked[self.challenge]
        lines = [
            f"people under age: {passed.count:,} of {self._minors()}",
            f"of these, estimated at {limit} or older, and so let through: {passed}",
            f"people of {limit} and over who are asked for proof: {asked}",
            f"people of {age} and over who are asked for proof: {self.adults_asked}",
        ]
        if self.left_out:
            lines.append(
                f"left out: {self.left_out:,} faces whose bin of ages holds both sides of {self.youngest:g} "
                f"or of {age}; where it holds both sides of T, a face is left out at that T"
            )
        if self.missing:
            lines.append(f"by {' and '.join(self.missing)}: the labels do not give it")
        parts: list[Part] = [
            Facts((*self.selection.lines, f"answers: {self.runner}")),
            Facts(lines),
            self._table(f"Under age ({self._minors()}) and estimated at T or older, in %", "passed"),
            self._table("T or older and asked for proof, in %", "asked"),
            self._caution(),
            Picture(
                "who passes under age, and who is asked for proof, by challenge age",
                lambda figure: draw_challenge(
                    figure,
                    [(row.name, row.passed, row.asked) for row in self.lines],
                    self.challenge,
                ),
                (11, 4.6),
                title,
            ),
        ]
        return Report(title, parts, self._numbers(title), "challenge")

    def _minors(self) -> str:
        return f"{self.youngest:g} to <{self.age:g} years"

    def _table(self, title: str, side: str) -> Table:
        ages = list(self.rows[0].passed)
        shown = sorted({*ages[::2], self.challenge})
        rows = []
        for row in self.rows:
            shares = getattr(row, side)
            people = f"{shares[self.challenge].count:,}"
            rows.append((row.name, people, *(_percent(shares[t]) for t in shown)))
        counted = "people" if side == "passed" else f"people of {self.challenge:g} and over"
        return Table(title, ("", counted, *(f"T = {t:g}" for t in shown)), rows)

    def _caution(self) -> str:
        caution = (
            "In brackets: 95 % binomial bounds, every picture a person of its own. The rates are those of "
            f"faces like these: most of all they depend on how many of them are near {self.age:g}."
        )
        return f"{caution} {DRAWN}" if self.selection.faces.synthetic else caution

    def _numbers(self, title: str) -> dict[str, Any]:
        numbers = {name: plain(value) for name, value in vars(self).items() if name not in ("rows", "lines")}
        rows = [
            {
                "name": row.name,
                "passed": {f"{t:g}": share.to_json() for t, share in row.passed.items()},
                "asked_for_proof": {f"{t:g}": share.to_json() for t, share in row.asked.items()},
            }
            for row in self.rows
        ]
        return {"title": title, **numbers, **self.selection.to_json(), "rows": rows}


def measure_challenge(
    path: Path,
    source: Source,
    age: float = 18,
    challenge: float = 25,
    youngest: float | None = None,
    *,
    precision: str = "fp32",
) -> Challenge:
    """Count who passes the bundle at ``path`` under the legal ``age``; see :class:`Challenge`. Ages are in
    years; ``youngest`` None: four less than ``age``.

    Raises :class:`SsrError` for ages outside the network's range or in another order, for a set without a
    face under age, and as :func:`ssr_train.evaluation.selection.select` does.
    """
    bundle = read_served(path)
    clip = bundle.contract.interface.output.clip
    with open_runner(bundle, runner_of(bundle), precision=precision) as runner:
        check_age(age, clip)
        least = max(age - _YEARS_OF_MINORS, 0) if youngest is None else youngest
        if not 0 <= least < age:
            raise SsrError(f"--youngest must lie between 0 and the legal age of {age:g}, got {least:g}")
        if not age <= challenge < clip[1]:
            raise SsrError(
                f"--challenge must be at least the legal age of {age:g} and below {clip[1]:g} years, got "
                f"{challenge:g}"
            )
        console = Console(stderr=True, highlight=False, soft_wrap=True)
        chosen = select_for(bundle, source, console, fresh_seed=SEED)
        answers = ask(runner, chosen.faces, chosen.index, console)
        name = runner.name
    labels = chosen.faces.spans[chosen.index]
    people = People.of(labels, least, age)
    if not people.minors.any():
        bins = f"; left out, with a bin that holds both sides: {people.left_out:,}" if people.left_out else ""
        raise TooFew(
            f"none of the {len(answers):,} faces is known to be of {least:g} to <{age:g} years{bins}"
        )
    steps = math.ceil(min(_COLUMNS, clip[1] - age))
    ages = sorted({*(age + i for i in range(steps + 1)), challenge})
    divided = divisions(chosen.faces, chosen.index)
    del divided["age"]
    drawn, others = _groups(divided, len(answers))

    def rows_of(groups: Mapping[str, Flags]) -> list[Row]:
        return [Row.of(named, flags, answers, labels, people.minors, ages) for named, flags in groups.items()]

    lines = rows_of(drawn)
    return Challenge(
        bundle=title(path),
        weights_sha256=bundle.contract.weights_sha256,
        runner=name,
        selection=chosen,
        age=age,
        youngest=least,
        challenge=challenge,
        left_out=people.left_out,
        adults_asked=decisions(answers, challenge, people.minors, labels.known_from(age))[1],
        rows=[*lines, *rows_of(others)],
        lines=lines,
        missing=[by for by in ("sex", "group") if by not in divided],
    )


def _groups(
    divided: Mapping[str, Mapping[str, Flags]], count: int
) -> tuple[dict[str, Flags], dict[str, Flags]]:
    """Everybody and the parts of the last division, which are drawn; then those of the others, and of all
    divisions at once."""
    parts = [{_said(by, name): rows for name, rows in named.items()} for by, named in divided.items()]
    drawn = {"everybody": np.ones(count, np.bool_), **(parts[-1] if parts else {})}
    others = {name: rows for named in parts[:-1] for name, rows in named.items()}
    if len(parts) > 1:
        for names, rows in crossed(dict(enumerate(parts))):
            others[", ".join(reversed(names))] = rows
    return drawn, others


def _said(by: str, name: str) -> str:
    return f"{by} unknown" if name == "unknown" else name


def _percent(share: Share) -> str:
    """``12.3 [10.0, 15.1]``; a dash for nobody."""
    if not share.count:
        return "-"
    low, high = share.bounds()
    return f"{100 * share.value:.1f} [{100 * low:.1f}, {100 * high:.1f}]"
