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

from ssr_train.data.distributions.about import About, Reading
from ssr_train.data.distributions.files import Files, locate, nfc, wrong_layout
from ssr_train.data.distributions.matlab import BrokenMat, read_struct
from ssr_train.data.records import (
    AGE_UNKNOWN,
    BROKEN_LABELS,
    LOW_FACE_SCORE,
    MALFORMED_NAME,
    NO_FACE,
    SECOND_FACE,
    SEX_UNKNOWN,
    Problem,
    Record,
    Scan,
    Sex,
)

LICENCE = "Academic research only; the pictures belong to their owners."
SOURCE = "Rothe, Timofte, Van Gool: Deep expectation of real and apparent age from a single image, IJCV 2016"

FACE_SCORE = 1.0
"""The least detector score that the published protocol keeps."""

_NAME = re.compile(
    r"(?P<id>.+)_(?P<year>\d{1,4})-(?P<month>\d{1,2})-(?P<day>\d{1,2})_(?P<taken>\d{4})\.jpe?g", re.I
)
_CELEBRITY = re.compile(r"(nm\d+)_rm")
_NUMBERS = ("dob", "photo_taken", "gender", "face_score", "second_face_score")


def scan(root: Path, about: About, mat_name: str) -> Scan:
    """Read one of the two; ``mat_name`` is "imdb" or "wiki"."""
    labels = f"{mat_name}.mat"
    folder = locate(
        root,
        about,
        lambda path: (path / labels).is_file(),
        prefer=f"{mat_name}_crop",
        absent=f"no {labels}",
    )
    files = Files(folder)
    if not len(files):
        raise wrong_layout(folder, about, f"no picture lies under it, only {labels}")
    try:
        return _by_struct(folder, about, mat_name, files)
    except BrokenMat as error:
        broken = Problem(
            BROKEN_LABELS, labels, f"{error}; ages are from the file names, nothing else is known"
        )
        return _by_name(folder, about, files, broken)


def _by_struct(folder: Path, about: About, mat_name: str, files: Files) -> Scan:
    labels = f"{mat_name}.mat"
    if mat_name == "imdb":
        fields = read_struct(folder / labels, "imdb", (*_NUMBERS, "celeb_id"), ("full_path",))
        subjects = [
            _celebrity(p, i) for p, i in zip(fields["full_path"], fields["celeb_id"].tolist(), strict=True)
        ]
    else:
        fields = read_struct(folder / labels, "wiki", _NUMBERS, ("full_path", "name"))
        subjects = [nfc(name.strip()) for name in fields["name"]]
    ages, gender = ages_of(fields["dob"], fields["photo_taken"]), fields["gender"]
    reading = Reading(about, folder)
    columns = (
        ages.tolist(),
        gender.tolist(),
        fields["face_score"].tolist(),
        fields["second_face_score"].tolist(),
    )
    for path, subject, age, sex, score, second in zip(fields["full_path"], subjects, *columns, strict=True):
        found = files.claim(reading, path, labels)
        if found is None:
            continue
        if fault := _filtered(age, score, second):
            reading.report(fault[0], path, fault[1])
        elif about.keeps(age) and sex not in (0, 1):
            reading.report(SEX_UNKNOWN, path, "no gender")
        else:
            sex_name: Sex = "m" if sex == 1 else "f"
            reading.keep(Record(Path(found), age, subject, sex_name, face="crop"), path)
    counts = {"images": len(ages), "male": int((gender == 1).sum()), "female": int((gender == 0).sum())}
    return reading.scan(counts, files.unlisted(labels))


def _by_name(folder: Path, about: About, files: Files, broken: Problem) -> Scan:
    reading = Reading(about, folder)
    reading.problems.append(broken)
    for path in files:
        match = _NAME.fullmatch(path.rpartition("/")[2])
        if match is None or not 1 <= int(match["month"]) <= 12:
            reading.report(MALFORMED_NAME, path, "expected <id>_<yyyy>-<mm>-<dd>_<year taken>.jpg")
            continue
        age = int(match["taken"]) - int(match["year"]) - (int(match["month"]) >= 7)
        reading.keep(Record(Path(path), float(age), _celebrity(path), face="crop"), path)
    return reading.scan({"images": len(files)})


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
