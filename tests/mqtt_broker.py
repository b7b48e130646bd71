"""A real mosquitto on the loopback, and a client that notes all that it is told."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PATIENCE = 60.0


def mosquitto() -> str:
    """The program; the test is skipped where there is none."""
    places = f"{os.environ.get('PATH', os.defpath)}{os.pathsep}/usr/sbin"
    if (found := shutil.which("mosquitto", path=places)) is None:
        pytest.skip("mosquitto is not installed (Debian: apt install mosquitto)")
    return found


def _paho() -> Any:
    return pytest.importorskip("paho.mqtt.client", reason="paho-mqtt is not installed")


def until(condition: Callable[[], Any], what: str, seconds: float = PATIENCE) -> None:
    """Look again and again until ``condition`` holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.01)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class Broker:
    """On one port of 127.0.0.1, and there again when it is started after :meth:`kill`; what it remembers of
    sessions and retained messages lies in ``folder``. ``options``: lines of its configuration."""

    def __init__(self, folder: Path, *options: str) -> None:
        self._program = mosquitto()
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.port = free_port()
        self.options = list(options) or ["allow_anonymous true"]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def hashes_passwords(self) -> bool:
        """Whether it is built with TLS; without, a file of passwords holds them as they are."""
        return b"SSL_CTX_new" in Path(self._program).read_bytes()

    def start(self) -> None:
        configuration = self.folder / "mosquitto.conf"
        lines = [
            f"listener {self.port} 127.0.0.1",
            "persistence true",
            f"persistence_location {self.folder}/",
            "max_queued_messages 0",
            *([] if os.getuid() else ["user root"]),
            *self.options,
        ]
        configuration.write_text("\n".join(lines) + "\n")
        with (self.folder / "mosquitto.log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._program, "-c", str(configuration)],
                stdout=log,
                stderr=log,
                # Ends with this process, however that ends (PR_SET_PDEATHSIG).
                preexec_fn=lambda: ctypes.CDLL(None).prctl(1, signal.SIGKILL),
            )
        until(self._listens, f"mosquitto does not listen: {self.log()}")

    def save(self) -> None:
        """Have it write down, for its next life, who is subscribed."""
        assert self._process is not None
        database = self.folder / "mosquitto.db"
        before = database.stat().st_mtime_ns if database.exists() else None
        self._process.send_signal(signal.SIGUSR1)
        until(lambda: database.exists() and database.stat().st_mtime_ns != before, "nothing saved")

    def kill(self, number: int = signal.SIGKILL) -> None:
        assert self._process is not None
        self._process.send_signal(number)
        self._process.wait(PATIENCE)

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill()

    def log(self) -> str:
        return (self.folder / "mosquitto.log").read_text(errors="replace")[-2000:]

    def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"mosquitto ended: {self.log()}"
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True


class Listener:
    """A subscriber whose session lasts: what is published while it is away, the broker keeps for it.

    ``messages``: topic, payload, retained flag, in the order in which they came.
    """

    def __init__(self, port: int, topic: str = "#", **credentials: str) -> None:
        self.messages: list[tuple[str, bytes, bool]] = []
        self._subscribed = threading.Event()
        paho = _paho()
        self._client = client = paho.Client(
            paho.CallbackAPIVersion.VERSION2, client_id="listener", clean_session=False
        )
        client.reconnect_delay_set(1, 1)
        if credentials:
            client.username_pw_set(**credentials)
        client.on_connect = lambda client, *_: client.subscribe(topic, qos=1)
        client.on_subscribe = lambda *_: self._subscribed.set()
        client.on_message = lambda client, data, message: self.messages.append(
            (message.topic, message.payload, message.retain)
        )
        client.connect("127.0.0.1", port)
        client.loop_start()
        assert self._subscribed.wait(PATIENCE)

    def of(self, topic: str) -> list[bytes]:
        return [payload for there, payload, _ in list(self.messages) if there == topic]

    def publish(self, topic: str, payload: str, retain: bool = False) -> None:
        self._client.publish(topic, payload, qos=1, retain=retain).wait_for_publish(PATIENCE)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def retained(port: int, **credentials: str) -> dict[str, bytes]:
    """All retained messages of the broker, by topic."""
    found: dict[str, bytes] = {}
    done = threading.Event()
    marker = f"marker/{os.getpid()}/{time.monotonic_ns()}"

    def heard(client: Any, data: Any, message: Any) -> None:
        if message.topic == marker:
            done.set()
        elif message.retain:
            found[message.topic] = message.payload

    paho = _paho()
    client = paho.Client(paho.CallbackAPIVersion.VERSION2)
    if credentials:
        client.username_pw_set(**credentials)
    client.on_connect = lambda client, *_: client.subscribe("#", qos=1)
    client.on_subscribe = lambda client, *_: client.publish(marker, "", qos=1)
    client.on_message = heard
    client.connect("127.0.0.1", port)
    client.loop_start()
    try:
        assert done.wait(PATIENCE)
    finally:
        client.disconnect()
        client.loop_stop()
    return found
