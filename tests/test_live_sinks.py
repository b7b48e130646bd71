"""Where the events of ``ssr-video watch`` go: what a spool's bound holds is not lost, nobody is held up, no
secret is told."""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import os
import re
import select
import signal
import socket
import socketserver
import sqlite3
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from mqtt_broker import Broker, Listener, retained, until
from ssr_video.live.backoff import Backoff
from ssr_video.live.keys import known
from ssr_video.live.secrets import filled
from ssr_video.live.sinks import spool as spool_module
from ssr_video.live.sinks.delivery import TRIES, Delivery, Refused, Undelivered
from ssr_video.live.sinks.lines import Lines
from ssr_video.live.sinks.settings import (
    LinesSettings,
    MqttSettings,
    ParquetSettings,
    WebhookSettings,
    sinks_of,
)
from ssr_video.live.sinks.sink import Event, Sink
from ssr_video.live.sinks.spool import Spool
from ssr_video.live.status import CameraStatus, Present

from ssr_bundle.errors import SsrError

EIGHT = datetime(2026, 11, 29, 8, tzinfo=timezone.utc)
LONG = 60.0
SECRET = "hunter2-and-more"


def event(number: int, camera: str = "front", kind: str = "update", **fields: Any) -> Event:
    return {
        "schema": 1,
        "event": kind,
        "id": f"id-{number}",
        "camera": camera,
        "session": "s1",
        "track": number,
        "time": 10.5,
        "utc": "2026-11-29T08:00:10.500Z",
        "first": 1.25,
        "last": 10.0,
        "frames": 40,
        "box": [1.0, 2.0, 3.0, 4.0],
        "seen": True,
        "age": 36.4,
        "interval": [31.4, 41.4],
        "looks": 3,
        "effective_looks": 1.5,
        "unknown": None,
        "zones": ["door"],
        **fields,
    }


def camera(name: str = "front", state: Any = "live", ages: Sequence[float | None] = ()) -> CameraStatus:
    people = tuple(Present(i, (0.1, 0.1, 0.2, 0.2), age, None, None) for i, age in enumerate(ages))
    return CameraStatus(name, "rtsp://10.0.0.1/", state, EIGHT, people=people)


def quick() -> Backoff:
    return Backoff(0.01, 0.05)


def ids(events: Sequence[Event]) -> list[str]:
    return [one["id"] for one in events]


def firsts(found: Sequence[Any]) -> list[Any]:
    """In their order, each once."""
    return list(dict.fromkeys(found))


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def closing() -> Iterator[Callable[..., Any]]:
    """Hands on a sink, a server, ..., and closes it after the test, the last one first."""
    with ExitStack() as stack:

        def later(one: Any, close: Callable[[], object] | None = None) -> Any:
            stack.callback(close or one.close)
            return one

        yield later


# -- configuration -----------------------------------------------------------------------------------------

URL = "https://example.org/hook"


def test_the_settings_of_all_sinks() -> None:
    table = {
        "lines": {"path": "ages.jsonl", "keep": 3},
        "webhook": {
            "url": f"{URL}?t=${{TOKEN}}",
            "headers": {"Authorization": "Bearer ${TOKEN}"},
            "timeout": 2,
        },
        "mqtt": {"url": "mqtts://[::1]", "user": "ssr", "password": "${TOKEN}", "prefix": "home/ssr"},
        "parquet": {"folder": "tracks", "rows": 5},
    }
    lines, webhook, mqtt, parquet = sinks_of(table, "cameras.toml", {"TOKEN": SECRET})
    assert lines == LinesSettings(Path("ages.jsonl"), keep=3)
    assert parquet == ParquetSettings(Path("tracks"), rows=5)
    assert isinstance(webhook, WebhookSettings)
    assert isinstance(mqtt, MqttSettings)
    assert webhook.url == f"{URL}?t={SECRET}"
    assert webhook.headers == (("Authorization", f"Bearer {SECRET}"),)
    assert (mqtt.host, mqtt.port, mqtt.tls, mqtt.password) == ("::1", 8883, True, SECRET)
    assert SECRET not in repr([lines, webhook, mqtt, parquet])


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ({"line": {}}, "[sink]: unknown key 'line', expected lines"),
        ({"kafka": {}}, "[sink]: unknown key 'kafka', expected one of lines, mqtt, parquet, webhook"),
        ({"lines": 3}, "[sink.lines]: expected a table, got 3"),
        ({"lines": {}}, "[sink.lines]: 'path' is missing"),
        ({"lines": {"path": ""}}, "[sink.lines]: path: expected a path, got ''"),
        ({"lines": {"path": "a", "keep": 0}}, "keep: expected a whole number of at least 1, got 0"),
        ({"lines": {"path": "a", "keep": True}}, "keep: expected a whole number of at least 1, got True"),
        ({"lines": {"path": "a", "most_byte": 1}}, "unknown key 'most_byte', expected most_bytes"),
        ({"webhook": {"url": "ftp://x"}}, "url: expected an address that begins with https:// or http://"),
        ({"webhook": {"url": "https://u:p@x"}}, "url: holds a user or a password, expected them in headers"),
        ({"webhook": {"url": URL, "timeout": 0}}, "timeout: expected a number from 0.1 to 300, got 0"),
        ({"webhook": {"url": URL, "timeout": float("nan")}}, "timeout: expected a number from 0.1 to 300"),
        ({"webhook": {"url": "${NONE}"}}, "url: ${NONE}: this environment variable is not set"),
        ({"webhook": {"url": URL, "headers": {"X-Y": "${Z"}}}, "X-Y: expected ${NAME}, the name of"),
        (
            {"webhook": {"url": URL, "headers": {"X-Y": "a\nb"}}},
            "[sink.webhook.headers]: X-Y: expected print",
        ),
        ({"webhook": {"url": URL, "headers": {"Host": "a"}}}, "Host: is set by ssr-video"),
        ({"webhook": {"url": URL, "headers": {"a b": "a"}}}, "'a b': cannot be the name of a header"),
        ({"webhook": {"url": URL, "headers": "a"}}, "[sink.webhook.headers]: expected a table, got 'a'"),
        ({"mqtt": {"url": "mqtt://h:0"}}, "expected an address that begins with mqtt:// or mqtts://"),
        ({"mqtt": {"url": "mqtt://h:99999"}}, "expected an address that begins with mqtt:// or mqtts://"),
        ({"mqtt": {"url": "h:1883"}}, "expected an address that begins with mqtt:// or mqtts://"),
        ({"mqtt": {"url": "mqtt://h/topic"}}, "url: expected a host and a port alone"),
        ({"mqtt": {"url": "mqtt://u@h"}}, "url: holds a user or a password, expected them in user and pass"),
        ({"mqtt": {"url": "mqtt://h", "password": "x"}}, "password: is of no use alone, expected user too"),
        (
            {"mqtt": {"url": "mqtt://h", "prefix": "a/#"}},
            "prefix: expected the beginning of a topic, as 'ssr'",
        ),
        ({"mqtt": {"url": "mqtt://h", "prefix": ""}}, "prefix: expected the beginning of a topic"),
        ({"mqtt": {"url": "mqtt://h", "version": "4"}}, "version: '4' is unknown, expected one of 5, 3.1.1"),
        ({"mqtt": {"url": "mqtt://h", "spool_bytes": 5}}, "spool_bytes: expected a whole number of at least"),
        ({"parquet": {"folder": "x", "every": "1h"}}, "every: expected a number of at least 1, got '1h'"),
    ],
)
def test_what_a_sink_cannot_be(table: dict[str, Any], told: str) -> None:
    with pytest.raises(SsrError, match=re.escape(told)) as refused:
        sinks_of(table, "cameras.toml", {})
    assert str(refused.value).startswith("cameras.toml: [sink")


def test_keys_and_secrets() -> None:
    with pytest.raises(SsrError, match=re.escape("c.toml: [camera.front]: unknown key 'ulr', expected url")):
        known({"ulr": 1}, ("url", "zones"), "c.toml: [camera.front]")
    known({"url": 1}, ("url", "zones"), "c.toml")
    assert filled("a${B}c$d${B}", {"B": "${B}"}) == "a${B}c$d${B}"
    for text in (f"{SECRET}${{NONE}}", f"${{{SECRET}", f"${{}}{SECRET}", f"{SECRET}${{A-B}}"):
        with pytest.raises(SsrError) as refused:
            filled(text, {"A": SECRET})
        assert SECRET not in str(refused.value)


