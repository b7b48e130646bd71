"""``ssr-train gate``: choose the threshold on half of the faces, measure it on the others, report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console

from ssr_bundle.method import read_served
from ssr_bundle.report import Facts, Part, Picture, Report, Table, plain
from ssr_train.evaluation.asked import Source
from ssr_train.evaluation.gate import (
    Flags,
    Residuals,
    auc,
    check_age,
    check_rates,
    choose_threshold,
    decisions,
    reliability,
    roc,
)
from ssr_train.evaluation.halves import halve
from ssr_train.evaluation.intervals import Share, TooFew
from ssr_train.evaluation.metrics import Years, band_name
from ssr_train.evaluation.plots import draw_gate
from ssr_train.evaluation.selection import DRAWN, Selection, ask, select_for
from ssr_train.evaluation.subject import title
from ssr_train.inference import open_runner, runner_of

SEED = 103
"""Of the faces drawn where no seed is said: others than evaluation's and calibration's."""

_NEAR = (-8.0, -5.0, -2.0, 0.0, 2.0, 5.0, 8.0)
"""Ages less T between which accepts are counted apart: near T is where a gate errs."""


@dataclass(frozen=True)
class HeldOut:
    """What a threshold does to the held-out faces. ``false_accepts``: of those under T; ``false_rejects``: of
    the others. ``brier``: mean square error of the said probability. ``roc``: by answer."""

    false_accepts: Share
    false_rejects: Share
    accepts_by_true_age: Mapping[str, Share]
    auc: float
    auc_of_chance: float
    brier: float
    reliability: Sequence[tuple[float, float, int]]
    roc: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Gate:
    """A threshold: accept answers >= it (years). ``chance_at_threshold``: P(age >= T) said there."""

    bundle: str
    weights_sha256: str
    runner: str
    selection: Selection
    age: float
    false_accept_wanted: float
    confidence: float
    halved_by: str
    chosen_on: Mapping[str, int]
    threshold: float
    chance_at_threshold: float
    held_out: HeldOut

    def report(self) -> Report:
        title = f"Gate at {self.age:g} years, {self.bundle}{self.selection.drawn}"
        numbers = {"title": title, **plain(self), **self.selection.to_json()}
        found = self.held_out
        point = (found.false_accepts.value, 1 - found.false_rejects.value)
        rows = [(name, f"{share.count:,}", str(share)) for name, share in found.accepts_by_true_age.items()]
        parts: list[Part] = [
            Facts((*self.selection.lines, f"answers: {self.runner}")),
            Facts(self._lines()),
            Table("", ("true age", "faces held out", "accepted (95 % binomial bounds)"), rows),
            self._caution(),
            Picture("ROC", lambda f: draw_gate(f, found.roc, point, found.reliability), (10, 4.6), title),
        ]
        return Report(title, parts, numbers, "gate")

    def _lines(self) -> list[str]:
        found, rate = self.held_out, self.false_accept_wanted
        return [
            f"accept answers of at least {self.threshold:.2f} years: P(age >= {self.age:g}) there is "
            f"{self.chance_at_threshold:.3f}",
            f"chosen on {self.chosen_on['under']:,} faces under {self.age:g} and "
            f"{self.chosen_on['at_least']:,} others so that, with confidence {self.confidence:g}, at most "
            f"{rate:.2%} of those under {self.age:g} are accepted",
            f"held out (halved by {self.halved_by}): false accepts {found.false_accepts}",
            f"held out: false rejects {found.false_rejects}",
            f"held out: AUC {found.auc:.4f} by answer, {found.auc_of_chance:.4f} by P(age >= {self.age:g}), "
            f"whose Brier score is {found.brier:.4f}",
        ]

    def _caution(self) -> str:
        caution = (
            f"The rate is that of faces like these, of all ages under {self.age:g} in these proportions: "
            f"it is higher just below {self.age:g} (see the table)."
        )
        if self.selection.faces.synthetic:
            caution += f" {DRAWN}"
        return caution


def measure_gate(
    path: Path,
    source: Source,
    age: float,
    false_accept: float,
    confidence: float,
    *,
    precision: str = "fp32",
) -> Gate:
    """Choose the threshold of the bundle at ``path`` for ``age`` and measure it; see :class:`Gate`.

    Raises :class:`SsrError` for an age outside the network's range, for rates outside 0..1, for too few faces
    on either side of the age, and as :func:`ssr_train.evaluation.selection.select` does.
    """
    check_rates(false_accept, confidence)
    bundle = read_served(path)
    with open_runner(bundle, runner_of(bundle), precision=precision) as runner:
        check_age(age, bundle.contract.interface.output.clip)
        console = Console(stderr=True, highlight=False, soft_wrap=True)
        chosen = select_for(bundle, source, console, fresh_seed=SEED, ages_for="gate")
        halves = halve(chosen, ask(runner, chosen.faces, chosen.index, console), source.seed or 0)
        name = runner.name
    (tuning, held_out), (tuned, true) = halves.answers, halves.ages
    with chosen.suffices():
        _both_sides(tuned >= age, age, "to choose on")
        _both_sides(true >= age, age, "held out")
        threshold = choose_threshold(tuning[tuned < age], false_accept, confidence)
        residuals = Residuals.of(tuning, tuned)
    old = true >= age
    false_accepts, false_rejects = decisions(held_out, threshold, ~old, old)
    chances = residuals.at_least(age, held_out)
    return Gate(
        bundle=title(path),
        weights_sha256=bundle.contract.weights_sha256,
        runner=name,
        selection=chosen,
        age=age,
        false_accept_wanted=false_accept,
        confidence=confidence,
        halved_by=halves.by,
        chosen_on={"under": int((tuned < age).sum()), "at_least": int((tuned >= age).sum())},
        threshold=threshold,
        chance_at_threshold=float(residuals.at_least(age, np.array([threshold]))[0]),
        held_out=HeldOut(
            false_accepts=false_accepts,
            false_rejects=false_rejects,
            accepts_by_true_age=_by_age(held_out >= threshold, true, age),
            auc=auc(held_out, old),
            auc_of_chance=auc(chances, old),
            brier=float(((chances - old) ** 2).mean()),
            reliability=reliability(chances, old),
            roc=np.column_stack(roc(held_out, old)).tolist(),
        ),
    )


def _both_sides(old: Flags, age: float, what: str) -> None:
    if old.all() or not old.any():
        side = "under" if old.all() else "of at least"
        raise TooFew(f"no faces {side} {age:g} years {what} among {len(old):,}: nothing can be told apart")


def _by_age(accepted: Flags, true: Years, age: float) -> dict[str, Share]:
    ends = [age + near for near in _NEAR]
    band = np.searchsorted(ends, true, side="right")
    names = [band_name(ends, b) for b in range(-1, len(ends))]
    return {name: Share.of(accepted[band == b]) for b, name in enumerate(names) if (band == b).any()}
