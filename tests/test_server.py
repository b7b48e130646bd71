"""A real tritonserver: starting, reloading, publishing under load, stopping, and what can go wrong."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as grpcclient
from background import Background, alive
from bundle_faults import broken_byte, broken_model, changed_weights
from conftest import until
from ssr_client import AgeClient
from tritonclient.utils import InferenceServerException
from typer.testing import CliRunner

import ssr_ops
from ssr_bundle.bundle import Bundle, read_bundle
from ssr_bundle.errors import SsrError
from ssr_bundle.scratch import remove_abandoned
from ssr_ops.precision import AUTO
from ssr_ops.shipped import default_bundle
from triton_repo import cli, process, repository
from triton_repo import tritonserver as finder
from triton_repo.config import Options
from triton_repo.control import Control, ControlError
from triton_repo.flavors import SSR
from triton_repo.ports import PortError, choose
from triton_repo.server import Server
from triton_repo.tritonserver import TritonServer
from triton_repo.versions import list_versions

IMAGES = np.random.default_rng(5).integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)


def ask(
    client: Any, images: Any = IMAGES, model: str = "ssrnet", output: str = "age"
) -> tuple[Any, str, str]:
    """Answers (N,), the version that gave them, and the weights' hash."""
    tensor = grpcclient.InferInput("image", list(images.shape), "UINT8")
    tensor.set_data_from_numpy(images)
    result = client.infer(model, [tensor], client_timeout=20)
    response = result.get_response()
    return (
        result.as_numpy("age")[:, 0],
        response.model_version,
        response.parameters["weights_sha256"].string_param,
    )


@contextmanager
def client_of(server: Server) -> Iterator[Any]:
    with grpcclient.InferenceServerClient(server.grpc_url) as client:
        yield client


def snapshot(folder: Path) -> list[tuple[str, int, int]]:
    return sorted((str(p), p.lstat().st_mtime_ns, p.lstat().st_mode) for p in [folder, *folder.rglob("*")])


@pytest.fixture(scope="session")
def bundle() -> Bundle:
    return read_bundle(default_bundle())


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """One model of the shipped bundle."""
    options = Options(max_batch=16)
    repository.build([("ssrnet", default_bundle())], tmp_path / "repo", options)
    return tmp_path / "repo"


class Hammer(Background):
    """Clients that ask without a pause; every answer and every error is kept."""

    def __init__(self, server: Server, threads: int = 2) -> None:
        self.answers: list[tuple[bytes, str, str]] = []
        self.errors: list[BaseException] = []
        self._server = server
        super().__init__([self._work] * threads)

    def _work(self) -> None:
        with client_of(self._server) as client:
            while not self._stop.is_set():
                try:
                    ages, version, weights = ask(client)
                    self.answers.append((ages.tobytes(), version, weights))
                except InferenceServerException as error:
                    self.errors.append(error)

    def sees(self, version: int) -> None:
        """Wait until a request that starts now is answered by this version."""
        start = len(self.answers)
        until(lambda: any(v == str(version) for _, v, _ in self.answers[start:]))


# -- starting ------------------------------------------------------------------------------------


@pytest.mark.server
def test_served_bits_are_the_engines(serve: Any) -> None:
    server = serve({"ssrnet": default_bundle()})
    with client_of(server) as client:
        ages, version, weights = ask(client)
    engine = ssr_ops.Engine(default_bundle())
    assert ages.tobytes() == engine.predict(IMAGES).tobytes()
    assert (version, weights) == ("1", engine.weights_sha256)
    assert server.failures == []
    metrics = urllib.request.urlopen(server.metrics_url, timeout=10).read().decode()
    assert 'nv_inference_request_success{model="ssrnet"' in metrics


@pytest.mark.server
def test_served_bits_in_each_precision(tmp_path: Path, tritonserver: TritonServer) -> None:
    """And a response says what computed it; clients of mixed sizes, merged, get the same bits. What auto is
    here, and that a precision is slower than fp32, stands in the log."""
    choice = ssr_ops.choose_precision(default_bundle())
    repo = tmp_path / "repo"
    for precision in SSR.precisions:
        repository.build([(precision, default_bundle())], repo, Options(precision=precision, instances=2))
    with Server(repo, tritonserver=tritonserver, watch=False) as server:
        for precision in SSR.precisions:
            engine = ssr_ops.Engine(default_bundle(), precision=precision)
            assert engine.precision == (choice.precision if precision == AUTO else precision)
            expected = engine.predict(IMAGES)
            with AgeClient(server.grpc_url, precision) as client, ThreadPoolExecutor(8) as pool:
                asked = [pool.submit(client.predict, IMAGES[: 1 + k % 4]) for k in range(40)]
                for answer in (one.result() for one in asked):
                    assert answer.tobytes() == expected[: len(answer)].tobytes()
                assert client.last is not None
                assert client.last.engine == f"{engine.precision} {engine.implementation}"
            assert server.control.config(precision)["parameters"]["precision"]["string_value"] == precision
            if engine.precision != "fp32":
                assert not np.array_equal(expected, ssr_ops.Engine(default_bundle()).predict(IMAGES))
        log = Path(server.log).read_text()
    assert f"auto version 1: precision auto is {choice.precision}: {choice.reason}" in log
    for precision, line in choice.slower.items():
        assert f"{precision} version 1: {line}" in log


