"""Trained systems for tables: every one by the same trainer, on the same faces, at the same budget.

Runs lie under OUT/runs, a folder each, and all tables written to OUT share them. A finished run is taken as
it is, an interrupted one goes on, and one of another budget is refused.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ssr_bundle.disk import check_folder
from ssr_bundle.errors import SsrError
from ssr_train import data as datasets
from ssr_train import zoo
from ssr_train.data.dataset import Dataset
from ssr_train.data.protocols import Leak, Split, leak, leak_between, make_split
from ssr_train.devices import check_device
from ssr_train.evaluation.metrics import CONFIDENCE, RESAMPLES, Errors, errors
from ssr_train.inference import TorchRunner
from ssr_train.paper.budget import Budget
from ssr_train.paper.page import DRAWN
from ssr_train.progress import Reporter
from ssr_train.training.folder import RunFolder, Settings
from ssr_train.training.options import options_from, setting_value, threads
from ssr_train.training.processes import Processes
from ssr_train.training.schedule import PAPER_EPOCHS, PAPER_RATE, batch_size, default_step
from ssr_train.training.service import complete, going_on, load, must_begin
from ssr_train.training.start import check, check_data, initial_sha256, outline

DRAWN_COUNT, DRAWN_EPOCHS = 1000, 6
"""Budget on drawn faces unless told otherwise: minutes on two cores."""


@dataclass(frozen=True)
class Entry:
    """A system of a table: ``key`` names its run, ``options`` are its own."""

    key: str
    system: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """The system's, and how it is built."""
        built = (f"{name} {value}" for name, value in self.options.items())
        return ", ".join([zoo.describe(self.system).title, *built])


@dataclass(frozen=True)
class Phase:
    """One run of what an entry takes, in ``folder``: on ``data``, which the option named ``option``;
    ``number`` from 0."""

    entry: Entry
    data: str
    option: str
    number: int
    folder: RunFolder


@dataclass(frozen=True)
class Run:
    """A finished run. ``history``: a row an epoch, errors in years."""

    entry: Entry
    folder: RunFolder
    history: Sequence[Mapping[str, Any]]

    @property
    def best_row(self) -> Mapping[str, Any]:
        """The epoch with the least validation MAE, the first of equals."""
        return min(self.history, key=lambda row: float(row["val_mae"]))

    @property
    def seconds(self) -> float:
        """What training took."""
        return sum(float(row["seconds"]) for row in self.history)

    def system(self, *, last: bool = False) -> zoo.System:
        """The system of the best epoch by validation MAE, or of the last one."""
        path = self.folder.last if last else self.folder.best
        assert path is not None
        return zoo.load_system(path)


@dataclass(frozen=True)
class Measured:
    """A run's errors on the test images, of its best and of its last epoch."""

    run: Run
    best: Errors
    last: Errors

    @property
    def key(self) -> str:
        return self.run.entry.key

    @property
    def about(self) -> zoo.Description:
        return zoo.describe(self.run.entry.system)

    @property
    def paper(self) -> zoo.Paper:
        """What the paper reports of it: of a variant, nothing."""
        return zoo.Paper(options=self.run.entry.options) if self.run.entry.options else self.about.paper

    @property
    def title(self) -> str:
        """Its name in tables, which says how a variant is built and where a bulky method is made small."""
        small = self.about.paper.input != self.run.system().input_size
        return f"{self.run.entry.title}, made small" if small else self.run.entry.title

    def to_json(self) -> dict[str, Any]:
        return {
            "system": self.run.entry.system,
            "options": dict(self.run.entry.options),
            "best": {"epoch": self.run.best_row["epoch"], **self.best.to_json()},
            "last": {"epoch": self.run.history[-1]["epoch"], **self.last.to_json()},
            "training_seconds": round(self.run.seconds, 1),
        }


