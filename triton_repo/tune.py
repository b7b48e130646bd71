"""Find by measurement how a model is served best on this machine.

First the engine alone, in this process: how it scales over threads, and from which batch on a larger one
saves nothing. That bounds the search. Then a real server, one setting after the other: instances and
threads, how many crops are merged, batching delay; candidates take turns in short rounds, so that a machine
that gets busy hurts all alike, and medians are compared. At last the best takes turns with the present
settings, and only a gain beyond the noise is worth a change.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, is_dataclass, replace
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Literal

import numpy as np

from ssr_bundle.contract import IMAGE_SIZE, Contract
from ssr_bundle.errors import UsageError
from ssr_bundle.machine import medians, usable_cores
from ssr_bundle.method import MethodContract
from ssr_ops import Engine
from ssr_ops.precision import AUTO, choose_precision
from triton_repo import config as configuration
from triton_repo import pair, repository
from triton_repo.config import CONFIG_FILE, Options, check_range, read_text
from triton_repo.settings import (
    ServingSettings,
    notes,
    only_merges,
    read_settings,
    with_engine_settings,
    with_settings,
)
from triton_repo.trial import LONGEST_ROUND, Bench, Trial, TuneError, Workload

SMALLEST_GAIN = 0.02
"""A gain below this is not worth a change, whatever the statistics say."""
_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128)
_DELAYS_US = (50, 100, 500, 2000)
_SHARES = {"engine": 0.08, "instances": 0.34, "batch": 0.17, "delay": 0.17, "verdict": 0.24}


@dataclass(frozen=True)
class Goal:
    """``throughput``: most crops a second. ``latency``: most crops a second among those whose 99th
    percentile keeps ``p99_ms``; without a bound, or in an open loop, which offers a fixed rate, the lowest
    99th percentile."""

    kind: Literal["throughput", "latency"] = "throughput"
    p99_ms: float = math.inf

    def check(self, workload: Workload) -> None:
        if self.kind not in ("throughput", "latency"):
            raise UsageError(f"goal: expected throughput or latency, got {self.kind!r}")
        if self.kind == "throughput" and self.p99_ms != math.inf:
            raise UsageError("a bound on p99 is for --goal latency")
        if not self.p99_ms > 0:
            raise UsageError(f"p99: must be milliseconds above 0, got {self.p99_ms:g}")
        if self.kind == "throughput" and workload.rate:
            raise UsageError(
                "an open loop offers a fixed rate, so that there is no throughput to find: use --goal latency"
            )

    def keeps(self, p99_ms: float) -> bool:
        return self.kind == "throughput" or p99_ms <= self.p99_ms

    def by(self, workload: Workload, kept: bool = True) -> Literal["crops_per_second", "p99_ms"]:
        """What settings are compared by, when both do or do not keep the bound alike."""
        if self.kind == "throughput":
            return "crops_per_second"
        return "crops_per_second" if kept and self.p99_ms != math.inf and not workload.rate else "p99_ms"

    def score(self, trial: Trial, workload: Workload) -> tuple[bool, float]:
        """Larger is better."""
        kept = self.keeps(trial.value("p99_ms"))
        by = self.by(workload, kept)
        return kept, trial.value(by) if by == "crops_per_second" else 1e3 / trial.value(by)


@dataclass(frozen=True)
class EnginePoint:
    """The engine alone: crops a second of one call after the other."""

    threads: int
    batch: int
    crops_per_second: float


@dataclass(frozen=True)
class Verdict:
    """``best`` against the settings that were there. ``gain``: median over paired rounds of the ratio of what
    the goal asks for; ``wins`` of ``pairs`` rounds were better. ``worth``: to be written."""

    present: Trial
    best: Trial
    gain: float
    wins: int
    pairs: int
    worth: bool
    reason: str


@dataclass(frozen=True)
class Tuning:
    """All that was measured, and what follows from it. ``trials``: in the order of their first turns;
    ``precisions``: the verdict's settings in other precisions; ``drift``: how far the answers of each
    precision are from fp32, as its quantization found; ``written``: the configuration that was changed."""

    model: str
    cores: int
    workload: Workload
    goal: Goal
    engine: list[EnginePoint]
    trials: list[Trial]
    verdict: Verdict
    precisions: list[Trial]
    drift: dict[str, Any]
    server: str
    seconds: float
    written: Path | None

    def to_json(self) -> dict[str, Any]:
        """For programs; what the verdict says stands beside the rest."""
        facts = {**vars(self), **vars(self.verdict)}
        return {name: _plain(facts[name]) for name in facts if name not in ("verdict", "wins", "pairs")}


def _plain(value: Any) -> Any:
    """As JSON has it, which knows no infinity."""
    if isinstance(value, Trial):
        return value.to_json()
    if is_dataclass(value):
        return {name: _plain(one) for name, one in vars(value).items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return str(value) if isinstance(value, Path) else None if value == math.inf else value


@dataclass(frozen=True)
class TunedModel:
    """A model of a repository, or a bundle by itself (``path`` None). ``text``: its config.pbtxt."""

    name: str
    bundle: Path
    contract: Contract
    text: str
    path: Path | None

    @classmethod
    def of_repository(cls, root: Path, model: str | None) -> TunedModel:
        """The model of that name, or the only one of the repository; measured on its newest good version."""
        if model is None:
            folders = repository.model_folders(root)
            frames = {pair.frame_folder(folder) for folder in folders}
            names = [folder.name for folder in folders if folder not in frames]
            if len(names) != 1:
                raise TuneError(f"{root}: say which model to tune, there is {', '.join(names) or 'none'}")
            [model] = names
        folder = repository.model_folder(root, model)
        read = repository.read_model(folder)
        if read.config is None or not read.kept():
            raise TuneError(read.fault or f"{folder}: no good version in it")
        if pair.is_frame(read.config):
            raise TuneError(f"{model}: takes the settings of {pair.crops_model(model)}, which is to be tuned")
        version = read.kept()[0]
        if version.contract is None:
            raise TuneError(f"{model}: a model of the backend {read.config.backend!r}, not of ssr")
        if isinstance(version.contract, MethodContract):
            raise TuneError(
                f"{model}: serves {version.contract.method.name} by ONNX Runtime, expected SSR-Net"
            )
        text = read_text(folder)
        return cls(model, version.path, version.contract, text, folder / CONFIG_FILE)

    @classmethod
    def of_bundle(cls, path: str) -> TunedModel:
        bundle = repository.open_ssrnet(path)
        text = configuration.render(bundle.contract.name, bundle.contract, Options())
        return cls(bundle.contract.name, bundle.path, bundle.contract, text, None)


def tune(
    target: TunedModel,
    workload: Workload,
    goal: Goal,
    *,
    seconds: float = 120.0,
    precisions: Sequence[str] = (),
    dry_run: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Tuning:
    """Search, and write what was found unless ``dry_run``, or the gain is within the noise.

    ``precisions``: none keeps the present one; one searches in it, and writes it too; several are compared
    in the settings that were found, and the present one stays. Raises :class:`TuneError` and what else the
    server or the repository has to say; nothing is written then.
    """
    check_range("seconds", seconds, 5, 86_400)
    if target.path is not None and not dry_run and not os.access(target.path.parent, os.W_OK):
        raise TuneError(f"{target.path.parent}: cannot be written to; --dry-run only searches")
    config = configuration.parse(target.text)
    present = read_settings(config)
    for precision in precisions:
        Options(precision=precision)
        repository.check_precision(target.contract, precision, str(target.bundle))
    start = replace(present, precision=precisions[0]) if len(precisions) == 1 else present
    begin, cores = time.monotonic(), usable_cores()
    choice = choose_precision(target.bundle)
    asked = list(dict.fromkeys((start.precision, *precisions)))
    for note in map(choice.note, asked):
        if note:
            say(note)
    with Bench(config, target.bundle, workload) as bench:
        search = Search(bench, present, workload, goal, seconds, cores, say, only_merges(config))
        say(f"engine alone, {start.precision}, on {cores} cores")
        engine = measure_engine(
            target.bundle, start.precision, cores, workload.crops, seconds * _SHARES["engine"]
        )
        verdict = search.run(engine, start)
        chosen = (verdict.best if verdict.worth else verdict.present).settings
        compared = search.compare_precisions(chosen, precisions) if len(precisions) > 1 else []
        server = bench.version
    written = None
    if verdict.worth and not dry_run and target.path is not None:
        written = _write(target, config, verdict)
    return Tuning(
        target.name,
        cores,
        workload,
        goal,
        engine,
        list(search.trials.values()),
        verdict,
        compared,
        drifts(target.contract, [choice.precision if p == AUTO else p for p in asked]),
        server,
        time.monotonic() - begin,
        written,
    )


def _write(target: TunedModel, config: Any, verdict: Verdict) -> Path:
    """Put the best settings into the model's config.pbtxt, with a note of what they replace and why."""
    assert target.path is not None
    present, best = verdict.present.settings, verdict.best.settings
    day = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    note = f"# ssr-serve tune, {day}: {present.changes(best)}; {verdict.reason}"
    text = configuration.to_text(with_settings(config, best))
    folder = target.path.parent
    lines = [*notes(target.text), note]
    written = repository.reconfigure(folder.parent, folder.name, target.text, "\n".join(lines) + "\n" + text)
    if (frame := pair.frame_folder(folder)) is not None:
        before = read_text(frame)
        after = configuration.to_text(with_engine_settings(configuration.parse(before), best))
        repository.reconfigure(frame.parent, frame.name, before, f"{note}\n{after}")
    return written


