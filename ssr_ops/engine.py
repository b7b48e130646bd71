"""The native engine: uint8 face crops in, answers out."""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ssr_bundle import pillow
from ssr_bundle.contract import IMAGE_SIZE, PRECISIONS
from ssr_bundle.errors import SsrError
from ssr_ops.native import call, folder_of, native, thread_count
from ssr_ops.precision import SlowPrecision, precision_note
from ssr_ops.reference import Stages

if TYPE_CHECKING:
    from ssr_bundle.bundle import Bundle

Floats = NDArray[np.float32]


class Engine:
    """The whole network of one bundle in C++, safe to call from several threads at once.

    ``device``: ``cpu``, ``cuda`` or ``cuda:N``. ``precision``: ``fp32``; ``bf16`` and ``int8``
    run on the CPU, from a bundle that ``ssr-train quantize`` made; ``auto``: the quickest here that is close
    enough to fp32 (:func:`ssr_ops.choose_precision`), which the attribute then names. ``threads``: how many
    threads one call may use, the caller's among them. The bits of an image's answer depend on the image
    alone, not on batch size, position or threads. ``SSR_FORCE_IMPLEMENTATION`` or ``implementation`` picks
    one of :func:`ssr_ops.implementations` for the CPU.

    A precision that is asked for by its name and slower than fp32 here is obeyed, with a
    :class:`SlowPrecision` that says so, measured once a machine and bundle; not where ``note`` is False or an
    implementation is given.

    Raises :class:`ssr_bundle.errors.SsrError` (a ``ValueError``) naming the file that is missing, damaged
    or foreign, or the option that this machine or build cannot honour.
    """

    def __init__(
        self,
        bundle: str | os.PathLike[str] | Bundle,
        device: str = "cpu",
        precision: str = "fp32",
        threads: int = 1,
        implementation: str | None = None,
        *,
        note: bool = True,
    ) -> None:
        path = folder_of(bundle)
        self.device, self.threads = str(device), thread_count(threads)
        options = (self.device, str(precision), self.threads, implementation or "")
        self._engine = engine = call(native.Engine, path, *options)
        self.precision: str = engine.precision
        """What really runs: ``fp32``, ``bf16`` or ``int8``."""
        self.implementation: str = engine.implementation
        """What really runs: one of :func:`ssr_ops.implementations`, or ``cuda``."""
        self.name: str = engine.name
        """The contract's name of the network."""
        self.colour: str = engine.colour
        """Colour order of the images: ``bgr`` or ``rgb``."""
        self.input_name: str = engine.input_name
        self.output_name: str = engine.output_name
        """Name of the answer: ``age`` or ``male``."""
        self.clip: tuple[float, float] = engine.clip
        """The range that answers are clipped to, in the output's unit."""
        self.stages: tuple[int, ...] = tuple(engine.stages)
        """Bins s_k of each stage, deepest level first."""
        self.calibrated: bool = engine.calibrated
        """Whether :meth:`predict_full` gives an interval."""
        self.interface_sha256: str = engine.interface_sha256
        self.weights_sha256: str = engine.weights_sha256
        self.synthetic: bool = engine.synthetic
        """Whether the weights learned from drawn faces only."""
        told = note and self.device == "cpu" and precision in PRECISIONS and implementation is None
        if told and (slow := precision_note(bundle, precision)):
            warnings.warn(slow, SlowPrecision, stacklevel=2)

    def predict(self, images: ArrayLike) -> Floats:
        """Answers (N,) float32, clipped to the contract's range.

        ``images``: uint8 (N, 64, 64, 3) in the contract's colour order (:attr:`colour`), any strides.
        Raises :class:`SsrError` for another dtype or shape.
        """
        return self._run(images)["value"]

    def predict_stages(self, images: ArrayLike) -> Stages:
        """As :meth:`predict`, with what each stage says; its ``age`` is clipped."""
        found = self._run(images, stages=True)
        return Stages(found["p"], found["eta"], found["delta"], found["value"])

    def predict_full(self, images: ArrayLike) -> dict[str, Floats]:
        """Every named output: the answer (N,), and ``<output>_interval`` (N, 2) if calibrated."""
        found = self._run(images, interval=self.calibrated)
        outputs = {self.output_name: found["value"]}
        if "interval" in found:
            outputs[f"{self.output_name}_interval"] = found["interval"]
        return outputs

    def _run(self, images: ArrayLike, stages: bool = False, interval: bool = False) -> dict[str, Floats]:
        found: dict[str, Floats] = call(self._engine.run, as_images(images), stages, interval)
        return found

    def __repr__(self) -> str:
        return (
            f"Engine({self.name!r}, device={self.device!r}, precision={self.precision!r}, "
            f"threads={self.threads}, implementation={self.implementation!r})"
        )


def as_images(images: ArrayLike) -> NDArray[np.uint8]:
    """``images`` as (N, 64, 64, 3) uint8 with each image contiguous (copied only if it must be).

    Raises :class:`SsrError` naming the dtype or shape that is wrong.
    """
    expected = f"expected uint8 (N, {IMAGE_SIZE}, {IMAGE_SIZE}, 3)"
    pillow.refuse(images, "images", expected)
    try:
        batch: NDArray[Any] = np.asarray(images)
    except (ValueError, TypeError) as error:
        raise SsrError(f"images: not an array ({error})") from None
    if batch.dtype != np.uint8:
        raise SsrError(f"images: dtype {batch.dtype}, {expected}")
    if batch.ndim == 3 and batch.shape == (IMAGE_SIZE, IMAGE_SIZE, 3):
        raise SsrError(f"images: one image of shape {batch.shape}, {expected}: use images[None]")
    if batch.ndim != 4 or batch.shape[1:] != (IMAGE_SIZE, IMAGE_SIZE, 3):
        raise SsrError(f"images: shape {batch.shape}, {expected}")
    if batch.strides[1:] != (IMAGE_SIZE * 3, 3, 1):
        batch = np.ascontiguousarray(batch)
    return batch
