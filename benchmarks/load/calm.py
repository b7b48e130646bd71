"""Runs that others on the same hardware did not disturb, by what the hypervisor says that it took."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

CALM = 0.005
"""Share of the processors' time that the hypervisor may take in a run that counts at once."""
TRIES = 6

Result = TypeVar("Result")


def calm(run: Callable[[], Result]) -> tuple[Result, float, int]:
    """What ``run`` returned where the hypervisor took the least, that share, and how often it was run.

    It is repeated until the share is at most :data:`CALM`, :data:`TRIES` times at most. What is measured
    has no say in what counts: a run is chosen by the hypervisor's figure alone.
    """
    tries: list[tuple[float, Result]] = []
    while len(tries) < TRIES and not (tries and tries[-1][0] <= CALM):
        before, begin = stolen_seconds(), time.perf_counter()
        result = run()
        span = (time.perf_counter() - begin) * (os.cpu_count() or 1)
        tries.append(((stolen_seconds() - before) / span, result))
    share, result = min(tries, key=lambda t: t[0])
    return result, share, len(tries)


def stolen_seconds() -> float:
    """CPU time since boot, over all processors, that a hypervisor gave to others while this machine had work
    for it; 0 where the system does not tell."""
    path = Path("/proc/stat")
    fields = path.read_text().split("\n", 1)[0].split() if path.exists() else []
    return int(fields[8]) / os.sysconf("SC_CLK_TCK") if len(fields) > 8 else 0.0
