"""How does `ssr-video watch` hold up: many cameras, and cameras that fail?

Cameras send clips again and again, not encoded again: by a real RTSP server where one is installed
(gst-rtsp-server, live555MediaServer), else as MPEG transport streams over HTTP. Between each and the watch
lies a port that can be disturbed.

Latency: 1, 4 and 16 cameras at once. Faults: 16 cameras, of which eight are cut, hung, garbled, slowed and
restarted at random, meanwhile a broker of MQTT that goes away (where mosquitto is installed). Reconnections:
what a thousand of them leave behind. Everything is read from the watch's own page.

python benchmarks/live.py --clips FOLDER [--minutes 10] [--reconnections 1000]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from _results import hardware, table, versions, write

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))
from made_cameras import Faulty, HttpCamera, repeated, rtsp_cameras, rtsp_server  # noqa: E402

from ssr_ops.shipped import default_bundle  # noqa: E402
from triton_repo import repository  # noqa: E402
from triton_repo.config import Options as Serving  # noqa: E402
from triton_repo.server import Server  # noqa: E402

CLIPS = ("video_02.mp4", "video_01.mp4", "cuts_and_gap.mp4")
CAMERAS = 16
DISTURBED = 8
WARM_UP = 10.0
FAULTS = (*Faulty.MODES, "restart")


@dataclass
class Watched:
    """A running `ssr-video watch`, and what its page says."""

    process: subprocess.Popen[str]
    page: str = ""
    lines: list[str] = field(default_factory=list)

    def state(self) -> dict[str, dict[str, Any]]:
        with urllib.request.urlopen(self.page + "state", timeout=10) as answer:
            return {camera["name"]: camera for camera in json.load(answer)["cameras"]}

    def cost(self) -> tuple[float, int, int, float]:
        """Megabytes (proportional), descriptors of the watch itself, processes, CPU seconds so far."""
        megabytes, processes, ticks = 0.0, 0, 0
        for entry in Path("/proc").iterdir():
            with suppress(OSError, ValueError):
                if os.getpgid(int(entry.name)) != self.process.pid:
                    continue
                processes += 1
                rollup = (entry / "smaps_rollup").read_text()
                megabytes += (
                    next(int(row.split()[1]) for row in rollup.splitlines() if row[:4] == "Pss:") / 1024
                )
                times = (entry / "stat").read_text().rpartition(")")[2].split()
                ticks += sum(map(int, times[11:15]))
        descriptors = len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))
        return megabytes, descriptors, processes, ticks / os.sysconf("SC_CLK_TCK")


@contextmanager
def watching(folder: Path, urls: dict[str, str], server: str, sinks: str = "") -> Iterator[Watched]:
    path = folder / "cameras.toml"
    path.write_text("".join(f"[camera.{name}]\nurl = '{url}'\n" for name, url in urls.items()) + sinks)
    program = "from ssr_video.cli import main; main()"
    words = ["watch", str(path), "--url", server, "--page", "127.0.0.1:0", "--spool", str(folder / "spool")]
    process = subprocess.Popen(
        [sys.executable, "-c", program, *words], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    watched = Watched(process)

    def hear() -> None:
        assert process.stderr is not None
        for line in process.stderr:
            watched.lines.append(line.strip())

    threading.Thread(target=hear, daemon=True).start()
    try:
        wait(lambda: any("page: " in line for line in watched.lines), 60)
        watched.page = next(line for line in watched.lines if "page: " in line).split()[-1]
        yield watched
    finally:
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        print(f"  ended in {time.monotonic() - began:.1f} s, status {process.returncode}", file=sys.stderr)


def wait(condition: Any, seconds: float) -> float:
    """Seconds until ``condition`` holds; infinite where it does not."""
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        with suppress(OSError):
            if condition():
                return time.monotonic() - began
        time.sleep(0.1)
    return float("inf")


# -- latency -------------------------------------------------------------------------------------------


def latency(folder: Path, urls: dict[str, str], server: str, seconds: float) -> list[list[str]]:
    rows = []
    for count in (1, 4, CAMERAS):
        some = dict(list(urls.items())[:count])
        with watching(folder, some, server) as watched:
            wait(lambda n=count: sum(c["state"] == "live" for c in watched.state().values()) == n, 60)
            time.sleep(WARM_UP)
            before, cpu = watched.state(), watched.cost()[3]
            time.sleep(seconds)
            after, (megabytes, _, _, now) = watched.state(), watched.cost()

        def rate(key: str, a: Any = before, b: Any = after) -> float:
            return sum(b[name][key] - a[name][key] for name in b) / seconds

        dropped = {}
        for name in after:
            for cause, number in after[name]["dropped"].items():
                dropped[cause] = dropped.get(cause, 0) + number - before[name]["dropped"].get(cause, 0)
        both = [camera["latency"] for camera in after.values() if camera["latency"]]
        rows.append([
            str(count),
            f"{rate('read'):.0f}",
            f"{rate('analysed'):.0f}",
            ", ".join(f"{cause} {n / seconds:.0f}" for cause, n in sorted(dropped.items()) if n)
            or "none",
            f"{statistics.median(p50 for p50, _ in both) * 1000:.0f}",
            f"{max(p99 for _, p99 in both) * 1000:.0f}",
            f"{(now - cpu) / seconds:.2f}",
            f"{megabytes:.0f}",
        ])  # fmt: skip
        print(f"  {rows[-1]}", file=sys.stderr)
    return rows


# -- faults --------------------------------------------------------------------------------------------


@dataclass
class Faulted:
    recoveries: dict[str, list[float]] = field(default_factory=lambda: {fault: [] for fault in FAULTS})
    longest_p99: float = 0.0
    alone_lost: int = 0
    costs: list[tuple[float, int, int, float]] = field(default_factory=list)
    broker: str = "not run: mosquitto is not installed"
    end: dict[str, dict[str, Any]] = field(default_factory=dict)


def disturb(
    watched: Watched, ports: dict[str, Faulty], found: Faulted, until: float, chance: random.Random
) -> None:
    """Disturb one of ``ports`` after another, each in a thread, until the time is over."""

    def one(name: str, port: Faulty) -> None:
        own = random.Random(chance.random())
        while time.monotonic() < until:
            time.sleep(own.uniform(2, 15))
            fault = own.choice(FAULTS)
            if fault == "restart":
                port.restart()
            else:
                port.set(fault)
                time.sleep(own.uniform(3, 25))
                port.set("pass")
            reads = watched.state()[name]["read"]
            back = time.monotonic()

            def again(name: str = name, reads: int = reads) -> bool:
                camera = watched.state()[name]
                return camera["state"] == "live" and camera["read"] > reads + 5

            found.recoveries[fault].append(wait(again, 60) if back < until + 60 else 0.0)

    threads = [threading.Thread(target=one, args=pair, daemon=True) for pair in ports.items()]
    for thread in threads:
        thread.start()
    names = set(ports)
    next_look = time.monotonic() + 60
    while any(thread.is_alive() for thread in threads):
        time.sleep(2)
        state = watched.state()
        alone = [camera for name, camera in state.items() if name not in names]
        found.alone_lost += sum(camera["state"] != "live" for camera in alone)
        found.longest_p99 = max([found.longest_p99, *(c["latency"][1] for c in alone if c["latency"])])
        if time.monotonic() > next_look:
            next_look += 60
            found.costs.append(watched.cost())
            print(f"  {found.costs[-1]}, p99 {found.longest_p99:.2f}", file=sys.stderr)
    found.end = watched.state()


class Broker:
    """A mosquitto that can go away, and one who listens to it."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self._folder = folder
        self.ids: set[str] = set()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        import paho.mqtt.client as mqtt

        config = self._folder / "mosquitto.conf"
        config.write_text(f"listener {self.port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n")
        command = [shutil.which("mosquitto") or "/usr/sbin/mosquitto", "-c", str(config)]
        self._process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=f"listener-{time.monotonic()}")
        client.on_connect = lambda c, *_: c.subscribe("ssr/+/event", 1)
        client.on_message = lambda c, u, message: self._take(message.payload)
        client.connect_async("127.0.0.1", self.port)
        client.reconnect_delay_set(1, 1)
        client.loop_start()
        wait(client.is_connected, 30)
        self._client = client

    def _take(self, payload: bytes) -> None:
        told = json.loads(payload)
        self.ids |= {event["id"] for event in (told if isinstance(told, list) else [told])}

    def stop(self) -> None:
        if self._process is not None:
            self._client.loop_stop()
            self._process.kill()
            self._process.wait()
            self._process = None


