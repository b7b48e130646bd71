"""Cameras that nobody bought: a clip sent again and again as a camera would, and faults on its way.

Nothing is encoded again. ``benchmarks/live.py`` uses them too.
"""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av


class HttpCamera:
    """Sends a clip over HTTP as an MPEG transport stream, in its own time, to everybody who connects.

    Everybody sees the clip from the beginning. ``url`` says where.
    """

    def __init__(self, clip: Path) -> None:
        self._clip = clip
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._connections: set[socket.socket] = set()
        self._closing = False
        self.port: int = self._listening.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/live.ts"
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def __enter__(self) -> HttpCamera:
        return self

    def __exit__(self, *_: object) -> None:
        self._closing = True
        _shut(self._listening)
        for connection in list(self._connections):
            _shut(connection)
        self._thread.join()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            self._connections.add(connection)
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        try:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Type: video/mp2t\r\n\r\n")
            self._send(_Writes(connection))
        except (OSError, av.FFmpegError):  # of who leaves
            pass
        finally:
            self._connections.discard(connection)
            _shut(connection)

    def _send(self, out: _Writes) -> None:
        began = time.monotonic()
        with av.open(out, "w", format="mpegts", options={"flush_packets": "1"}) as container:
            stream: Any = None
            for packet, at in _again_and_again(self._clip):
                if stream is None:
                    stream = container.add_stream_from_template(packet.stream)
                time.sleep(max(0.0, began + at - time.monotonic()))
                packet.stream = stream
                container.mux(packet)
                if self._closing:
                    return


class _Writes:
    """A socket as a file to write."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def write(self, data: bytes) -> int:
        self._connection.sendall(data)
        return len(data)


def _again_and_again(clip: Path) -> Iterator[tuple[Any, float]]:
    """The packets of a clip's video, and when each is due in seconds; for ever, timestamps counted on."""
    shift = 0
    while True:
        with av.open(os.fspath(clip)) as container:
            stream = container.streams.video[0]
            base = stream.time_base or Fraction(1, 90_000)
            step = round(1 / (stream.average_rate or Fraction(25)) / base)
            first, last = None, 0
            for packet in container.demux(stream):
                if packet.dts is None or packet.pts is None:
                    continue
                first = packet.dts if first is None else first
                packet.pts, packet.dts = packet.pts - first + shift, packet.dts - first + shift
                last = max(last, packet.dts)
                yield packet, float(packet.dts * base)
            shift = last + step


