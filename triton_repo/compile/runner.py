"""Run a plan on the GPU at hand and replay the golden record with it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ssr_bundle.bundle import Bundle
from ssr_bundle.contract import IMAGE_SIZE
from ssr_bundle.errors import SsrError
from ssr_bundle.tolerances import required
from ssr_ops.golden import face_drift
from triton_repo.compile import gpu
from triton_repo.compile.builder import logger
from triton_repo.compile.gpu import NotRunnable
from triton_repo.compile.library import CompileError, open_library
from triton_repo.compile.plan import Plan, PlanError, check_contract, check_machine, runs_on


def run_plan(plan: Plan, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Answers (N,) for ``images`` uint8 (N, 64, 64, 3) in the contract's colour order, clipped.

    In batches of the plan's largest size. Raises :class:`NotRunnable` with the reason where the plan cannot
    run (no GPU, another one, no library), :class:`PlanError` or :class:`GpuError` if it ought to run here and
    does not.
    """
    if images.ndim != 4 or images.shape[1:] != (IMAGE_SIZE, IMAGE_SIZE, 3) or images.dtype != np.uint8:
        raise SsrError(
            f"images: expected uint8 (N, {IMAGE_SIZE}, {IMAGE_SIZE}, 3), got {images.dtype} {images.shape}"
        )
    try:
        library = open_library(plan.recipe.library)
    except CompileError as error:
        raise NotRunnable(str(error)) from None
    card = gpu.require()
    if not runs_on(plan, card):
        raise NotRunnable(f"built for {', '.join(plan.recipe.targets)}, the GPU here is {card}")
    check_machine(plan)
    trt, log = library.module, logger(library)
    log.clear()
    smallest, _, largest = plan.recipe.batches
    answers = np.zeros(len(images), np.float32)
    with gpu.stream() as stream:
        runtime = trt.Runtime(log)
        engine = runtime.deserialize_cuda_engine(plan.path.read_bytes())
        context = engine.create_execution_context() if engine is not None else None
        if context is None:
            raise PlanError(f"{plan.path}: {library} does not load it: {log.reason()}")
        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        (source,) = (n for n in names if engine.get_tensor_mode(n) == trt.TensorIOMode.INPUT)
        answer, *others = (n for n in names if n != source)  # in the graph's order: the answer comes first
        room = np.zeros((largest, IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
        result = np.zeros((largest, 1), np.float32)
        addresses = {source: stream.allocate(room.nbytes), answer: stream.allocate(result.nbytes)}
        for name in others:
            values = largest * math.prod(tuple(engine.get_tensor_shape(name))[1:])
            addresses[name] = stream.allocate(values * result.itemsize)
        for name, address in addresses.items():
            context.set_tensor_address(name, address)
        for start in range(0, len(images), largest):
            part = images[start : start + largest]
            count = max(len(part), smallest)
            room[: len(part)] = part
            if not context.set_input_shape(source, (count, *room.shape[1:])):
                raise PlanError(f"{plan.path}: refuses a batch of {count}: {log.reason()}")
            stream.upload(addresses[source], room[:count])
            if not context.execute_async_v3(stream.handle):
                raise PlanError(f"{plan.path}: did not run: {log.reason()}")
            stream.download(result[:count], addresses[answer])
            stream.synchronize()
            answers[start : start + len(part)] = result[: len(part), 0]
        del context, engine, runtime
    return answers


@dataclass(frozen=True)
class PlanReplay:
    """The golden record on the GPU: largest drift on face crops and what is allowed, in ``unit``."""

    gpu: str
    images: int
    worst: float
    tolerance: float
    unit: str


def replay_plan(plan: Plan, bundle: Bundle) -> PlanReplay:
    """Hold ``plan`` to the bundle's golden record as it runs here.

    Face crops are held to what ``ssr_bundle.tolerances`` requires of TensorRT in this precision; every other
    picture must give a number within the clip range. Raises :class:`PlanError` if one does not, and as
    :func:`run_plan` does.
    """
    check_contract(plan, bundle)
    golden, output = bundle.golden(), bundle.contract.interface.output
    answers = run_plan(plan, golden["images"])
    worst = float(face_drift(golden, answers).max())
    allowed = required("tensorrt", plan.recipe.precision, bundle.contract).few
    if not worst <= allowed:
        raise PlanError(
            f"{plan.path}: golden record: off by {worst:.3g} {output.unit} on face crops, "
            f"allowed {allowed:.3g}"
        )
    low, high = output.clip
    if not ((answers >= low) & (answers <= high)).all():
        raise PlanError(f"{plan.path}: golden record: an answer is not within {low:g}..{high:g}")
    return PlanReplay(str(gpu.require()), len(answers), worst, allowed, output.unit)