# -- the spool ---------------------------------------------------------------------------------------------


def everything(spool: Spool) -> list[Event]:
    return [one for _, one in spool.oldest(10_000)]


def test_a_spool_keeps_events_over_processes(tmp_path: Path, said: list[str], closing: Any) -> None:
    first = Spool(tmp_path / "deep" / "s", 10**6, said.append)
    for number in range(5):
        first.put(event(number))
    assert ids([one for _, one in first.oldest(3)]) == ["id-0", "id-1", "id-2"]
    first.done(2)
    assert ids(everything(first)) == ["id-2", "id-3", "id-4"]
    first.close()
    first.put(event(9))
    assert first.oldest(1) == []
    second = closing(Spool(first.path, 10**6, said.append))
    assert (ids(everything(second)), second.waiting) == (["id-2", "id-3", "id-4"], 3)
    assert second.identity == first.identity
    second.put(event(5))
    assert everything(second)[-1] == event(5)
    assert (second.path.stat().st_mode & 0o777, said) == (0o600, [])


_ROWS = """
import shutil, sqlite3, sys, tempfile
with tempfile.TemporaryDirectory() as copy:
    for ending in ("", "-wal"):
        shutil.copy(sys.argv[1] + ending, copy + "/s" + ending)
    print(sqlite3.connect(copy + "/s").execute("SELECT COUNT(*) FROM events").fetchone()[0])
"""


def rows(path: Path) -> int:
    """Events in the file, as it would be after a kill."""
    return int(subprocess.run([sys.executable, "-c", _ROWS, path], capture_output=True, check=True).stdout)


def test_what_is_delivered_at_once_is_never_written(tmp_path: Path, said: list[str], closing: Any) -> None:
    spool = closing(Spool(tmp_path / "s", 10**6, said.append, linger=LONG))
    spool.put(event(1))
    spool.done(spool.oldest(1)[0][0])
    assert (spool.in_memory, spool.waiting, rows(spool.path)) == (0, 0, 0)


def test_what_is_delivered_later_leaves_the_file(tmp_path: Path, said: list[str], closing: Any) -> None:
    spool = closing(Spool(tmp_path / "s", 10**6, said.append, linger=0.001))
    for number in range(10):
        spool.put(event(number))
    until(lambda: spool.in_memory == 0, "not written")
    assert rows(spool.path) == 10
    spool.done(spool.oldest(7)[-1][0])
    until(lambda: rows(spool.path) == 3, "not deleted")
    assert ids(everything(spool)) == ["id-7", "id-8", "id-9"]


_TAKES = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from test_live_sinks import *
from ssr_video.live.sinks.open import open_sink
spool = Spool(Path({path!r}), 10**7, print)
for number in range(500):
    spool.put(event(number))
until(lambda: spool.in_memory == 0, "not written")
print("kept", flush=True)
for number in range(500, 10**9):
    spool.put(event(number))
"""


def test_a_kill_loses_nothing_that_was_written(tmp_path: Path, said: list[str], closing: Any) -> None:
    path = tmp_path / "s"
    program = _TAKES.format(tests=str(ROOT / "tests"), path=str(path))
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == b"kept\n"
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait(LONG)
    found = ids([one for _, one in closing(Spool(path, 10**7, said.append)).oldest(10**6)])
    assert found == [f"id-{number}" for number in range(len(found))]
    assert (len(found) >= 500, said) == (True, [])


def test_beyond_its_bound_the_oldest_go(tmp_path: Path, said: list[str], closing: Any) -> None:
    size = len(json.dumps(event(100)))
    spool = closing(Spool(tmp_path / "s", 20 * size, said.append, linger=0.001))
    for number in range(100, 120):
        spool.put(event(number))
    held = spool.oldest(2)
    for number in range(120, 130):
        spool.put(event(number))
    spool.put(event(1, unknown="x" * 21 * size))  # larger than the spool: it costs no other event
    until(lambda: (spool.waiting, spool.in_memory) == (20, 0), "not evicted")
    assert (spool.lost, rows(spool.path)) == (11, 20)
    assert ids([one for _, one in held]) == ["id-100", "id-101"]
    spool.done(held[-1][0])
    assert ids(everything(spool)) == [f"id-{number}" for number in range(112, 130)]


@pytest.mark.parametrize("damage", ["no database", "a hole", "no event", "no identity"])
def test_a_damaged_spool_is_moved_aside(damage: str, tmp_path: Path, said: list[str], closing: Any) -> None:
    path = tmp_path / "s"
    with_events = Spool(path, 10**7, said.append)
    for number in range(500):
        with_events.put(event(number))
    with_events.close()
    if damage == "no database":
        path.write_bytes(b"not SQLite at all" * 1000)
    elif damage == "a hole":
        data = bytearray(path.read_bytes())
        data[8192:-8192] = bytes(len(data) - 16384)
        path.write_bytes(data)
    else:
        database = sqlite3.connect(path)
        database.execute("DELETE FROM about" if damage == "no identity" else "UPDATE events SET event = '['")
        database.commit()
        database.close()
    spool = closing(Spool(path, 10**6, said.append))
    spool.oldest(1)  # where the damage of an event shows
    spool.put(event(1))
    assert ids(everything(spool)) == ["id-1"]
    (aside,) = tmp_path.glob("s.damaged-*")
    assert len(said) == 1
    assert said[0].startswith(f"{path}: ")
    assert aside.name in said[0]
    assert spool.failing is None


def test_a_spool_that_is_damaged_meanwhile(
    tmp_path: Path, said: list[str], closing: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was handed out, or is not written, stays; the rest is counted as lost."""

    def damaged() -> Event:
        raise sqlite3.DatabaseError("database disk image is malformed")

    spool = closing(Spool(tmp_path / "s", 10**6, said.append, linger=0.001))
    for number in range(5):
        spool.put(event(number))
    until(lambda: spool.in_memory == 0, "not written")
    assert ids([one for _, one in spool.oldest(2)]) == ["id-0", "id-1"]
    with monkeypatch.context() as patch:
        patch.setattr(spool_module, "_event", lambda text: damaged())
        assert spool.oldest(5) == []
    assert (ids(everything(spool)), spool.lost, spool.waiting) == (["id-0", "id-1"], 3, 2)
    spool.put(event(9))
    assert ids(everything(spool)) == ["id-0", "id-1", "id-9"]
    assert len(said) == 1
    assert "database disk image is malformed; moved to s.damaged-" in said[0]


def test_what_cannot_be_a_spool(tmp_path: Path, said: list[str], closing: Any) -> None:
    closing(Spool(tmp_path / "s", 10**6, said.append))
    with pytest.raises(SsrError, match=r"/s: another process uses this spool"):
        Spool(tmp_path / "s", 10**6, said.append)
    foreign = sqlite3.connect(tmp_path / "f")
    foreign.execute("CREATE TABLE mine (a)")
    foreign.close()
    with pytest.raises(SsrError, match=r"/f: is no spool of this version"):
        Spool(tmp_path / "f", 10**6, said.append)
    os.mkfifo(tmp_path / "p")
    with pytest.raises(SsrError, match=r"/p: is no regular file"):
        Spool(tmp_path / "p", 10**6, said.append)
    (tmp_path / "file").touch()
    with pytest.raises(SsrError, match=r"/file"):
        Spool(tmp_path / "file" / "s", 10**6, said.append)
    assert (tmp_path / "f").exists()
    assert said == []


_FULL = """
import resource, sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from test_live_sinks import *
from ssr_video.live.sinks.open import open_sink

def room(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

{body}
"""


def with_small_disk(body: str, **names: object) -> list[str]:
    """Lines that a program prints; ``room(bytes)``, a limit on the size of files, stands for a full disk."""
    program = _FULL.format(tests=str(ROOT / "tests"), body=body.format(**names))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


_FULL_SPOOL = """
said = []
room({start})
spool = Spool(Path({path!r}), 10**7, said.append, linger=0.001)
for number in range(500):
    spool.put(event(number))
until(lambda: spool.failing, "not full")
print(spool.failing)
spool.done(spool.oldest(100)[-1][0])
print(ids(everything(spool)) == [f"id-{{n}}" for n in range(100, 500)], spool.waiting, spool.lost)
room(resource.RLIM_INFINITY)
until(lambda: spool.in_memory == 0 and not spool.failing, "not written")
spool.close()
for line in said:
    print(line)
"""