class Runs:
    """The runs in the folder ``out`` at one budget.

    ``protocol`` is the table's own, for real faces where the budget names none. ``force`` starts anew in the
    place of runs of another budget. ``alike`` are the settings that all runs share. Raises
    :class:`SsrError` for a budget that cannot be trained at, before anything is written.
    """

    def __init__(
        self,
        out: Path,
        budget: Budget,
        reporter: Reporter,
        processes: Processes | None = None,
        *,
        protocol: str = "random",
        force: bool = False,
    ) -> None:
        importlib.import_module("matplotlib")
        drawn = budget.data in datasets.NAMES
        self.out, self.budget, self.force = out, budget, force
        self.reporter, self.processes = reporter, processes or Processes()
        self.pretrain = [str(path) for path in budget.pretrain or ()]
        self.count = DRAWN_COUNT if budget.count is None else budget.count
        default_epochs = DRAWN_EPOCHS if drawn else PAPER_EPOCHS
        epochs = default_epochs if budget.epochs is None else budget.epochs
        self.alike = Settings(
            epochs=epochs,
            lr=PAPER_RATE,
            step=default_step(max(epochs, 1)),
            seed=budget.seed,
            protocol=budget.protocol or ("random" if drawn else protocol),
            device=device_of(budget),
            threads=threads(self.processes.count) if budget.threads is None else budget.threads,
            processes=self.processes.count,
        )
        if self.alike.protocol == "leave-one-subject-out":
            raise SsrError(
                "protocol leave-one-subject-out: has a test for each person, a table has one; use "
                "`ssr-train fit --fold` and `ssr-train evaluate`"
            )
        self._loaded: dict[str, Dataset] = {}
        datasets.check(budget.data)
        for data in self.pretrain:
            datasets.check(data, "--pretrain")
        check(self._settings(self._phases(Entry("", "ssrnet"))[-1]))
        check_folder(out, "the table and its runs")
        self.faces = self._load(budget.data)
        self.split = self._split(budget.data)
        self.ages = self.faces.ages[self.split.test]

    @property
    def synthetic(self) -> bool:
        return self.faces.synthetic

    def facts(self, systems: str = "every system") -> list[str]:
        """Data, protocol, leak and budget, a line each: what every table says first."""
        s = self.alike
        before = (
            "after the same on " + ", then ".join(map(self._name, self.pretrain))
            if self.pretrain
            else "from random weights, no pre-training"
        )
        return [
            f"data: {self.faces.description}",
            f"protocol: {self.split}",
            str(leak(self.faces, self.split)),
            *map(self._leak_line, self.pretrain),
            f"budget: {systems} alike, {s.epochs} epochs of {self._batch_size(self.budget.data)} faces a "
            f"step, Adam at {s.lr:g} falling tenfold every {s.step} epochs, the paper's augmentations, seed "
            f"{s.seed}, {before}",
        ]

    def _leak_before(self, data: str) -> Leak | None:
        """Of pre-training on ``data``; None where its persons have other names than those of the test."""
        before = self._load(data)
        if before.name != self.faces.name:
            return None
        return leak_between(before.subjects[self._split(data).train], self.faces.subjects[self.split.test])

    def _leak_line(self, data: str) -> str:
        counted = self._leak_before(data) or (
            f"leak not counted: persons have other names there than in {self.faces.name}, and may be the same"
        )
        return f"before, on {self._name(data)}: {counted}"

    @property
    def caution(self) -> str:
        """What a title says of faces whose persons the labels do not tell apart."""
        known = leak(self.faces, self.split).known
        return "" if known else f"{self.name}, identities unknown"

    @property
    def errors_are(self) -> str:
        """How :meth:`errors` are to be read."""
        return (
            f"errors: in years, on {len(self.ages):,} test images, answers clipped to 0..101; in brackets "
            f"the {CONFIDENCE:.0%} bootstrap interval"
        )

    @property
    def name(self) -> str:
        """The data in a few words."""
        return DRAWN if self.synthetic else self.faces.name

    def beside(self, data: str, how: str) -> str:
        """The line that keeps the paper's own numbers, on ``data`` as the paper names it, apart from ours."""
        same = self.faces.name == data.lower() and not self.synthetic
        return f"paper: its own numbers, on {data} {how}" + (
            "" if same else f"; another data set than ours, {self.name}: not to be compared"
        )

    def notes(self, measured: Sequence[Measured]) -> list[str]:
        """What of each system differs from its source."""
        small = (
            "made small: the method on a network for 64 x 64 pictures, SSR-Net's own streams unless said "
            "otherwise, for an equal budget; the paper's numbers are of VGG-16 or its like at 224 x 224"
        )
        notes = [small] if any(one.title.endswith(", made small") for one in measured) else []
        return notes + [f"{one.about.title}: {one.about.note}" for one in measured if one.about.note]

    def numbers(self) -> dict[str, Any]:
        """The same for JSON."""
        return {
            "data": self.faces.description,
            "data_sha256": self.faces.sha256,
            "protocol": self.split.protocol,
            "test_images": len(self.split.test),
            "selects_on_test": self.split.selects_on_test,
            "leak": _leak_json(leak(self.faces, self.split)),
            "leak_before": [_leak_json(self._leak_before(data)) for data in self.pretrain],
            "budget": {
                "epochs": self.alike.epochs,
                "batch_size": self._batch_size(self.budget.data),
                "lr": self.alike.lr,
                "seed": self.alike.seed,
                "pretrain": [self._load(p).name for p in self.pretrain],
            },
            "mean_age": self.constant().to_json(),
        }

    def constant(self) -> Errors:
        """Errors of always answering the training faces' mean age: what a useless network gets."""
        mean = self.faces.ages[self.split.train].mean(dtype=np.float64)
        return errors(np.full(len(self.ages), mean), self.ages)

    def train(self, entries: Sequence[Entry]) -> list[Run]:
        """The finished runs of ``entries``, in order; whatever is missing is trained now.

        Raises :class:`SsrError` before anything is trained for a system that does not fit the data and for a
        run there of another budget; :class:`Interrupted` when asked to stop: everything done so far is kept.
        Of the processes of ``torchrun`` the first alone returns, to measure and report; the others end.
        """
        phases = [self._phases(entry) for entry in entries]
        for phase in chain.from_iterable(phases):
            wanted, faces = self._settings(phase), self._load(phase.data)
            check(wanted)
            check_data(wanted, faces, self._split(phase.data), outline(wanted).input_size, phase.option)
        self.processes.alone(lambda: self._check_runs(phases))
        runs = []
        for position, (entry, steps) in enumerate(zip(entries, phases, strict=True), 1):
            init: Path | None = None
            for phase in steps:
                self.reporter.say(f"{entry.key} ({position} of {len(entries)}){self._when(phase)}")
                run = self._run(phase, init)
                init = run.folder.best
            runs.append(run)
        if not self.processes.first:
            raise SystemExit(0)
        return runs

    def measure(self, run: Run) -> Measured:
        """Errors of ``run`` on the test images."""
        best, last = (self.errors(run.system(last=last)) for last in (False, True))
        return Measured(run, best, last)

    def errors(self, system: zoo.System) -> Errors:
        """Errors of ``system`` on the test images, with bootstrap intervals."""
        torch.set_num_threads(self.alike.threads)
        answers = TorchRunner(system, device=self.alike.device).predict(self.faces.images[self.split.test])
        return errors(answers, self.ages, self.faces.subjects[self.split.test], resamples=RESAMPLES)

    def _phases(self, entry: Entry) -> list[Phase]:
        """What training ``entry`` takes, one phase after the other; its own run is the last one."""
        steps = [
            (f"{entry.key}-pretrain-{number}", data, "--pretrain")
            for number, data in enumerate(self.pretrain, 1)
        ]
        return [
            Phase(replace(entry, key=key), data, option, number, RunFolder(self.out / "runs" / key))
            for number, (key, data, option) in enumerate([*steps, (entry.key, self.budget.data, "--data")])
        ]

    def _when(self, phase: Phase) -> str:
        """Where phases have to be told apart, what a phase is trained on."""
        if not self.pretrain:
            return ""
        name = self._name(phase.data)
        return f": then on {name}" if phase.number else f": on {name} first"

    def _check_runs(self, phases: Sequence[Sequence[Phase]]) -> None:
        """Raise :class:`SsrError` for runs there that cannot be taken as they are, nor gone on with.

        Where the phase before has to be trained it is not known which weights a run must start from, but that
        it must start from some is.
        """
        for steps in phases:
            init: Path | None = None
            for phase in steps:
                wanted, folder = self._settings(phase, init), phase.folder
                if phase.number and init is None and folder.settings_file.exists():
                    some = folder.settings().init_sha256 or "not known yet"
                    wanted = replace(wanted, init="the set before", init_sha256=some)
                init = None if self._begins(phase, wanted) else folder.best
                if init is not None:
                    _history(folder)

    def _begins(self, phase: Phase, wanted: Settings) -> bool:
        return must_begin(phase.folder, wanted, self._load(phase.data), self.force, phase.option)

    def _run(self, phase: Phase, init: Path | None) -> Run:
        folder, wanted = phase.folder, self._settings(phase, init)

        def begin() -> None:
            if self._begins(phase, wanted):
                folder.start(wanted, self.force)

        with going_on("the same command goes on from there", f"{phase.entry.key}: "):
            complete(folder, wanted, begin, lambda: self._load(phase.data), self.reporter, self.processes)
        return Run(phase.entry, folder, _history(folder))

    def _settings(self, phase: Phase, init: Path | None = None) -> Settings:
        entry, data = phase.entry, phase.data
        drawn = data in datasets.NAMES
        settings = replace(
            self.alike,
            data=data if drawn else str(Path(data).resolve()),
            count=self.count if drawn else len(self._load(data)),
            batch_size=self._batch_size(data),
            system=entry.system,
            options={**zoo.options(entry.system), **entry.options},
            protocol=self._protocol(data),
        )
        if init is None:
            return settings
        return replace(settings, init=str(init.resolve()), init_sha256=initial_sha256(init, settings))

    def _protocol(self, data: str) -> str:
        return self.alike.protocol if data == self.budget.data else "random"

    def _split(self, data: str) -> Split:
        return make_split(self._load(data), self._protocol(data), self.budget.seed)

    def _name(self, data: str) -> str:
        return data if data in datasets.NAMES else self._load(data).name or data

    def _batch_size(self, data: str) -> int:
        return batch_size(self._name(data)) if self.budget.batch_size is None else self.budget.batch_size

    def _load(self, data: str) -> Dataset:
        if data not in self._loaded:
            with going_on("the same command starts again"):
                seed, workers = self.budget.seed, self.budget.workers
                self._loaded[data] = load(data, self.count, seed, workers, self.reporter)
        return self._loaded[data]