def drifts(contract: Contract, precisions: Iterable[str]) -> dict[str, Any]:
    """What the quantization of a bundle says of how far answers drift from fp32, by precision."""
    found = contract.quantization.calibration.get("drift") if contract.quantization is not None else None
    found = found if isinstance(found, dict) else {}
    return {p: found.get(p, "not stated") for p in sorted(set(precisions)) if p != "fp32"}


@dataclass
class Search:
    """One search. ``say`` is told, line by line, what is being measured; ``unmerged``: to try settings
    without dynamic batching as well."""

    bench: Bench
    present: ServingSettings
    workload: Workload
    goal: Goal
    seconds: float
    cores: int
    say: Callable[[str], None]
    unmerged: bool = True
    trials: dict[ServingSettings, Trial] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.goal.check(self.workload)
        if self.workload.crops > self.present.max_batch:
            raise TuneError(
                f"the model takes at most {self.present.max_batch} crops a request, the workload sends "
                f"{self.workload.crops}: say fewer (--crops)"
            )

    def run(self, engine: Sequence[EnginePoint], start: ServingSettings) -> Verdict:
        """Search from ``start``, which is the present settings, or those in another precision."""
        legal = [start] if start.cores <= self.cores else []
        tried = pairs(start, engine, self.cores, self.goal)
        if self.unmerged:  # as sent as well, where a request alone has a crop for every thread
            enough = [s for s in tried if s.threads <= self.workload.crops]
            tried += [replace(s, dynamic_batching=False, queue_delay_us=0, preferred=()) for s in enough]
        best = self._stage("instances", [*legal, *tried])
        if best.dynamic_batching:
            best = self._stage("batch", [best, *(limited(best, b) for b in self._batches(engine))])
        if best.dynamic_batching and self.workload.crops < best.max_batch:
            # No longer than leaves room under the bound on p99.
            delays = [us for us in (0, *_DELAYS_US) if us / 1e3 <= self.goal.p99_ms / 2]
            best = self._stage("delay", [best, *(replace(best, queue_delay_us=us) for us in delays)])
        return self._judge(best)

    def _batches(self, engine: Sequence[EnginePoint]) -> list[int]:
        """Sizes to merge requests up to: no smaller than a request, none that the clients cannot fill."""
        most = self.workload.crops * (self.workload.concurrency if not self.workload.rate else 64)
        alone = {p.batch: p.crops_per_second for p in engine if p.threads == 1}
        top = max(alone.values(), default=0.0)
        enough = min((b for b, rate in alone.items() if rate >= 0.97 * top), default=64)
        wanted = {max(b, self.workload.crops) for b in (enough, 16, 64, 128, 256)}
        fits = sorted(b for b in wanted if b <= most)
        return fits or [max(enough, self.workload.crops)]

    def _stage(self, name: str, candidates: Sequence[ServingSettings]) -> ServingSettings:
        """Let the candidates take turns, drop those that fall behind, and return the best; the first one
        unless another is better by :data:`SMALLEST_GAIN`."""
        alive = {s: Trial(s) for s in dict.fromkeys(candidates)}
        if len(alive) == 1:
            return next(iter(alive))
        self.say(f"{name}: {len(alive)} candidates")
        share = self.seconds * _SHARES[name]
        length = self._length(share / (3.5 * len(alive)))
        end = time.monotonic() + share
        turns = 0
        while len(alive) > 1 and turns < 9 and (turns < 2 or time.monotonic() < end):
            self.bench.keep(list(alive))
            for trial in alive.values():
                self._measure(trial, length)
            turns += 1
            order = sorted(alive.values(), key=self._score, reverse=True)
            kept, top = self._score(order[0])
            margin = 0.75 if turns == 1 else 0.9
            alive = {t.settings: t for t in order if self._score(t) >= (kept, margin * top)}
        best = max(alive.values(), key=self._score)
        first = alive.get(candidates[0])
        if first is not None:
            (kept, value), (best_kept, best_value) = self._score(first), self._score(best)
            if kept == best_kept and best_value < (1 + SMALLEST_GAIN) * value:
                return first.settings
        return best.settings

    def _judge(self, best: ServingSettings) -> Verdict:
        """The best against the present settings, in pairs of rounds."""
        trials = [Trial(self.present), Trial(best)]
        if best == self.present:
            trial = self.trials.get(best) or Trial(best)
            if not trial.rounds:
                self.bench.keep([best])
                self._measure(trial, self._length(0))
            return Verdict(trial, trial, 1.0, 0, 0, False, "the present settings are the best that was found")
        self.say(f"verdict: {best} against the present {self.present}")
        self.bench.keep([self.present, best])
        share = self.seconds * _SHARES["verdict"]
        length = self._length(share / 16)
        end = time.monotonic() + share
        while len(trials[0].rounds) < 5 or (time.monotonic() < end and len(trials[0].rounds) < 12):
            for trial in trials if len(trials[0].rounds) % 2 else reversed(trials):
                self._measure(trial, length)
        return judge(trials[0], trials[1], self.goal, self.workload)

    def compare_precisions(self, settings: ServingSettings, precisions: Sequence[str]) -> list[Trial]:
        """The same settings in each precision, taking turns."""
        trials = [Trial(replace(settings, precision=p)) for p in precisions]
        self.say(f"precisions: {', '.join(precisions)}")
        self.bench.keep([t.settings for t in trials])
        for trial in trials * 3:
            self._measure(trial, self._length(self.seconds * 0.1 / len(trials) / 3))
        return trials

    def _measure(self, trial: Trial, seconds: float) -> None:
        measured = self.bench.measure(trial, seconds)
        whole = self.trials.setdefault(trial.settings, Trial(trial.settings))
        if whole is not trial:
            whole.rounds.append(measured)
            whole.engine = trial.engine
        self.say(
            f"  {trial.settings}: {measured.crops_per_second:,.0f} crops/s, p99 {measured.p99_ms:.2f} ms"
        )

    def _score(self, trial: Trial) -> tuple[bool, float]:
        return self.goal.score(trial, self.workload)

    def _length(self, share: float) -> float:
        """Seconds of a round: its ``share`` of the time, and no less than it takes to say anything."""
        shortest = 20 / self.workload.rate if self.workload.rate else 0.0
        return min(LONGEST_ROUND, max(0.4, shortest, share))


