"""What ``ssr-serve versions`` lists: every version of a repository, and what a live server says of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssr_bundle.report import table
from triton_repo import config, repository
from triton_repo.control import Control, VersionState
from triton_repo.flavors import flavor_of


def list_versions(repo: Path, control: Control | None = None) -> list[dict[str, Any]]:
    """One row a version: model, version, state, reason, flavor, precision, weights, data, mae, synthetic.

    ``flavor`` and ``precision`` are what the configuration serves the model as and in; empty for a model that
    ``build`` did not make. ``state`` is what a server that follows the repository has made of it; with
    ``control``, what the server there says.
    """
    live = None if control is None else _Live.look(control)
    rows: list[dict[str, Any]] = []

    def add(model: str, version: int | None, state: str, reason: str, facts: Mapping[str, str]) -> None:
        empty = {"flavor": "", "precision": "", "weights": "", "data": "", "mae": "", "synthetic": "no"}
        if live is not None and version is not None:
            state, reason = live.state(model, version, state, reason)
        rows.append({"model": model, "version": version, "state": state, "reason": reason, **empty, **facts})

    for folder in repository.model_folders(repo):
        model = repository.read_model(folder)
        if model.fault:
            add(model.name, None, "broken", model.fault, {})
            for number in [] if live is None else live.ready(model.name):  # from before it broke
                add(model.name, number, "broken", "", {})
            continue
        flavor = flavor_of(model.config)
        served = {"flavor": flavor.name, "precision": config.precision(model.config)} if flavor else {}
        states = {v.number: "loaded" if k else "serving" for k, v in enumerate(model.kept())}
        versions = [(v, "broken" if v.fault else states.get(v.number, "available")) for v in model.versions]
        for number, path in sorted(repository.withdrawn(folder).items(), reverse=True):
            versions.append((repository.read_version(number, path, model.config), "withdrawn"))
        for version, state in versions:
            facts = repository.summary(version.contract) if version.contract else {}
            add(model.name, version.number, state, version.fault, {**served, **facts})
    return rows


@dataclass(frozen=True)
class _Live:
    """What a server says of each version of each model."""

    found: Mapping[tuple[str, int | None], VersionState]

    @classmethod
    def look(cls, control: Control) -> _Live:
        return cls({(entry.model, entry.version): entry for entry in control.index()})

    def ready(self, model: str) -> list[int]:
        """Versions that answer, newest first."""
        found = (e.version for e in self.found.values() if e.model == model and e.ready)
        return sorted((version for version in found if version is not None), reverse=True)

    def state(self, model: str, version: int, on_disk: str, fault: str) -> tuple[str, str]:
        """State and reason of a version that is ``on_disk`` in the repository, with its ``fault`` there."""
        entry, ready = self.found.get((model, version)), self.ready(model)
        if version in ready:
            state = "serving" if version == ready[0] else "loaded"
            if on_disk in ("broken", "withdrawn"):
                return state, ": ".join(filter(None, (f"{on_disk} in the repository", fault)))
            return state, fault
        if entry is not None and entry.failed and on_disk not in ("broken", "withdrawn"):
            return "failed", entry.reason
        if entry is not None and entry.state in ("LOADING", "UNLOADING"):
            return entry.state.lower(), fault
        if on_disk in ("serving", "loaded"):
            return "available", "not loaded by the server"
        return on_disk, fault


def show(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print the rows for a person."""
    columns = ["model", "version", "state", "flavor", "precision", "weights", "data", "MAE"]
    cells = []
    for row in rows:
        data = row["data"] + (" (drawn faces)" if row["synthetic"] == "yes" else "")
        state = row["state"] + (f": {row['reason']}" if row["reason"] else "")
        names = (row["model"], str(row["version"] or "-"), state, row["flavor"], row["precision"])
        cells.append([*names, row["weights"][:12], data, row["mae"]])
    table(cells, columns, ruled=True)