@pytest.mark.server
def test_a_burst_does_not_stall(serve: Any) -> None:
    """Many requests in flight on one instance: no batch waits for the batcher's half-second poll."""
    server = serve({"ssrnet": default_bundle()})
    answers: list[Any] = []
    with client_of(server) as client:
        tensor = grpcclient.InferInput("image", list(IMAGES.shape), "UINT8")
        tensor.set_data_from_numpy(IMAGES)
        for _ in range(60):
            client.async_infer("ssrnet", [tensor], lambda result, error: answers.append(error))
        until(lambda: len(answers) == 60)
        statistics = client.get_inference_statistics("ssrnet").model_stats[0]
    assert answers == [None] * 60
    assert statistics.execution_count < statistics.inference_stats.success.count, "nothing was merged"
    waited = statistics.inference_stats.queue.ns / statistics.inference_stats.success.count / 1e9
    assert waited < 0.4, "requests waited for an idle instance"


@pytest.mark.server
def test_unknown_model_and_version_leave_the_server_well(serve: Any) -> None:
    server = serve({"ssrnet": default_bundle()})
    with client_of(server) as client:
        with pytest.raises(InferenceServerException, match="unknown model: 'nobody' is not found"):
            ask(client, model="nobody")
        assert len(ask(client)[0]) == 4
    assert Control(server.http_url).ready("ssrnet")
    assert not Control(server.http_url).ready("ssrnet", 9)


@pytest.mark.server
def test_good_version_serves_beside_broken_ones(
    bundle: Bundle, repo: Path, tmp_path: Path, tritonserver: TritonServer
) -> None:
    """At start and at a reload; nothing is written to the repository."""
    second = changed_weights(bundle, tmp_path / "second")
    repository.publish(second, repo, "ssrnet")
    broken_byte(repo / "ssrnet" / "2")
    shutil.copytree(repo / "ssrnet", repo / "hopeless")
    before = snapshot(repo)
    for path in [repo, *repo.rglob("*")]:
        path.chmod(path.stat().st_mode & ~0o222)
    readonly = snapshot(repo)
    events: list[str] = []
    with (
        Server(repo, tritonserver=tritonserver, on_event=events.append) as server,
        client_of(server) as client,
    ):
        assert [(s.model, s.versions) for s in server.served] == [("ssrnet", (1,))]
        reasons = {(f.model, f.version): f.reason for f in server.failures}
        assert "sha256" in reasons["ssrnet", 2]
        assert "names the model 'ssrnet', its folder 'hopeless'" in reasons["hopeless", None]
        assert ask(client)[1] == "1"
        assert snapshot(repo) == readonly
        for path in [repo, *repo.rglob("*")]:
            path.chmod(path.stat().st_mode | 0o200)
        assert snapshot(repo) == before

        shutil.copytree(second, repo / "ssrnet" / "3")
        broken_model(repo / "ssrnet" / "3")
        until(lambda: any(f.version == 3 for f in server.failures))
        assert ask(client)[1] == "1"
        repository.publish(second, repo, "ssrnet")
        until(lambda: ask(client)[1] == "4")
        assert ask(client)[0].tobytes() == ssr_ops.Engine(second).predict(IMAGES).tobytes()
    assert any("not served: ssrnet version 3" in event for event in events)
    assert server.returncode == 0


@pytest.mark.server
def test_a_version_that_only_the_server_refuses(
    bundle: Bundle, repo: Path, tritonserver: TritonServer
) -> None:
    """Whole files that the backend will not load: Triton's reason is told, the other model serves."""
    repository.build([("other", bundle.path)], repo)
    text = (repo / "other" / "config.pbtxt").read_text().replace('"threads"', '"threds"')
    (repo / "other" / "config.pbtxt").write_text(text)
    with Server(repo, tritonserver=tritonserver, watch=False) as server:
        assert [s.model for s in server.served] == ["ssrnet"]
        assert [(f.model, f.version) for f in server.failures] == [("other", 1)]
        assert "threds" in server.failures[0].reason
    with pytest.raises(SsrError, match=r"--strict: not everything serves\n  other version 1: .*threds"):
        Server(repo, tritonserver=tritonserver, strict=True).start()


def test_nothing_to_serve(repo: Path, tmp_path: Path) -> None:
    never = TritonServer(Path("/nonexistent"), "test")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SsrError, match="nothing to serve: there is no model in it"):
        Server(tmp_path / "empty", tritonserver=never).start()
    with pytest.raises(SsrError, match="does not exist, expected a model repository"):
        Server(tmp_path / "none", tritonserver=never).start()
    broken_byte(repo / "ssrnet" / "1")
    server = Server(repo, tritonserver=never)
    with pytest.raises(SsrError, match=r"nothing to serve\n  ssrnet version 1: .*sha256"):
        server.start()
    assert not server._state.exists()  # type: ignore[union-attr]


