"""The live page of ``ssr-video watch``: a real server, a real WebSocket client, a watch without cameras."""

from __future__ import annotations

import asyncio
import gc
import hmac
import json
import re
import socket
import struct
import subprocess
import sys
import threading
import time
import tracemalloc
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import until

from ssr_bundle.errors import SsrError, UsageError

pytest.importorskip("cv2")
httpx = pytest.importorskip("httpx")
pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
pytest.importorskip("websockets")

from fake_watch import BANDS, FakeWatch, fill  # noqa: E402
from ssr_video.live.page import access, app, viewers  # noqa: E402
from ssr_video.live.page.address import host_of, is_loopback, parse_address, shown  # noqa: E402
from ssr_video.live.page.messages import Told, said  # noqa: E402
from ssr_video.live.page.server import Page  # noqa: E402
from ssr_video.live.page.source import Picture  # noqa: E402
from ssr_video.live.page.viewers import BYTES_ON_THE_WAY, Viewer  # noqa: E402
from websockets.exceptions import ConnectionClosed  # noqa: E402
from websockets.sync.client import ClientConnection, connect  # noqa: E402

STATIC = Path(app.__file__).with_name("static")
TOKEN = "correct-horse-battery"
SECONDS = 20.0
"""For what comes within one on a machine that is not busy."""


@pytest.fixture
def watch() -> FakeWatch:
    return FakeWatch()


@pytest.fixture
def heard() -> list[str]:
    """What the page says of its own troubles."""
    return []


@pytest.fixture
def serve(heard: list[str]) -> Iterator[Callable[..., Page]]:
    """``serve(watch)`` is a running page on a free port."""
    with ExitStack() as pages:

        def run(watch: FakeWatch, host: str = "127.0.0.1", token: str | None = None) -> Page:
            page = Page(watch, host, 0, token, heard.append).start()
            pages.callback(page.close)
            return page

        yield run


@pytest.fixture
def page(serve: Callable[..., Page], watch: FakeWatch) -> Page:
    return serve(watch)


@contextmanager
def look(page: Page, *visible: str) -> Iterator[Looking]:
    """A browser's end of the page's WebSocket, with these cameras on the screen."""
    with opened(page) as connection:
        looking = Looking(connection)
        looking.see(*visible)
        yield looking


def opened(page: Page, cookie: str = "") -> ClientConnection:
    place = page.url.removeprefix("http://").rstrip("/")
    headers = {"Cookie": cookie}
    origin: Any = f"http://{place}"
    return connect(f"ws://{place}/live", origin=origin, additional_headers=headers, max_size=None, proxy=None)


