"""LAGENDA: photos of Open Images with every person boxed, some with an age (Kuprashevich, Tolstykh 2023).

One row a person, so a photo can give several records, told apart by their boxes. Rows without an age or
without a face (a box of -1) are dropped, as are those whose box has no area or begins outside the picture; an
unknown sex is kept as unknown.
"""

from __future__ import annotations

from pathlib import Path

from ssr_train.data.distributions.about import About, Reading
from ssr_train.data.distributions.files import number, read_csv
from ssr_train.data.records import (
    AGE_UNKNOWN,
    BOX_OUTSIDE,
    DUPLICATE,
    MALFORMED_LABEL,
    MISSING_FILE,
    NO_FACE,
    Box,
    Record,
    Scan,
    sex_of,
)

_TABLE = "lagenda_annotation.csv"

ABOUT = About(
    name="lagenda",
    title="LAGENDA",
    source="Kuprashevich, Tolstykh: MiVOLO: Multi-input transformer for age and gender estimation, 2023",
    layout="""\
lagenda_annotation.csv
lag_benchmark/b5c8ef090f134ad5.jpg (where img_name of the table says)""",
    gives=("sex", "box"),
    published={"images": 67_159, "labelled": 84_192},
    licence="Photos of Open Images (listed there as CC BY 2.0); labels under their authors' terms.",
)

_BOX = ("face_x0", "face_y0", "face_x1", "face_y1")


def scan(root: Path, about: About) -> Scan:
    """Read LAGENDA, one record for every face with a known age."""
    folder = about.locate(root, "LAGENDA", labels=(_TABLE,))
    reading = Reading(about, folder)
    files = reading.files
    places = {_base(path): path for path in files}
    images: set[str] = set()
    seen: set[tuple[str, Box]] = set()
    labelled = 0
    for line, row in read_csv(folder / _TABLE, ("img_name", "age", "gender", *_BOX)):
        where = f"{_TABLE}:{line}"
        values = [number(text) for text in (row[1], *row[3:])] if row else [None]
        if None in values or not row[0]:
            reading.report(MALFORMED_LABEL, where, f"expected numbers for age and face box, found {row}")
            continue
        age, x0, y0, x1, y1 = (value for value in values if value is not None)
        name, box = row[0], (x0, y0, x1 - x0, y1 - y0)
        images.add(name)
        labelled += age >= 0
        found = files.find(name) or files.find(places.get(_base(name), name))
        if found is None:
            reading.report(MISSING_FILE, where, f"{name} is not on disk")
        elif age < 0:
            reading.report(AGE_UNKNOWN, where, name)
        elif about.keeps(age) and (kind := _fault(x0, y0, x1, y1)) is not None:
            reading.report(kind, where, f"{name}: face box {x0:g} {y0:g} {x1:g} {y1:g}")
        elif about.keeps(age) and (name, box) in seen:
            reading.report(DUPLICATE, where, f"{name}: the same face box as before; the first one counts")
        elif reading.keep(Record(Path(found), age, sex=sex_of(row[2]), box=box), where):
            seen.add((name, box))
    return reading.scan({"images": len(images), "labelled": labelled}, _TABLE)


def _fault(x0: float, y0: float, x1: float, y1: float) -> str | None:
    """The kind of problem that a face box is, as far as it shows without the picture."""
    if x0 == y0 == x1 == y1 == -1:
        return NO_FACE
    if x1 <= x0 or y1 <= y0:
        return MALFORMED_LABEL
    return BOX_OUTSIDE if min(x0, y0) < 0 else None


def _base(path: str) -> str:
    """The file name alone: unique, and right where the pictures were unpacked into another folder."""
    return path.rpartition("/")[2]
