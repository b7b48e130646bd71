"""A closed-loop load test of a served model: each worker sends its next request when the last is answered."""

from __future__ import annotations

import os
import platform
import threading
import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssr_client.client import AgeClient
from ssr_client.errors import BadInput, ClientError
from ssr_client.preprocess import Picture
from ssr_train.contract import IMAGE_SIZE


@dataclass(frozen=True)
class Result:
    """What a run measured. ``mean_batch``: images per execution on the server, from its statistics;
    ``client_cpu``: share of one core that this process used, which the server did not get."""

    url: str
    model: str
    weights_sha256: str
    concurrency: int
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
    machine: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def bench(
    client: AgeClient, concurrency: int = 4, batch: int = 16, seconds: float = 5.0, warm_up: float = 1.0
) -> Result:
    """Validate the answers, warm up, measure. Raises :class:`ClientError` when answers are wrong."""
    for name, value, least in (("concurrency", concurrency, 1), ("batch", batch, 1)):
        if value < least:
            raise BadInput(f"{name}: must be at least {least}, got {value}")
    if not 0.1 <= seconds <= 3600 or not 0 <= warm_up <= 3600:
        raise BadInput(
            f"duration must be 0.1 to 3600 seconds and warm-up 0 to 3600, got {seconds} and {warm_up}"
        )
    crops = np.random.default_rng(0).integers(0, 256, (batch, IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
    expected = validate(client, crops)
    _loop(client, crops, expected, concurrency, warm_up)
    before, cpu = _statistics(client), time.process_time()
    begin = time.perf_counter()
    latencies = _loop(client, crops, expected, concurrency, seconds)
    wall, cpu = time.perf_counter() - begin, time.process_time() - cpu
    after = _statistics(client)
    images, executions, queue_ns, queued = (b - a for a, b in zip(before, after, strict=True))
    p50, p90, p99 = np.percentile(latencies, [50, 90, 99]) * 1e3
    return Result(
        url=client.url,
        model=client.model,
        weights_sha256=client.weights_sha256 or "",
        concurrency=concurrency,
        batch=batch,
        seconds=wall,
        requests=len(latencies),
        images_per_second=len(latencies) * batch / wall,
        p50_ms=float(p50),
        p90_ms=float(p90),
        p99_ms=float(p99),
        mean_batch=images / executions if executions else 0.0,
        queue_ms=queue_ns / queued / 1e6 if queued else 0.0,
        client_cpu=cpu / wall,
        machine=f"{platform.machine()}, {os.cpu_count()} CPUs",
    )


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


def _loop(
    client: AgeClient, crops: Picture, expected: NDArray[np.float32], workers: int, seconds: float
) -> list[float]:
    """Seconds that each request took; every answer is compared with the validated one."""
    colour = client.interface.input.colour
    end = time.perf_counter() + seconds
    taken: list[list[float]] = [[] for _ in range(workers)]
    failures: list[Exception] = []

    def work(mine: list[float]) -> None:
        try:
            while (begin := time.perf_counter()) < end and not failures:
                answer = client.predict(crops, colour)
                mine.append(time.perf_counter() - begin)
                if not np.array_equal(answer, expected):
                    raise ClientError(f"{client.model}: an answer differed under load")
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(mine,)) for mine in taken]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return [latency for mine in taken for latency in mine]


def _statistics(client: AgeClient) -> tuple[int, int, int, int]:
    """Images, executions, nanoseconds queued, requests so far, over the model's versions."""
    statistics = client.statistics()
    return (
        sum(m.inference_count for m in statistics),
        sum(m.execution_count for m in statistics),
        sum(m.inference_stats.queue.ns for m in statistics),
        sum(m.inference_stats.queue.count for m in statistics),
    )
