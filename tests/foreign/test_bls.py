"""A program of Triton's Python backend that asks our model (business logic scripting)."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import tritonclient.grpc as grpc
from battery import CLIENT_SECONDS, MODEL, PROGRAMS, Answer, Battery, Refusal, Request
from tritonclient.utils import InferenceServerException

from ssr_ops.shipped import default_bundle
from triton_repo import repository
from triton_repo.server import Server
from triton_repo.tritonserver import TritonServer

pytestmark = pytest.mark.server

CONFIG = """backend: "python"
max_batch_size: 16
input { name: "image" data_type: TYPE_UINT8 dims: [64, 64, 3] }
output { name: "age" data_type: TYPE_FP32 dims: 1 }
instance_group { kind: KIND_CPU }
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, tritonserver: TritonServer) -> Iterator[Server]:
    repo = tmp_path_factory.mktemp("bls") / "repo"
    repository.build([(MODEL, default_bundle())], repo)
    (repo / "program" / "1").mkdir(parents=True)
    (repo / "program" / "config.pbtxt").write_text(CONFIG)
    shutil.copy(PROGRAMS / "bls_model.py", repo / "program" / "1" / "model.py")
    with Server(repo, tritonserver=tritonserver, watch=False) as server:
        for failure in server.failures:
            if "has no python backend" in failure.reason:
                pytest.skip(str(failure))
        assert server.failures == []
        yield server


class TestProgram(Battery):
    @pytest.fixture
    def server(self, running: Server) -> Server:
        return running

    def shows_parameters(self, server: Server) -> bool:
        """Programs can read and give them from container 25.03 on."""
        with grpc.InferenceServerClient(server.grpc_url) as client:
            major, minor, *_ = client.get_server_metadata().version.split(".")
        return (int(major), int(minor)) >= (2, 56)

    def ask(self, server: Server, requests: Sequence[Request]) -> list[Answer | Refusal]:
        with grpc.InferenceServerClient(server.grpc_url) as client:
            return [self.ask_one(client, request) for request in requests]

    def ask_one(self, client: grpc.InferenceServerClient, request: Request) -> Answer | Refusal:
        tensor = grpc.InferInput("image", list(request.images.shape), request.datatype)
        tensor.set_data_from_numpy(np.ascontiguousarray(request.images))
        said = dict(request.parameters or {}) or None
        try:
            found = client.infer("program", [tensor], parameters=said, client_timeout=CLIENT_SECONDS)
        except InferenceServerException as error:
            return Refusal(str(error))
        parameters = {key: value.string_param for key, value in found.get_response().parameters.items()}
        return Answer(found.as_numpy("age")[:, 0], parameters)
