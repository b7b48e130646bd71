"""A folder of one's own: photos, and labels.csv beside them.

The table has the columns ``file`` and ``age``, or ``file``, ``age_low`` and ``age_high`` where only a bin is
known (both ends included; an empty ``age_high`` is an open bin); ``sex``, ``subject`` and ``group`` are read
where they are there, others are not. Of several faces in a photo the one nearest to the centre is meant.
"""

from __future__ import annotations

import csv
from pathlib import Path

from ssr_bundle.errors import SsrError
from ssr_train.data.distributions.about import About, Reading
from ssr_train.data.distributions.files import number, read_csv
from ssr_train.data.records import AGES_IN_BINS, MALFORMED_LABEL, Problem, Record, Scan, sex_of

TABLE = "labels.csv"

ABOUT = About(
    name="folder",
    title="Labelled photos of your own",
    source="photos of your own, or of a set that is not in this list",
    layout="""\
labels.csv (columns file and age, or file, age_low and age_high: a bin, open where age_high is empty)
000.jpg (where the column file says)""",
    gives=("subject", "sex", "group"),
    published={},
    licence="Not recorded: the folder's own.",
)

_EXACT, _BINS = ("age",), ("age_low", "age_high")
_OPTIONAL = ("sex", "subject", "group")


def scan(root: Path, about: About) -> Scan:
    """Read a labelled folder. The age of a record with a bin is the bin's middle, of an open one its low
    end; what measures or trains goes by the bin."""
    folder = about.locate(root, "", labels=(TABLE,))
    header = _header(folder / TABLE)
    ages = _EXACT if "age" in header else _BINS
    optional = [name for name in _OPTIONAL if name in header]
    reading = Reading(about, folder)
    labelled = binned = 0
    for line, row in read_csv(folder / TABLE, ("file", *ages, *optional)):
        labelled += 1
        where = f"{TABLE}:{line}"
        known = _ages(row[1 : 1 + len(ages)])
        if known is None or not row[0]:
            expected = "file and age" if ages is _EXACT else "file, age_low and age_high, in this order"
            reading.report(MALFORMED_LABEL, where, f"expected {expected}, found {row}")
        elif found := reading.claim(row[0], where):
            others = dict(zip(optional, row[1 + len(ages) :], strict=True))
            low, high = known
            binned += low != high
            reading.keep(
                Record(
                    Path(found),
                    low if high is None else (low + high) / 2,
                    others.get("subject", ""),
                    sex_of(others.get("sex", "")),
                    others.get("group", ""),
                    face="central",
                    ages=None if low == high else (low, high),
                ),
                where,
            )
    told = f"{binned:,} faces have a bin: evaluate measures to it, calibrate, gate and fit refuse it"
    remarks = [Problem(AGES_IN_BINS, TABLE, told)] if binned else []
    return reading.scan({"images": labelled}, TABLE, remarks)


def _header(path: Path) -> list[str]:
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as stream:
        try:
            return [name.strip().lower() for name in next(csv.reader(stream), [])]
        except csv.Error as error:
            raise SsrError(f"{path}:1: not readable as CSV: {error}") from None


def _ages(texts: list[str]) -> tuple[float, float | None] | None:
    """Youngest and oldest age, None for an open end; None for what are no ages."""
    numbers = [number(text) for text in texts]
    if not numbers or numbers[0] is None or numbers[0] < 0:
        return None
    if len(numbers) == 1:
        return numbers[0], numbers[0]
    if not texts[1]:
        return numbers[0], None
    return None if numbers[1] is None or numbers[1] < numbers[0] else (numbers[0], numbers[1])
