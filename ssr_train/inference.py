"""Everything that gives an age for a picture, behind one call: what evaluation, calibration and the paper's
tables ask.

``torch``   a bundle's network, or any system of the zoo, in eager mode
``native``  our engine, any implementation and precision
``onnx``    an exported graph in ONNX Runtime
``served``  a model on a running server, over gRPC

All take BGR bytes, whatever the network's own colour order, and answer years, clipped as served answers are.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ssr_bundle.bundle import Bundle
from ssr_bundle.contract import IMAGE_SIZE, Crop, Interface, Output
from ssr_bundle.errors import SsrError
from ssr_bundle.method import MethodBundle, ServedBundle, ServedContract, read_served
from ssr_ops.reference import served
from ssr_train.devices import check_device

if TYPE_CHECKING:
    from ssr_client import AgeClient

    from ssr_train.zoo.system import System

KINDS = ("torch", "native", "onnx", "served")

_BATCH = 128

Years = NDArray[np.float64]
Images = NDArray[np.uint8]
Tick = Callable[[int], None]


class Runner(AbstractContextManager["Runner"]):
    """Ages of pictures. ``name`` says what ran: kind, implementation, precision. ``size``: side in pixels.
    ``weights_sha256``: identity of the weights that answer, where it is known; a server's after an answer."""

    name: str
    size: int = IMAGE_SIZE
    crop: Crop | None = None
    """How a server's model wants faces cut; None where the weights say it themselves."""
    weights_sha256: str | None = None

    def predict(self, images: Images, tick: Tick = lambda _: None) -> Years:
        """Ages (N,) in years of ``images`` (N, S, S, 3) uint8 BGR, an array or a memory map.

        ``tick`` hears how many pictures were done since it was last called. Raises :class:`SsrError` for
        pictures of another kind, and for answers that are not finite.
        """
        if images.ndim != 4 or images.shape[1:] != (self.size, self.size, 3) or images.dtype != np.uint8:
            raise SsrError(
                f"{self.name}: pictures {images.dtype} {images.shape}, "
                f"expected uint8 (N, {self.size}, {self.size}, 3)"
            )
        parts = []
        for start in range(0, len(images), _BATCH):
            batch = np.ascontiguousarray(images[start : start + _BATCH])
            parts.append(np.asarray(self._answer(batch), np.float64).reshape(len(batch)))
            tick(len(batch))
        answers = np.concatenate(parts) if parts else np.empty(0)
        if wrong := int((~np.isfinite(answers)).sum()):
            raise SsrError(f"{self.name}: {wrong:,} of {len(answers):,} answers are NaN or infinite")
        return answers

    def close(self) -> None:
        """Let go of what the runner holds; nothing by default."""

    def __exit__(self, *_: object) -> None:
        self.close()

    def _answer(self, batch: Images) -> NDArray[Any]:
        raise NotImplementedError


def runner_of(what: ServedBundle | Path | None) -> str:
    """The kind that runs ``what`` unless another is asked for: a system's folder in torch, another method's
    bundle than SSR-Net's in ONNX Runtime, everything else in our engine."""
    if isinstance(what, Path):
        return "torch"
    return "onnx" if isinstance(what, MethodBundle) else "native"


def open_runner(
    what: str | os.PathLike[str] | ServedBundle | None,
    kind: str = "torch",
    *,
    precision: str = "fp32",
    device: str = "cpu",
    threads: int = 1,
    url: str = "localhost:8001",
    model: str = "ssrnet",
) -> Runner:
    """Open ``what``, a bundle or (``torch`` only) a folder of a zoo system; ``served`` asks ``model`` at
    ``url``, and where ``what`` is a bundle refuses other weights than its. The bundle of another method than
    SSR-Net is not for ``native``.

    ``precision``: of ``native`` (fp32, bf16, int8) and ``onnx`` (fp32, fp16, int8); ``threads``
    too. Raises :class:`SsrError` for anything that cannot be opened or does not answer years.
    """
    if kind not in KINDS:
        raise SsrError(f"--runner {kind}: unknown, expected one of {', '.join(KINDS)}")
    if kind in ("torch", "served") and precision != "fp32":
        decides = "the server decides" if kind == "served" else "torch runs in fp32"
        raise SsrError(f"--precision {precision}: {decides}; it belongs to --runner native and onnx")
    if kind in ("onnx", "served") and device != "cpu":
        decides = "the server decides" if kind == "served" else "ONNX Runtime runs on the CPU here"
        raise SsrError(f"--device {device}: {decides}; it belongs to --runner native and torch")
    if isinstance(what, str | os.PathLike):
        if not (Path(what) / "system.json").is_file():
            what = read_served(what)
        elif kind != "torch":
            raise SsrError(
                f"{what}: a system of the zoo runs in torch only, not in {kind}; expected a bundle"
            )
    if kind == "served":
        return ServedRunner(url, model, what if isinstance(what, Bundle | MethodBundle) else None)
    if isinstance(what, MethodBundle):
        return _open_method(what, kind, precision, device, threads)
    if isinstance(what, Bundle):
        interface = what.contract.interface
        _check_years(interface, str(what.path))
        if kind == "native":
            return NativeRunner(what, precision, device, threads)
        if kind == "onnx":
            return OnnxRunner(what, precision, threads)
        from ssr_train.model import load_model
        from ssr_train.zoo.ssrnet import SSRNetSystem

        return TorchRunner(
            SSRNetSystem(load_model(what), colour=interface.input.colour),
            contract=what.contract,
            device=device,
        )
    if what is None:
        raise SsrError(f"--runner {kind}: give a bundle or the folder of a system")
    from ssr_train.zoo import load_system

    return TorchRunner(load_system(what), device=device)


