"""A bundle compiled to a TensorRT plan: ``ssr-serve compile``.

``compile_plan`` builds or finds a plan, ``read_plan`` refuses one that is not for this contract and machine,
``run_plan`` runs it on the GPU at hand. TensorRT is imported only when a plan is built or run.
"""

from ssr_ops.export import PRECISIONS
from triton_repo.compile.compiler import BATCHES, compile_plan
from triton_repo.compile.gpu import NotRunnable
from triton_repo.compile.library import ArgumentError, CompileError, NotBuildable, NotInstalled, open_library
from triton_repo.compile.plan import PLAN_FILE, Plan, read_plan
from triton_repo.compile.runner import PlanReplay, replay_plan, run_plan

__all__ = [
    "BATCHES",
    "PLAN_FILE",
    "PRECISIONS",
    "ArgumentError",
    "CompileError",
    "NotBuildable",
    "NotInstalled",
    "NotRunnable",
    "Plan",
    "PlanReplay",
    "compile_plan",
    "open_library",
    "read_plan",
    "replay_plan",
    "run_plan",
]
