"""NVIDIA's Python client over HTTP, in binary, in JSON and asynchronously."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from battery import PROGRAMS, Answer, Battery, Refusal, Request, environment, run_program

if TYPE_CHECKING:
    from triton_repo.server import Server

pytestmark = pytest.mark.server


def python() -> Path:
    """That of the tests where it has what the client needs, else one of its own."""
    if all(map(importlib.util.find_spec, ("geventhttpclient", "aiohttp"))):
        return Path(sys.executable)
    return environment("tritonclient-http") / "bin" / "python"


class TestBinary(Battery):
    how = "binary"

    def ask(self, server: Server, requests: Sequence[Request]) -> list[Answer | Refusal]:
        return run_program([python(), PROGRAMS / "triton_http.py"], server.http_url, requests, self.how)


class TestJson(TestBinary):
    how = "json"


class TestAsynchronous(TestBinary):
    how = "aio"