_FULL_AGAIN = """
room(20)
spool = Spool(Path({path!r}), 10**7, [].append, linger=0.001)
spool.put(event(100))
print(ids(everything(spool)) == [f"id-{{n}}" for n in range(101)], spool.waiting)
spool.done(spool.oldest(50)[-1][0])
until(lambda: spool.failing, "not full")
print(ids(everything(spool)) == [f"id-{{n}}" for n in range(50, 101)], spool.waiting)
"""


def test_a_spool_is_read_on_a_full_disk(tmp_path: Path, said: list[str]) -> None:
    first = Spool(tmp_path / "s", 10**7, said.append)
    for number in range(100):
        first.put(event(number))
    first.close()
    assert with_small_disk(_FULL_AGAIN, path=str(tmp_path / "s")) == ["True 101", "True 51"]


@pytest.mark.parametrize("start", [0, 60_000])
def test_a_full_disk_holds_up_no_event(start: int, tmp_path: Path, said: list[str], closing: Any) -> None:
    """Full from the start, or meanwhile: events go on from memory, and to the disk once there is room."""
    failing, delivered, full, again = with_small_disk(_FULL_SPOOL, path=str(tmp_path / "s"), start=start)
    assert re.fullmatch("spool: (disk i/o error|database or disk is full|file too large)", failing)
    assert delivered == "True 400 0"
    assert full == f"{tmp_path / 's'}: {failing[7:]}; new events wait in memory"
    assert again == f"{tmp_path / 's'}: is written again"
    spool = closing(Spool(tmp_path / "s", 10**7, said.append))
    assert ids(everything(spool)) == [f"id-{number}" for number in range(100, 500)]


