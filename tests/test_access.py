"""Who may change a server: strangers on its machine, its user's other commands, an operator's own keys."""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tritonclient.grpc as grpcclient
from conftest import ROOT, Serve
from tritonclient.utils import InferenceServerException
from typer.testing import CliRunner

from ssr_bundle.errors import SsrError
from ssr_ops.shipped import default_bundle
from triton_repo import access, cli, keyfile, ports, process, repository
from triton_repo import tritonserver as finder
from triton_repo.control import Control
from triton_repo.server import Server
from triton_repo.tritonserver import TritonServer

KEY, OVER_GRPC = access.KEY_HEADER, f"triton-grpc-protocol-{access.KEY_HEADER}"
MODEL = "ssrnet"


@pytest.fixture(scope="module")
def server(serve: Serve) -> Server:
    return serve({MODEL: default_bundle()}, watch=False)


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    repository.build([(MODEL, default_bundle())], tmp_path / "repo")
    return tmp_path / "repo"


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A runtime folder of its own, as a session of a desktop has."""
    folder = tmp_path / "runtime"
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    return folder / "ssr-serve"


def posted(url: str, path: str, body: str = "{}", **headers: str) -> int:
    """Status of a POST as any web page may have a browser send it: ``text/plain``."""
    connection = http.client.HTTPConnection(url, timeout=10)
    connection.request("POST", path, body, {"Content-Type": "text/plain", **headers})
    status = connection.getresponse().status
    connection.close()
    return status


# -- strangers -----------------------------------------------------------------------------------


UPLOAD = json.dumps({"parameters": {"config": "{}", "file:7/contract.json": "e30="}})


@pytest.mark.server
@pytest.mark.parametrize(
    ("path", "body"),
    [
        (f"/v2/repository/models/{MODEL}/unload", "{}"),
        (f"/v2/repository/models/{MODEL}/load", UPLOAD),
        ("/v2/repository/index", "{}"),
        ("/v2/logging", '{"log_file": "/tmp/anywhere"}'),
        ("/v2/trace/setting", '{"trace_file": "/tmp/anywhere"}'),
        (f"/v2/models/{MODEL}/trace/setting", '{"trace_rate": "1"}'),
        ("/v2/systemsharedmemory/region/r/register", '{"key": "/k", "offset": 0, "byte_size": 1}'),
        ("/v2/systemsharedmemory/unregister", "{}"),
        ("/v2/cudasharedmemory/unregister", "{}"),
    ],
)
def test_a_stranger_over_http(server: Server, path: str, body: str) -> None:
    assert posted(server.http_url, path, body) == 403
    assert posted(server.http_url, path, body, **{KEY: "0" * 48}) == 403
    assert Control(server.http_url).ready(MODEL)


STRANGE: list[Callable[[Any], object]] = [
    lambda raw: raw.unload_model(MODEL),
    lambda raw: raw.load_model(MODEL),
    lambda raw: raw.get_model_repository_index(),
    lambda raw: raw.update_log_settings({"log_verbose_level": 9}),
    lambda raw: raw.update_trace_settings(settings={"trace_rate": "1"}),
    lambda raw: raw.get_system_shared_memory_status(),
    lambda raw: raw.register_system_shared_memory("r", "/k", 1),
    lambda raw: raw.unregister_system_shared_memory(),
    lambda raw: raw.get_cuda_shared_memory_status(),
    lambda raw: raw.unregister_cuda_shared_memory(),
]


@pytest.mark.server
@pytest.mark.parametrize("ask", STRANGE)
def test_a_stranger_over_grpc(server: Server, ask: Callable[[Any], object]) -> None:
    with grpcclient.InferenceServerClient(server.grpc_url) as raw:
        with pytest.raises(InferenceServerException, match="restricted"):
            ask(raw)
        assert raw.is_model_ready(MODEL)


@pytest.mark.server
def test_clients_are_let_in(server: Server) -> None:
    """To what they need: the configuration, whether a model is ready, statistics."""
    with grpcclient.InferenceServerClient(server.grpc_url) as raw:
        assert raw.get_model_config(MODEL).config.name == MODEL
        assert raw.get_inference_statistics(MODEL).model_stats
        assert raw.get_server_metadata().version
    assert Control(server.http_url, headers={KEY: ""}).config(MODEL)["name"] == MODEL


@pytest.mark.server
def test_open_and_shared_memory_by_options(repo: Path, tritonserver: TritonServer) -> None:
    """Each lifts its own restriction and not the other's."""
    with Server(repo, tritonserver=tritonserver, watch=False, open=True) as server:
        assert posted(server.http_url, "/v2/repository/index") == 200
        assert posted(server.http_url, "/v2/logging") == 200
        assert posted(server.http_url, "/v2/systemsharedmemory/unregister") == 403
        assert server._key_file is None
        with grpcclient.InferenceServerClient(server.grpc_url) as raw:
            raw.load_model(MODEL)
            with pytest.raises(InferenceServerException, match="restricted"):
                raw.get_system_shared_memory_status()
    with Server(repo, tritonserver=tritonserver, watch=False, shared_memory=True) as server:
        assert posted(server.http_url, "/v2/systemsharedmemory/unregister") == 200
        assert posted(server.http_url, "/v2/repository/index") == 403


