"""The watch with a real server: cameras in, events out; a server that goes away, a configuration that
changes, and an end within five seconds."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from background import alive
from conftest import ReleasedBundles, Serve, material, until
from made_clips import pictures, write_clip

pytest.importorskip("av")
pytest.importorskip("prometheus_client")

from made_cameras import Faulty, HttpCamera
from ssr_client.cli import Connection
from ssr_video.live.watch import Watch

from triton_repo.server import Server

SECONDS = 90.0
"""Of patience with a busy machine."""


@pytest.fixture(scope="module")
def faces() -> Iterator[HttpCamera]:
    with HttpCamera(material("real/videos/video_01.mp4")) as camera:
        yield camera


@pytest.fixture
def bars(tmp_path: Path) -> Iterator[HttpCamera]:
    with HttpCamera(write_clip(tmp_path / "bars.mp4", pictures(50), bf="0", g="10")) as camera:
        yield camera


@pytest.fixture
def server(serve: Serve, released: ReleasedBundles) -> Server:
    return serve({"ssrnet": released("megaface_asian")}, frame=True)


def events(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def configured(tmp_path: Path, cameras: dict[str, str], sinks: str = "", **more: str) -> Path:
    path = tmp_path / "cameras.toml"
    tables = [f"[camera.{name}]\nurl = '{url}'\n{more.get(name, '')}" for name, url in cameras.items()]
    tables.append(f"[sink.lines]\npath = '{tmp_path / 'ages.jsonl'}'\n{sinks}")
    new = tmp_path / "cameras.new"
    new.write_text("\n".join(tables))
    new.replace(path)
    return path


@contextmanager
def watching(path: Path, url: str, say: list[str]) -> Iterator[Watch]:
    watch = Watch(path, Connection(url=url), path.parent / "spool", say=say.append)
    stop = threading.Event()
    watch.start()
    thread = threading.Thread(target=watch.run, args=(stop,))
    thread.start()
    try:
        yield watch
    finally:
        stop.set()
        thread.join()
        watch.close()


def of(watch: Watch, name: str) -> Any:
    return next(status for status in watch.hub.statuses() if status.name == name)


@pytest.mark.server
def test_people_of_a_camera_become_events(tmp_path: Path, server: Server, faces: HttpCamera) -> None:
    zones = "zones.left = [[0, 0], [0.5, 0], [0.5, 1], [0, 1]]\nzones.all = [[0, 0], [1, 0], [1, 1], [0, 1]]"
    path = configured(tmp_path, {"front": faces.url, "down": "rtsp://u:s3cret@127.0.0.1:9/x"}, front=zones)
    said: list[str] = []
    with watching(path, server.grpc_url, said) as watch:
        until(lambda: any(e["event"] == "end" and e["age"] for e in events(tmp_path / "ages.jsonl")), SECONDS)
        until(lambda: any(person.age for person in of(watch, "front").people), SECONDS)
        assert of(watch, "down").state == "lost"
        assert of(watch, "front").latency[1] < 1.0
    told = events(tmp_path / "ages.jsonl")
    tracks = [e for e in told if e["event"] != "camera"]
    assert {e["camera"] for e in tracks} == {"front"}
    assert len({e["id"] for e in told}) == len(told)
    assert all("all" in e["zones"] for e in tracks)
    began = {(e["session"], e["track"]) for e in tracks if e["event"] == "new"}
    ended = [(e["session"], e["track"]) for e in tracks if e["event"] == "end"]
    assert sorted(began) == sorted(ended)
    assert all(e["utc"].endswith("Z") for e in tracks)
    assert [(e["camera"], e["state"]) for e in told if e["event"] == "camera"].count(("down", "lost")) == 1
    assert "s3cret" not in "".join(said) + (tmp_path / "ages.jsonl").read_text()


@pytest.mark.server
def test_a_picture_for_who_looks_has_no_face(tmp_path: Path, server: Server, faces: HttpCamera) -> None:
    cv2 = pytest.importorskip("cv2")
    np = pytest.importorskip("numpy")
    path = configured(tmp_path, {"front": faces.url})
    with watching(path, server.grpc_url, []) as watch:
        until(lambda: of(watch, "front").people, SECONDS)
        assert watch.hub.pictures(0)[1] == []
        watch.hub.wanted(frozenset({"front"}))
        until(lambda: any(p.people for p in watch.hub.pictures(0)[1]), SECONDS)
        (picture,) = watch.hub.pictures(0)[1]
    image = cv2.imdecode(np.frombuffer(picture.jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert image.shape == (480, 640, 3) or image.shape[1] <= 640
    assert all(0 <= person["box"][0] < 1 for person in picture.people)
    for person in picture.people:
        x, y, w, h = (
            round(share * side) for share, side in zip(person["box"], (*image.shape[1::-1],) * 2, strict=True)
        )
        face = image[max(y, 0) : y + h, max(x, 0) : x + w].astype(np.float32)
        smooth = cv2.resize(cv2.resize(face, (6, 6), interpolation=cv2.INTER_AREA), face.shape[1::-1])
        assert np.abs(face - smooth).mean() < 8  # of a face that shows: 15 and more


@pytest.mark.server
def test_a_server_that_stops_costs_its_time_alone(
    tmp_path: Path, released: ReleasedBundles, tritonserver: Any, faces: HttpCamera
) -> None:
    from triton_repo.config import Options
    from triton_repo.repository import build

    repository = tmp_path / "repository"
    build([("ssrnet", released("megaface_asian"))], repository, Options(frame=True))
    path = configured(tmp_path, {"front": faces.url})
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with watching(path, f"127.0.0.1:{port}", []) as watch:
        until(lambda: of(watch, "front").server is not None, SECONDS)  # not there yet
        for _ in range(2):
            server = Server(repository, tritonserver=tritonserver, grpc_port=port).start()
            try:
                until(lambda: of(watch, "front").people and of(watch, "front").server is None, SECONDS)
            finally:
                server.stop()
            until(lambda: of(watch, "front").server is not None, SECONDS)
            assert of(watch, "front").state == "live"
        assert of(watch, "front").counts.reconnections == 0
        assert of(watch, "front").counts.dropped["server away"] > 0


def test_a_changed_configuration_leaves_other_cameras_alone(tmp_path: Path, bars: HttpCamera) -> None:
    path = configured(tmp_path, {"a": bars.url, "b": bars.url + "?b"})
    said: list[str] = []
    with watching(path, "127.0.0.1:9", said) as watch:
        until(lambda: {s.state for s in watch.hub.statuses()} == {"live"}, SECONDS)
        since = of(watch, "a").since
        configured(tmp_path, {"a": bars.url, "c": bars.url + "?c"})
        until(lambda: [s.name for s in watch.hub.statuses()] == ["a", "c"], SECONDS)
        until(lambda: of(watch, "c").state == "live", SECONDS)
        path.write_text("[camera.a]\nurl = 'webcam:x'")
        until(lambda: any("goes on" in line for line in said), SECONDS)
        configured(tmp_path, {"a": bars.url, "c": bars.url + "?c"}, c="fps = 5")
        until(lambda: "c: stopped" in said and of(watch, "c").state == "live", SECONDS)
        assert of(watch, "a").since == since
        watch.reload.set()
        until(lambda: any("nothing has changed" in line for line in said), SECONDS)
        configured(tmp_path, {"a": bars.url}, sinks=f"[sink.parquet]\nfolder = '{tmp_path / 'ages.jsonl'}'")
        until(lambda: sum("goes on" in line for line in said) == 2, SECONDS)
        assert [sink["name"] for sink in watch.hub.snapshot()["sinks"]] == ["lines"]
        assert {s.state for s in watch.hub.statuses()} == {"live"}
    assert sum("goes on" in line for line in said) == 2
    assert said.count("a: live") == 1
    assert "b: stopped" in said


def test_frames_over_the_limit_are_counted(tmp_path: Path, server: Server, bars: HttpCamera) -> None:
    path = configured(tmp_path, {"a": bars.url}, a="fps = 5")
    with watching(path, server.grpc_url, []) as watch:
        until(lambda: of(watch, "a").counts.analysed > 10, SECONDS)
        counts = of(watch, "a").counts
    assert counts.dropped["limit"] > 2 * counts.analysed


def run(path: Path, url: str, *words: str) -> subprocess.Popen[str]:
    program = "from ssr_video.cli import main; main()"
    command = [sys.executable, "-c", program, "watch", str(path), "--url", url, *words]
    environ = {**os.environ, "PASSWORD": "s3cret"}
    return subprocess.Popen(
        command,
        env=environ,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def heard(process: subprocess.Popen[str]) -> list[str]:
    """The lines of its stderr, as they come."""
    lines: list[str] = []

    def read() -> None:
        assert process.stderr is not None
        for line in process.stderr:
            lines.append(line)

    threading.Thread(target=read, daemon=True).start()
    return lines


def processes_of(group: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            if os.getpgid(int(entry.name)) == group:
                found.append(int(entry.name))
    return found


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_all_within_five_seconds(tmp_path: Path, bars: HttpCamera, number: int) -> None:
    with Faulty(bars.port) as hangs:
        hangs.set("hang")
        path = configured(
            tmp_path,
            {
                "live": bars.url,
                "hangs": f"http://u:${{PASSWORD}}@127.0.0.1:{hangs.port}/?key=${{PASSWORD}}",
                "down": "rtsp://u:${PASSWORD}@127.0.0.1:9/x",
            },
            sinks="[sink.mqtt]\nurl = 'mqtt://127.0.0.1:9'\nuser = 'u'\npassword = '${PASSWORD}'\n"
            f"[sink.webhook]\nurl = 'http://127.0.0.1:{hangs.port}/${{PASSWORD}}'",
        )
        process = run(path, "127.0.0.1:9", "--page", "127.0.0.1:0", "--spool", str(tmp_path / "spool"))
        lines = heard(process)
        until(lambda: any("live: live" in line for line in lines), SECONDS)
        until(lambda: any("down: lost" in line for line in lines), SECONDS)
        page = next(line for line in lines if "page:" in line).split()[-1]
        with urllib.request.urlopen(page + "metrics", timeout=30) as answer:
            assert b"ssr_video_read_total" in answer.read()
        shown = "".join(Path(f"/proc/{pid}/cmdline").read_text() for pid in processes_of(process.pid))
        os.kill(process.pid, signal.SIGHUP)
        until(lambda: any("nothing has changed" in line for line in lines), SECONDS)
        began = time.monotonic()
        os.kill(process.pid, number)
        assert process.wait(30) == 0
        assert time.monotonic() - began < 5
        until(lambda: not processes_of(process.pid), 5)
    assert "s3cret" not in shown + "".join(lines)


def test_a_killed_watch_leaves_no_process(tmp_path: Path, bars: HttpCamera) -> None:
    path = configured(tmp_path, {"live": bars.url})
    process = run(path, "127.0.0.1:9", "--spool", str(tmp_path / "spool"))
    lines = heard(process)
    until(lambda: any("live: live" in line for line in lines), SECONDS)
    assert len(processes_of(process.pid)) > 1
    process.kill()
    process.wait(30)
    until(lambda: not processes_of(process.pid), 20)
    assert not alive(process.pid)


def test_what_is_wrong_ends_before_anything_begins(tmp_path: Path) -> None:
    path = tmp_path / "cameras.toml"
    path.write_text("[camera.a]\nurl = 'rtsp://u:${PASSWORD}@h/x'\nfsp = 3")
    process = run(path, "127.0.0.1:9")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, "")
    assert "fps" in err
    assert "\n" not in err.strip()
    assert "s3cret" not in err
    path.write_text("[camera.a]\nurl = 'rtsp://u:${PASSWORD}@h/x?y=${PASSWORD}'")
    out, err = run(path, "127.0.0.1:9", "--check").communicate(timeout=60)
    assert (out, err) == ("a: rtsp://h/x\n", "")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        process = run(path, "127.0.0.1:9", "--page", f"127.0.0.1:{taken.getsockname()[1]}")
        out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "in use" in err
    out, err = run(path, "127.0.0.1:9", "--page", "0.0.0.0:0").communicate(timeout=60)
    assert "token" in err
