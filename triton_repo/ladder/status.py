"""What is under way, on standard error: one line that changes on a terminal, a line a step elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.markup import escape

from ssr_bundle.shown import note, printable


class Progress(Protocol):
    """Told what is under way; ``done`` of ``total`` where that takes long."""

    def __call__(self, text: str, done: int = 0, total: int = 0) -> None: ...


@contextmanager
def shown(console: Console) -> Iterator[Progress]:
    """Show progress on ``console`` as long as the context lasts."""
    with console.status("") as status:  # which shows nothing but on a terminal

        def update(text: str, done: int = 0, total: int = 0) -> None:
            if console.is_terminal:
                status.update(escape(printable(f"{text}: {done} of {total}" if total else text)))
            elif done == 0:
                note(console, text, "dim")

        yield update
