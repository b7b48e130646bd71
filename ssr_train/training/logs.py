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
    """Event files in ``folder``, in which what an interrupted run logged after ``step`` is purged; nothing
    where ``folder`` is None.

    Where they can no longer be written, as on a full disk, ``say`` is told once and the run goes on without.
    """

    def __init__(self, folder: Path | None, step: int, say: Callable[[str], None]) -> None:
        self._folder, self._say, self._hook = folder, say, threading.excepthook
        self._writer: Any = None
        if folder is not None:
            from torch.utils.tensorboard import SummaryWriter

            threading.excepthook = self._failed
            with self._going_on():
                self._writer = SummaryWriter(str(folder), purge_step=step + 1)

    def step(self, step: int, loss: float, mae: float, rate: float) -> None:
        """Training step ``step`` (from 1, over all epochs) is done."""
        self._add(step, {"loss/train": loss, "mae/train step": mae, "rate": rate})

    def epoch(self, step: int, row: dict[str, Any]) -> None:
        """An epoch ended with ``step``; ``row`` is the history's."""
        self._add(step, {"mae/train": row["train_mae"], "mae/validation": row["val_mae"]}, flush=True)

    def close(self) -> None:
        """Write what is left."""
        with self._going_on():
            if self._writer is not None:
                self._writer.close()
        threading.excepthook = self._hook

    def _add(self, step: int, values: dict[str, float], flush: bool = False) -> None:
        if self._writer is None:
            return
        with self._going_on():
            for name, value in values.items():
                self._writer.add_scalar(name, value, step)
            if flush:
                self._writer.flush()

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