class Looking:
    """Keeps what comes; acknowledges pictures only when it is told to."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.texts: list[dict[str, Any]] = []
        self.pictures: list[tuple[dict[str, Any], bytes]] = []

    def see(self, *names: str) -> None:
        self.say({"visible": list(names)})

    def drawn(self, **counts: int) -> None:
        self.say({"drawn": counts})

    def say(self, message: object) -> None:
        self.connection.send(message if isinstance(message, str) else json.dumps(message))

    def take(self, seconds: float = SECONDS) -> bool:
        """The next message; whether there was one in time."""
        try:
            message = self.connection.recv(seconds)
        except TimeoutError:
            return False
        if isinstance(message, str):
            self.texts.append(json.loads(message))
        else:
            (length,) = struct.unpack(">I", message[:4])
            self.pictures.append((json.loads(message[4 : 4 + length]), message[4 + length :]))
        return True

    def until(self, condition: Callable[[], object], draws: bool = True) -> None:
        """Take messages until the condition holds; pictures are acknowledged where it ``draws``."""
        ends = time.monotonic() + SECONDS
        while not condition():
            before = len(self.pictures)
            assert time.monotonic() < ends, "did not come"
            assert self.take(), "nothing comes any more"
            if draws and len(self.pictures) > before:
                self.drawn(**{self.pictures[-1][0]["camera"]: 1})

    def closed(self) -> int | None:
        """Take what still comes until the server closes; its code."""
        try:
            while self.take():
                pass
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else None
        raise AssertionError("not closed")

    def of(self, camera: str) -> list[tuple[dict[str, Any], bytes]]:
        return [one for one in self.pictures if one[0]["camera"] == camera]


# -- where it listens ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("127.0.0.1:8080", ("127.0.0.1", 8080)),
        ("localhost:0", ("localhost", 0)),
        ("0.0.0.0:65535", ("0.0.0.0", 65535)),
        ("[::1]:8080", ("::1", 8080)),
        ("cameras.example:80", ("cameras.example", 80)),
    ],
)
def test_an_address(text: str, place: tuple[str, int]) -> None:
    assert parse_address(text) == place
    assert shown(*place) == text


@pytest.mark.parametrize(
    "text",
    ["", "8080", ":8080", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1", "::1:8080", "[::1]",
     "[127.0.0.1]:80", "[front]:80", "http://127.0.0.1:80", "127.0.0.1:٨٠", "a:b:80", "127.0.0.1:80/x"],
)  # fmt: skip
def test_no_address(text: str) -> None:
    with pytest.raises(UsageError, match=r"--page: expected HOST:PORT such as 127\.0\.0\.1:8080") as refused:
        parse_address(text)
    assert repr(text) in str(refused.value)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("::ffff:127.0.0.1", True), ("localhost", True),
     ("LOCALHOST.", True), ("0.0.0.0", False), ("::", False), ("192.168.1.2", False), ("", False),
     ("localhost.example", False), ("127.0.0.1.example", False), ("127.1", False)],
)  # fmt: skip
def test_who_is_this_machine_alone(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


@pytest.mark.parametrize(
    ("header", "host"),
    [("127.0.0.1:80", "127.0.0.1"), ("[::1]:80", "::1"), ("[::1]", "::1"), ("localhost", "localhost"),
     ("", ""),
     ("127.0.0.1:80@evil.example", ""), ("::1", ""), ("evil.example:80", "evil.example"), ("[", "")],
)  # fmt: skip
def test_the_host_of_a_request(header: str, host: str) -> None:
    assert host_of(header) == host


def test_a_port_in_use(watch: FakeWatch, page: Page) -> None:
    """One line; and the page that has it goes on."""
    host, port = parse_address(page.address)
    with pytest.raises(SsrError) as refused:
        Page(watch, host, port).start()
    assert str(refused.value) == f"page: {page.address} is in use; choose another with --page"
    assert refused.value.status == 1
    assert httpx.get(page.url).status_code == 200


def test_two_cannot_begin_on_one_port(watch: FakeWatch) -> None:
    """Nor where the first is taken but serves nobody yet."""
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(SsrError, match="is in use"):
        Page(watch, "127.0.0.1", taken.getsockname()[1]).start()


def test_an_address_of_another_machine(watch: FakeWatch) -> None:
    with pytest.raises(SsrError, match=r"^page: 192\.0\.2\.1:8080 cannot be bound: [a-z].*$"):
        Page(watch, "192.0.2.1", 8080, TOKEN).start()  # RFC 5737: nobody's


def test_a_name_of_nothing(watch: FakeWatch) -> None:
    with pytest.raises(SsrError, match=r"^page: front\.\.door is no address of this machine: .+$"):
        Page(watch, "front..door", 8080).start()


def test_ipv6(serve: Callable[..., Page], watch: FakeWatch) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError as error:
        pytest.skip(f"no IPv6 here: {error}")
    page = serve(watch, "::1")
    assert page.url.startswith("http://[::1]:")
    assert httpx.get(page.url).status_code == 200
    with look(page) as looking:
        looking.until(lambda: looking.texts)


def test_localhost_by_name(serve: Callable[..., Page], watch: FakeWatch) -> None:
    assert httpx.get(serve(watch, "localhost").url).status_code == 200


def test_the_extra_is_missing(watch: FakeWatch) -> None:
    """One error that names it."""
    code = (
        "import sys; sys.modules['uvicorn'] = None\n"
        "from ssr_bundle.errors import SsrError\n"
        "try:\n    import ssr_video.live.page.server\n"
        "except SsrError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(
        "the page needs Starlette, uvicorn and websockets: pip install 'ssr-client["
    )


# -- its files -------------------------------------------------------------------------------------


def static_files() -> list[Path]:
    return sorted(STATIC.iterdir())


def test_every_file_is_served(page: Page) -> None:
    kinds = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
    for path in static_files():
        if path.suffix in kinds:
            answer = httpx.get(page.url + path.name)
            assert answer.status_code == 200
            assert answer.content == path.read_bytes()
            assert answer.headers["content-type"].split(";")[0] == kinds[path.suffix]
    assert httpx.get(page.url).content == (STATIC / "index.html").read_bytes()


@pytest.mark.parametrize(
    "path", ["nothing", "login.html", "../server.py", "..%2fserver.py", "static/page.js"]
)
def test_nothing_else_is(page: Page, path: str) -> None:
    assert httpx.get(page.url + path).status_code == 404


def test_no_outside_address() -> None:
    """Whatever the page needs, it brings; SVG's name is no address."""
    for path in static_files():
        text = path.read_text().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"(https?|wss?|ftp):\\?/\\?/[^$]|[\"'(]//", text), path.name


