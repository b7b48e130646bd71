"""AFAD: selfies from a Chinese social network, in folders by age and sex (Niu et al. 2016).

Whether the number before the dash is a photo's or a person's is not documented, so there are no subjects.
"""

from __future__ import annotations

import re
from pathlib import Path

from ssr_train.data.distributions.about import About, Reading
from ssr_train.data.distributions.files import folders_in, images_in
from ssr_train.data.records import MALFORMED_NAME, Record, Scan, Sex

ABOUT = About(
    name="afad",
    title="AFAD (AFAD-Full)",
    source="Niu et al.: Ordinal regression with multiple output CNN for age estimation, CVPR 2016",
    layout="""\
AFAD-Full/15/111/292943-1.jpg
AFAD-Full/15/112/671487-0.jpg""",
    gives=("sex",),
    published={"images": 164_432, "youngest": 15, "oldest": 72},
    licence="Academic research only; the pictures belong to their owners.",
)

_PATH = re.compile(r"(\d+)/(11[12])/[^/]+")
_SEXES: dict[str, Sex] = {"111": "m", "112": "f"}


def scan(root: Path, about: About) -> Scan:
    """Read AFAD, or its part AFAD-Lite, which lies the same way."""
    expected = "<age>/<111|112>/<id>-<k>.jpg"
    reading = Reading(about, about.locate(root, "AFAD-Full", holds=_ages, picture=expected))
    for path in reading.files:
        match = _PATH.fullmatch(path)
        if match is None:
            reading.report(MALFORMED_NAME, path, f"expected {expected}")
        else:
            reading.keep(Record(Path(path), float(match[1]), sex=_SEXES[match[2]], face="crop"), path)
    return reading.scan({"images": len(reading.files)})


def _ages(folder: Path) -> bool:
    """Whether ``folder`` holds <age>/<111|112>/ with a picture in it."""
    ages = (folder / name for name in folders_in(folder) if name.isdigit())
    return any(any(images_in(age / sex)) for age in ages for sex in _SEXES if (age / sex).is_dir())
