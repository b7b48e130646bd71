"""What every foreign client of a served model is held to: the bits that our own client gets, the hash of the
weights beside them, and one clear error for what is no good request."""

from __future__ import annotations

import base64
import json
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import install
import numpy as np
import pytest
from numpy.typing import NDArray
from ssr_client import AgeClient

from ssr_ops.shipped import default_bundle

if TYPE_CHECKING:
    from triton_repo.server import Server

PROGRAMS = Path(__file__).parent / "programs"
MODEL = "ssrnet"
CROPS = np.random.default_rng(18).integers(0, 256, (5, 64, 64, 3), dtype=np.uint8)
CLIENT_SECONDS = 120
"""How long a client may take on a busy machine."""


@dataclass(frozen=True)
class Request:
    """Crops as a client sends them; ``parameters`` are those of the request."""

    images: NDArray[Any]
    datatype: str = "UINT8"
    parameters: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Answer:
    """``ages`` (N,) float32; ``parameters`` of the response."""

    ages: NDArray[np.float32]
    parameters: Mapping[str, Any]


@dataclass(frozen=True)
class Refusal:
    """The words in which a client tells its user that a request was not answered."""

    words: str


REFUSED = {
    "another shape": (Request(CROPS[:2, :48]), "unexpected shape for input 'image' for model"),
    "another type": (Request(CROPS[:2].astype(np.float32), "FP32"), "expects 'UINT8'"),
    "another interface": (
        Request(CROPS[:2], parameters={"interface_sha256": "0" * 64}),
        "another interface is another model name",
    ),
}


class Battery(ABC):
    """The test of a client; its own class says how it asks."""

    sends_parameters = True

    def shows_parameters(self, server: Server) -> bool:
        """Whether the parameters of a response come through."""
        return True

    @abstractmethod
    def ask(self, server: Server, requests: Sequence[Request]) -> list[Answer | Refusal]:
        """Ask with the foreign client, one request after the other; skips where the client is not here."""

    @pytest.fixture
    def server(self, serve: Any) -> Server:
        server: Server = serve({MODEL: default_bundle()})
        return server

    def test_answers_and_refusals(self, server: Server) -> None:
        bad = {
            what: refused
            for what, refused in REFUSED.items()
            if self.sends_parameters or not refused[0].parameters
        }
        said = {"interface_sha256": interface_sha256(server)} if self.sends_parameters else None
        good = Request(CROPS, parameters=said)
        first, *refusals, last = self.ask(server, [good, *(request for request, _ in bad.values()), good])

        with AgeClient(server.grpc_url, MODEL) as ours:
            ages = ours.predict(CROPS)
            for answer in (first, last):
                assert isinstance(answer, Answer), answer
                assert answer.ages.tobytes() == ages.tobytes()
                if self.shows_parameters(server):
                    assert answer.parameters["weights_sha256"] == ours.weights_sha256
        assert len({*ages.tolist()}) == len(CROPS)
        for refusal, (what, (_, words)) in zip(refusals, bad.items(), strict=True):
            assert isinstance(refusal, Refusal), f"{what} is answered"
            assert words in refusal.words


def interface_sha256(server: Server) -> str:
    """What a client that checks its crops sends: the hash of the served interface."""
    found = server.control.config(MODEL)["parameters"]["interface_sha256"]["string_value"]
    assert isinstance(found, str)
    return found


def environment(client: str) -> Path:
    """Where ``make test-foreign`` put ``client``, or a skip with the reason for which it is not there."""
    outcome = install.read_outcome(client)
    if outcome is None:
        pytest.skip(f"{client} is not installed: make test-foreign tries to")
    if outcome.failure:
        pytest.skip(f"{client} could not be installed: {outcome.failure}")
    return install.FOLDER / client


def run_program(
    command: Sequence[str | Path], url: str, requests: Sequence[Request], how: str = ""
) -> list[Answer | Refusal]:
    """Let a program ask: it reads the requests as JSON from its standard input, and prints a line of JSON an
    answer, ``{"ages": [...], "parameters": {...}}`` or ``{"refused": "words"}``."""
    given = {
        "url": url,
        "model": MODEL,
        "how": how,
        "requests": [
            {
                "shape": request.images.shape,
                "datatype": request.datatype,
                "dtype": str(request.images.dtype),
                "data": base64.b64encode(np.ascontiguousarray(request.images).tobytes()).decode(),
                "parameters": dict(request.parameters or {}),
            }
            for request in requests
        ],
    }
    done = subprocess.run(
        [*map(str, command)],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=CLIENT_SECONDS,
    )
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    told = map(json.loads, done.stdout.splitlines())
    return [
        Refusal(one["refused"])
        if "refused" in one
        else Answer(np.array(one["ages"], np.float32), one["parameters"])
        for one in told
    ]


def from_json(told: Mapping[str, Any]) -> Answer | Refusal:
    """An answer of Triton's HTTP protocol in JSON."""
    if "error" in told:
        return Refusal(told["error"])
    (output,) = (output for output in told["outputs"] if output["name"] == "age")
    return Answer(np.array(output["data"], np.float32), told["parameters"])
