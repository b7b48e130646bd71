"""Shared fixtures: the material that lies beside a development checkout, and bundles made from it."""

from __future__ import annotations

import dataclasses
import errno
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from triton_repo.server import Server
    from triton_repo.tritonserver import TritonServer

ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("SSR_SHARED", ROOT.parent / "shared"))
# A shell ignores Ctrl-C for what it runs in the background, and so would every program started here.
signal.signal(signal.SIGINT, signal.default_int_handler)

RELEASED = ("morph2", "megaface_asian", "imdb_gender_models")


def pytest_collection_finish(session: pytest.Session) -> None:
    """What takes minutes to compile begins now, beside the tests that come before."""
    if session.config.option.collectonly or not any(
        i.path.name == "test_native_cpp.py" for i in session.items
    ):
        return
    from native_programs import RACING, SANITIZED, build_ahead

    build_ahead(SANITIZED, RACING)


def pytest_sessionfinish() -> None:
    if programs := sys.modules.get("native_programs"):
        programs.stop_building()


def until(condition: Callable[[], object], seconds: float = 30) -> None:
    """Wait for what comes about in another thread or process; a failure if it does not."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"did not come about within {seconds} s"
        time.sleep(0.02)


@pytest.fixture(autouse=True)
def signals_as_before() -> Iterator[None]:
    """A command that a test runs in this process takes signals its own way, which others must not meet."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def unwritable(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let nothing be made in ``folder`` by ``tempfile``, for root as well."""
    made = tempfile.TemporaryFile

    def make(*arguments: Any, dir: Path, **keywords: Any) -> Any:
        if dir == folder:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(dir))
        return made(*arguments, dir=dir, **keywords)

    monkeypatch.setattr(tempfile, "TemporaryFile", make)


def material(relative: str) -> Path:
    """A file of the shared test material, or skip the test with the reason."""
    path = SHARED / relative
    if not path.exists():
        pytest.skip(f"test material {relative} is not here (SSR_SHARED={SHARED})")
    return path


@pytest.fixture(scope="session", params=RELEASED)
def released_bundle(request: pytest.FixtureRequest, released: ReleasedBundles) -> Path:
    """Each released weight file in turn, imported as a bundle."""
    return released(request.param)


@pytest.fixture(scope="session")
def morph2_bundle(released: ReleasedBundles) -> Path:
    return released("morph2")


class ReleasedBundles:
    """Imports a released weight file once per session: ``released("morph2")`` is a bundle's path."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, name: str) -> Path:
        from ssr_ops.golden import write_bundle
        from ssr_train.keras_import import import_keras

        path = self.folder / name
        if not path.exists():
            write_bundle(path, *import_keras(material(f"weights/ssrnet_{name}.h5")))
        return path


@pytest.fixture(scope="session")
def released(tmp_path_factory: pytest.TempPathFactory) -> ReleasedBundles:
    return ReleasedBundles(tmp_path_factory.mktemp("released"))


@pytest.fixture(scope="session")
def tritonserver() -> TritonServer:
    """The stock server (TRITONSERVER, PATH, else the pinned wheel), or a skip with the reason."""
    from triton_repo.tritonserver import TritonServerError, find

    try:
        found = find()
        found.works()
    except TritonServerError as error:
        pytest.skip(f"no tritonserver: {error}")
    return found


class Serve:
    """``serve({"ssrnet": bundle}, instances=2)`` is a running server over those bundles.

    Keywords are fields of ``triton_repo.config.Options`` or arguments of ``triton_repo.server.Server``.
    Equal calls within a session give the same server, so tests must leave it as they found it; all are
    stopped at the end of the session.
    """

    def __init__(self, folder: Path, tritonserver: TritonServer) -> None:
        self._folder = folder
        self._tritonserver = tritonserver
        self._servers: dict[str, Server] = {}

    def __call__(self, bundles: Mapping[str, str | os.PathLike[str]], **keywords: Any) -> Server:
        from triton_repo.config import Options
        from triton_repo.repository import build
        from triton_repo.server import Server

        key = repr((sorted((n, os.fspath(p)) for n, p in bundles.items()), sorted(keywords.items())))
        if key not in self._servers:
            names = {field.name for field in dataclasses.fields(Options)}
            options = Options(**{k: v for k, v in keywords.items() if k in names})
            repository = self._folder / str(len(self._servers))
            build(list(bundles.items()), repository, options)
            arguments = {k: v for k, v in keywords.items() if k not in names}
            server = Server(repository, tritonserver=self._tritonserver, **arguments)
            self._servers[key] = server.start()
        return self._servers[key]

    def stop(self) -> None:
        for server in self._servers.values():
            server.stop()


@pytest.fixture(scope="session")
def serve(tmp_path_factory: pytest.TempPathFactory, tritonserver: TritonServer) -> Iterator[Serve]:
    """Starts real servers, see :class:`Serve`."""
    started = Serve(tmp_path_factory.mktemp("served"), tritonserver)
    try:
        yield started
    finally:
        started.stop()
