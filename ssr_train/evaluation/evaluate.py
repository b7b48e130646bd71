"""``ssr-train evaluate``: ask weights for ages and measure the errors."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from ssr_bundle.bundle import Bundle
from ssr_bundle.errors import SsrError
from ssr_train.evaluation.asked import Asked, Source
from ssr_train.evaluation.calibrating import records_of
from ssr_train.evaluation.intervals import Coverage, measure_coverage
from ssr_train.evaluation.judged import Evaluation, Judged
from ssr_train.evaluation.metrics import measure
from ssr_train.evaluation.selection import Selection, ask, select
from ssr_train.evaluation.subject import Subject, subjects, title
from ssr_train.inference import Runner, Years

SEED = 101
"""Of the faces drawn where no seed is said; the shipped weights learned from seed 0."""


def evaluate(path: Path | None, source: Source, asked: Asked) -> Evaluation:
    """Judge what lies at ``path`` (a bundle, a run, a system; None: what a server serves) on ``source``.

    Raises :class:`SsrError` for anything that cannot be opened, for pictures that the weights learned from
    (unless ``source`` allows it) and for answers that are not finite.
    """
    if path is None and asked.runner != "served":
        raise SsrError("name a bundle, a run's folder or a system's, or ask a server: --runner served")
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    found = subjects(path, asked.model)
    if asked.runner == "served":
        found = found[:1]  # one set of weights is served
    with ExitStack() as stack:
        runners = [stack.enter_context(asked.open(one.what)) for one in found]
        first = found[0]
        chosen = select(
            source,
            first.origin,
            console,
            run_data=first.run_data,
            fresh_seed=SEED,
            crop=runners[0].crop or first.crop,
            whose=asked.model if path is None else str(path),
        )
        if any(_calibrated_on(one, chosen) for one in found):
            note = "note: some of these pictures calibrated the intervals, whose coverage here is no test"
            chosen = replace(chosen, lines=(*chosen.lines, note))
        judged = [_judge(one, runner, chosen, console) for one, runner in zip(found, runners, strict=True)]
    name = f"{asked.model} at {asked.url}" if path is None else title(path)
    return Evaluation(name, chosen, judged)


def _judge(one: Subject, runner: Runner, chosen: Selection, console: Console) -> Judged:
    answers = ask(runner, chosen.faces, chosen.index, console)
    metrics = measure(answers, chosen.faces, chosen.index)
    coverage = _coverage(one, answers, chosen)
    return Judged(one.label, runner.name, runner.weights_sha256, answers, metrics, coverage)


def _calibrated_on(one: Subject, chosen: Selection) -> bool:
    """Whether pictures of this set, or of as many or more drawn by its seed, calibrated the intervals."""
    drawn = {"set": chosen.faces.name, "seed": chosen.seed}
    return any(
        record.get("labels_sha256", record.get("data_sha256")) == chosen.faces.labels_sha256
        or record.get("drawn") == drawn
        for record in records_of(one.provenance)
    )


def _coverage(one: Subject, answers: Years, chosen: Selection) -> Coverage | None:
    contract = one.what.contract if isinstance(one.what, Bundle) else None
    if contract is None or contract.interval is None:
        return None
    labels = chosen.faces.spans[chosen.index]
    return measure_coverage(contract.interval, answers, labels, contract.interface.output.clip)
