"""What every table and figure ends in: a report with its picture behind the facts and notes at its end."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ssr_bundle.report import Facts, Picture, Report, Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DRAWN = "drawn faces (synthetic)"


def page(
    name: str,
    title: str,
    facts: Sequence[str],
    tables: Sequence[Table],
    notes: Sequence[str],
    numbers: Mapping[str, Any],
    draw: Callable[[Figure], None],
    size: tuple[float, float] = (8, 4.5),
    synthetic: bool = False,
    caution: str = "",
) -> Report:
    """One table or figure of the paper, made again.

    ``name``: of its files. ``facts``: what must be known to read it (data, budget, leak), a line each;
    ``notes`` follow the tables. ``numbers``: what JSON holds. ``draw`` fills an empty figure of ``size``
    (inches). ``synthetic``: measured on drawn faces, as title, picture and file names then say; ``caution``:
    what the title says of other faces.
    """
    heading = ": ".join(filter(None, (title, DRAWN if synthetic else caution)))
    return Report(
        heading,
        [
            Facts(facts, indent="  "),
            Picture(heading, draw, size, heading),
            *tables,
            *([Facts(notes, "Notes", indent="  ")] if notes else []),
        ],
        {"title": heading, "synthetic": synthetic, **numbers},
        f"{name}-synthetic" if synthetic else name,
    )


def number(value: float | None, form: str) -> str:
    """``value`` in the given form, or a dash where there is none."""
    return "-" if value is None else format(value, form)
