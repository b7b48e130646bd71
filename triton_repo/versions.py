"""What ``ssr-serve versions`` lists: every version of a repository, and what a live server says of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ssr_bundle.report import table
from triton_repo import config, repository
from triton_repo.control import Control
from triton_repo.flavors import flavor_of


def list_versions(repo: Path, control: Control | None = None) -> list[dict[str, Any]]:
    """One row a version: model, version, state, reason, flavor, precision, weights, data, mae, synthetic,
    server.

    ``flavor`` and ``precision`` are what the configuration serves the model as and in; empty for a model that
    ``build`` did not make. ``server`` is what the one at ``control`` says.
    """
    live: dict[tuple[str, int | None], str] = {}
    if control is not None:
        for entry in control.index():
            live[entry.model, entry.version] = entry.state + (f": {entry.reason}" if entry.failed else "")
    rows: list[dict[str, Any]] = []

    def add(model: str, version: int | None, state: str, reason: str, facts: Mapping[str, str]) -> None:
        empty = {"flavor": "", "precision": "", "weights": "", "data": "", "mae": "", "synthetic": "no"}
        row = {"model": model, "version": version, "state": state, "reason": reason, **empty, **facts}
        rows.append({**row, "server": live.get((model, version), "")})

    for folder in repository.model_folders(repo):
        model = repository.read_model(folder)
        if model.fault:
            add(model.name, None, "broken", model.fault, {})
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


def show(rows: Sequence[Mapping[str, Any]], *, server: bool) -> None:
    """Print the rows for a person; with what the ``server`` says, if there is one."""
    columns = ["model", "version", "state", "flavor", "precision", "weights", "data", "MAE"]
    cells = []
    for row in rows:
        data = row["data"] + (" (drawn faces)" if row["synthetic"] == "yes" else "")
        state = row["state"] + (f": {row['reason']}" if row["reason"] else "")
        names = (row["model"], str(row["version"] or "-"), state, row["flavor"], row["precision"])
        cells.append([*names, row["weights"][:12], data, row["mae"], *([row["server"]] if server else [])])
    table(cells, columns + (["server"] if server else []), ruled=True)
