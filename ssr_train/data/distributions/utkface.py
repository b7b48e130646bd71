"""UTKFace: web pictures; age, sex and group are the file name (Zhang, Song, Qi 2017).

Gender is 0 for men and 1 for women, the opposite of IMDB-WIKI. The aligned release (".jpg.chip.jpg",
200×200) holds crops; the release in the wild (".jpg", in part1 to part3) photos.
"""

from __future__ import annotations

import re
from pathlib import Path

from ssr_train.data.distributions import named
from ssr_train.data.distributions.about import About
from ssr_train.data.records import Record, Scan

ABOUT = About(
    name="utkface",
    title="UTKFace",
    source="Zhang, Song, Qi: Age progression/regression by conditional adversarial autoencoder, CVPR 2017",
    layout="""\
UTKFace/26_0_2_20170104023102422.jpg.chip.jpg
or, in the wild: part1/26_0_2_20170104023102422.jpg, part2, part3""",
    gives=("sex", "group"),
    published={"images": 23_708, "youngest": 0, "oldest": 116},
    licence="Non-commercial research only; the pictures belong to their owners.",
)

_NAME = re.compile(r"(\d+)_([01])_([0-4])_\d+\.jpe?g(\.chip\.jpe?g)?", re.IGNORECASE)
_GROUPS = ("White", "Black", "Asian", "Indian", "Other")


def scan(root: Path, about: About) -> Scan:
    """Read one of the two releases of UTKFace."""
    expected = "<age>_<gender 0|1>_<race 0..4>_<time>.jpg[.chip.jpg]"
    return named.scan(root, about, _NAME, expected, "UTKFace", ("part1", "part2", "part3"), _record)


def _record(path: str, match: re.Match[str]) -> Record:
    return Record(
        Path(path),
        float(match[1]),
        sex="m" if match[2] == "0" else "f",
        group=_GROUPS[int(match[3])],
        face="crop" if match[4] else "photo",
    )