def test_strict_refuses_before_starting(repo: Path, bundle: Bundle) -> None:
    repository.publish(bundle.path, repo, "ssrnet")
    broken_byte(repo / "ssrnet" / "2")
    with pytest.raises(SsrError, match=r"--strict: not everything serves\n  ssrnet version 2: .*sha256"):
        Server(repo, tritonserver=TritonServer(Path("/nonexistent"), "test"), strict=True).start()


def test_ports(repo: Path, tritonserver: TritonServer) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        port = held.getsockname()[1]
        with pytest.raises(SsrError, match=f"gRPC port {port} on 127.0.0.1 is in use"):
            Server(repo, tritonserver=tritonserver, grpc_port=port).start()
    chosen = choose("127.0.0.1", 0, 0, 0)
    assert len({chosen.http, chosen.grpc, chosen.metrics}) == 3
    with pytest.raises(PortError, match="asked for twice"):
        choose("127.0.0.1", 9000, 9000, 0)
    with pytest.raises(PortError, match="metrics port 70000: expected"):
        choose("127.0.0.1", 0, 0, 70000)


@pytest.mark.server
def test_a_port_lost_between_choosing_and_binding(
    repo: Path, tritonserver: TritonServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server's own bind fails; new ports are taken."""
    from triton_repo import ports

    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        stolen = ports.Ports(choose("127.0.0.1", 0, 0, 0).http, held.getsockname()[1], 0)
        answers = [stolen, choose("127.0.0.1", 0, 0, 0)]
        monkeypatch.setattr(ports, "choose", lambda *_: answers.pop(0))
        with Server(repo, tritonserver=tritonserver, watch=False) as server:
            assert answers == []
            assert not server.grpc_url.endswith(f":{stolen.grpc}")


def test_options_that_ssr_serve_sets_are_refused(repo: Path) -> None:
    with pytest.raises(SsrError, match="--http-port=1: ssr-serve sets this option itself"):
        Server(repo, arguments=["--http-port=1"])


# -- publish and rollback under load ---------------------------------------------------------------


@pytest.mark.server
def test_no_request_is_lost_across_publish_and_rollback(
    bundle: Bundle, repo: Path, tmp_path: Path, tritonserver: TritonServer
) -> None:
    second = changed_weights(bundle, tmp_path / "second")
    third = changed_weights(bundle, tmp_path / "third", 1.02)
    expected = {}
    for path in (bundle.path, second, third):
        engine = ssr_ops.Engine(path)
        expected[engine.weights_sha256] = engine.predict(IMAGES).tobytes()
    assert len(set(expected.values())) == 3
    with Server(repo, tritonserver=tritonserver) as server, Hammer(server) as hammer:
        hammer.sees(1)
        repository.publish(second, repo, "ssrnet")
        hammer.sees(2)
        repository.publish(third, repo, "ssrnet")
        hammer.sees(3)
        repository.rollback(repo, "ssrnet")
        hammer.sees(2)
        repository.publish(third, repo, "ssrnet")
        hammer.sees(4)
        repository.rollback(repo, "ssrnet", to=1)
        hammer.sees(1)
    assert hammer.errors == []
    assert all(expected[weights] == ages for ages, _, weights in hammer.answers)
    weights_of = {(version, weights) for _, version, weights in hammer.answers}
    assert {version for version, _ in weights_of} == {"1", "2", "3", "4"}
    assert len(weights_of) == 4


@pytest.mark.server
def test_publish_and_rollback_of_a_plain_tritonserver(
    repo: Path,
    tritonserver: TritonServer,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """--url: a server that does not follow the repository by itself is told to load, and waited for."""
    from triton_repo import server as module

    monkeypatch.setattr(module, "IDENTITY", "plain")
    with Server(repo, tritonserver=tritonserver, watch=False) as server:
        shutil.rmtree(server._view.folder / "ssrnet")
        (server._view.folder / "ssrnet").symlink_to(repo / "ssrnet")
        monkeypatch.setattr(module, "IDENTITY", "ssr-serve")
        url = server.http_url
        cli.publish_command("default", repo, "ssrnet", url)
        assert capsys.readouterr().out.endswith(f"ssrnet: version 2 serves at {url}\n")
        assert Control(url).ready("ssrnet", 2)
        assert [r["state"] for r in list_versions(repo, Control(url))] == ["serving", "loaded"]
        cli.rollback_command("ssrnet", repo, None, url)
        assert not Control(url).ready("ssrnet", 2)
        with client_of(server) as client:
            assert ask(client)[1] == "1"
        with pytest.raises(SsrError, match="does not speak HTTP; give the server's HTTP port"):
            Control(server.grpc_url).metadata()
    with pytest.raises(SsrError, match="no server answers"):
        cli.publish_command("default", repo, "ssrnet", url)
    assert repository.version_folders(repo / "ssrnet").keys() == {1}


@pytest.mark.server
def test_restricted_model_control_lets_the_supervisor_in(repo: Path, tritonserver: TritonServer) -> None:
    options = ["--http-restricted-api=model-repository:admin=secret"]
    with Server(repo, tritonserver=tritonserver, arguments=options, watch=False) as server:
        with pytest.raises(SsrError):
            Control(server.http_url).index()
        repository.publish("default", repo, "ssrnet")
        server.refresh()
        assert server.served[0].versions == (2, 1)


@pytest.mark.server
def test_a_restricted_server_at_url(repo: Path, tritonserver: TritonServer) -> None:
    """The key goes with --header; without it nothing is changed for a server that would not follow."""
    options = ["--http-restricted-api", "model-repository:x-admin=secret"]
    with Server(repo, tritonserver=tritonserver, arguments=options) as server:
        given = ["--repo", str(repo), "--url", server.http_url]
        with pytest.raises(SsrError, match=r"restricted, expecting header 'x-admin'"):
            cli.publish_command("default", repo, url=server.http_url)
        assert repository.version_folders(repo / "ssrnet").keys() == {1}
        for arguments in (["publish", "default"], ["rollback", "ssrnet"], ["versions"]):
            done = CliRunner().invoke(cli.app, [*arguments, *given, "--header", "x-admin=secret"])
            assert done.exit_code == 0, done.output
            assert re.search("serves at|ssrnet .*serving", done.output)


@pytest.mark.parametrize("header", ["x-admin", "=secret", "key=a\nb", "kéy=1"])
def test_a_header_that_is_none(repo: Path, header: str) -> None:
    given = ["versions", "--repo", str(repo), "--url", "localhost:1", "--header", header]
    assert CliRunner().invoke(cli.app, given).exit_code == 2


@pytest.mark.parametrize("option", [["--http-restricted-api=model-repository"], ["--http-restricted-api"]])
def test_a_restriction_without_a_key(repo: Path, tritonserver: TritonServer, option: list[str]) -> None:
    with pytest.raises(SsrError, match="--http-restricted-api: expected APIS:KEY=VALUE"):
        Server(repo, tritonserver=tritonserver, arguments=option).start()


@pytest.mark.parametrize("option", ["--no-such-option", "--http-restricted-api=logging,nothing:a=b"])
def test_an_option_that_the_server_does_not_take(repo: Path, tritonserver: TritonServer, option: str) -> None:
    """The server prints 400 lines on all others, and before or behind them why it ended."""
    with pytest.raises(SsrError, match="while starting") as failed:
        Server(repo, tritonserver=tritonserver, arguments=[option]).start()
    assert any(f"{word} '" in str(failed.value) for word in ("unrecognized option", "unknown restricted api"))
    assert len(str(failed.value).splitlines()) <= 4


def test_a_crash_is_told_without_its_frames() -> None:
    said = ["terminate called after throwing an instance of 'std::system_error'", "Signal (6) received."]
    frames = [" 0# 0x0000558A in /opt/tritonserver/bin/tritonserver", "10# abort in /lib/libc.so.6"]
    assert finder.words("\n".join([*said, *frames, ""])).split("\n") == said


@pytest.mark.parametrize("url", ["a..b:8000", "a b:8000", "localhost:²", "localhost", ":8000"])
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(SsrError, match="expected the server's HTTP address as host:port"):
        Control(url).metadata()


@pytest.mark.parametrize("asked", [Control.metadata, Control.index, Control.counts, Control.config])
@pytest.mark.parametrize(
    "answer",
    [
        b"null",
        b"7",
        b'"x"',
        b"[7]",
        b"[{}]",
        b'[{"name": "a", "version": "1e5"}]',
        b'[{"name": "a", "version": [1]}]',
        b'[{"name": "a", "version": "' + b"9" * 5000 + b'"}]',
        b'{"model_stats": 7}',
        b'{"model_stats": [{"name": "a", "version": "1", "inference_count": "x"}]}',
        b"[" * 100_000,
    ],
    ids=lambda answer: answer[:45].decode() if isinstance(answer, bytes) else "",
)
def test_answers_of_something_else(asked: Any, answer: bytes) -> None:
    """Whatever a port says: the answer in its form, or one error of ours."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(answer)

        do_POST = do_GET  # their names are http.server's

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as stranger:
        threading.Thread(target=stranger.handle_request, daemon=True).start()
        control = Control(f"127.0.0.1:{stranger.server_port}")
        with suppress(ControlError):
            assert isinstance(asked(control, *(["a"] if asked == Control.config else [])), dict | list)


def test_a_host_that_is_none(repo: Path, tritonserver: TritonServer) -> None:
    with pytest.raises(SsrError, match=r"^host a\.\.b: no name that can be looked up"):
        Server(repo, tritonserver=tritonserver, host="a..b").start()


def test_a_log_that_cannot_be_written(repo: Path, tritonserver: TritonServer, tmp_path: Path) -> None:
    with pytest.raises(SsrError, match=r"^log .*: cannot be written to \(Is a directory\)"):
        Server(repo, tritonserver=tritonserver, log=tmp_path).start()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SsrError, match=r"^log .*pipe: is a pipe that nobody reads"):
        Server(repo, tritonserver=tritonserver, log=tmp_path / "pipe").start()


@pytest.mark.server
def test_a_log_that_is_piped(repo: Path, tritonserver: TritonServer, tmp_path: Path) -> None:
    """One reader, to whom it never looks as if the log were at its end."""
    os.mkfifo(tmp_path / "pipe")
    with ThreadPoolExecutor(1) as pool:
        told = pool.submit((tmp_path / "pipe").read_bytes)
        time.sleep(1)  # it stands at the pipe's end
        with Server(repo, tritonserver=tritonserver, log=tmp_path / "pipe", watch=False):
            pass
        assert b"Started GRPCInferenceService" in told.result(10)


@pytest.mark.server
def test_a_listener_that_fails_does_not_stop_the_watcher(repo: Path, tritonserver: TritonServer) -> None:
    def fail(text: str) -> None:
        raise BrokenPipeError(text)

    with Server(repo, tritonserver=tritonserver, on_event=fail) as server:
        for number in (2, 3):
            repository.publish("default", repo, "ssrnet")
            until(lambda number=number: Control(server.http_url).ready("ssrnet", number))


@pytest.mark.parametrize("stream", [1, 2])
def test_a_closed_stream(repo: Path, stream: int) -> None:
    """As a daemon may be started: ``>&-``, ``2>&-``."""
    command = f"exec {sys.executable} -m triton_repo.cli versions --repo {repo} {stream}>&-"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


# -- the command and its end -----------------------------------------------------------------------


@contextmanager
def running(repo: Path, tritonserver: TritonServer, *options: str) -> Iterator[tuple[Any, dict[str, str]]]:
    """``ssr-serve run`` as a process of its own, once it has printed its addresses."""
    command = [sys.executable, "-m", "triton_repo.cli", "run", "--repo", str(repo)]
    command += ["--http-port", "0", "--grpc-port", "0", "--metrics-port", "0", *options]
    environment = {**os.environ, "TRITONSERVER": str(tritonserver.binary)}
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        shown = ""
        while "pid " not in shown:
            line = process.stdout.readline()  # type: ignore[union-attr]
            assert line, process.communicate()
            shown += line
        found = re.search(
            r"gRPC (?P<grpc>\S+) +HTTP http://(?P<http>\S+) +metrics (?P<metrics>\S+)\npid (?P<pid>\d+)",
            shown,
            re.DOTALL,
        )
        assert found, shown
        yield process, {**found.groupdict(), "shown": shown}
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(40)
            except subprocess.TimeoutExpired:
                process.kill()
        process.stdout.close()  # type: ignore[union-attr]
        process.stderr.close()  # type: ignore[union-attr]


@pytest.mark.server
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains(
    repo: Path, tritonserver: TritonServer, number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every request that the server has taken is answered, and the command ends with 0."""
    monkeypatch.setenv("SSR_FORCE_IMPLEMENTATION", "portable")
    images = np.random.default_rng(6).integers(0, 256, (16, 64, 64, 3), dtype=np.uint8)
    results: list[tuple[Any, Any]] = []

    def pending() -> int:
        text = urllib.request.urlopen(found["metrics"], timeout=10).read().decode()
        return int(re.search(r'nv_inference_pending_request_count{model="ssrnet".*} (\d+)', text)[1])  # type: ignore[index]

    with running(repo, tritonserver) as (process, found):
        assert "ready" in found["shown"]
        with grpcclient.InferenceServerClient(found["grpc"]) as client:
            tensor = grpcclient.InferInput("image", list(images.shape), "UINT8")
            tensor.set_data_from_numpy(images)
            sent = answered = 0
            while sent - answered < 10:  # on a busy machine many are answered before it is looked
                for _ in range(60):
                    client.async_infer(
                        "ssrnet", [tensor], lambda result, error: results.append((result, error))
                    )
                sent += 60
                until(lambda sent=sent: pending() + len(results) >= sent - 4)  # type: ignore[misc]
                answered = len(results)
            process.send_signal(number)
            time.sleep(0.05)
            process.send_signal(number)  # as `timeout` does: to the command, then to its group
            out, error = process.communicate(timeout=40)
            until(lambda: len(results) == sent)
    assert [str(e) for _, e in results if e is not None] == []
    assert process.returncode == 0, error
    assert "stopping" in out
    assert not alive(int(found["pid"]))


@pytest.mark.server
def test_death_of_the_server_is_told(repo: Path, tritonserver: TritonServer) -> None:
    with running(repo, tritonserver) as (process, found):
        os.kill(int(found["pid"]), signal.SIGKILL)
        _, error = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "tritonserver ended by itself with status -9; its last words" in error
    assert "Started" in error
    assert "Traceback" not in error
    log = Path(re.search(r"from (\S+tritonserver.log):", error)[1])  # type: ignore[index]
    assert [p.name for p in log.parent.iterdir()] == ["tritonserver.log"]
    shutil.rmtree(log.parent)


@pytest.mark.server
def test_the_server_does_not_outlive_a_killed_supervisor(repo: Path, tritonserver: TritonServer) -> None:
    with running(repo, tritonserver) as (process, found):
        process.kill()
        process.wait(10)
        until(lambda: not alive(int(found["pid"])), 20)


def test_run_of_a_repository_with_nothing_good(repo: Path) -> None:
    broken_byte(repo / "ssrnet" / "1")
    environment = {**os.environ, "TRITONSERVER": sys.executable}
    command = [sys.executable, "-m", "triton_repo.cli", "run", "--repo", str(repo), "--http-port", "0"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "nothing to serve" in done.stderr
    assert "sha256" in done.stderr
    assert "Traceback" not in done.stderr


# -- finding tritonserver --------------------------------------------------------------------------


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No TRITONSERVER, none on PATH, an empty cache."""
    monkeypatch.delenv("TRITONSERVER", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("SSR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_named_server_must_be_one(bare: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(SsrError, match="not on PATH and not unpacked yet"):
        finder.find(fetch=False)
    monkeypatch.setenv("TRITONSERVER", str(tmp_path))
    with pytest.raises(SsrError, match="not an executable file"):
        finder.find()
    monkeypatch.setenv("TRITONSERVER", sys.executable)
    with pytest.raises(SsrError, match="not a working tritonserver"):
        finder.find().works()
    binary = tmp_path / "tritonserver"
    binary.write_text("#!/bin/sh\n")
    binary.chmod(0o755)
    monkeypatch.delenv("TRITONSERVER")
    assert finder.find() == TritonServer(binary, "PATH")


def test_offline_is_one_line(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(bare))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    with pytest.raises(SsrError, match=r"could not fetch .* set TRITONSERVER") as caught:
        finder.find()
    assert "\n" not in str(caught.value)
    assert [p.name for p in bare.iterdir()] == [".lock"]


def test_another_wheel_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.whl").write_bytes(b"not it")
    with pytest.raises(SsrError, match="not the pinned wheel"):
        finder.unpack(tmp_path / "x.whl", tmp_path / "server")
    assert not (tmp_path / "server").exists()


def test_the_wheel_is_fetched_and_unpacked_once(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[Path] = []
    download = finder.download

    def counting(folder: Path) -> Path:
        fetched.append(folder)
        return download(folder)

    monkeypatch.setattr(finder, "download", counting)
    found: list[Any] = []

    def look() -> None:
        try:
            found.append(finder.find())
        except SsrError as error:
            found.append(error)

    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if any(isinstance(f, SsrError) for f in found):
        pytest.skip(f"the pinned wheel cannot be had here: {found[0]}")
    assert len(fetched) == 1
    assert len(set(found)) == 1
    found[0].works()
    assert {p.name for p in bare.iterdir()} == {".lock", f"tritonserver-{finder.VERSION}"}
    assert finder.find() == found[0]
    assert len(fetched) == 1


# -- whatever a folder holds, the watcher lives ------------------------------------------------------


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """For ``on_event``; the server is compared twice a second meanwhile."""
    monkeypatch.setattr("triton_repo.follower._COMPARE_SECONDS", 0.5)
    return []


@pytest.mark.server
def test_any_error_of_a_version_is_told_and_the_next_is_served(
    repo: Path, tritonserver: TritonServer, events: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    read = repository.read_bundle

    def fail(path: Any) -> Bundle:
        if Path(path).name == "2":
            raise RecursionError("maximum recursion depth exceeded")
        return read(path)

    with Server(repo, tritonserver=tritonserver, on_event=events.append) as server:
        monkeypatch.setattr(repository, "read_served", fail)
        repository.publish("default", repo, "ssrnet")
        until(lambda: any(f.version == 2 for f in server.failures))
        repository.publish("default", repo, "ssrnet")
        until(lambda: server.control.ready("ssrnet", 3))
        assert not server.control.ready("ssrnet", 2)
    [told] = [event for event in events if "version 2" in event]
    assert "not served: ssrnet version 2: " in told
    assert "cannot be read (RecursionError: maximum" in told


@pytest.mark.server
@pytest.mark.parametrize("broken", ["signature", "update"])
def test_any_error_of_a_look_is_told_once_and_followed_by_another(
    repo: Path,
    tritonserver: TritonServer,
    events: list[str],
    monkeypatch: pytest.MonkeyPatch,
    broken: str,
) -> None:
    looks: list[int] = []

    def fail() -> Any:
        looks.append(1)
        raise MemoryError

    with Server(repo, tritonserver=tritonserver, on_event=events.append) as server:
        with monkeypatch.context() as failing:
            failing.setattr(server._view, broken, fail)
            repository.publish("default", repo, "ssrnet")
            until(lambda: len(looks) > 3)
        until(lambda: server.control.ready("ssrnet", 2))
        until(lambda: len(events) == 2)
    assert events == ["cannot follow the repository: MemoryError", "ssrnet: serves version 2, 1"]


@pytest.mark.server
def test_what_an_error_kept_from_the_server_is_loaded_later(
    repo: Path, tritonserver: TritonServer, events: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The view is in step already when telling the server fails."""
    with Server(repo, tritonserver=tritonserver, on_event=events.append) as server:
        with monkeypatch.context() as failing:
            failing.setattr(server.control, "load", lambda _: (_ for _ in ()).throw(OSError(24, "too many")))
            repository.publish("default", repo, "ssrnet")
            until(lambda: any("too many" in event for event in events))
        until(lambda: server.control.ready("ssrnet", 2))


@pytest.mark.server
def test_a_config_that_is_empty_for_a_while(
    repo: Path, tritonserver: TritonServer, events: list[str]
) -> None:
    """An editor empties the file first: nothing is lost, and what comes then is followed.

    (tritonserver 2.51.0 keeps the version before a failed load in memory and misses it at its end: its exit
    timeout passes.)
    """
    config = repo / "ssrnet" / "config.pbtxt"
    text = config.read_text()
    with (
        Server(repo, tritonserver=tritonserver, on_event=events.append, exit_timeout=1) as server,
        client_of(server) as client,
    ):
        for content in ("", "# nothing\n", 'name: "ssrnet"\n', text[:40], 'backend: "python"\n'):
            config.write_text(content)
            until(lambda: any(f.version is None for f in server.failures))
            assert ask(client)[1] == "1"
            config.write_text(text)
            until(lambda: server.failures == [])
        repository.publish("default", repo, "ssrnet")
        until(lambda: ask(client)[1] == "2")
    assert not [event for event in events if "cannot follow" in event]
    assert "config.pbtxt: names no backend, but the versions are bundles: is it whole?" in events[0]


@pytest.mark.server
def test_a_folder_that_becomes_a_file_and_a_folder_again(
    repo: Path, tritonserver: TritonServer, events: list[str]
) -> None:
    repository.build([("other", default_bundle())], repo)
    with Server(repo, tritonserver=tritonserver, on_event=events.append) as server:
        for name in ("ssrnet", "ssrnet/1"):
            (repo / name).rename(repo / ".aside")
            (repo / name).write_text("")
            if name == "ssrnet":
                until(lambda: not server.control.ready("ssrnet"))
            else:
                until(lambda: any("no version in it" in f.reason for f in server.failures))
                assert server.control.ready("ssrnet", 1)
            (repo / name).unlink()
            (repo / ".aside").rename(repo / name)
            until(lambda: server.failures == [] and server.control.ready("ssrnet", 1))
    assert not [event for event in events if "cannot follow" in event]


@pytest.mark.server
def test_a_pipe_in_the_repository_neither_stops_following_nor_the_end(
    repo: Path, tritonserver: TritonServer
) -> None:
    repository.build([("other", default_bundle())], repo)
    with running(repo, tritonserver) as (process, found):
        (repo / "ssrnet" / "config.pbtxt").unlink()
        os.mkfifo(repo / "ssrnet" / "config.pbtxt")
        repository.publish("default", repo, "other")
        until(lambda: Control(found["http"]).ready("other", 2))
        assert Control(found["http"]).ready("ssrnet", 1)
        process.send_signal(signal.SIGTERM)
        out, error = process.communicate(timeout=20)
    assert process.returncode == 0
    assert error == ""
    assert "config.pbtxt: is a pipe, expected a regular file" in out


@pytest.mark.server
def test_a_watcher_that_hangs_does_not_hold_up_the_end(
    repo: Path, tritonserver: TritonServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one does in a filesystem whose server is gone."""
    hangs, go_on = threading.Event(), threading.Event()

    def hang() -> Any:
        hangs.set()
        go_on.wait(60)

    monkeypatch.setattr("triton_repo.server._JOIN_SECONDS", 0.5)
    server = Server(repo, tritonserver=tritonserver).start()
    monkeypatch.setattr(server._view, "signature", hang)
    assert hangs.wait(10)
    start = time.monotonic()
    server.stop()
    go_on.set()
    assert time.monotonic() - start < 10
    assert server.returncode == 0
    assert not server._state.exists()  # type: ignore[union-attr]


@pytest.mark.server
def test_a_process_that_comes_up_after_the_end_is_ended(
    repo: Path, tritonserver: TritonServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever ends a server while it starts may be too early to know its process."""
    found: list[int] = []
    begun, go_on = threading.Event(), threading.Event()
    start = process.start_hidden

    def slow(*arguments: Any) -> Any:
        started = start(*arguments)
        found.append(started.pid)
        begun.set()
        assert go_on.wait(30)
        return started

    monkeypatch.setattr(process, "start_hidden", slow)
    server = Server(repo, tritonserver=tritonserver, watch=False)
    with ThreadPoolExecutor(1) as pool:
        starting = pool.submit(server.start)
        assert begun.wait(30)
        server.stop()
        go_on.set()
        with pytest.raises(SsrError, match="ended with status -9 while starting"):
            starting.result(30)
    assert not alive(found[0])


@pytest.mark.server
def test_the_largest_version_and_one_above(repo: Path, tritonserver: TritonServer, events: list[str]) -> None:
    """The largest that a tritonserver takes serves; the next would end it, then and at every start."""
    largest = repository.LARGEST_VERSION
    beyond = repo / "ssrnet" / str(largest + 1)
    (repo / "ssrnet" / "1").rename(repo / "ssrnet" / str(largest))
    with Server(repo, tritonserver=tritonserver, on_event=events.append) as server:
        shutil.copytree(repo / "ssrnet" / str(largest), beyond)
        until(lambda: any(f.version == largest + 1 for f in server.failures))
        with client_of(server) as client:
            assert ask(client)[1] == str(largest)
    with Server(repo, tritonserver=tritonserver, watch=False) as server:
        assert server.served[0].versions == (largest,)
        assert [f.version for f in server.failures] == [largest + 1]


# -- what others tell the server ---------------------------------------------------------------------


def by_unloading(control: Control, files: Path) -> None:
    control.unload("ssrnet")
    until(lambda: not control.ready("ssrnet"))


def by_another_configuration(control: Control, files: Path) -> None:
    served = control.config("ssrnet")
    served["instance_group"][0]["count"] = 2
    _load_with(control, "ssrnet", served)


def by_other_weights(control: Control, files: Path) -> None:
    uploaded = {f"file:1/{p.name}": base64.b64encode(p.read_bytes()).decode() for p in files.iterdir()}
    served = control.config("ssrnet")
    by_unloading(control, files)  # else the server keeps what it has, where the configuration is the same
    _load_with(control, "ssrnet", served, **uploaded)


def by_another_model(control: Control, files: Path) -> None:
    uploaded = {f"file:1/{p.name}": base64.b64encode(p.read_bytes()).decode() for p in files.iterdir()}
    _load_with(control, "stranger", {**control.config("ssrnet"), "name": "stranger"}, **uploaded)


def _load_with(control: Control, model: str, served: dict[str, Any], **uploaded: str) -> None:
    body = json.dumps({"parameters": {"config": json.dumps(served), **uploaded}}).encode()
    urllib.request.urlopen(
        f"http://{control.url}/v2/repository/models/{model}/load", body, timeout=30
    ).close()


@pytest.mark.server
@pytest.mark.parametrize(
    ("change", "told"),
    [
        (by_unloading, "ssrnet: version 1 was unloaded by somebody else, put right"),
        (
            by_another_configuration,
            "ssrnet: was loaded with another configuration by somebody else, put right",
        ),
        (by_other_weights, "ssrnet: was loaded anew by somebody else, put right"),
        (by_another_model, "stranger: was loaded by somebody else, unloaded"),
    ],
)
def test_what_somebody_else_loaded_is_put_right(
    bundle: Bundle,
    repo: Path,
    tmp_path: Path,
    tritonserver: TritonServer,
    events: list[str],
    change: Any,
    told: str,
) -> None:
    other = changed_weights(bundle, tmp_path / "other")
    with Server(repo, tritonserver=tritonserver, open=True, on_event=events.append) as server:
        before, warm_up = server.control.config("ssrnet"), server.control.counts()["ssrnet", 1]
        follower = server._follower
        assert follower is not None
        with client_of(server) as client:
            ages, _, weights = ask(client)
            until(lambda: follower._loaded.counts["ssrnet", 1] > warm_up)  # a comparison saw the answer
            with follower._busy:  # so that it sees the end of it only
                change(server.control, other)
            until(lambda: told in events)
            found = ask(client)
        assert (found[0].tobytes(), found[2]) == (ages.tobytes(), weights)
        assert server.control.config("ssrnet") == before
        assert not server.control.ready("stranger")
        repository.publish("default", repo, "ssrnet")
        until(lambda: server.control.ready("ssrnet", 2))
        until(lambda: len(events) == 2)
    assert events == [told, "ssrnet: serves version 2, 1"]


@pytest.mark.server
def test_who_unloads_again_and_again_is_told_of_once(
    repo: Path, tritonserver: TritonServer, events: list[str]
) -> None:
    with Server(repo, tritonserver=tritonserver, on_event=events.append) as server:
        for _ in range(4):
            server.control.unload("ssrnet")
            until(lambda: not server.control.ready("ssrnet"))
            until(lambda: server.control.ready("ssrnet"))
    assert events == ["ssrnet: version 1 was unloaded by somebody else, put right"]


# -- what a kill leaves ------------------------------------------------------------------------------


@pytest.mark.server
def test_the_next_run_removes_what_a_kill_left(
    repo: Path, tritonserver: TritonServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once the server of the killed one has ended; what is in use, or no run's, is left alone."""
    temporary = tmp_path / "temporary"
    (temporary / "ssr-serve-of-somebody").mkdir(parents=True)
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr("tempfile.tempdir", None)

    def folders() -> set[str]:
        return {path.name for path in temporary.glob("ssr-serve-*")} - {"ssr-serve-of-somebody"}

    with running(repo, tritonserver):
        [living] = folders()
        with running(repo, tritonserver) as (process, found):
            [killed] = folders() - {living}
            os.kill(int(found["pid"]), signal.SIGSTOP)
            process.kill()
            process.wait(10)
            remove_abandoned()
            assert folders() == {living, killed}, "its server is still there"
            os.kill(int(found["pid"]), signal.SIGCONT)
            os.kill(int(found["pid"]), signal.SIGKILL)
            until(lambda: not alive(int(found["pid"])))
        with Server(repo, tritonserver=tritonserver, watch=False) as server:
            assert folders() == {living, server._state.name}  # type: ignore[union-attr]
    assert folders() == set()
    assert (temporary / "ssr-serve-of-somebody").is_dir()