def pairs(
    start: ServingSettings, engine: Sequence[EnginePoint], cores: int, goal: Goal
) -> list[ServingSettings]:
    """Instances and threads worth a try, merging requests: never more threads than cores, all of them or
    some left for the server's own work and the clients; threads that the engine wastes only where latency
    is the goal."""
    found = []
    single = max((p.crops_per_second for p in engine if p.threads == 1), default=0.0)
    for threads in thread_counts(cores):
        alone = max((p.crops_per_second for p in engine if p.threads == threads), default=0.0)
        if goal.kind == "throughput" and alone < 0.5 * threads * single:
            continue
        for total in (cores, math.ceil(cores * 3 / 4), math.ceil(cores / 2)):
            if instances := total // threads:
                found.append(replace(start, instances=instances, threads=threads, dynamic_batching=True))
    return list(dict.fromkeys(found))


def limited(settings: ServingSettings, batch: int) -> ServingSettings:
    """Requests merged up to ``batch`` crops. A smaller ``max_batch`` would refuse clients whose requests are
    larger; a preferred size only stops the merging there."""
    if batch >= settings.max_batch:
        return replace(settings, max_batch=batch, preferred=())
    return replace(settings, preferred=(batch,))


def thread_counts(cores: int) -> list[int]:
    """1, 2, 4, ... and all cores."""
    return sorted({min(cores, 2**k) for k in range(9)} | {min(cores, 256)})


