"""The top rung: a real tritonserver, asked over gRPC, against the same engine called directly."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from ssr_client import AgeClient

import ssr_ops
from ssr_bundle.bundle import Bundle
from ssr_bundle.errors import SsrError
from ssr_bundle.scratch import scratch
from triton_repo.compile import gpu
from triton_repo.config import Options
from triton_repo.flavors import ONNX, SSR, TENSORRT, Flavor
from triton_repo.ladder.engines import need_quantization
from triton_repo.ladder.rung import Answers, Images, NotRun, Opened, Predict, Rung
from triton_repo.repository import build
from triton_repo.server import Server
from triton_repo.tritonserver import TritonServer, TritonServerError, find
from triton_repo.view import Failure, lacking

_HELD_TO = {SSR.name: "native", ONNX.name: "onnx", TENSORRT.name: "tensorrt"}


class LateServer:
    """A server that starts when it is first asked for; what kept it from that is told to all who ask."""

    def __init__(self, start: Callable[[], Server]) -> None:
        self._start = start
        self._started: Future[Server] | None = None

    def __call__(self) -> Server:
        if self._started is None:
            self._started = Future()
            try:
                _need_server()
                self._started.set_result(self._start())
            except (NotRun, SsrError, OSError) as error:
                self._started.set_exception(error)
        return self._started.result()


@dataclass(frozen=True)
class ServedVersion:
    """A version of a model on a server: the bundle that it serves, and how."""

    name: str
    version: int
    bundle: Bundle
    precision: str
    flavor: Flavor = SSR
    device: str = "cpu"

    def rung(self, server: LateServer) -> Rung:
        held_to = _HELD_TO[self.flavor.name]
        return Rung("served", self.precision, "tritonserver", lambda: self._open(server), held_to)

    def _open(self, late: LateServer) -> Opened:
        need_quantization(self.bundle, self.precision)
        if self.flavor is not SSR:
            if self.flavor.backend not in _need_server().backends():
                raise NotRun(lacking(self.flavor.backend))
            if self.device == "cuda":
                gpu.require()
        server = late()
        for failure in server.failures:
            if failure.model == self.name and failure.version in (None, self.version):
                raise SsrError(failure.reason)
        answer = ask(server.grpc_url, self)
        if self.flavor is not SSR:
            return Opened(answer, f"{self.flavor.backend} backend")
        engine = ssr_ops.Engine(self.bundle, device=self.device, precision=self.precision)
        return Opened(answer, engine.implementation, engine.predict)


def ask(url: str, model: ServedVersion) -> Predict:
    """Answers of a served model over gRPC, in as many requests as its batch size takes."""
    contract = model.bundle.contract

    def predict(images: Images) -> Answers:
        with AgeClient(url, model.name, model.version, timeout=60) as client:
            answers: Answers = client.predict(images, colour=contract.interface.input.colour)
            weights = client.weights_sha256
        if weights and weights != contract.weights_sha256:  # stock backends do not say
            raise SsrError(
                f"{model.name} version {model.version} answers with weights {weights[:12]}, "
                f"the bundle's are {contract.weights_sha256[:12]}"
            )
        return answers

    return predict


def bench_rungs(bundle: Bundle, precisions: Sequence[str], stack: contextlib.ExitStack) -> list[Rung]:
    """The bundle served from a temporary repository, a model a precision, until ``stack`` is closed. What
    cannot be built is one of the server's failures, as what it cannot load is."""

    def start() -> Server:
        folder = stack.enter_context(scratch("verify"))
        refused = []
        for precision in precisions:
            try:
                build([(precision, bundle.path)], folder, Options(precision=precision))
            except SsrError as error:
                refused.append(Failure(precision, None, str(error)))
        if len(refused) == len(precisions):
            raise SsrError(refused[0].reason)
        server = stack.enter_context(Server(folder, watch=False))
        server.failures.extend(refused)
        return server

    late = LateServer(start)
    return [ServedVersion(precision, 1, bundle, precision).rung(late) for precision in precisions]


def _need_server() -> TritonServer:
    """The server; raises :class:`NotRun` where there is none, or nothing to ask it with."""
    try:
        import cv2  # noqa: F401
        import tritonclient.grpc  # noqa: F401

        return find()
    except ImportError as error:
        raise NotRun(f"{error.name} is not installed: pip install 'ssr-client[photo]'") from None
    except TritonServerError as error:
        raise NotRun(f"no tritonserver: {error}") from None
