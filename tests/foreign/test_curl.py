"""curl: crops as JSON, and behind a JSON header as they are (Triton's binary extension of HTTP)."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from battery import CLIENT_SECONDS, MODEL, Answer, Battery, Refusal, Request, from_json

if TYPE_CHECKING:
    from triton_repo.server import Server

pytestmark = pytest.mark.server

SIZE_OF_JSON = "Inference-Header-Content-Length"


def asked(request: Request, tensor: dict[str, Any], binary: bool) -> bytes:
    tensor = {"name": "image", "shape": request.images.shape, "datatype": request.datatype, **tensor}
    wanted = {"name": "age", "parameters": {"binary_data": binary}}
    said = {"parameters": dict(request.parameters)} if request.parameters else {}
    return json.dumps({"inputs": [tensor], "outputs": [wanted], **said}).encode()


def curl(server: Server, body: bytes, *headers: str) -> tuple[dict[str, str], bytes]:
    """Headers, their names in small letters, and body of what the server answers, its errors included."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    command = ["curl", "--silent", "--show-error", "--include", "--data-binary", "@-"]
    command += [word for header in (*headers, "Expect:") for word in ("--header", header)]
    command.append(f"http://{server.http_url}/v2/models/{MODEL}/infer")
    done = subprocess.run(command, input=body, capture_output=True, timeout=CLIENT_SECONDS)
    assert done.returncode == 0, done.stderr.decode()
    head, _, told = done.stdout.partition(b"\r\n\r\n")
    fields = (line.partition(": ") for line in head.decode().splitlines()[1:])
    return {name.lower(): value for name, _, value in fields}, told


class TestJson(Battery):
    def ask(self, server: Server, requests: Sequence[Request]) -> list[Answer | Refusal]:
        return [self.ask_one(server, request) for request in requests]

    def ask_one(self, server: Server, request: Request) -> Answer | Refusal:
        body = asked(request, {"data": request.images.ravel().tolist()}, binary=False)
        _, told = curl(server, body, "Content-Type: application/json")
        return from_json(json.loads(told))


class TestBinary(TestJson):
    def ask_one(self, server: Server, request: Request) -> Answer | Refusal:
        header = asked(request, {"parameters": {"binary_data_size": request.images.nbytes}}, binary=True)
        body = header + np.ascontiguousarray(request.images).tobytes()
        kind = "Content-Type: application/octet-stream"
        fields, told = curl(server, body, f"{SIZE_OF_JSON}: {len(header)}", kind)
        size = fields.get(SIZE_OF_JSON.lower())
        if size is None:
            return from_json(json.loads(told))
        answer, raw = json.loads(told[: int(size)]), told[int(size) :]
        assert answer["outputs"][0]["parameters"] == {"binary_data_size": len(raw)}
        return Answer(np.frombuffer(raw, np.float32), answer["parameters"])
