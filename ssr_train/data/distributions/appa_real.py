"""APPA-REAL: pictures with real ages and ages that people guessed (Agustsson et al. 2017).

Records hold the real age. The published crops ("_face.jpg", margin 40 %) are read, not the photos beside
them.
"""

from __future__ import annotations

from pathlib import Path

from ssr_train.data.distributions.about import About, Reading
from ssr_train.data.distributions.files import number, read_csv
from ssr_train.data.records import MALFORMED_LABEL, Record, Scan, SplitName

ABOUT = About(
    name="appa-real",
    title="APPA-REAL",
    source="Agustsson et al.: Apparent and real age estimation in still images, FG 2017",
    layout="""\
appa-real-release/gt_avg_train.csv
appa-real-release/gt_avg_valid.csv
appa-real-release/gt_avg_test.csv
appa-real-release/train/000000.jpg_face.jpg
appa-real-release/valid/004113.jpg_face.jpg
appa-real-release/test/005613.jpg_face.jpg""",
    gives=("split",),
    published={"images": 7_591, "train": 4_113, "validation": 1_500, "test": 1_978},
    licence="Research only; the pictures belong to their owners.",
)

_FOLDERS: dict[str, SplitName] = {"train": "train", "valid": "validation", "test": "test"}


def scan(root: Path, about: About) -> Scan:
    """Read the three splits of APPA-REAL."""
    tables = {name: f"gt_avg_{name}.csv" for name in _FOLDERS}
    folder = about.locate(root, "appa-real-release", labels=list(tables.values()))
    about.require(folder, *tables.values(), *(f"{name}/" for name in _FOLDERS))
    reading = Reading(about, folder, tuple(_FOLDERS))
    counts: dict[str, int] = {}
    for name, table in tables.items():
        split = _FOLDERS[name]
        counts[split] = 0
        for line, row in read_csv(folder / table, ("file_name", "real_age")):
            counts[split] += 1
            where = f"{table}:{line}"
            age = number(row[1]) if row else None
            photo = f"{name}/{row[0]}" if row else ""
            reading.files.find(photo)  # the photo that the crop is from is listed as well
            if age is None:
                reading.files.find(f"{photo}_face.jpg")
                reading.report(MALFORMED_LABEL, where, f"expected file_name and real_age, found {row}")
            elif found := reading.claim(f"{photo}_face.jpg", where):
                reading.keep(Record(Path(found), age, split=split, face="crop"), where)
    counts["images"] = sum(counts.values())
    return reading.scan(counts, "gt_avg_*.csv")
