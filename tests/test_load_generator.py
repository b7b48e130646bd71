"""The C++ load generator of benchmarks/serving.py, against a real server."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, Serve
from ssr_client import AgeClient

from ssr_ops.shipped import default_bundle


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):  # type: ignore[no-untyped-def]
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from load import generator

    try:
        generator.compile_generator(tmp_path)
    except generator.LoadError as error:
        if "nghttp2" not in str(error):
            raise
        pytest.skip(str(error))
    return generator


def test_the_ideal_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from load.queue import ideal_latency

    median, tail = ideal_latency(rate=0.01, work=1.0, cores=1)
    assert (median, round(tail, 2)) == (pytest.approx(1), pytest.approx(1, abs=0.02)), "hardly any waits"
    # M/D/1 at 0.8, Erlang's sum: P(wait <= t) = 0.2 (e^(0.8 t) - 0.8 (t - 1) e^(0.8 (t - 1))) for t in 1..2,
    # which is a half at 1.276.
    median, tail = ideal_latency(rate=0.8, work=1.0, cores=1)
    assert median == pytest.approx(2.276, rel=0.03)
    assert tail > 3 * median
    assert ideal_latency(rate=1.6, work=1.0, cores=2)[1] < 0.6 * tail, "two cores behind one queue"
    assert ideal_latency(rate=2.0, work=1.0, cores=2) == (float("inf"), float("inf")), "it never ends"


def test_calm_runs_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run is chosen by what the hypervisor took, never by its result."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from load import calm

    before = calm.stolen_seconds()
    assert calm.stolen_seconds() >= before >= 0

    def of(*shares: float) -> tuple[str, float, int]:
        seconds = os.cpu_count() or 1
        clock, taken, runs = [0.0], [0.0], iter(enumerate(shares))

        def run() -> str:
            k, share = next(runs)
            clock[0] += 1
            taken[0] += share * seconds
            return f"run {k}"

        monkeypatch.setattr(calm, "stolen_seconds", lambda: taken[0])
        monkeypatch.setattr(calm.time, "perf_counter", lambda: clock[0])
        return calm.calm(run)

    assert of(0.0, 0.9) == ("run 0", 0, 1)
    assert of(0.1, 0.004, 0.0) == ("run 1", pytest.approx(0.004), 2)
    assert of(0.3, 0.2, 0.02, 0.04, 0.5, 0.03, 0.0) == ("run 2", pytest.approx(0.02), calm.TRIES)


@pytest.mark.server
@pytest.mark.parametrize("shared_memory", [False, True])
def test_open_and_closed_loop(load, serve: Serve, shared_memory: bool) -> None:  # type: ignore[no-untyped-def]
    server = serve({"ssrnet": default_bundle()}, shared_memory=shared_memory)
    crop = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), np.uint8)
    with (
        AgeClient(server.grpc_url, shared_memory=shared_memory) as client,
        load.Generator(client, crop) as generator,
    ):
        before = sum(m.inference_count for m in client.statistics())
        closed = generator.closed(4, 0.3)
        assert 0 < closed.percentile(50) < 1000
        run = generator.open(200.0, 1.0, seed=1)
        # A Poisson count of mean 200 lies within these bounds but for one run in a million.
        assert 130 < len(run.latency) < 275
        assert (run.late >= 0).all()
        assert (run.latency > run.late).all()
        served = sum(m.inference_count for m in client.statistics()) - before
        assert served > len(closed.latency) + len(run.latency)  # the warm-up was served too
        repeated = generator.open(200.0, 1.0, seed=1)
        assert len(repeated.latency) == len(run.latency)


@pytest.mark.server
def test_the_tail_of_two_ways(load, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    from load import tail

    monkeypatch.setattr(tail, "RUNS", 2)
    server = serve({"ssrnet": default_bundle()})
    crop = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), np.uint8)
    with AgeClient(server.grpc_url) as client, load.Generator(client, crop) as generator:
        served = tail.Way(server, client, generator)
        tails = tail.measure_tails({"one": served, "other": served}, 0.3)
    assert list(tails) == ["one", "other"]
    for found in tails.values():
        assert min(found.capacities) <= found.capacity <= max(found.capacities)
        assert found.client > 0
        assert list(found.at) == list(tail.SHARES)
        for latency in (*found.at.values(), found.at_half_client):
            assert len(latency) == 2
            assert all(0 < run.p50 <= run.p99 and run.late < run.p99 for run in latency)
            assert all(run.client > 0 and run.server > 0 and 0 <= run.stolen <= 1 for run in latency)
            assert latency.stolen == max(run.stolen for run in latency)
        assert found.runs == 2 * (2 + len(tail.SHARES) + 1) <= found.tries
        assert found.ideal >= 1


@pytest.mark.server
def test_a_wrong_answer_ends_the_run(load, serve: Serve) -> None:  # type: ignore[no-untyped-def]
    server = serve({"ssrnet": default_bundle()})
    crop = np.zeros((1, 64, 64, 3), np.uint8)
    with AgeClient(server.grpc_url) as client, load.Generator(client, crop) as generator:
        ending = Path(generator._command[5])
        ending.write_bytes(ending.read_bytes()[:-1] + b"\xff")
        with pytest.raises(load.LoadError, match="an answer differed under load"):
            generator.open(100.0, 0.5)
        request = Path(generator._command[4])
        request.write_bytes(request.read_bytes()[:-1])
        with pytest.raises(load.LoadError, match="grpc-status"):
            generator.closed(1, 0.5)
    with AgeClient(server.grpc_url) as client, load.Generator(client, crop) as generator:
        generator._command[2] = "1"
        with pytest.raises(load.LoadError, match=r"127\.0\.0\.1:1"):
            generator.closed(1, 0.5)


def test_usage(load, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    import subprocess

    program = tmp_path / "grpc_load"
    for arguments in (
        [],
        ["127.0.0.1", "1", "/a", "b", "c"],
        ["127.0.0.1", "1", "/a", "b", "c", "--fast", "1"],
    ):
        done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert done.stderr
