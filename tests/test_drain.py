"""The end of a server: what it has taken is answered, no more is taken, and nobody can hold it up."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as grpcclient
from conftest import until
from tritonclient.utils import InferenceServerException

import ssr_ops
from ssr_ops.shipped import default_bundle
from triton_repo import drain, repository
from triton_repo.config import Options
from triton_repo.server import Server
from triton_repo.tritonserver import TritonServer

pytestmark = pytest.mark.server
IMAGES = np.random.default_rng(8).integers(0, 256, (16, 64, 64, 3), dtype=np.uint8)


@pytest.fixture
def server(tmp_path: Path, tritonserver: TritonServer, monkeypatch: pytest.MonkeyPatch) -> Server:
    """With an engine that takes its time."""
    monkeypatch.setenv("SSR_FORCE_IMPLEMENTATION", "portable")
    repository.build([("ssrnet", default_bundle())], tmp_path / "repo", Options(max_batch=16))
    return Server(tmp_path / "repo", tritonserver=tritonserver, watch=False, exit_timeout=60)


def tensor() -> Any:
    made = grpcclient.InferInput("image", list(IMAGES.shape), "UINT8")
    made.set_data_from_numpy(IMAGES)
    return made


def keep_alive(url: str) -> http.client.HTTPConnection:
    """A connection that has been used, is idle, and stays open."""
    connection = http.client.HTTPConnection(url, timeout=60)
    connection.request("GET", "/v2")
    connection.getresponse().read()
    return connection


def test_an_idle_connection_does_not_hold_up_the_end(server: Server) -> None:
    with server, socket.create_connection(("127.0.0.1", int(server.http_url.rpartition(":")[2]))):
        idle = keep_alive(server.http_url)
        begin = time.monotonic()
        server.stop()
        assert time.monotonic() - begin < 8, "of 60 s"
    idle.close()


def test_what_is_in_flight_is_answered_and_no_more_is_taken(server: Server) -> None:
    """Over both protocols, with an idle connection beside them."""
    header = json.dumps(
        {"inputs": [{"name": "image", "datatype": "UINT8", "shape": IMAGES.shape,
                     "parameters": {"binary_data_size": IMAGES.nbytes}}]}
    ).encode()  # fmt: skip

    def over_http(connection: http.client.HTTPConnection) -> list[float]:
        body = header + IMAGES.tobytes()
        headers = {"Inference-Header-Content-Length": str(len(header))}
        connection.request("POST", "/v2/models/ssrnet/infer", body, headers)
        return list(json.loads(connection.getresponse().read())["outputs"][0]["data"])

    results: list[tuple[Any, Any]] = []
    with server, grpcclient.InferenceServerClient(server.grpc_url) as raw, ThreadPoolExecutor(9) as pool:
        lines = [keep_alive(server.http_url) for _ in range(9)]
        asked = [pool.submit(over_http, line) for line in lines[1:]]
        for _ in range(150):
            raw.async_infer("ssrnet", [tensor()], lambda result, error: results.append((result, error)))
        until(lambda: len(results) > 5)
        time.sleep(0.3)
        ending = pool.submit(server.stop)
        until(lambda: any(not state.ready for state in server.control.index()))
        assert len(results) < 150, "nothing was in flight any more: the test proves nothing"
        with pytest.raises(InferenceServerException, match="no available versions"):
            raw.infer("ssrnet", [tensor()], client_timeout=5)
        ending.result(40)
        until(lambda: len(results) == 150)
        expected = ssr_ops.Engine(default_bundle()).predict(IMAGES)
        assert [str(error) for _, error in results if error is not None] == []
        for result, _ in results:
            np.testing.assert_array_equal(result.as_numpy("age")[:, 0], expected)
        for answer in asked:
            np.testing.assert_allclose(answer.result(), expected, rtol=1e-6)
    for line in lines:
        line.close()


def test_the_exit_timeout_is_a_bound(server: Server) -> None:
    server.exit_timeout = 1
    results: list[Any] = []
    with server, grpcclient.InferenceServerClient(server.grpc_url) as raw:
        for _ in range(600):
            raw.async_infer("ssrnet", [tensor()], lambda result, error: results.append(error))
        until(lambda: len(results) > 5)
        begin = time.monotonic()
        server.stop()
        assert 1 <= time.monotonic() - begin < 5
        until(lambda: len(results) == 600)
    assert any(results), "all were answered: the test proves nothing"


def test_unsent_answers_are_seen() -> None:
    """A client that does not read."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client, listening.accept()[0] as answering:
            assert not drain.has_unsent([port])
            answering.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    answering.send(bytes(1 << 20))
            assert drain.has_unsent([port, 1])
            assert not drain.has_unsent([1])
            answering.close()
            while client.recv(1 << 20):
                pass
        until(lambda: not drain.has_unsent([port]))
