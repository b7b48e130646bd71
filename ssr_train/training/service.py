"""What ``ssr-train fit`` does around the training loop: options to settings, data, split, resuming."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from ssr_bundle.contract import IMAGE_SIZE
from ssr_bundle.errors import Interrupted, SsrError, stopped_by
from ssr_train import data as datasets
from ssr_train import zoo
from ssr_train.data import Dataset
from ssr_train.data.protocols import Split, leak, make_split
from ssr_train.progress import Reporter
from ssr_train.training import logs
from ssr_train.training.folder import RunFolder, Settings
from ssr_train.training.output import how_to_resume
from ssr_train.training.processes import Processes, joined, launched, speaks
from ssr_train.training.schedule import batch_size, default_step
from ssr_train.training.start import check, check_data, fingerprint, initial_sha256, outline
from ssr_train.training.trainer import fit

__all__ = ["Interrupted", "is_of", "recorded_split", "resume", "speaks", "start"]


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
    settings = settings_from(options)
    _check(settings, log)
    folder = RunFolder(out)
    if out.is_file():
        raise SsrError(f"{out}: is a file, expected a folder for the run")
    with joined(settings.device) as processes:
        return _alone(
            folder,
            processes,
            lambda: folder.start(settings, force),
            lambda: _fit(folder, settings, workers, checkpoint_every, log, processes),
        )


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
    moved: str | None = None
    for name in sorted(given):
        value, recorded = _setting(name, options[name], settings)
        if name == "data" and folder.split_file.exists() and not {value, recorded} & set(datasets.NAMES):
            moved = value
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
            + how_to_resume(out, settings.processes)
        )
    where = settings.data if moved is None else moved
    if where not in datasets.NAMES and not Path(where).exists():
        raise SsrError(f"{where}: the run's pictures do not lie there; say where they do: --data DIR")
    _check(replace(settings, data=where), log)
    with joined(settings.device) as processes:
        return _alone(
            folder,
            processes,
            lambda: None,
            lambda: _fit(folder, settings, workers, checkpoint_every, log, processes, where),
        )


def settings_from(options: dict[str, Any]) -> Settings:
    """Settings of a new run; what was left open (batch size, step, device, threads) is decided here."""
    chosen = {name: value for name, value in options.items() if value is not None}
    values = {
        name: setting_value(name, chosen[name]) for name in chosen if name not in {"stages", "dropout", "set"}
    }
    name = values.get("system", Settings.system)
    values["options"] = {**zoo.options(name), **_system_options(chosen)}
    outline(Settings(system=name, options=values["options"]))
    data = values.setdefault("data", Settings.data)
    if data not in datasets.NAMES:
        datasets.check(data)
        if "count" in values:
            raise SsrError(f"--count says how many faces to draw, but --data {data} is a prepared set")
        values["count"] = len(datasets.load(data, count=0, seed=0, workers=1))
    values.setdefault("batch_size", batch_size(_name_of(data)))
    values.setdefault("step", default_step(max(int(values.get("epochs", Settings.epochs)), 1)))
    values.setdefault("device", setting_value("device", "auto"))
    values.setdefault("threads", _threads())
    values["processes"] = launched()
    settings = Settings(**values)
    if settings.init is not None:
        values["init_sha256"] = initial_sha256(Path(settings.init), settings)
    return Settings(**values)


def setting_value(name: str, value: Any) -> Any:
    """An option's value as ``settings.json`` records it."""
    if name == "stages":
        try:
            return [int(part) for part in str(value).split(",")]
        except ValueError:
            raise SsrError(f"--stages {value}: expected numbers with commas between, such as 3,3,3") from None
    if name == "init":
        return None if value is None else str(Path(value).resolve())
    if name == "data" and value not in datasets.NAMES and Path(value).exists():
        return str(Path(value).resolve())
    if name == "device" and value == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return value


def _setting(name: str, value: Any, settings: Settings) -> tuple[Any, Any]:
    """An option's value as given, and as the run has it."""
    if name == "set":
        given = _system_options({"set": value})
        return given, {key: settings.options.get(key) for key in given}
    if name in {"stages", "dropout"}:
        return setting_value(name, value), settings.options.get(name)
    return setting_value(name, value), getattr(settings, name)