def faults(
    folder: Path, cameras: dict[str, tuple[int, str]], scheme: str, server: str, minutes: float
) -> Faulted:
    found = Faulted()
    lines = folder / "ages.jsonl"
    with ExitStack() as running:
        ports = {name: running.enter_context(Faulty(port)) for name, (port, _) in cameras.items()}
        urls = {
            name: f"{scheme}://127.0.0.1:{ports[name].port}/{path}" for name, (_, path) in cameras.items()
        }
        sinks = f"[sink.lines]\npath = '{lines}'\n"
        broker = None
        if shutil.which("mosquitto") or Path("/usr/sbin/mosquitto").exists():
            broker = Broker(folder)
            broker.start()
            running.callback(broker.stop)
            sinks += f"[sink.mqtt]\nurl = 'mqtt://127.0.0.1:{broker.port}'\n"
        watched = running.enter_context(watching(folder, urls, server, sinks))
        live = lambda: all(c["state"] == "live" for c in watched.state().values())  # noqa: E731
        wait(live, 120)
        time.sleep(WARM_UP)
        found.costs.append(watched.cost())
        if broker is not None:
            broker.stop()
        until = time.monotonic() + minutes * 60
        some = dict(list(ports.items())[:DISTURBED])
        disturb(watched, some, found, until, random.Random(0))
        if broker is not None:
            broker.start()
            found.broker = "did not catch up"
            caught = wait(lambda: _ids(lines) <= broker.ids, 120)
            if caught < float("inf"):
                found.broker = f"{len(_ids(lines)):,} events, none lost, {caught:.0f} s after its return"
    return found


