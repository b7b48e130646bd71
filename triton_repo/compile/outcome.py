"""What ``ssr-serve compile`` does with its options, shows while it works, and prints."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from ssr_bundle.bundle import Bundle
from ssr_bundle.disk import check_folder
from ssr_bundle.report import Facts, Report, Table
from ssr_bundle.shown import note
from ssr_ops.export import PRECISIONS
from triton_repo.compile.builder import Watch
from triton_repo.compile.compiler import compile_plan
from triton_repo.compile.gpu import NotRunnable
from triton_repo.compile.library import ArgumentError
from triton_repo.compile.plan import Plan
from triton_repo.compile.runner import PlanReplay, replay_plan


@dataclass(frozen=True)
class Outcome:
    """One precision: its plan, where that is now, and how it ran, or why it did not."""

    plan: Plan
    path: Path
    ran: PlanReplay | None
    not_run: str

    def row(self) -> dict[str, str]:
        """Cells by the title of their column."""
        plan, recipe, ran = self.plan, self.plan.recipe, self.ran
        how = f"built in {plan.seconds:.1f} s" if plan.rebuilt else "cached"
        drift = "{worst:.2g} {unit}, allowed {tolerance:.2g}"
        return {
            "precision": recipe.precision,
            "library": f"{recipe.library} {recipe.version}",
            "for": recipe.gpu or ", ".join(recipe.targets),
            "batch": ", ".join(map(str, recipe.batches)),
            "plan": f"{plan.bytes / 1024:,.0f} KiB, {how}",
            "kernels": str(plan.launches or "not told"),
            "graph in ONNX Runtime": drift.format(**plan.onnx),
            "on the GPU": drift.format(**vars(ran)) if ran else f"built, not run: {self.not_run}",
        }

    def to_json(self) -> dict[str, Any]:
        plan = self.plan
        return {
            "path": str(self.path),
            "recipe": asdict(plan.recipe),
            "sha256": plan.sha256,
            "bytes": plan.bytes,
            "rebuilt": plan.rebuilt,
            "reason": plan.reason,
            "seconds": plan.seconds,
            "onnx_replay": dict(plan.onnx),
            "layers": [asdict(layer) for layer in plan.layers],
            "ran": asdict(self.ran) if self.ran else None,
            "not_run": self.not_run,
        }


def report(outcomes: Sequence[Outcome]) -> Report:
    """A row for each precision, and where its plan is."""
    places = [f"{outcome.plan.recipe.precision}: {outcome.path}" for outcome in outcomes]
    rows = [outcome.row() for outcome in outcomes]
    table = Table("", list(rows[0]), [list(row.values()) for row in rows], ruled=True)
    return Report("", (table, Facts(places)), [outcome.to_json() for outcome in outcomes])


def compile_all(
    bundle: Bundle,
    precisions: Sequence[str],
    *,
    out: Path | None,
    console: Console,
    **options: Any,
) -> list[Outcome]:
    """Compile each precision with ``options`` of :func:`compile_plan`; run each plan where that can be.

    Plans are copied to ``out/<precision>`` if ``out`` is given; that it can be written is checked first.
    Errors as in ``compile_plan`` and ``replay_plan``.
    """
    if out is not None:
        for precision in precisions:
            check_folder(out / precision, "the plans")
    outcomes = []
    for precision in precisions:
        with _progress(console) as watch:
            plan = compile_plan(
                bundle,
                precision,
                say=lambda line: note(console, line, "dim"),
                watch=watch,
                **options,
            )
        ran, not_run = None, ""
        try:
            ran = replay_plan(plan, bundle)
        except NotRunnable as reason:
            not_run = str(reason)
        path = plan.copy_to(out / precision) if out is not None else plan.path
        outcomes.append(Outcome(plan, path, ran, not_run))
    return outcomes


def parse_precisions(text: str, bundle: Bundle) -> list[str]:
    """``fp32,int8``, or ``all``: every one that this bundle has what it takes for."""
    if text == "all":
        return [p for p in PRECISIONS if p != "int8" or bundle.contract.quantization is not None]
    names = list(dict.fromkeys(name.strip() for name in text.split(",")))
    if unknown := [name for name in names if name not in PRECISIONS]:
        raise ArgumentError(f"precision: expected {', '.join(PRECISIONS)} or all, got {unknown[0]!r}")
    return names


def parse_batches(text: str) -> tuple[int, int, int]:
    """``1,16,64``: smallest, tuned for, largest."""
    try:
        smallest, tuned, largest = (int(part) for part in text.split(","))
    except ValueError:
        raise ArgumentError(f"batch: expected MIN,OPT,MAX such as 1,16,64, got {text!r}") from None
    return smallest, tuned, largest


@contextmanager
def _progress(console: Console) -> Iterator[Watch]:
    """A bar with the builder's present phase, on a terminal alone."""
    bar = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    with bar:
        task = bar.add_task("", total=None)

        def watch(phase: str, done: int, steps: int) -> None:
            bar.update(task, description=phase, completed=done, total=steps)

        yield watch
