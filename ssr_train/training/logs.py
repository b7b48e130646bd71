"""Curves for TensorBoard, beside the run's own history."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from ssr_train.errors import SsrError

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
    """Event files in ``folder``; what an interrupted run logged after ``step`` is purged."""

    def __init__(self, folder: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder), purge_step=step + 1)

    def step(self, step: int, loss: float, mae: float, rate: float) -> None:
        for name, value in (("loss/train", loss), ("mae/train step", mae), ("rate", rate)):
            self._writer.add_scalar(name, value, step)

    def epoch(self, step: int, row: dict[str, Any]) -> None:
        for name, key in (("mae/train", "train_mae"), ("mae/validation", "val_mae")):
            self._writer.add_scalar(name, row[key], step)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


def check(kind: str) -> None:
    """Raise :class:`SsrError` for an unknown kind, ``ModuleNotFoundError`` where TensorBoard is missing."""
    if kind not in KINDS:
        raise SsrError(f"--log {kind}: unknown, expected one of: {', '.join(KINDS)}")
    if kind == "tensorboard":
        importlib.import_module("tensorboard")


def open_log(kind: str, folder: Path, step: int) -> Log:
    """The log of a run that stands at ``step``."""
    return TensorBoard(folder, step) if kind == "tensorboard" else Log()
