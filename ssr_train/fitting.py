"""What ``ssr-train fit`` does around the training loop: options to settings, data, resuming."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

import torch

from ssr_train import data as datasets
from ssr_train.bundle import Bundle, read_bundle
from ssr_train.contract import Architecture
from ssr_train.errors import SsrError
from ssr_train.progress import Reporter
from ssr_train.run_folder import RunFolder, Settings
from ssr_train.schedule import default_step
from ssr_train.train import Interrupted, check, fit, how_to_resume, initial_bundle

__all__ = ["Interrupted", "resume", "start"]


def start(out: Path, options: dict[str, Any], force: bool, workers: int, checkpoint_every: int) -> Bundle:
    """Train a new run in ``out`` and return its bundle; ``options`` are those of the command line."""
    settings = settings_from(options)
    _check(settings)
    folder = RunFolder(out)
    if out.is_file():
        raise SsrError(f"{out}: is a file, expected a folder for the run")
    with folder.lock():
        folder.start(settings, force)
        return _fit(folder, settings, workers, checkpoint_every)


def resume(
    out: Path, options: dict[str, Any], given: set[str], workers: int, checkpoint_every: int
) -> Bundle:
    """Go on with the run in ``out``. Options in ``given`` that differ from the run's are refused."""
    folder = RunFolder(out)
    settings = folder.settings()
    recorded = settings.to_json()
    for name in sorted(given):
        value = settings_value(name, options[name])
        if value != recorded[name]:
            raise SsrError(
                f"{out}: this run has --{name.replace('_', '-')} {recorded[name]}, not {value}; "
                "leave it out to resume, or start another run"
            )
    _check(settings)
    with folder.lock():
        if folder.finished:
            Reporter().say(f"{out}: this run is finished")
            return read_bundle(folder.bundle)
        return _fit(folder, settings, workers, checkpoint_every)


def settings_from(options: dict[str, Any]) -> Settings:
    """Settings of a new run; what was left open (step, device, threads) is decided here."""
    values = {name: settings_value(name, value) for name, value in options.items()}
    if values["step"] is None:
        values["step"] = default_step(max(int(values["epochs"]), 1))
    if values["threads"] is None:
        values["threads"] = max(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1, 1)
    values["stages"] = tuple(values["stages"])
    architecture = Architecture(stages=values["stages"])
    if values["init"] is not None:
        bundle = initial_bundle(Path(values["init"]), architecture)
        values["init_sha256"] = bundle.contract.weights_sha256
    return Settings(**values)


def settings_value(name: str, value: Any) -> Any:
    """An option's value as ``settings.json`` records it."""
    if name == "stages":
        try:
            return [int(part) for part in str(value).split(",")]
        except ValueError:
            raise SsrError(f"--stages {value}: expected numbers with commas between, such as 3,3,3") from None
    if name == "init":
        return None if value is None else str(Path(value).resolve())
    if name == "device" and value == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return value


def _check(settings: Settings) -> None:
    """Find out what is wrong or missing before the run's folder is touched."""
    check(settings)
    datasets.check(settings.data)
    importlib.import_module("matplotlib")  # draws the curves at the end


def _fit(folder: RunFolder, settings: Settings, workers: int, checkpoint_every: int) -> Bundle:
    with Reporter() as reporter:
        s = settings
        reporter.drawing(s.count)
        try:
            data = datasets.load(s.data, count=s.count, seed=s.seed, workers=workers, progress=reporter.drawn)
        except KeyboardInterrupt:
            raise Interrupted(f"stopped while drawing; {how_to_resume(folder.path)}") from None
        reporter.say(f"data: {data.description}")
        reporter.say(
            f"plan: {s.epochs} epochs of {s.batch_size} faces a step on {s.device}, "
            f"rate {s.lr:g} falling tenfold every {s.step} epochs"
        )
        return fit(folder, settings, data, reporter, checkpoint_every)
