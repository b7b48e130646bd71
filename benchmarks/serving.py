"""What serving costs: crops a second through a real tritonserver against the engine called directly, and
how long a single crop waits on a server that is half busy.

Like with like: one model instance with one thread against the engine with one thread, the same bundle,
precision and implementation, taking turns in one process. The served answers must be the engine's to the
last bit before anything is timed, and every answer is checked while it is. Clients send requests of 64
crops, once over gRPC and once through memory shared with the server; their own share of the CPU is stated,
for on a small machine they work on cores that the server could have had.

Tail: the capacity for requests of one crop is measured in a closed loop, for each of four ways to serve: one
instance that merges what waits, that holds requests back to merge more, and that takes them as they come, and
an instance a core that does so. Then requests arrive by chance (a Poisson process) at a quarter, half and
three quarters of that way's own rate, and latencies count from the moment at which each was due. A generator
in C++ sends (``load/grpc_load.cc``, it needs libnghttp2-dev): a Python client that shares the cores with the
server measures itself. What one process of ``ssr_client`` reaches stands beside the capacity, with the
latencies at half of it.

Why there is a tail: requests that arrive by chance wait for each other. What the CPU time that client and
server spend on a request would give if any core took the next one at once, an ideal queue (M/D/c), stands
beside the measured ratio. On a virtual machine others make a tail as well: a run in which the hypervisor took
more than half a percent of the cores' time is repeated (``load/calm.py``).

    python benchmarks/serving.py [--bundle BUNDLE] [--seconds 8] [--only int8:amx] [--no-tail]
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import _results
import numpy as np
from load.calm import CALM, TRIES
from load.generator import Generator, compile_generator
from load.tail import RUNS, SHARES, UNDER_WAY, Latency, Tail, Way, measure_tails
from ssr_client import AgeClient
from ssr_client.bench import bench

from ssr_bundle import commandline as command
from ssr_bundle.bundle import Bundle, read_bundle
from ssr_bundle.contract import PRECISIONS
from ssr_bundle.errors import SsrError
from ssr_bundle.machine import CpuMeter, usable_cores
from ssr_ops import Engine, implementations
from ssr_ops.shipped import default_bundle
from triton_repo.config import Options
from triton_repo.repository import build
from triton_repo.server import Server

BATCH = 64
WIRES = ("gRPC", "shared memory")
EVEN = "1 instance, held back 400 us"
"""The way whose tail is held to a bar: the delay is a large part of every latency. The others answer sooner
at the median, and an ideal queue of their work alone comes to the bar or breaks it."""
WAYS = {
    "1 instance, merged": {"instances": 1},
    EVEN: {"instances": 1, "queue_delay_us": 400},
    "1 instance, as sent": {"instances": 1, "dynamic_batching": False},
    f"{usable_cores()} instances, as sent": {"instances": usable_cores(), "dynamic_batching": False},
}
"""How single crops are served: options of ``ssr-serve build``."""


class Turn(NamedTuple):
    """One turn of a wire: crops a second over the engine's in the turn beside it, and CPU shares."""

    rate: float
    ratio: float
    client: float
    server: float


class Measured(NamedTuple):
    precision: str
    implementation: str
    engine: list[float]
    wires: dict[str, list[Turn]]
    tails: dict[str, Tail]
    server: str


def forced(implementation: str) -> Any:
    """What servers that are started within run."""
    return mock.patch.dict(os.environ, SSR_FORCE_IMPLEMENTATION=implementation)


def candidates(bundle: Bundle) -> list[tuple[str, str]]:
    """Precisions with the implementation that runs, and in int8 every other one of AVX-512 and AMX."""
    found = []
    for precision in ("fp32", *PRECISIONS):
        if precision == "fp32" or bundle.contract.quantization is not None:
            names = implementations(precision)
            wide = [n for n in names[1:] if precision == "int8" and n.startswith(("amx", "avx512"))]
            found += [(precision, name) for name in [*names[:1], *wide]]
    return found


