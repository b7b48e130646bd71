"""How long single crops wait on a server that is partly busy: closed loops for what it carries, then open
loops at shares of that."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple, TypeVar

import numpy as np
from ssr_client import AgeClient
from ssr_client.bench import bench

from load.calm import calm
from load.generator import Generator, Run
from load.queue import ideal_latency
from ssr_bundle.machine import CpuMeter, usable_cores
from triton_repo.server import Server

UNDER_WAY = 8
RUNS = 5
SHARES = (0.25, 0.5, 0.75)

Result = TypeVar("Result")


class Way(NamedTuple):
    """One way to serve: a running server, a client of it, and the generator of requests to it."""

    server: Server
    client: AgeClient
    generator: Generator


class OpenLoop(NamedTuple):
    """One run: milliseconds, the generator's lateness in sending (99th percentile), shares of one core, and
    the share of all cores' time that the hypervisor took."""

    p50: float
    p99: float
    late: float
    client: float
    server: float
    stolen: float

    @property
    def ratio(self) -> float:
        return self.p99 / self.p50


class Latency(list[OpenLoop]):
    """Runs of one load."""

    def median(self, name: str) -> float:
        """Of a field or property of :class:`OpenLoop`."""
        return statistics.median(getattr(run, name) for run in self)

    @property
    def stolen(self) -> float:
        """The most that the hypervisor took in one of them."""
        return max(run.stolen for run in self)


@dataclass
class Tail:
    """Requests of one crop, served in one way. Requests a second in a closed loop, sent by the generator
    (``capacities``) or by one Python client (``clients``); latencies at :data:`SHARES` of the first, and at
    half of the second. ``tries``: how often the ``runs`` behind all that were begun."""

    capacities: list[float] = field(default_factory=list)
    clients: list[float] = field(default_factory=list)
    at: dict[float, Latency] = field(default_factory=lambda: {share: Latency() for share in SHARES})
    at_half_client: Latency = field(default_factory=Latency)
    runs: int = 0
    tries: int = 0

    @property
    def capacity(self) -> float:
        return statistics.median(self.capacities)

    @property
    def client(self) -> float:
        return statistics.median(self.clients)

    @property
    def ideal(self) -> float:
        """p99 over p50 at half of the capacity if the requests waited for nothing but each other."""
        rate = 0.5 * self.capacity
        half = self.at[0.5]
        work = (half.median("client") + half.median("server")) / rate
        p50, p99 = ideal_latency(rate, work, usable_cores())
        return p99 / p50

    def turn(self, served: Way, seconds: float, seed: int) -> None:
        """Measure the capacity, and at once the latencies at shares of it: a machine whose speed changes
        between the two would make half of the capacity something else."""
        capacity = self._calm(partial(served.generator.closed, UNDER_WAY, seconds))[0].rate
        users = self._calm(partial(bench, served.client, UNDER_WAY, 1, seconds / 2, 0.1))[0].images_per_second
        self.capacities.append(capacity)
        self.clients.append(users)
        loads = [(self.at[share], share * capacity) for share in SHARES]
        for latency, rate in [*loads, (self.at_half_client, users / 2)]:
            (run, server), stolen = self._calm(partial(_open_loop, served, rate, seconds, seed))
            p50, p99, late = run.percentile(50), run.percentile(99), float(np.percentile(run.late, 99))
            latency.append(OpenLoop(p50, p99, late, run.cpu, server, stolen))

    def _calm(self, measure: Callable[[], Result]) -> tuple[Result, float]:
        result, stolen, tries = calm(measure)
        self.runs += 1
        self.tries += tries
        return result, stolen


def measure_tails(ways: Mapping[str, Way], seconds: float) -> dict[str, Tail]:
    """By way to serve; the ways take turns. ``seconds``: of each run."""
    tails = {way: Tail() for way in ways}
    for seed in range(RUNS):
        for way, served in ways.items():
            tails[way].turn(served, seconds, seed)
    return tails


def _open_loop(served: Way, rate: float, seconds: float, seed: int) -> tuple[Run, float]:
    """The run, and the server's share of one core meanwhile."""
    cpu = CpuMeter(served.server.pid)
    run = served.generator.open(rate, seconds, seed)
    return run, cpu.share
