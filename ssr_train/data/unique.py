"""One record a picture: copies are left out before a set is prepared, so that none is in training and in
test."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from ssr_train.data.cutting import digest_of
from ssr_train.data.records import CONFLICTING_COPIES, COPY, Problem, Record


def unique(
    root: Path, records: Sequence[Record], tick: Callable[[], None]
) -> tuple[list[Record], list[Problem]]:
    """The ``records`` without copies of an earlier one's picture, and a problem for each that is left out.

    Pictures are the same where their files under ``root`` are, byte for byte, and the published boxes in
    them. Where the copies of a picture disagree on the age, none of them is kept: which label is right is not
    known. A file that cannot be read is kept, for the cutter to say why. ``tick`` is called once a record.
    """
    copies: dict[str, list[Record]] = {}
    for record in records:
        path = root / record.path
        try:
            digest = digest_of(path.read_bytes(), record.box)
        except OSError:
            digest = str(path)
        copies.setdefault(digest, []).append(record)
        tick()
    kept, left_out = set(), []
    for first, *others in copies.values():
        if len({(record.age, record.ages) for record in (first, *others)}) == 1:
            kept.add(first)
            left_out += [Problem(COPY, r.path.as_posix(), f"of {first.path.as_posix()}") for r in others]
        else:
            ages = ", ".join(f"{record.age:g}" for record in (first, *others))
            left_out += [
                Problem(CONFLICTING_COPIES, r.path.as_posix(), f"the same picture is labelled {ages}")
                for r in (first, *others)
            ]
    return [record for record in records if record in kept], left_out