def measure(bundle: Bundle, precision: str, implementation: str, seconds: float, tail: bool) -> Measured:
    images = np.random.default_rng(0).integers(0, 256, (BATCH, 64, 64, 3), dtype=np.uint8)
    images[: len(bundle.golden()["crops"])] = bundle.golden()["crops"][:BATCH]
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        stack.enter_context(forced(implementation))
        engine = Engine(bundle, precision=precision, note=False)
        options = Options(instances=1, threads=1, max_batch=BATCH, precision=precision)
        build([("ssrnet", bundle.path)], folder, options)
        server = stack.enter_context(Server(Path(folder), watch=False, shared_memory=True))
        clients = {
            wire: stack.enter_context(AgeClient(server.grpc_url, shared_memory=wire != "gRPC"))
            for wire in WIRES
        }
        for client in clients.values():
            check_bits(client, engine, images)
        alone: list[float] = []
        turns: dict[str, list[Turn]] = {wire: [] for wire in WIRES}
        length = max(0.3, seconds / 7 / 3)
        for wire in WIRES:
            bench(clients[wire], UNDER_WAY, BATCH, 0.3, 0.1)
        end = time.monotonic() + seconds
        while len(alone) < 5 or time.monotonic() < end:
            alone.append(engine_turn(engine, images, length))
            for wire in WIRES:
                cpu = CpuMeter(server.pid)
                result = bench(clients[wire], UNDER_WAY, BATCH, length, 0.0)
                share, rate = cpu.share, result.images_per_second
                turns[wire].append(Turn(rate, rate / alone[-1], result.client_cpu, share))
        version = str(server.control.metadata()["version"])
    tails = tails_of(bundle, precision, implementation, engine, images, seconds) if tail else {}
    return Measured(precision, engine.implementation, alone, turns, tails, version)


def check_bits(client: Any, engine: Engine, images: Any) -> None:
    """Refuse to time a server whose answers are not the engine's, at any batch size."""
    for size in (1, 2, 7, 33, BATCH):
        served = client.predict(images[:size], colour=engine.colour)
        if served.tobytes() != engine.predict(images[:size]).tobytes():
            sys.exit(f"serving: {size} served answers are not the engine's bits; nothing was timed")
    if client.last.engine != f"{engine.precision} {engine.implementation}":
        sys.exit(f"serving: {client.last.engine} answered, not {engine.precision} {engine.implementation}")


def engine_turn(engine: Engine, images: Any, seconds: float) -> float:
    begin, calls = time.perf_counter(), 0
    while time.perf_counter() - begin < seconds:
        engine.predict(images)
        calls += 1
    return calls * BATCH / (time.perf_counter() - begin)


