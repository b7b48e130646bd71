"""Cameras that are opened for real: over HTTP, from a clip, and all the ways in which they are none."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import pairwise
from pathlib import Path

import pytest
from conftest import material
from made_clips import number_in, pictures, write_clip

av = pytest.importorskip("av")

from made_cameras import Faulty, HttpCamera, repeated, rtsp_cameras, rtsp_server  # noqa: E402
from ssr_video.live.cameras import Camera  # noqa: E402
from ssr_video.live.inbox import Inbox  # noqa: E402
from ssr_video.live.source import CameraLost, Picture, Source, Unreadable, open_source  # noqa: E402

PASSWORD = "s3cret"


def camera(url: str, **settings: float | str) -> Camera:
    return Camera("a", url, **{"open_timeout": 3.0, "silence": 3.0, **settings})  # type: ignore[arg-type]


@contextmanager
def opened(camera: Camera) -> Iterator[Source]:
    source = open_source(camera)
    yield source
    source.close()


def first_pictures(source: Source, count: int) -> list[Picture]:
    found: list[Picture] = []
    for packet in source.packets():
        found += source.pictures(packet)
        if len(found) >= count:
            return found[:count]
    raise AssertionError


@contextmanager
def answers(handle: Callable[[socket.socket], None]) -> Iterator[int]:
    """A port whose connections ``handle`` is given."""
    listening = socket.create_server(("127.0.0.1", 0))
    connections: list[socket.socket] = []

    def answer(connection: socket.socket) -> None:
        with suppress(OSError):  # of who leaves first
            handle(connection)

    def accept() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            connections.append(connection)
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        for connection in connections:
            connection.close()
        thread.join()


def silent(connection: socket.socket) -> None:
    connection.recv(4096)


def says(status: str, body: bytes = b"", kind: str = "HTTP/1.0") -> Callable[[socket.socket], None]:
    def answer(connection: socket.socket) -> None:
        asked = connection.recv(4096).decode()
        lines = [line for line in asked.split("\r\n") if line.lower().startswith("cseq")]
        head = "\r\n".join([f"{kind} {status}", *lines, f"Content-Length: {len(body)}"])
        connection.sendall(f"{head}\r\n\r\n".encode() + body)
        connection.shutdown(socket.SHUT_WR)

    return answer


def test_a_camera_over_http_is_read_in_its_own_time(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", pictures(50), bf="0", g="25")
    with HttpCamera(clip) as http, opened(camera(http.url)) as source:
        shots = first_pictures(source, 75)
    assert source.codec == "h264"
    numbers = [number_in(shot.image()) for shot in shots]
    start = numbers[0]
    assert numbers == [(start + i) % 50 for i in range(75)]
    times = [float((shot.pts or 0) * source.time_base) for shot in shots]
    steps = [b - a for a, b in pairwise(times)]
    assert max(abs(step - 0.04) for step in steps) < 0.001
    assert shots[-1].arrived - shots[40].arrived == pytest.approx(34 * 0.04, abs=0.5)


def transport_stream(path: Path, *clips: Path) -> Path:
    """MPEG transport streams of the clips, one behind the other: each begins at its own time and with its own
    codec and size."""
    with path.open("wb") as out:
        for clip in clips:
            part = path.with_suffix(".part.ts")
            with av.open(str(clip)) as source, av.open(str(part), "w", format="mpegts") as target:
                stream = target.add_stream_from_template(source.streams.video[0])
                for packet in source.demux(video=0):
                    if packet.dts is not None:
                        packet.stream = stream
                        target.mux(packet)
            out.write(part.read_bytes())
    return path


def test_size_codec_and_time_may_change_in_the_middle(tmp_path: Path) -> None:
    small = write_clip(tmp_path / "small.mp4", pictures(40), bf="0", g="10")
    large = write_clip(tmp_path / "large.mp4", pictures(40, (240, 320)), bf="0", g="10")
    other = write_clip(tmp_path / "other.mp4", pictures(40), codec="mpeg4", g="10")
    data = transport_stream(tmp_path / "all.ts", small, large, other, small).read_bytes()

    def send(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Type: video/mp2t\r\n\r\n" + data)
        connection.shutdown(socket.SHUT_WR)

    sizes: list[tuple[int, int]] = []
    times: list[int] = []

    def read(source: Source) -> None:
        for packet in source.packets():
            with suppress(Unreadable):
                for shot in source.pictures(packet):
                    assert shot.image().shape[1::-1] == shot.size
                    sizes.append(shot.size)
                    times.append(shot.pts or 0)

    with ExitStack() as running:
        port = running.enter_context(answers(send))
        source = running.enter_context(opened(camera(f"http://127.0.0.1:{port}/a")))
        with pytest.raises(CameraLost, match=r"ended the stream|connection broke"):
            read(source)
    assert sizes.count((160, 120)) >= 60
    assert sizes.count((320, 240)) >= 35
    assert any(after < before for before, after in pairwise(times))


def test_a_clip_in_place_of_a_camera_is_repeated(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", pictures(10), bf="0", g="5")
    with opened(camera(f"clip:{clip}")) as source:
        began = time.monotonic()
        shots = first_pictures(source, 25)
    assert [number_in(shot.image()) for shot in shots] == [i % 10 for i in range(25)]
    assert time.monotonic() - began > 0.8


@pytest.mark.skipif(rtsp_server() is None, reason="no RTSP server: gst-rtsp-server or live555MediaServer")
@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_a_camera_over_rtsp(tmp_path: Path, transport: str) -> None:
    clip = repeated(material("real/videos/video_01.mp4"), tmp_path / "long.mkv", 20)
    with rtsp_cameras({"one": clip}, tmp_path) as places:
        port, path = places["one"]
        url = f"rtsp://127.0.0.1:{port}/{path}"
        with opened(camera(url, transport=transport, open_timeout=10.0)) as source:
            shots = first_pictures(source, 10)
    assert shots[0].image().shape[2] == 3


LOST: dict[str, tuple[Callable[[socket.socket], None], str, str, str]] = {
    "silent": (silent, "http", "broken", "has sent no video for 3 s"),
    "silent rtsp": (silent, "rtsp", "broken", "has sent no video for 3 s"),
    "closes": (lambda connection: connection.close(), "rtsp", "broken", "is no RTSP stream"),
    "text": (says("200 OK", b"hello world\n" * 100), "http", "broken", "is no HTTP stream"),
    "401": (says("401 Unauthorized"), "http", "refused", "refuses the user or the password"),
    "401 rtsp": (
        says("401 Unauthorized", kind="RTSP/1.0"), "rtsp", "refused", "refuses the user or the password"
    ),
    "404": (says("404 Not Found"), "http", "refused", "404"),
    "503": (says("503 Busy"), "http", "broken", "5xx"),
}  # fmt: skip


@pytest.mark.parametrize("fault", LOST)
def test_what_is_no_camera_says_why_and_never_the_password(fault: str) -> None:
    handle, scheme, kind, words = LOST[fault]
    began = time.monotonic()
    with answers(handle) as port, pytest.raises(CameraLost) as lost:
        open_source(camera(f"{scheme}://admin:{PASSWORD}@127.0.0.1:{port}/a?key={PASSWORD}"))
    assert words in str(lost.value)
    assert PASSWORD not in str(lost.value)
    assert lost.value.kind == kind
    assert time.monotonic() - began < 20


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    with pytest.raises(CameraLost, match="nothing answers at its port") as lost:
        open_source(camera(f"rtsp://admin:{PASSWORD}@127.0.0.1:{port}/a"))
    assert lost.value.kind == "away"
    assert PASSWORD not in str(lost.value)
    with pytest.raises(CameraLost, match="no webcam"):
        open_source(camera("webcam:63"))
    with pytest.raises(CameraLost, match="the clip cannot be read"):
        open_source(camera("clip:/no/such/clip.mp4"))


def test_a_camera_that_falls_silent_is_lost(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", pictures(50), bf="0", g="10")
    with ExitStack() as running:
        port = running.enter_context(Faulty(running.enter_context(HttpCamera(clip)).port))
        source = running.enter_context(opened(camera(f"http://127.0.0.1:{port.port}/a")))
        inbox = Inbox(0.5, time.monotonic)
        thread = threading.Thread(target=inbox.fill, args=(source.packets(),), daemon=True)
        thread.start()
        assert inbox.take(30) is not None
        port.set("hang")
        with pytest.raises(CameraLost, match="it has sent nothing for 3 s"):
            list(iter(lambda: inbox.take(30), None))
        thread.join(30)


def test_a_damaged_stream_costs_frames_and_no_error(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", pictures(50), bf="0", g="10")
    with ExitStack() as running:
        port = running.enter_context(Faulty(running.enter_context(HttpCamera(clip)).port))
        source = running.enter_context(opened(camera(f"http://127.0.0.1:{port.port}/a")))
        seen, garbled = 0, False
        for packet in source.packets():
            try:
                seen += len([shot.image() for shot in source.pictures(packet)])
            except Unreadable:
                garbled = True
                port.set("pass")
            if seen == 20 and not garbled:
                port.set("garble")
            if garbled and seen > 60:
                break
            assert seen < 500
    assert garbled
