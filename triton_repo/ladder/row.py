"""One line of the ladder's table: how far a rung lies from the reference, and whether that is allowed."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from ssr_bundle.errors import SsrError
from ssr_bundle.method import ServedContract
from ssr_bundle.tolerances import Limits, required
from ssr_ops.drift import Drift
from triton_repo.compile.gpu import NotRunnable
from triton_repo.compile.library import NotBuildable, NotInstalled
from triton_repo.ladder.pictures import Pictures
from triton_repo.ladder.rung import NotRun, Opened, Rung

Verdict = Literal["ok", "failed", "not run", "built, not run"]


@dataclass(frozen=True)
class Row:
    """A rung on one set of pictures.

    ``model``: in a repository, ``name/version``. ``images``: faces among the pictures. ``drift`` (None if
    nothing ran) and ``allowed`` (by its field; absent: not bounded) are in ``unit``. ``exact``: the answers
    must be the engine's bits as well. ``reason``: why it failed or did not run.
    """

    model: str
    step: str
    precision: str = ""
    by: str = ""
    pictures: str = ""
    images: int = 0
    unit: str = ""
    drift: Drift | None = None
    allowed: dict[str, float] = field(default_factory=dict)
    exact: bool = False
    verdict: Verdict = "ok"
    reason: str = ""

    @property
    def name(self) -> str:
        """The row in words: ``native int8 amx on photos``."""
        where = f" on {self.pictures}" if self.pictures else ""
        return " ".join(filter(None, (self.model, self.step, self.precision, self.by))) + where

    def to_json(self) -> dict[str, Any]:
        drift = None
        if self.drift is not None:  # JSON knows no NaN
            drift = {name: v if math.isfinite(v) else None for name, v in vars(self.drift).items()}
        return {**vars(self), "drift": drift}


def climb(rung: Rung, sets: list[Pictures], contract: ServedContract, model: str = "") -> list[Row]:
    """Open a rung and hold its answers to the table, a row for each set of pictures."""
    blank = Row(model, rung.step, rung.precision, rung.by, unit=contract.interface.output.unit)
    try:
        opened = rung.open()
        blank = replace(blank, by=opened.by)
        limits = required(rung.held_to or rung.step, rung.precision, contract)
        return [_compare(blank, opened, pictures, limits, contract) for pictures in sets]
    except (NotRun, NotBuildable, NotInstalled, NotRunnable) as reason:
        built = isinstance(reason, NotRun) and reason.built
        verdict: Verdict = "built, not run" if built else "not run"
        return [replace(blank, verdict=verdict, reason=_one_line(reason))]
    except (SsrError, OSError) as error:
        return [replace(blank, verdict="failed", reason=_one_line(error))]


def _one_line(error: Exception) -> str:
    return "; ".join(line.strip() for line in str(error).splitlines() if line.strip())


def _compare(blank: Row, opened: Opened, pictures: Pictures, limits: Limits, contract: ServedContract) -> Row:
    answers = np.asarray(opened.predict(pictures.images))
    row = replace(blank, pictures=pictures.name, images=pictures.faces, exact=opened.twin is not None)
    if answers.shape != pictures.expected.shape:
        reason = f"answers of shape {answers.shape} to {len(pictures.images)} pictures"
        return replace(row, verdict="failed", reason=reason)
    drift = Drift.of(answers[: pictures.faces], pictures.expected[: pictures.faces])
    row = replace(row, drift=drift, allowed=limits.bounds(pictures.many))
    found = [(name, abs(getattr(drift, name)), limit) for name, limit in row.allowed.items()]
    # So that NaN is beyond every limit.
    wrong = [f"{name} {size:.3g}, allowed {limit:.3g}" for name, size, limit in found if not size <= limit]
    wrong += _outside(answers, contract)
    if opened.twin is not None:
        wrong += _other_bits(answers, np.asarray(opened.twin(pictures.images)))
    return replace(row, verdict="failed" if wrong else "ok", reason="; ".join(wrong))


def _outside(answers: Any, contract: ServedContract) -> list[str]:
    low, high = map(np.float32, contract.interface.output.clip)
    inside = (answers >= low) & (answers <= high)
    if inside.all():
        return []
    first = int(np.argmin(inside))
    return [
        f"{int((~inside).sum())} of {len(answers)} answers are no number in {low:g}..{high:g}, "
        f"the first {answers[first]:g}"
    ]


def _other_bits(answers: Any, twin: Any) -> list[str]:
    same = (answers == twin) & (answers.dtype == twin.dtype)
    if same.all():
        return []
    largest = np.abs(answers.astype(np.float64) - twin).max()
    return [f"{int((~same).sum())} of {len(same)} answers are not the engine's, by up to {largest:.3g}"]
