"""Data sets: pictures as they enter the network, ages, and what is known of who is on them."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ssr_bundle.errors import SsrError

NAMES = ("synthetic", "synthetic-persons")
"""Drawn sets: one picture of each person, and several. Every other set is a folder that ``ssr-train prepare``
wrote."""

Texts = NDArray[np.str_]

SEXES = ("m", "f", "")
SPLITS = ("train", "validation", "test", "")


def _unknown() -> Texts:
    return np.empty(0, "<U1")


@dataclass(frozen=True, eq=False)
class Dataset:
    """Pictures (N, S, S, 3) uint8 BGR, an array or a read-only memory map, and their labels.

    ``ages`` (N,) float32 in years. ``subjects`` (who), ``sexes`` (``m``, ``f``), ``groups`` (as the set
    names them) and ``splits`` (the part that the publishers put the picture into: ``train``, ``validation``,
    ``test``) are (N,) texts, ``""`` where unknown; left out, all are unknown. ``name`` is the published
    set's; ``description`` what provenance must say of these pictures. ``pictures`` identifies the pixels of a
    set that is read from a disk; a drawn set's follow from its labels. Raises :class:`SsrError` where lengths
    differ.
    """

    images: NDArray[np.uint8]
    ages: NDArray[np.float32]
    description: str
    synthetic: bool
    licence: str
    name: str = ""
    pictures: str = ""
    subjects: Texts = field(default_factory=_unknown)
    sexes: Texts = field(default_factory=_unknown)
    groups: Texts = field(default_factory=_unknown)
    splits: Texts = field(default_factory=_unknown)

    def __post_init__(self) -> None:
        count = len(self.images)
        for name in ("subjects", "sexes", "groups", "splits"):
            if len(getattr(self, name)) == 0:
                object.__setattr__(self, name, np.zeros(count, "<U1"))
        for name in ("ages", "subjects", "sexes", "groups", "splits"):
            if len(getattr(self, name)) != count:
                raise SsrError(
                    f"data set {self.name or self.description}: {count} pictures, "
                    f"but {len(getattr(self, name))} {name}"
                )

    def __len__(self) -> int:
        return len(self.images)

    @property
    def size(self) -> int:
        """Side of the pictures in pixels."""
        return int(self.images.shape[1])

    @cached_property
    def sha256(self) -> str:
        """Identity of labels and pictures; the pixels are not read."""
        if not self.pictures:
            return self.labels_sha256
        return hashlib.sha256(f"{self.labels_sha256}\n{self.pictures}\n".encode()).hexdigest()

    @cached_property
    def labels_sha256(self) -> str:
        """Identity of the list of pictures by its labels, in order, however the pictures were cut."""
        digest = hashlib.sha256(f"{self.name}\n{len(self)}\n".encode())
        digest.update(np.ascontiguousarray(self.ages, "<f4").tobytes())
        for texts in (self.subjects, self.sexes, self.groups, self.splits):
            digest.update("\n".join(texts.tolist()).encode("utf-8", "surrogateescape") + b"\0")
        return digest.hexdigest()


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

    who = undrawn(name, count).subjects
    drawn = f"drawn faces, generator version {synthetic.VERSION}"
    if name == "synthetic-persons":
        people = persons.draw_people(count, seed, workers, progress)
        return Dataset(
            people.images,
            people.ages,
            description=f"synthetic: {drawn}, {count} pictures, {persons.PICTURES} of each person",
            synthetic=True,
            licence="Apache-2.0",
            name=name,
            subjects=who,
            sexes=people.sexes,
        )
    images, ages = synthetic.draw_faces(count, seed, workers, progress)
    return Dataset(
        images,
        ages,
        description=f"synthetic: {drawn}, faces 0..{count - 1}",
        synthetic=True,
        licence="Apache-2.0",
        name=name,
        subjects=who,
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