def tails_of(
    bundle: Bundle, precision: str, implementation: str, engine: Engine, images: Any, seconds: float
) -> dict[str, Tail]:
    """Single crops by each of :data:`WAYS`, each from a server of its own."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(forced(implementation))
        served: dict[str, Way] = {}
        for way, options in WAYS.items():
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            build([("ssrnet", bundle.path)], folder, Options(precision=precision, **options))
            server = stack.enter_context(Server(Path(folder), watch=False))
            client = stack.enter_context(AgeClient(server.grpc_url))
            check_bits(client, engine, images)
            generator = stack.enter_context(Generator(client, images[:1]))
            served[way] = Way(server, client, generator)
        return measure_tails(served, max(0.5, seconds / 5))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", type=Path, default=default_bundle())
    parser.add_argument("--seconds", type=float, default=8.0, help="of measuring throughput, for each row")
    parser.add_argument("--only", metavar="PRECISION:IMPLEMENTATION", help="one row; writes no table")
    parser.add_argument(
        "--bar", type=float, default=0.9, help="smallest ratio to the engine, of the fastest row"
    )
    parser.add_argument(
        "--tail-bar", type=float, default=3.0, help="largest p99 over p50 at half capacity, held back"
    )
    parser.add_argument("--no-tail", action="store_true", help="throughput only")
    options = parser.parse_args()
    if not options.no_tail:
        with tempfile.TemporaryDirectory() as folder:
            compile_generator(Path(folder))  # what is missing is told before anything is measured
    bundle = read_bundle(options.bundle)
    rows = candidates(bundle)
    if options.only:
        precision, _, implementation = options.only.partition(":")
        if implementation not in implementations(precision):
            raise SsrError(f"{options.only}: not in this build and machine")
        rows = [(precision, implementation)]
    measured = []
    for precision, implementation in rows:
        measured.append(measure(bundle, precision, implementation, options.seconds, not options.no_tail))
        print(summary(measured[-1]), flush=True)
    text = report(bundle, measured)
    print(text)
    if not options.only:
        print(f"written to {_results.write('serving', text)}")
    fastest = max(measured, key=lambda m: statistics.median(m.engine))
    best = max(statistics.median(t.ratio for t in turns) for turns in fastest.wires.values())
    name = f"{fastest.precision} {fastest.implementation}"
    faults = [f"{name}: ratio {best:.2f} is below {options.bar}"] if best < options.bar else []
    for m in measured:
        half = m.tails[EVEN].at[0.5] if m.tails else None
        if half is not None and (ratio := half.median("ratio")) > options.tail_bar:
            fault = f"{m.precision} {m.implementation}, {EVEN}: p99 is {ratio:.2f} times p50"
            disturbed = f", and the hypervisor took up to {half.stolen:.1%}" if half.stolen > CALM else ""
            faults.append(f"{fault}, above {options.tail_bar}{disturbed}")
    if faults:
        sys.exit(f"serving: {'; '.join(faults)}")


def summary(m: Measured) -> str:
    ratios = ", ".join(f"{wire} {statistics.median(t.ratio for t in m.wires[wire]):.2f}" for wire in WIRES)
    tails = "; ".join(f"{way} {tail.at[0.5].median('ratio'):.2f}" for way, tail in m.tails.items())
    return (
        f"{m.precision} {m.implementation}: engine {statistics.median(m.engine):,.0f} crops/s; {ratios}"
        + (f"; p99/p50 at half of the capacity: {tails}" if tails else "")
    )


def waits(latency: Latency) -> str:
    return f"{latency.median('p50'):.2f} / {latency.median('p99'):.2f}"


def report(bundle: Bundle, measured: list[Measured]) -> str:
    """Two tables: throughput against the engine, and the tail."""
    throughput, tails = [], []
    for m in measured:
        name = f"{m.precision}, `{m.implementation}`"
        cells = [f"{statistics.median(m.engine):,.0f}"]
        for wire in WIRES:
            turns = m.wires[wire]
            rate, ratio, client, server = (statistics.median(column) for column in zip(*turns, strict=True))
            cells += [f"{rate:,.0f}", f"{ratio:.2f}", f"{client:.2f} + {server:.2f}"]
        throughput.append([name, *cells])
        for way, tail in m.tails.items():
            half, slow = tail.at[0.5], tail.at_half_client
            cells = [f"{name}: {way}", f"{tail.capacity:,.0f}"]
            cells += [waits(at) for at in tail.at.values()]
            cells += [f"{half.median('ratio'):.2f}", f"{tail.ideal:.2f}", f"{half.median('late'):.2f}"]
            cells += [f"{half.median('client'):.2f} + {half.median('server'):.2f}", f"{half.stolen:.1%}"]
            cells += [f"{tail.client:,.0f}", waits(slow), f"{slow.median('ratio'):.2f}"]
            tails.append(cells)
    header = ["one instance, one thread", "engine"]
    for wire in WIRES:
        header += [f"{wire}", "ratio", "CPU client + server"]
    lines = [
        "# Serving against the engine",
        "",
        f"{_results.hardware()}. tritonserver {measured[0].server}, "
        f"{_results.versions('numpy', 'tritonclient', 'grpcio')}. Network `{bundle.contract.name}`.",
        f"Crops a second; requests of {BATCH} crops, {UNDER_WAY} under way; the engine is called directly "
        f"with batches of {BATCH}. Medians of {len(measured[0].engine)} or more turns, taken alternately; "
        "a ratio is the median of the turns' ratios. Every answer compared to the bit. "
        f"Load average {os.getloadavg()[0]:.1f}.",
        "",
        _results.table(header, throughput),
        "",
    ]
    if tails:
        runs = sum(tail.runs for m in measured for tail in m.tails.values())
        repeated = sum(tail.tries for m in measured for tail in m.tails.values()) - runs
        columns = [f"at {share:.0%}: p50 / p99" for share in SHARES]
        columns += ["at 50%: p99 / p50", "ideal queue", "sent late, p99", "CPU client + server", "stolen"]
        columns += ["Python client", "at half of it: p50 / p99", "p99 / p50"]
        lines += [
            "Requests of one crop over gRPC, by the way they are served (merged and held back: dynamic "
            "batching without and with a queue delay; as sent: no dynamic batching): capacity with "
            f"{UNDER_WAY} under way (requests/s), and right after it Poisson arrivals at shares of it. "
            "Milliseconds from the moment each request was due, the generator's lateness in sending "
            f"included; medians of {RUNS} turns. The generator (`load/grpc_load.cc`) works on the "
            "server's cores. Ideal queue: p99 / p50 if the CPU time that client and server spend on a "
            "request were one job, and any core took the next at once (`load/queue.py`). Stolen: the "
            f"largest share of the cores' time that the hypervisor took in one of the {RUNS}; a run in "
            f"which it took more than {CALM:.1%} was repeated, {TRIES} runs at most, and the one in which it "
            f"took least counts ({repeated:,} repetitions for {runs:,} runs; `load/calm.py`). Last, what one "
            "process of the Python client reaches in the same closed loop, and the generator's latencies at "
            "half of that rate.",
            "",
            _results.table(["", "capacity", *columns], tails),
            "",
        ]
    if bundle.contract.quantization is None:
        lines += ["The bundle is not quantized: bf16 and int8 were not measured.", ""]
    return "\n".join([*lines, "Command: `python benchmarks/serving.py`", ""])


if __name__ == "__main__":
    command.run(main, "serving")
