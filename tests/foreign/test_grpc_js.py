"""Node's own gRPC library, with a definition of the protocol as small as the question."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytest
from battery import PROGRAMS, Answer, Battery, Refusal, Request, environment, run_program

if TYPE_CHECKING:
    from triton_repo.server import Server

pytestmark = pytest.mark.server


class TestGrpcJs(Battery):
    def ask(self, server: Server, requests: Sequence[Request]) -> list[Answer | Refusal]:
        folder = environment("grpc-js")
        if shutil.which("node") is None:
            pytest.skip("node is not installed")
        return run_program(["node", PROGRAMS / "grpc_js.mjs", folder], server.grpc_url, requests)
