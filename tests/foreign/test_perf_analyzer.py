"""NVIDIA's load generator perf_analyzer, the program in the wheels of tritonclient 2.47 to 2.51: over gRPC,
HTTP and system shared memory. It compares the answers that it gets with those that our client got."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from battery import CLIENT_SECONDS, CROPS, MODEL, environment, interface_sha256
from numpy.typing import NDArray
from ssr_client import AgeClient

from ssr_ops.shipped import default_bundle
from triton_repo.server import Server
from triton_repo.tritonserver import TritonServer

pytestmark = pytest.mark.server

WAYS = {
    "gRPC": ["-i", "grpc"],
    "HTTP": ["-i", "http"],
    "gRPC, shared memory": ["-i", "grpc", "--shared-memory", "system"],
    "HTTP, shared memory": ["-i", "http", "--shared-memory", "system"],
}
REQUESTS = 40
LIBRARIES = ("libb64.so.0d", "libcudart.so.12")
"""What the program needs beside the system's; the fetched server has them, under longer names."""


@dataclass(frozen=True)
class Analyzer:
    program: Path
    environment: dict[str, str]

    def run(self, url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """So many requests, however unsteady the machine."""
        command = [str(self.program), "-m", MODEL, "-u", url, "--request-count", str(REQUESTS)]
        return subprocess.run(
            [*command, *arguments],
            capture_output=True,
            text=True,
            timeout=CLIENT_SECONDS,
            env=self.environment,
        )


@pytest.fixture(scope="module")
def analyzer(tmp_path_factory: pytest.TempPathFactory, tritonserver: TritonServer) -> Analyzer:
    program = environment("perf_analyzer") / "bin" / "perf_analyzer"
    program.chmod(0o755)
    folder = tmp_path_factory.mktemp("libraries")
    around = tritonserver.environment()
    places = [Path(place) for place in around.get("LD_LIBRARY_PATH", "").split(":") if place]
    for library in LIBRARIES:
        stem, _, version = library.partition(".so.")
        found = next((path for place in places for path in place.glob(f"{stem}-*.so.{version}*")), None)
        if found is not None:
            (folder / library).symlink_to(found)
    around["LD_LIBRARY_PATH"] = os.pathsep.join([str(folder), *map(str, places)])
    linked = subprocess.run(["ldd", program], capture_output=True, text=True, env=around)
    if missing := [line.split()[0] for line in linked.stdout.splitlines() if "not found" in line]:
        pytest.skip(f"perf_analyzer cannot run here: it needs {', '.join(missing)}")
    return Analyzer(program, around)


@pytest.fixture(scope="module")
def server(serve: Any) -> Server:
    server: Server = serve({MODEL: default_bundle()}, shared_memory=True)
    return server


def tensors(ages: NDArray[Any]) -> str:
    """Its file of inputs, and of the answers that they are to have."""

    def encoded(name: str, values: NDArray[Any]) -> dict[str, Any]:
        content = base64.b64encode(values.tobytes()).decode()
        return {name: {"content": {"b64": content}, "shape": list(values.shape)}}

    return json.dumps(
        {
            "data": [encoded("image", crop) for crop in CROPS],
            "validation_data": [encoded("age", age) for age in ages.reshape(-1, 1)],
        }
    )


def counted(server: Server) -> tuple[int, int]:
    """Requests that the server answered, and that it refused."""
    with AgeClient(server.grpc_url, MODEL) as client:
        (statistics,) = client.statistics()
    found = statistics.inference_stats
    return found.success.count, found.fail.count


def url(server: Server, way: str) -> str:
    return server.http_url if way.startswith("HTTP") else server.grpc_url


@pytest.mark.parametrize("way", WAYS)
def test_no_request_fails(way: str, analyzer: Analyzer, server: Server) -> None:
    answered, failed = counted(server)
    shape = ["--shape", "image:64,64,3", "-b", "4", "--concurrency-range", "2"]
    done = analyzer.run(url(server, way), *WAYS[way], *shape)
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    assert "Throughput:" in done.stdout
    assert "Failed" not in done.stdout + done.stderr
    now = counted(server)
    assert now[0] >= answered + REQUESTS
    assert now[1] == failed


@pytest.mark.parametrize("way", ["gRPC", "HTTP"])
@pytest.mark.parametrize("spoilt", [False, True], ids=["ours", "spoilt"])
def test_it_gets_the_bits_of_our_own_client(
    way: str, spoilt: bool, analyzer: Analyzer, server: Server, tmp_path: Path
) -> None:
    with AgeClient(server.grpc_url, MODEL) as client:
        ages = client.predict(CROPS)
    if spoilt:
        ages.view("uint32")[3] ^= 1
    file = tmp_path / "tensors.json"
    file.write_text(tensors(ages))
    done = analyzer.run(url(server, way), *WAYS[way], "--input-data", str(file))
    told = f"{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    assert (done.returncode == 0) is not spoilt, told
    assert ("Output doesn't match expected output" in told) is spoilt


def test_the_interface_is_checked(analyzer: Analyzer, server: Server) -> None:
    right = f"interface_sha256:{interface_sha256(server)}:string"
    done = analyzer.run(server.grpc_url, *WAYS["gRPC"], "--request-parameter", right)
    assert done.returncode == 0, done.stderr[-2000:]
    wrong = f"interface_sha256:{'0' * 64}:string"
    done = analyzer.run(server.grpc_url, *WAYS["gRPC"], "--request-parameter", wrong)
    assert done.returncode != 0
    assert "another interface is another model name" in done.stdout + done.stderr


@pytest.mark.parametrize("way", ["gRPC", "HTTP"])
def test_another_shape_is_refused(way: str, analyzer: Analyzer, server: Server, tmp_path: Path) -> None:
    """By the program itself, which reads the model's shapes."""
    file = tmp_path / "tensors.json"
    content = base64.b64encode(CROPS[0, :48].tobytes()).decode()
    file.write_text(json.dumps({"data": [{"image": {"content": {"b64": content}, "shape": [48, 64, 3]}}]}))
    done = analyzer.run(url(server, way), *WAYS[way], "--input-data", str(file))
    assert done.returncode != 0
    assert "incompatible with the model's input shape of [64,64,3]" in done.stdout + done.stderr
