"""No answer of ours out of the server's response cache, which answers in front of every backend.

A cached answer names no weights and no engine, says nothing of drawn faces, is given whatever
``interface_sha256`` is asked for, and is given again after the weights have changed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from triton_repo import config as configuration
from triton_repo.config import CONFIG_FILE, ConfigError
from triton_repo.flavors import flavor_of


def check_not_cached(folder: Path, config: Any) -> None:
    """Raise :class:`ConfigError` if ``config`` lets the server answer out of its cache for the model in
    ``folder``, and that is one of ours, or an ensemble with one of ours in it."""
    if not config.response_cache.enable:
        return
    if ours := _ours_in(folder, config, set()):
        raise ConfigError(
            f"{folder / CONFIG_FILE}: response_cache is on, and a cached answer of {ours} names no weights, "
            "checks no interface and outlives both: leave it out"
        )


def _ours_in(folder: Path, config: Any, seen: set[str]) -> str:
    """The model of ours that answers in a model, itself or a step of it; empty if none does."""
    if flavor_of(config) is not None:
        return folder.name
    seen.add(folder.name)
    for step in config.ensemble_scheduling.step:
        if step.model_name in seen:
            continue
        other = folder.parent / step.model_name
        try:
            found = _ours_in(other, configuration.read(other), seen)
        except (ConfigError, OSError):  # a fault of that model
            continue
        if found:
            return found
    return ""