def _ids(lines: Path) -> set[str]:
    return {json.loads(line)["id"] for line in lines.read_text().splitlines() if line.endswith("}")}


# -- reconnections -------------------------------------------------------------------------------------


def reconnections(folder: Path, clip: Path, server: str, count: int) -> list[list[str]]:
    """Cameras whose connection is ended whenever it is live, until there were ``count`` of these."""
    rows = []
    with HttpCamera(clip) as camera, ExitStack() as running:
        ports = {f"camera-{i}": running.enter_context(Faulty(camera.port)) for i in range(CAMERAS)}
        urls = {name: f"http://127.0.0.1:{port.port}/x" for name, port in ports.items()}
        watched = running.enter_context(watching(folder, urls, server))
        ended: dict[str, int] = {}
        steps = [count // 10, *range(count // 4, count + 1, count // 4)]
        while steps:
            state = watched.state()
            for name, seen in state.items():
                if seen["state"] == "live" and ended.get(name) != seen["reconnections"]:
                    ended[name] = seen["reconnections"]
                    ports[name].restart()
            done = sum(seen["reconnections"] for seen in state.values())
            if done >= steps[0]:
                steps.pop(0)
                wait(lambda: all(c["state"] == "live" for c in watched.state().values()), 60)
                rows.append(reconnected(watched, done))
                print(f"  {rows[-1]}", file=sys.stderr)
            time.sleep(0.2)
    return rows


def reconnected(watched: Watched, done: int) -> list[str]:
    megabytes, descriptors, processes, _ = watched.cost()
    rollup = Path(f"/proc/{watched.process.pid}/smaps_rollup").read_text().splitlines()
    own = next(int(row.split()[1]) / 1024 for row in rollup if row.startswith("Rss:"))
    return [f"{done:,}", f"{own:.1f}", f"{megabytes:.0f}", str(descriptors), str(processes)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=60, help="of each look at the latency")
    parser.add_argument("--minutes", type=float, default=10, help="of faults")
    parser.add_argument("--reconnections", type=int, default=1000)
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # with all that was started
    with tempfile.TemporaryDirectory() as name, ExitStack() as running:
        folder = Path(name)
        repo = folder / "models"
        repository.build([("ssrnet", default_bundle())], repo, Serving(frame=True))
        served = running.enter_context(Server(repo))
        length = 2 * given.minutes * 60 + 4 * (given.seconds + 60) + 600
        real = rtsp_server()
        cameras: dict[str, tuple[int, str]] = {}
        files = {}
        for index in range(CAMERAS):
            clip = given.clips / CLIPS[index % len(CLIPS)]
            if real is None:
                cameras[f"camera-{index}"] = (running.enter_context(HttpCamera(clip)).port, "live.ts")
            elif clip not in files:
                files[clip] = repeated(clip, folder / f"long-{index}.mkv", length)
        if real is not None:
            names = {f"camera-{i}": files[given.clips / CLIPS[i % len(CLIPS)]] for i in range(CAMERAS)}
            cameras = running.enter_context(rtsp_cameras(names, folder))
        scheme = "http" if real is None else "rtsp"
        urls = {key: f"{scheme}://127.0.0.1:{port}/{path}" for key, (port, path) in cameras.items()}
        late = latency(folder, urls, served.grpc_url, given.seconds)
        held = faults(folder, cameras, scheme, served.grpc_url, given.minutes)
        again = reconnections(folder, given.clips / CLIPS[1], served.grpc_url, given.reconnections)
    print(write("live", report(real, given, late, held, again)))


def report(real: str | None, given: Any, late: list[list[str]], held: Faulted, again: list[list[str]]) -> str:
    recovered = [
        [fault, str(len(found)), f"{statistics.median(found):.1f}", f"{max(found):.1f}"]
        for fault, found in held.recoveries.items()
        if found
    ]
    first, last = held.costs[0], held.costs[-1]
    return "\n\n".join([
        "# Many cameras, and cameras that fail",
        f"{hardware()}. {versions('numpy', 'av', 'tritonclient', 'starlette', 'uvicorn')}.",
        f"`python benchmarks/live.py`: cameras by {real or 'MPEG-TS over HTTP (no RTSP server is here)'}, "
        "640 x 480 pixels, H.264, 30 frames a second, real faces; faces found by the served YuNet, in copies "
        "of at most 640 pixels; the cameras' server, tritonserver and the watch share the machine's cores.",
        "## Latency",
        "Milliseconds from the arrival of a frame's packet to what is told of it: the median camera's "
        "median, the worst camera's 99th percentile, over the last minute. Rates: frames a second of all "
        "cameras. Dropped a second, by cause; a frame whose answer would come after 0.5 s is stale. CPU: "
        "cores that the watch takes, without the server. Memory: proportional set of all its processes.",
        table(("cameras", "read", "analysed", "dropped", "p50, ms", "p99, ms", "CPU", "MB"), late),
        f"## {given.minutes:g} minutes of faults",
        f"{CAMERAS} cameras, of which {DISTURBED} are disturbed at random, each for 3 to 25 s. Recovery: "
        "seconds from the fault's end until the camera is live and six new frames were decoded.",
        table(("fault", "times", "median, s", "longest, s"), recovered),
        f"- The {CAMERAS - DISTURBED} cameras left alone: worst 99th percentile of latency "
        f"{held.longest_p99:.2f} s; seen other than live {held.alone_lost} times.",
        f"- The watch: {first[0]:.0f} MB, {first[1]} descriptors, {first[2]} processes before; "
        f"{last[0]:.0f} MB, {last[1]} descriptors, {last[2]} processes at the end.",
        f"- A broker that was away all the time: {held.broker}.",
        "## Reconnections",
        f"{CAMERAS} cameras whose connections are ended whenever they are live. Megabytes: resident, of the "
        "watch itself; proportional, of all its processes.",
        table(("reconnections", "MB, itself", "MB, all", "descriptors", "processes"), again),
    ])  # fmt: skip


if __name__ == "__main__":
    main()
