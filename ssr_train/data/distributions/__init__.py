"""The public age data sets, read as they are distributed: one small module each.

A module holds ``ABOUT`` (what is known before reading) and ``scan(root)``. Reading takes labels and file
names, never the pictures.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import cast

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
)


def about(name: str) -> About:
    """What is known of distribution ``name``. Raises :class:`SsrError` for an unknown one."""
    return cast(About, _module(name).ABOUT)


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
    module = _module(name)
    folder = Path(root)
    if not folder.exists():
        raise SsrError(f"{folder}: no such folder, expected {module.ABOUT.title} there")
    if not folder.is_dir():
        raise SsrError(f"{folder}: is a file, expected the unpacked folder of {module.ABOUT.title}")
    result = cast(Scan, module.scan(folder))
    if not result.records:
        raise SsrError(f"{result.root}: no usable face of {module.ABOUT.title}; {_first_reasons(result)}")
    return result


def _module(name: str) -> ModuleType:
    if name not in NAMES:
        raise SsrError(f"--data {name}: unknown distribution, expected one of: {', '.join(NAMES)}")
    return importlib.import_module(f"{__name__}.{name.replace('-', '_')}")


def _first_reasons(result: Scan) -> str:
    """Why nothing is left: each kind of problem with its count and first case."""
    first: dict[str, str] = {}
    count: dict[str, int] = {}
    for kind, where, detail in result.problems:
        first.setdefault(kind, f"{where}: {detail}")
        count[kind] = count.get(kind, 0) + 1
    return (
        "; ".join(f"{count[kind]:,} × {kind} ({case})" for kind, case in first.items())
        or "its labels are empty"
    )