def device_of(budget: Budget) -> str:
    """The device meant; :class:`SsrError` for one that is none."""
    device = str(setting_value("device", budget.device))
    check_device(device)
    return device


def entries(systems: Sequence[str]) -> list[Entry]:
    """The systems named, each once: as the zoo builds them by default, or with options, such as
    ``densenet:depth=13:dropout=0``."""
    return [_entry(text) for text in dict.fromkeys(systems)]


def _entry(text: str) -> Entry:
    name, *settings = text.split(":")
    options = options_from(settings, f"--systems {text}:")
    zoo.check_options(name, options)
    return Entry("-".join([name, *(f"{k}-{v}" for k, v in options.items())]), name, options)


def _history(folder: RunFolder) -> list[dict[str, Any]]:
    """A row an epoch of the finished run; :class:`SsrError` where the file is not as training left it."""
    file = folder.history_json
    try:
        history = json.loads(file.read_text(encoding="utf-8"))
        numbers = [[float(row[n]) for n in ("epoch", "train_mae", "val_mae", "seconds")] for row in history]
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        numbers = []
    if [row[0] for row in numbers] != list(range(1, folder.settings().epochs + 1)):
        raise SsrError(f"{file}: not the history of a finished run; remove {folder.path} to train it anew")
    return list(history)


def _leak_json(counted: Leak | None) -> dict[str, Any]:
    """None: of sets that cannot be compared."""
    if counted is None:
        return {"known": False}
    return {"known": counted.known, "share": counted.share, "images": counted.images}
