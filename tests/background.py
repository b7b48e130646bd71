"""Work in threads beside a test."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
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
