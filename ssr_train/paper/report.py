"""What every table and figure ends in: print it, and write it as Markdown, JSON and a picture."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssr_bundle.report import markdown, table
from ssr_train.evaluation.report import write_report

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ssr_train.evaluation.metrics import Bounds

DRAWN = "drawn faces (synthetic)"


@dataclass(frozen=True)
class Table:
    """Columns of text under a title, the first naming the rows."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Report:
    """One table or figure of the paper, made again.

    ``name``: of its files. ``facts``: what must be known to read it (data, budget, leak), a line each;
    ``notes`` follow the tables. ``numbers``: what JSON holds. ``draw`` fills an empty figure of ``size``
    (inches). ``synthetic``: measured on drawn faces, as title, picture and file names then say. ``details``
    are tables of the Markdown only.
    """

    name: str
    title: str
    facts: Sequence[str]
    tables: Sequence[Table]
    notes: Sequence[str]
    numbers: Mapping[str, Any]
    draw: Callable[[Figure], None]
    size: tuple[float, float] = (8, 4.5)
    synthetic: bool = False
    details: Sequence[Table] = field(default=())

    @property
    def heading(self) -> str:
        return f"{self.title}: {DRAWN}" if self.synthetic else self.title

    @property
    def stem(self) -> str:
        """Name of the files, without their endings."""
        return f"{self.name}-synthetic" if self.synthetic else self.name

    def show(self) -> None:
        """Print all but the details."""
        print(self.heading)
        for line in self.facts:
            print(f"  {line}")
        for part in self.tables:
            print(f"\n{part.title}")
            table(part.rows, header=part.header)
        if self.notes:
            print()
        for line in self.notes:
            print(f"  {line}")

    def markdown(self) -> str:
        """The report for people, with the picture beside it."""
        parts = [f"# {self.heading}", "\n".join(f"- {line}" for line in self.facts)]
        parts += [f"![{self.heading}]({self.stem}.png)"]
        for part in (*self.tables, *self.details):
            parts += [f"## {part.title}", markdown(part.header, part.rows)]
        if self.notes:
            parts += ["## Notes", "\n".join(f"- {line}" for line in self.notes)]
        return "\n\n".join(parts) + "\n"

    def plot(self) -> bytes:
        """The picture as a PNG."""
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot

        figure = pyplot.figure(figsize=self.size, layout="constrained")
        figure.suptitle(self.heading)
        self.draw(figure)
        stream = io.BytesIO()
        figure.savefig(stream, format="png", dpi=110, metadata={"Software": None})
        pyplot.close(figure)
        return stream.getvalue()

    def write(self, folder: Path) -> Path:
        """Write the three files into ``folder`` and return the path of the Markdown."""
        numbers = {"title": self.heading, "synthetic": self.synthetic, **self.numbers}
        text = folder / f"{self.stem}.md"
        files = {
            f"{self.stem}.json": (json.dumps(numbers, indent=2) + "\n").encode(),
            f"{self.stem}.png": self.plot(),
            text.name: self.markdown().encode(),
        }
        write_report(folder, files)
        return text


def number(value: float | None, form: str) -> str:
    """``value`` in the given form, or a dash where there is none."""
    return "-" if value is None else format(value, form)


def bounded(value: float, bounds: Bounds | None, scale: float = 1, digits: int = 2) -> str:
    """``value`` with its interval, both times ``scale``."""
    interval = (
        "" if bounds is None else f" [{scale * bounds.low:.{digits}f}, {scale * bounds.high:.{digits}f}]"
    )
    return f"{scale * value:.{digits}f}{interval}"
