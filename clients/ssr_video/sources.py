"""Which files are meant by the paths of a command line."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ssr_bundle.errors import SsrError

VIDEOS = frozenset({
    ".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg",
    ".mts", ".mxf", ".ogg", ".ogv", ".ts", ".vob", ".webm", ".wmv", ".y4m",
})  # fmt: skip
"""Endings of the files that are taken from a folder. A file that is named is read whatever its ending."""


def videos_of(paths: Sequence[Path]) -> list[Path]:
    """Files as they are given, folders as the videos in them and below, by name; each file once.

    Hidden files and folders are left out, links to folders are not followed. Raises :class:`SsrError` for a
    folder without videos. A file that is not there is listed all the same: opening it says so.
    """
    found: dict[Path, None] = {}
    for path in paths:
        if not path.is_dir():
            found[path] = None
            continue
        inside = _below(path)
        if not inside:
            raise SsrError(f"{path}: no video in this folder, expected files such as .mp4, .mkv, .webm")
        found |= dict.fromkeys(inside)
    return list(found)


def _below(folder: Path) -> list[Path]:
    found = []
    for place, folders, names in os.walk(folder, onerror=_raise):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(place, name) for name in names if not name.startswith(".")]
    return sorted(path for path in found if path.suffix.lower() in VIDEOS and path.is_file())


def _raise(error: OSError) -> None:
    raise error
