"""What the distributions share whose file names are their labels."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from ssr_train.data.distributions.about import About, Reading
from ssr_train.data.distributions.files import images_in, nfc
from ssr_train.data.records import LABEL_CONFLICT, MALFORMED_NAME, Record, Scan, sex_of


def labelled(path: str, match: re.Match[str]) -> Record:
    """A face by the groups of its file name: ``age`` and, where the pattern has them, ``subject`` and
    ``sex``."""
    labels = match.groupdict("")
    return Record(Path(path), float(match["age"]), labels.get("subject", ""), sex_of(labels.get("sex", "")))


def scan(
    root: Path,
    about: About,
    name: re.Pattern[str],
    expected: str,
    prefer: str,
    below: tuple[str, ...] = (),
    record: Callable[[str, re.Match[str]], Record] = labelled,
) -> Scan:
    """Read the pictures of the folder named ``prefer``, or of the only folder with such pictures.

    ``below`` are sub-folders that hold the pictures in place of the folder itself, where it has them; the
    rest as for :func:`read`.
    """

    def holds(folder: Path) -> bool:
        starts = [folder, *(folder / part for part in below if (folder / part).is_dir())]
        return any(name.fullmatch(nfc(image)) for start in starts for image in images_in(start))

    folder = about.locate(root, prefer, holds=holds, picture=expected)
    reading = Reading(about, folder, tuple(part for part in below if (folder / part).is_dir()) or (".",))
    read(reading, name, expected, record)
    return reading.scan({"images": len(reading.files)})


def read(
    reading: Reading,
    name: re.Pattern[str],
    expected: str,
    record: Callable[[str, re.Match[str]], Record] = labelled,
) -> None:
    """A record of every file whose name matches, a problem of every other picture.

    ``record`` makes a face of a path whose file name matches ``name``; ``expected`` is that pattern in words.
    """
    sexes: dict[str, set[str]] = {}
    for path in reading.files:
        match = name.fullmatch(nfc(path.rpartition("/")[2]))
        if match is None:
            reading.report(MALFORMED_NAME, path, f"expected {expected}")
            continue
        face = record(path, match)
        if face.subject and face.sex:
            sexes.setdefault(face.subject, set()).add(face.sex)
        reading.keep(face, path)
    for subject in (subject for subject, seen in sexes.items() if len(seen) > 1):
        detail = "more than one sex: f, m; every picture kept with its own"
        reading.report(LABEL_CONFLICT, f"subject {subject}", detail)
