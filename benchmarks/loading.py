"""What a served network costs before its first answer: time to load, and memory.

Load time: ``Engine(bundle)`` from the path to the first possible call, hashes of every file checked, weights
folded and packed; median of 20, files in the system's cache. Memory: the highest resident set (VmHWM) of a
real tritonserver with one model that has answered requests of 64 crops, next to the same server without a
model.

    python benchmarks/loading.py [--bundle BUNDLE] [--bar 50] [--no-server]
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import _results
import numpy as np
import tritonclient.grpc as grpcclient
from _quantized import quantized

from ssr_bundle import commandline as command
from ssr_bundle.bundle import Bundle, read_bundle
from ssr_bundle.errors import SsrError
from ssr_ops import Engine, implementations
from ssr_ops.shipped import default_bundle
from ssr_train.data.synthetic import draw_faces
from triton_repo import ports
from triton_repo.config import Options
from triton_repo.control import Control, Unreachable
from triton_repo.repository import build
from triton_repo.server import Server
from triton_repo.tritonserver import find

PRECISIONS = ("fp32", "bf16", "int8")
LOADS = 20
BATCH, REQUESTS, STARTS = 64, 50, 3


class Load(NamedTuple):
    """Milliseconds."""

    median: float
    worst: float


def load_times(bundle: Bundle, precision: str) -> tuple[str, Load]:
    """The implementation that runs, and how long the engine takes to be ready."""
    times = []
    for _ in range(LOADS):
        begin = time.perf_counter()
        engine = Engine(bundle.path, precision=precision, note=False)
        times.append((time.perf_counter() - begin) * 1e3)
    return engine.implementation, Load(statistics.median(times), max(times))


def peak_memory(pid: int) -> float:
    """Highest resident set so far, in MiB."""
    found = re.search(r"^VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    if not found:
        raise SsrError(f"/proc/{pid}/status tells no VmHWM")
    return int(found[1]) / 1024


def empty_server(folder: Path) -> float:
    """MiB of a tritonserver that serves nothing."""
    stock, chosen = find(), ports.choose("127.0.0.1", 0, 0, 0)
    (folder / "models").mkdir()
    command = [
        str(stock.binary),
        f"--model-repository={folder / 'models'}",
        "--model-control-mode=explicit",
        *(f"--{kind}-address=127.0.0.1" for kind in ("http", "grpc", "metrics")),
        f"--http-port={chosen.http}",
        f"--grpc-port={chosen.grpc}",
        f"--metrics-port={chosen.metrics}",
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command, env=stock.environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        control, end = Control(f"127.0.0.1:{chosen.http}", timeout=5), time.monotonic() + 60
        while not answers(control):
            if process.poll() is not None or time.monotonic() > end:
                raise SsrError(f"tritonserver did not start:\n{(folder / 'log').read_text()[-2000:]}")
            time.sleep(0.05)
        time.sleep(1.0)
        return peak_memory(process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def answers(control: Control) -> bool:
    """Whether there is a server by now."""
    try:
        control.metadata()
    except Unreachable:
        return False
    return True


def served_memory(bundle: Bundle, precision: str, folder: Path) -> float:
    """MiB of a tritonserver that has answered ``REQUESTS`` requests of ``BATCH`` crops."""
    images = np.random.default_rng(0).integers(0, 256, (BATCH, 64, 64, 3), dtype=np.uint8)
    options = Options(instances=1, threads=1, precision=precision, max_batch=BATCH)
    build([("ssrnet", bundle.path)], folder, options)
    with Server(folder, watch=False) as server, grpcclient.InferenceServerClient(server.grpc_url) as client:
        tensor = grpcclient.InferInput("image", list(images.shape), "UINT8")
        tensor.set_data_from_numpy(images)
        for _ in range(REQUESTS):
            client.infer("ssrnet", [tensor])
        return peak_memory(server.pid)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", type=Path, default=default_bundle(), help="default: the shipped one")
    parser.add_argument("--bar", type=float, default=50.0, help="milliseconds a load may take (median)")
    parser.add_argument("--no-server", action="store_true", help="load times only")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bundle = read_bundle(options.bundle)
        bundle, _ = quantized(bundle, draw_faces(32, seed=11).images, Path(folder))
        measure(bundle, options)


def measure(bundle: Bundle, options: argparse.Namespace) -> None:
    """Load times, then memory; exit 1 above the bar."""
    runs, absent = {}, []
    for precision in PRECISIONS:
        try:
            if not implementations(precision):
                raise SsrError("not in this build")
            runs[precision] = load_times(bundle, precision)
        except SsrError as error:
            absent.append(f"- {precision}: {error}")
    memory: dict[str, float] = {}
    bare = 0.0
    if not options.no_server:
        with tempfile.TemporaryDirectory() as folder:
            bare = empty_server(Path(folder))
            for precision in runs:
                starts = (Path(folder) / f"{precision}-{start}" for start in range(STARTS))
                memory[precision] = statistics.median(served_memory(bundle, precision, at) for at in starts)
                print(f"{precision}: served", flush=True)
    report(bundle, runs, bare, memory, absent)
    slow = {precision: load.median for precision, (_, load) in runs.items() if load.median > options.bar}
    if slow:
        sys.exit(f"loading: above the bar of {options.bar:g} ms: {slow}")


def report(
    bundle: Bundle,
    runs: dict[str, tuple[str, Load]],
    bare: float,
    memory: dict[str, float],
    absent: list[str],
) -> None:
    """Print and write the table."""
    rows = []
    for precision, (implementation, load) in runs.items():
        cells = [f"{load.median:.1f}", f"{load.worst:.1f}"]
        if precision in memory:
            cells += [f"{memory[precision]:.0f}", f"{memory[precision] - bare:.0f}"]
        rows.append([f"{precision}, {implementation}", *cells])
    header = ["", "load, ms", "slowest, ms"]
    if memory:
        header += ["server with one instance, MiB", "the model's share, MiB"]
    size = sum(file.bytes for file in bundle.contract.files.values())
    lines = [
        "# Loading a network",
        "",
        f"{_results.hardware()}. {_results.versions('ssr-serve', 'numpy', 'tritonclient')}. Network "
        f"`{bundle.contract.name}`, {size / 1e6:.1f} MB.",
        f"Load: `Engine(bundle, precision=...)`, every file's hash checked; median of {LOADS}, files in the "
        f"system's cache. Load average {os.getloadavg()[0]:.1f}.",
        "",
        _results.table(header, rows),
    ]
    if memory:
        lines += [
            "",
            f"Memory is the highest resident set of the tritonserver after {REQUESTS} requests of {BATCH} "
            f"crops, the median of {STARTS} servers. Without a model the server alone takes {bare:.0f} MiB; "
            "the share holds the backend's library, the weights, scratch memory and the buffers of requests.",
        ]
    if absent:
        lines += ["", "Not measured:", "", *absent]
    lines += ["", "Command: `python benchmarks/loading.py`"]
    text = "\n".join(lines)
    print(text)
    print(f"written to {_results.write('loading', text)}")


if __name__ == "__main__":
    command.run(main, "loading")
