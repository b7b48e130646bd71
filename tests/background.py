"""Work beside a test: threads of its own, and what became of processes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

Own = TypeVar("Own", bound="Background")


class Background:
    """Runs ``work`` in threads while its block lasts; each looks at ``_stop`` and ends when that is set."""

    def __init__(self, work: Sequence[Callable[[], None]]) -> None:
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=one) for one in work]

    def __enter__(self: Own) -> Own:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def alive(pid: int) -> bool:
    """The first thread may be a zombie while others still hold the files of the process."""
    process = Path(f"/proc/{pid}")
    try:
        ended = process.joinpath("stat").read_text().rpartition(")")[2].split()[0] == "Z"
        return not ended or len(list(process.joinpath("task").iterdir())) > 1
    except (FileNotFoundError, ProcessLookupError):
        return False
