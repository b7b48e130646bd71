"""What IMDB and WIKI share: the struct of labels, the age formula, the published filter (Rothe et al. 2016).

The filter is that of the authors' public code: a face score of at least 1, no second face, an age from 0 to
100, a known gender. The file name repeats birth date and year, and stands in where the .mat file is broken;
scores and gender are unknown then, so only the age is filtered.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ssr_train.data.distributions import named
from ssr_train.data.distributions.about import About, Reading
from ssr_train.data.distributions.files import nfc
from ssr_train.data.distributions.matlab import BrokenMat, read_struct
from ssr_train.data.records import (
    AGE_UNKNOWN,
    BROKEN_LABELS,
    LOW_FACE_SCORE,
    NO_FACE,
    SECOND_FACE,
    SEX_UNKNOWN,
    Record,
    Scan,
    Sex,
)

_LICENCE = "Academic research only; the pictures belong to their owners."
_SOURCE = "Rothe, Timofte, Van Gool: Deep expectation of real and apparent age from a single image, IJCV 2016"

IMDB = About(
    name="imdb",
    title="IMDB (imdb_crop)",
    source=_SOURCE,
    layout="""\
imdb_crop/imdb.mat
imdb_crop/02/nm0000002_rm1075631616_1924-9-16_1991.jpg""",
    gives=("subject", "sex"),
    published={"images": 460_723},
    licence=_LICENCE,
    ages=(0, 100),
)

WIKI = About(
    name="wiki",
    title="WIKI (wiki_crop)",
    source=_SOURCE,
    layout="""\
wiki_crop/wiki.mat
wiki_crop/17/10000217_1981-05-05_2009.jpg""",
    gives=("subject", "sex"),
    published={"images": 62_328},
    licence=_LICENCE,
    ages=(0, 100),
)

FACE_SCORE = 1.0
"""The least detector score that the published protocol keeps."""

_NAME = re.compile(r".+_(?P<year>\d{1,4})-(?P<month>0?[1-9]|1[0-2])-\d{1,2}_(?P<taken>\d{4})\.jpe?g", re.I)
_CELEBRITY = re.compile(r"(nm\d+)_rm")
_NUMBERS = ("dob", "photo_taken", "gender", "face_score", "second_face_score")


def scan(root: Path, about: About) -> Scan:
    """Read one of the two. Subjects are IMDB's numbers of the people, from the file names, and in WIKI the
    people's names, so namesakes count as one person."""
    labels = f"{about.name}.mat"
    reading = Reading(about, about.locate(root, f"{about.name}_crop", labels=(labels,)))
    if not len(reading.files):
        raise about.wrong_layout(reading.root, f"no picture lies under it, only {labels}")
    try:
        return _by_struct(reading, labels)
    except BrokenMat as error:
        detail = f"{error}; ages are from the file names, nothing else is known"
        reading.report(BROKEN_LABELS, labels, detail)
        named.read(reading, _NAME, "<id>_<yyyy>-<mm>-<dd>_<year taken>.jpg", _record)
        return reading.scan({"images": len(reading.files)})


def _by_struct(reading: Reading, labels: str) -> Scan:
    mat = reading.root / labels
    if reading.about is IMDB:
        fields = read_struct(mat, "imdb", (*_NUMBERS, "celeb_id"), ("full_path",))
        subjects = [
            _celebrity(p, i) for p, i in zip(fields["full_path"], fields["celeb_id"].tolist(), strict=True)
        ]
    else:
        fields = read_struct(mat, "wiki", _NUMBERS, ("full_path", "name"))
        subjects = [nfc(name.strip()) for name in fields["name"]]
    ages, gender = ages_of(fields["dob"], fields["photo_taken"]), fields["gender"]
    columns = (v.tolist() for v in (ages, gender, fields["face_score"], fields["second_face_score"]))
    for path, subject, age, sex, score, second in zip(fields["full_path"], subjects, *columns, strict=True):
        found = reading.claim(path, labels)
        if found is None:
            continue
        if fault := _filtered(age, score, second):
            reading.report(fault[0], path, fault[1])
        elif reading.about.keeps(age) and sex not in (0, 1):
            reading.report(SEX_UNKNOWN, path, "no gender")
        else:
            sex_name: Sex = "m" if sex == 1 else "f"
            reading.keep(Record(Path(found), age, subject, sex_name, face="crop"), path)
    counts = {"images": len(ages), "male": int((gender == 1).sum()), "female": int((gender == 0).sum())}
    return reading.scan(counts, labels)


def _record(path: str, match: re.Match[str]) -> Record:
    age = int(match["taken"]) - int(match["year"]) - (int(match["month"]) >= 7)
    return Record(Path(path), float(age), _celebrity(path), face="crop")


def ages_of(dob: NDArray[np.float64], photo_taken: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ages (N,) in whole years from Matlab's serial birth dates and the years the photos were taken.

    The photo counts as taken in the middle of its year, so who was born in July or later is a year younger.
    NaN where either label is not finite; nonsense dates give nonsense ages, for the filter to drop.
    """
    finite = np.isfinite(dob) & np.isfinite(photo_taken) & (np.abs(dob) < 1e7)
    # Matlab counts days from year 0, Python's ordinals from 1 January of year 1: 366 days later.
    ordinal = np.maximum(np.where(finite, dob, 0).astype(np.int64) - 366, 1)
    birth = np.datetime64("0001-01-01", "D") + (ordinal - 1)
    months = birth.astype("datetime64[M]").astype(np.int64) + 1970 * 12
    return np.where(finite, photo_taken - months // 12 - (months % 12 >= 6), np.nan)


def _filtered(age: float, score: float, second: float) -> tuple[str, str] | None:
    """Kind and detail of the first of the published filter's rules on scores that drops the picture, or of an
    unknown age."""
    if score == -np.inf or score != score:
        return NO_FACE, "the detector found no face"
    if score < FACE_SCORE:
        return LOW_FACE_SCORE, f"face score {score:.2f}, kept are {FACE_SCORE:g} and more"
    if second > 0:
        return SECOND_FACE, f"a second face with score {second:.2f}"
    return (AGE_UNKNOWN, "no birth date or no year") if age != age else None


def _celebrity(path: str, number: float | None = None) -> str:
    """IMDB's number of the person, from the file name where it has one."""
    match = _CELEBRITY.search(path)
    if match is not None:
        return match[1]
    return f"celebrity {number:.0f}" if number is not None and number == number else ""