def test_memory_is_bounded_too(
    tmp_path: Path, said: list[str], closing: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = closing(Spool(tmp_path / "s", 10**6, said.append, linger=LONG))
    monkeypatch.setattr(spool_module, "MOST_IN_MEMORY", 10 * len(json.dumps(event(100))))
    for number in range(100, 110):
        spool.put(event(number))
    held = spool.oldest(2)
    for number in range(110, 113):
        spool.put(event(number))
    assert (spool.waiting, spool.lost, len(held)) == (10, 3, 2)
    expected = ["id-100", "id-101", *(f"id-{number}" for number in range(105, 113))]
    assert ids(everything(spool)) == expected


# -- deliveries --------------------------------------------------------------------------------------------


class Arrivals:
    """Takes deliveries; ``answer`` may raise instead."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.answer: Callable[[list[str]], None] = lambda batch: None
        self.tries = 0

    def __call__(self, events: Sequence[Event]) -> None:
        self.tries += 1
        self.answer(ids(events))
        self.batches.append(ids(events))

    @property
    def all(self) -> list[str]:
        return [one for batch in self.batches for one in batch]


@pytest.fixture
def arrivals() -> Arrivals:
    return Arrivals()


Make = Callable[..., Delivery]


@pytest.fixture
def delivering(tmp_path: Path, said: list[str], closing: Any, arrivals: Arrivals) -> Make:
    def make(most_bytes: int = 10**7, **options: Any) -> Delivery:
        spool = Spool(tmp_path / "s", most_bytes, said.append, linger=0.001)
        made = Delivery("sink", spool, arrivals, said.append, **{"backoff": quick(), **options})
        closing(made, lambda: made.close(0.5))
        return made

    return make


def test_pauses_grow_and_vary() -> None:
    backoff = Backoff(0.5, 30.0, lambda: 0.0)
    assert [backoff.pause() for _ in range(8)] == [0.5, 1, 2, 4, 8, 16, 30, 30]
    backoff.reset()
    assert backoff.pause() == 0.5
    assert Backoff(0.5, 30.0, lambda: 1.0).pause() == 0.25


def test_events_arrive_in_order_after_failures(delivering: Make, arrivals: Arrivals, said: list[str]) -> None:
    def fails(batch: list[str]) -> None:
        if arrivals.tries <= 3:
            raise Undelivered("connection refused")

    arrivals.answer = fails
    delivery = delivering(at_once=10)
    for number in range(95):
        delivery.put(event(number))
    until(lambda: delivery.status.delivered == 95, "not delivered")
    assert arrivals.all == [f"id-{number}" for number in range(95)]
    assert max(map(len, arrivals.batches)) <= 10
    status = delivery.status
    assert (status.failing, status.waiting, status.lost) == (None, 0, 0)
    assert re.fullmatch(r"sink: connection refused; \d+ events wait", said[0])
    assert said[1:] == ["sink: delivers again"]


def test_what_arrived_of_a_batch_is_not_sent_again(delivering: Make, arrivals: Arrivals) -> None:
    seen: list[str] = []

    def half(batch: list[str]) -> None:
        if arrivals.tries == 1:
            seen.extend(batch[:3])
            raise Undelivered("connection lost", done=3)
        seen.extend(batch)

    arrivals.answer = half
    delivery = delivering(gather=LONG, at_once=10)
    for number in range(10):
        delivery.put(event(number))
    until(lambda: delivery.status.delivered == 10, "not delivered")
    assert seen == [f"id-{number}" for number in range(10)]


@pytest.mark.parametrize("fault", [Refused("HTTP 400"), KeyError("camera")])
def test_a_refused_event_holds_up_no_other(
    fault: Exception, delivering: Make, arrivals: Arrivals, said: list[str]
) -> None:
    def picky(batch: list[str]) -> None:
        if "id-37" in batch:
            raise fault

    arrivals.answer = picky
    delivery = delivering(gather=LONG, at_once=100)
    for number in range(100):
        delivery.put(event(number))
    until(lambda: delivery.status.delivered == 99, "not delivered")
    assert arrivals.all == [f"id-{number}" for number in range(100) if number != 37]
    assert (delivery.status.lost, delivery.status.waiting, delivery.status.failing) == (1, 0, None)
    why = "HTTP 400" if isinstance(fault, Refused) else "unexpected KeyError"
    assert f"sink: {why}: an event is given up" in said
    assert arrivals.tries < 20 + TRIES


def test_closing_brings_on_what_waits(delivering: Make, arrivals: Arrivals) -> None:
    delivery = delivering(gather=LONG, at_once=1000)
    for number in range(20):
        delivery.put(event(number))
    delivery.close(LONG)
    assert arrivals.batches == [[f"id-{number}" for number in range(20)]]


def test_closing_waits_for_nobody(delivering: Make, arrivals: Arrivals, tmp_path: Path, closing: Any) -> None:
    stuck, free = threading.Event(), threading.Event()

    def hangs(batch: list[str]) -> None:
        stuck.set()
        free.wait(LONG)
        raise Undelivered("no answer in time")

    arrivals.answer = hangs
    delivery = delivering()
    delivery.put(event(1))
    assert stuck.wait(LONG)
    before = time.monotonic()
    delivery.close(0.2)
    assert time.monotonic() - before < 20
    spool = closing(Spool(tmp_path / "s", 10**6, print))
    assert ids(everything(spool)) == ["id-1"]
    free.set()


def test_closing_tries_once_more_where_it_failed(delivering: Make, arrivals: Arrivals) -> None:
    def refuses(batch: list[str]) -> None:
        raise Undelivered("connection refused", after=LONG)

    arrivals.answer = refuses
    delivery = delivering()
    delivery.put(event(1))
    until(lambda: delivery.status.failing, "not tried")
    assert delivery.status.failing == "connection refused"
    delivery.close(LONG)
    assert arrivals.tries == 2


def test_events_gather(delivering: Make, arrivals: Arrivals) -> None:
    now = [0.0]
    delivery = delivering(gather=600.0, at_once=3, clock=lambda: now[0])
    for number in range(4):
        delivery.put(event(number))
    until(lambda: arrivals.batches == [["id-0", "id-1", "id-2"]], "three are enough")
    now[0] = 601.0
    delivery.put(event(4))  # wakes it, as the clock does not
    until(lambda: arrivals.all[3:] == ["id-3", "id-4"], "time is up")


def test_what_is_left_gathers_anew(
    delivering: Make, arrivals: Arrivals, tmp_path: Path, said: list[str]
) -> None:
    spool = Spool(tmp_path / "s", 10**6, said.append)
    for number in range(25):
        spool.put(event(number))
    spool.close()
    delivery = delivering(gather=LONG, at_once=10)
    until(lambda: delivery.status.delivered >= 20, "not delivered")
    delivery.put(event(25))
    delivery.close(LONG)
    assert [len(batch) for batch in arrivals.batches] == [10, 10, 6]


def test_the_pauses_of_an_event_that_is_given_up_are_not_those_of_the_next(
    delivering: Make, arrivals: Arrivals
) -> None:
    class Noting(Backoff):
        def pause(self) -> float:
            pauses.append(super().pause())
            return 0.0

    def refuses(batch: list[str]) -> None:
        raise Refused("HTTP 400")

    pauses: list[float] = []
    arrivals.answer = refuses
    delivery = delivering(backoff=Noting(0.5, 30.0, lambda: 0.0))
    delivery.put(event(1))
    delivery.put(event(2))
    until(lambda: delivery.status.lost == 2, "not given up")
    assert pauses == 2 * [0.5, 1, 2, 4, 8, 16]


def test_an_idle_delivery_is_called(delivering: Make, arrivals: Arrivals) -> None:
    delivering(idle=0.01)
    until(lambda: arrivals.batches.count([]) > 2, "not called")


def test_a_full_spool_is_said_once(delivering: Make, arrivals: Arrivals, said: list[str]) -> None:
    def refuses(batch: list[str]) -> None:
        raise Undelivered("connection refused")

    arrivals.answer = refuses
    delivery = delivering(most_bytes=20 * len(json.dumps(event(100))), at_once=5)
    for number in range(100, 200):
        delivery.put(event(number))
    until(lambda: delivery.status.lost == 80, "nothing lost")
    until(lambda: len(said) == 2, "not said")
    arrivals.answer = lambda batch: None
    until(lambda: delivery.status.waiting == 0, "not delivered")
    assert said[1:] == ["sink: the spool is full, the oldest events are lost", "sink: delivers again"]
    assert (delivery.status.delivered, delivery.status.lost) == (20, 80)


# -- JSON lines --------------------------------------------------------------------------------------------


@pytest.fixture
def lines(tmp_path: Path, said: list[str], closing: Any) -> Callable[..., Lines]:
    def make(now: Callable[[], datetime] = lambda: EIGHT, **options: Any) -> Lines:
        made = Lines(LinesSettings(tmp_path / "out" / "ages.jsonl", **options), said.append, now)
        closing(made, lambda: made.close(0.5))
        return made

    return make


def lines_in(path: Path) -> list[str]:
    """The events of a file, which has whole lines alone."""
    text = path.read_text()
    assert not text or text.endswith("\n")
    return [json.loads(line)["id"] for line in text.splitlines()]


def taken(sink: Lines, *numbers: int) -> Lines:
    """``sink``, once it has done with events of these numbers."""
    for number in numbers:
        sink.take(event(number))
    until(lambda: sink.status.waiting == 0, "not written")
    return sink


def test_a_line_an_event_appended(lines: Callable[..., Lines], tmp_path: Path) -> None:
    taken(lines(), 1, 2).close(LONG)
    path = tmp_path / "out" / "ages.jsonl"
    assert json.loads(path.read_text().splitlines()[0]) == event(1)
    with path.open("a") as stream:
        stream.write('{"half')
    sink = taken(lines(), 3)
    sink.camera(camera())
    assert path.read_text().splitlines()[2] == '{"half'
    assert [json.loads(line)["id"] for line in path.read_text().splitlines()[3:]] == ["id-3"]
    assert (sink.status.delivered, sink.status.lost, sink.status.failing) == (1, 0, None)


def test_files_rotate(lines: Callable[..., Lines], tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    others = ["ages-20261129T080000.jsonl", "ages.jsonl.1", "xages-20251129T080000.000Z.jsonl"]
    for name in others:
        (folder / name).write_text("of somebody else")
    moments = iter(EIGHT + timedelta(seconds=second) for second in (0, 0, 5, 7))
    size = len(json.dumps(event(1))) + 1
    sink = taken(lines(lambda: next(moments), most_bytes=2 * size, keep=2), *range(1, 10))
    names = [f"ages-20261129T0800{seconds}Z.jsonl" for seconds in ("05.000", "07.000")]
    assert sorted(path.name for path in folder.iterdir()) == sorted([*others, *names, "ages.jsonl"])
    found = [lines_in(folder / name) for name in (*names, "ages.jsonl")]
    assert found == [["id-5", "id-6"], ["id-7", "id-8"], ["id-9"]]
    assert (sink.status.lost, sink.status.failing) == (0, None)


def test_a_taken_name_is_not_overwritten(lines: Callable[..., Lines], tmp_path: Path) -> None:
    size = len(json.dumps(event(1))) + 1
    taken(lines(most_bytes=size), 1, 2, 3)
    found = {path.name: lines_in(path) for path in (tmp_path / "out").iterdir()}
    assert found == {
        "ages-20261129T080000.000Z.jsonl": ["id-1"],
        "ages-20261129T080000.001Z.jsonl": ["id-2"],
        "ages.jsonl": ["id-3"],
    }


def test_a_file_that_others_move_begins_again(
    lines: Callable[..., Lines], tmp_path: Path, said: list[str]
) -> None:
    path = tmp_path / "out" / "ages.jsonl"
    sink = taken(lines(), 1)
    path.rename(path.with_name("moved"))
    taken(sink, 2)
    path.unlink()
    taken(sink, 3)
    assert (lines_in(path.with_name("moved")), lines_in(path)) == (["id-1"], ["id-3"])
    path.unlink()
    path.parent.rename(tmp_path / "away")
    taken(sink, 4, 5)
    assert (sink.status.lost, sink.status.failing) == (2, "no such file or directory")
    path.parent.mkdir()
    taken(sink, 6)
    assert (lines_in(path), sink.status.failing, sink.status.lost) == (["id-6"], None, 2)
    assert said == [f"{path}: no such file or directory", f"{path}: is written again"]


_FULL_LINES = """
said = []
sink = Lines(LinesSettings(Path({path!r})), said.append)
room({limit})
taken(sink, 100, 101, 102, 103)
print(sink.status.failing, sink.status.lost)
room(resource.RLIM_INFINITY)
taken(sink, 104)
print(sink.status.failing, sink.status.lost)
sink.close(60)
for line in said:
    print(line)
"""


def test_a_full_disk_leaves_whole_lines(tmp_path: Path) -> None:
    path, size = tmp_path / "ages.jsonl", len(json.dumps(event(100))) + 1
    told = with_small_disk(_FULL_LINES, path=str(path), limit=2 * size + 20)
    assert told == ["file too large 2", "None 2", f"{path}: file too large", f"{path}: is written again"]
    assert lines_in(path) == ["id-100", "id-101", "id-104"]


def test_what_cannot_take_lines(lines: Callable[..., Lines], tmp_path: Path, said: list[str]) -> None:
    lines()
    with pytest.raises(SsrError, match=r"ages\.jsonl: another process writes this file"):
        lines()
    os.mkfifo(tmp_path / "pipe")
    for path, told in [
        ("pipe", "is no regular file"),
        (".", "is a directory"),
        ("pipe/x", "exists|directory"),
    ]:
        with pytest.raises(SsrError, match=told):
            Lines(LinesSettings(tmp_path / path), said.append)


def test_a_disk_that_hangs_blocks_nobody(
    lines: Callable[..., Lines], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("ssr_video.live.sinks.lines.MOST_WAITING", 5)
    hangs, free = threading.Event(), threading.Event()
    append = sys.modules["ssr_video.live.sinks.lines"]._append  # type: ignore[attr-defined]

    def slowly(file: int, data: bytes) -> None:
        hangs.set()
        free.wait(LONG)
        append(file, data)

    monkeypatch.setattr("ssr_video.live.sinks.lines._append", slowly)
    sink = lines()
    sink.take(event(0))
    assert hangs.wait(LONG)
    for number in range(1, 10):
        sink.take(event(number))
    assert (sink.status.failing, sink.status.lost, sink.status.waiting) == ("the disk is held up", 5, 5)
    free.set()
    until(lambda: sink.status.waiting == 0, "not written")
    assert lines_in(tmp_path / "out" / "ages.jsonl") == [f"id-{number}" for number in range(5)]
    assert sink.status.failing is None


# -- webhook -----------------------------------------------------------------------------------------------

Answer = tuple[int, dict[str, str]]


class Receiver(http.server.ThreadingHTTPServer):
    """A web server that notes what is posted. ``answer`` gives the status and headers for events."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", port), Posted)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_side=True)
        self.answer: Callable[[list[str]], Answer] = lambda batch: (200, {})
        self.accepted: list[str] = []
        self.requests: list[tuple[list[str], dict[str, str]]] = []
        self.release = threading.Event()
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def close(self) -> None:
        self.release.set()
        self.shutdown()
        self.server_close()
        self._thread.join()

    def handle_error(self, *_: object) -> None:
        """Of a client that refuses the certificate, or does not wait."""


