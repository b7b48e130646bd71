"""Does a served network hold? Malformed requests, publishes under load, kills, hours of work.

Each part runs beside innocent clients whose every answer is compared with the engine's bits; a wrong or lost
answer, a version that is broken, or memory and descriptors that grow are failures (exit 1).

    python benchmarks/endurance.py [--malformed 25000] [--changes 60] [--kills 65] [--soak 25] [--output DIR]

Numbers are of requests, publishes and rollbacks, kills, and minutes; 0 leaves a part out.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import _results
import grpc
import numpy as np
from rich.console import Console
from ssr_client.client import AgeClient
from tritonclient.grpc import service_pb2

from ssr_bundle import commandline as command
from ssr_bundle.bundle import Bundle, read_bundle
from ssr_bundle.errors import SsrError
from ssr_ops import Engine
from ssr_ops.golden import write_bundle
from ssr_ops.shipped import default_bundle
from ssr_train.progress import bar
from triton_repo.repository import build, publish, rollback
from triton_repo.server import Server
from triton_repo.versions import list_versions

MODEL = "ssrnet"
INFER = "/inference.GRPCInferenceService/ModelInfer"
INNOCENT = 2
"""Clients beside each part."""

SETTLE = 0.5
"""Share of a soak that is not counted: the allocator's arenas, one a thread, fill ever more slowly."""

MOST_GROWTH = 4.0
"""MiB an hour of resident memory that a soak may add."""

LEAST_MINUTES = 20
"""Of a soak whose growth of memory is judged: in a shorter one it is shown."""

CROPS = np.random.default_rng(7).integers(0, 256, (16, 64, 64, 3), np.uint8)


@dataclass
class Innocent:
    """Clients that ask the same again and again; ``expected``: the bits of each set of weights."""

    url: str
    expected: Mapping[str, bytes]
    answers: int = 0
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._stopping, self._lock = threading.Event(), threading.Lock()
        self._threads = [threading.Thread(target=self._ask) for _ in range(INNOCENT)]

    def __enter__(self) -> Innocent:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        if not self.answers:
            self.faults.append("innocent clients had no answer at all")

    def _ask(self) -> None:
        with AgeClient(self.url, MODEL, retries=0) as client:
            while not self._stopping.is_set():
                try:
                    bits = client.predict(CROPS).tobytes()
                    right = bits == self.expected.get(client.weights_sha256 or "")
                    fault = "" if right else f"wrong bits of {client.weights_sha256}"
                except SsrError as error:
                    fault = str(error)
                with self._lock:
                    self.answers += 1
                    if fault:
                        self.faults.append(fault)


@dataclass(frozen=True)
class Part:
    """One row: what was done, and what came of it. ``faults``: why it failed, if it did."""

    done: str
    found: str
    faults: list[str]


def innocents(server: Server, bundles: list[Bundle]) -> Innocent:
    engines = [Engine(bundle) for bundle in bundles]
    return Innocent(server.grpc_url, {e.weights_sha256: e.predict(CROPS).tobytes() for e in engines})


# -- malformed requests ------------------------------------------------------------------------------------


def valid_request() -> Any:
    request = service_pb2.ModelInferRequest(model_name=MODEL)
    request.inputs.add(name="image", datatype="UINT8", shape=[2, 64, 64, 3])
    request.raw_input_contents.append(CROPS[:2].tobytes())
    return request


def malformed(rng: random.Random) -> bytes:
    """A request that something is wrong with: a field of it, or some of its bytes."""
    request = valid_request()
    tensor = request.inputs[0]
    kind = rng.randrange(10)
    if kind == 0:
        tensor.shape[:] = [rng.choice([-1, 0, 1, 2, 3, 64, 2**31, 2**62]) for _ in range(rng.randrange(6))]
    elif kind == 1:
        tensor.datatype = rng.choice(["FP32", "BYTES", "INT64", "BOOL", "", "uint8", "\x00", "X" * 999])
    elif kind == 2:
        tensor.name = rng.choice(["", "picture", "age", "image\x00", "../image", "é" * 99])
    elif kind == 3:
        request.raw_input_contents[0] = rng.randbytes(rng.choice([0, 1, 12288, 24575, 24577, 100_000]))
    elif kind == 4:
        del request.raw_input_contents[:]
        tensor.contents.uint_contents.extend(rng.randrange(256) for _ in range(rng.choice([0, 7, 24576])))
    elif kind == 5:
        request.outputs.add(name=rng.choice(["", "gender", "p", "age_interval", "x" * 5000]))
    elif kind == 6:
        request.model_version = rng.choice(["0", "-1", "9", "1.0", "x", str(2**64), "1 "])
    elif kind == 7:
        key = rng.choice(["interface_sha256", "sequence_id", "timeout", "priority", "binary_data", ""])
        value = rng.choice([{"bool_param": True}, {"int64_param": -1}, {"string_param": "0" * 64}])
        for name, one in value.items():
            setattr(request.parameters[key], name, one)
    elif kind == 8:
        request.inputs.add(name="image", datatype="UINT8", shape=[2, 64, 64, 3])
        request.raw_input_contents.append(b"")
    data = bytearray(request.SerializeToString())
    if kind == 9:
        for _ in range(rng.randrange(1, 9)):
            data[rng.randrange(min(len(data), 60))] = rng.randrange(256)
        data = data[: rng.choice([len(data), rng.randrange(len(data))])]
    return bytes(data)