def _system_options(options: dict[str, Any]) -> dict[str, Any]:
    """What the system is built with: ``stages`` and ``dropout``, and each NAME=VALUE of ``set``."""
    chosen: dict[str, Any] = {
        name: setting_value(name, options[name]) for name in ("stages", "dropout") if name in options
    }
    for text in options.get("set") or ():
        name, sign, value = str(text).partition("=")
        if not sign:
            raise SsrError(f"--set {text}: expected NAME=VALUE, such as backbone=vgg16")
        try:
            chosen[name] = json.loads(value)
        except ValueError:
            chosen[name] = value
    return chosen


def _name_of(data: str) -> str:
    """The published name of a data set."""
    if data in datasets.NAMES:
        return data
    from ssr_train.data.prepared import check as about

    return str(about(Path(data))["name"])


def _threads() -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    return max(cores // launched(), 1)


def _check(settings: Settings, log: str) -> None:
    """Find out what is wrong or missing before the run's folder is touched."""
    check(settings)
    datasets.check(settings.data)
    logs.check(log)
    importlib.import_module("matplotlib")  # draws the curves at the end
    size = outline(settings).input_size
    if settings.data in datasets.NAMES and size != IMAGE_SIZE:
        raise SsrError(
            f"{settings.system}: takes pictures of {size} x {size}, faces are drawn at "
            f"{IMAGE_SIZE} x {IMAGE_SIZE}; choose another backbone, or a set prepared with --size {size}"
        )
    if settings.data not in datasets.NAMES:
        data = datasets.load(settings.data, count=settings.count, seed=settings.seed, workers=1)
        split = make_split(data, settings.protocol, settings.seed, fold=settings.fold)
        check_data(settings, data, split, size)


def _alone(
    folder: RunFolder, processes: Processes, prepare: Callable[[], None], work: Callable[[], Path]
) -> Path:
    """``work`` in the locked folder, after the first process alone did ``prepare``."""
    with ExitStack() as held:

        def begin() -> None:
            held.enter_context(folder.lock())
            prepare()

        processes.alone(begin)
        return work()


def _fit(
    folder: RunFolder,
    settings: Settings,
    workers: int,
    checkpoint_every: int,
    log: str,
    processes: Processes,
    where: str | None = None,
) -> Path:
    """``where``: of a prepared set that has moved."""
    with Reporter(None if processes.first else Console(quiet=True)) as reporter:
        s = settings
        data = _data(folder, s if where is None else replace(s, data=where), workers, reporter)
        processes.agree(fingerprint(s, data))
        split = recorded_split(folder, s, data, processes)
        reporter.say(f"data: {data.description}")
        reporter.say(f"split: {split}")
        reporter.say(str(leak(data, split)))
        shared = "" if s.processes == 1 else f", shared by {s.processes} processes,"
        reporter.say(
            f"plan: {s.epochs} epochs of {s.batch_size} faces a step{shared} on {s.device}, "
            f"rate {s.lr:g} falling tenfold every {s.step} epochs"
        )
        return fit(
            folder,
            settings,
            data,
            split,
            reporter,
            checkpoint_every=checkpoint_every,
            log=log,
            processes=processes,
        )


def _data(folder: RunFolder, s: Settings, workers: int, reporter: Reporter) -> Dataset:
    if s.data in datasets.NAMES:
        reporter.drawing(s.count)
    try:
        return datasets.load(s.data, count=s.count, seed=s.seed, workers=workers, progress=reporter.drawn)
    except (KeyboardInterrupt, SystemExit) as stop:
        message = f"stopped while drawing; {how_to_resume(folder.path, s.processes)}"
        raise Interrupted(message, stopped_by(stop)) from None


def recorded_split(folder: RunFolder, s: Settings, data: Dataset, processes: Processes) -> Split:
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
            folder.write(file, lambda f: f.write((json.dumps(split.to_json()) + "\n").encode()))
        return split

    return processes.alone(recorded) or recorded()


def is_of(folder: RunFolder, data: Dataset) -> bool | None:
    """Whether the run's pictures are those of ``data``, wherever they lie; None if it recorded no split."""
    try:
        recorded = json.loads(folder.split_file.read_text(encoding="utf-8"))["data_sha256"]
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return None
    return recorded in {data.sha256, data.labels_sha256}
