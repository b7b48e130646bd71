"""The server's view of a model repository: a generated folder of links to the versions that are good.

The repository itself is only read, so that it may be a read-only mount (where it is none, a model that a
kill left aside gets its name back, see ``repository.model_folders``). config.pbtxt is copied as it
is and a version folder is linked only once it is verified, which pins the good ones exactly as
``version_policy.specific`` would. Not writing that policy has a reason: a changed config.pbtxt makes
Triton re-initialise every version, a new link only the new one.

Beside the versions it has what else the configuration lets a server read in the model's folder: labels, say.

A model that ``ssr-serve`` did not build is one link to its folder, or, where something in that folder would
end the server, a folder of links to the rest. What a model is made of in the view is compared with what lies
there, so that it may become any of the three from any other.

What changes is noticed if a server reads it. A model of the Python backend is a program and may write into
its own folder: of its files the programs count and what the configuration names.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ssr_bundle.disk import remove, replace_file
from triton_repo import config as configuration
from triton_repo import pair
from triton_repo import repository as repo
from triton_repo.config import CONFIG_FILE, kept_versions
from triton_repo.flavors import SSR, flavor_of

Signature = tuple[object, ...]

_DEEPEST, _MOST_ENTRIES = 8, 10_000
"""Levels of folders below a model, and files and folders in it, whose changes are noticed."""

_NUMBER = re.compile(r"\s*([+-]?[0-9]+)")
"""What a tritonserver reads off the beginning of a folder's name as a version."""


@dataclass(frozen=True)
class Failure:
    """What does not serve, and why. ``version`` is None for a model as a whole."""

    model: str
    version: int | None
    reason: str

    def __str__(self) -> str:
        name = self.model if self.version is None else f"{self.model} version {self.version}"
        return f"{name}: {self.reason}"


@dataclass(frozen=True)
class _Linked:
    """A model in the view: what is linked, by name, and its state on disk; ``None``: the folder as a whole.

    ``config``: text of the config.pbtxt beside the links, None where it is linked as well. ``kept``: versions
    that the server is to load, newest first. ``own``: of this project's backend. ``partner``: the model that
    serves the same versions, crops or frames.
    """

    links: Mapping[str, Signature] | None
    kept: tuple[int, ...]
    config: str | None = None
    own: bool = False
    partner: str = ""
    state: Signature = ()

    @property
    def versions(self) -> list[str]:
        return [name for name in self.links or {} if name.isdigit()]


