"""The TensorRT rung: built wherever the library builds, run where there is a GPU for it."""

from __future__ import annotations

from collections.abc import Callable

from ssr_bundle.bundle import Bundle
from triton_repo.compile import (
    CompileError,
    NotBuildable,
    NotInstalled,
    NotRunnable,
    Plan,
    compile_plan,
    open_library,
    read_plan,
    run_plan,
)
from triton_repo.ladder.engines import need_quantization
from triton_repo.ladder.rung import Answers, Images, NotRun, Opened, Rung


def tensorrt_rung(bundle: Bundle, precision: str, say: Callable[[str], None]) -> Rung:
    """The bundle compiled for this machine, from the cache of plans or built now."""

    def open_plan() -> Opened:
        need_quantization(bundle, precision)
        try:
            open_library()
        except CompileError as error:
            raise NotRun(str(error)) from None
        try:
            return _opened(compile_plan(bundle, precision, say=say))
        except (NotBuildable, NotInstalled) as error:
            raise NotRun(str(error)) from None

    return Rung("tensorrt", precision, "TensorRT", open_plan)


def served_plan(version: Bundle, precision: str) -> Rung:
    """The plan that lies in a version folder of the model repository."""

    def open_plan() -> Opened:
        return _opened(read_plan(version.path, version))

    return Rung("tensorrt", precision, "model.plan", open_plan)


def _opened(plan: Plan) -> Opened:
    recipe = plan.recipe

    def predict(images: Images) -> Answers:
        try:
            return run_plan(plan, images)
        except NotRunnable as error:
            raise NotRun(f"for {', '.join(recipe.targets)}; {error}", built=True) from None

    return Opened(predict, f"{recipe.library} {recipe.version}")