def _open_method(bundle: MethodBundle, kind: str, precision: str, device: str, threads: int) -> Runner:
    if kind == "native" or precision != "fp32":
        raise SsrError(
            f"{bundle.path}: is {bundle.contract.method.name}, which runs in onnx and torch, in fp32; not in "
            f"{kind} {precision}"
        )
    if kind == "onnx":
        return OnnxRunner(bundle, precision, threads)
    from ssr_train.zoo import load_system

    return TorchRunner(load_system(bundle.path), contract=bundle.contract, device=device)


class TorchRunner(Runner):
    """A system of the zoo on ``device`` in eager fp32. Its answers are served as ``contract`` says, of a
    bundle's network; without one they are clipped to the usual range, every system alike, so that none gains
    by it."""

    def __init__(
        self,
        system: System,
        *,
        contract: ServedContract | None = None,
        device: str = "cpu",
    ) -> None:
        import torch

        check_device(device)
        try:
            self._system = system.to(torch.device(device)).eval()
        except (RuntimeError, AssertionError) as error:
            raise SsrError(f"--device {device}: {str(error).splitlines()[0]}") from None
        self._device, self._contract = device, contract
        self.size = system.input_size
        self.weights_sha256 = None if contract is None else contract.weights_sha256
        title = system.name if contract is None else contract.name
        self.name = f"torch fp32 ({title}, {device}, {torch.get_num_threads()} threads)"

    def _answer(self, batch: Images) -> NDArray[Any]:
        import torch

        from ssr_train.data.transforms import to_network

        with torch.inference_mode():
            ages = self._system.predict(to_network(torch.from_numpy(batch).to(self._device)))
        answers = ages.double().cpu().numpy()
        if self._contract is None:
            return np.asarray(np.clip(answers, *Output().clip))
        return served(self._contract, answers)


class NativeRunner(Runner):
    """The bundle in our engine."""

    def __init__(self, bundle: Bundle, precision: str, device: str, threads: int) -> None:
        from ssr_ops import Engine

        self._engine = Engine(bundle, device, precision, threads, note=False)
        self.weights_sha256 = bundle.contract.weights_sha256
        self.name = f"native {precision} ({self._engine.implementation})"

    def _answer(self, batch: Images) -> NDArray[Any]:
        return self._engine.predict(batch if self._engine.colour == "bgr" else batch[..., ::-1])


class OnnxRunner(Runner):
    """The graph that ``ssr-train export`` wrote into the bundle, in ONNX Runtime on the CPU."""

    def __init__(self, bundle: ServedBundle, precision: str, threads: int) -> None:
        from ssr_ops.export import onnx_name
        from ssr_ops.export.runtime import check_onnx, open_onnx

        name = onnx_name(precision)
        if name not in bundle.contract.files:
            raise SsrError(
                f"{bundle.path}: has no {name}; write it: ssr-train export {bundle.path} "
                f"--precision {precision}"
            )
        graph, where = (bundle.path / name).read_bytes(), str(bundle.path / name)
        check_onnx(graph, bundle, where)
        self._session = open_onnx(graph, where, threads)
        self._interface = bundle.contract.interface
        self.weights_sha256 = bundle.contract.weights_sha256
        self.name = f"onnx {precision} (ONNX Runtime, CPU)"

    def _answer(self, batch: Images) -> NDArray[Any]:
        interface = self._interface
        images = batch if interface.input.colour == "bgr" else np.ascontiguousarray(batch[..., ::-1])
        (answers,) = self._session.run([interface.output.name], {interface.input.name: images})
        return np.asarray(answers)


class ServedRunner(Runner):
    """``model`` of the server at ``url``; with ``bundle``, other weights than its may not answer. ``wait``:
    seconds until the server must be ready. Weights that change between answers are refused; a server that
    does not state them is named so."""

    def __init__(
        self, url: str, model: str, bundle: ServedBundle | None = None, *, wait: float = 10.0
    ) -> None:
        from ssr_client import AgeClient

        self._wanted = None if bundle is None else bundle.contract.weights_sha256
        self._answered = False
        self._client: AgeClient = AgeClient(url, model, wait=wait)
        try:
            self._client.open()
            _check_years(self._client.interface, f"model {model} at {url}")
            self.crop = self._client.interface.crop
        except BaseException:
            self._client.close()
            raise
        self.name = f"served ({model} at {url})"

    def _answer(self, batch: Images) -> NDArray[Any]:
        answers = self._client.predict(batch, colour="bgr")
        stated = self._client.weights_sha256 or None
        if stated is not None and self._wanted not in (None, stated):
            raise SsrError(
                f"{self.name}: answers with weights {stated[:12]}, the bundle's are "
                f"{str(self._wanted)[:12]}; serve this bundle, or leave it out"
            )
        if self._answered and stated != self.weights_sha256:
            raise SsrError(
                f"{self.name}: the weights changed from {str(self.weights_sha256)[:12]} to "
                f"{str(stated)[:12]} while they were asked; ask again"
            )
        if stated is None and not self._answered:
            self.name = f"{self.name[:-1]}, weights not stated)"
        self.weights_sha256, self._answered = stated, True
        return answers

    def close(self) -> None:
        self._client.close()


def _check_years(interface: Interface, where: str) -> None:
    if interface.output.unit != "years":
        raise SsrError(
            f"{where}: answers {interface.output.name} in {interface.output.unit}, expected ages in years"
        )
