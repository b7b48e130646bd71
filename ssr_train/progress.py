"""What ``ssr-train fit`` shows while it works: a bar with running errors, and one line an epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ssr_bundle.shown import note, printable


class Reporter:
    """Progress on the terminal; into a file or pipe only the lines, not the bar."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False, soft_wrap=True)
        self._bar = _bar(self.console, TextColumn("{task.fields[note]}"))
        self._task = self._bar.add_task("", total=None, note="")
        self._validation = ""

    def __enter__(self) -> Reporter:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def say(self, line: str) -> None:
        note(self.console, line)

    def drawing(self, total: int) -> None:
        self._bar.reset(self._task, total=total, description="drawing faces", note="")

    def drawn(self, count: int) -> None:
        self._bar.update(self._task, completed=count)

    def begin(self, epoch: int, epochs: int, steps: int, done: int) -> None:
        """Epoch ``epoch`` (from 0) starts, or goes on after ``done`` steps."""
        self._epochs = epochs
        self._bar.reset(
            self._task, total=steps, completed=done, description=f"epoch {epoch + 1}/{epochs}", note=""
        )

    def step(self, done: int, train_mae: float) -> None:
        self._bar.update(self._task, completed=done, note=f"train MAE {train_mae:.2f}{self._validation}")

    def end(self, row: dict[str, Any], improved: bool) -> None:
        self._validation = f", val {row['val_mae']:.2f}"
        self.say(
            f"epoch {row['epoch']:>{len(str(self._epochs))}}/{self._epochs}  rate {row['rate']:.2g}  "
            f"train MAE {row['train_mae']:6.2f}  val MAE {row['val_mae']:6.2f}  {row['seconds']:.0f} s"
            f"{'  best' if improved else ''}"
        )


@contextmanager
def bar(console: Console, title: str, size: int | None) -> Iterator[Callable[..., None]]:
    """A progress bar on a terminal, nothing elsewhere; yields tick(advance, total)."""
    with _bar(console) as shown:
        task = shown.add_task(escape(printable(title)), total=size)

        def tick(advance: int = 1, total: int | None = None) -> None:
            shown.update(task, advance=advance, total=total if total is not None else size)

        yield tick


@contextmanager
def drawing_bar(console: Console, count: int) -> Iterator[Callable[[int], None]]:
    """:func:`bar` for faces that are drawn; yields progress(drawn so far)."""
    with _bar(console) as shown:
        task = shown.add_task("drawing faces", total=count)
        yield lambda drawn: shown.update(task, completed=drawn)


def _bar(console: Console, *more: TextColumn) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        *more,
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
