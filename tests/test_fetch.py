"""ssr_bundle.fetch against a real HTTP server on the loopback: truncation, refusal, offline."""

from __future__ import annotations

import hashlib
import http.server
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import SHARED, material

from ssr_bundle import fetch as module
from ssr_bundle.fetch import ASSETS, Asset, FetchError, available, cache_dir, fetch

CONTENT = bytes(range(256)) * 1500


class Server(http.server.ThreadingHTTPServer):
    """Serves CONTENT; ``behaviour`` says how badly. ``asked`` counts the requests."""

    behaviour = "good"
    content = CONTENT

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked = 0


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked += 1
        behaviour, content = self.server.behaviour, self.server.content
        if behaviour == "missing":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        cut = behaviour == "truncated" or (behaviour == "truncated-once" and self.server.asked == 1)
        self.wfile.write(content[: len(content) // 2] if cut else content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def own_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty cache, no local folders, no proxy."""
    monkeypatch.setenv("SSR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SSR_SHARED", str(tmp_path / "nothing"))
    monkeypatch.delenv("SSR_WEIGHTS_DIR", raising=False)
    monkeypatch.delenv("SSR_DETECTORS_DIR", raising=False)
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def asset(server: Server, monkeypatch: pytest.MonkeyPatch) -> Asset:
    url = f"http://127.0.0.1:{server.server_port}/x.h5"
    made = Asset("x", "weights", "ssrnet_x.h5", url, hashlib.sha256(CONTENT).hexdigest(), "a test file")
    monkeypatch.setitem(ASSETS, "x", made)
    return made


def test_downloads_into_the_cache_once(server: Server, asset: Asset) -> None:
    seen: list[tuple[int, int | None]] = []
    path = fetch("x", progress=lambda have, total: seen.append((have, total)))
    assert path.read_bytes() == CONTENT
    assert path.parent == cache_dir() / "weights"
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert fetch("x") == path
    assert server.asked == 1
    assert [f.name for f in path.parent.iterdir()] == [asset.file]


def test_out_folder(server: Server, asset: Asset, tmp_path: Path) -> None:
    path = fetch("x", out=tmp_path / "new" / "folder")
    assert path == tmp_path / "new" / "folder" / asset.file
    assert path.read_bytes() == CONTENT
    fetch("x", out=tmp_path / "new" / "folder")
    assert server.asked == 1
    path.write_bytes(b"changed")
    with pytest.raises(FetchError, match=r"ssrnet_x\.h5: sha256 .* not the released 'x'"):
        fetch("x", out=tmp_path / "new" / "folder")


def test_a_truncated_answer_is_asked_for_again(server: Server, asset: Asset) -> None:
    server.behaviour = "truncated-once"
    assert fetch("x").read_bytes() == CONTENT
    assert server.asked == 2


def test_always_truncated_leaves_nothing(server: Server, asset: Asset) -> None:
    server.behaviour = "truncated"
    with pytest.raises(FetchError, match=r"ended .*run the command again"):
        fetch("x")
    assert server.asked == module.ATTEMPTS
    assert list((cache_dir() / "weights").iterdir()) == []
    server.behaviour = "good"
    assert fetch("x").read_bytes() == CONTENT


def test_wrong_content_is_refused(server: Server, asset: Asset) -> None:
    server.content = b"<html>log in to this network</html>"
    with pytest.raises(FetchError, match="what came has sha256"):
        fetch("x")
    assert list((cache_dir() / "weights").iterdir()) == []
    assert server.asked == 1


def test_an_endless_answer_is_cut(server: Server, asset: Asset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGEST", 1 << 17)
    with pytest.raises(FetchError, match="not the released file"):
        fetch("x")


def test_404(server: Server, asset: Asset) -> None:
    server.behaviour = "missing"
    with pytest.raises(FetchError, match=r"answered 404 .*SSR_WEIGHTS_DIR"):
        fetch("x")


def test_refused_connection_is_one_line(asset: Asset, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/x"
        monkeypatch.setitem(ASSETS, "x", Asset("x", "weights", asset.file, url, asset.sha256, ""))
        with pytest.raises(FetchError) as caught:
            fetch("x")
    message = str(caught.value)
    assert "Connection refused" in message
    assert "set SSR_WEIGHTS_DIR" in message
    assert "\n" not in message


def test_a_name_that_does_not_resolve(asset: Asset, monkeypatch: pytest.MonkeyPatch) -> None:
    url = "http://nowhere.invalid/x"
    monkeypatch.setitem(ASSETS, "x", Asset("x", "weights", asset.file, url, asset.sha256, ""))
    with pytest.raises(FetchError, match=r"nowhere\.invalid: .*offline"):
        fetch("x")


@pytest.mark.parametrize("where", ["resolver", "server"])
def test_silence_is_noticed_in_time(where: str, asset: Asset, monkeypatch: pytest.MonkeyPatch) -> None:
    """A resolver that hangs, and a server that accepts and says nothing."""
    monkeypatch.setattr(module, "CONNECT_SECONDS", 0.2)
    monkeypatch.setattr(module, "READ_SECONDS", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/x"
        monkeypatch.setitem(ASSETS, "x", Asset("x", "weights", asset.file, url, asset.sha256, ""))
        if where == "resolver":
            monkeypatch.setattr(socket, "getaddrinfo", lambda *a, **k: time.sleep(3))
        begin = time.monotonic()
        with pytest.raises(FetchError, match="offline"):
            fetch("x")
    assert time.monotonic() - begin < 2


def test_local_folder_first(
    server: Server, asset: Asset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / asset.file).write_bytes(CONTENT)
    monkeypatch.setenv("SSR_WEIGHTS_DIR", str(folder))
    assert fetch("x") == folder / asset.file
    assert fetch("x", out=tmp_path / "out").read_bytes() == CONTENT
    assert server.asked == 0
    assert ("x", "a test file", str(folder / asset.file)) in available()


def test_a_wrong_local_file_is_refused_by_name(
    server: Server, asset: Asset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / asset.file).write_bytes(CONTENT[:-1])
    monkeypatch.setenv("SSR_WEIGHTS_DIR", str(tmp_path))
    with pytest.raises(FetchError, match=r"ssrnet_x\.h5: sha256 .* not the released 'x'"):
        fetch("x")
    assert server.asked == 0


def test_a_folder_variable_that_names_no_folder(asset: Asset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSR_WEIGHTS_DIR", "/nowhere/at/all")
    with pytest.raises(FetchError, match="SSR_WEIGHTS_DIR=/nowhere/at/all: not a folder"):
        fetch("x")


def test_a_damaged_cache_heals(server: Server, asset: Asset) -> None:
    path = fetch("x")
    path.write_bytes(b"torn")
    assert fetch("x").read_bytes() == CONTENT
    assert server.asked == 2


def test_unknown_name() -> None:
    with pytest.raises(FetchError, match="'imbd' is not a released file, expected one of imdb, wiki"):
        fetch("imbd")


def test_shared_material_matches_the_pins(monkeypatch: pytest.MonkeyPatch) -> None:
    material("weights/ssrnet_morph2.h5")
    monkeypatch.setenv("SSR_SHARED", str(SHARED))
    for name in ("morph2", "megaface_asian", "imdb_gender_models", "yunet"):
        assert SHARED in fetch(name).parents


def test_needs_the_standard_library_only() -> None:
    others = ("numpy", "rich", "torch", "pooch", "requests")
    code = f"import sys, ssr_bundle.fetch; print([m for m in {others} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_many_fetch_one_file_at_once(server: Server, asset: Asset) -> None:
    """Workers that start together share one download and all get the file."""
    found: list[Path | Exception] = []

    def work() -> None:
        try:
            found.append(fetch("x"))
        except Exception as error:
            found.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(found) == 6
    assert len(set(found)) == 1, found
    assert isinstance(found[0], Path)
    assert found[0].read_bytes() == CONTENT
    assert [f.name for f in found[0].parent.iterdir()] == [found[0].name]