class Posted(http.server.BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert body["schema"] == 1
        assert len(body["events"]) <= 100
        batch = ids(body["events"])
        self.server.requests.append((batch, {name.lower(): value for name, value in self.headers.items()}))
        status, headers = self.server.answer(batch)
        if 200 <= status < 300:
            self.server.accepted += batch
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if headers.get("Transfer-Encoding") == "chunked":
            while not self.server.release.wait(0.001):
                self.wfile.write(b"400\r\n" + bytes(0x400) + b"\r\n")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def receiver(closing: Any) -> Receiver:
    made: Receiver = closing(Receiver())
    return made


@pytest.fixture
def webhook(
    tmp_path: Path, said: list[str], closing: Any, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Sink]:
    pytest.importorskip("httpx", reason="httpx is not installed")
    from ssr_video.live.sinks.webhook import Webhook

    monkeypatch.setenv("no_proxy", "*")

    def make(url: str, **options: Any) -> Sink:
        settings = WebhookSettings(f"{url}/hook?t={SECRET}", url, (("Authorization", SECRET),), **options)
        made = Webhook(settings, tmp_path / "spool", said.append, quick())
        closing(made, lambda: made.close(0.5))
        return made

    return make


def address(receiver: Receiver, scheme: str = "http") -> str:
    return f"{scheme}://127.0.0.1:{receiver.server_port}"


def test_events_are_posted(webhook: Callable[..., Sink], receiver: Receiver) -> None:
    sink = webhook(address(receiver))
    for number in range(250):
        sink.take(event(number))
    until(lambda: sink.status.delivered == 250, "not delivered")
    assert receiver.accepted == [f"id-{number}" for number in range(250)]
    _, headers = receiver.requests[0]
    assert headers["authorization"] == SECRET
    assert headers["content-type"] == "application/json"
    keys = [headers["idempotency-key"] for _, headers in receiver.requests]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ((500, {}), "HTTP 500"),
        ((503, {"Retry-After": "0"}), "HTTP 503"),
        ((429, {"Retry-After": "soon"}), "HTTP 429"),
        ((401, {}), "HTTP 401: check the credentials in headers"),
        ((404, {}), "HTTP 404: check url"),
        ((302, {"Location": "/elsewhere"}), "HTTP 302: redirects are not followed, check url"),
    ],
)
def test_what_may_pass_is_tried_again(
    answer: Answer, told: str, webhook: Callable[..., Sink], receiver: Receiver, said: list[str]
) -> None:
    receiver.answer = lambda batch: answer if len(receiver.requests) <= TRIES + 1 else (204, {})
    sink = webhook(address(receiver))
    sink.take(event(1))
    until(lambda: sink.status.delivered == 1, "not delivered")
    assert receiver.accepted == ["id-1"]
    assert len({headers["idempotency-key"] for _, headers in receiver.requests}) == 1
    assert said == [f"webhook: {told}; 1 events wait", "webhook: delivers again"]
    assert sink.status.lost == 0


def test_what_is_refused_for_good_is_lost_alone(
    webhook: Callable[..., Sink], receiver: Receiver, said: list[str]
) -> None:
    receiver.answer = lambda batch: (413, {}) if len(batch) > 30 else (422 if "id-50" in batch else 200, {})
    sink = webhook(address(receiver))
    for number in range(100):
        sink.take(event(number))
    until(lambda: sink.status.delivered == 99, "not delivered")
    assert firsts(receiver.accepted) == [f"id-{number}" for number in range(100) if number != 50]
    assert (sink.status.lost, said.count("webhook: HTTP 422: an event is given up")) == (1, 1)


def test_a_receiver_that_is_away(
    webhook: Callable[..., Sink], closing: Any, tmp_path: Path, said: list[str]
) -> None:
    first = Receiver()
    url, port = address(first), first.server_port
    first.close()
    sink = webhook(url)
    for number in range(300):
        sink.take(event(number))
    until(lambda: sink.status.failing, "not tried")
    assert sink.status.failing == "connection refused"
    sink.close(0.1)
    again = webhook(url)
    again.take(event(300))
    second = closing(Receiver(port))
    until(lambda: again.status.delivered == 301, "not delivered")
    assert second.accepted == [f"id-{number}" for number in range(301)]


def test_answers_that_do_not_end(webhook: Callable[..., Sink], receiver: Receiver) -> None:
    receiver.answer = lambda batch: (200, {"Transfer-Encoding": "chunked"})
    sink = webhook(address(receiver))
    sink.take(event(1))
    until(lambda: sink.status.delivered == 1, "read without end")


