"""Reports: what a command found, on the terminal, as Markdown, as JSON and as a folder of files.

Who writes a report says only what is in it. What a terminal would obey, for the texts of a bundle or a server
may hold it, is escaped here; a line break too, but in paragraphs and in cells behind the first. rich and
matplotlib are imported when something is shown or drawn.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssr_bundle.disk import check_folder, replace_file, room_for
from ssr_bundle.shown import printable, printable_json

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PIPE_WIDTH, _RULED_PIPE_WIDTH = 200, 240  # columns into a file or pipe: a hash stays in one piece


@dataclass(frozen=True)
class State:
    """A cell: ``word`` in a ``colour`` of the terminal's, and a reason behind it."""

    word: str
    colour: str
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.word}: {self.reason}" if self.reason else self.word


Cell = str | State


@dataclass(frozen=True)
class Table:
    """Columns of text under a ``title``, the first naming the rows. ``ruled``: with a line under the header
    on the terminal, and no column in bold."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    ruled: bool = False


@dataclass(frozen=True)
class Facts:
    """Lines: a list in Markdown, under a ``title`` if given; on the terminal with ``indent`` before each."""

    lines: Sequence[str]
    title: str = ""
    indent: str = ""


@dataclass(frozen=True)
class Picture:
    """``draw`` fills an empty figure of ``size`` (inches) under its ``title``. ``text`` describes it
    in Markdown, which shows none without."""

    text: str
    draw: Callable[[Figure], None]
    size: tuple[float, float]
    title: str = ""

    def png(self) -> bytes:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot

        figure = pyplot.figure(figsize=self.size, layout="constrained")
        if self.title:
            figure.suptitle(self.title)
        self.draw(figure)
        stream = io.BytesIO()
        figure.savefig(stream, format="png", dpi=110, metadata={"Software": None})
        pyplot.close(figure)
        return stream.getvalue()


Part = str | Facts | Table | Picture
"""A string is a paragraph."""


@dataclass(frozen=True)
class Report:
    """``parts`` under a ``title``, in the order in which they are read, at most one picture among them.

    ``numbers``: what JSON holds. ``name``: of the files that :meth:`write` makes.
    """

    title: str
    parts: Sequence[Part]
    numbers: Any
    name: str = "report"

    def show(self, as_json: bool = False) -> None:
        """Print it, or its JSON for programs."""
        if as_json:
            sys.stdout.write(self.dumps())
        else:
            self._print()
        sys.stdout.flush()

    def deliver(self, as_json: bool, folder: Path | None) -> None:
        """:meth:`show` it, and :meth:`write` it where a ``folder`` is given."""
        self.show(as_json)
        if folder is not None:
            self.write(folder)

    def dumps(self) -> str:
        return printable_json(json.dumps(self.numbers, indent=2, ensure_ascii=False)) + "\n"

    def markdown(self, level: int = 1, *, picture: bool = True) -> str:
        """The report for people, its first heading of ``level``, with ``picture`` the one that lies beside
        it."""
        marks = "#" * level
        blocks = [f"{marks} {printable(self.title)}"]
        before: Part = ""
        for part in self.parts:
            if isinstance(part, Picture):
                blocks += [f"![{printable(part.text)}]({self.name}.png)"] if picture and part.text else []
                continue
            if not isinstance(part, str) and part.title:
                blocks.append(f"{marks}# {printable(part.title)}")
            if isinstance(part, Table):
                blocks.append(markdown(part.header, part.rows))
            elif isinstance(part, Facts):
                lines = "\n".join(f"- {printable(line)}" for line in part.lines)
                if isinstance(before, Facts) and not part.title:
                    lines = f"{blocks.pop()}\n{lines}"
                blocks.append(lines)
            else:
                blocks.append(printable(part, "\n"))
            before = part
        return "\n\n".join(blocks) + "\n"

    def write(
        self, folder: Path, hint: str = "the report was not written; the same command makes it again"
    ) -> Path:
        """Write NAME.json, NAME.png and NAME.md into ``folder``, made if need be, and return the last one's
        path. Each is the old one or the new one, whole; where the disk is full, the error gives ``hint``."""
        check_folder(folder)
        files = {f"{self.name}.json": _bytes(self.dumps())}
        for part in self.parts:
            if isinstance(part, Picture):
                files[f"{self.name}.png"] = part.png()
        text = folder / f"{self.name}.md"
        files[text.name] = _bytes(self.markdown())
        with room_for(folder, hint):
            folder.mkdir(parents=True, exist_ok=True)
            for name, data in files.items():
                replace_file(folder / name, data)
        return text

    def _print(self) -> None:
        before: Part | None = None
        if self.title:
            print(printable(self.title))
        for part in self.parts:
            if isinstance(part, Picture):
                continue
            if before is not None and not _ruled(before) and not _ruled(part):
                print()
            if isinstance(part, Table):
                if part.title:
                    print(printable(part.title))
                table(part.rows, part.header, ruled=part.ruled)
            elif isinstance(part, Facts):
                for line in part.lines:
                    print(f"{part.indent}{printable(line)}")
            else:
                print(printable(part, "\n"))
            before = part


def plain(value: Any) -> Any:
    """What JSON holds of dataclasses, mappings, sequences and arrays; an own ``to_json`` goes first."""
    if hasattr(value, "to_json"):
        return value.to_json()
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(one) for one in value]
    return value.tolist() if hasattr(value, "tolist") else value


def table(
    rows: Sequence[Sequence[Cell]], header: Sequence[str] | None = None, *, ruled: bool = False
) -> None:
    """Print columns, the first in bold unless ``ruled``; nothing is cut off."""
    from rich import box
    from rich.console import Console
    from rich.table import Table as Grid

    grid = Grid(box=box.SIMPLE_HEAD if ruled else None, show_header=header is not None, pad_edge=False)
    for i, title in enumerate(header or [""] * len(rows[0])):
        first = i == 0 and not ruled
        grid.add_column(title, style="bold" if first else None, no_wrap=first, overflow="fold")
    for row in rows:
        grid.add_row(*(_markup(cell, first=i == 0) for i, cell in enumerate(row)))
    console = Console(highlight=False, soft_wrap=not ruled)
    if not console.is_terminal:
        console.width = _RULED_PIPE_WIDTH if ruled else max(console.width, _PIPE_WIDTH)
    console.print(grid)


def markdown(header: Sequence[str], rows: Sequence[Sequence[Cell]], *, numbers: bool = False) -> str:
    """The columns of :func:`table` as a table in Markdown; ``numbers``: all but the first to the right."""
    under = ["---", *["---:" if numbers else "---"] * (len(header) - 1)]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in (header, under, *rows))


def _cell(cell: Cell) -> str:
    return printable(str(cell), "\n").replace("|", "\\|").replace("\n", "<br>")


def _markup(cell: Cell, first: bool) -> str:
    """Rich's, as it can be shown: behind the ``first`` column a line break stays in its column."""
    from rich.markup import escape

    keep = "" if first else "\n"
    if isinstance(cell, str):
        return escape(printable(cell, keep))
    return f"[{cell.colour}]{cell.word}[/]{escape(printable(str(cell)[len(cell.word) :], keep))}"


def _ruled(part: Part) -> bool:
    return isinstance(part, Table) and part.ruled  # brings its own empty lines


def _bytes(text: str) -> bytes:
    """A name of a file that is no text is escaped, in JSON as JSON has it."""
    return text.encode("utf-8", "backslashreplace")
