"""``ssr-train fit-crop``: measure which crop a network answers best on, and write a bundle with it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from ssr_bundle.bundle import Bundle, check_vacant, copy_bundle, read_bundle
from ssr_bundle.contract import Contract, Crop
from ssr_bundle.disk import check_folder
from ssr_bundle.errors import SsrError, UsageError
from ssr_bundle.face_crop import BOXES
from ssr_bundle.recalibration import Recalibration
from ssr_bundle.scratch import scratch
from ssr_ops import reference
from ssr_ops.export.names import PRECISIONS, onnx_name
from ssr_ops.golden import write_bundle
from ssr_ops.replay import ReplayError, replay_all
from ssr_train.crops.faces import Faces, look
from ssr_train.crops.measured import Asked, Half, Result, halves, result
from ssr_train.crops.recalibrate import recalibrate
from ssr_train.crops.report import CHOSEN, MAP_STEP, RECALIBRATED, Found, OfSet
from ssr_train.crops.search import Tried, around, finalists, search
from ssr_train.crops.sets import Source, read_sets
from ssr_train.evaluation.calibrating import RECORD as INTERVAL_RECORD
from ssr_train.evaluation.metrics import CONFIDENCE, RESAMPLES, Years
from ssr_train.evaluation.selection import Origin
from ssr_train.progress import bar

RECORD = "crop_fit"
"""Key of the contract's provenance that says how the crop was found and what it is worth."""

_SAMPLE = 500
"""Faces of a set's half that all crops are measured on; the best of them are measured on the whole half."""

_VIEWS = 5
"""Cuts of each face at most."""

_MAP_STEPS = 3
"""Steps of the map on each side of the chosen crop."""


@dataclass(frozen=True)
class Wanted:
    """What is asked: ``data`` as the command line names sets; ``limit`` records of each, drawn by ``seed``,
    which also halves them; the detector ``box`` whose boxes the crop goes by; whether to ``recalibrate`` the
    answers to faces that are cut so."""

    data: Sequence[str]
    limit: int | None = None
    seed: int = 0
    box: str = "yunet"
    workers: int = 2
    recalibrate: bool = False

    def __post_init__(self) -> None:
        if not self.data:
            raise UsageError("give at least one --data SET")
        if self.box not in BOXES:
            raise UsageError(f"--box {self.box}: unknown, expected one of {', '.join(BOXES)}")
        if self.workers < 1:
            raise UsageError(f"--workers must be at least 1, got {self.workers}")

    def command(self, bundle: Path) -> str:
        words = ["ssr-train", "fit-crop", str(bundle)]
        for name in self.data:
            words += ["--data", name]
        words += [] if self.limit is None else ["--limit", str(self.limit)]
        words += ["--recalibrate"] if self.recalibrate else []
        return shlex.join([*words, "--seed", str(self.seed), "--box", self.box])


def fit_crop(
    path: Path, wanted: Wanted, out: Path, *, force: bool = False, console: Console | None = None
) -> tuple[Bundle, Found]:
    """Search the crop of the bundle at ``path`` and write it as a new bundle to ``out``, with the report.

    The weights stay as they are, and a quantization unless its ranges do not fit the faces of the new golden
    record; calibrated intervals and a recalibration of before, which hold for faces as they were cut, are
    dropped. Nothing is written
    unless the golden record replays. ``force`` replaces a bundle at ``out``. With more than one of
    ``workers`` call it under ``if __name__ == "__main__"``.

    Raises :class:`SsrError` for a bundle that does not answer ages, and for sets as :func:`read_sets` and
    :func:`look` do.
    """
    bundle = read_bundle(path)
    output = bundle.contract.interface.output
    if output.unit != "years":
        raise SsrError(
            f"{path}: answers {output.name} ({output.unit}), expected ages, by which crops are judged"
        )
    check_vacant(out, overwrite=force)
    check_folder(out.absolute().parent, "the bundle")
    sources = read_sets(wanted.data, wanted.limit, wanted.seed)
    console = console or Console(stderr=True, highlight=False, soft_wrap=True)
    today = bundle.contract.interface.crop
    sets = [look(source, wanted.box, today, wanted.workers, console) for source in sources]
    found = find_crop(bundle, path.name, sources, sets, wanted, console)
    with scratch("crop") as folder:
        draft, lost = _draft(bundle, _contract(bundle.contract, found, wanted.command(path)), folder)
        found = replace(found, notes=[*found.notes, *lost])
        written = copy_bundle(draft, draft.contract, out, overwrite=force)
    found.report().write(out)
    return written, found