def test_no_answer_is_waited_for_without_end(webhook: Callable[..., Sink], receiver: Receiver) -> None:
    receiver.answer = lambda batch: (200, {}) if receiver.release.wait(LONG) else (500, {})
    sink = webhook(address(receiver), timeout=0.1)
    sink.take(event(1))
    until(lambda: sink.status.failing, "waits without end")
    assert sink.status.failing == "no answer in time"


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that nobody trusts, in ``cert.pem``, and its key in ``key.pem``."""
    folder = tmp_path_factory.mktemp("tls")
    configuration = "[req]\nprompt = no\ndistinguished_name = name\nx509_extensions = more\n"
    configuration += "[name]\nCN = test\n[more]\nsubjectAltName = IP:127.0.0.1\n"
    (folder / "openssl.cnf").write_text(configuration)
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    words += ["-config", "openssl.cnf", "-keyout", "key.pem", "-out", "cert.pem"]
    try:
        subprocess.run(words, cwd=folder, check=True, capture_output=True, timeout=60)
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    return folder / "cert.pem"


def server_side(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_name("key.pem"))
    return context


def test_certificates_are_verified(webhook: Callable[..., Sink], certificate: Path, closing: Any) -> None:
    receiver = closing(Receiver(tls=server_side(certificate)))
    sink = webhook(address(receiver, "https"))
    sink.take(event(1))
    until(lambda: sink.status.failing, "not refused")
    assert "certificate refused: self" in str(sink.status.failing)
    assert receiver.requests == []
    sink.close(0.1)
    trusting = webhook(address(receiver, "https"), ca=certificate)
    until(lambda: trusting.status.delivered == 1, "not delivered")


def test_a_file_without_certificates(webhook: Callable[..., Sink], tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    with pytest.raises(SsrError, match=r"ca\.pem: no certificates in PEM, expected"):
        webhook("https://127.0.0.1", ca=tmp_path / "ca.pem")
    with pytest.raises(SsrError, match=r"none\.pem: no such file"):
        webhook("https://127.0.0.1", ca=tmp_path / "none.pem")


# -- MQTT --------------------------------------------------------------------------------------------------


def started(broker: Broker, closing: Any) -> Broker:
    closing(broker, broker.stop)
    broker.start()
    return broker


@pytest.fixture
def broker(tmp_path: Path, closing: Any) -> Broker:
    return started(Broker(tmp_path / "broker"), closing)


@pytest.fixture
def listener(broker: Broker, closing: Any) -> Listener:
    made: Listener = closing(Listener(broker.port))
    broker.save()
    return made


@pytest.fixture
def mqtt(tmp_path: Path, said: list[str], closing: Any) -> Callable[..., Sink]:
    pytest.importorskip("paho.mqtt.client", reason="paho-mqtt is not installed")
    from ssr_video.live.sinks.mqtt import Mqtt

    def make(port: int, cameras: Sequence[str] = ("front",), **options: Any) -> Sink:
        settings = MqttSettings("127.0.0.1", port, **options)
        made = Mqtt(settings, tmp_path / "spool", said.append, quick())
        closing(made, lambda: made.close(0.5))
        made.cameras(cameras)
        return made

    return make


def published(listener: Listener, topic: str = "ssr/front/event") -> list[str]:
    return [json.loads(payload)["id"] for payload in listener.of(topic)]


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_events_and_states(
    version: str, mqtt: Callable[..., Sink], broker: Broker, listener: Listener
) -> None:
    sink = mqtt(broker.port, ["front", "yard, north"], version=version)
    for number in range(250):
        sink.take(event(number))
    sink.take(event(1, camera="yard/no+rth#%"))
    sink.camera(camera("front", ages=[31.26, None, 8.04]))
    sink.camera(camera("yard, north", "lost", ages=[50.0]))
    until(lambda: sink.status.delivered == 251 and sink.status.waiting == 0, "not delivered")
    until(lambda: "ssr/yard, north/state" in retained(broker.port), "no state")
    until(lambda: len(published(listener)) >= 250, "did not arrive")
    assert published(listener) == [f"id-{number}" for number in range(250)]
    assert json.loads(listener.of("ssr/front/event")[0]) == event(0)
    until(lambda: published(listener, "ssr/yard%2Fno%2Brth%23%25/event") == ["id-1"], "did not arrive")
    found = retained(broker.port)
    assert found["ssr/status"] == b"online"
    state = json.loads(found["ssr/front/state"])
    assert re.fullmatch("[0-9a-f]{16}", state.pop("watch"))
    assert state == {
        "state": "live",
        "since": "2026-11-29T08:00:00.000Z",
        "why": None,
        "people": 3,
        "ages": [8.0, 31.3],
        "youngest": 8.0,
        "oldest": 31.3,
        "server": None,
    }
    away = json.loads(found["ssr/yard, north/state"])
    assert (away["state"], away["people"], away["ages"], away["oldest"]) == ("lost", None, [], None)
    sink.close(LONG)
    assert retained(broker.port)["ssr/status"] == b"offline"


def test_home_assistant_finds_the_cameras(
    mqtt: Callable[..., Sink], broker: Broker, listener: Listener
) -> None:
    sink = mqtt(broker.port, ["front", "front door"])
    sink.camera(camera())
    until(lambda: listener.of("ssr/front/state"), "no state")
    until(lambda: listener.of("ssr/status") == [b"online"], "not online")
    topics = [topic for topic in retained(broker.port) if topic.startswith("homeassistant/")]
    assert all(re.fullmatch("homeassistant/device/[a-zA-Z0-9_-]+/config", topic) for topic in topics)
    assert len(topics) == 2
    payload = json.loads(listener.of("homeassistant/device/ssr_front/config")[0])
    assert payload["state_topic"] == "ssr/front/state"
    assert payload["availability"] == [{"topic": "ssr/status"}]
    assert payload["device"]["identifiers"] == ["ssr_front"]
    assert payload["origin"]["name"] == "ssr-video"
    platforms = {key: entity["platform"] for key, entity in payload["components"].items()}
    assert platforms == {
        "connection": "binary_sensor",
        "people": "sensor",
        "youngest": "sensor",
        "oldest": "sensor",
    }
    unique = [entity["unique_id"] for entity in payload["components"].values()]
    assert len(set(unique)) == 4
    listener.publish("homeassistant/status", "online")
    until(lambda: len(listener.of("homeassistant/device/ssr_front/config")) == 2, "not said again")
    until(lambda: len(listener.of("ssr/front/state")) == 2, "not said again")


def test_without_discovery(mqtt: Callable[..., Sink], broker: Broker, listener: Listener) -> None:
    sink = mqtt(broker.port, discovery="")
    sink.camera(camera())
    until(lambda: listener.of("ssr/status") == [b"online"], "not online")
    assert sorted(retained(broker.port)) == ["ssr/front/state", "ssr/status"]


def test_a_camera_that_is_taken_out_is_cleared(
    mqtt: Callable[..., Sink], broker: Broker, listener: Listener
) -> None:
    """While it runs, and by the next process; what others wrote stays."""
    listener.publish("ssr/other/state", '{"state": "live", "watch": "0123456789abcdef"}', retain=True)
    listener.publish("ssr/text/state", "[", retain=True)
    sink = mqtt(broker.port, ["a", "b", "c/d"])
    for name in ("a", "b", "c/d"):
        sink.camera(camera(name))
    until(lambda: len(retained(broker.port)) == 9, "not published")
    sink.cameras(["b", "c/d"])
    until(lambda: len(retained(broker.port)) == 7, "not cleared")
    sink.camera(camera("a"))  # too late
    sink.camera(camera("b", "lost"))
    until(lambda: b'"lost"' in retained(broker.port)["ssr/b/state"], "not published")
    assert "ssr/a/state" not in retained(broker.port)
    sink.close(LONG)
    mqtt(broker.port, ["b"])
    others = {"ssr/other/state", "ssr/text/state"}
    expected = {"ssr/status", "ssr/b/state", "homeassistant/device/ssr_b/config", *others}
    until(lambda: set(retained(broker.port)) == expected, "not cleared")


def test_a_camera_that_comes_back_was_never_away(
    mqtt: Callable[..., Sink], broker: Broker, listener: Listener
) -> None:
    """Home Assistant forgets what was set for a device whose topic is cleared."""
    sink = mqtt(broker.port)
    topic = "homeassistant/device/ssr_front/config"
    until(lambda: listener.of(topic), "not published")
    broker.kill()
    until(lambda: sink.status.failing, "not noticed")
    sink.cameras([])
    sink.cameras(["front"])
    broker.start()
    until(lambda: len(listener.of(topic)) > 1 and not sink.status.failing, "not published again")
    assert b"" not in listener.of(topic)


def test_a_status_that_others_wrote_is_put_right(
    mqtt: Callable[..., Sink], broker: Broker, listener: Listener
) -> None:
    mqtt(broker.port)
    until(lambda: listener.of("ssr/status") == [b"online"], "not online")
    listener.publish("ssr/status", "offline", retain=True)  # as a late will of an earlier connection
    until(lambda: listener.of("ssr/status")[-2:] == [b"offline", b"online"], "not put right")


_WATCHES = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from test_live_sinks import *
from ssr_video.live.sinks.open import open_sink
sink = open_sink(MqttSettings("127.0.0.1", {port}), Path({spool!r}), [].append)
sink.cameras(["front"])
sink.camera(camera())
for number in range({first}, {last}):
    sink.take(event(number))
spool = sink._spool
until(lambda: spool.in_memory == 0 and ({delivered} or sink.status.failing), "not kept")
print("taken", sink.status.failing, flush=True)
sys.stdin.read()
"""


def watching(port: int, spool: Path, first: int, last: int, delivered: bool) -> subprocess.Popen[bytes]:
    """A process whose sink takes these events; it has them when its first line comes."""
    program = _WATCHES.format(
        tests=str(ROOT / "tests"), port=port, spool=str(spool), first=first, last=last, delivered=delivered
    )
    return subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def first_line(child: subprocess.Popen[bytes]) -> bytes:
    assert child.stdout is not None
    return child.stdout.readline()


def killed(child: subprocess.Popen[bytes]) -> None:
    child.kill()
    child.wait(LONG)


def test_a_killed_process_is_offline(broker: Broker, listener: Listener, tmp_path: Path) -> None:
    child = watching(broker.port, tmp_path / "spool", 0, 1, True)
    try:
        assert first_line(child) == b"taken None\n"
        until(lambda: listener.of("ssr/status") == [b"online"], "not online")
    finally:
        killed(child)
    until(lambda: listener.of("ssr/status") == [b"online", b"offline"], "no last will")
    assert retained(broker.port)["ssr/status"] == b"offline"