def test_no_markup_is_made_of_text() -> None:
    """Nor is a script or a style written where the policy forbids it."""
    for path in static_files():
        text = path.read_text()
        made = (
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc|DOMParser"
        )
        assert not re.search(made, text), path.name
        if path.suffix == ".html":
            assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\bstyle=|\bon[a-z]+=|javascript:", text), (
                path.name
            )


def test_all_that_is_imported_or_linked_is_there() -> None:
    for path in static_files():
        named = re.findall(r'(?:from|import) "\./([\w.]+)"|(?:src|href)="([\w.]+)"', path.read_text())
        for name in filter(None, (one for pair in named for one in pair)):
            assert (STATIC / name).is_file(), f"{path.name} names {name}"


def test_what_a_script_asks_of_the_page_is_in_it() -> None:
    html = (STATIC / "index.html").read_text()
    asked = {
        id_ for path in STATIC.glob("*.js") for id_ in re.findall(r'\bby\("([\w-]+)"\)', path.read_text())
    }
    assert len(asked) > 10
    assert not {one for one in asked if f'id="{one}"' not in html}


@pytest.mark.parametrize("path", ["", "page.js", "state", "metrics", "healthz", "nothing"])
def test_headers(page: Page, path: str) -> None:
    headers = httpx.get(page.url + path).headers
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["img-src"] == "'self' blob:"
    assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"
    assert "access-control-allow-origin" not in headers
    assert "server" not in headers


# -- what programs ask -----------------------------------------------------------------------------


def test_the_state_and_the_metrics_are_the_watchs_own(page: Page, watch: FakeWatch) -> None:
    watch.lose("back")
    state = httpx.get(page.url + "state").json()
    assert [camera["state"] for camera in state["cameras"]] == ["live", "lost"]
    assert state["bands"]["names"] == BANDS
    answer = httpx.get(page.url + "metrics")
    assert answer.content == watch.metrics()[0]
    assert answer.headers["content-type"] == watch.metrics()[1]
    assert httpx.get(page.url + "healthz").text == "ok\n"


def test_a_watch_that_fails(page: Page, watch: FakeWatch, heard: list[str], capfd: Any) -> None:
    """Is told of in one line, and the page goes on."""

    def fail() -> dict[str, Any]:
        raise RuntimeError("no more memory")

    good, watch.snapshot = watch.snapshot, fail  # type: ignore[method-assign]
    for path in ("state", "healthz"):
        answer = httpx.get(page.url + path)
        assert (answer.status_code, answer.text.count("\n")) == (503, 1)
    assert heard == [f"page: /{path}: RuntimeError: no more memory" for path in ("state", "healthz")]
    with look(page, "front") as looking:
        until(lambda: heard[2:] == ["page: no news from the watch: RuntimeError: no more memory"])
        watch.snapshot = good  # type: ignore[method-assign]
        looking.until(lambda: looking.texts)
    assert capfd.readouterr() == ("", "")


def test_a_watch_that_hangs_is_not_healthy(
    page: Page, watch: FakeWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "HEALTH_SECONDS", 0.2)
    released = threading.Event()
    good = watch.snapshot

    def hang() -> dict[str, Any]:
        released.wait(SECONDS)
        return good()

    watch.snapshot = hang  # type: ignore[method-assign]
    try:
        assert httpx.get(page.url + "healthz").status_code == 503
        assert httpx.get(page.url).status_code == 200
    finally:
        released.set()