class Faulty:
    """A port in front of ``port`` whose connections can be disturbed.

    ``pass`` hands everything on. ``cut`` ends every connection and takes no new one. ``hang`` holds
    connections and hands nothing on. ``garble`` changes bytes on the way from the camera. ``slow`` hands on
    ``SLOW`` bytes a second.
    """

    MODES = ("cut", "hang", "garble", "slow")
    SLOW = 2_000

    def __init__(self, port: int, seed: int = 0) -> None:
        self._target = port
        self._chance = random.Random(seed)
        self._mode = "pass"
        self._changed = threading.Condition()
        self._connections: set[socket.socket] = set()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self.accepted = 0
        threading.Thread(target=self._accept, args=(self._listening,), daemon=True).start()

    def __enter__(self) -> Faulty:
        return self

    def __exit__(self, *_: object) -> None:
        self.set("cut")

    @property
    def mode(self) -> str:
        return self._mode

    def set(self, mode: str) -> None:
        """Change the fault; connections go on under it, but for those that ``cut`` ends."""
        with self._changed:
            before, self._mode = self._mode, mode
            self._changed.notify_all()
        if mode == "cut":
            _shut(self._listening)
            self.restart()
        elif before == "cut":
            self._listening = socket.create_server(("127.0.0.1", self.port))
            threading.Thread(target=self._accept, args=(self._listening,), daemon=True).start()

    def restart(self) -> None:
        """End the connections that there are, as a camera does that starts again."""
        for connection in list(self._connections):
            _shut(connection)

    def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                client, _ = listening.accept()
            except OSError:
                return
            self.accepted += 1
            try:
                camera = socket.create_connection(("127.0.0.1", self._target), 5)
            except OSError:
                _shut(client)
                continue
            self._connections |= {client, camera}
            for pair, disturbed in (((client, camera), False), ((camera, client), True)):
                threading.Thread(target=self._hand_on, args=(*pair, disturbed), daemon=True).start()

    def _hand_on(self, source: socket.socket, target: socket.socket, disturbed: bool) -> None:
        try:
            while data := source.recv(16384):
                if disturbed:
                    data = self._disturb(data)
                target.sendall(data)
        except OSError:
            pass
        finally:
            self._connections -= {source, target}
            _shut(source)
            _shut(target)

    def _disturb(self, data: bytes) -> bytes:
        with self._changed:
            if self._mode == "hang":
                self._changed.wait_for(lambda: self._mode != "hang")
                raise OSError  # what was held is gone: the camera begins anew
            if self._mode == "slow":
                self._changed.wait_for(lambda: self._mode != "slow", len(data) / self.SLOW)
        if self._mode == "garble":
            changed = bytearray(data)
            for _ in range(max(1, len(changed) // 50)):
                changed[self._chance.randrange(len(changed))] = self._chance.randrange(256)
            return bytes(changed)
        return data


def _shut(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()


def repeated(clip: Path, out: Path, seconds: float) -> Path:
    """Write ``clip`` again and again into the Matroska file ``out``, ``seconds`` long, not encoded again."""
    with av.open(os.fspath(out), "w", format="matroska") as container:
        stream: Any = None
        for packet, at in _again_and_again(clip):
            if at > seconds:
                break
            if stream is None:
                stream = container.add_stream_from_template(packet.stream)
            packet.stream = stream
            container.mux(packet)
    return out


RTSP_SERVERS = ("gst-rtsp-server", "live555MediaServer")
"""Real RTSP servers that are taken where they are installed, the first before the second."""


def rtsp_server() -> str | None:
    """Which of :data:`RTSP_SERVERS` is to be had here."""
    python = "/usr/bin/python3"  # Debian's, which sees Debian's bindings
    probe = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"
    if Path(python).exists() and not subprocess.run([python, "-c", probe], capture_output=True).returncode:
        return RTSP_SERVERS[0]
    return RTSP_SERVERS[1] if shutil.which(RTSP_SERVERS[1]) else None


@contextmanager
def rtsp_cameras(files: dict[str, Path], folder: Path) -> Iterator[dict[str, tuple[int, str]]]:
    """Serve Matroska ``files`` over RTSP by a real server; port and path of each by its name."""
    found = rtsp_server()
    if found is None:
        raise RuntimeError(f"no RTSP server, expected one of {', '.join(RTSP_SERVERS)}")
    if found == "live555MediaServer":
        for name, file in files.items():
            (folder / f"{name}.mkv").symlink_to(file)
        with (folder / "live555.log").open("wb") as log:
            process = subprocess.Popen([found], cwd=folder, stdout=log, stderr=subprocess.STDOUT)
            try:
                port = _announced(folder / "live555.log", process)
                yield {name: (port, f"{name}.mkv") for name in files}
            finally:
                process.kill()
                process.wait()
        return
    script = _GSTREAMER.format(files={name: os.fspath(file) for name, file in files.items()})
    process = subprocess.Popen(["/usr/bin/python3", "-c", script], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        yield {name: (port, name) for name in files}
    finally:
        process.kill()
        process.wait()


def _announced(log: Path, process: subprocess.Popen[bytes]) -> int:
    """The port that live555 says it listens at."""
    for _ in range(100):
        for word in log.read_text(errors="replace").split():
            if word.startswith("rtsp://") and "<" in word:
                host = word.removeprefix("rtsp://").partition("/")[0]
                return int(host.rpartition(":")[2]) if host.count(":") == 1 else 554
        if process.poll() is not None:
            break
        time.sleep(0.1)
    raise RuntimeError(f"live555 did not start: {log.read_text(errors='replace')[-300:]}")


_GSTREAMER = """
import gi
gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer
Gst.init(None)
server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1")
server.set_service("0")
for name, file in {files!r}.items():
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(
        "( filesrc location=" + file + " ! matroskademux ! h264parse ! rtph264pay name=pay0 pt=96 )")
    server.get_mount_points().add_factory("/" + name, factory)
server.attach(None)
print(server.get_bound_port(), flush=True)
GLib.MainLoop().run()
"""
