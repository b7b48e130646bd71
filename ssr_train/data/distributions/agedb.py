"""AgeDB: photos of celebrities at many ages, labelled by hand (Moschoglou et al. 2017)."""

from __future__ import annotations

import re
from pathlib import Path

from ssr_train.data.distributions import named
from ssr_train.data.distributions.about import About
from ssr_train.data.records import Scan

ABOUT = About(
    name="agedb",
    title="AgeDB",
    source="Moschoglou et al.: AgeDB: the first manually collected, in-the-wild age database, CVPRW 2017",
    layout="AgeDB/0_MariaCallas_35_f.jpg",
    gives=("subject", "sex"),
    published={"images": 16_488, "subjects": 568},
    licence="Non-commercial research only, on request from its authors; the pictures belong to their owners.",
)

_NAME = re.compile(r"\d+_(?P<subject>.+)_(?P<age>\d+)_(?P<sex>[mf])\.jpe?g", re.IGNORECASE)


def scan(root: Path, about: About) -> Scan:
    """Read AgeDB; subjects are the people's names."""
    return named.scan(root, about, _NAME, "<number>_<name>_<age>_<m|f>.jpg", prefer="AgeDB")