# -- news and pictures -----------------------------------------------------------------------------


def test_news_and_pictures_come(page: Page, watch: FakeWatch) -> None:
    watch.end_track("front", 36.2)
    with look(page, "front", "back") as looking:
        looking.until(
            lambda: len(looking.texts) > 1 and len(looking.of("front")) > 3 and len(looking.of("back")) > 3
        )
        first = looking.texts[0]
        assert [camera["name"] for camera in first["state"]["cameras"]] == ["front", "back"]
        assert first["bands"]["whole"] is True
        assert sum(first["bands"]["minutes"][0]["people"]) == 1
        assert first["tracks"][0]["age"] == 36.2
        header, jpeg = looking.of("front")[-1]
        assert jpeg.startswith(b"\xff\xd8")
        assert 0 <= header["old"] < SECONDS
        assert [person["track"] for person in header["people"]] == [1, 2]
        jpegs = [jpeg for _, jpeg in looking.of("front")]
        assert len(set(jpegs)) == len(jpegs)  # each once


def test_only_the_pictures_that_are_seen_are_drawn_and_sent(page: Page, watch: FakeWatch) -> None:
    with look(page) as looking:
        looking.until(lambda: len(looking.texts) > 1)
        assert watch.drawn == 0
        looking.see("back")
        looking.until(lambda: len(looking.of("back")) > 2)
        assert watch.wants[-1] == {"back"}
        looking.see("front", "no such camera")
        looking.until(lambda: len(looking.of("front")) > 5)
        assert "back" not in watch.wants[-1]
        # What was on its way may have come; nothing since.
        last = looking.of("back")[-1][0]["utc"]
        assert last < looking.of("front")[0][0]["utc"]
    until(lambda: watch.wants[-1] == frozenset())


def test_two_who_look(page: Page, watch: FakeWatch) -> None:
    with look(page, "front") as one:
        one.until(lambda: one.pictures)
        with look(page, "back") as other:
            other.until(lambda: other.pictures)
            assert watch.wants[-1] == {"front", "back"}
            assert {header["camera"] for header, _ in other.pictures} == {"back"}
        until(lambda: watch.wants[-1] == {"front"})


def test_nobody_is_asked_while_nobody_looks(page: Page, watch: FakeWatch) -> None:
    with look(page, "front") as looking:
        looking.until(lambda: looking.pictures)
    until(lambda: watch.wants[-1] == frozenset())
    asked = watch.snapshots
    with look(page) as looking:
        looking.until(lambda: looking.texts)
    assert watch.snapshots <= asked + 3  # the page that left may have had one under way


def test_a_lost_cameras_last_picture_is_shown_to_who_comes_later(page: Page, watch: FakeWatch) -> None:
    with look(page, "front") as looking:
        looking.until(lambda: looking.pictures)
        watch.lose("front")
        with look(page, "front") as later:
            later.until(lambda: later.pictures)
            assert later.pictures[0][1].startswith(b"\xff\xd8")


def test_sixteen_cameras_over_one_connection(serve: Callable[..., Page]) -> None:
    names = [f"camera {i}" for i in range(16)]
    with look(serve(FakeWatch(names, rate=8)), *names) as looking:
        looking.until(lambda: all(len(looking.of(name)) > 2 for name in names))


def test_what_is_told_again_is_what_changed(watch: FakeWatch) -> None:
    told = Told()
    fill(watch)
    first = json.loads(told.message(watch.snapshot()))
    assert first["bands"]["whole"] is True
    assert len(first["tracks"]) == 50
    again = json.loads(told.message(watch.snapshot()))
    assert "bands" not in again
    assert "tracks" not in again
    assert "bands" not in again["state"]
    watch.end_track("back", None, minutes_ago=1)
    after = json.loads(told.message(watch.snapshot()))
    assert after["bands"]["whole"] is False
    assert len(after["bands"]["minutes"]) == 1
    assert after["tracks"][0]["age"] is None
    assert len(told.message(watch.snapshot())) < 3000


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "1", '{"visible": "front"}', '{"visible": [1]}', '{"drawn": ["front"]}',
     '{"drawn": {"a": -1}}', '{"drawn": {"a": true}}', '{"drawn": {"a": 1.5}}', "[" * 50000],
)  # fmt: skip
def test_a_browser_that_says_nonsense_is_let_go(page: Page, text: str, heard: list[str]) -> None:
    """And it alone."""
    with pytest.raises(ValueError, match="expected"):
        said(text)
    with look(page, "front") as other, look(page) as looking:
        looking.say(text)
        assert looking.closed() == 1008
        before = len(other.pictures)
        other.until(lambda: len(other.pictures) > before + 2)
    assert heard == []


