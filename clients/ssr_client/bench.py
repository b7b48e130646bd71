"""Load tests of a served model.

Closed loop: so many requests are under way at any time, each answered one is followed by the next; that
measures throughput. Open loop: requests arrive by chance (a Poisson process) at a given rate, whether or
not the earlier ones were answered, as cameras send them. A latency is then counted from the moment at
which the request *should* have been sent, so that a server that stalls, or a client that falls behind,
cannot hide the waiting of the requests that it held up ("coordinated omission").
"""

from __future__ import annotations

import os
import platform
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssr_bundle.contract import IMAGE_SIZE
from ssr_client import exchange
from ssr_client.client import AgeClient
from ssr_client.crops import Picture
from ssr_client.errors import BadInput, ClientError, DeadlineExceeded
from ssr_client.exchange import Deadline
from ssr_client.shared_memory import Region

MOST_UNDER_WAY = 10_000
"""Requests without an answer at which an open loop gives up: the server does not carry the rate."""

SETTLE_SECONDS = 2.0
"""How long a load that is interrupted or fails waits for the answers that are still to come."""


@dataclass(frozen=True)
class Result:
    """What a run measured. ``concurrency``: requests under way in a closed loop, 0 in an open one;
    ``rate``: requests a second that an open loop offered, 0 in a closed one; ``engine``: precision and
    implementation that answered; ``mean_batch``: images per execution on the server, from its statistics;
    ``client_cpu``: share of one core that this process used, which a server on the same machine did not
    get; ``late_p99_ms``: how late after its moment an open loop's client sent, contained in the latencies."""

    url: str
    model: str
    weights_sha256: str
    engine: str
    concurrency: int
    rate: float
    batch: int
    seconds: float
    requests: int
    images_per_second: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    mean_batch: float
    queue_ms: float
    client_cpu: float
    late_p99_ms: float
    machine: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def bench(
    client: AgeClient,
    concurrency: int = 4,
    batch: int = 16,
    seconds: float = 5.0,
    warm_up: float = 1.0,
    *,
    rate: float = 0.0,
    seed: int = 0,
) -> Result:
    """Validate the answers, warm up, measure; every answer is compared with the validated one.

    ``rate`` above 0: an open loop of so many requests a second, ``concurrency`` is then not used.
    Raises :class:`BadInput` for settings that make no sense and :class:`ClientError` when answers are wrong
    or the server does not carry the rate. Ctrl-C, or a signal's handler that raises, ends it soon.
    """
    check_settings(concurrency, batch, seconds, warm_up, rate)
    if batch > client.max_batch_size:
        raise BadInput(f"batch: {client.model} takes at most {client.max_batch_size} crops a request")
    crops = np.random.default_rng(0).integers(0, 256, (batch, IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
    load = _Load(client, crops, validate(client, crops))
    rng = np.random.default_rng(seed)

    def run(duration: float) -> None:
        if rate:
            load.open_loop(_arrivals(rng, rate, duration))
        else:
            load.closed_loop(concurrency, duration)

    with _quick_threads():
        load.aside(lambda: run(warm_up))
        load.forget()
        before, cpu = _statistics(client), time.process_time()
        begin = time.perf_counter()
        load.aside(lambda: run(seconds))
        wall, cpu = time.perf_counter() - begin, time.process_time() - cpu
    after = _statistics(client)
    images, executions, queue_ns, queued = (b - a for a, b in zip(before, after, strict=True))
    p50, p90, p99 = np.percentile(load.latencies, [50, 90, 99]) * 1e3
    return Result(
        url=client.url,
        model=client.model,
        weights_sha256=client.weights_sha256 or "",
        engine=client.last.engine if client.last else "",
        concurrency=0 if rate else concurrency,
        rate=rate,
        batch=batch,
        seconds=wall,
        requests=len(load.latencies),
        images_per_second=len(load.latencies) * batch / wall,
        p50_ms=float(p50),
        p90_ms=float(p90),
        p99_ms=float(p99),
        mean_batch=images / executions if executions else 0.0,
        queue_ms=queue_ns / queued / 1e6 if queued else 0.0,
        client_cpu=cpu / wall,
        late_p99_ms=float(np.percentile(load.late, 99)) * 1e3 if load.late else 0.0,
        machine=f"{platform.machine()}, {os.cpu_count()} CPUs",
    )


def check_settings(concurrency: int, batch: int, seconds: float, warm_up: float, rate: float) -> None:
    """Raise :class:`BadInput` for settings of :func:`bench` that make no sense with any server."""
    for name, value, least in (("concurrency", concurrency, 1), ("batch", batch, 1)):
        if value < least:
            raise BadInput(f"{name}: must be at least {least}, got {value}")
    if not 0.1 <= seconds <= 3600 or not 0 <= warm_up <= 3600:
        raise BadInput(
            f"duration must be 0.1 to 3600 seconds and warm-up 0 to 3600, got {seconds} and {warm_up}"
        )
    if not 0 <= rate <= 1e6 or 0 < rate * seconds < 10:
        raise BadInput(f"rate: must give at least 10 requests in {seconds:g} s, at most 1e6/s, got {rate:g}")


def validate(client: AgeClient, crops: Picture) -> NDArray[np.float32]:
    """The answers, after checking that they are numbers in the contract's range and that an image's bits
    do not depend on the batch that it comes in."""
    colour = client.interface.input.colour
    together = client.predict(crops, colour)
    low, high = client.interface.output.clip
    if not (np.isfinite(together).all() and (low <= together).all() and (together <= high).all()):
        raise ClientError(f"{client.model}: answers leave the contract's range {low:g}..{high:g}: {together}")
    alone = np.concatenate([client.predict(crop[None], colour) for crop in crops[:4]])
    if not np.array_equal(alone, together[:4]):
        raise ClientError(f"{client.model}: {alone} alone, but {together[:4]} in a batch: answers are wrong")
    return together


class _Load:
    """One request, sent again and again; seconds that each took, and how late each of an open loop was."""

    def __init__(self, client: AgeClient, crops: Picture, expected: NDArray[np.float32]) -> None:
        self.latencies: list[float] = []
        self.late: list[float] = []
        self._client, self._expected = client, expected
        served = client._now()
        self._served = served
        [self._crops] = exchange.parts_of(crops, served.interface.input.colour, served)
        self._tensor = exchange.tensor_of(self._crops, served) if client._memory is None else None
        self._arguments = exchange.request_arguments(served, True, client.options.timeout)
        # Of each answered request; None wakes whoever waits for one, since the load shall stop.
        self._done: queue.SimpleQueue[tuple[float, Region | None, Any, Any] | None] = queue.SimpleQueue()
        self._stopped = False
        self._open = 0

    def forget(self) -> None:
        """Drop what the warm-up measured."""
        self.latencies.clear()
        self.late.clear()

    def aside(self, work: Callable[[], None]) -> None:
        """Do ``work`` in a thread of its own while this one waits, and stop it if this one is interrupted.

        Signals are handled in the main thread. What a handler raises inside gRPC's sending leaves a call that
        nobody ends, and closing the channel then waits for it forever.
        """
        failures: list[BaseException] = []
        finished = threading.Event()  # Thread.join takes a thread for finished if a signal interrupts it

        def guarded() -> None:
            try:
                work()
            except BaseException as error:
                failures.append(error)
                self._settle()
            finally:
                finished.set()

        try:
            threading.Thread(target=guarded, name="ssr-bench", daemon=True).start()
            while not finished.wait(0.2):
                pass  # a signal that another thread received is handled between two waits
        except BaseException:
            self._stopped = True
            self._done.put(None)
            finished.wait(SETTLE_SECONDS + 1)
            raise
        if failures:
            raise failures[0]

    def closed_loop(self, under_way: int, seconds: float) -> None:
        """Keep ``under_way`` requests with the server until ``seconds`` are over."""
        end = time.perf_counter() + seconds
        while True:
            now = time.perf_counter()
            while self._open < under_way and now < end:
                self._send(now)
            if not self._open:
                return
            self._await()

    def open_loop(self, arrivals: Iterator[float]) -> None:
        """Send at each of ``arrivals`` (seconds from now, rising), then wait for the last answers."""
        begin = time.perf_counter()
        for arrival in arrivals:
            due = begin + arrival
            while (pause := due - time.perf_counter()) > 0:
                self._take(pause)
            self._send(due)
            self.late.append(time.perf_counter() - due)
            if self._open > MOST_UNDER_WAY:
                raise ClientError(
                    f"{self._client.model}: {self._open} requests wait for their answers: the server does "
                    "not carry this rate"
                )
        while self._open:
            self._await()

    def _send(self, since: float) -> None:
        """Send the request; its latency counts from ``since``."""
        if self._stopped:
            raise _Stopped
        client = self._client
        tensor, region = self._tensor, None
        if client._memory is not None:
            region = client._memory.take(self._crops.nbytes)
            tensor = exchange.tensor_of(self._crops, self._served, region)
            if not region.registered:
                client._register(region, Deadline(client.options.timeout))

        def done(result: Any, error: Any) -> None:
            self._done.put((time.perf_counter() - since, region, result, error))

        client._connected().async_infer(
            client.model,
            [tensor],
            done,
            model_version=client.version,
            headers=client._headers,
            **self._arguments,
        )
        self._open += 1

    def _await(self) -> None:
        """Wait for one answer."""
        if not self._take(self._client.options.timeout + 10):
            raise DeadlineExceeded(f"{self._client.url}: an answer never came")

    def _take(self, patience: float) -> bool:
        """Check one answer, if one comes within ``patience`` seconds."""
        done = self._next(patience)
        if self._stopped:
            raise _Stopped
        if done is None:
            return False
        latency, result, error = done
        if error is not None:
            raise exchange.translate(
                error, self._client.url, Deadline(self._client.options.timeout)
            ) from None
        name = self._served.interface.output.name
        answer, _ = exchange.read_answer(result, len(self._expected), self._served, True)
        if not np.array_equal(answer[name], self._expected):
            raise ClientError(f"{self._client.model}: an answer differed under load")
        self.latencies.append(latency)
        return True

    def _next(self, patience: float) -> tuple[float, Any, Any] | None:
        """Latency, result and error of one request, if one ends within ``patience`` seconds."""
        try:
            done = self._done.get(timeout=patience)
        except queue.Empty:
            return None
        if done is None:
            return None
        latency, region, result, error = done
        self._open -= 1
        if region is not None and self._client._memory is not None:
            self._client._memory.give(region)
        return latency, result, error

    def _settle(self) -> None:
        """Wait for what is under way, not for long. A server is spared the end of many calls at once: before
        25.04 that can crash it (triton-inference-server/server#7368)."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while self._open and (left := deadline - time.monotonic()) > 0:
            self._next(left)


class _Stopped(Exception):
    """Ends the load's thread when the one that waits for it was interrupted."""


@contextmanager
def _quick_threads() -> Iterator[None]:
    """The thread that sends and the one that receives take turns quickly: with Python's own 5 ms between
    turns, what is measured is the client."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def _arrivals(rng: np.random.Generator, rate: float, seconds: float) -> Iterator[float]:
    """Moments of a Poisson process, in seconds from its start."""
    moment = 0.0
    while True:
        for gap in rng.exponential(1 / rate, 1024).tolist():
            moment += gap
            if moment >= seconds:
                return
            yield moment


def _statistics(client: AgeClient) -> tuple[int, int, int, int]:
    """Images, executions, nanoseconds queued, requests so far, over the model's versions."""
    statistics = client.statistics()
    return (
        sum(m.inference_count for m in statistics),
        sum(m.execution_count for m in statistics),
        sum(m.inference_stats.queue.ns for m in statistics),
        sum(m.inference_stats.queue.count for m in statistics),
    )
