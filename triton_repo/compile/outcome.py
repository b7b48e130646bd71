"""What ``ssr-serve compile`` does with its options, shows while it works, and prints."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from ssr_bundle.bundle import Bundle
from ssr_bundle.report import Facts, Report, Table
from triton_repo.compile import PRECISIONS, NotRunnable, Plan, PlanReplay, compile_plan, replay_plan
from triton_repo.compile.builder import Watch
from triton_repo.compile.library import ArgumentError, CompileError

_COLUMNS = ("precision", "library", "for", "batch", "plan", "kernels", "graph in ONNX Runtime", "on the GPU")


@dataclass(frozen=True)
class Outcome:
    """One precision: its plan, where that is now, and how it ran, or why it did not."""

    plan: Plan
    path: Path
    ran: PlanReplay | None
    not_run: str

    def row(self) -> list[str]:
        plan, recipe = self.plan, self.plan.recipe
        onnx = plan.onnx
        return [
            recipe.precision,
            f"{recipe.library} {recipe.version}",
            recipe.gpu or ", ".join(recipe.targets),
            ", ".join(map(str, recipe.batches)),
            f"{plan.bytes / 1024:,.0f} KiB, {f'built in {plan.seconds:.1f} s' if plan.rebuilt else 'cached'}",
            str(plan.launches or "not told"),
            f"{onnx['worst']:.2g} {onnx['unit']}, allowed {onnx['tolerance']:.2g}",
            f"{self.ran.worst:.2g} {self.ran.unit}, allowed {self.ran.tolerance:.2g}"
            if self.ran
            else f"built, not run: {self.not_run}",
        ]

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
            "layers": [layer.to_json() for layer in plan.layers],
            "ran": asdict(self.ran) if self.ran else None,
            "not_run": self.not_run,
        }


def report(outcomes: Sequence[Outcome]) -> Report:
    """A row for each precision, and where its plan is."""
    places = [f"{outcome.plan.recipe.precision}: {outcome.path}" for outcome in outcomes]
    table = Table("", _COLUMNS, [outcome.row() for outcome in outcomes], ruled=True)
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
            _check_writable(out / precision)
    outcomes = []
    for precision in precisions:
        with _progress(console) as watch:
            plan = compile_plan(
                bundle,
                precision,
                say=lambda line: console.print(line, markup=False, style="dim"),
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


def _check_writable(folder: Path) -> None:
    """Raise :class:`CompileError` if ``folder`` is none, or files could not be written into it."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise CompileError(f"--out: {there} is a file, expected a folder for the plans")
    try:
        tempfile.TemporaryFile(dir=there).close()
    except OSError as error:
        raise CompileError(f"--out: {there} cannot be written: {error.strerror}") from None


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
        update: Callable[..., None] = bar.update

        def watch(phase: str, done: int, steps: int) -> None:
            update(task, description=phase, completed=done, total=steps)

        yield watch
