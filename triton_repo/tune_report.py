"""What ``ssr-serve tune`` prints."""

from __future__ import annotations

import math
from collections.abc import Iterable

from ssr_bundle.report import Facts, Report, Table
from triton_repo.settings import ServingSettings
from triton_repo.trial import Trial
from triton_repo.tune import TunedModel, Tuning


def report(found: Tuning, target: TunedModel) -> Report:
    """One row for each settings that were measured, best first; medians over their rounds."""
    order = sorted(found.trials, key=lambda t: found.goal.score(t, found.workload), reverse=True)
    rows = [_row(trial, found) for trial in order]
    table = Table("", list(rows[0]), [list(row.values()) for row in rows], ruled=True)
    before, after = Facts(list(_before(found))), Facts(list(_after(found, target)))
    return Report("", (before, table, after), found.to_json())


def _row(trial: Trial, found: Tuning) -> dict[str, str]:
    """Cells by the title of their column."""
    s, verdict, goal = trial.settings, found.verdict, found.goal
    marks = {
        "present": s == verdict.present.settings,
        "best": s == verdict.best.settings,
        f"p99 above {goal.p99_ms:g}": not goal.keeps(trial.value("p99_ms")),
    }
    return {
        "instances x threads": f"{s.instances} x {s.threads}",
        "merge to": " ".join(map(str, s.preferred or (s.max_batch,))) if s.dynamic_batching else "off",
        "max batch": str(s.max_batch),
        "delay us": str(s.queue_delay_us),
        "engine": trial.engine or s.precision,
        "crops/s": f"{trial.value('crops_per_second'):,.0f}",
        "p50 ms": f"{trial.value('p50_ms'):.2f}",
        "p99 ms": f"{trial.value('p99_ms'):.2f}",
        "mean batch": f"{trial.value('mean_batch'):.1f}",
        "server CPU": f"{trial.value('server_cpu'):.2f}",
        "client CPU": f"{trial.value('client_cpu'):.2f}",
        "rounds": str(len(trial.rounds)),
        "": ", ".join(mark for mark, holds in marks.items() if holds),
    }


def _before(found: Tuning) -> Iterable[str]:
    """Lines above the table."""
    alone = {p.batch: p.crops_per_second for p in found.engine if p.threads == 1}
    steps = ", ".join(f"{rate:,.0f} at batch {batch}" for batch, rate in sorted(alone.items()))
    yield f"{found.model}: {found.workload}; {found.cores} cores, clients on the same ones"
    yield f"engine alone, one thread, crops/s: {steps}"
    more = [f"{p.crops_per_second:,.0f} with {p.threads} threads" for p in found.engine if p.threads > 1]
    if more:
        yield f"engine alone, batch 128, crops/s: {', '.join(more)}"


def _after(found: Tuning, target: TunedModel) -> Iterable[str]:
    """Lines below the table: the verdict, what was done about it, and the precisions."""
    verdict, best = found.verdict, found.verdict.best.settings
    if math.isfinite(found.goal.p99_ms) and not found.goal.keeps(verdict.best.value("p99_ms")):
        yield f"nothing that was tried keeps p99 within {found.goal.p99_ms:g} ms under this workload"
    if not verdict.worth:
        yield f"unchanged: {verdict.reason}"
    else:
        yield f"best: {best}; {verdict.reason}"
    if found.written:
        yield f"written to {found.written}: {verdict.present.settings.changes(best)}"
    elif verdict.worth and target.path is None:
        yield f"ssr-serve build --bundle {target.bundle} --repo DIR {_options(best)}"
    elif verdict.worth:
        yield "nothing was written (--dry-run)"
    if found.precisions:
        first = found.precisions[0].value("crops_per_second")
        for trial in found.precisions:
            rate = trial.value("crops_per_second")
            times = f"{rate / first:.2f} times {found.precisions[0].engine}"
            yield f"{trial.engine}: {rate:,.0f} crops/s, {times}"
        yield "the precision stays as it is: --precision with one name changes it"
    for precision, drift in found.drift.items():
        yield f"drift of {precision} from fp32 as the bundle's quantization found it: {_drift(drift)}"


def _options(settings: ServingSettings) -> str:
    text = f"--instances {settings.instances} --threads {settings.threads} --max-batch {settings.max_batch}"
    if not settings.dynamic_batching:
        text += " --no-dynamic-batching"
    if settings.queue_delay_us:
        text += f" --queue-delay-us {settings.queue_delay_us}"
    text += "".join(f" --preferred-batch {size}" for size in settings.preferred)
    return text + ("" if settings.precision == "fp32" else f" --precision {settings.precision}")


def _drift(drift: object) -> str:
    """``mean 0.0924, p99 0.38, ... on faces it never saw``, or whatever the bundle states."""
    if not isinstance(drift, dict):
        return str(drift)
    for part, where in (("held_out", "on faces it never saw"), ("calibration", "on its own")):
        if isinstance(numbers := drift.get(part), dict):
            return f"{_drift(numbers)}, {where}"
    return ", ".join(f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in drift.items())
