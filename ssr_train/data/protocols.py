"""Who is trained on and who is tested: the published protocols, fixed by the seed, and the leak check.

``random``              80 % training; the other 20 % are validation and test both, as in the paper
``subject-exclusive``   80 / 10 / 10 % of the pictures, nobody in two parts
``distributed``         the publishers' own split, such as MegaAge-Asian's 3,945 test images; a set that
                        names no validation part has the test images in its place, as the paper had
``leave-one-subject-out`` fold ``k``: the k-th person is the test, a tenth of the others validate
"""

from __future__ import annotations

import base64
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssr_bundle.errors import SsrError
from ssr_train.data.dataset import Dataset, Texts

PROTOCOLS = ("random", "subject-exclusive", "distributed", "leave-one-subject-out")

HELD_OUT = 0.2
"""Share of the pictures that ``random`` and ``subject-exclusive`` do not train on."""

VALIDATING_SUBJECTS = 0.1
"""Share of the pictures, whole persons, that validate a fold of ``leave-one-subject-out``."""

_RANDOM, _SUBJECTS = 3, 5  # which random choice a derived seed is for; 3 since the first runs
_PARTS = ("train", "validation", "test")

Index = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Split:
    """Rising indices of the training, validation and test pictures of the data set ``data_sha256``."""

    train: Index
    validation: Index
    test: Index
    protocol: str
    seed: int
    fold: int
    data_sha256: str

    @property
    def selects_on_test(self) -> bool:
        """Whether an epoch chosen by its validation error is chosen on the test pictures."""
        return bool(np.isin(self.test, self.validation).any())

    def __str__(self) -> str:
        fold = f", fold {self.fold}" if self.protocol == "leave-one-subject-out" else ""
        parts = (
            f"{len(self.train):,} training, {len(self.test):,} validation and test images (the same: the "
            "best epoch is chosen on the test images, the last epoch is not)"
            if self.selects_on_test
            else f"{len(self.train):,} training, {len(self.validation):,} validation, "
            f"{len(self.test):,} test images"
        )
        return f"{self.protocol} by seed {self.seed}{fold}: {parts}"

    def to_json(self) -> dict[str, Any]:
        """The form saved with a run; ``parts`` is a byte a picture (bits: train 1, validation 2, test 4),
        deflated, in base64."""
        parts = (self.train, self.validation, self.test)
        bits = np.zeros(1 + max((int(part[-1]) for part in parts if len(part)), default=-1), np.uint8)
        for i, part in enumerate(parts):
            bits[part] |= 1 << i
        return {
            **{name: getattr(self, name) for name in ("protocol", "seed", "fold", "data_sha256")},
            **{name: len(getattr(self, name)) for name in _PARTS},
            "parts": base64.b64encode(zlib.compress(bits.tobytes(), 9)).decode(),
        }

    @classmethod
    def from_json(cls, data: Any, dataset: Dataset) -> Split:
        """The saved split of ``dataset``; :class:`SsrError` if it is of other pictures.

        Splits that an earlier version saved know their pictures by the labels alone.
        """
        try:
            bits = np.frombuffer(zlib.decompress(base64.b64decode(data["parts"])), np.uint8)
            train, validation, test = (np.flatnonzero(bits & (1 << i)) for i in range(len(_PARTS)))
            made = str(data["protocol"]), int(data["seed"]), int(data["fold"]), str(data["data_sha256"])
            split = cls(train, validation, test, *made)
            counts = [int(data[name]) for name in _PARTS]
        except (KeyError, TypeError, ValueError, zlib.error) as error:
            raise SsrError(f"split: not one that this program saved ({error!r})") from None
        if split.data_sha256 not in {dataset.sha256, dataset.labels_sha256}:
            raise SsrError(
                f"split: made for other pictures or labels (sha256 {split.data_sha256[:12]}) than "
                f"{dataset.name or 'this data set'}'s {len(dataset):,} (sha256 {dataset.sha256[:12]}), which "
                "may be the same faces prepared otherwise"
            )
        if counts != [len(getattr(split, name)) for name in _PARTS] or len(bits) > len(dataset):
            raise SsrError("split: its parts do not have the sizes that it names")
        return split


@dataclass(frozen=True)
class Leak:
    """How many test images show a person that is also in training; ``str`` is the line for every result.

    ``share``: of the ``of`` test images, 0..1. ``subjects``: how many persons these show. ``unknown``: test
    images whose person is not named, which are not counted. ``known``: whether anything can be counted.
    """

    images: int
    of: int
    share: float
    subjects: int
    unknown: int
    known: bool

    def __str__(self) -> str:
        if not self.known:
            return "leak: identities unknown: the leak cannot be counted"
        rest = f"; who is on {self.unknown:,} more is unknown" if self.unknown else ""
        if not self.images:
            return f"leak: none of the {self.of:,} test images shows a person that is also in training{rest}"
        return (
            f"leak: {100 * self.share:.1f} % of the test images ({self.images:,} of {self.of:,}, "
            f"{self.subjects:,} persons) show a person that is also in training{rest}"
        )


