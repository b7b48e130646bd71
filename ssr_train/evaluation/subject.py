"""What is judged: a bundle, a run (its best and its last epoch), a system, or whatever a server serves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssr_bundle.contract import Crop
from ssr_bundle.errors import SsrError
from ssr_bundle.method import ServedBundle, read_served
from ssr_train.data.cut_of import crop_of
from ssr_train.evaluation.selection import Origin
from ssr_train.training.folder import RunFolder


@dataclass(frozen=True)
class Subject:
    """Weights under judgement. ``what``: a bundle, the folder of a system, or None for a server's own.
    ``label``: ``best epoch``, ``last epoch`` or a name. ``run_data``: what its run's settings name."""

    label: str
    what: ServedBundle | Path | None
    provenance: Mapping[str, Any]
    run_data: str | None = None

    @property
    def origin(self) -> Origin:
        return Origin.of(self.provenance)

    @property
    def crop(self) -> Crop | None:
        """How the weights want faces cut; None where it is not recorded."""
        return crop_of(self.what, self.provenance)


def subjects(path: Path | None, model: str) -> list[Subject]:
    """What lies at ``path``: one, or of a finished run its best and its last epoch; None is ``model``."""
    if path is None:
        return [Subject(model, None, {})]
    run = RunFolder(path)
    if not run.settings_file.is_file():
        return [_open(path, path.name)]
    if run.best is None or run.last is None:
        raise SsrError(f"{path}: an unfinished run; finish it: ssr-train fit --out {path} --resume")
    data = run.settings().data
    return [_open(run.best, "best epoch", data), _open(run.last, "last epoch", data)]


def title(path: Path) -> str:
    """What ``path`` is called in a report: its name, behind the run's where it lies in one."""
    whole = path.resolve()
    run = RunFolder(whole.parent)
    return f"{whole.parent.name}/{whole.name}" if run.settings_file.is_file() else whole.name


def _open(path: Path, label: str, run_data: str | None = None) -> Subject:
    if (path / "system.json").is_file():
        from ssr_train.zoo.storage import read_header

        return Subject(label, path, read_header(path)["provenance"], run_data)
    bundle = read_served(path)
    return Subject(label, bundle, bundle.contract.provenance, run_data)
