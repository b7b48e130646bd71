"""What waiting for each other alone makes of latencies: an ideal queue."""

from __future__ import annotations

import heapq

import numpy as np


def ideal_latency(rate: float, work: float, cores: int, count: int = 100_000) -> tuple[float, float]:
    """Median and 99th percentile, in the unit of ``work``, of requests that wait for each other only.

    ``rate`` requests in a unit of time arrive by chance (a Poisson process); each takes ``work`` of one of
    ``cores``, in the order of arrival (M/D/c), and no core rests while one waits. Simulated.
    """
    if not rate * work < cores:
        return float("inf"), float("inf")
    arrivals = np.cumsum(np.random.default_rng(0).exponential(1 / rate, count))
    free = [0.0] * cores
    latencies = np.empty(count)
    for k, arrival in enumerate(arrivals):
        end = max(arrival, free[0]) + work
        heapq.heapreplace(free, end)
        latencies[k] = end - arrival
    return float(np.percentile(latencies, 50)), float(np.percentile(latencies, 99))