class View:
    """Keeps ``folder`` in step with ``repository``; the caller tells the server what changed.

    ``backends``: those that the server has; a model whose backend is not among them, nor in its own folder,
    is a failure and stays out of the view. None: not known, all are let in.
    """

    def __init__(self, repository: Path, folder: Path, backends: Collection[str] | None = None) -> None:
        self.repository = repository.absolute()
        self.folder = folder
        self.backends = backends
        self.unsettled = False
        """Whether the last update met an error of this machine (a full disk, say), and is to be repeated."""
        self._models: dict[str, _Linked] = {}
        self._failures: dict[str, list[Failure]] = {}
        self._refused: dict[tuple[str, int], tuple[Signature, str]] = {}
        self._followed: set[str] = set()
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def models(self) -> dict[str, tuple[int, ...]]:
        """Models in the view and the versions that the server is to load, newest first."""
        return {name: linked.kept for name, linked in sorted(self._models.items())}

    @property
    def failures(self) -> list[Failure]:
        """What the last update found that cannot be served."""
        return [failure for _, found in sorted(self._failures.items()) for failure in found]

    @property
    def needs_backend(self) -> bool:
        """Whether any model is one of this project's backend."""
        return any(linked.own for linked in self._models.values())

    def signature(self) -> Signature:
        """Changes whenever a file of the repository does that a server reads. Cheap: of the files only a
        config.pbtxt that changed is read."""
        return tuple(_watched(folder) for folder in repo.model_folders(self.repository))

    def update(self) -> tuple[list[str], list[str]]:
        """Verify and link; returns the models to (re)load and those to unload."""
        self.unsettled = False
        folders = {folder.name: folder for folder in repo.model_folders(self.repository)}
        changed = [name for name, folder in folders.items() if self._update_model(folder)]
        for name in set(self._failures) - set(folders):
            del self._failures[name]
        gone = sorted(set(self._models) - set(folders))
        for name in gone:
            remove(self.folder / name)
            del self._models[name]
        return changed, gone

    def refuse(self, model: str, version: int, reason: str) -> bool:
        """Take out a version that the server could not load, until its files change.

        Returns False if it stays: no other good version would be left, the model changed meanwhile, or it is
        not of ``ssr-serve``, which is served as it is.
        """
        linked = self._models[model]
        links = linked.links or {}
        if linked.config is None or str(version) not in links or len(linked.versions) == 1:
            return False
        self._refused[model, version] = (links[str(version)], reason)
        self._update_model(self.repository / model)
        if linked.partner in self._models and self._update_model(self.repository / linked.partner):
            self._followed.add(linked.partner)
        return str(version) not in (self._models[model].links or {})

    def followed(self) -> list[str]:
        """Models that changed since the last call because their partner's version was refused: of a pair
        both serve a version, or neither."""
        found = sorted(self._followed)
        self._followed.clear()
        return found

    def in_order(self, models: Collection[str]) -> list[str]:
        """``models`` as they are to be loaded: of a pair the frame model first, which can fail in more
        ways."""
        return sorted(models, key=lambda name: (not self._is_frame(name), name))

    def _is_frame(self, name: str) -> bool:
        partner = self._models[name].partner if name in self._models else ""
        return partner != "" and partner == pair.crops_model(name)

    def touch(self, model: str) -> bool:
        """Make the server load all of a model anew when it is next told to. False if that cannot be done
        without writing to the repository."""
        if self._models[model].config is None:
            return False
        os.utime(self.folder / model / CONFIG_FILE)
        return True

    def _update_model(self, folder: Path) -> bool:
        """Whether the model changed; whatever goes wrong with it leaves the others alone."""
        try:
            wanted = self._wanted(folder)
            if wanted is None or wanted == self._models.get(folder.name):
                return False
            self._place(folder, wanted)
        except Exception as error:
            self._failures[folder.name] = [Failure(folder.name, None, repo.told(error, folder))]
            self.unsettled = True
            return False
        self._models[folder.name] = wanted
        return True

    def _wanted(self, folder: Path) -> _Linked | None:
        """What is to be in the view of a model; None to leave it as it is, if it is there."""
        name, model = folder.name, repo.read_model(folder)
        failures = [Failure(name, v.number, v.fault) for v in model.versions if v.fault]
        self._failures[name] = failures
        if self._lacks_backend(model):
            failures.append(Failure(name, None, lacking(model.config.backend)))
            return None
        if model.foreign:
            return _foreign(model, failures)
        good: dict[int, Signature] = {}
        partner = _partner(model)
        frame = name if pair.is_frame(model.config) else partner
        detector = self.repository / frame / pair.DETECTOR_FOLDER if frame else None
        seen = () if detector is None else _signature(detector, 1)  # may be what a version was refused for
        for version in model.good:
            signature = (*_signature(version.path, 1), *seen)
            refused = [self._refused.get((each, version.number)) for each in (name, partner)]
            if reasons := [reason for state, reason in filter(None, refused) if state == signature]:
                failures.append(Failure(name, version.number, reasons[0]))
            else:
                good[version.number] = signature
        if not good:
            # What serves already stays: a repository that went bad must not stop a running server.
            failures.append(Failure(name, None, model.fault or "no good version to serve"))
            return None
        links = {str(number): signature for number, signature in good.items()}
        links |= _beside(model)
        kept = tuple(kept_versions(model.config, list(good)))
        return _Linked(links, kept, model.text, own=flavor_of(model.config) is SSR, partner=partner)

    def _lacks_backend(self, model: repo.Model) -> bool:
        """Whether neither the server nor the model's folder has its backend; ours comes with this program."""
        config = model.config
        if self.backends is None or config is None or not config.backend or flavor_of(config) is SSR:
            return False
        folders = [model.path, *(version.path for version in model.versions)]
        own = any((folder / configuration.own_backend(config)).exists() for folder in folders)
        return not (own or config.runtime or config.backend in self.backends)

    def _place(self, folder: Path, wanted: _Linked) -> None:
        """Bring what lies in the view in step with ``wanted``, whatever it was before."""
        target = self.folder / folder.name
        if wanted.links is None:
            if not target.is_symlink():
                remove(target)
                target.symlink_to(folder)
            return
        if target.is_symlink():
            target.unlink()
        target.mkdir(exist_ok=True)
        config = target / CONFIG_FILE
        names = {*wanted.links, *([CONFIG_FILE] if wanted.config is not None else [])}
        for entry in list(target.iterdir()):
            if entry.name not in names:
                remove(entry)
        for name in wanted.links:
            link = _entry(target, name)
            if not link.is_symlink():
                remove(link)
                link.symlink_to(folder / name)
        if wanted.config is not None:
            content = wanted.config.encode()
            if config.is_symlink() or not config.exists() or config.read_bytes() != content:
                replace_file(config, content)


def lacking(backend: str) -> str:
    """Why a model whose backend this server does not carry is not served."""
    return f"this tritonserver has no {backend} backend; a Triton container has"


