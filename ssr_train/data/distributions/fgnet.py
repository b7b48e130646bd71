"""FG-NET: family photos of 82 people from childhood on; evaluated by leaving one person out."""

from __future__ import annotations

import re
from pathlib import Path

from ssr_train.data.distributions import named
from ssr_train.data.distributions.about import About
from ssr_train.data.records import Scan

ABOUT = About(
    name="fgnet",
    title="FG-NET",
    source="The FG-NET ageing database, 2002 (Panis et al.: Overview of research on facial ageing, 2016)",
    layout="images/001A02.JPG",
    gives=("subject",),
    published={"images": 1_002, "subjects": 82},
    licence="Research only; the pictures belong to the people in them.",
)

_NAME = re.compile(r"(?P<subject>\d{3})A(?P<age>\d{2})[A-Z]?\.JPE?G", re.IGNORECASE)


def scan(root: Path, about: About) -> Scan:
    """Read FG-NET; a letter after the age tells pictures of one person at one age apart."""
    return named.scan(root, about, _NAME, "<subject>A<age>[letter].JPG", prefer="images")
