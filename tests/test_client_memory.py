"""Shared memory with a real server: the same bits, and nothing left behind, however a client ends."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as grpcclient
from conftest import Serve
from ssr_client import AgeClient, AsyncAgeClient, ClientError, SharedMemoryWarning
from ssr_client import shared_memory as memory
from ssr_client.bench import bench

from ssr_ops import Engine
from ssr_ops.shipped import default_bundle
from triton_repo.repository import build
from triton_repo.server import Server
from triton_repo.tritonserver import TritonServer

pytestmark = pytest.mark.server
IMAGES = np.random.default_rng(9).integers(0, 256, (40, 64, 64, 3), np.uint8)


@pytest.fixture(scope="module")
def url(serve: Serve) -> str:
    return serve({"ssrnet": default_bundle()}, max_batch=16, shared_memory=True).grpc_url


@pytest.fixture(scope="module")
def expected() -> Any:
    return Engine(default_bundle()).predict(IMAGES)


def files() -> set[str]:
    """Regions of any client, by file; those of other test runs of this machine among them."""
    return {p.name for p in memory.FOLDER.iterdir() if memory.PREFIX in p.name}


def registered(url: str) -> set[str]:
    with grpcclient.InferenceServerClient(url) as raw:
        return set(raw.get_system_shared_memory_status().regions)


@pytest.fixture(autouse=True)
def nothing_left(request: pytest.FixtureRequest) -> Iterator[None]:
    before = files()
    yield
    mine = {name for name in files() - before if f"{memory.PREFIX}{os.getpid()}-" in name}
    assert mine == set()


def test_the_same_bits_and_nothing_left(url: str, expected: Any) -> None:
    with AgeClient(url, shared_memory=True) as client:
        for count in (1, 2, 15, 16, 17, 40):
            assert client.predict(IMAGES[:count]).tobytes() == expected[:count].tobytes()
        assert client.predict(IMAGES[..., ::-1], colour="rgb").tobytes() == expected.tobytes()
        assert client.predict(IMAGES[:0]).shape == (0,)
        mine = registered(url)
        assert len(mine) <= 2 * client.options.in_flight
        assert mine <= files()
    assert not registered(url) & mine
    assert not files() & mine


def test_threads_have_regions_of_their_own(url: str, expected: Any) -> None:
    with AgeClient(url, shared_memory=True) as client, ThreadPoolExecutor(8) as pool:
        starts = [k % 30 for k in range(200)]
        answers = pool.map(lambda k: client.predict(IMAGES[k : k + 1 + k % 9]), starts)
        for k, answer in zip(starts, answers, strict=True):
            assert answer.tobytes() == expected[k : k + 1 + k % 9].tobytes()
        assert len(registered(url)) <= 2 * 8 + 1, "regions are used again"


def test_the_asynchronous_twin(url: str, expected: Any) -> None:
    async def run() -> None:
        async with AsyncAgeClient(url, shared_memory=True) as client:
            answers = await asyncio.gather(*(client.predict(IMAGES[k : k + 3]) for k in range(30)))
            for k, answer in enumerate(answers):
                assert answer.tobytes() == expected[k : k + 3].tobytes()
            assert (await client.predict(IMAGES)).tobytes() == expected.tobytes()
        assert registered(url) == set()

    asyncio.run(run())


def test_load_test_over_shared_memory(url: str) -> None:
    with AgeClient(url, shared_memory=True) as client:
        result = bench(client, concurrency=4, batch=16, seconds=0.3, warm_up=0.1)
        assert result.requests > 4
        assert bench(client, batch=1, seconds=0.3, warm_up=0.1, rate=100).requests > 10


def test_a_registration_whose_answer_was_not_awaited(url: str, expected: Any) -> None:
    """A deadline or a cancelled task ends the call; the server has registered the region all the same."""

    def forget(client: AgeClient | AsyncAgeClient) -> None:
        assert client._memory is not None
        assert client._memory._free
        for region in client._memory._free:
            region.registered = False

    async def twin() -> None:
        async with AsyncAgeClient(url, shared_memory=True) as client:
            forget(client)
            assert (await client.predict(IMAGES[:3])).tobytes() == expected[:3].tobytes()

    with AgeClient(url, shared_memory=True) as client:
        forget(client)
        assert client.predict(IMAGES[:3]).tobytes() == expected[:3].tobytes()
    asyncio.run(twin())


def test_regions_of_interrupted_requests(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Those that are never given back, and those whose owner died while it made them."""
    monkeypatch.setattr(memory, "FOLDER", tmp_path)
    regions = memory.Regions()
    lent, free = regions.take(1), regions.take(1)
    regions.give(free)
    assert regions.drain() == [free]
    free.close()
    assert list(tmp_path.iterdir()) == []
    regions.give(lent)
    for name, age in (("old", 100), ("new", 0)):
        path = tmp_path / f".{memory.PREFIX}{name}"
        path.touch()
        os.utime(path, (time.time() - age,) * 2)
    memory.sweep()
    assert [p.name for p in tmp_path.iterdir()] == [f".{memory.PREFIX}new"]


