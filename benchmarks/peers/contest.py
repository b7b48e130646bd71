"""The contest: answers held to the reference first, then all timed in turns, so that noise hits all alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import _kernels
import numpy as np
from numpy.typing import NDArray

from peers.contestant import Answers, Call, Contestant, Images, Plan, WrongError
from peers.tuning import PAUSE
from ssr_bundle.bundle import Bundle

AGREEMENT = 2e-3
"""Years from the float64 reference on the golden record's face crops: fp32."""
BROKEN = 3.0
"""Mean years from fp32 above which a bf16 or int8 network counts as broken by its conversion."""
_TURN = 0.01


@dataclass(frozen=True)
class Drift:
    """Years, scaled to V = 101: fp32 from the reference on golden faces; else from fp32 on fresh crops."""

    mean: float
    worst: float


@dataclass
class Timing:
    """Images a second in each turn, and of the quickest single call."""

    turns: list[float] = field(default_factory=list)
    best: float = 0.0

    @property
    def rate(self) -> float:
        return statistics.median(self.turns)

    def over(self, other: Timing) -> float:
        """Median of the turns' ratios."""
        return statistics.median(a / b for a, b in zip(self.turns, other.turns, strict=True))


@dataclass(frozen=True)
class Judge:
    """What answers are held to: the golden record's faces, and fp32 on crops that were not quantized on."""

    bundle: Bundle
    crops: Images
    fp32: Answers

    def drift(self, contestant: Contestant, plans: Sequence[Plan]) -> Drift:
        """The largest over ``plans``, on one thread; raises :class:`WrongError` for one beyond the bounds."""
        golden = self.bundle.golden()
        faces, expected = self.crops, self.fp32
        if contestant.precision == "fp32":
            faces, expected = golden["crops"], golden["output"][: len(golden["crops"])]
        plans = list(dict.fromkeys(plans))
        found = [self.check(contestant, contestant.predict(plan, faces), expected) for plan in plans]
        return max(found, key=lambda drift: drift.worst)

    def check(self, contestant: Contestant, answers: Answers, expected: NDArray[np.floating]) -> Drift:
        """How far ``answers`` are from what is expected, if that is within the bounds."""
        low, high = self.bundle.contract.interface.output.clip
        scale = 101 / self.bundle.contract.architecture.value_range
        error = np.abs(np.clip(answers, low, high) - expected) * scale
        drift = Drift(float(error.mean()), float(error.max()))
        exact = contestant.precision == "fp32"
        size, bound = (drift.worst, AGREEMENT) if exact else (drift.mean, BROKEN)
        if not size <= bound:
            raise WrongError(f"{size:.3g} years off, {bound:g} allowed: not timed")
        return drift


def contest(
    calls: Mapping[str, Call], batch: int, seconds: float, pause: float = 0.0
) -> tuple[dict[str, Timing], dict[str, Exception]]:
    """Rounds of one turn each for ``seconds``, at least 5 (3 when slow). A turn: 10 ms, at least one call.

    A call shorter than a turn is run once more before it, for the caches that the others have filled. One
    that fails leaves the contest: the second result says why, by name.
    """
    timings: dict[str, Timing] = {}
    lost: dict[str, Exception] = {}
    short = set()
    for name, call in calls.items():
        try:
            call()
            start = time.perf_counter()
            call()
        except Exception as error:
            lost[name] = error
            continue
        timings[name] = Timing()
        if time.perf_counter() - start < _TURN:
            short.add(name)
    begin, rounds = time.perf_counter(), 0
    while (spent := time.perf_counter() - begin) < seconds or rounds < (5 if spent < 3 * seconds else 3):
        rounds += 1
        for name in list(timings):
            time.sleep(pause)
            try:
                if name in short:
                    calls[name]()
                turn(timings[name], calls[name], batch)
            except Exception as error:
                lost[name] = error
                del timings[name]
    return timings, lost


def turn(timing: Timing, call: Call, batch: int) -> None:
    begin = last = time.perf_counter()
    count = 0
    while count == 0 or last - begin < _TURN:
        call()
        now = time.perf_counter()
        timing.best = max(timing.best, batch / (now - last))
        last = now
        count += 1
    timing.turns.append(count * batch / (last - begin))


def multiply_adds(precision: str, implementation: str, seconds: float) -> float | None:
    """Multiply-adds a second of a loop of nothing else; None where this build has no such loop."""
    try:
        return float(_kernels.load().measure_multiply_adds(implementation, seconds, precision))
    except ValueError:
        return None


def peaks(kinds: Sequence[tuple[str, str]], seconds: float = 0.3) -> dict[tuple[str, str], float]:
    """The best of many millisecond looks at each (precision, implementation), taken alternately."""
    best: dict[tuple[str, str], float] = {}
    end = time.perf_counter() + seconds * len(kinds)
    while time.perf_counter() < end:
        for kind in kinds:
            rate = multiply_adds(*kind, 0.001)
            if rate is not None:
                best[kind] = max(best.get(kind, 0.0), rate)
    return best


@dataclass(frozen=True)
class Scaling:
    """One thread and several at the same batch, in the same rounds; and the loop of multiply-adds alone."""

    one: float
    several: float
    engine: float
    loop: float | None


def scaling(
    one: Call, several: Call, kind: tuple[str, str], batch: int, threads: int, seconds: float
) -> Scaling:
    """Medians over rounds of: our engine on one thread, on ``threads``; the pure loop likewise.

    The loops run in Python threads, which the native call lets go of the interpreter's lock.
    """
    alone, together = Timing(), Timing()
    loops: list[float] = []
    for call in (one, several):
        call()
    with ThreadPoolExecutor(threads) as pool:
        end = time.perf_counter() + seconds
        while time.perf_counter() < end or len(alone.turns) < 7:
            turn(alone, one, batch)
            turn(together, several, batch)
            time.sleep(PAUSE)
            single = multiply_adds(*kind, 0.02)
            if single is not None:
                jobs = [pool.submit(multiply_adds, *kind, 0.02) for _ in range(threads)]
                loops.append(sum(job.result() or 0.0 for job in jobs) / single)
    return Scaling(
        alone.rate, together.rate, together.over(alone), statistics.median(loops) if loops else None
    )
