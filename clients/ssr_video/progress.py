"""What a long run shows on a terminal: how far it is, and how fast against real time."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from ssr_bundle.shown import printable


class Bar:
    """A bar on stderr, where that is a terminal; nothing elsewhere. One video after the other."""

    def __init__(self, console: Console | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        console = console or Console(stderr=True)
        self._clock = clock
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[note]}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=None, note="")

    def __enter__(self) -> Bar:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def begin(self, path: Path, seconds: float | None) -> None:
        """A video of about ``seconds`` begins."""
        self._since = self._clock()
        self._bar.reset(self._task, total=seconds, description=escape(printable(path.name)), note="")

    def at(self, seconds: float, tracks: int) -> None:
        """So far it is analysed."""
        self._bar.update(self._task, completed=seconds, note=self.note(seconds, tracks))

    def note(self, seconds: float, tracks: int) -> str:
        """``12.3 times real time, 4 people``."""
        took = self._clock() - self._since
        people = f"{tracks} {'person' if tracks == 1 else 'people'}"
        return f"{seconds / took:.1f} times real time, {people}" if took > 0 else people
