"""The life of a camera: its process is killed when it hangs, begun again when it is lost, and always ends."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import cycle
from pathlib import Path

import pytest
from background import alive
from conftest import until
from made_clips import pictures, write_clip

pytest.importorskip("av")

from made_cameras import Faulty, HttpCamera
from ssr_client.cli import Connection
from ssr_video.live import keeper as module
from ssr_video.live.cameras import Camera
from ssr_video.live.keeper import Keeper
from ssr_video.live.messages import Opened, Report, Said
from ssr_video.live.source import Kind
from ssr_video.live.worker import Job

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["ssr_video.live.worker"])
NO_SERVER = Connection(url="127.0.0.1:9")


class Heard:
    """A listener that keeps what it is told."""

    def __init__(self) -> None:
        self.states: list[str] = []
        self.whys: list[str] = []
        self.pauses: list[float] = []
        self.messages: list[Said] = []

    def connecting(self, camera: str) -> None:
        self.states.append("connecting")

    def said(self, camera: str, message: Said) -> None:
        self.messages.append(message)
        if isinstance(message, Opened):
            self.states.append("live")

    def lost(self, camera: str, why: str, next_try: float) -> None:
        self.whys.append(why)
        self.pauses.append(next_try)
        self.states.append("lost")

    def stopped(self, camera: str) -> None:
        self.states.append("stopped")


Keep = Callable[..., tuple[Keeper, Heard]]


@pytest.fixture
def keep() -> Iterator[Keep]:
    keepers: list[Keeper] = []

    def begin(url: str, **settings: float) -> tuple[Keeper, Heard]:
        values = {"open_timeout": 2.0, "silence": 2.0, **settings}
        heard = Heard()
        job = Job(Camera("front", url, **values), NO_SERVER, False)  # type: ignore[arg-type]
        keeper = Keeper(job, heard, PROCESSES, chance=lambda: 0.0)
        keepers.append(keeper)
        keeper.start()
        return keeper, heard

    yield begin
    for keeper in keepers:
        keeper.stop()


@pytest.fixture
def http(tmp_path: Path) -> Iterator[HttpCamera]:
    with HttpCamera(write_clip(tmp_path / "clip.mp4", pictures(50), bf="0", g="10")) as camera:
        yield camera


def children() -> list[int]:
    return [child.pid for child in multiprocessing.active_children() if child.pid]


def test_a_camera_is_live_and_says_what_it_reads(keep: Keep, http: HttpCamera) -> None:
    keeper, heard = keep(http.url)
    until(lambda: sum(m.read for m in heard.messages if isinstance(m, Report)) > 30, 60)
    keeper.stop()
    assert heard.states == ["connecting", "live", "stopped"]
    opened = next(m for m in heard.messages if isinstance(m, Opened))
    assert (opened.width, opened.height, opened.codec) == (160, 120, "h264")
    last = [m for m in heard.messages if isinstance(m, Report)][-1]
    assert "127.0.0.1:9" in (last.server or "")  # no server of ages: the camera lives all the same
    assert children() == []


def test_a_killed_process_is_begun_again(keep: Keep, http: HttpCamera) -> None:
    _, heard = keep(http.url)
    until(lambda: "live" in heard.states, 60)
    (pid,) = children()
    os.kill(pid, signal.SIGKILL)
    until(lambda: heard.states.count("live") == 2, 60)
    assert heard.states == ["connecting", "live", "lost", "connecting", "live"]
    assert heard.whys == ["its process ended without a word (ended by SIGKILL)"]


def test_a_process_that_cannot_be_started_is_tried_again(
    keep: Keep, http: HttpCamera, monkeypatch: pytest.MonkeyPatch
) -> None:
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    failures = iter([OSError(24, "Too many open files"), EOFError()])
    start = PROCESSES.Process.start

    def fails(process: multiprocessing.Process) -> None:
        if (error := next(failures, None)) is not None:
            raise error
        start(process)

    monkeypatch.setattr(PROCESSES.Process, "start", fails)
    keeper, heard = keep(http.url)
    until(lambda: "live" in heard.states, 60)
    words = [why.partition("(")[2] for why in heard.whys]
    assert words == ["too many open files)", "eoferror)"]
    keeper.stop()
    assert len(list(Path("/proc/self/fd").iterdir())) <= descriptors + 3


def test_what_nobody_can_end_does_not_hold_up_the_end(keep: Keep, monkeypatch: pytest.MonkeyPatch) -> None:
    hang, hangs = threading.Event(), threading.Event()

    def lookup(url: str) -> str | None:
        hangs.set()
        hang.wait(60)
        return "the name of its host is not known"

    monkeypatch.setattr(module, "unreachable", lookup)
    monkeypatch.setattr(module, "KNOCKS", 0.1)
    keeper, heard = keep("rtsp://127.0.0.1:9/a")
    assert hangs.wait(60)
    began = time.monotonic()
    assert not keeper.stop(0.5)
    assert time.monotonic() - began < 5
    hang.set()
    keeper._thread.join(30)
    assert "stopped" not in heard.states


def test_a_process_that_hangs_is_killed(
    keep: Keep, http: HttpCamera, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SLACK", 1.0)
    _, heard = keep(http.url, silence=1.0)
    until(lambda: "live" in heard.states, 60)
    (pid,) = children()
    os.kill(pid, signal.SIGSTOP)
    until(lambda: heard.states.count("live") == 2, 60)
    assert "was killed" in heard.whys[0]
    assert not alive(pid)


def test_pauses_grow_and_a_camera_that_comes_back_is_not_waited_for(
    keep: Keep, http: HttpCamera, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "KNOCKS", 0.2)
    with Faulty(http.port) as port:
        port.set("cut")
        _, heard = keep(f"http://127.0.0.1:{port.port}/a")
        until(lambda: len(heard.pauses) >= 4, 60)
        assert heard.pauses[:4] == [0.5, 1.0, 2.0, 4.0]
        assert all("nothing answers at its port" in why for why in heard.whys)
        until(lambda: len(heard.pauses) >= 5, 60)  # the next pause is 8 s
        port.set("pass")
        back = time.monotonic()
        until(lambda: "live" in heard.states, 60)
        assert time.monotonic() - back < 7


def test_one_that_refuses_is_asked_seldom_and_one_that_breaks_often() -> None:
    def pauses(kind: Kind, chance: float) -> list[float]:
        """After so many tries."""
        job = Job(Camera("a", "webcam:0"), NO_SERVER, False)
        backoff = Keeper(job, Heard(), PROCESSES, chance=lambda: chance)._backoff(kind)
        every = [0.0, *(backoff.pause() for _ in range(1000))]
        return [every[tries] for tries in (1, 4, 7, 1000)]

    assert pauses("refused", 0.0) == [0.5, 4.0, 30.0, 30.0]
    assert pauses("broken", 0.0) == [0.5, 2.0, 2.0, 2.0]
    assert pauses("away", 1.0)[-1] == 15.0


def test_each_failure_of_one_kind_doubles_the_pause(keep: Keep) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def refuse() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                if connection.recv(4096):
                    connection.sendall(b"HTTP/1.0 401 No\r\n\r\n")
                connection.close()

        threading.Thread(target=refuse, daemon=True).start()
        _, heard = keep(f"http://127.0.0.1:{listening.getsockname()[1]}/a")
        until(lambda: len(heard.pauses) >= 4, 60)
        listening.shutdown(socket.SHUT_RDWR)
    assert heard.pauses[:4] == [0.5, 1.0, 2.0, 4.0]


def test_pauses_grow_with_one_kind_of_failure_alone(
    keep: Keep, http: HttpCamera, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = cycle([b"HTTP/1.0 401 No\r\n\r\n", b"HTTP/1.0 200 OK\r\n\r\nno video"])
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                if connection.recv(4096):  # and not one who only knocks
                    connection.sendall(next(answers))
                connection.close()

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        _, heard = keep(f"http://127.0.0.1:{listening.getsockname()[1]}/a")
        until(lambda: len(heard.pauses) >= 5, 60)
        listening.shutdown(socket.SHUT_RDWR)
    assert heard.pauses[:5] == [0.5] * 5


@pytest.mark.parametrize("state", ["live", "hanging", "refused", "opening", "waiting"])
def test_it_ends_soon_in_every_state(keep: Keep, http: HttpCamera, state: str) -> None:
    with Faulty(http.port) as port:
        url = f"http://127.0.0.1:{port.port}/a"
        if state in ("opening", "hanging"):
            port.set("hang")
        if state in ("refused", "waiting"):
            port.set("cut")
        keeper, heard = keep(url, open_timeout=60.0, silence=60.0)
        if state == "live":
            until(lambda: "live" in heard.states, 60)
        elif state == "waiting":
            until(lambda: len(heard.pauses) > 2, 60)
        elif state == "hanging":
            until(lambda: port.accepted > 0, 60)
        elif state == "refused":
            until(lambda: heard.pauses, 60)
        began = time.monotonic()
        keeper.stop()
        assert time.monotonic() - began < 5
        assert heard.states[-1] == "stopped"
        assert children() == []


def test_no_camera_ever_sends_another_ones_pictures(keep: Keep, tmp_path: Path) -> None:
    sizes = [(120, 160), (144, 176), (96, 128), (240, 320)]
    with ExitStack() as running:
        cameras = []
        for index, size in enumerate(sizes):
            clip = write_clip(tmp_path / f"{index}.mp4", pictures(50, size), bf="0", g="10")
            port = running.enter_context(Faulty(running.enter_context(HttpCamera(clip)).port))
            cameras.append((port, keep(f"http://127.0.0.1:{port.port}/a")[1]))
        for restart in range(3):
            for _, heard in cameras:
                until(lambda heard=heard, n=restart + 1: heard.states.count("live") >= n, 60)
            for port, _ in cameras:
                port.restart()
        for size, (_, heard) in zip(sizes, cameras, strict=True):
            seen = {(m.height, m.width) for m in heard.messages if isinstance(m, Opened)}
            assert seen == {size}


def test_a_hundred_reconnections_leave_nothing_behind(
    keep: Keep, http: HttpCamera, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.001)
    monkeypatch.setitem(module.LONGEST_PAUSE, "broken", 0.001)

    def held() -> tuple[int, int]:
        return len(list(Path("/proc/self/fd").iterdir())), threading.active_count()

    with socket.create_server(("127.0.0.1", 0)) as listening:  # takes connections, and ends each at once

        def refuse() -> None:
            while True:
                try:
                    listening.accept()[0].close()
                except OSError:
                    return

        threading.Thread(target=refuse, daemon=True).start()
        keeper, heard = keep(f"http://127.0.0.1:{listening.getsockname()[1]}/a")
        until(lambda: len(heard.pauses) >= 10, 120)
        descriptors, threads = held()
        until(lambda: len(heard.pauses) >= 110, 240)
        after = held()
        keeper.stop()
        listening.shutdown(socket.SHUT_RDWR)
    assert after[0] <= descriptors + 3
    assert after[1] <= threads + 2
    assert children() == []
