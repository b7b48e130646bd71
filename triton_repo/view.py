"""The server's view of a model repository: a generated folder of links to the versions that are good.

The repository itself is only read, so that it may be a read-only mount (where it is none, a model that a
kill left aside gets its name back, see ``repository.model_folders``). config.pbtxt is copied as it
is and a version folder is linked only once it is verified, which pins the good ones exactly as
``version_policy.specific`` would. Not writing that policy has a reason: a changed config.pbtxt makes
Triton re-initialise every version, a new link only the new one.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from ssr_bundle.disk import replace_file
from triton_repo import repository as repo
from triton_repo.config import CONFIG_FILE, kept_versions
from triton_repo.flavors import SSR

Signature = tuple[object, ...]


@dataclass(frozen=True)
class Failure:
    """What does not serve, and why. ``version`` is None for a model as a whole."""

    model: str
    version: int | None
    reason: str

    def __str__(self) -> str:
        name = self.model if self.version is None else f"{self.model} version {self.version}"
        return f"{name}: {self.reason}"


@dataclass
class _Linked:
    """A model in the view: which versions are linked, from what state on disk; of one that ``ssr-serve`` did
    not build the whole folder, as version 0."""

    config: str = ""
    versions: dict[int, Signature] = field(default_factory=dict)
    own: bool = False
    kept: tuple[int, ...] = ()


class View:
    """Keeps ``folder`` in step with ``repository``; the caller tells the server what changed.

    ``backends``: those that the server has; a model of a flavor whose backend is not among them is a failure
    and stays out of the view. None: not known, all are let in.
    """

    def __init__(self, repository: Path, folder: Path, backends: Collection[str] | None = None) -> None:
        self.repository = repository.absolute()
        self.folder = folder
        self.backends = backends
        self.failures: list[Failure] = []
        self._models: dict[str, _Linked] = {}
        self._refused: dict[tuple[str, int], tuple[Signature, str]] = {}
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def models(self) -> dict[str, tuple[int, ...]]:
        """Models in the view and the versions that the server is to load, newest first."""
        return {name: linked.kept for name, linked in sorted(self._models.items())}

    @property
    def needs_backend(self) -> bool:
        """Whether any model is one of this project's backend."""
        return any(linked.own for linked in self._models.values())

    def signature(self) -> Signature:
        """Changes whenever a file of the repository does. Cheap: no file is read."""
        return tuple(_signature(folder) for folder in repo.model_folders(self.repository))

    def update(self) -> tuple[list[str], list[str]]:
        """Verify and link; returns the models to (re)load and those to unload."""
        self.failures = []
        folders = repo.model_folders(self.repository)
        changed = [folder.name for folder in folders if self._update_model(folder)]
        gone = sorted(set(self._models) - {folder.name for folder in folders})
        for name in gone:
            del self._models[name]
            if (self.folder / name).is_symlink():
                (self.folder / name).unlink()
            else:
                shutil.rmtree(self.folder / name)
        return changed, gone

    def refuse(self, model: str, version: int, reason: str) -> bool:
        """Take out a version that the server could not load, until its files change.

        Returns False, and changes nothing, if no other version would be left.
        """
        linked = self._models[model]
        if version not in linked.versions or len(linked.versions) == 1:
            return False
        self._refused[model, version] = (linked.versions[version], reason)
        self.update()
        return True

    def _update_model(self, folder: Path) -> bool:
        name, before = folder.name, self._models.get(folder.name)
        model = repo.read_model(folder)
        if model.foreign:
            return self._link_foreign(model)
        good: dict[int, Signature] = {}
        for version in model.versions:
            signature = _signature(version.path)
            refused = self._refused.get((name, version.number))
            if version.fault:
                self.failures.append(Failure(name, version.number, version.fault))
            elif refused and refused[0] == signature:
                self.failures.append(Failure(name, version.number, refused[1]))
            else:
                good[version.number] = signature
        if not good:
            # What serves already stays: a repository that went bad must not stop a running server.
            self.failures.append(Failure(name, None, model.fault or "no good version to serve"))
            return False
        backend = model.config.backend
        if self.backends is not None and backend not in self.backends and backend != SSR.backend:
            self.failures.append(Failure(name, None, lacking(backend)))
            return False
        config = (folder / CONFIG_FILE).read_text(encoding="utf-8")
        kept = tuple(kept_versions(model.config, list(good)))
        if before and (before.config, before.versions) == (config, good):
            return False
        target = self.folder / name
        target.mkdir(exist_ok=True)
        for number in set(before.versions if before else ()) - set(good):
            (target / str(number)).unlink()
        for number in good:
            link = target / str(number)
            if not link.is_symlink():
                link.symlink_to(folder / str(number))
        if before is None or before.config != config:
            replace_file(target / CONFIG_FILE, config.encode())
        self._models[name] = _Linked(config, good, backend == SSR.backend, kept)
        return True

    def _link_foreign(self, model: repo.Model) -> bool:
        before, signature = self._models.get(model.name), _signature(model.path)
        if before and before.versions == {0: signature}:
            return False
        if before is None:
            (self.folder / model.name).symlink_to(model.path)
        kept = tuple(v.number for v in model.kept())
        self._models[model.name] = _Linked(versions={0: signature}, kept=kept)
        return True


def lacking(backend: str) -> str:
    """Why a model of a flavor whose backend this server does not carry is not served."""
    return f"this tritonserver has no {backend} backend; a Triton container has"


def _signature(folder: Path) -> Signature:
    """Names, sizes, inodes and times of a model or version folder's files, two levels deep."""
    entries: list[Signature] = []
    try:
        with os.scandir(folder) as found:
            for entry in found:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    entries.append((entry.name, *_signature(Path(entry.path))))
                else:
                    status = entry.stat()
                    entries.append((entry.name, status.st_size, status.st_ino, status.st_mtime_ns))
    except OSError as error:
        return (folder.name, str(error))
    return (folder.name, *sorted(entries, key=lambda e: str(e[0])))