def find_crop(
    bundle: Bundle,
    title: str,
    sources: Sequence[Source],
    sets: Sequence[Faces],
    wanted: Wanted,
    console: Console,
) -> Found:
    """Search on one half of the faces of each of ``sets``, which come from ``sources``, and measure on the
    other."""
    asked = Asked(bundle, wanted.workers)
    parts = [halves(faces, wanted.seed) for faces in sets]
    searched = [_steadied(one) for one, _ in parts]
    samples = [_sample(half, wanted.seed) for half in searched]
    with bar(console, "crops measured", None) as tick:
        tried = search(asked.of_trial(samples, wanted.box, tick))
        best = Tried(asked.of_trial(searched, wanted.box, tick))
        best.add(finalists(tried))
        chosen = best.chosen()
        places = around(chosen, _MAP_STEPS, MAP_STEP)
        for row in places:
            tried.add(row)
    own = [best.own_best(number).crop(wanted.box) for number in range(len(sets))]
    crop, points = chosen.crop(wanted.box), None
    if wanted.recalibrate:
        answers = [asked.on(half, crop) for half, _ in parts]
        points = recalibrate([half for half, _ in parts], answers, bundle.contract.interface.output.clip)
    of_sets = [
        OfSet(
            source.name,
            source.distribution,
            len(source.records),
            half.faces.missed,
            len(first.rows),
            len(half.rows),
            half.faces.binned,
            _results(asked, bundle, first, half, best_of_set, crop, points),
        )
        for source, (first, half), best_of_set in zip(sources, parts, own, strict=True)
    ]
    lost = tried.regrets()
    regrets = {trial: lost[trial] for row in places for trial in row if trial is not None}
    notes = [*_notes(bundle, sources, sets, wanted), *_useless(of_sets)]
    return Found(title, wanted.box, chosen, of_sets, len(tried.errors), places, regrets, notes, points)


def _results(
    asked: Asked,
    bundle: Bundle,
    first: Half,
    half: Half,
    own: Crop,
    chosen: Crop,
    points: Recalibration | None,
) -> list[Result]:
    """What the cuts are worth on ``half``; ``first`` is the other one, which was searched."""
    best = asked.on(half, own)
    median = np.full(len(half.rows), np.median(half.faces.ages[first.rows]))
    found = [result(f"none: always saying the median, {median[0]:g}", None, median, half, best, varies=False)]
    if half.faces.today is not None:
        answers: Years = reference.served(bundle.contract, asked.ages(half.faces.today[half.rows]))
        found.append(result("the bundle's", bundle.contract.interface.crop, answers, half, best))
    found.append(result("the set's own best", own, best, half))
    found.append(result(CHOSEN, chosen, plain := asked.on(half, chosen), half, best))
    if points is not None:
        fitted = replace(bundle.contract, recalibration=points)
        found.append(result(RECALIBRATED, chosen, reference.served(fitted, plain), half, best))
    smooth = asked.on(half, chosen, antialiased=True)
    return [*found, result("chosen, anti-aliased (no contract says that)", chosen, smooth, half, best)]


def _useless(sets: Sequence[OfSet]) -> list[str]:
    """Sets whose faces held out gain nothing by the recalibration."""
    notes = []
    for one in sets:
        of = {result.label: result.mae for result in one.results}
        if RECALIBRATED in of and of[RECALIBRATED] >= of[CHOSEN]:
            notes.append(
                f"WARNING: recalibration makes the answers to {one.name} no better: {of[CHOSEN]:.2f} -> "
                f"{of[RECALIBRATED]:.2f} years."
            )
    return notes


