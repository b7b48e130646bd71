"""Starts, resumes and finishes runs: those of ``ssr-train fit`` and those of the paper's tables.

Every run goes through :func:`complete`: its folder locked, what does not fit refused, its split recorded,
trained from where it stands.
"""

from __future__ import annotations

import importlib
import json
import shlex
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from ssr_bundle.errors import Interrupted, SsrError, stopped_by
from ssr_train import data as datasets
from ssr_train.data.dataset import Dataset
from ssr_train.data.protocols import Split, leak, make_split
from ssr_train.progress import Reporter
from ssr_train.training import logs
from ssr_train.training.folder import RunFolder, Settings
from ssr_train.training.options import given_and_recorded, settings_from
from ssr_train.training.processes import Processes, joined, launched, speaks
from ssr_train.training.start import check, check_data, outline
from ssr_train.training.trainer import Trainer

__all__ = ["complete", "going_on", "load", "must_begin", "resume", "speaks", "start"]

_PLACE = frozenset({"device", "threads", "processes", "init"})
"""Settings that say where a run was made, not at which budget."""


def start(
    out: Path,
    options: dict[str, Any],
    force: bool = False,
    workers: int = 2,
    checkpoint_every: int = 200,
    log: str = "csv",
) -> Path:
    """Train a new run in ``out`` and return the folder of its best weights, a bundle or a system.

    ``options`` are those of the command line by name, as text, number or None; what is left out is the
    paper's. ``workers`` processes draw faces; ``log`` is one of :data:`ssr_train.training.logs.KINDS`.
    """
    folder, settings = RunFolder(out), settings_from(options)

    def begin() -> None:
        folder.start(settings, force)

    return _fit(folder, settings, settings.data, begin, workers, checkpoint_every, log)


def resume(
    out: Path,
    options: dict[str, Any],
    given: set[str],
    workers: int = 2,
    checkpoint_every: int = 200,
    log: str = "csv",
) -> Path:
    """Go on with the run in ``out``. Options in ``given`` that differ from the run's are refused, but for
    another place of its prepared set."""
    folder = RunFolder(out)
    settings = folder.settings()
    where = settings.data
    for name in sorted(given):
        value, recorded = given_and_recorded(name, options[name], settings)
        if name == "data" and folder.split_file.exists() and not {value, recorded} & set(datasets.NAMES):
            where = value
        elif value != recorded:
            raise SsrError(
                f"{out}: this run has --{name.replace('_', '-')} {recorded}, not {value}; "
                "leave it out to resume, or start another run"
            )
    if folder.best is not None:
        Reporter().say(f"{out}: this run is finished")
        return folder.best
    if settings.processes != launched():
        raise SsrError(
            f"{out}: this run has {settings.processes} processes, not {launched()}; "
            + _how_to_resume(out, settings.processes)
        )
    if where not in datasets.NAMES and not Path(where).exists():
        raise SsrError(f"{where}: the run's pictures do not lie there; say where they do: --data DIR")
    return _fit(folder, settings, where, lambda: None, workers, checkpoint_every, log)


def complete(
    folder: RunFolder,
    settings: Settings,
    begin: Callable[[], None],
    load: Callable[[], Dataset],
    reporter: Reporter,
    processes: Processes,
    *,
    plan: bool = False,
    checkpoint_every: int = 200,
    log: str = "csv",
) -> Path:
    """The folder of the best weights of the run in ``folder``, which is trained as far as it is not yet.

    In the locked folder the first process alone does ``begin``: it starts a run of ``settings`` there, leaves
    one that can go on, or refuses. Then all ``load`` the faces. ``plan``: say what is done on which data.
    """
    with ExitStack() as held:

        def take() -> None:
            held.enter_context(folder.lock())
            begin()

        processes.alone(take)
        data = load()
        processes.agree(json.dumps([settings.to_json(), data.sha256], sort_keys=True))
        split = _recorded_split(folder, settings, data, processes)
        if folder.best is not None:
            reporter.say(f"{folder.path}: finished before, taken as it is")
            return folder.best
        if plan:
            s = settings
            reporter.say(f"data: {data.description}")
            reporter.say(f"split: {split}")
            reporter.say(str(leak(data, split)))
            shared = "" if s.processes == 1 else f", shared by {s.processes} processes,"
            reporter.say(
                f"plan: {s.epochs} epochs of {s.batch_size} faces a step{shared} on {s.device}, "
                f"rate {s.lr:g} falling tenfold every {s.step} epochs"
            )
        trainer = Trainer(folder, folder.settings(), data, split, reporter, checkpoint_every, processes)
        return trainer.fit(log)


