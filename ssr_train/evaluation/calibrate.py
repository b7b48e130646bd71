"""``ssr-train calibrate``: intervals from half of some labelled faces, coverage on the others, into the
contract."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console
from safetensors import numpy as safetensors

import ssr_ops
from ssr_bundle.bundle import (
    GOLDEN_FILE,
    Bundle,
    check_vacant,
    copy_bundle,
    read_bundle,
    replace_bundle,
    seal,
    without,
)
from ssr_bundle.contract import PRECISIONS, Contract
from ssr_bundle.disk import check_folder, write_file
from ssr_bundle.errors import SsrError
from ssr_bundle.report import plain, table
from ssr_bundle.scratch import scratch
from ssr_bundle.shown import note
from ssr_ops import reference
from ssr_ops.export.names import command, onnx_name, outdated
from ssr_ops.replay import ReplayError, replay_all
from ssr_train.data.spans import Spans
from ssr_train.evaluation.asked import Source
from ssr_train.evaluation.intervals import band_names, calibrate, check_coverage, measure_coverage
from ssr_train.evaluation.selection import Index, Selection, ask, select_for
from ssr_train.inference import Years, open_runner

RECORD = "interval_calibration"
"""Key of the contract's provenance that says how the intervals were found and what they covered."""

SEED = 102
"""Of the faces drawn where no seed is said: others than evaluation's."""


@dataclass(frozen=True)
class Halves:
    """Answers, ages and indices of the faces that calibrate, and of those held out. ``by``: what was halved,
    ``subject`` or ``image``."""

    answers: tuple[Years, Years]
    ages: tuple[Years, Years]
    index: tuple[Index, Index]
    by: str


def calibrate_bundle(
    path: Path,
    source: Source,
    coverage: float,
    out: Path | None,
    *,
    force: bool = False,
) -> Bundle:
    """Calibrate the bundle at ``path`` and print half-widths and measured coverage, band by band.

    Writes a new bundle to ``out``, or the contract in place; nothing unless the golden record replays.
    ``force`` replaces intervals, and a bundle at ``out``. Exported ONNX files, which hold the intervals, are
    left out of what is written. Raises :class:`SsrError` for anything wrong with these.
    """
    check_coverage(coverage)
    bundle = read_bundle(path)
    contract = bundle.contract
    if contract.interval is not None and not force:
        raise SsrError(f"{path}: has calibrated intervals already; --force calibrates anew")
    if out is not None:
        check_vacant(out, overwrite=force)
    check_folder((out or path.resolve()).parent, "the bundle")
    console = Console(highlight=False, soft_wrap=True)
    with open_runner(bundle, "native") as runner:
        chosen = select_for(bundle, source, console, fresh_seed=SEED, ages_for="calibrate")
        halves = halve(chosen, ask(runner, chosen.faces, chosen.index, console), source.seed or 0)
        name = runner.name
    with chosen.suffices():
        found, counts = calibrate(halves.answers[0], halves.ages[0], coverage)
    clip = contract.interface.output.clip
    true = Spans.exact(halves.ages[1])
    measured = {"fp32": measure_coverage(found, halves.answers[1], true, clip)}
    for precision in PRECISIONS if contract.quantization is not None else ():
        if ssr_ops.implementations(precision=precision):
            with open_runner(bundle, "native", precision=precision) as runner:
                answers = ask(runner, chosen.faces, halves.index[1], console)
            measured[precision] = measure_coverage(found, answers, true, clip)
    record = {
        **chosen.to_json(),
        "labels_sha256": chosen.faces.labels_sha256,
        "drawn": None if chosen.seed is None else {"set": chosen.faces.name, "seed": chosen.seed},
        "method": "split conformal by band of answers",
        "engine": name,
        "coverage": coverage,
        "halved_by": halves.by,
        "faces": counts,
        "held_out": plain(measured),
    }
    calibrated = replace(contract, interval=found, provenance={**contract.provenance, RECORD: record})
    written = _write(bundle, calibrated, out, force, console)
    for line in chosen.lines:
        note(console, line)
    note(
        console,
        f"{sum(counts):,} faces calibrate, {measured['fp32'].overall.count:,} are held out (halved by "
        f"{halves.by}); coverage {coverage:.0%} wanted, with 95 % binomial bounds:",
    )
    rows = [
        (band, f"{width:.3f}", f"{count:,}", str(measured["fp32"].bands[band]))
        for band, width, count in zip(band_names(found), found.half_widths, counts, strict=True)
    ]
    table(rows, header=("answer", "+- years", "calibrated on", "measured coverage, held out"))
    for precision, result in measured.items():
        note(console, f"{precision}: {result.overall}, mean width {result.mean_width:.2f} years")
    return written


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


def _write(bundle: Bundle, contract: Contract, out: Path | None, force: bool, console: Console) -> Bundle:
    """The bundle with calibrated intervals in its contract and golden record, once that replays."""
    assert contract.interval is not None
    stale = outdated(bundle.contract, contract)
    names = [onnx_name(precision) for precision in stale]
    with scratch("calibrate") as folder:
        draft = copy_bundle(without(bundle, names), contract, folder / "bundle")
        golden = bundle.golden()
        golden["output_interval"] = reference.interval(
            contract.interval, golden["output"], contract.interface.output.clip
        )
        write_file(draft.path / GOLDEN_FILE, safetensors.save(golden))
        seal(draft.path, contract)
        draft = read_bundle(draft.path)
        try:
            replay_all(draft)
        except ReplayError as error:
            raise SsrError(str(error).replace(str(draft.path), str(bundle.path))) from None
        if out is None:
            written = replace_bundle(bundle, draft)
        else:
            written = copy_bundle(draft, draft.contract, out, overwrite=force)
    if stale:
        note(
            console,
            f"note: {', '.join(names)} held the intervals of before and is left out; "
            f"write it again: {command(written.path, stale)}",
        )
    return written
