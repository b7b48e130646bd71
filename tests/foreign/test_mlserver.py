"""MLServer: the batch client ``mlserver infer``, and its types and stub over gRPC."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from battery import (
    CLIENT_SECONDS,
    MODEL,
    PROGRAMS,
    Answer,
    Battery,
    Refusal,
    Request,
    environment,
    from_json,
    run_program,
)

if TYPE_CHECKING:
    from triton_repo.server import Server

pytestmark = pytest.mark.server


class TestInfer(Battery):
    """A file of requests, a line each, becomes a file of answers. It drops the parameters of requests."""

    sends_parameters = False
    options: tuple[str, ...] = ()

    @pytest.fixture(autouse=True)
    def folder(self, tmp_path: Path) -> None:
        self.tmp_path = tmp_path

    def ask(self, server: Server, requests: Sequence[Request]) -> list[Answer | Refusal]:
        program = environment("mlserver") / "bin" / "mlserver"
        asked, answered = self.tmp_path / "requests", self.tmp_path / "answers"
        asked.write_text("".join(map(self.line, requests)))
        command: list[str | Path] = [program, "infer", "--url", server.http_url, "--model-name", MODEL]
        command += ["--input-data-path", asked, "--output-data-path", answered]
        command += ["--workers", "1", "--retries", "1", *self.options]
        done = subprocess.run(command, capture_output=True, text=True, timeout=CLIENT_SECONDS)
        assert done.returncode == 0, done.stderr[-2000:]
        told = sorted(
            map(json.loads, answered.read_text().splitlines()),
            key=lambda line: int(line["parameters"]["batch_index"]),
        )
        return [Refusal(one["error"]["msg"]) if "error" in one else from_json(one) for one in told]

    @staticmethod
    def line(request: Request) -> str:
        data = request.images.ravel().tolist()
        tensor = {"name": "image", "shape": request.images.shape, "datatype": request.datatype, "data": data}
        return json.dumps({"inputs": [tensor], "outputs": [{"name": "age"}]}) + "\n"


class TestInferBinary(TestInfer):
    options = ("--binary-data",)


class TestGrpc(Battery):
    def ask(self, server: Server, requests: Sequence[Request]) -> list[Answer | Refusal]:
        command = [environment("mlserver") / "bin" / "python", PROGRAMS / "mlserver_grpc.py"]
        return run_program(command, server.grpc_url, requests)
