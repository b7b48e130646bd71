"""IMDB: pictures of film celebrities, crops with a margin of 40 %."""

from __future__ import annotations

from pathlib import Path

from ssr_train.data.distributions import imdb_wiki
from ssr_train.data.distributions.about import About
from ssr_train.data.records import Scan

ABOUT = About(
    name="imdb",
    title="IMDB (imdb_crop)",
    source=imdb_wiki.SOURCE,
    layout="""\
imdb_crop/imdb.mat
imdb_crop/02/nm0000002_rm1075631616_1924-9-16_1991.jpg""",
    gives=("subject", "sex"),
    published={"images": 460_723},
    licence=imdb_wiki.LICENCE,
    ages=(0, 100),
)


def scan(root: Path) -> Scan:
    """Read IMDB; subjects are IMDB's numbers of the people, from the file names."""
    return imdb_wiki.scan(root, ABOUT, "imdb")