def newer(folder: Path, tritonserver: TritonServer) -> TritonServer:
    """The same server with the option of current ones: without it, shared memory would be off."""
    binary = folder / "server" / "bin" / "tritonserver"
    binary.parent.mkdir(parents=True)
    (binary.parent.parent / "backends").symlink_to(tritonserver.root / "backends")
    libraries = tritonserver.environment().get("LD_LIBRARY_PATH", "")
    binary.write_text(
        f"""#!{sys.executable}
import os, sys
option = "--allow-client-shm"
if "--help" in sys.argv:
    print("  " + option + " <boolean>")
open({str(folder / "given")!r}, "w").write("\\n".join(a for a in sys.argv if a.startswith(option)))
os.environ["LD_LIBRARY_PATH"] = {libraries!r}
os.execv({str(tritonserver.binary)!r}, [a for a in sys.argv if not a.startswith(option)])
"""
    )
    binary.chmod(0o755)
    return TritonServer(binary, "test")


@pytest.mark.server
@pytest.mark.parametrize(("asked", "given"), [(True, "--allow-client-shm=true"), (False, "")])
def test_the_option_of_newer_servers(
    repo: Path, tmp_path: Path, tritonserver: TritonServer, asked: bool, given: str
) -> None:
    current = newer(tmp_path, tritonserver)
    events: list[str] = []
    arguments = {"shared_memory": asked, "on_event": events.append}
    with Server(repo, tritonserver=current, watch=False, **arguments) as server:  # type: ignore[arg-type]
        # The script passes its arguments on in the open.
        assert [e for e in events if "stand in its command line, for every local user to read" in e]
        assert (tmp_path / "given").read_text() == given
        assert posted(server.http_url, "/v2/systemsharedmemory/unregister") == (200 if asked else 403)
    assert not tritonserver.knows("allow-client-shm")
    assert tritonserver.knows("http-restricted-api")


# -- the key -------------------------------------------------------------------------------------


