"""``ssr-train calibrate``: intervals from half of some labelled faces, coverage on the others, into the
contract."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
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
from ssr_bundle.contract import PRECISIONS, Contract, Interval
from ssr_bundle.disk import check_folder, write_file
from ssr_bundle.errors import SsrError
from ssr_bundle.report import plain, table
from ssr_bundle.scratch import scratch
from ssr_bundle.shown import note
from ssr_ops import reference
from ssr_ops.export.names import command, onnx_name, outdated
from ssr_ops.replay import ReplayError, replay_all
from ssr_train import data as datasets
from ssr_train.evaluation.asked import Source
from ssr_train.evaluation.calibrating import RECORD, CalibratingSet, check_each, check_given
from ssr_train.evaluation.halves import halve
from ssr_train.evaluation.intervals import Coverage, band_names, check_coverage, widest
from ssr_train.evaluation.selection import ask, select_for
from ssr_train.inference import open_runner

SEED = 102
"""Of the faces drawn where no seed is said: others than evaluation's."""


def calibrate_bundle(
    path: Path,
    source: Source,
    coverage: float,
    out: Path | None,
    *,
    also: Sequence[str] = (),
    each: Sequence[str] = (),
    force: bool = False,
) -> Bundle:
    """Calibrate the bundle at ``path`` and print half-widths and measured coverage, band by band.

    With further prepared sets ``also``, and by ``each`` of what divides people (``sex``, ``group``), every
    one of these is calibrated, and the widest half-width is taken: the coverage is kept on each of them.

    Writes a new bundle to ``out``, or the contract in place; nothing unless the golden record replays.
    ``force`` replaces intervals, and a bundle at ``out``. Exported ONNX files, which hold the intervals, are
    left out of what is written. Raises :class:`SsrError` for anything wrong with these.
    """
    check_coverage(coverage)
    check_each(each)
    sources = [source, *_further(source, also)]
    bundle = read_bundle(path)
    contract = bundle.contract
    if contract.interval is not None and not force:
        raise SsrError(f"{path}: has calibrated intervals already; --force calibrates anew")
    if out is not None:
        check_vacant(out, overwrite=force)
    check_folder((out or path.resolve()).parent, "the bundle")
    console = Console(highlight=False, soft_wrap=True)
    with open_runner(bundle, "native") as runner:
        chosen = [select_for(bundle, one, console, fresh_seed=SEED, ages_for="calibrate") for one in sources]
        check_given(chosen, each)
        if len({one.faces.labels_sha256 for one in chosen}) < len(chosen):
            raise SsrError("--also: the same labelled faces were given twice")
        sets = []
        for selection in chosen:
            answers = ask(runner, selection.faces, selection.index, console)
            sets.append(CalibratingSet(selection, halve(selection, answers, source.seed or 0), tuple(each)))
        name = runner.name
    calibrated = [interval for one in sets for interval in one.intervals(coverage)]
    found = widest(calibrated)
    clip = contract.interface.output.clip
    measured = [{"fp32": one.coverage(found, clip)} for one in sets]
    for precision in PRECISIONS if contract.quantization is not None else ():
        if ssr_ops.implementations(precision=precision):
            with open_runner(bundle, "native", precision=precision) as runner:
                for one, coverages in zip(sets, measured, strict=True):
                    answers = ask(runner, one.chosen.faces, one.halves.index[1], console)
                    coverages[precision] = one.coverage(found, clip, answers)
    first, *others = (
        {**one.to_json(found, clip), "held_out": plain(held_out)}
        for one, held_out in zip(sets, measured, strict=True)
    )
    counts = np.sum([one.counts(found) for one in sets], axis=0).tolist()
    method = "split conformal by band of answers"
    record = first | {
        "method": method if len(calibrated) == 1 else f"{method}, the widest of {len(calibrated)}",
        "engine": name,
        "coverage": coverage,
        "faces": counts,
        "also": others,
    }
    changed = replace(contract, interval=found, provenance={**contract.provenance, RECORD: record})
    written = _write(bundle, changed, out, force, console)
    for one, held_out in zip(sets, measured, strict=True):
        _show(one, held_out, found, clip, console)
    return written


def _further(source: Source, also: Sequence[str]) -> list[Source]:
    """The further sets, which are prepared ones."""
    if also and source.data is None:
        raise SsrError("--also names further sets; name the first one by --data")
    for name in also:
        if name in datasets.NAMES:
            raise SsrError(f"--also {name}: drawn faces say nothing of photos, expected a prepared set")
    return [replace(source, data=name, count=None) for name in also]


def _show(
    one: CalibratingSet,
    measured: Mapping[str, Coverage],
    found: Interval,
    clip: tuple[float, float],
    console: Console,
) -> None:
    """Print the intervals, and what they covered of one set's held-out half."""
    for line in one.chosen.lines:
        note(console, line)
    counts, held_out = one.counts(found), measured["fp32"]
    note(
        console,
        f"{sum(counts):,} faces calibrate, {held_out.overall.count:,} are held out (halved by "
        f"{one.halves.by}); coverage {found.coverage:.0%} wanted, with 95 % binomial bounds:",
    )
    rows = [
        (band, f"{width:.3f}", f"{count:,}", str(held_out.bands[band]))
        for band, width, count in zip(band_names(found), found.half_widths, counts, strict=True)
    ]
    table(rows, header=("answer", "+- years", "calibrated on", "measured coverage, held out"))
    for precision, result in measured.items():
        note(console, f"{precision}: {result.overall}, mean width {result.mean_width:.2f} years")
    for part in one.parts(found, clip):
        few = "" if part.calibrated else f"; {part.faces:,} faces were too few to calibrate it alone"
        note(console, f"{part.name}: {part.held_out}{few}")


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
