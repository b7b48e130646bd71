"""WIKI: pictures from Wikipedia's articles on people, crops with a margin of 40 %."""

from __future__ import annotations

from pathlib import Path

from ssr_train.data.distributions import imdb_wiki
from ssr_train.data.distributions.about import About
from ssr_train.data.records import Scan

ABOUT = About(
    name="wiki",
    title="WIKI (wiki_crop)",
    source=imdb_wiki.SOURCE,
    layout="""\
wiki_crop/wiki.mat
wiki_crop/17/10000217_1981-05-05_2009.jpg""",
    gives=("subject", "sex"),
    published={"images": 62_328},
    licence=imdb_wiki.LICENCE,
    ages=(0, 100),
)


def scan(root: Path) -> Scan:
    """Read WIKI; subjects are the people's names, so namesakes count as one person."""
    return imdb_wiki.scan(root, ABOUT, "wiki")