@pytest.mark.parametrize("kill", [False, True])
def test_a_long_outage_loses_nothing(
    kill: bool, mqtt: Callable[..., Sink], broker: Broker, listener: Listener, tmp_path: Path
) -> None:
    """The broker is killed, 2,000 events happen, and it comes back at the same port; without and with a kill
    of the process in between."""
    if kill:
        broker.kill()
        child = watching(broker.port, tmp_path / "spool", 0, 1000, False)
        try:
            assert first_line(child) == b"taken connection refused\n"
        finally:
            killed(child)
        sink, begin = mqtt(broker.port), 1000
    else:
        sink, begin = mqtt(broker.port), 10
        for number in range(10):
            sink.take(event(number))
        until(lambda: sink.status.delivered == 10, "not delivered")
        broker.kill()
    for number in range(begin, 2010):
        sink.take(event(number))
    sink.camera(camera(ages=[20.0]))
    sink.camera(camera(ages=[60.0]))
    until(lambda: sink.status.failing == "connection refused", "not noticed")
    broker.start()
    until(lambda: sink.status.waiting == 0 and sink.status.failing is None, "not delivered")
    until(lambda: b'"id-2009"' in listener.of("ssr/front/event")[-1], "the last one did not arrive")
    assert firsts(published(listener)) == [f"id-{number}" for number in range(2010)]
    assert sink.status.lost == 0
    until(lambda: json.loads(listener.of("ssr/front/state")[-1])["ages"] == [60.0], "an old state")
    assert retained(broker.port)["ssr/status"] == b"online"


def password_file(broker: Broker, user: str, password: str) -> str:
    """The option that has a broker know one user."""
    line = f"{user}:{password}"
    if broker.hashes_passwords:
        salt = bytes(range(12))
        digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, 101)
        line = f"{user}:$7$101${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"
    path = broker.folder / "passwords"
    path.write_text(line + "\n")
    path.chmod(0o600)
    return f"password_file {path}"


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_a_broker_that_refuses(
    version: str, mqtt: Callable[..., Sink], tmp_path: Path, said: list[str], closing: Any
) -> None:
    broker = Broker(tmp_path / "broker", "allow_anonymous false")
    broker.options.append(password_file(broker, "ssr", SECRET))
    started(broker, closing)
    wrong = mqtt(broker.port, version=version, user="ssr", password=f"not {SECRET}")
    wrong.take(event(1))
    until(lambda: wrong.status.failing, "not refused")
    assert re.fullmatch("the broker refuses: (not authorized|bad user name.*)", str(wrong.status.failing))
    assert wrong.status.waiting == 1
    wrong.close(1.0)
    listener = closing(Listener(broker.port, username="ssr", password=SECRET))
    right = mqtt(broker.port, version=version, user="ssr", password=SECRET)
    until(lambda: published(listener) == ["id-1"], "not delivered")
    assert SECRET not in f"{said} {wrong.status} {right.status}"


def test_a_topic_that_the_broker_forbids(mqtt: Callable[..., Sink], tmp_path: Path, closing: Any) -> None:
    """A state, and the events wait: a right can be given later."""
    broker = Broker(tmp_path / "broker", "allow_anonymous true")
    rights = broker.folder / "rights"
    rights.write_text("topic readwrite other/#\n")
    rights.chmod(0o600)
    broker.options.append(f"acl_file {rights}")
    started(broker, closing)
    sink = mqtt(broker.port)
    sink.take(event(1))
    until(lambda: sink.status.failing, "not refused")
    assert sink.status.failing == "the broker refuses: not authorized"
    rights.write_text("topic readwrite #\n")
    broker.kill()
    broker.start()
    until(lambda: sink.status.delivered == 1, "not delivered")


@pytest.mark.parametrize("option", ["message_size_limit 3000", "max_packet_size 3000"])
def test_the_limits_of_a_broker(
    option: str, mqtt: Callable[..., Sink], tmp_path: Path, closing: Any, said: list[str]
) -> None:
    """An event that is too large is lost alone. (Mosquitto tells of the first limit by an answer that paho
    does not understand, and of the other when it accepts the connection.)"""
    broker = started(Broker(tmp_path / "broker", "allow_anonymous true", option), closing)
    listener = closing(Listener(broker.port))
    sink = mqtt(broker.port)
    for number in range(60):
        sink.take(event(number, unknown="x" * 5000 if number == 30 else None))
    until(lambda: sink.status.waiting == 0, "not delivered")
    until(lambda: "id-59" in published(listener), "did not arrive")
    assert firsts(published(listener)) == [f"id-{number}" for number in range(60) if number != 30]
    assert sink.status.lost == 1


class Strict(socketserver.ThreadingTCPServer):
    """A broker of MQTT 5 that lets ``most`` messages wait for their acknowledgement, and notes how many did.
    It acknowledges when nothing more comes."""

    daemon_threads = True

    def __init__(self, most: int) -> None:
        super().__init__(("127.0.0.1", 0), socketserver.StreamRequestHandler)
        self.most, self.waited = most, 0
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def finish_request(self, request: Any, address: Any) -> None:
        waiting: list[bytes] = []
        while True:
            if not select.select([request], [], [], 0.1)[0]:
                for number in waiting:
                    request.sendall(b"\x40\x02" + number)
                waiting.clear()
                continue
            if not (kind := request.recv(1)):
                return
            length = shift = 0
            while (byte := request.recv(1)[0]) & 0x80:
                length, shift = length | (byte & 0x7F) << shift, shift + 7
            packet = b""
            while len(packet) < length + (byte << shift):
                packet += request.recv(length + (byte << shift) - len(packet))
            if kind == b"\x10":  # CONNECT: accepted, with the property Receive Maximum
                request.sendall(b"\x20\x06\x00\x00\x03\x21" + self.most.to_bytes(2, "big"))
            elif kind == b"\x82":  # SUBSCRIBE, to three topics
                request.sendall(b"\x90\x06" + packet[:2] + bytes(4))
            elif kind[0] >> 4 == 3:  # PUBLISH
                after = 2 + int.from_bytes(packet[:2], "big")
                waiting.append(packet[after : after + 2])
                self.waited = max(self.waited, len(waiting))

    def handle_error(self, *_: object) -> None:
        """Of a client that is gone."""

    def close(self) -> None:
        self.shutdown()
        self.server_close()
        self._thread.join()


def test_no_more_messages_wait_than_the_broker_lets(mqtt: Callable[..., Sink], closing: Any) -> None:
    strict = closing(Strict(3))
    sink = mqtt(strict.server_address[1])
    for number in range(20):
        sink.take(event(number))
    until(lambda: sink.status.delivered == 20, "not delivered")
    assert 1 <= strict.waited <= 3


