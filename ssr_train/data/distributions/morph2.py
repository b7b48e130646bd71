"""MORPH2: police portraits, several of a person over the years (Ricanek and Tesafaye 2006).

Reads the non-commercial release of 2008, whose table names the photos, and the flat repack without a table,
whose file names hold subject, sex and age (no group then). The protocol of the paper finds and aligns the
face, so records are photos. A person whose rows disagree keeps them all, each with its own labels, as the
published protocols do, and is reported.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from ssr_train.data.distributions import named
from ssr_train.data.distributions.about import About, Reading
from ssr_train.data.distributions.files import folders_in, images_in, number, read_csv
from ssr_train.data.records import LABEL_CONFLICT, MALFORMED_LABEL, Problem, Record, Scan, sex_of

ABOUT = About(
    name="morph2",
    title="MORPH2 (non-commercial, 2008)",
    source="Ricanek, Tesafaye: MORPH: A longitudinal image database of normal adult age-progression, FG 2006",
    layout="""\
morph_2008_nonCommercial.csv
Album2/009055_1M54.JPG
or, a repack without the table: Images/00013_00M19.JPG""",
    gives=("subject", "sex", "group"),
    published={
        "images": 55_134,
        "subjects": 13_617,
        "male": 46_645,
        "female": 8_489,
        "youngest": 16,
        "oldest": 77,
    },
    licence="Non-commercial, under a signed agreement with its authors; not to be passed on.",
)

_TABLE = "morph_2008_nonCommercial.csv"
_COLUMNS = ("id_num", "dob", "race", "gender", "age", "photo")
_NAME = re.compile(r"(\d+)_(\d+)([MF])(\d+)\.JPG", re.IGNORECASE)
_GROUPS = {"B": "Black", "W": "White", "H": "Hispanic", "A": "Asian", "O": "Other"}
_EXPECTED = "<subject>_<picture><M|F><age>.JPG"


def scan(root: Path, about: About) -> Scan:
    """Read MORPH2, by its table where there is one."""
    folder = about.locate(root, "Images", holds=_holds, picture=_EXPECTED)
    if not any(_NAME.fullmatch(name) for name in images_in(folder)):
        about.require(folder, _TABLE)
    reading = Reading(about, folder)
    return _by_table(reading) if (folder / _TABLE).is_file() else _by_name(reading)


def _holds(folder: Path) -> bool:
    """Whether ``folder`` is the release of 2008, with or without its table, or a repack."""
    return (
        (folder / _TABLE).is_file()
        or any(name.startswith("Album") for name in folders_in(folder))
        or any(_NAME.fullmatch(name) for name in images_in(folder))
    )


def _by_table(reading: Reading) -> Scan:
    names = ((path, _NAME.fullmatch(path.rpartition("/")[2])) for path in reading.files)
    places = {_key(match): path for path, match in names if match}
    labels: dict[str, dict[str, set[str]]] = {}
    rows, sexes = 0, {"M": 0, "F": 0}
    for line, row in read_csv(reading.root / _TABLE, _COLUMNS):
        where = f"{_TABLE}:{line}"
        rows += 1
        if not row:
            reading.report(MALFORMED_LABEL, where, f"expected {', '.join(_COLUMNS)}")
            continue
        identity, dob, race, gender, age_text, photo = row
        match, age = _NAME.fullmatch(photo.replace("\\", "/").rpartition("/")[2]), number(age_text)
        race, gender = race.upper(), gender.upper()
        if not identity.isdigit() or age is None or match is None:
            reading.report(MALFORMED_LABEL, where, f"id {identity!r}, age {age_text!r}, photo {photo!r}")
            continue
        subject = str(int(identity))
        seen = labels.setdefault(subject, {"birth date": set(), "group": set(), "sex": set()})
        for label, value in (("birth date", dob), ("group", race), ("sex", gender)):
            seen[label] |= {value} - {""}
        sexes[gender] = sexes.get(gender, 0) + 1
        # A repack with the table renames files, but keeps subject and picture number.
        found = reading.claim(photo, where, places.get(_key(match)))
        if found is None:
            continue
        face = Record(Path(found), age, subject, sex_of(gender), _GROUPS.get(race, race))
        kept = reading.keep(face, where)
        if kept and (int(match[4]) != int(age) or int(match[1]) != int(identity)):
            said = f"subject {identity}, {age:g} years in the table (kept)"
            reading.report(LABEL_CONFLICT, where, f"{said}, the photo is called {match[0]}")
    counts = {"images": rows, "male": sexes["M"], "female": sexes["F"]}
    return reading.scan(counts, _TABLE, _conflicts(labels))


def _by_name(reading: Reading) -> Scan:
    named.read(reading, _NAME, _EXPECTED, _record)
    sexes = [record.sex for record in reading.records]
    counts = {"images": len(reading.files), "male": sexes.count("m"), "female": sexes.count("f")}
    return reading.scan(counts)


def _record(path: str, match: re.Match[str]) -> Record:
    return Record(Path(path), float(match[4]), str(int(match[1])), sex_of(match[3]))


def _key(match: re.Match[str]) -> tuple[int, int]:
    """Subject and picture number: the same photo, however the numbers are padded."""
    return int(match[1]), int(match[2])


def _conflicts(labels: dict[str, dict[str, set[str]]]) -> Iterator[Problem]:
    for subject, seen in labels.items():
        for label, values in seen.items():
            if len(values) > 1:
                detail = f"more than one {label}: {', '.join(sorted(values))}; every row kept with its own"
                yield Problem(LABEL_CONFLICT, f"subject {subject}", detail)