def _beside(model: repo.Model) -> dict[str, Signature]:
    """What else of a model of ours a server or its backend reads, and its state; no version, good or not."""
    paths = (path.lstrip("/") for path in configuration.files_beside(model.config))
    names = {pair.DETECTOR_FOLDER, *(path.partition("/")[0] for path in paths)} - {"", CONFIG_FILE}
    found = {}
    for name in names:
        entry = model.path / name
        if entry.is_dir() and not name.startswith(".") and not _NUMBER.match(name):
            found[name] = _signature(entry, 1)
        elif entry.is_file():
            found[name] = _state(entry)
    return found


def _entry(folder: Path, name: str) -> Path:
    """``name`` in ``folder``, and nowhere else: what is at that path may be removed. A name comes from a
    configuration, which may say ``/`` or ``..``."""
    if name in ("", ".", "..") or "/" in name:
        raise ValueError(f"{name!r} is no name of a file in {folder}")
    return folder / name


def _partner(model: repo.Model) -> str:
    """The other model of the pair, if this one is of a pair."""
    folder = None if model.config is None else pair.partner_folder(model.path, model.config)
    return "" if folder is None else folder.name


def _foreign(model: repo.Model, failures: list[Failure]) -> _Linked:
    """A model as it is, without the folders that would end the server; those that are no version of it are
    told as failures of the model."""
    names = [entry.name for entry in model.path.iterdir()]
    fatal = {name for name in names if _ends_the_server(name)}
    for name in sorted(fatal - {str(version.number) for version in model.versions}):
        told = f"{str(model.path / name)!r}: no version, and would end a tritonserver, so it is kept from it"
        failures.append(Failure(model.name, None, told))
    kept = tuple(version.number for version in model.kept())
    state = _watched(model.path)
    return _Linked(dict.fromkeys(set(names) - fatal, ()) if fatal else None, kept, state=state)


def _ends_the_server(name: str) -> bool:
    """Whether a tritonserver that takes ``name`` for a version ends: it reads a number off its beginning, and
    does not catch that it is out of range."""
    number = _NUMBER.match(name)
    if number is None or (name.startswith("0") and len(name) > 1):
        return False
    return not -repo.LARGEST_VERSION - 1 <= int(number[1]) <= repo.LARGEST_VERSION


def _watched(model: Path) -> Signature:
    """Changes whenever a file in the model's folder does that a server reads."""
    config = model / CONFIG_FILE
    only = _read_by_program(config, _state(config))
    with suppress(OSError):  # it is just going
        found = repo.version_folders(model).values()
        if not config.exists() and any((version / "model.py").exists() for version in found):
            only = frozenset()  # without a configuration the server goes by that
    return _signature(model, only=only)


@lru_cache(maxsize=4096)
def _read_by_program(config: Path, state: Signature) -> frozenset[str] | None:
    """What a server reads of a model that is a program, beside the programs; None if it is none, or its
    ``config`` cannot be read. That is read once for each ``state`` of it."""
    try:
        parsed = configuration.read(config.parent)
    except Exception:  # whatever it holds, it is told as a fault of the model
        return None
    if parsed.backend != configuration.PYTHON:
        return None
    environment = configuration.parameter(parsed, "EXECUTION_ENV_PATH")
    files = {CONFIG_FILE, parsed.default_model_filename, *configuration.files_beside(parsed)}
    return frozenset(files | {environment.removeprefix("$$TRITON_MODEL_DIRECTORY/")})


def _signature(folder: Path, level: int = 0, only: Collection[str] | None = None) -> Signature:
    """Names, sizes, inodes and times of the files in a model's folder, or with ``level`` 1 in a version's.

    ``only``: of the files those that are so called, or lie so below the folder, and programs.
    """
    states = itertools.islice(_states(folder, level, only), _MOST_ENTRIES)
    return (folder.name, *filter(None, states))


def _states(folder: Path, level: int, only: Collection[str] | None, above: str = "") -> Iterator[Signature]:
    """Links are followed, but for those to folders below a version: these may lead in circles. Empty for what
    does not count."""
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        yield (str(error),)
        return
    for entry in entries:
        name, path = entry.name, above + entry.name
        if name.startswith(".") or name == "__pycache__":
            continue
        try:
            is_folder = entry.is_dir()
            if is_folder and (level == 0 or not entry.is_symlink()):
                yield (name,) if only is None or (level == 0 and _NUMBER.match(name)) else ()
                if level < _DEEPEST:
                    yield from _states(Path(entry.path), level + 1, only, f"{path}/")
            elif only is None or {name, path} & {*only} or name.endswith(".py"):
                yield _told(name, entry.stat(follow_symlinks=not is_folder))
            else:
                yield ()
        except OSError as error:  # a link that leads nowhere
            yield (name, str(error))


def _state(path: Path) -> Signature:
    try:
        return _told(path.name, path.stat())
    except OSError as error:
        return (path.name, str(error))


def _told(name: str, status: os.stat_result) -> Signature:
    return (name, status.st_size, status.st_ino, status.st_mtime_ns)
