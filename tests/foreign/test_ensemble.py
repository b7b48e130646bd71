"""Ensembles of Triton over models of ours: one request, the ages of one model or of two."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as grpc
from battery import CLIENT_SECONDS, CROPS, MODEL, REFUSED, Request, interface_sha256
from ssr_client import AgeClient
from tritonclient.utils import InferenceServerException

from ssr_ops.shipped import default_bundle
from triton_repo import repository
from triton_repo.config import Options
from triton_repo.server import Server
from triton_repo.tritonserver import TritonServer

pytestmark = pytest.mark.server

ENSEMBLES = {"one": {MODEL: "AGE"}, "both": {MODEL: "AGE", "quantized": "AGE_INT8"}}
"""The models that each asks, and what it calls their ages. What is refused is asked of ``one``: of two steps
that start together, the refusal of the first ends or blocks tritonserver 2.51 (docs/backend.md)."""


def put_ensemble(repo: Path, name: str) -> None:
    outputs = "".join(
        f'output {{ name: "{output}" data_type: TYPE_FP32 dims: 1 }}\n' for output in ENSEMBLES[name].values()
    )
    steps = "".join(
        f'step {{ model_name: "{model}" model_version: -1 input_map {{ key: "image" value: "FACE" }}'
        f' output_map {{ key: "age" value: "{output}" }} }}\n'
        for model, output in ENSEMBLES[name].items()
    )
    (repo / name / "1").mkdir(parents=True)
    (repo / name / "config.pbtxt").write_text(
        'platform: "ensemble"\nmax_batch_size: 16\n'
        'input { name: "FACE" data_type: TYPE_UINT8 dims: [64, 64, 3] }\n'
        f"{outputs}ensemble_scheduling {{ {steps} }}\n"
    )


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, tritonserver: TritonServer) -> Iterator[Server]:
    repo = tmp_path_factory.mktemp("ensemble") / "repo"
    repository.build([(MODEL, default_bundle())], repo)
    repository.build([("quantized", default_bundle())], repo, Options(precision="int8"))
    for name in ENSEMBLES:
        put_ensemble(repo, name)
    with Server(repo, tritonserver=tritonserver, watch=False) as running:
        assert running.failures == []
        yield running


def ask(server: Server, name: str, request: Request) -> Any:
    tensor = grpc.InferInput("FACE", list(request.images.shape), request.datatype)
    tensor.set_data_from_numpy(np.ascontiguousarray(request.images))
    said = dict(request.parameters or {}) or None
    with grpc.InferenceServerClient(server.grpc_url) as client:
        return client.infer(name, [tensor], parameters=said, client_timeout=CLIENT_SECONDS)


@pytest.mark.parametrize("name", ENSEMBLES)
def test_the_bits_of_our_own_client(name: str, server: Server) -> None:
    said = {"interface_sha256": interface_sha256(server)}
    found = ask(server, name, Request(CROPS, parameters=said))
    for model, output in ENSEMBLES[name].items():
        with AgeClient(server.grpc_url, model) as ours:
            assert found.as_numpy(output)[:, 0].tobytes() == ours.predict(CROPS).tobytes()
    answers = [found.as_numpy(output).tobytes() for output in ENSEMBLES[name].values()]
    assert len({*answers}) == len(answers), "the two models differ"


def test_whose_answer_it_is_ends_at_the_ensemble(server: Server) -> None:
    """As docs/backend.md says of tritonserver 2.51; what a newer one hands on must be true."""
    said = ask(server, "one", Request(CROPS)).get_response().parameters
    handed_on = {key: value.string_param for key, value in said.items() if key == "weights_sha256"}
    with AgeClient(server.grpc_url, MODEL) as ours:
        ours.predict(CROPS)
        assert handed_on in ({}, {"weights_sha256": ours.weights_sha256})


@pytest.mark.parametrize("what", REFUSED)
def test_one_clear_error(what: str, server: Server) -> None:
    request, words = REFUSED[what]
    with pytest.raises(InferenceServerException) as caught:
        ask(server, "one", request)
    assert words.replace("'image'", "'FACE'") in str(caught.value)
    assert len(ask(server, "one", Request(CROPS[:1])).as_numpy("AGE")) == 1