def test_a_message_that_is_too_long(page: Page) -> None:
    with look(page) as looking:
        looking.say({"visible": ["x" * 70_000]})
        assert looking.closed() == 1009


def test_too_many_pages(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(viewers, "MOST_VIEWERS", 1)
    with look(page) as first:
        first.until(lambda: first.texts)
        with opened(page) as second:
            with pytest.raises(ConnectionClosed) as closed:
                second.recv(SECONDS)
            assert closed.value.rcvd is not None
            assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1013, "too many pages are open")
        assert first.take()
    until(lambda: _may_look(page))


def _may_look(page: Page) -> bool:
    try:
        with look(page) as looking:
            return looking.take()
    except ConnectionClosed:
        return False


# -- who is slow -----------------------------------------------------------------------------------


def test_who_draws_nothing_gets_two_pictures_and_then_the_newest(page: Page, watch: FakeWatch) -> None:
    with look(page, "front") as looking:
        looking.until(lambda: len(looking.texts) > 3, draws=False)
        assert len(looking.pictures) == 2
        drawn = watch.drawn
        assert drawn > 10
        looking.drawn(front=1)
        looking.until(lambda: len(looking.pictures) == 3, draws=False)
        # Not the third of many that had queued: the newest, three seconds of news later.
        assert looking.pictures[2][0]["utc"] > looking.texts[1]["state"]["utc"]


def picture(camera: str, time: float, size: int = 1000) -> Picture:
    return Picture(camera, bytes(size), time, "2026-01-01T00:00:00.000Z")


async def sent(viewer: Viewer) -> list[tuple[str, float]]:
    """Camera and age of the pictures that the viewer has room for now."""
    found = []
    with suppress(asyncio.TimeoutError):
        while True:
            message = await asyncio.wait_for(viewer.next(), 0.05)
            assert isinstance(message, bytes)
            (length,) = struct.unpack(">I", message[:4])
            header = json.loads(message[4 : 4 + length])
            found.append((header["camera"], header["old"]))
    return found


def run(test: Callable[[Viewer], Any]) -> None:
    async def inside() -> None:
        await test(Viewer(clock=lambda: 100.0))

    asyncio.run(inside())


def test_of_each_camera_the_newest_waits_and_no_camera_waits_for_ever() -> None:
    async def test(viewer: Viewer) -> None:
        viewer.look_at(frozenset({"front", "back"}))
        for time_ in range(50):
            viewer.offer(picture("front", time_))
        viewer.offer(picture("back", 1))
        viewer.offer(picture("front", 60))
        viewer.offer(picture("front", 59))  # not news any more
        viewer.offer(picture("side", 99))
        assert await sent(viewer) == [("front", 40.0), ("back", 99.0)]
        viewer.offer(picture("front", 70))
        viewer.offer(picture("front", 80))
        assert await sent(viewer) == [("front", 20.0)]
        viewer.offer(picture("front", 90))
        assert await sent(viewer) == []
        viewer.drawn({"front": 1, "nobody": 3})
        assert await sent(viewer) == [("front", 10.0)]

    run(test)


def test_what_is_on_the_way_is_bounded_in_bytes() -> None:
    size = BYTES_ON_THE_WAY // 3

    async def test(viewer: Viewer) -> None:
        names = [str(i) for i in range(8)]
        viewer.look_at(frozenset(names))
        for name in names:
            viewer.offer(picture(name, 1, size))
        assert len(await sent(viewer)) == 2
        viewer.drawn({"0": 1, "1": 1})
        assert [name for name, _ in await sent(viewer)] == ["2", "3"]
        viewer.look_at(frozenset({"big"}))
        viewer.offer(picture("big", 1, 5 * BYTES_ON_THE_WAY))
        assert await sent(viewer) == []
        viewer.drawn({"2": 1, "3": 1})
        assert len(await sent(viewer)) == 1  # one is sent whatever its size

    run(test)


