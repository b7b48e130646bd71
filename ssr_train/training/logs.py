"""Curves for TensorBoard, beside the run's own history."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ssr_bundle.errors import SsrError

KINDS = ("csv", "tensorboard")
"""``csv``: history.csv and history.json alone, which every run writes."""


class Log:
    """Writes nothing: what :func:`open_log` gives without TensorBoard."""

    def step(self, step: int, loss: float, mae: float, rate: float) -> None:
        """Training step ``step`` (from 1, over all epochs) is done."""

    def epoch(self, step: int, row: dict[str, Any]) -> None:
        """An epoch ended with ``step``; ``row`` is the history's."""

    def close(self) -> None:
        """Write what is left."""


class TensorBoard(Log):
    """Event files in ``folder``; what an interrupted run logged after ``step`` is purged.

    Where they can no longer be written, as on a full disk, ``say`` is told once and the run goes on without.
    """

    def __init__(self, folder: Path, step: int, say: Callable[[str], None]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._folder, self._say = folder, say
        self._writer: SummaryWriter | None = None
        self._hook, threading.excepthook = threading.excepthook, self._failed
        with self._going_on():
            self._writer = SummaryWriter(str(folder), purge_step=step + 1)

    def step(self, step: int, loss: float, mae: float, rate: float) -> None:
        with self._going_on():
            for name, value in (("loss/train", loss), ("mae/train step", mae), ("rate", rate)):
                self._add(name, value, step)

    def epoch(self, step: int, row: dict[str, Any]) -> None:
        with self._going_on():
            for name, key in (("mae/train", "train_mae"), ("mae/validation", "val_mae")):
                self._add(name, row[key], step)
            if self._writer is not None:
                self._writer.flush()

    def close(self) -> None:
        with self._going_on():
            if self._writer is not None:
                self._writer.close()
        threading.excepthook = self._hook

    def _add(self, name: str, value: float, step: int) -> None:
        if self._writer is not None:
            self._writer.add_scalar(name, value, step)

    @contextmanager
    def _going_on(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._writer = None
            reason = error.strerror or str(error)
            self._say(f"note: {self._folder}: {reason}; the run goes on without TensorBoard's files")

    def _failed(self, args: threading.ExceptHookArgs) -> None:
        """An exception that ended a thread: that of the writer's thread comes again with the next call."""
        if not (
            isinstance(args.exc_value, OSError) and type(args.thread).__module__.startswith("tensorboard.")
        ):
            self._hook(args)


def check(kind: str) -> None:
    """Raise :class:`SsrError` for an unknown kind, ``ModuleNotFoundError`` where TensorBoard is missing."""
    if kind not in KINDS:
        raise SsrError(f"--log {kind}: unknown, expected one of: {', '.join(KINDS)}")
    if kind == "tensorboard":
        importlib.import_module("tensorboard")


def open_log(kind: str, folder: Path, step: int, say: Callable[[str], None]) -> Log:
    """The log of a run that stands at ``step``; ``say`` is told when it cannot be written."""
    return TensorBoard(folder, step, say) if kind == "tensorboard" else Log()
