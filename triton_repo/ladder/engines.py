"""The rungs that compute in this process: the reference itself, torch, the native engine, ONNX Runtime, and
TensorRT, whose plans are built wherever the library builds and run where there is a GPU for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import numpy as np

import ssr_ops
from ssr_bundle.bundle import Bundle
from ssr_bundle.contract import PRECISIONS as QUANTIZED
from ssr_bundle.errors import SsrError
from ssr_bundle.method import MethodBundle, ServedBundle
from ssr_bundle.tolerances import TABLE
from ssr_ops import native
from triton_repo.compile import gpu
from triton_repo.compile.compiler import compile_plan
from triton_repo.compile.library import CompileError, open_library
from triton_repo.compile.plan import Plan, read_plan
from triton_repo.compile.runner import run_plan
from triton_repo.ladder.pictures import torch_networks
from triton_repo.ladder.rung import Answers, Images, NotRun, Opened, Rung

_BATCH = 256


def recorded(bundle: ServedBundle) -> Rung:
    """The ground: the reference's answers now, against those recorded when the bundle was written."""
    by = "golden record"
    return Rung("reference", "fp64", by, lambda: Opened(lambda images: bundle.golden()["output"], by))


def torch_rung(bundle: ServedBundle) -> Rung:
    """The network as it is trained, on the CPU."""

    def open_torch() -> Opened:
        if (answering := torch_networks()) is None:
            raise NotRun("torch is not installed: pip install 'ssr-serve[train]'")
        answer = answering(bundle)

        def predict(images: Images) -> Answers:
            return np.asarray(answer(images), np.float32)

        return Opened(predict, f"torch {version('torch')}")

    return Rung("torch", "fp32", "torch", open_torch)


def native_rungs(bundle: Bundle, precision: str) -> Iterator[Rung]:
    """Every implementation that there is, those of this machine first; in fp32 the GPU's is among them."""
    here = ssr_ops.implementations(precision)
    known = [name for name, p in TABLE if p == precision and name not in ("cuda", "onnx")]
    for name in dict.fromkeys([*here, *known]):
        yield Rung("native", precision, name, lambda name=name: _open_native(bundle, precision, name))  # type: ignore[misc]
    if precision == "fp32":
        yield Rung("native", precision, "cuda", lambda: _open_cuda(bundle))


def _open_native(bundle: Bundle, precision: str, name: str) -> Opened:
    if name not in ssr_ops.implementations(precision):
        raise NotRun(f"this CPU or build has no {name} in {precision}")
    need_quantization(bundle, precision)
    engine = ssr_ops.Engine(bundle, precision=precision, implementation=name)
    if engine.implementation != name:
        raise SsrError(f"the engine ran {engine.implementation} where {name} was forced")
    return Opened(engine.predict, name)


def _open_cuda(bundle: Bundle) -> Opened:
    if not native.native.built_with_cuda:
        raise NotRun("this build of the native core has no CUDA")
    gpu.require()
    engine = ssr_ops.Engine(bundle, device="cuda")
    return Opened(engine.predict, engine.implementation)


def onnx_rung(bundle: ServedBundle, precision: str) -> Rung:
    """The graph in ONNX Runtime on the CPU: the file that the bundle holds, else one built now."""

    def open_graph() -> Opened:
        need_quantization(bundle, precision)
        try:
            import onnx  # noqa: F401
            import onnxruntime
        except ImportError as error:
            raise NotRun(f"{error.name} is not installed: pip install 'ssr-serve[onnx]'") from None
        from ssr_ops.export import onnx_name
        from ssr_ops.export.runtime import check_onnx, run_onnx

        name = onnx_name(precision)
        exported = name in bundle.contract.files
        where = str(bundle.path / name) if exported else f"{precision} graph of {bundle.path}"
        graph = Path(where).read_bytes() if exported else _graph(bundle, precision)
        check_onnx(graph, bundle, where)

        def predict(images: Images) -> Answers:
            parts = [images[start : start + _BATCH] for start in range(0, len(images), _BATCH)]
            output = bundle.contract.interface.output.name
            return np.concatenate([run_onnx(graph, bundle, part, where)[output][:, 0] for part in parts])

        return Opened(predict, f"onnxruntime {onnxruntime.__version__}" + (f" {name}" if exported else ""))

    return Rung("onnx", precision, "onnxruntime", open_graph)


def _graph(bundle: ServedBundle, precision: str) -> bytes:
    from ssr_ops.export.network import build_onnx

    if isinstance(bundle, MethodBundle):
        raise NotRun(f"{bundle.contract.method.name} is exported in fp32 alone")
    return bytes(build_onnx(bundle, precision).SerializeToString())


def tensorrt_rung(bundle: Bundle, precision: str, say: Callable[[str], None]) -> Rung:
    """The bundle compiled for this machine, from the cache of plans or built now."""

    def open_plan() -> Opened:
        need_quantization(bundle, precision)
        try:
            open_library()
        except CompileError as error:
            raise NotRun(str(error)) from None
        return _opened(compile_plan(bundle, precision, say=say))

    return Rung("tensorrt", precision, "TensorRT", open_plan)


def served_plan(version: Bundle, precision: str) -> Rung:
    """The plan that lies in a version folder of the model repository."""
    return Rung("tensorrt", precision, "model.plan", lambda: _opened(read_plan(version.path, version)))


def _opened(plan: Plan) -> Opened:
    recipe = plan.recipe

    def predict(images: Images) -> Answers:
        try:
            return run_plan(plan, images)
        except gpu.NotRunnable as error:
            raise NotRun(f"for {', '.join(recipe.targets)}; {error}", built=True) from None

    return Opened(predict, f"{recipe.library} {recipe.version}")


def need_quantization(bundle: ServedBundle, precision: str) -> None:
    """Raise :class:`NotRun` for a precision that this bundle was not quantized for."""
    if precision in QUANTIZED and isinstance(bundle, MethodBundle):
        raise NotRun(f"{bundle.contract.method.name} is exported in fp32 alone")
    if precision in QUANTIZED and bundle.contract.quantization is None:
        raise NotRun("the bundle is not quantized: `ssr-train quantize` does it")
