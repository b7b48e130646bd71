"""Tables on the terminal and in Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

_PIPE_WIDTH = 200  # columns into a file or pipe: a hash stays in one piece


def table(rows: Sequence[Sequence[str]], header: Sequence[str] | None = None) -> None:
    """Print columns, the first in bold; nothing is cut off."""
    grid = Table(box=None, show_header=header is not None, pad_edge=False)
    for i in range(len(rows[0])):
        title = header[i] if header else ""
        grid.add_column(title, style="bold" if i == 0 else None, no_wrap=i == 0, overflow="fold")
    for row in rows:
        grid.add_row(*map(escape, row))
    console = Console(highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = max(console.width, _PIPE_WIDTH)
    console.print(grid)


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The columns of :func:`table` as a table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", "<br>")