def malformed_http(port: int, rng: random.Random) -> None:
    """The same over HTTP, whatever comes back. Shared memory is closed, and a compressed body is left out:
    it makes the server itself lose memory."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    paths = [
        f"/v2/models/{MODEL}/infer",
        f"/v2/models/{MODEL}/versions/9/infer",
        "/v2/models//infer",
        "/v2/x",
    ]
    body: Any = {"inputs": [{"name": "image", "shape": [1, 64, 64, 3], "datatype": "UINT8", "data": [1]}]}
    text = json.dumps(body)
    cut = text[: rng.randrange(len(text))]
    data = rng.choice([cut, "[" * rng.randrange(5000), "null", "{}", rng.randbytes(200).hex(), text])
    headers = {}
    if rng.random() < 0.3:
        headers["Inference-Header-Content-Length"] = rng.choice(["-1", "0", "5", "999999999", "x"])
    try:
        connection.request(rng.choice(["POST", "GET", "PUT"]), rng.choice(paths), data, headers)
        connection.getresponse().read()
    except (http.client.HTTPException, OSError):
        pass
    finally:
        connection.close()


def refuses_malformed(count: int, server: Server, bundle: Bundle, tick: Callable[[int], None]) -> Part:
    rng, refused, answered = random.Random(1), 0, 0
    port = int(server.http_url.rpartition(":")[2])
    channel = grpc.insecure_channel(server.grpc_url)
    infer = channel.unary_unary(INFER)
    with innocents(server, [bundle]) as beside:
        for number in range(count):
            if number % 10 == 0:
                malformed_http(port, rng)
                refused += 1
            else:
                try:
                    infer(malformed(rng), timeout=20)
                    answered += 1  # what was changed did not matter
                except grpc.RpcError:
                    refused += 1
            tick(1)
    channel.close()
    faults = list(beside.faults)
    if server.wait(0):
        faults.append(f"the server ended with status {server.returncode}")
    found = f"{refused:,} refused, {answered:,} harmless; {beside.answers:,} innocent answers"
    return Part(f"{count:,} malformed requests, one in ten over HTTP", found, faults)


# -- publishes, rollbacks, kills ---------------------------------------------------------------------------


def other_weights(bundle: Bundle, folder: Path) -> Bundle:
    """The same network with other weights under the same interface."""
    parameters = {k: v * np.float32(1.01) if ".p.weight" in k else v for k, v in bundle.parameters().items()}
    return write_bundle(folder, bundle.contract, parameters)


def until(server: Server, version: int) -> None:
    """Wait until ``version`` is the newest that serves."""
    end = time.monotonic() + 60
    while not any(m.model == MODEL and m.versions[0] == version for m in server.served):
        if time.monotonic() > end:
            raise SsrError(f"version {version} did not come up within a minute")
        time.sleep(0.05)


def keeps_serving(count: int, server: Server, bundles: list[Bundle], tick: Callable[[int], None]) -> Part:
    repository = server.repository
    with innocents(server, bundles) as beside:
        for number in range(count):
            if number % 2 == 0:
                until(server, publish(bundles[1].path, repository, MODEL).number)
            else:
                until(server, rollback(repository, MODEL)[0].number)
            tick(1)
    return Part(f"{count} publishes and rollbacks", f"{beside.answers:,} answers", list(beside.faults))


def survives_kills(count: int, bundle: Bundle, repository: Path, tick: Callable[[int], None]) -> Part:
    """``publish`` and ``build --force`` by turns, each killed at another moment of its work."""
    build([(MODEL, bundle.path)], repository)
    rng, killed, faults = random.Random(3), 0, []
    program = [sys.executable, "-m", "triton_repo.cli"]
    again = [*program, "build", "--bundle", f"{MODEL}={bundle.path}", "--repo", str(repository), "--force"]
    commands = ([*program, "publish", str(bundle.path), "--repo", str(repository), "--model", MODEL], again)
    begin = time.monotonic()
    subprocess.run(again, check=True, capture_output=True)
    takes = time.monotonic() - begin
    for number in range(count):
        process = subprocess.Popen(commands[number % 2], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            process.wait(rng.uniform(0.3, 1.1) * takes)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            killed += 1
        process.wait()
        for row in list_versions(repository):
            if row["state"] == "broken":
                faults.append(f"kill {number + 1}: version {row['version']}: {row['reason']}")
        tick(1)
    subprocess.run(again, check=True, capture_output=True)  # whoever comes next removes what a kill left
    publish(bundle.path, repository, MODEL)
    left = [p for p in repository.rglob(".tmp-*") if p.is_dir()]
    faults += [f"{path}: left behind" for path in left]
    return Part(
        f"{count} commands, {killed} of them killed", f"{len(list_versions(repository))} versions", faults
    )


# -- soak --------------------------------------------------------------------------------------------------


def status(pid: int) -> tuple[float, int, int]:
    """Resident MiB, open descriptors and threads of a process."""
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    descriptors = sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
    return int(lines["VmRSS"].split()[0]) / 1024, descriptors, int(lines["Threads"])


def does_not_grow(minutes: float, server: Server, bundle: Bundle, tick: Callable[[int], None]) -> Part:
    samples: list[tuple[float, float]] = []
    seconds = round(60 * minutes)
    with innocents(server, [bundle]) as beside:
        begin = time.monotonic()
        for second in range(seconds):
            if second == round(SETTLE * seconds):
                first = status(server.pid)
                samples.clear()
            time.sleep(1)
            samples.append(((time.monotonic() - begin) / 3600, status(server.pid)[0]))
            tick(1)
        last = status(server.pid)
    slope = float(np.polyfit(*zip(*samples, strict=True), 1)[0])
    faults = list(beside.faults)
    if minutes >= LEAST_MINUTES and slope > MOST_GROWTH and last[0] - first[0] > 1.0:
        faults.append(f"resident memory grows by {slope:.1f} MiB an hour, allowed {MOST_GROWTH:g}")
    if last[1] > first[1] + 8 or last[2] > first[2] + 4:
        faults.append(f"descriptors {first[1]} -> {last[1]}, threads {first[2]} -> {last[2]}")
    found = (
        f"{beside.answers:,} answers; from the middle on memory {first[0]:.1f} -> {last[0]:.1f} MiB "
        f"({slope:+.1f} an hour), descriptors {first[1]} -> {last[1]}, threads {first[2]} -> {last[2]}"
    )
    return Part(f"{minutes:g} minutes of load", found, faults)


# -- all of it ---------------------------------------------------------------------------------------------


@contextmanager
def running(bundle: Bundle, folder: Path) -> Iterator[Server]:
    build([(MODEL, bundle.path)], folder)
    with Server(folder) as server:
        yield server


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--malformed", type=int, default=25_000, help="malformed requests beside innocents")
    parser.add_argument("--changes", type=int, default=60, help="publishes and rollbacks under load")
    parser.add_argument("--kills", type=int, default=65, help="kills of publish and build --force")
    parser.add_argument("--soak", type=float, default=25, help="minutes of load without growth")
    parser.add_argument("--output", type=Path, default=_results.RESULTS, help="folder of the table")
    options = parser.parse_args()
    if min(options.malformed, options.changes, options.kills, options.soak) < 0:
        parser.error("numbers must not be negative")
    bundle, console, parts = read_bundle(default_bundle()), Console(stderr=True), []
    with tempfile.TemporaryDirectory(prefix="ssr-endurance-") as name:
        folder = Path(name)
        second = other_weights(bundle, folder / "second") if options.changes else bundle
        if options.malformed:
            with (
                running(bundle, folder / "a") as server,
                bar(console, "malformed", options.malformed) as tick,
            ):
                parts.append(refuses_malformed(options.malformed, server, bundle, tick))
        if options.changes:
            with running(bundle, folder / "b") as server, bar(console, "changes", options.changes) as tick:
                parts.append(keeps_serving(options.changes, server, [bundle, second], tick))
        if options.kills:
            with bar(console, "kills", options.kills) as tick:
                parts.append(survives_kills(options.kills, bundle, folder / "c", tick))
        if options.soak:
            with (
                running(bundle, folder / "d") as server,
                bar(console, "soak", round(60 * options.soak)) as tick,
            ):
                parts.append(does_not_grow(options.soak, server, bundle, tick))
    lines = [
        "# Endurance",
        "",
        f"{_results.hardware()}. {_results.versions('ssr-serve', 'tritonclient')}. Innocent clients beside "
        f"each part: {INNOCENT}, requests of {len(CROPS)} crops, all answers held against the engine's bits.",
        "",
        _results.table(["what", "found", "faults"], [[p.done, p.found, len(p.faults)] for p in parts]),
    ]
    text = "\n".join(lines)
    print(text)
    for part in parts:
        for fault in part.faults[:10]:
            print(f"{part.done}: {fault}", file=sys.stderr)
    print(f"written to {_results.write('endurance', text, options.output)}")
    if any(part.faults for part in parts):
        sys.exit(1)


if __name__ == "__main__":
    command.run(main, "endurance")