def command_line(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", "\n")


@pytest.mark.server
def test_the_key_is_not_in_the_process_list(repo: Path, tritonserver: TritonServer) -> None:
    """Not at any moment: the whole start is looked at, and an operator's own key is hidden as well."""
    own = ["--grpc-restricted-protocol", "statistics:mine=of-the-operator"]
    seen: list[str] = []

    class Watching(Server):
        def _own(self, command: Any, started: Any) -> None:
            import threading

            stop = threading.Event()

            def look() -> None:
                while not stop.is_set():
                    for child in Path(f"/proc/{os.getpid()}/task").glob("*/children"):
                        for pid in child.read_text().split():
                            try:
                                seen.append(command_line(int(pid)))
                            except OSError:
                                continue

            watcher = threading.Thread(target=look)
            watcher.start()
            started.add_done_callback(lambda _: threading.Timer(0.5, stop.set).start())
            super()._own(command, started)
            stop.set()
            watcher.join()

    with Watching(repo, tritonserver=tritonserver, watch=False, arguments=own) as server:
        key = server._access.key
        assert key is not None
        shown = command_line(server.pid)
        assert shown.count("(hidden)") == 5
        assert "--model-control-mode=explicit" in shown
        mode = Path(f"/proc/{server.pid}/environ").stat().st_mode
        assert mode & 0o077 == 0
        with grpcclient.InferenceServerClient(server.grpc_url) as raw:
            with pytest.raises(InferenceServerException, match="restricted"):
                raw.get_inference_statistics()
            raw.get_inference_statistics(headers={"triton-grpc-protocol-mine": "of-the-operator"})
            raw.get_model_repository_index(headers={OVER_GRPC: key})
    starting = [line for line in seen if "tritonserver" in line]
    assert len(starting) > 10
    assert not [line for line in starting if key in line or "of-the-operator" in line]


@pytest.mark.server
def test_where_a_child_cannot_be_stopped(
    repo: Path, tritonserver: TritonServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in some containers: the server is as closed, and one line says what can be seen."""
    monkeypatch.setattr(process, "_GUARD", process._GUARD.replace("libc.ptrace(0, 0, None, None)", "-1"))
    events: list[str] = []
    with Server(repo, tritonserver=tritonserver, watch=False, on_event=events.append) as server:
        assert posted(server.http_url, "/v2/repository/index") == 403
        assert server.served
    assert len(events) == 1
    assert "the server's keys stand in its command line" in events[0]


@pytest.mark.server
def test_the_key_lies_where_only_its_user_finds_it(
    repo: Path, tritonserver: TritonServer, runtime: Path
) -> None:
    with Server(repo, tritonserver=tritonserver) as server:
        port = server.http_url.rsplit(":", 1)[1]
        (path,) = runtime.iterdir()
        assert path.name == f"{port}.key"
        assert path.stat().st_mode & 0o777 == 0o600
        assert runtime.stat().st_mode & 0o777 == 0o700
        assert path.read_text() == f"{server._access.key}\n"
        assert not [p for p in repo.rglob("*") if p.is_file() and path.read_bytes().strip() in p.read_bytes()]
        given = ["--repo", str(repo), "--url", f"localhost:{port}"]
        for arguments in (["publish", "default"], ["rollback", MODEL], ["versions"]):
            done = CliRunner().invoke(cli.app, [*arguments, *given])
            assert done.exit_code == 0, done.output
            assert "serves at" in done.output or "serving" in done.output
        path.unlink()
        with pytest.raises(SsrError, match=r"expecting header 'ssr-serve-key': its key lies with the user"):
            Control(server.http_url).index()
        again = keyfile.write(int(port), "of another server by now").path
    assert again.read_text() == "of another server by now\n"


@pytest.mark.server
def test_no_runtime_folder(
    repo: Path, tritonserver: TritonServer, runtime: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """In the temporary directory then; where a stranger's folder stands in the way, the server serves on."""
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    folder = tmp_path / f"ssr-serve.{os.getuid()}"
    with Server(repo, tritonserver=tritonserver, watch=False) as server:
        assert [p.suffix for p in folder.iterdir()] == [".key"]
        assert folder.stat().st_mode & 0o777 == 0o700
        assert Control(server.http_url).index()
    assert list(folder.iterdir()) == []
    folder.chmod(0o755)
    events: list[str] = []
    with Server(repo, tritonserver=tritonserver, watch=False, on_event=events.append) as server:
        assert server.control.index()
    assert len(events) == 1
    assert "no command with --url will find this server's key" in events[0]
    folder.rmdir()
    folder.symlink_to(runtime.parent)
    with pytest.raises(PermissionError):
        keyfile.write(1, "key")


def test_the_key_goes_to_this_machine_only(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = keyfile.write(18000, "secret").path
    for host in ("localhost", "127.0.0.1", "127.0.0.9", *(["::1"] if socket.has_dualstack_ipv6() else [])):
        assert keyfile.find(host, 18000) == "secret"
    for host in ("192.0.2.1", "no.such.name.invalid", "a..b"):
        assert keyfile.find(host, 18000) is None
    assert keyfile.find("localhost", 18001) is None
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))  # as a job without a session
    assert keyfile.find("localhost", 18000) is None
    older = keyfile.write(18000, "newer").path
    assert older != path
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime.parent))
    assert keyfile.find("localhost", 18000) == "secret"


