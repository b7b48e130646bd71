"""Flavors: the ways in which one bundle can be served, each as a model of its own in the repository.

``ssr`` is this project's backend. ``tensorrt`` and ``onnx`` are for the stock backends of a Triton
container: the same bundle, tensor names and contract parameters, with a compiled file beside it. Their
models are named after the first with a suffix, since Triton allows one backend a model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ssr_bundle import contract as contracts
from ssr_bundle.errors import SsrError, UsageError
from ssr_ops.export import PRECISIONS, onnx_name
from ssr_ops.precision import AUTO


class FlavorError(SsrError):
    """A flavor that cannot be made of a bundle."""


@dataclass(frozen=True)
class Flavor:
    """``name`` as ``--flavor`` takes it; ``suffix`` of the model's name; ``backend`` and ``platform`` as
    config.pbtxt names them; ``precisions`` that it can be built in; ``threads_parameter``: how the backend
    calls the number of CPU threads, empty if it has none."""

    name: str
    suffix: str
    backend: str
    platform: str
    precisions: tuple[str, ...]
    threads_parameter: str

    def file(self, precision: str) -> str:
        """Name of the compiled file in a version folder; empty if the bundle itself is what is served."""
        if self is TENSORRT:
            from triton_repo.compile.plan import PLAN_FILE

            return PLAN_FILE
        if self is ONNX:
            return onnx_name(precision)
        return ""


SSR = Flavor("ssr", "", "ssr", "", ("fp32", *contracts.PRECISIONS, AUTO), "threads")
TENSORRT = Flavor("tensorrt", "-tensorrt", "tensorrt", "tensorrt_plan", PRECISIONS, "")
ONNX = Flavor("onnx", "-onnx", "onnxruntime", "onnxruntime_onnx", PRECISIONS, "intra_op_thread_count")
FLAVORS = {flavor.name: flavor for flavor in (SSR, TENSORRT, ONNX)}


def named(name: str) -> Flavor:
    """The flavor of that name; raises :class:`UsageError` listing those that there are."""
    if name not in FLAVORS:
        raise UsageError(f"flavor: expected {', '.join(FLAVORS)}, got {name!r}")
    return FLAVORS[name]


def flavor_of(config: Any) -> Flavor | None:
    """The flavor of a parsed configuration; None for a model that ``ssr-serve`` did not build."""
    for flavor in FLAVORS.values():
        if config.backend == flavor.backend and (flavor is SSR or "interface_sha256" in config.parameters):
            return flavor
    return None
