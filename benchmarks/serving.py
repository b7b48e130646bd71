"""What serving costs: crops a second through a real tritonserver against the engine called directly.

Like with like: one model instance with one thread against the engine with one thread, the same bundle,
taking turns in one process. The served answers must be the engine's to the last bit before anything is
timed. The client sends requests of 64 crops over gRPC with a few in flight; its own share of the CPU is
stated, for on a small machine it works on the core that the server could have had.

    python benchmarks/serving.py [--bundle BUNDLE] [--seconds 10] [--bar 0.85]
"""

from __future__ import annotations

import argparse
import os
import queue
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import _report
import numpy as np
import tritonclient.grpc as grpcclient

from ssr_ops import Engine
from ssr_train.bundle import default_bundle, read_bundle
from triton_repo.config import Options
from triton_repo.repository import build
from triton_repo.server import Server

BATCH = 64
IN_FLIGHT = 4
MODEL = "ssrnet"


class Turn(NamedTuple):
    """One turn of requests: images a second, and CPU seconds a second of client and server."""

    rate: float
    client: float
    server: float


def request(images: Any) -> Any:
    tensor = grpcclient.InferInput("image", list(images.shape), "UINT8")
    tensor.set_data_from_numpy(images)
    return tensor


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def served_turn(client: Any, tensor: Any, pid: int, requests: int) -> Turn:
    """Send ``requests`` requests with ``IN_FLIGHT`` of them under way at any time."""
    done: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def send() -> None:
        client.async_infer(MODEL, [tensor], lambda result, error: done.put(error))

    begin, own, theirs = time.perf_counter(), time.process_time(), cpu_seconds(pid)
    for _ in range(IN_FLIGHT):
        send()
    for index in range(requests):
        if error := done.get(timeout=60):
            raise error
        if index + IN_FLIGHT < requests:
            send()
    seconds = time.perf_counter() - begin
    return Turn(
        requests * BATCH / seconds,
        (time.process_time() - own) / seconds,
        (cpu_seconds(pid) - theirs) / seconds,
    )


def engine_turn(engine: Engine, images: Any, calls: int) -> float:
    begin = time.perf_counter()
    for _ in range(calls):
        engine.predict(images)
    return calls * BATCH / (time.perf_counter() - begin)


def latencies(client: Any, tensor: Any, seconds: float) -> list[float]:
    """Milliseconds of single-crop requests, one after the other."""
    found = []
    end = time.perf_counter() + seconds
    while len(found) < 200 or time.perf_counter() < end:
        begin = time.perf_counter()
        client.infer(MODEL, [tensor])
        found.append((time.perf_counter() - begin) * 1e3)
    return found


def check_bits(client: Any, engine: Engine, images: Any) -> None:
    """Refuse to time a server whose answers are not the engine's, at any batch size."""
    for size in (1, 2, 7, 33, BATCH):
        served = client.infer(MODEL, [request(images[:size])]).as_numpy(engine.output_name)[:, 0]
        if served.tobytes() != engine.predict(images[:size]).tobytes():
            sys.exit(f"serving: {size} served answers are not the engine's bits; nothing was timed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--bundle", type=Path, default=default_bundle())
    parser.add_argument("--seconds", type=float, default=10.0, help="of measuring throughput, in all")
    parser.add_argument("--bar", type=float, default=0.85, help="smallest ratio that passes")
    options = parser.parse_args()
    bundle = read_bundle(options.bundle)
    images = np.random.default_rng(0).integers(0, 256, (BATCH, 64, 64, 3), dtype=np.uint8)
    images[: len(bundle.golden()["crops"])] = bundle.golden()["crops"]
    engine = Engine(bundle)
    with tempfile.TemporaryDirectory() as folder:
        build([(MODEL, bundle.path)], folder, Options(instances=1, threads=1, max_batch=BATCH))
        with (
            Server(folder, watch=False) as server,
            grpcclient.InferenceServerClient(server.grpc_url) as client,
        ):
            check_bits(client, engine, images)
            print("served answers are the engine's bits at batch sizes 1, 2, 7, 33, 64", flush=True)
            version = server.control.metadata()["version"]
            tensor = request(images)
            rate = engine_turn(engine, images, 4)
            calls = max(8, int(rate * 0.25 / BATCH))
            served_turn(client, tensor, server.pid, calls)
            turns: list[Turn] = []
            direct: list[float] = []
            end = time.perf_counter() + options.seconds
            while len(turns) < 7 or time.perf_counter() < end:
                direct.append(engine_turn(engine, images, calls))
                turns.append(served_turn(client, tensor, server.pid, calls))
            single = latencies(client, request(images[:1]), 2.0)
    report(options, engine, version, direct, turns, single)


def report(
    options: argparse.Namespace,
    engine: Engine,
    version: str,
    direct: list[float],
    turns: list[Turn],
    single: list[float],
) -> None:
    """Print and write the table; exit 1 below the bar."""
    ratio = statistics.median(t.rate / d for t, d in zip(turns, direct, strict=True))
    alone, served = statistics.median(direct), statistics.median(t.rate for t in turns)
    cuts = statistics.quantiles(single, n=100)
    rows = [
        [f"engine `{engine.implementation}`, one thread, in process", f"{alone:,.0f}", "1.00"],
        ["tritonserver, one instance with one thread, gRPC", f"{served:,.0f}", f"{ratio:.2f}"],
    ]
    share = [statistics.median(getattr(t, who) for t in turns) for who in ("client", "server")]
    text = "\n".join(
        [
            "# Serving against the engine",
            "",
            f"{_report.hardware()}. tritonserver {version}, "
            f"{_report.versions('numpy', 'tritonclient', 'grpcio')}. Precision fp32, `{engine.name}`.",
            f"Requests of {BATCH} crops, {IN_FLIGHT} in flight; medians of {len(turns)} turns each, taken "
            "alternately; the ratio is the median of the turns' ratios. Answers compared to the bit before "
            f"timing. Load average meanwhile {os.getloadavg()[0]:.1f}.",
            "",
            _report.table(["", "crops/s", "ratio"], rows),
            "",
            f"While serving, the client used {share[0]:.2f} CPU and the server {share[1]:.2f}. "
            f"One crop a request, one request at a time: p50 {cuts[49]:.2f} ms, p99 {cuts[98]:.2f} ms "
            f"({len(single)} requests).",
            "",
            "Command: `python benchmarks/serving.py`",
            "",
        ]
    )
    print(text)
    print(f"written to {_report.write('serving', text)}")
    if ratio < options.bar:
        sys.exit(f"serving: ratio {ratio:.2f} is below the bar of {options.bar}")


if __name__ == "__main__":
    main()