def test_a_key_file_that_is_none(runtime: Path, tmp_path: Path) -> None:
    path = keyfile.write(18000, "secret").path
    path.unlink()
    os.mkfifo(path)
    assert keyfile.find("localhost", 18000) is None
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").write_text("secret")
    assert keyfile.find("localhost", 18000) is None
    runtime.chmod(0o755)
    path.unlink()
    path.write_text("secret")
    assert keyfile.find("localhost", 18000) is None


def test_the_key_of_a_killed_server_is_removed_by_the_next(runtime: Path) -> None:
    """A living one's stays."""
    kill = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    write = f"from triton_repo import keyfile; keyfile.write(18000, 'killed'); {kill}"
    subprocess.run([sys.executable, "-c", write], check=False)
    assert [path.name for path in runtime.iterdir()] == ["18000.key"]
    living = keyfile.write(18001, "living")
    (runtime / ".tmp-18002.key-abcdefgh").write_text("half")
    last = keyfile.write(18002, "last")
    assert sorted(path.name for path in runtime.iterdir()) == ["18001.key", "18002.key"]
    living.remove()
    last.remove()
    assert list(runtime.iterdir()) == []


# -- an operator's own keys ----------------------------------------------------------------------


def test_what_is_restricted_beside_an_operators_keys() -> None:
    def apis(*given: str, **how: bool) -> dict[str, list[str]]:
        made = access.restrict(given, **how).arguments
        found: dict[str, list[str]] = {"http": [], "grpc": []}
        for option in made:
            found[option[2:6]].append(option.partition("=")[2].partition(":")[0])
        return found

    everything = ["model-repository,trace,logging", "shared-memory"]
    assert apis() == {"http": everything, "grpc": everything}
    assert apis(open_to_all=True) == {"http": ["shared-memory"], "grpc": ["shared-memory"]}
    assert apis(open_to_all=True, shared_memory=True) == {"http": [], "grpc": []}
    own = "model-repository,shared-memory,statistics:admin=s"
    for given in (
        [f"--http-restricted-api={own}"],
        ["--http-restricted-api", own],
        [f"--http-restricted={own}"],
        [f"--http-restricted-api={own}", "--log-info=false"],
    ):
        assert apis(*given) == {"http": ["trace,logging"], "grpc": everything}
        assert access.restrict(given).headers["admin"] == "s"
    every = "--grpc-restricted-protocol=trace,logging:a=b"
    assert apis(every, "--grpc-restricted-protocol=model-repository:c=d")["grpc"] == ["shared-memory"]


@pytest.mark.server
def test_an_operators_key_on_one_protocol(repo: Path, tritonserver: TritonServer) -> None:
    given = ["--http-restricted-api=model-repository,shared-memory:admin=secret"]
    with Server(repo, tritonserver=tritonserver, watch=False, arguments=given) as server:
        assert posted(server.http_url, "/v2/repository/index", admin="secret") == 200
        assert posted(server.http_url, "/v2/systemsharedmemory/unregister", admin="secret") == 200
        assert posted(server.http_url, "/v2/logging", admin="secret") == 403
        assert posted(server.http_url, "/v2/logging", **{KEY: str(server._access.key)}) == 200
        with grpcclient.InferenceServerClient(server.grpc_url) as raw:
            with pytest.raises(InferenceServerException, match=OVER_GRPC):
                raw.get_model_repository_index()
            with pytest.raises(InferenceServerException, match="ssr-serve-off"):
                raw.get_system_shared_memory_status()


@pytest.mark.parametrize(
    "option", ["--http-por=1", "--allow-client-shm=true", "--allow-sagemaker=true", "--i=x", "--model-store"]
)
def test_the_beginning_of_an_option_that_is_set_here(repo: Path, option: str) -> None:
    with pytest.raises(SsrError, match=f"{option}: ssr-serve sets this option itself"):
        Server(repo, arguments=[option])