class Odd(socketserver.ThreadingTCPServer):
    """Answers a connection with ``answer``, and then with nothing."""

    daemon_threads = True

    def __init__(self, answer: bytes) -> None:
        super().__init__(("127.0.0.1", 0), socketserver.StreamRequestHandler)
        self.answer = answer
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def process_request(self, request: Any, address: Any) -> None:
        request.sendall(self.answer)
        self._open.append(request)

    def close(self) -> None:
        self.shutdown()
        self.server_close()
        self._thread.join()
        for connection in self._open:
            connection.close()


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"", "the broker does not answer"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "the broker does not answer"),
        (b"\x20\x02\x00\x01", 'the broker refuses: unsupported .*; the key version = "3.1.1" may help'),
        (b"\x20\x03\x00\x03\x00", "the broker's answer is no MQTT"),
    ],
)
def test_who_is_no_broker(
    answer: bytes, told: str, mqtt: Callable[..., Sink], closing: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ssr_video.live.sinks.broker.PATIENCE", 0.5)
    sink = mqtt(closing(Odd(answer)).server_address[1])
    sink.take(event(1))
    until(lambda: sink.status.failing, "not told")
    assert re.fullmatch(told, str(sink.status.failing))
    assert sink.status.waiting == 1


class Relay(socketserver.ThreadingTCPServer):
    """Takes TLS connections, and hands what they say on to the port ``target`` without TLS."""

    daemon_threads = True

    def __init__(self, target: int, context: ssl.SSLContext) -> None:
        super().__init__(("127.0.0.1", 0), socketserver.BaseRequestHandler)
        self._target, self._context = target, context
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def finish_request(self, request: Any, address: Any) -> None:
        near = self._context.wrap_socket(request, server_side=True)
        with near, socket.create_connection(("127.0.0.1", self._target)) as far:
            back = threading.Thread(target=_copy, args=(far, near))
            back.start()
            _copy(near, far)
            back.join()

    def handle_error(self, *_: object) -> None:
        """Of a client that refuses the certificate."""

    def close(self) -> None:
        self.shutdown()
        self.server_close()
        self._thread.join()


def _copy(source: Any, target: Any) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass


def test_mqtt_over_tls(
    mqtt: Callable[..., Sink], broker: Broker, listener: Listener, certificate: Path, closing: Any
) -> None:
    relay = closing(Relay(broker.port, server_side(certificate)))
    sink = mqtt(relay.server_address[1], tls=True)
    sink.take(event(1))
    until(lambda: sink.status.failing, "not refused")
    assert "certificate refused: self" in str(sink.status.failing)
    sink.close(1.0)
    trusting = mqtt(relay.server_address[1], tls=True, ca=certificate)
    until(lambda: trusting.status.delivered == 1, "not delivered")
    until(lambda: published(listener) == ["id-1"], "did not arrive")


def test_reconnections_leave_no_descriptors(
    mqtt: Callable[..., Sink], broker: Broker, listener: Listener
) -> None:
    sink = mqtt(broker.port)
    open_files = Path("/proc/self/fd")

    def reconnected(times: int) -> int:
        for _ in range(times):
            broker.kill()
            until(lambda: sink.status.failing, "not noticed")
            broker.start()
            until(lambda: not sink.status.failing, "no connection")
        return len(list(open_files.iterdir()))

    until(lambda: listener.of("ssr/status"), "not online")
    before = reconnected(2)
    assert reconnected(10) <= before + 5


# -- Parquet -----------------------------------------------------------------------------------------------


@pytest.fixture
def parquet(tmp_path: Path, said: list[str], closing: Any) -> Callable[..., Sink]:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    from ssr_video.live.sinks.parquet import Parquet

    def make(**options: Any) -> Sink:
        settings = ParquetSettings(tmp_path / "tracks", **options)
        made = Parquet(settings, tmp_path / "spool", said.append, quick(), lambda: EIGHT)
        closing(made, lambda: made.close(0.5))
        return made

    return make


def tables(folder: Path) -> dict[str, list[dict[str, Any]]]:
    import pyarrow.parquet as pq

    return {path.name: pq.read_table(path).to_pylist() for path in sorted(folder.iterdir())}


def test_tracks_become_rows(parquet: Callable[..., Sink], tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    sink = parquet()
    sink.take(event(1, kind="update"))
    sink.take(event(2, kind="end"))
    sink.take(event(3, kind="end", age=None, interval=None, utc=None, unknown="too small", zones=[]))
    sink.take(event(1, kind="camera"))
    assert not any((tmp_path / "tracks").iterdir())
    sink.close(LONG)
    found = tables(tmp_path / "tracks")
    assert list(found) == ["ages-20261129T080000Z.parquet"]
    one, other = found["ages-20261129T080000Z.parquet"]
    assert one == {
        "id": "id-2",
        "camera": "front",
        "session": "s1",
        "track": 2,
        "first_utc": datetime(2026, 11, 29, 8, 0, 1, 250_000, timezone.utc),
        "last_utc": datetime(2026, 11, 29, 8, 0, 10, 0, timezone.utc),
        "first": 1.25,
        "last": 10.0,
        "frames": 40,
        "age": 36.4,
        "low": 31.4,
        "high": 41.4,
        "looks": 3,
        "effective_looks": 1.5,
        "unknown": None,
        "zones": ["door"],
    }
    assert (other["age"], other["low"], other["first_utc"], other["unknown"]) == (
        None,
        None,
        None,
        "too small",
    )
    schema = pq.read_schema(tmp_path / "tracks" / "ages-20261129T080000Z.parquet")
    assert str(schema.field("first_utc").type) == "timestamp[ms, tz=UTC]"


def test_files_appear_by_number(parquet: Callable[..., Sink], tmp_path: Path) -> None:
    sink = parquet(rows=10)
    for number in range(25):
        sink.take(event(number, kind="end"))
    until(lambda: sink.status.delivered == 20, "no files")
    sink.close(LONG)
    found = tables(tmp_path / "tracks")
    assert list(found) == [f"ages-20261129T08000{second}Z.parquet" for second in range(3)]
    assert [row["id"] for rows in found.values() for row in rows] == [f"id-{number}" for number in range(25)]


def test_rows_outlive_the_process_and_the_folder(
    parquet: Callable[..., Sink], tmp_path: Path, said: list[str]
) -> None:
    folder = tmp_path / "tracks"
    sink = parquet(rows=1)
    folder.rmdir()
    sink.take(event(1, kind="end"))
    until(lambda: sink.status.failing, "not told")
    assert sink.status.failing == "no such file or directory"
    sink.close(0.1)
    again = parquet(rows=1)
    until(lambda: again.status.delivered == 1, "not written")
    assert [row["id"] for rows in tables(folder).values() for row in rows] == ["id-1"]
    assert said == ["parquet: no such file or directory; 1 events wait"]


def test_an_event_that_is_no_row(parquet: Callable[..., Sink], tmp_path: Path, said: list[str]) -> None:
    sink = parquet(rows=3)
    sink.take(event(1, kind="end"))
    sink.take(event(2, kind="end", looks="many"))
    sink.take(event(3, kind="end"))
    until(lambda: sink.status.lost == 1, "not given up")
    sink.close(LONG)
    assert [row["id"] for rows in tables(tmp_path / "tracks").values() for row in rows] == ["id-1", "id-3"]


_FULL_PARQUET = """
sink = open_sink(ParquetSettings(Path({folder!r}), rows=100), Path({spool!r}), [].append)
for number in range(99):
    sink.take(event(number, kind="end"))
until(lambda: sink._spool.in_memory == 0, "not spooled")
room(500)
sink.take(event(99, kind="end"))
until(lambda: sink.status.failing == "file too large", "not full")
print(len(list(Path({folder!r}).iterdir())), sink.status.waiting, sink.status.lost)
room(resource.RLIM_INFINITY)
sink.close(60)
print(sink.status.delivered)
"""


def test_rows_wait_for_room(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    told = with_small_disk(_FULL_PARQUET, folder=str(tmp_path / "t"), spool=str(tmp_path / "s"))
    assert told == ["0 100 0", "100"]
    (rows,) = tables(tmp_path / "t").values()
    assert len(rows) == 100


# -- opening -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("package", "settings", "told"),
    [
        ("httpx", WebhookSettings(URL, URL), "a webhook needs httpx: pip install 'ssr-client[live]'"),
        ("paho", MqttSettings("h", 1), "MQTT needs paho-mqtt 2: pip install 'ssr-client[live]'"),
        ("pyarrow", ParquetSettings(Path("t")), "Parquet needs pyarrow: pip install 'ssr-client[parquet]'"),
    ],
)
def test_what_is_not_installed_is_named(package: str, settings: Any, told: str, tmp_path: Path) -> None:
    program = f"""
import sys
sys.modules[{package!r}] = None
from pathlib import Path
from ssr_video.live.sinks.open import open_sink
from ssr_video.live.sinks.settings import *
try:
    open_sink({type(settings).__name__}(*{_values(settings)!r}), Path({str(tmp_path)!r}), print)
except ValueError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith(told), done
    assert list(tmp_path.iterdir()) == []


def _values(settings: Any) -> list[Any]:
    if isinstance(settings, MqttSettings):
        return [settings.host, settings.port]
    return [URL, URL] if isinstance(settings, WebhookSettings) else [str(settings.folder)]


def test_no_secret_is_told(
    webhook: Callable[..., Sink],
    mqtt: Callable[..., Sink],
    receiver: Receiver,
    said: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Of a webhook's address, headers, and a broker's password: in no status and no line, whatever fails."""
    caplog.set_level("INFO")
    receiver.answer = lambda batch: [(400, {}), (401, {}), (500, {}), (302, {"Location": f"/{SECRET}"})][
        len(receiver.requests) % 4
    ]
    hook = webhook(address(receiver))
    broker = mqtt(1, user=SECRET, password=SECRET)
    for number in range(5):
        hook.take(event(number))
        broker.take(event(number))
    until(lambda: len(receiver.requests) > 8 and broker.status.failing, "not failing")
    assert broker.status.failing == "connection refused"
    assert SECRET not in f"{said} {hook.status} {broker.status} {hook.status.to_json()} {caplog.text}"
    assert said