def load(data: str, count: int, seed: int, workers: int, reporter: Reporter) -> Dataset:
    """The data set ``data``, by ``workers`` processes where it is drawn; :class:`Interrupted` when asked to
    stop meanwhile."""
    if data in datasets.NAMES:
        reporter.drawing(count)
    try:
        return datasets.load(data, count=count, seed=seed, workers=workers, progress=reporter.drawn)
    except (KeyboardInterrupt, SystemExit) as stop:
        raise Interrupted("stopped while drawing", stopped_by(stop)) from None


@contextmanager
def going_on(how: str, what: str = "") -> Iterator[None]:
    """Have an interrupt say also what was stopped, and how to go on."""
    try:
        yield
    except Interrupted as stopped:
        raise Interrupted(f"{what}{stopped}; {how}", stopped.number) from None


def must_begin(folder: RunFolder, wanted: Settings, faces: Dataset, force: bool, data_option: str) -> bool:
    """Whether the run of a table on ``faces`` has to begin; False where it is finished or can go on.

    A run of another budget or on other pictures is refused, or, with ``force``, begun anew; a prepared set
    that only lies elsewhere is the same. ``data_option`` named ``faces``.
    """
    if not folder.settings_file.exists():
        return True
    found = folder.settings()
    same = _is_of(folder, faces)
    before, now = found.to_json(), wanted.to_json()
    alike = _PLACE | ({"data"} if same else set())
    differing = [name for name in now if before[name] != now[name] and name not in alike]
    refusal = ""
    if differing:
        had, has = (_said(s, differing[0], data_option) for s in (found, wanted))
        refusal = f"was trained with {had}, this table asks for {has}"
    elif same is False:
        refusal = f"was trained on other pictures than {wanted.data} holds now"
    if refusal and not force:
        raise SsrError(f"{folder.path}: {refusal}; choose another --out, or --force to train it anew")
    if not folder.finished and found.processes != wanted.processes:
        raise SsrError(f"{folder.path}: was begun by {found.processes} processes, not {wanted.processes}")
    return bool(refusal)


def _fit(
    folder: RunFolder,
    settings: Settings,
    where: str,
    begin: Callable[[], None],
    workers: int,
    checkpoint_every: int,
    log: str,
) -> Path:
    """:func:`complete` for the command line; the run's set lies at ``where``.

    What is wrong or missing is found out before the run's folder is touched.
    """
    s = replace(settings, data=where)
    check(s)
    datasets.check(s.data)
    logs.check(log)
    importlib.import_module("matplotlib")  # draws the curves at the end
    if s.data not in datasets.NAMES:
        data = datasets.load(s.data, count=s.count, seed=s.seed, workers=1)
        check_data(s, data, make_split(data, s.protocol, s.seed, fold=s.fold), outline(s).input_size)
    with (
        joined(settings.device) as processes,
        Reporter(None if processes.first else Console(quiet=True)) as reporter,
        going_on(_how_to_resume(folder.path, settings.processes)),
    ):
        return complete(
            folder,
            settings,
            begin,
            lambda: load(where, settings.count, settings.seed, workers, reporter),
            reporter,
            processes,
            plan=True,
            checkpoint_every=checkpoint_every,
            log=log,
        )


def _how_to_resume(folder: Path, processes: int) -> str:
    program = "ssr-train" if processes == 1 else f"torchrun --nproc-per-node {processes} -m ssr_train.cli"
    return f"continue with: {program} fit --out {shlex.quote(str(folder))} --resume"


def _recorded_split(folder: RunFolder, s: Settings, data: Dataset, processes: Processes) -> Split:
    """The split that the run recorded, else a new one, which it records."""
    file = folder.split_file

    def recorded() -> Split:
        if file.exists():
            try:
                return Split.from_json(json.loads(file.read_text(encoding="utf-8")), data)
            except ValueError as error:
                raise SsrError(f"{file}: {error}") from None
        split = make_split(data, s.protocol, s.seed, fold=s.fold)
        if processes.first:
            folder.write(file, (json.dumps(split.to_json()) + "\n").encode())
        return split

    return processes.alone(recorded) or recorded()


def _is_of(folder: RunFolder, data: Dataset) -> bool | None:
    """Whether the run's pictures are those of ``data``, wherever they lie; None if it recorded no split."""
    try:
        recorded = json.loads(folder.split_file.read_text(encoding="utf-8"))["data_sha256"]
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return None
    return recorded in {data.sha256, data.labels_sha256}


def _said(settings: Settings, name: str, data_option: str) -> str:
    """A setting in words, the options that name sets as they are given."""
    if name == "init_sha256":
        return "no pre-training" if settings.init is None else f"--pretrain, from {settings.init}"
    option = data_option if name == "data" else name.replace("_", "-")
    return f"{option} {settings.to_json()[name]}"
