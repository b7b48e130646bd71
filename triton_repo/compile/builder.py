"""One builder for ``tensorrt`` 10 and 11 and ``tensorrt_rtx``: ONNX bytes in, plan bytes out.

Enumerations are read from the module at hand: their integers moved between releases. Precision comes from
the graph alone (strong typing), since release 11 has no other way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from ssr_bundle.disk import replace_file
from triton_repo.compile import gpu, layers
from triton_repo.compile.layers import Layer
from triton_repo.compile.library import CompileError, Library, Target

Watch = Callable[[str, int, int], None]
"""Called as the build goes on: phase, steps done, steps in all."""

REVISION = 3
"""Part of a plan's identity: to be raised with every change of what is asked of the builder."""

WORKSPACE = 4 << 20
"""Scratch memory that a kernel may ask for, bytes an image of the largest batch: four times what is used.
Never less than what 64 images may ask for."""

COMPATIBILITY = {"exact": "NONE", "same-capability": "SAME_COMPUTE_CAPABILITY", "ampere+": "AMPERE_PLUS"}
"""Which GPUs but its own a plan of ``tensorrt`` runs on, as ``HardwareCompatibilityLevel`` names it."""


def build(
    library: Library,
    graph: bytes,
    targets: Sequence[Target],
    batches: tuple[int, int, int],
    *,
    compatibility: str = "exact",
    timing: Path | None = None,
    watch: Watch | None = None,
) -> tuple[bytes, tuple[Layer, ...]]:
    """Build ``graph`` (ONNX, first axis free) for ``targets``, tuned for the middle one of ``batches``.

    Returns the plan, and the layers that were made of the graph (empty where the library does not tell).
    ``timing``: where ``tensorrt`` keeps the kernels' times between builds. Raises :class:`CompileError` with
    the library's own reason.
    """
    trt, log = library.module, logger(library)
    log.clear()
    builder = trt.Builder(log)
    if builder is None:
        raise CompileError(f"{library}: {log.reason() or 'the builder cannot start'}")
    typed = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    network = builder.create_network(0 if typed is None else 1 << int(typed))
    parser = trt.OnnxParser(network, log)
    if not parser.parse(graph):
        errors = [" ".join(str(parser.get_error(i)).split()) for i in range(parser.num_errors)]
        raise CompileError(f"{library} refuses the ONNX graph: {errors[0] if errors else log.reason()}")
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, WORKSPACE * max(64, batches[-1]))
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if hasattr(trt.BuilderFlag, "TF32"):
        # On by default: float32 convolutions would round their inputs to 10 bits, beyond fp32's tolerance and
        # below the 9-bit whole numbers of int8's first blocks.
        config.clear_flag(trt.BuilderFlag.TF32)
    profile = builder.create_optimization_profile()
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        profile.set_shape(tensor.name, *[(n, *tuple(tensor.shape)[1:]) for n in batches])
    config.add_optimization_profile(profile)
    if library.ahead_of_time:
        _set_targets(library, config, targets)
    else:
        _set_compatibility(trt, config, compatibility)
        _load_timing(config, timing)
    monitor = _monitor(trt, watch) if watch and hasattr(trt, "IProgressMonitor") else None
    if monitor is not None:
        config.progress_monitor = monitor
    plan = builder.build_serialized_network(network, config)
    if monitor is not None and monitor.interrupted:
        raise KeyboardInterrupt
    if plan is None:
        names = ", ".join(map(str, targets))
        raise CompileError(f"{library} could not build for {names}: {log.reason() or 'no reason given'}")
    if not library.ahead_of_time:
        _save_timing(config, timing)
    return bytes(plan), _inspect(trt, log, plan) or layers.from_log(log.listing)


def _set_targets(library: Library, config: Any, targets: Sequence[Target]) -> None:
    config.num_compute_capabilities = len(targets)
    for index, target in enumerate(targets):
        member = library.module.ComputeCapability.__members__[str(target).replace("_", "").upper()]
        if not config.set_compute_capability(member, index):
            raise CompileError(f"{library} does not take {target} as a target")


def _set_compatibility(trt: Any, config: Any, compatibility: str) -> None:
    if compatibility == "exact":
        return
    levels = getattr(trt, "HardwareCompatibilityLevel", None)
    level = getattr(levels, COMPATIBILITY[compatibility], None)
    if level is None:
        raise CompileError(f"tensorrt {trt.__version__} knows no hardware compatibility {compatibility!r}")
    config.hardware_compatibility_level = level


def _load_timing(config: Any, path: Path | None) -> None:
    if path is None or not hasattr(config, "create_timing_cache"):
        return
    try:
        kept = path.read_bytes()
    except OSError:
        kept = b""
    times = config.create_timing_cache(kept) or config.create_timing_cache(b"")
    if times is not None:
        config.set_timing_cache(times, False)  # False: another GPU's times are refused


def _save_timing(config: Any, path: Path | None) -> None:
    times = getattr(config, "get_timing_cache", lambda: None)()
    if path is not None and times is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, bytes(times.serialize()))


def _inspect(trt: Any, log: Any, plan: Any) -> tuple[Layer, ...]:
    if gpu.find() is None:  # opening an engine needs one
        return ()
    listing, runtime = log.listing, trt.Runtime(log)
    engine = runtime.deserialize_cuda_engine(plan)
    log.listing = listing
    if engine is None:  # built for other GPUs than this one
        return ()
    information = engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON)
    return layers.from_inspector(information)


@cache
def logger(library: Library) -> Any:
    """The process's one logger for a library: TensorRT keeps the first that it is given for good."""
    trt = library.module

    class Log(trt.ILogger):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.clear()

        def clear(self) -> None:
            self.errors: list[str] = []
            self.listing = ""

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self.errors.append(" ".join(message.split()))
            elif message.startswith("Layers:"):
                self.listing = message

        def reason(self) -> str:
            """The last error, but those about a missing GPU: none is needed to build ahead of time."""
            telling = [e for e in self.errors if "Cuda Runtime" not in e and "CUDA GPU" not in e]
            return (telling or self.errors or [""])[-1]

    return Log()


def _monitor(trt: Any, watch: Watch) -> Any:
    """TensorRT's progress as calls of ``watch``, which may come from several threads. Ctrl-C meanwhile ends
    the build at its next step: no exception may pass through the library."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.steps: dict[str, int] = {}
            self.interrupted = False

        def phase_start(self, name: str, parent: str | None, steps: int) -> None:
            self.steps[name] = steps
            self._tell(name, 0, steps)

        def step_complete(self, name: str, step: int) -> bool:
            self._tell(name, step + 1, self.steps.get(name, step + 1))
            return not self.interrupted

        def phase_finish(self, name: str) -> None:
            steps = self.steps.pop(name, 1)
            self._tell(name, steps, steps)

        def _tell(self, name: str, done: int, steps: int) -> None:
            try:
                watch(name, done, steps)
            except KeyboardInterrupt:
                self.interrupted = True

    return Monitor()
