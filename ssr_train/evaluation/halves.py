"""Labelled faces in two halves: one calibrates or chooses, the other shows what came of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ssr_bundle.errors import SsrError
from ssr_train.evaluation.selection import Index, Selection
from ssr_train.inference import Years


@dataclass(frozen=True)
class Halves:
    """Answers, ages and indices of the faces that calibrate, and of those held out. ``by``: what was halved,
    ``subject`` or ``image``."""

    answers: tuple[Years, Years]
    ages: tuple[Years, Years]
    index: tuple[Index, Index]
    by: str


def halve(chosen: Selection, answers: Years, seed: int) -> Halves:
    """The pictures in two halves at random, nobody in both where all persons are named."""
    faces, index = chosen.faces, chosen.index
    subjects = faces.subjects[index]
    known = bool((subjects != "").all())
    owner = np.unique(subjects, return_inverse=True)[1] if known else np.arange(len(index))
    persons = int(owner.max()) + 1
    if persons < 2:
        raise SsrError("all pictures are of one person: none can be held out to measure on")
    order = np.random.default_rng((seed, len(index))).permutation(persons)
    filled = np.cumsum(np.bincount(owner, minlength=persons)[order])
    first = np.zeros(persons, np.bool_)
    taken = min(int(np.searchsorted(filled, len(index) / 2)) + 1, persons - 1)
    first[order[:taken]] = True
    one, ages = first[owner], faces.ages[index].astype(np.float64)
    return Halves(
        answers=(answers[one], answers[~one]),
        ages=(ages[one], ages[~one]),
        index=(index[one], index[~one]),
        by="subject" if known else "image",
    )
