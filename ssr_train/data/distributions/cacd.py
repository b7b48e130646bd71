"""CACD: search-engine pictures of 2,000 celebrities over ten years (Chen, Chen, Hsu 2014).

The usual split is by rank, which no person crosses: 1 and 2 validate, 3 to 5 test, the rest train. File
names repeat age and name, and stand in where the .mat file is broken; there is no split then.
"""

from __future__ import annotations

import re
from pathlib import Path

from ssr_train.data.distributions import named
from ssr_train.data.distributions.about import About, Reading
from ssr_train.data.distributions.files import images_in, nfc
from ssr_train.data.distributions.matlab import BrokenMat, read_struct
from ssr_train.data.records import AGE_UNKNOWN, BROKEN_LABELS, LABEL_CONFLICT, Record, Scan, SplitName

ABOUT = About(
    name="cacd",
    title="CACD (CACD2000)",
    source="Chen, Chen, Hsu: Cross-age reference coding for age-invariant face recognition, ECCV 2014",
    layout="""\
celebrity2000_meta.mat (beside CACD2000 or in it)
CACD2000/53_Robin_Williams_0001.jpg""",
    gives=("subject", "split"),
    published={"images": 163_446, "subjects": 2_000},
    licence="Research only; the pictures belong to their owners.",
)

_MAT = "celebrity2000_meta.mat"
_NAME = re.compile(r"(?P<age>\d+)_(?P<subject>.+)_\d+\.jpe?g", re.IGNORECASE)


def scan(root: Path, about: About) -> Scan:
    """Read CACD; subjects are the people's names as the files spell them, composed Unicode."""

    def holds(folder: Path) -> bool:
        return (folder / _MAT).is_file() and bool(_pictures(folder))

    folder = about.locate(root, "CACD2000", holds=holds, absent=f"no {_MAT} beside pictures")
    start = _pictures(folder)
    reading = Reading(about, folder, (start,))
    try:
        fields = read_struct(folder / _MAT, "celebrityImageData", ("age", "rank"), ("name",))
    except BrokenMat as error:
        detail = f"{error}; ages and names are from the file names, the split is not known"
        reading.report(BROKEN_LABELS, _MAT, detail)
        named.read(reading, _NAME, "<age>_<name>_<number>.jpg")
        return reading.scan({"images": len(reading.files)})
    for name, age, rank in zip(fields["name"], fields["age"].tolist(), fields["rank"].tolist(), strict=True):
        found = reading.claim(name if start == "." else f"{start}/{name}", _MAT)
        match = _NAME.fullmatch(nfc(name))
        if found is None:
            continue
        record = Record(Path(found), age, match[2] if match else "", split=_split(rank))
        if age != age:
            reading.report(AGE_UNKNOWN, name, f"no age in {_MAT}")
        elif reading.keep(record, name) and match and int(match[1]) != age:
            detail = f"{age:g} years in {_MAT} (kept), another in the name"
            reading.report(LABEL_CONFLICT, name, detail)
    return reading.scan({"images": len(fields["name"])}, _MAT)


def _split(rank: float) -> SplitName:
    if rank != rank:
        return ""
    return "validation" if rank <= 2 else "test" if rank <= 5 else "train"


def _pictures(folder: Path) -> str:
    """Where the pictures of ``folder`` lie: in CACD2000, in the folder itself ("."), or nowhere ("")."""
    if (folder / "CACD2000").is_dir():
        return "CACD2000"
    return "." if any(_NAME.fullmatch(nfc(image)) for image in images_in(folder)) else ""
