"""The public age data sets, read as they are distributed: one small module each.

A module holds what is known before reading, an :class:`About` a distribution, and ``scan(root, about)``.
Reading takes labels and file names, never the pictures.
"""

from __future__ import annotations

import importlib
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import cast

from ssr_bundle.disk import need_folder
from ssr_bundle.errors import SsrError
from ssr_train.data.distributions.about import About
from ssr_train.data.records import Scan

NAMES = (
    "imdb",
    "wiki",
    "morph2",
    "megaage-asian",
    "utkface",
    "afad",
    "agedb",
    "fgnet",
    "cacd",
    "appa-real",
    "lagenda",
    "folder",
)


def about(name: str) -> About:
    """What is known of distribution ``name``. Raises :class:`SsrError` for an unknown one."""
    held = vars(_module(name)).values()
    return next(value for value in held if isinstance(value, About) and value.name == name)


def describe(name: str) -> str:
    """One line on distribution ``name``, then the layout that :func:`scan` expects, one path a line."""
    known = about(name)
    images = f"{known.published['images']:,} images, " if "images" in known.published else ""
    gives = ", ".join(("age", *known.gives))
    return f"{known.title}: {images}{gives}. {known.licence}\n{known.layout}"


def scan(name: str, root: str | Path) -> Scan:
    """Read distribution ``name`` under ``root``: the unpacked folder, or one or two levels above it.

    Raises :class:`SsrError` for an unknown name, a root that is missing or no folder, a layout that is not
    the published one (with the first thing that differs), and a distribution without one usable face.
    """
    known, folder = about(name), Path(root)
    need_folder(folder, f"the unpacked folder of {known.title}")
    result = cast(Scan, _module(name).scan(folder, known))
    if not result.records:
        raise SsrError(f"{result.root}: no usable face of {known.title}; {_first_reasons(result)}")
    return result


def _module(name: str) -> ModuleType:
    if name not in NAMES:
        raise SsrError(f"--data {name}: unknown distribution, expected one of: {', '.join(NAMES)}")
    module = "imdb_wiki" if name in ("imdb", "wiki") else name.replace("-", "_")
    return importlib.import_module(f"{__name__}.{module}")


def _first_reasons(result: Scan) -> str:
    """Why nothing is left: each kind of problem with its count and first case."""
    count = Counter(problem.kind for problem in result.problems)
    first = {kind: f"{where}: {detail}" for kind, where, detail in reversed(result.problems)}
    reasons = "; ".join(f"{count[kind]:,} × {kind} ({first[kind]})" for kind in count)
    return reasons or "its labels are empty"
