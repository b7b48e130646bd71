"""The options of ``ssr-train fit`` as a run's settings."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from ssr_bundle.errors import SsrError
from ssr_train import data as datasets
from ssr_train import zoo
from ssr_train.training.folder import Settings
from ssr_train.training.processes import launched
from ssr_train.training.schedule import batch_size, default_step
from ssr_train.training.start import initial_sha256, outline

_OF_SYSTEM = ("stages", "dropout")
"""Options of the command that are the system's, besides those of ``set``."""


def settings_from(options: dict[str, Any]) -> Settings:
    """Settings of a new run; what was left open (batch size, step, device, threads) is decided here."""
    chosen = {name: value for name, value in options.items() if value is not None}
    values = {
        name: setting_value(name, value) for name, value in chosen.items() if name not in {*_OF_SYSTEM, "set"}
    }
    name = values.get("system", Settings.system)
    values["options"] = {**zoo.options(name), **_system_options(chosen)}
    outline(Settings(system=name, options=values["options"]))
    published = data = values.setdefault("data", Settings.data)
    if data not in datasets.NAMES:
        prepared = datasets.load(data, count=0, seed=0, workers=1)
        if "count" in values:
            raise SsrError(f"--count says how many faces to draw, but --data {data} is a prepared set")
        published, values["count"] = prepared.name, len(prepared)
    values.setdefault("batch_size", batch_size(published))
    values.setdefault("step", default_step(max(int(values.get("epochs", Settings.epochs)), 1)))
    values.setdefault("device", setting_value("device", "auto"))
    values.setdefault("threads", threads(launched()))
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


def given_and_recorded(name: str, value: Any, settings: Settings) -> tuple[Any, Any]:
    """An option's ``value`` as given, and as the run of ``settings`` has it."""
    if name == "set":
        given = _system_options({"set": value})
        return given, {key: settings.options.get(key) for key in given}
    of = settings.options.get if name in _OF_SYSTEM else settings.to_json().get
    return setting_value(name, value), of(name)


def threads(processes: int) -> int:
    """Threads of each of ``processes`` that share this machine's cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    return max(cores // processes, 1)


def _system_options(options: dict[str, Any]) -> dict[str, Any]:
    """What the system is built with: ``stages`` and ``dropout``, and each NAME=VALUE of ``set``."""
    chosen = {name: setting_value(name, options[name]) for name in _OF_SYSTEM if name in options}
    return chosen | options_from(options.get("set") or (), "--set")


def options_from(texts: Iterable[Any], option: str) -> dict[str, Any]:
    """The options of a system that each NAME=VALUE of ``texts`` sets; ``option`` begins an error."""
    chosen: dict[str, Any] = {}
    for text in map(str, texts):
        name, sign, value = text.partition("=")
        if not sign:
            raise SsrError(f"{option} {text}: expected NAME=VALUE, such as backbone=vgg16")
        try:
            chosen[name] = json.loads(value)
        except ValueError:
            chosen[name] = value
    return chosen