def make_split(dataset: Dataset, protocol: str, seed: int, *, fold: int = 0) -> Split:
    """Divide ``dataset`` by one of :data:`PROTOCOLS`; only ``leave-one-subject-out`` has folds.

    Raises :class:`SsrError` for an unknown protocol, a part that would be empty, labels that the protocol
    needs and the set does not give, and a fold that does not exist (see :func:`folds`).
    """
    check_protocol(protocol)
    if seed < 0:
        raise SsrError(f"seed must not be negative, got {seed}")
    if fold and protocol != "leave-one-subject-out":
        raise SsrError(f"fold {fold}: the protocol {protocol} has one fold, 0")
    parts: tuple[Index, ...]
    if protocol == "random":
        parts = random_parts(len(dataset), seed)
    elif protocol == "subject-exclusive":
        parts = _by_subject(_known_subjects(dataset, protocol), seed, (HELD_OUT / 2, HELD_OUT / 2))
    elif protocol == "distributed":
        parts = _distributed(dataset)
    else:
        parts = _leave_one_out(dataset, seed, fold)
    advice = "more pictures or persons are needed"
    if protocol == "distributed":
        advice = "the set as published has no such part, choose another protocol"
    for name, part in zip(_PARTS, parts, strict=True):
        if not len(part):
            raise SsrError(
                f"{dataset.name or 'data set'}: the protocol {protocol} leaves no {name} images "
                f"of its {len(dataset):,}; {advice}"
            )
    train, validation, test = parts
    return Split(train, validation, test, protocol, seed, fold, dataset.sha256)


def check_protocol(protocol: str) -> None:
    """Raise :class:`SsrError` unless ``protocol`` is one of :data:`PROTOCOLS`."""
    if protocol not in PROTOCOLS:
        raise SsrError(f"protocol {protocol!r} is unknown, expected one of: {', '.join(PROTOCOLS)}")


def folds(dataset: Dataset, protocol: str) -> int:
    """How many folds the protocol has on this set: a person each for ``leave-one-subject-out``, else 1."""
    check_protocol(protocol)
    return len(np.unique(_known_subjects(dataset, protocol))) if protocol == "leave-one-subject-out" else 1


def leak(dataset: Dataset, split: Split) -> Leak:
    """Count the test images whose person is also on a training image."""
    return leak_between(dataset.subjects[split.train], dataset.subjects[split.test])


def leak_between(trained: Texts, tested: Texts) -> Leak:
    """The leak by who is on each training and each test image, as one set names them; "" where unknown."""
    named = tested != ""
    shared = named & np.isin(tested, trained)
    count = int(shared.sum())
    return Leak(
        images=count,
        of=len(tested),
        share=count / max(len(tested), 1),
        subjects=len(np.unique(tested[shared])),
        unknown=int((~named).sum()),
        known=bool(named.any() and (trained != "").any()),
    )


def random_parts(count: int, seed: int) -> tuple[Index, Index, Index]:
    """The paper's random 80/20 of ``count`` pictures: training, and the rest as validation and test."""
    order = np.random.default_rng((seed, _RANDOM)).permutation(count)
    held_out = round(count * HELD_OUT)
    rest = np.sort(order[:held_out])
    return np.sort(order[held_out:]), rest, rest


def _distributed(dataset: Dataset) -> tuple[Index, Index, Index]:
    training, validation, test = (np.flatnonzero(dataset.splits == part) for part in _PARTS)
    return training, validation if len(validation) else test, test


def _leave_one_out(dataset: Dataset, seed: int, fold: int) -> tuple[Index, Index, Index]:
    subjects = _known_subjects(dataset, "leave-one-subject-out")
    persons = np.unique(subjects)
    if not 0 <= fold < len(persons):
        raise SsrError(
            f"fold {fold}: expected 0..{len(persons) - 1}, a fold for each of {len(persons)} persons"
        )
    others = np.flatnonzero(subjects != persons[fold])
    training, validation = _by_subject(subjects[others], seed, (VALIDATING_SUBJECTS,))
    return others[training], others[validation], np.flatnonzero(subjects == persons[fold])


def _known_subjects(dataset: Dataset, protocol: str) -> NDArray[np.str_]:
    unknown = int((dataset.subjects == "").sum())
    if unknown:
        raise SsrError(
            f"{dataset.name or 'data set'}: who is on {unknown:,} of its {len(dataset):,} pictures is not "
            f"known, and the protocol {protocol} divides by persons; expected a subject for every picture"
        )
    return dataset.subjects


def _by_subject(subjects: NDArray[np.str_], seed: int, shares: tuple[float, ...]) -> tuple[Index, ...]:
    """Training first, then a part for each of ``shares``: whole persons in random order, as few as make up
    its share of the pictures."""
    persons, owner, counts = np.unique(subjects, return_inverse=True, return_counts=True)
    order = np.random.default_rng((seed, _SUBJECTS)).permutation(len(persons))
    filled = np.cumsum(counts[order])
    part_of = np.zeros(len(persons), np.int64)
    begin, target = 0, 0.0
    for part, share in enumerate(shares, start=1):
        target += share * len(subjects)
        end = max(int(np.searchsorted(filled, target - 1e-9)) + 1, begin + 1)
        part_of[order[begin:end]] = part
        begin = end
    return tuple(np.flatnonzero(part_of[owner] == part) for part in range(len(shares) + 1))
