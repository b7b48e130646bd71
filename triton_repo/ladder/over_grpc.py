"""The top rung: a real tritonserver, asked over gRPC, against the same engine called directly."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import numpy as np
from ssr_client import AgeClient

import ssr_ops
from ssr_bundle.contract import IMAGE_SIZE, Crop
from ssr_bundle.errors import SsrError
from ssr_bundle.method import MethodBundle, ServedBundle
from ssr_bundle.scratch import scratch
from ssr_ops import reference
from triton_repo import pair
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
    """A version of a model on a server: the bundle that it serves, and how; ``frame``: in frames."""

    name: str
    version: int
    bundle: ServedBundle
    precision: str
    flavor: Flavor = SSR
    device: str = "cpu"
    frame: bool = False

    def check_weights(self, answered: str | None) -> None:
        """Raise :class:`SsrError` where other weights ``answered`` than the bundle's."""
        wanted = self.bundle.contract.weights_sha256
        if answered and answered != wanted:  # stock backends do not say
            raise SsrError(
                f"{self.name} version {self.version} answers with weights {answered[:12]}, "
                f"the bundle's are {wanted[:12]}"
            )

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
        answer = (ask_frames if self.frame else ask)(server.grpc_url, self)
        if self.flavor is not SSR or isinstance(self.bundle, MethodBundle):
            return Opened(answer, f"{self.flavor.backend} backend")
        engine = ssr_ops.Engine(self.bundle, device=self.device, precision=self.precision, note=False)
        if not self.frame:
            return Opened(answer, engine.implementation, engine.predict)
        crop = self.bundle.contract.interface.crop
        return Opened(answer, engine.implementation, lambda images: engine.predict(recut(images, crop)))


def ask(url: str, model: ServedVersion) -> Predict:
    """Answers of a served model over gRPC, in as many requests as its batch size takes."""
    contract = model.bundle.contract

    def predict(images: Images) -> Answers:
        with AgeClient(url, model.name, model.version, timeout=60) as client:
            answers: Answers = client.predict(images, colour=contract.interface.input.colour)
            model.check_weights(client.weights_sha256)
        return answers

    return predict


def ask_frames(url: str, model: ServedVersion) -> Predict:
    """Answers of a served frame model to crops: each is a frame by itself, and its face all of it."""
    interface = model.bundle.contract.interface

    def predict(images: Images) -> Answers:
        answers = []
        place = whole(interface.crop)
        with AgeClient(url, pair.crops_model(model.name), model.version, timeout=60) as client:
            for image in images:
                (face,) = client.predict_frame(image, interface.input.colour, **place)
                answers.append(face.attributes.get(interface.output.name, face.age))
            model.check_weights(client.weights_sha256)
        return np.array(answers, np.float32)

    return predict


def whole(crop: Crop) -> dict[str, Any]:
    """The box, or the landmarks, of a face whose cut is all of a picture of the network's size."""
    if crop.template is not None:
        points = np.array(crop.template.points) * (IMAGE_SIZE / crop.template.size)
        return {"boxes": [(0, 0, IMAGE_SIZE, IMAGE_SIZE)], "landmarks": [points]}
    left, top, right, bottom = crop.margin
    w, h = (IMAGE_SIZE - 0.5) / (1 + left + right), (IMAGE_SIZE - 0.5) / (1 + top + bottom)
    return {"boxes": [(left * w + 0.25, top * h + 0.25, w, h)]}


def recut(images: Images, crop: Crop) -> Images:
    """What the served model cuts of pictures of that size."""
    place: dict[str, Any] = {name: np.float32(value).tolist() for name, value in whole(crop).items()}
    points = place.get("landmarks")
    return np.stack([reference.crop_faces(image, place["boxes"], crop, points)[0] for image in images])


def bench_rungs(bundle: ServedBundle, precisions: Sequence[str], stack: contextlib.ExitStack) -> list[Rung]:
    """The bundle served from a temporary repository, a model a precision, until ``stack`` is closed. What
    cannot be built is one of the server's failures, as what it cannot load is."""
    flavor = ONNX if isinstance(bundle, MethodBundle) else SSR

    def start() -> Server:
        folder = stack.enter_context(scratch("verify"))
        refused = []
        for precision in precisions:
            try:
                options = Options(precision=precision, flavors=(flavor.name,))
                build([(precision, bundle.path)], folder, options)
            except SsrError as error:
                refused.append(Failure(precision, None, str(error)))
        if len(refused) == len(precisions):
            raise SsrError(refused[0].reason)
        server = stack.enter_context(Server(folder, watch=False))
        server.failures.extend(refused)
        return server

    late = LateServer(start)
    return [
        ServedVersion(precision + flavor.suffix, 1, bundle, precision, flavor).rung(late)
        for precision in precisions
    ]


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
