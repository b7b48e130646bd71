"""Which plan shows a contestant at its best, by measurement on this machine."""

from __future__ import annotations

import time
from collections.abc import Sequence

from peers.contestant import Call, Contestant, Images, Plan

_TURN = 0.012
"""Seconds of one look at a candidate."""
_LOOKS, _LOOKS_OF_LONG = 5, 3
PAUSE = 0.003
"""Seconds between turns where several threads work: the last one's may still spin."""


def survey(contestant: Contestant, batches: Sequence[int], images: Images) -> dict[Plan, float]:
    """Images a second on one thread of every variant in every chunk size, best first; ours has no chunks."""
    sizes = [size for size in contestant.chunks if size <= max(batches)]
    calls = {}
    for variant in contestant.variants:
        for size in sizes:
            plan = Plan(variant, size)
            calls[plan] = contestant.prepare(plan, images[:size], 1)
    if not calls:
        return {}
    rates = {plan: plan.chunk / seconds for plan, seconds in quickest(calls).items()}
    return dict(sorted(rates.items(), key=lambda item: -item[1]))


def choose(
    contestant: Contestant, surveyed: dict[Plan, float], batch: int, threads: int, images: Images
) -> Plan:
    """The quickest plan for a batch.

    One thread: the best chunk that divides it, by the survey. More: each chunk size in its best variant on
    the runtime's own threads, and the two best plans as single-threaded copies, are timed.
    """
    if not contestant.chunks:
        return Plan(contestant.variants[0], 0)
    fitting = [plan for plan in surveyed if batch % plan.chunk == 0]
    if threads == 1:
        return fitting[0]
    candidates = list({plan.chunk: plan for plan in reversed(fitting)}.values())
    if contestant.copies:
        copies = [Plan(p.variant, p.chunk, threads) for p in fitting if batch % (p.chunk * threads) == 0]
        candidates += copies[:2]
    calls = {plan: contestant.prepare(plan, images[:batch], threads) for plan in candidates}
    seconds = quickest(calls, pause=PAUSE)
    return min(seconds, key=lambda plan: seconds[plan])


def quickest(calls: dict[Plan, Call], pause: float = 0.0) -> dict[Plan, float]:
    """Seconds a call of each candidate: the best of a few short turns, taken alternately."""
    best = dict.fromkeys(calls, float("inf"))
    for call in calls.values():
        call()
    for look in range(_LOOKS):
        for plan, call in calls.items():
            if look >= _LOOKS_OF_LONG and best[plan] > _TURN:
                continue
            time.sleep(pause)
            if best[plan] < _TURN:
                call()
            end = time.perf_counter() + _TURN
            while True:
                begin = time.perf_counter()
                call()
                now = time.perf_counter()
                best[plan] = min(best[plan], now - begin)
                if now > end:
                    break
    return best
