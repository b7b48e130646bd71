"""What a set being prepared has finished so far, so that any end, SIGKILL included, can be gone on from.

``journal.jsonl``: the plan in its first line, then a line a finished block of records, in order. A line is
written after the block's pictures are on the disk, and counts only when it is whole.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ssr_bundle.disk import replace_file
from ssr_bundle.errors import SsrError
from ssr_train.data.records import Problem

NAME = "journal.jsonl"


@dataclass(frozen=True)
class Block:
    """Finished records: which of all became pictures, the digest of each, and what was dropped."""

    kept: list[int] = field(default_factory=list)
    digests: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    @property
    def records(self) -> int:
        return len(self.kept) + len(self.problems)

    def extend(self, more: Block) -> None:
        self.kept.extend(more.kept)
        self.digests.extend(more.digests)
        self.problems.extend(more.problems)


class Journal:
    """The journal in ``folder``; ``done`` is what is finished."""

    def __init__(self, folder: Path) -> None:
        self.path, self.done = folder / NAME, Block()

    def begin(self, plan: dict[str, Any]) -> None:
        """Start anew: nothing is finished."""
        self.done = Block()
        replace_file(self.path, _line(plan))

    def resume(self, plan: dict[str, Any]) -> None:
        """Read what is finished and cut off a torn last line. :class:`SsrError` if the plan was another."""
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            raise SsrError(f"{self.path.parent}: nothing to resume here (no {NAME})") from None
        whole = data[: data.rfind(b"\n") + 1]
        try:
            begun, *lines = map(json.loads, whole.splitlines())
            for line in lines:
                problems = [Problem(*problem) for problem in line["problems"]]
                self.done.extend(Block(line["kept"], line["digests"], problems))
        except (ValueError, KeyError, TypeError) as error:
            raise SsrError(f"{self.path}: damaged ({error!r}); --force starts anew") from None
        check_plan(self.path.parent, begun, plan)
        if whole != data:
            os.truncate(self.path, len(whole))

    def add(self, block: Block) -> None:
        """Record a block whose pictures are on the disk.

        It counts from here on, before its line is written: an interrupt in between must not let the caller
        cut off pictures of which the journal then tells.
        """
        self.done.extend(block)
        line = _line({"kept": block.kept, "digests": block.digests, "problems": block.problems})
        with self.path.open("ab") as stream:
            stream.write(line)
            stream.flush()
            os.fsync(stream.fileno())

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)


def check_plan(folder: Path, begun: dict[str, Any], plan: dict[str, Any]) -> None:
    """Raise :class:`SsrError` if the set in ``folder`` was ``begun`` by another plan."""
    for key in plan:
        if begun.get(key) != plan[key]:
            raise SsrError(
                f"{folder}: begun with {key} {_short(begun.get(key))}, now it is {_short(plan[key])}; "
                "repeat the command as it was with --resume, or --force starts anew"
            )


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) < 60 else text[:56] + "..."