def handshake(page: Page, **headers: str) -> bytes:
    """The request for a WebSocket; ``Host`` and ``Origin`` are the page's own unless others are given."""
    own = {"Host": page.address, "Origin": f"http://{page.address}"}
    fixed = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
    key = {"Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="}
    lines = [f"{name}: {text}\r\n" for name, text in {**own, **fixed, **key, **headers}.items() if text]
    return f"GET /live HTTP/1.1\r\n{''.join(lines)}\r\n".encode()


def stuck_browser(page: Page) -> socket.socket:
    """One that asks for all pictures, and then reads nothing at all."""
    stuck = socket.socket()
    stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    stuck.settimeout(SECONDS)
    stuck.connect(parse_address(page.address))
    stuck.sendall(handshake(page))
    assert stuck.recv(12) == b"HTTP/1.1 101"
    text = json.dumps({"visible": ["front", "back"]}).encode()
    stuck.sendall(b"\x81" + bytes([0x80 | len(text)]) + bytes(4) + text)  # masked with zeros
    return stuck


def test_who_reads_nothing_costs_no_memory(
    page: Page, watch: FakeWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is told and drawn meanwhile."""
    monkeypatch.setattr(viewers, "STATE_SECONDS", 0.005)
    watch.version = "1" * 1_000_000
    alive: weakref.WeakSet[Picture] = weakref.WeakSet()
    real = watch.pictures

    def pictures(after: int) -> tuple[int, list[Picture]]:
        number, found = real(after)
        found = [replace(one, jpeg=one.jpeg + bytes(100_000)) for one in found]
        alive.update(found)
        return number, found

    watch.pictures = pictures  # type: ignore[method-assign]
    with stuck_browser(page):
        until(lambda: watch.wants[-1] == {"front", "back"})
        until(lambda: watch.drawn > 10)
        tracemalloc.start()
        try:
            snapshots, drawn = watch.snapshots, watch.drawn
            until(lambda: watch.snapshots > snapshots + 100 and watch.drawn > drawn + 60, seconds=60)
            gc.collect()
            assert tracemalloc.get_traced_memory()[0] < 20_000_000  # 100 MB of news, 6 MB of pictures
            assert len(alive) < 20
        finally:
            tracemalloc.stop()


def test_who_takes_nothing_is_let_go(page: Page, watch: FakeWatch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "TAKING_SECONDS", 0.3)
    watch.version = "1" * 8_000_000  # more than the sockets hold
    with stuck_browser(page):
        until(lambda: watch.wants[-1] == {"front", "back"})
        until(lambda: watch.wants[-1] == frozenset())


# -- who may look ----------------------------------------------------------------------------------


def refused(page: Page, **headers: str) -> int:
    """The status with which a WebSocket is refused; 101 if it is not."""
    with socket.create_connection(parse_address(page.address), SECONDS) as asking:
        asking.sendall(handshake(page, **headers))
        return int(asking.recv(12).split()[1])


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_an_open_page_needs_a_token(watch: FakeWatch, host: str) -> None:
    with pytest.raises(UsageError) as refusal:
        Page(watch, host, 8080).start()
    assert str(refusal.value) == (
        f"page: {shown(host, 8080)} is open to other machines: give it a token with --page-token, or let it "
        "listen on 127.0.0.1"
    )
    assert refusal.value.status == 2


@pytest.mark.parametrize(
    "token", ["", "short", "with a space in the middle", "fünfzehn-und-mehr", "x" * 20 + "\n"]
)
def test_a_token_that_is_none(watch: FakeWatch, token: str) -> None:
    with pytest.raises(
        UsageError, match="the token must be at least 16 printable ASCII characters"
    ) as refusal:
        Page(watch, "127.0.0.1", 0, token).start()
    assert not token or token not in str(refusal.value)


@pytest.fixture
def guarded(serve: Callable[..., Page], watch: FakeWatch) -> Page:
    """Open to other machines, with a token."""
    return serve(watch, "0.0.0.0", TOKEN)


def test_an_open_page_says_where_it_is(guarded: Page) -> None:
    assert guarded.address.startswith("0.0.0.0:")
    assert guarded.url.startswith("http://127.0.0.1:")
    assert TOKEN not in guarded.url


@pytest.mark.parametrize(
    "path", ["", "?token=", "?token=wrong", f"?token={TOKEN}x", "?token=%F6%00", "?token=a&token=b"]
)
def test_without_the_token_the_page_asks_for_it(guarded: Page, path: str) -> None:
    answer = httpx.get(guarded.url + path)
    assert answer.status_code == 401
    assert '<form method="post" action="/">' in answer.text
    assert "ssr-video watch" in answer.text
    assert "{why}" not in answer.text
    assert ("not the token" in answer.text) == bool(path)
    assert "set-cookie" not in answer.headers
    assert "content-security-policy" in answer.headers


@pytest.mark.parametrize("path", ["state", "metrics", "page.js", "nothing", f"state?token={TOKEN}"])
def test_nor_is_anything_else_to_be_had(guarded: Page, path: str) -> None:
    answer = httpx.get(guarded.url + path)
    assert answer.status_code == 401
    assert "Authorization: Bearer TOKEN" in answer.text
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("path", ["healthz", "page.css", "icon.svg"])
def test_what_tells_nothing_is_open(guarded: Page, path: str) -> None:
    assert httpx.get(guarded.url + path).status_code == 200


def test_a_browser_brings_the_token_once(guarded: Page, watch: FakeWatch) -> None:
    with httpx.Client() as browser:
        answer = browser.get(guarded.url, params={"token": TOKEN})
        assert answer.status_code == 303
        assert answer.headers["location"] == "/"
        cookie = answer.headers["set-cookie"]
        assert {"HttpOnly", "SameSite=strict", "Path=/"} < {part.strip() for part in cookie.split(";")}
        assert TOKEN not in cookie
        again = browser.get(guarded.url)
        assert again.status_code == 200
        assert "set-cookie" in again.headers  # for another month
        assert browser.get(guarded.url + "state").status_code == 200
        name, value = next(iter(browser.cookies.items()))
    assert name == f"ssr_video_{parse_address(guarded.address)[1]}"
    with opened(guarded, f"other={{'a': \"b\"}}; {name}={value}") as connection:
        assert json.loads(connection.recv(SECONDS))["state"]["schema"] == 1
    for cookies in (f"{name}={value[:-1]}", f"{name}={TOKEN}", f"other={value}", f"{name}=", ";=;"):
        assert httpx.get(guarded.url + "state", headers={"Cookie": cookies}).status_code == 401


def test_a_restarted_page_knows_its_browsers_and_another_token_does_not(
    serve: Callable[..., Page], watch: FakeWatch
) -> None:
    values = []
    for token in (TOKEN, TOKEN, TOKEN + "2"):
        page = serve(watch, "127.0.0.1", token)
        cookie = httpx.get(page.url, params={"token": token}).headers["set-cookie"]
        values.append(cookie.split(";")[0].split("=")[1])
    assert values[0] == values[1] != values[2]


def test_the_form(guarded: Page) -> None:
    assert httpx.post(guarded.url, data={"token": TOKEN}).status_code == 303
    assert httpx.post(guarded.url, data={"token": "wrong"}).status_code == 401
    assert httpx.post(guarded.url, data={"token": "x" * 100_000}).status_code == 401
    assert httpx.post(guarded.url, content=b"\xff\x00&&==").status_code == 401
    assert httpx.post(guarded.url + "state", data={"token": TOKEN}).status_code == 401


@pytest.mark.parametrize(
    ("shown", "status"),
    [(f"Bearer {TOKEN}", 200), (f"bearer {TOKEN}", 200), (f"Bearer {TOKEN}x", 401), ("Bearer", 401),
     (f"Basic {TOKEN}", 401), (TOKEN, 401), ("Bearer ö", 401)],
)  # fmt: skip
def test_a_program_is_a_bearer(guarded: Page, shown: str, status: int) -> None:
    for path in ("state", "metrics"):
        headers = {"Authorization": shown.encode("latin-1")}
        assert httpx.get(guarded.url + path, headers=headers).status_code == status


def test_tokens_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[bytes] = []
    real = hmac.compare_digest

    def compare(one: bytes, other: bytes) -> bool:
        compared.append(one)
        return real(one, other)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    rules = access.Access(TOKEN, 80)
    assert not rules.good_token("wrong")
    assert not rules.let_in({"authorization": "Bearer wrong too", "cookie": f"{rules.cookie}=as wrong"})
    assert compared == [b"wrong", b"wrong too", b"as wrong"]


def test_the_token_is_in_no_log(guarded: Page, caplog: pytest.LogCaptureFixture, capfd: Any) -> None:
    with caplog.at_level(0):
        httpx.get(guarded.url, params={"token": TOKEN})
        refused(guarded, Authorization=f"Bearer {TOKEN}", Origin="http://evil.example")
    of_the_server = [record for record in caplog.records if not record.name.startswith(("httpx", "httpcore"))]
    assert TOKEN not in "".join(record.getMessage() for record in of_the_server)
    assert TOKEN not in "".join(capfd.readouterr())


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "0.0.0.0:80", "192.168.1.2", ""]
)
def test_another_name_for_this_machine_is_refused(page: Page, host: str) -> None:
    """A stranger's name that leads here would make the page readable to the stranger's scripts."""
    for path in ("", "state", "metrics", "page.js"):
        answer = httpx.get(page.url + path, headers={"Host": host})
        assert answer.status_code == 403
        assert "127.0.0.1" in answer.text
    assert refused(page, Host=host, Origin=f"http://{host}") in {400, 403}


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:9999", "localhost:8080", "[::1]:8080", "LOCALHOST"])
def test_its_own_names_are_not(page: Page, host: str) -> None:
    assert httpx.get(page.url, headers={"Host": host}).status_code == 200
    assert refused(page, Host=host, Origin=f"http://{host}") == 101


def test_with_a_token_any_name_will_do(guarded: Page) -> None:
    headers = {"Host": "cameras.example", "Authorization": f"Bearer {TOKEN}"}
    assert httpx.get(guarded.url + "state", headers=headers).status_code == 200
    behind_tls = {**headers, "Origin": "https://cameras.example"}
    assert refused(guarded, **behind_tls) == 101
    assert refused(guarded, **{**behind_tls, "Authorization": ""}) == 401


@pytest.mark.parametrize(
    "origin", ["", "null", "http://evil.example", "http://127.0.0.1:1", "file://", "https://localhost"]
)
def test_a_socket_is_the_pages_own(page: Page, guarded: Page, origin: str) -> None:
    assert refused(page, Origin=origin) == 403
    assert refused(guarded, Origin=origin, Authorization=f"Bearer {TOKEN}") == 403


# -- the end ---------------------------------------------------------------------------------------


def test_it_ends_in_time_whoever_is_connected(serve: Callable[..., Page], watch: FakeWatch) -> None:
    """One draws, one draws nothing, one reads nothing, one asks nothing; then the port is free."""
    page = serve(watch)
    watch.version = "1" * 8_000_000
    place = parse_address(page.address)
    with (
        stuck_browser(page),
        look(page, "front") as draws,
        look(page, "front") as idle,
        socket.create_connection(place),
    ):
        draws.until(lambda: len(draws.pictures) > 3)
        idle.until(lambda: idle.pictures, draws=False)
        began = time.monotonic()
        page.close(4)
        assert time.monotonic() - began < 5
        assert draws.closed() == 1012
        socket.create_server(place).close()
    page.close()
    assert not any(thread.name == "page" and thread.is_alive() for thread in threading.enumerate())


def test_it_ends_at_once_where_nobody_is(serve: Callable[..., Page], watch: FakeWatch) -> None:
    page = serve(watch)
    httpx.get(page.url)
    began = time.monotonic()
    page.close(30)
    assert time.monotonic() - began < 10


def test_the_same_port_again(watch: FakeWatch) -> None:
    with Page(watch, "127.0.0.1", 0) as page:
        httpx.get(page.url)
        host, port = parse_address(page.address)
    with Page(watch, host, port) as page:
        assert httpx.get(page.url).status_code == 200


def test_what_was_never_started_can_be_closed(watch: FakeWatch) -> None:
    Page(watch, "127.0.0.1", 0).close()