# -- beyond loopback ---------------------------------------------------------------------------


@pytest.mark.server
def test_an_old_server_beyond_loopback_is_told(
    repo: Path, tritonserver: TritonServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And no variable of the environment opens a further port on all addresses."""
    monkeypatch.setenv("AIP_MODE", "PREDICTION")
    monkeypatch.setenv("AIP_HTTP_PORT", "0")
    metadata = Control.metadata
    for host, version, told in (
        ("0.0.0.0", "2.51.0", " is for development and tests only and"),
        ("localhost", "2.51.0", None),
        ("0.0.0.0", "2.70.0", ""),
        ("0.0.0.0", "2.71.0", None),
    ):
        events: list[str] = []
        given: dict[str, Any] = {"tritonserver": tritonserver, "watch": False, "startup_timeout": 20}
        with monkeypatch.context() as patch:
            patch.setattr(Control, "metadata", lambda self, v=version: {**metadata(self), "version": v})
            # It listens on loopback only: what is told depends on what was asked for.
            patch.setattr(Server, "_launch", _on_loopback(Server._launch))
            with Server(repo, host=host, on_event=events.append, **given):
                pass
        assert [e.partition(" has published holes")[0] for e in events] == (
            [] if told is None else [f"tritonserver {version} on {host}{told}"]
        )


def _on_loopback(launch: Any) -> Any:
    def run(self: Server, chosen: Any, backends: Path) -> bool:
        host, self.host = self.host, "127.0.0.1"
        try:
            return bool(launch(self, chosen, backends))
        finally:
            self.host = host

    return run


@pytest.mark.parametrize(
    ("version", "unsafe"),
    [
        ("2.51.0", True),
        ("2.70.3", True),
        ("2.71.0", False),
        ("2.75.0dev", False),
        ("3.0", False),
        ("?", False),
    ],
)
def test_versions_that_strangers_must_not_reach(version: str, unsafe: bool) -> None:
    assert finder.is_unsafe(version) is unsafe


def test_the_container_that_is_recommended_is_a_safe_one() -> None:
    """One release, in the Dockerfile and in every example of its page."""
    text = "".join((ROOT / name).read_text() for name in ("deploy/Dockerfile", "docs/deploy.md"))
    releases = set(re.findall(r"(?:TRITON_RELEASE=|tritonserver:|ssr-serve:)([0-9.]+)", text))
    assert len(releases) == 1
    assert releases.pop() >= finder.SAFE_RELEASE


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        *[(host, True) for host in ("127.0.0.1", "127.8.8.8", "localhost", "::1")],
        *[(host, False) for host in ("0.0.0.0", "::", "192.0.2.1", "no.such.name.invalid")],
    ],
)
def test_what_loopback_is(host: str, expected: bool) -> None:
    assert ports.is_loopback(host) is expected


# -- starting a program --------------------------------------------------------------------------


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Any]:
    with (tmp_path / "log").open("wb") as stream:
        yield stream


def test_hidden_arguments_reach_the_program(tmp_path: Path, log: Any) -> None:
    code = "import sys; print(sys.argv[1:], open('/proc/self/cmdline').read().split(chr(0))[3:-1])"
    given = ["plain", "--first=" + "x" * 5000, "", "ünïcode=2"]
    command = [sys.executable, "-c", code, *given]
    child = process.start_hidden(command, [4, 5, 6], log, os.environ)
    assert child.wait(20) == 0
    shown = ["plain", "(hidden)", "(hidden)", "(hidden)"]
    assert (tmp_path / "log").read_text() == f"{given} {shown}\n"


def test_a_program_that_is_none(tmp_path: Path, log: Any) -> None:
    """It ended before anything could be hidden; that is told by its status."""
    child = process.start_hidden([str(tmp_path / "none"), "key"], [1], log, os.environ)
    assert child.wait(20) == 1
    assert "FileNotFoundError" in (tmp_path / "log").read_text()
