"""What every benchmark shares: the machine's name and versions, interleaved medians, a markdown table."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ssr_bundle.machine import cpu_name, hardware, medians, versions
from ssr_bundle.report import markdown

__all__ = ["RESULTS", "cpu_name", "cpu_slug", "hardware", "medians", "table", "versions", "write"]

RESULTS = Path(__file__).resolve().parent / "results"


def cpu_slug() -> str:
    """The processor's name for use in a file name."""
    name = re.sub(r"\((R|TM)\)|CPU|Processor", "", cpu_name(), flags=re.IGNORECASE)
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A markdown table; the first column is text, the others are numbers."""
    return markdown(header, [list(map(str, row)) for row in rows], numbers=True)


def write(question: str, text: str, folder: Path | None = None) -> Path:
    """Store ``text`` as QUESTION-CPU.md in ``folder``, by default results/, and return the path."""
    folder = folder or RESULTS
    folder.mkdir(exist_ok=True)
    path = folder / f"{question}-{cpu_slug()}.md"
    path.write_text(text.rstrip() + "\n")
    return path