def measure_engine(bundle: Path, precision: str, cores: int, crops: int, seconds: float) -> list[EnginePoint]:
    """The engine called directly: one thread at each batch size, and each thread count at a large batch."""
    images = np.random.default_rng(0).integers(0, 256, (128, IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
    engines = {
        t: Engine(str(bundle), precision=precision, threads=t, note=False) for t in thread_counts(cores)
    }
    points = [(1, batch) for batch in sorted({*_BATCHES, min(crops, 128)})]
    points += [(t, 128) for t in engines if t > 1]

    def run(threads: int, batch: int) -> None:
        for _ in range(max(1, 64 // batch)):
            engines[threads].predict(images[:batch])

    times = medians({f"{t} x {b}": partial(run, t, b) for t, b in points}, seconds, warmup=0)
    return [EnginePoint(t, b, b * max(1, 64 // b) / times[f"{t} x {b}"]) for t, b in points]


def judge(present: Trial, best: Trial, goal: Goal, workload: Workload) -> Verdict:
    """Whether ``best`` beats ``present`` beyond the noise of their paired rounds."""
    kept = [goal.keeps(trial.value("p99_ms")) for trial in (present, best)]
    by = goal.by(workload, all(kept))
    ratios = [getattr(b, by) / getattr(a, by) for a, b in zip(present.rounds, best.rounds, strict=True)]
    if by == "p99_ms":
        ratios = [1 / ratio for ratio in ratios]
    gain, wins, count = median(ratios), sum(r > 1 for r in ratios), len(ratios)
    # Fair coins give seven heads of eight, or more, once in thirty tries.
    needed = math.ceil(count * 7 / 8)
    what = "crops/s" if by == "crops_per_second" else "1/p99"
    told = f"{gain:.2f} times the {what}, better in {wins} of {count} paired rounds"
    worth = False
    if kept == [True, False]:
        reason = f"only the present settings keep the bound on p99: {told}"
    elif gain < 1 + SMALLEST_GAIN:
        reason = f"no gain that is worth a change: {told}"
    elif wins < needed:
        reason = f"within the noise: {told}, at least {needed} are wanted"
    else:
        worth, reason = True, told
    return Verdict(present, best, gain, wins, count, worth, reason)
