"""MegaAge-Asian: web pictures of Asian faces, no sex, no subjects (Zhang et al. 2017).

The protocol takes the middle square of the 178×218 picture, rows 20 to -20, without alignment.
"""

from __future__ import annotations

from pathlib import Path

from ssr_train.data.distributions.about import About, Reading
from ssr_train.data.distributions.files import number
from ssr_train.data.records import MALFORMED_LABEL, Record, Scan, SplitName

ABOUT = About(
    name="megaage-asian",
    title="MegaAge-Asian",
    source="Zhang, Liu, Li, Loy: Quantifying facial age by posterior of age comparisons, BMVC 2017",
    layout="""\
megaage_asian/train/1.jpg
megaage_asian/test/1.jpg
megaage_asian/list/train_name.txt
megaage_asian/list/train_age.txt
megaage_asian/list/test_name.txt
megaage_asian/list/test_age.txt""",
    gives=("box", "split"),
    published={"test": 3_945, "youngest": 0, "oldest": 70},
    licence="Non-commercial research only; the pictures belong to their owners.",
)

SQUARE = (0.0, 20.0, 178.0, 178.0)
"""Rows 20..-20 of the published 178×218 crop, as (x, y, width, height)."""

_SPLITS: tuple[SplitName, ...] = ("train", "test")
_LISTS = tuple(f"list/{split}_{what}.txt" for split in _SPLITS for what in ("name", "age"))


def scan(root: Path, about: About) -> Scan:
    """Read MegaAge-Asian; name and age go together by line number, so the lists must be of one length."""
    folder = about.locate(root, "megaage_asian", labels=_LISTS)
    about.require(folder, *_LISTS, "train/", "test/")
    reading = Reading(about, folder, _SPLITS)
    counts: dict[str, int] = {}
    for split in _SPLITS:
        names, ages = (_lines(folder / f"list/{split}_{what}.txt") for what in ("name", "age"))
        if len(names) != len(ages):
            difference = f"list/{split}_name.txt has {len(names):,} lines, list/{split}_age.txt {len(ages):,}"
            raise about.wrong_layout(folder, f"{difference}; which age is whose cannot be told")
        counts[split] = len(names)
        for line, (name, text) in enumerate(zip(names, ages, strict=True), start=1):
            where, age = f"list/{split}_age.txt:{line}", number(text)
            found = reading.claim(f"{split}/{name}", f"list/{split}_name.txt:{line}")
            if found and age is None:
                reading.report(MALFORMED_LABEL, where, f"expected an age, found {text!r}")
            elif found and age is not None:
                reading.keep(Record(Path(found), age, box=SQUARE, split=split, face="crop"), where)
    counts["images"] = sum(counts.values())
    return reading.scan(counts, "list/*_name.txt")


def _lines(path: Path) -> list[str]:
    """Stripped lines; only the empty ones at the end are no values."""
    text = path.read_text(encoding="utf-8-sig", errors="replace").rstrip()
    return [line.strip() for line in text.split("\n")] if text else []
