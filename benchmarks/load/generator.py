"""Builds and drives ``grpc_load``: a load of single requests whose sender costs next to nothing.

The request's bytes are the ones that ``ssr_client`` sends, its answer is validated by ``ssr_client`` first,
and the generator compares every answer with it.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from ssr_client import exchange
from ssr_client.bench import validate
from ssr_client.client import AgeClient

from ssr_bundle.errors import SsrError

SOURCE = Path(__file__).with_name("grpc_load.cc")
METHOD = "/inference.GRPCInferenceService/ModelInfer"
TIMEOUT = 10.0


class LoadError(SsrError):
    """The generator cannot be built here, or its run failed."""


class Run(NamedTuple):
    """Milliseconds of each request: from the moment it was due to its answer, and to its sending; requests
    answered a second; the generator's share of one core."""

    latency: NDArray[np.float64]
    late: NDArray[np.float64]
    rate: float
    cpu: float

    def percentile(self, q: float) -> float:
        return float(np.percentile(self.latency, q))


def compile_generator(folder: Path) -> Path:
    """Compile ``grpc_load`` into ``folder``. Raises :class:`LoadError` that names what is missing."""
    compiler = shutil.which("c++") or shutil.which("g++")
    if compiler is None:
        raise LoadError("a C++17 compiler is needed for the load generator")
    program = folder / "grpc_load"
    command = [compiler, "-O2", "-std=c++17", "-Wall", "-Wextra", "-Werror", str(SOURCE), "-o", str(program)]
    done = subprocess.run([*command, "-lnghttp2"], capture_output=True, text=True, check=False)
    if "nghttp2/nghttp2.h" in done.stderr:
        raise LoadError("the load generator needs nghttp2 (Debian, Ubuntu: apt-get install libnghttp2-dev)")
    if done.returncode:
        raise LoadError(f"the load generator did not compile\n{done.stderr[-2000:]}")
    return program


class Generator:
    """Sends one request of ``crops`` again and again to the model of ``client``, which must stay open (its
    shared memory holds the crops, where it has some)."""

    def __init__(self, client: AgeClient, crops: NDArray[np.uint8]) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="ssr-load-")
        try:
            folder = Path(self._folder.name)
            self._program = compile_generator(folder)
            request = _request(client, crops)
            answer = validate(client, crops).tobytes()
            (folder / "request").write_bytes(request.SerializeToString())
            # The last field of ModelInferResponse: raw_output_contents, its length, the tensor's bytes.
            field = type(client._connected()._client_stub.ModelInfer(request)).DESCRIPTOR.fields_by_name[
                "raw_output_contents"
            ]
            (folder / "ending").write_bytes(bytes([field.number << 3 | 2, len(answer)]) + answer)
        except BaseException:
            self._folder.cleanup()
            raise
        host, _, port = client.url.rpartition(":")
        files = [str(folder / "request"), str(folder / "ending")]
        self._command = [str(self._program), host, port, METHOD, *files]

    def closed(self, under_way: int, seconds: float) -> Run:
        """Keep ``under_way`` requests with the server."""
        return self._run(seconds, "--under-way", str(under_way))

    def open(self, rate: float, seconds: float, seed: int = 0) -> Run:
        """Send ``rate`` requests a second that arrive by chance."""
        return self._run(seconds, "--rate", str(rate), "--seed", str(seed))

    def _run(self, seconds: float, *options: str) -> Run:
        command = [*self._command, *options, "--seconds", str(seconds)]
        done = subprocess.run(command, capture_output=True, check=False, timeout=seconds + 60)
        if done.returncode:
            raise LoadError(done.stderr.decode(errors="replace").strip() or f"status {done.returncode}")
        due, sent, answered = np.frombuffer(done.stdout, np.int64).reshape(-1, 3).T / 1e6
        span = max(seconds, float(answered.max(initial=0.0)) / 1e3)
        return Run(answered - due, sent - due, len(due) / span, float(done.stderr) / span)

    def close(self) -> None:
        self._folder.cleanup()

    def __enter__(self) -> Generator:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _request(client: AgeClient, crops: NDArray[np.uint8]) -> Any:
    """The message that ``client`` sends for ``crops``."""
    from tritonclient.grpc._utils import _get_inference_request

    served = client._now()
    [part] = exchange.parts_of(crops, served.interface.input.colour, served)
    if len(part) * 4 > 127:
        raise LoadError(f"crops: at most 31 a request, got {len(part)}")
    region = client._memory.take(part.nbytes) if client._memory is not None else None
    if region is not None and not region.registered:
        client._register(region, exchange.Deadline(TIMEOUT))
    arguments = exchange.request_arguments(served, True, TIMEOUT)
    del arguments["client_timeout"]
    return _get_inference_request(
        inputs=[exchange.tensor_of(part, served, region)],
        model_name=client.model,
        model_version=client.version,
        request_id="",
        sequence_id=0,
        sequence_start=False,
        sequence_end=False,
        priority=0,
        **arguments,
    )
