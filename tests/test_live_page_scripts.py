"""The scripts of the live page, run by node: their parts, and the whole page on a real server."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import until

pytest.importorskip("cv2")
pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
pytest.importorskip("websockets")

from fake_watch import BANDS, FakeWatch
from ssr_video.live.page import app
from ssr_video.live.page.address import parse_address
from ssr_video.live.page.server import Page

STATIC = Path(app.__file__).with_name("static")
DOM = Path(__file__).with_name("page_dom.mjs")
SECONDS = 30.0
"""For what comes within one on a machine that is not busy."""
UTC = {**os.environ, "TZ": "UTC"}


@pytest.fixture
def watch() -> FakeWatch:
    return FakeWatch()


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    """The page's files as modules that node takes, or a skip."""
    if not shutil.which("node"):
        pytest.skip("no node here, which runs the page's scripts")
    folder = tmp_path / "page"
    shutil.copytree(STATIC, folder)
    (folder / "package.json").write_text('{"type": "module"}')
    return folder


def value(scripts: Path, module: str, expression: str) -> Any:
    """An expression over what a module exports, evaluated by node."""
    code = f'import * as m from "./{module}.js";\nconsole.log(JSON.stringify({expression}));'
    words = ["node", "--input-type=module", "-e", code]
    done = subprocess.run(words, cwd=scripts, capture_output=True, text=True, env=UTC, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_scripts_are_javascript(scripts: Path) -> None:
    for path in scripts.glob("*.js"):
        done = subprocess.run(["node", "--check", path], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_words(scripts: Path) -> None:
    old = {"age": 36.4, "interval": [31.2, 41.4]}
    unknown = {"age": None, "interval": None, "unknown": "too small"}
    cases = [
        (f"m.ageLabel({json.dumps(old)})", "36 (31–41)"),
        (f"m.ageLabel({json.dumps({**old, 'interval': None})})", "36"),
        (f"m.ageLabel({json.dumps(unknown)})", "?"),
        (f"m.ageWords({json.dumps(old)})", "36 years (31 to 41)"),
        (f"m.ageWords({json.dumps(unknown)})", "age unknown: too small"),
        ("m.latency(null)", "–"),
        ("m.latency(0.1432)", "143 ms"),
        ("m.latency(2.25)", "2.3 s"),
        ("m.duration(-3)", "0 s"),
        ("m.duration(59.9)", "59 s"),
        ("m.duration(3 * 3600 + 300)", "3 h 5 min"),
        ("m.duration(76 * 3600)", "3 d 4 h"),
        ("m.countdown(8, 0.5)", "next try in 8 s"),
        ("m.countdown(8, 8.5)", "trying now"),
        ("m.countdown(null, 8.5)", "trying now"),
        ("m.counted(1, 'person', 'people')", "1 person"),
        ("m.counted(12345, 'person', 'people')", "12,345 people"),
        ("m.faults({limit: 100, behind: 3, 'a new one': 1})", 4),
        ("m.grown([[0, 5], [30, 7], [60, 9]], 60)", 4),
        ("m.grown([[0, 5], [10, 6], [65, 8], [70, 9]], 60)", 3),
        ("m.grown([[0, 5], [10, 2]], 60)", 2),  # it began anew
        ("m.grown([[0, 5]], 60)", 0),
        ("m.clock('2026-01-02T03:04:05.678Z', new Date('2026-01-02T09:00:00Z'))", "03:04:05"),
        ("m.clock('2026-01-01T03:04:05.678Z', new Date('2026-01-02T09:00:00Z'))", "2026-01-01 03:04:05"),
        ("m.clock(null, new Date(0))", "00:00:00"),
        ("m.clock('nothing')", ""),
        ("m.changes({}, {a: 'lost'})", ""),
        (
            "m.changes({a: 'live', b: 'lost'}, {a: 'lost', b: 'live'}, {a: 'no route'})",
            "a is lost: no route. b is live",
        ),
        ("m.changes({a: 'live'}, {a: 'connecting'})", ""),
    ]
    found = value(scripts, "words", f"[{', '.join(expression for expression, _ in cases)}]")
    assert found == [expected for _, expected in cases]


def test_places(scripts: Path) -> None:
    cases: list[tuple[str, Any]] = [
        ("m.fit(640, 360, 320, 180)", [0, 0, 320, 180]),
        ("m.fit(360, 640, 320, 180)", [109.375, 0, 101.25, 180]),
        ("m.fit(0, 0, 320, 180)", [0, 0, 320, 180]),
        ("m.labelPlace([100, 100, 50, 50], 60, 20, [0, 0, 320, 180])", [100, 80]),
        ("m.labelPlace([300, 5, 50, 50], 60, 20, [0, 0, 320, 180])", [260, 55]),
        ("m.labelPlace([-20, 0, 50, 180], 60, 20, [0, 0, 320, 180])", [0, 0]),
        ("m.step('ArrowRight', 0, 3, 5)", 1),
        ("m.step('ArrowRight', 4, 3, 5)", 4),
        ("m.step('ArrowDown', 1, 3, 5)", 4),
        ("m.step('ArrowDown', 2, 3, 5)", 4),
        ("m.step('ArrowDown', 4, 3, 5)", 4),
        ("m.step('ArrowUp', 4, 3, 5)", 1),
        ("m.step('ArrowUp', 1, 3, 5)", 1),
        ("m.step('End', 1, 3, 5)", 4),
        ("m.step('Home', 0, 1, 0)", 0),
        ("m.step('x', 2, 3, 5)", 2),
    ]
    found = value(scripts, "place", f"[{', '.join(expression for expression, _ in cases)}]")
    assert found == [expected for _, expected in cases]


def test_bars(scripts: Path) -> None:
    minutes = json.dumps([
        {"utc": "2026-01-02T11:59:00Z", "people": [1, 2]},
        {"utc": "2026-01-02T11:01:00Z", "people": [1, 0]},
        {"utc": "2026-01-02T11:00:00Z", "people": [9, 9]},
        {"utc": "2026-01-01T11:58:00Z", "people": [9, 9]},
    ])  # fmt: skip
    code = f"""(() => {{
        const known = new Map();
        const now = Date.parse("2026-01-02T12:00:30Z");
        m.merge(known, {{ whole: true, minutes: {minutes} }}, now);
        const size = known.size;
        m.merge(known, {{ whole: false, minutes: [{{ utc: "2026-01-02T11:59:00Z", people: [2, 2] }}] }}, now);
        const found = [1, 6, 24].map((hours) => m.bars(known, 2, now, hours));
        return {{
          size, known: known.size, counts: found.map((bars) => bars.length),
          totals: found.map((bars) => bars.reduce((sum, bar) => sum + bar.total, 0)),
          last: found[0].at(-2).people, ends: new Date(found[0].at(-1).end).toISOString(),
        }};
    }})()"""
    assert value(scripts, "bins", code) == {
        "size": 3,
        "known": 3,
        "counts": [60, 72, 96],
        "totals": [5, 23, 23],
        "last": [2, 2],
        "ends": "2026-01-02T12:01:00.000Z",
    }
    marks = value(scripts, "bins", "[0, 1, 3, 5, 7, 12, 40, 99, 1234].map(m.marks)")
    assert marks[0] == [0, 1]
    for most, found in zip((1, 3, 5, 7, 12, 40, 99, 1234), marks[1:], strict=True):
        assert found[0] == 0
        assert found[-2] < most <= found[-1]
        assert len(found) <= 6
        assert len({after - before for before, after in itertools.pairwise(found)}) == 1
    for dark in ("true", "false"):
        colours = value(scripts, "bins", f"[...Array(9).keys()].map((i) => m.colour(i, 9, {dark}))")
        assert len(set(colours)) == 9


def test_the_feed_comes_back_by_itself(scripts: Path) -> None:
    """With sockets and a clock of its own."""
    code = """(() => {
        const told = [];
        const sockets = [];
        const timers = [];
        class Socket {
          readyState = 0;
          sent = [];
          send(text) { this.sent.push(JSON.parse(text)); }
          close() { this.readyState = 3; }
        }
        const on = {
          news: (message) => told.push(["news", message.n]),
          picture: (header, jpeg) => told.push(["picture", header.camera, jpeg.length]),
          away: (ms, reason) => told.push(["away", reason]),
          back: () => told.push(["back"]),
        };
        const feed = new m.Feed("ws://x/live", on, {
          open: () => (sockets.push(new Socket()), sockets.at(-1)),
          after: (call) => timers.push(call) - 1,
          forget: (i) => { timers[i] = null; },
        });
        const due = () => {
          const i = timers.findLastIndex(Boolean);
          const call = timers[i];
          timers[i] = null;
          call();
        };
        const open = () => {
          const socket = sockets.at(-1);
          socket.readyState = 1;
          socket.onopen();
          return socket;
        };
        feed.look(["front"]);
        feed.start();
        let socket = open();
        socket.onmessage({ data: JSON.stringify({ n: 1 }) });
        const bytes = new TextEncoder().encode('\\0\\0\\0\\x12{"camera":"front"}JPEG');
        socket.onmessage({ data: bytes.buffer });
        feed.look(["front"]);
        feed.look(["back"]);
        feed.drawn({ front: 1 });
        const { sent } = socket;
        socket.onclose({ reason: "gone" });
        due();  // the wait is over
        sockets.at(-1).onclose({ reason: "" });
        due();
        socket = open();
        const again = socket.sent;
        due();  // it says nothing: it is dead
        const left = socket.onmessage === null && socket.readyState === 3;
        const waits = [0, 1, 5, 100].map((n) => [m.wait(n, () => 0), m.wait(n, () => 1)]);
        return { told, sent, again, sockets: sockets.length, left, waits };
    })()"""
    found = value(scripts, "feed", code)
    assert found["told"] == [
        ["back"],
        ["news", 1],
        ["picture", "front", 4],
        ["away", "gone"],
        ["away", ""],
        ["away", "no news from the server"],
    ]
    assert found["sent"] == [{"visible": ["front"]}, {"visible": ["back"]}, {"drawn": {"front": 1}}]
    assert found["again"] == [{"visible": ["back"]}]
    assert (found["sockets"], found["left"]) == (3, True)
    assert found["waits"] == [[250, 500], [500, 1000], [7500, 15000], [7500, 15000]]


class Node:
    """The whole page in node, with the little of a browser that ``page_dom.mjs`` has."""

    def __init__(self, scripts: Path, page: Page) -> None:
        words = ["node", "--experimental-websocket", "--no-warnings", str(DOM), str(scripts), page.url]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=UTC)
        first = self._line()
        assert first == "ready", first

    def __enter__(self) -> Node:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def __call__(self, expression: str) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(" ".join(expression.split()) + "\n")
        self._process.stdin.flush()
        return self._line()

    def _line(self) -> Any:
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        line = self._process.stdout.readline()
        assert line, self._process.stderr.read()
        answer = json.loads(line)
        assert "error" not in answer, answer["error"]
        return answer.get("value")

    def text(self, selector: str, index: int = 0) -> str:
        return str(self(f"document.querySelectorAll({json.dumps(selector)})[{index}].textContent"))

    def until(self, expression: str) -> None:
        until(lambda: self(expression), SECONDS)

    def until_text(self, selector: str, part: str, index: int = 0) -> None:
        until(lambda: part in self.text(selector, index), SECONDS)


@pytest.fixture
def with_sockets(scripts: Path) -> Path:
    """As ``scripts``, where node has WebSockets."""
    asked = ["node", "--experimental-websocket", "-e", "WebSocket"]
    if subprocess.run(asked, capture_output=True, check=False).returncode:
        pytest.skip("this node has no WebSocket")
    return scripts


@contextmanager
def shown(scripts: Path, watch: FakeWatch) -> Iterator[Node]:
    """The page of ``watch``, which nothing may go wrong in."""
    with Page(watch, "127.0.0.1", 0) as page, Node(scripts, page) as node:
        yield node
        assert node("problems") == []


@pytest.fixture
def node(with_sockets: Path, watch: FakeWatch) -> Iterator[Node]:
    with shown(with_sockets, watch) as node:
        yield node


def test_the_whole_page_shows_cameras_that_move(node: Node, watch: FakeWatch) -> None:
    node.until("document.querySelectorAll('canvas').length === 2")
    node.until("document.querySelectorAll('canvas').every((one) => one.getContext().drawn > 10)")
    assert node("document.querySelector('canvas').getContext().texts") == ["23 (18–29)", "?"]
    assert node.text("h3") == "front"
    assert "25.0 / 15.0" in node.text(".figures")
    assert "140 ms" in node.text(".figures")
    assert "4 people now" in re.sub(r"\s+", " ", node.text("header"))
    node.until("document.querySelector('.over').hidden")


def test_the_whole_page_shows_a_lost_camera_and_its_return(node: Node, watch: FakeWatch) -> None:
    node.until("document.querySelectorAll('canvas').length === 2")
    node.until("document.querySelectorAll('canvas')[1].getContext().drawn > 2")
    watch.lose("back", "no route to host")
    node.until_text(".tile", "no route to host", 1)
    shown = node.text(".over", 1)
    assert shown.startswith("▲ lost\nno route to host\nnext try in ")
    assert "picture of " in shown
    node.until("document.getElementById('said').textContent === 'back is lost: no route to host'")
    assert node("document.querySelectorAll('.tile')[1].getAttribute('data-state')") == "lost"
    assert "2 people now" in re.sub(r"\s+", " ", node.text("header"))
    node("document.querySelector('#totals [data-state=\"lost\"]').click()")
    assert node("document.querySelectorAll('.tile').map((one) => one.hidden)") == [True, False]
    node("document.querySelector('#totals [data-state=\"lost\"]').click()")
    watch.bring_back("back")
    node.until("document.querySelectorAll('.tile')[1].getAttribute('data-state') === 'live'")
    node.until("document.querySelectorAll('.over')[1].hidden")
    node.until("document.getElementById('said').textContent === 'back is live'")


def test_the_whole_page_by_keys(node: Node, watch: FakeWatch) -> None:
    node.until("document.querySelectorAll('.tile').length === 2")
    label = "document.activeElement.getAttribute('aria-label')"
    assert node("key('ArrowDown')") is True
    assert node(label).startswith("front, live, 2 people")
    node("key('ArrowRight')")
    assert node(label).startswith("back, live")
    assert node("key('ArrowRight')") is False
    node("document.activeElement.click()")
    assert node("document.body.classList.contains('one')") is True
    assert node("document.querySelector('header').inert") is True
    until(lambda: watch.wants[-1] == {"back"}, SECONDS)
    node("key('ArrowLeft')")
    until(lambda: watch.wants[-1] == {"front"}, SECONDS)
    node("key('Escape')")
    assert node("document.body.classList.contains('one')") is False
    until(lambda: watch.wants[-1] == {"front", "back"}, SECONDS)
    node("key('/')")
    assert node("document.activeElement.getAttribute('id')") == "filter"
    node("document.activeElement.value = 'BA'")
    node("happens(document.activeElement, 'input')")
    assert node("document.querySelectorAll('.tile').map((one) => one.hidden)") == [True, False]
    assert node("key('ArrowLeft')") is False
    node("document.activeElement.value = 'nothing like it'")
    node("happens(document.activeElement, 'input')")
    assert node.text("#no-camera") == "No camera is like that."
    node("key('Escape')")
    assert node("document.querySelectorAll('.tile').some((one) => one.hidden)") is False
    node("key('?', document.body)")
    assert node("document.getElementById('keys').open") is True


def test_the_whole_page_out_of_sight(node: Node, watch: FakeWatch) -> None:
    until(lambda: watch.wants[-1] == {"front", "back"}, SECONDS)
    node("IntersectionObserver.scroll(document.querySelectorAll('.tile')[0], false)")
    until(lambda: watch.wants[-1] == {"back"}, SECONDS)
    assert node("document.querySelectorAll('canvas')[0].width") == 0
    node("IntersectionObserver.scroll(document.querySelectorAll('.tile')[0], true)")
    node.until("document.querySelectorAll('canvas')[0].width > 0")
    node("document.visibilityState = 'hidden'")
    node("happens(document, 'visibilitychange')")
    until(lambda: watch.wants[-1] == frozenset(), SECONDS)


def test_the_whole_page_with_people_who_left(node: Node, watch: FakeWatch) -> None:
    node.until("document.querySelectorAll('.tile').length === 2")
    assert node.text("#no-track") == "No track has ended yet."
    assert node("document.getElementById('no-people').hidden") is False
    watch.end_track("front", 36.4, minutes_ago=2, zones=["door", "till"])
    watch.end_track("back", None)
    node.until("document.querySelectorAll('#track-table tbody tr').length === 2")
    assert "back" in node.text("#track-table tbody tr", 0)
    assert "unknown" in node.text("#track-table tbody tr", 0)
    assert node.text("#track-table tbody tr", 1).endswith("6.436.431–424door, till")
    assert node("document.querySelectorAll('#legend li').length") == len(BANDS)
    assert "in the last hour: 2 people" in node("document.getElementById('chart').getAttribute('aria-label')")
    assert node("document.querySelectorAll('#chart .band').length") == 2
    node("document.getElementById('chart').focus()")
    node("key('ArrowLeft')")
    node.until("document.getElementById('said').textContent.includes('1 person, unknown: 1')")
    node("document.getElementById('of-camera').value = 'front'")
    node("happens(document.getElementById('of-camera'), 'change')")
    assert node("document.querySelectorAll('#track-table tbody tr').length") == 1
    node("document.getElementById('numbers').open = true")
    node("happens(document.getElementById('numbers'), 'toggle')")
    assert node("document.querySelectorAll('#numbers tbody tr').length") == 2


def test_the_whole_page_takes_names_as_text(with_sockets: Path) -> None:
    name = "<img src=x onerror=alert(1)>"
    watch = FakeWatch([name])
    watch.lose(name, "<b>why</b>")
    watch.end_track(name, 30.0)
    with shown(with_sockets, watch) as node:
        node.until("document.querySelectorAll('.tile').length === 1")
        node.until("document.querySelectorAll('#track-table tbody tr').length === 1")
        assert node.text("h3") == name
        assert "<b>why</b>" in node.text(".over")
        assert node("document.querySelectorAll('img').length") == 0


def test_the_whole_page_without_cameras(with_sockets: Path) -> None:
    with shown(with_sockets, FakeWatch([])) as node:
        node.until("document.getElementById('no-camera').textContent === 'No camera is configured.'")


def test_the_whole_page_when_its_server_goes_and_comes_back(with_sockets: Path, watch: FakeWatch) -> None:
    first = Page(watch, "127.0.0.1", 0).start()
    place = parse_address(first.address)
    with ExitStack() as pages:
        pages.callback(first.close)
        node = pages.enter_context(Node(with_sockets, first))
        node.until("document.querySelectorAll('.tile').length === 2")
        first.close()
        node.until_text("#banner", "The page lost its server")
        assert node("document.body.classList.contains('away')") is True
        watch.version = "2.0"
        pages.enter_context(Page(watch, *place))
        node.until("document.getElementById('banner').hidden")
        node.until("globalThis.reloaded === 1")  # another version has another page


def test_hundreds_of_cameras(with_sockets: Path) -> None:
    """Cameras that come and go are shown in the watch's order."""
    watch = FakeWatch([f"camera {i}" for i in range(300)], rate=1)
    with shown(with_sockets, watch) as node:
        node.until("document.querySelectorAll('.tile').length === 300")
        del watch.cameras["camera 0"]
        watch.cameras = {"new": replace(next(iter(watch.cameras.values())), name="new"), **watch.cameras}
        node.until("document.querySelectorAll('h3')[0].textContent === 'new'")
        assert node("document.querySelectorAll('.tile').length") == 300
        in_the_order_of_tab = "document.querySelectorAll('.tile [tabindex=\"0\"]').length"
        assert node(in_the_order_of_tab) == 2  # its picture, and its drops
