"""Data sets by name: drawn into memory, or read from a prepared folder."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ssr_bundle.errors import SsrError
from ssr_train.data.dataset import Dataset, unknown

NAMES = ("synthetic", "synthetic-persons")
"""Drawn sets: one picture of each person, and several. Every other set is a folder that ``ssr-train prepare``
wrote."""


def check(name: str, option: str = "--data") -> None:
    """Raise :class:`SsrError` for an unknown data set, ``ModuleNotFoundError`` if it cannot be read here.

    ``option`` named it.
    """
    if name in NAMES:
        importlib.import_module("ssr_train.data.synthetic.painter")
        return
    from ssr_train.data import prepared

    if not Path(name).exists():
        raise SsrError(
            f"{option} {name}: unknown, expected one of: {', '.join(NAMES)}; "
            "or the folder that `ssr-train prepare` wrote"
        )
    prepared.check(Path(name))


def load(
    name: str, *, count: int, seed: int, workers: int, progress: Callable[[int], None] | None = None
) -> Dataset:
    """Data set ``name``: one of :data:`NAMES` drawn into memory, or a prepared folder, memory-mapped.

    ``count``, ``seed`` and ``workers`` say what to draw, and how; a prepared folder is what it is.
    ``progress`` hears how many pictures are ready.
    """
    check(name)
    if name not in NAMES:
        from ssr_train.data.prepared import open_prepared

        return open_prepared(Path(name))
    from ssr_train.data import synthetic
    from ssr_train.data.synthetic import persons

    if name == "synthetic-persons":
        faces, sexes = persons.draw_people(count, seed, workers, progress)
        which = f"{count} pictures, {persons.PICTURES} of each person"
    else:
        faces, sexes = synthetic.draw_faces(count, seed, workers, progress), unknown()
        which = f"faces 0..{count - 1}"
    return Dataset(
        *faces,
        description=f"synthetic: drawn faces, generator version {synthetic.VERSION}, {which}",
        synthetic=True,
        licence="Apache-2.0",
        name=name,
        crop=synthetic.CROP,
        subjects=undrawn(name, count).subjects,
        sexes=sexes,
    )


def undrawn(name: str, count: int) -> Dataset:
    """Who is on the pictures of drawn set ``name``, which is known before one is drawn: pictures of no
    pixels, no ages."""
    from ssr_train.data.synthetic.persons import PICTURES

    each = PICTURES if name == "synthetic-persons" else 1
    return Dataset(
        np.empty((count, 0, 0, 3), np.uint8),
        np.zeros(count, np.float32),
        description="not drawn yet",
        synthetic=True,
        licence="",
        name=name,
        subjects=(np.arange(count) // each).astype(np.str_),
    )
