"""Open files and the log: a careless client with many connections, and a system that allows few."""

from __future__ import annotations

import os
import re
import resource
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from conftest import until

from ssr_ops.shipped import default_bundle
from triton_repo import bounded_log, limits, repository
from triton_repo.bounded_log import BoundedLog
from triton_repo.control import Control
from triton_repo.server import Server
from triton_repo.tritonserver import TritonServer


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    repository.build([("ssrnet", default_bundle())], tmp_path / "repo")
    return tmp_path / "repo"


def command(repo: Path, limit: str, *options: str) -> list[str]:
    """``ssr-serve run`` in a shell that set the limit of open files."""
    ports = "--http-port 0 --grpc-port 0 --metrics-port 0"
    run = f"exec {sys.executable} -m triton_repo.cli run --repo {repo} {ports} {' '.join(options)}"
    return ["sh", "-c", f"ulimit {limit}; {run}"]


# -- open files ----------------------------------------------------------------------------------


@pytest.mark.server
def test_more_idle_connections_than_the_soft_limit(repo: Path, tritonserver: TritonServer) -> None:
    """The server gets the hard limit: it answers beside 300 connections, without a line in its log."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= soft < 1024:
        pytest.skip(f"the limit of open files is {soft}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        server = Server(repo, tritonserver=tritonserver, watch=False).start()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    with server, ExitStack() as stack:
        size = server.log.stat().st_size  # type: ignore[union-attr]
        host, port = server.http_url.split(":")
        for _ in range(300):
            stack.enter_context(socket.create_connection((host, int(port))))
        assert Control(server.http_url, timeout=5).ready("ssrnet")
        assert server.log.stat().st_size < size + 4096  # type: ignore[union-attr]
        assert len(list(Path(f"/proc/{server.pid}/fd").iterdir())) > 300


def test_too_few_open_files_to_start(repo: Path, tritonserver: TritonServer) -> None:
    begin = time.monotonic()
    done = subprocess.run(command(repo, "-n 64"), capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert re.fullmatch(
        r"ssr-serve: open files: the limit is 64, tritonserver needs 128; raise the hard limit: .*\n",
        done.stderr,
    )
    assert time.monotonic() - begin < 10


@pytest.mark.server
def test_few_open_files_that_run_out(repo: Path, tritonserver: TritonServer, tmp_path: Path) -> None:
    """It starts and says what is too low, says so again when it happens, and the log stays in its bounds."""
    log = tmp_path / "log" / "triton.log"
    process = subprocess.Popen(
        command(repo, "-n 256", "--log-file", str(log)), stdout=subprocess.PIPE, text=True,
        env={**os.environ, "TRITONSERVER": str(tritonserver.binary)},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        shown = ""
        while "pid " not in shown:
            line = process.stdout.readline()
            assert line, shown
            shown += line
        assert "open files: the limit is 256, room for about 192 connections at once" in shown
        host, port = re.search(r"HTTP http://(\S+):(\d+)", shown).groups()  # type: ignore[union-attr]
        with ExitStack() as stack:
            for _ in range(260):
                stack.enter_context(socket.create_connection((host, int(port)), timeout=10))
            assert "no descriptor left for another connection" in process.stdout.readline()
            until((log.parent / "triton.log.1").exists)
            time.sleep(2)
            for path in log.parent.iterdir():
                assert path.stat().st_size < 4 * bounded_log.LARGEST_LOG
        process.send_signal(signal.SIGTERM)
        assert process.wait(40) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()  # type: ignore[union-attr]


def test_what_is_told_of_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    def told(hard: int) -> str:
        monkeypatch.setattr(resource, "getrlimit", lambda _: (min(64, hard), hard))
        return limits.check_files()

    assert told(resource.RLIM_INFINITY) == told(1 << 30) == told(1024) == ""
    assert told(1023).startswith("open files: the limit is 1023, room for about 959 connections")
    assert told(128).startswith("open files: the limit is 128")
    with pytest.raises(limits.LimitError, match="open files: the limit is 127, tritonserver needs 128"):
        told(127)


# -- the log -------------------------------------------------------------------------------------


def test_a_log_in_its_bounds(tmp_path: Path) -> None:
    path = tmp_path / "t.log"
    told: list[str] = []
    log = BoundedLog(path, told.append, largest=1000)
    with path.open("ab", buffering=0) as writer:
        writer.write(b"a" * 1000)
        path.chmod(0o640)
        log.check()
        assert path.stat().st_size == 1000
        for letter in (b"b", b"c"):
            writer.write(letter)
            log.check()
            assert path.stat().st_size == 0
            writer.write(letter * 1000)
        older = tmp_path / "t.log.1"
        assert older.read_bytes() == b"b" * 1000 + b"c"
        assert path.read_bytes() == b"c" * 1000
        assert older.stat().st_mode & 0o777 == 0o640
    assert told == []
    assert {p.name for p in tmp_path.iterdir()} == {"t.log", "t.log.1"}


def test_a_full_disk_does_not_unbound_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.log"
    path.write_bytes(bytes(2000))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(bounded_log, "replace_file", full)
    with pytest.raises(OSError, match="No space"):
        BoundedLog(path, print, largest=1000).check()
    assert path.stat().st_size == 0


def test_a_log_that_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "null").symlink_to("/dev/null")
    BoundedLog(tmp_path / "null", print, largest=-1).check()
    assert [p.name for p in tmp_path.iterdir()] == ["null"]


def test_descriptors_that_ran_out_are_told_once(tmp_path: Path) -> None:
    path = tmp_path / "t.log"
    told: list[str] = []
    log = BoundedLog(path, told.append)
    path.write_bytes(b"once: Too many open files\n")
    log.check()
    assert told == []
    for size in (1, 2):
        path.write_bytes(b"Error from accept() call: Too many open files\n" * 50_000 * size)
        log.check()
        assert len(told) == 1
    assert "no descriptor left" in told[0]
