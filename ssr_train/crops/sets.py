"""Sets of labelled faces as the command line names them: NAME=FOLDER, or a folder with labels.csv."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ssr_bundle.disk import need_folder
from ssr_bundle.errors import SsrError
from ssr_train.data import distributions
from ssr_train.data.distributions.folder import TABLE
from ssr_train.data.prepared import ABOUT
from ssr_train.data.records import Record

LEAST = 40
"""Fewest faces of a set: half of them is searched, and half shows what was found."""


class Source(NamedTuple):
    """The pictures of one set. ``name`` is unlike the others; ``distribution`` says how it is read."""

    name: str
    distribution: str
    root: Path
    records: Sequence[Record]


def read_sets(named: Sequence[str], limit: int | None, seed: int) -> list[Source]:
    """The sets that ``named`` says, at most ``limit`` records of each, drawn by ``seed``.

    Only labels and file names are read. Raises :class:`SsrError` for what is no set, a prepared set, a set
    named twice, and a ``limit`` or a set of fewer than :data:`LEAST` records.
    """
    if limit is not None and limit < LEAST:
        raise SsrError(f"--limit must be at least {LEAST}, got {limit}")
    if seed < 0:
        raise SsrError(f"--seed must be at least 0, got {seed}")
    sources: list[Source] = []
    for text in named:
        distribution, folder = _named(text)
        scan = distributions.scan(distribution, folder)
        title = scan.root.resolve().name if distribution == "folder" else distribution
        if any(scan.root.samefile(other.root) for other in sources):
            raise SsrError(f"--data {text}: given twice")
        if any(title == other.name for other in sources):
            title = str(scan.root)
        records: Sequence[Record] = scan.records
        if len(records) < LEAST:
            raise SsrError(f"--data {text}: {len(records)} labelled faces, expected at least {LEAST}")
        if limit is not None and limit < len(records):
            chosen = np.random.default_rng((seed, len(records))).permutation(len(records))[:limit]
            records = [records[i] for i in np.sort(chosen)]
        sources.append(Source(title, distribution, scan.root, records))
    return sources


def _named(text: str) -> tuple[str, Path]:
    """How to read what ``text`` names, and where it lies."""
    name, has_name, rest = text.partition("=")
    if has_name and not Path(text).exists():
        folder = Path(rest)
        if name not in distributions.NAMES:
            known = ", ".join(distributions.NAMES)
            raise SsrError(f"--data {text}: {name!r} is no known set, expected one of: {known}")
    else:
        name, folder = "folder", Path(text)
        if text in distributions.NAMES and not folder.exists():
            raise SsrError(f"--data {text}: say where it lies: --data {text}=FOLDER")
    need_folder(folder, f"the pictures of {name}" if has_name else f"a folder with {TABLE}, or NAME=FOLDER")
    if (folder / ABOUT).exists():
        raise SsrError(
            f"{folder}: a prepared set, whose faces are cut already; give the pictures that it was made from"
        )
    return name, folder