_CRASHING = """
import sys, time, numpy
from ssr_client import AgeClient
client = AgeClient(sys.argv[1], shared_memory=True)
client.open()
client.predict(numpy.zeros((3, 64, 64, 3), numpy.uint8))
print("ready", flush=True)
time.sleep(60)
"""


def test_what_a_crashed_client_leaves_is_cleared_up(url: str, expected: Any) -> None:
    """By the next client, on the server too; a client that lives keeps what it has."""
    with AgeClient(url, shared_memory=True) as alive:
        kept = registered(url)
        process = subprocess.Popen([sys.executable, "-c", _CRASHING, url], stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
        left = registered(url) - kept
        assert left
        assert left <= files()
        with AgeClient(url, shared_memory=True):
            assert not registered(url) & left
            assert not files() & left
            assert kept <= registered(url)
        assert alive.predict(IMAGES[:5]).tobytes() == expected[:5].tobytes()


def test_no_room_is_one_clear_error(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(ClientError, match=r"/dev/shm is full \(docker: --shm-size\)"):
        AgeClient(url, shared_memory=True).open()


def test_a_server_that_does_not_see_the_memory(
    url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As from another machine or container."""
    monkeypatch.setattr(memory, "FOLDER", tmp_path)
    with (
        pytest.raises(ClientError, match=r"does not reach this machine's shared memory .* leave shared_mem"),
        AgeClient(url, shared_memory=True),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_restart_of_the_server_and_a_restriction(
    tmp_path: Path, tritonserver: TritonServer, expected: Any
) -> None:
    build([("ssrnet", default_bundle())], tmp_path / "repository")
    given: dict[str, Any] = {"tritonserver": tritonserver, "watch": False, "shared_memory": True}
    server = Server(tmp_path / "repository", **given).start()
    port = int(server.grpc_url.rsplit(":", 1)[1])
    again = Server(tmp_path / "repository", **given, grpc_port=port)
    starting = threading.Timer(0.3, again.start)
    try:
        with AgeClient(server.grpc_url, retries=8, shared_memory=True) as client:
            assert client.predict(IMAGES).tobytes() == expected.tobytes()
            server.stop()
            starting.start()
            assert client.predict(IMAGES).tobytes() == expected.tobytes()
            assert registered(again.grpc_url)
        assert registered(again.grpc_url) == set()
    finally:
        server.stop()
        if starting.ident is not None:
            starting.join()
        again.stop()
    options = ["--grpc-restricted-protocol=shared-memory:key=secret"]
    repository = tmp_path / "repository"
    with Server(repository, tritonserver=tritonserver, watch=False, arguments=options) as restricted:
        client = AgeClient(restricted.grpc_url, shared_memory=True)
        with pytest.warns(SharedMemoryWarning, match="restricted"):
            client.open()
        with contextlib.closing(client):
            assert not client.shares_memory
            assert client.predict(IMAGES[:3]).tobytes() == expected[:3].tobytes()
        headers = {"triton-grpc-protocol-key": "secret"}
        with AgeClient(restricted.grpc_url, shared_memory=True, headers=headers) as client:
            assert client.predict(IMAGES[:3]).tobytes() == expected[:3].tobytes()
