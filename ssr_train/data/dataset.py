"""A data set: pictures as they enter the network, ages, and what is known of who is on them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ssr_bundle.contract import Crop
from ssr_bundle.errors import SsrError
from ssr_train.data.spans import Spans

Texts = NDArray[np.str_]

SEXES = ("m", "f", "")
SPLITS = ("train", "validation", "test", "")


def unknown() -> Texts:
    return np.empty(0, "<U1")


@dataclass(frozen=True, eq=False)
class Dataset:
    """Pictures (N, S, S, 3) uint8 BGR, an array or a read-only memory map, and their labels.

    ``ages`` (N,) float32 in years, of a bin its middle and of an open one its low end; ``spans``: what the
    labels allow, left out each age alone. ``subjects`` (who), ``sexes`` (``m``, ``f``), ``groups`` (as the
    set names them) and ``splits`` (the part that the publishers put the picture into: ``train``,
    ``validation``, ``test``) are (N,) texts, ``""`` where unknown; left out, all are unknown. ``name`` is the
    published set's; ``description`` what provenance must say of these pictures. ``pictures`` identifies the
    pixels of a set that is read from a disk; a drawn set's follow from its labels. ``crop``: how the faces
    were cut, None where that is not recorded. Raises :class:`SsrError` where lengths differ.
    """

    images: NDArray[np.uint8]
    ages: NDArray[np.float32]
    description: str
    synthetic: bool
    licence: str
    name: str = ""
    pictures: str = ""
    crop: Crop | None = None
    subjects: Texts = field(default_factory=unknown)
    sexes: Texts = field(default_factory=unknown)
    groups: Texts = field(default_factory=unknown)
    splits: Texts = field(default_factory=unknown)
    spans: Spans = field(default_factory=lambda: Spans.of(()))

    def __post_init__(self) -> None:
        count = len(self.images)
        for name in ("subjects", "sexes", "groups", "splits"):
            if len(getattr(self, name)) == 0:
                object.__setattr__(self, name, np.zeros(count, "<U1"))
        if len(self.spans) == 0:
            object.__setattr__(self, "spans", Spans.exact(self.ages))
        for name in ("ages", "spans", "subjects", "sexes", "groups", "splits"):
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

    @property
    def binned(self) -> bool:
        """Whether a label is a bin of ages."""
        return bool(self.spans.binned.any())

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
        if self.binned:
            digest.update(np.stack([self.spans.low, self.spans.high]).astype("<f8").tobytes())
        for texts in (self.subjects, self.sexes, self.groups, self.splits):
            digest.update("\n".join(texts.tolist()).encode("utf-8", "surrogateescape") + b"\0")
        return digest.hexdigest()


def need_ages(faces: Dataset, option: str, what: str) -> None:
    """Raise :class:`SsrError` where ``faces``, which ``option`` named, have bins of ages, for ``what`` needs
    ages."""
    if faces.binned:
        raise SsrError(
            f"{option}: {int(faces.spans.binned.sum()):,} of the {len(faces):,} labels are bins of ages, and "
            f"{what} needs ages: a bin's middle is nobody's age. evaluate and challenge take bins"
        )
