"""KServe's Python client: its REST client with JSON and with the binary extension, and its gRPC client."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytest
from battery import PROGRAMS, Answer, Battery, Refusal, Request, environment, run_program

if TYPE_CHECKING:
    from triton_repo.server import Server

pytestmark = pytest.mark.server


class TestRest(Battery):
    how = "rest"

    def ask(self, server: Server, requests: Sequence[Request]) -> list[Answer | Refusal]:
        command = [environment("kserve") / "bin" / "python", PROGRAMS / "kserve_ask.py"]
        url = server.grpc_url if self.how == "grpc" else server.http_url
        return run_program(command, url, requests, self.how)


class TestRestBinary(TestRest):
    how = "rest-binary"


class TestGrpc(TestRest):
    how = "grpc"