def _notes(bundle: Bundle, sources: Sequence[Source], sets: Sequence[Faces], wanted: Wanted) -> list[str]:
    """What the numbers rest on, and what of the bundle changes besides the crop."""
    contract = bundle.contract
    notes = [
        f"In brackets: {CONFIDENCE:.0%} bootstrap percentile intervals, {RESAMPLES:,} resamples by person "
        "where all are named, else by file. Regret: mean error less that of the set's own best crop, both "
        "found on the half searched."
    ]
    if any(faces.binned for faces in sets):
        notes.append(
            "Errors of faces with an age bin are years to the bin; their correlation is with its middle, of "
            "an open one with its low end."
        )
    if any(faces.today is None for faces in sets):
        notes.append("The bundle's own crop aligns by landmarks, which this detector does not give.")
    learned = Origin.of(contract.provenance).name
    for source in sources:
        if source.name == learned:
            notes.append(
                f"WARNING: the weights learned from {learned}: their errors on it say little of others."
            )
    if contract.interval is not None:
        notes.append(
            "Calibrated intervals are dropped: they hold for faces cut as before. ssr-train calibrate."
        )
    if contract.recalibration is not None and not wanted.recalibrate:
        notes.append("The recalibration is dropped: it holds for faces cut as before. --recalibrate.")
    if graphs := [name for name in map(onnx_name, PRECISIONS) if name in contract.files]:
        notes.append(f"{', '.join(graphs)} state the interface of before and are left out. ssr-train export.")
    return notes


def _draft(bundle: Bundle, contract: Contract, folder: Path) -> tuple[Bundle, list[str]]:
    """The new bundle, its golden record replayed, and what became of a quantization."""
    notes = []
    if contract.quantization is not None:
        notes = ["The quantization is kept; its ranges were found on faces cut as before. ssr-train quantize "
                 "--force finds them anew."]  # fmt: skip
        draft = write_bundle(folder / "quantized", contract, bundle.parameters())
        try:
            replay_all(draft)
            return draft, notes
        except ReplayError as error:
            told = str(error).replace(str(draft.path), "the new bundle")
            notes = [
                f"The quantization is dropped, it does not fit faces cut so: {told}. ssr-train quantize."
            ]
    draft = write_bundle(folder / "bundle", replace(contract, quantization=None), bundle.parameters())
    replay_all(draft)
    return draft, notes


def _contract(contract: Contract, found: Found, command: str) -> Contract:
    record: dict[str, Any] = {
        "command": command,
        "tried": found.tried,
        "sets": [
            {
                "name": one.name,
                "pictures": one.pictures,
                "searched": one.searched,
                "held_out": one.held_out,
                "missed": dict(one.missed),
                "error": {result.label: round(result.mae, 3) for result in one.results},
                "unit": "years, on the faces held out",
            }
            for one in found.sets
        ],
    }
    kept = {key: value for key, value in contract.provenance.items() if key != INTERVAL_RECORD}
    return replace(
        contract,
        interface=replace(contract.interface, crop=found.crop),
        interval=None,
        recalibration=found.recalibration,
        provenance={**kept, RECORD: record},
        files={},
    )


def _sample(half: Half, seed: int) -> Half:
    """At most :data:`_SAMPLE` of the faces."""
    count = len(half.rows)
    chosen = np.sort(np.random.default_rng((seed, count)).permutation(count)[:_SAMPLE])
    return _steadied(Half(half.faces, half.rows[chosen]))


def _steadied(half: Half) -> Half:
    """Faces of which there are few are cut several times. Without anti-aliasing a hundredth of a box moves
    the mean answer to a hundred sharp portraits by up to a year: a search over single cuts would find
    that."""
    return replace(half, views=max(1, min(_VIEWS, _SAMPLE // len(half.rows))))
