"""The live page in a real Chromium, headless: what an operator sees, presses and is told.

Needs ``playwright`` and a Chromium on PATH (Debian's, or the one that ``SSR_CHROMIUM`` names).
``SSR_SCREENSHOTS=folder`` keeps pictures of the page there.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from conftest import until

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Locator
    from playwright.sync_api import Page as Tab

pytest.importorskip("cv2")
pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
pytest.importorskip("websockets")
playwright = pytest.importorskip("playwright.sync_api", reason="no playwright here, which drives the browser")

from fake_watch import BANDS, FakeWatch, fill  # noqa: E402
from ssr_video.live.page.address import parse_address  # noqa: E402
from ssr_video.live.page.server import Page  # noqa: E402

TOKEN = "correct-horse-battery"
SECONDS = 60.0
"""For what comes within one or two on a machine that is not busy."""
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
QUIET = [
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
    "--no-sandbox",  # tests may run as root
]


def chromium() -> str:
    """The browser's program, or a skip with the reason."""
    found = os.environ.get("SSR_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip("no Chromium here: apt-get install chromium, or name one with SSR_CHROMIUM")
    return found


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = chromium()
    playwright.expect.set_options(timeout=SECONDS * 1000)
    with playwright.sync_playwright() as driver:
        launched = driver.chromium.launch(executable_path=program, args=QUIET, headless=True)
        yield launched
        launched.close()


@dataclass
class Seen:
    """A tab at the page, and what a browser's console would show of it."""

    tab: Tab
    page: Page
    watch: FakeWatch
    errors: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)

    def listen(self) -> None:
        def console(said: Any) -> None:
            if said.type == "error":
                self.errors.append(said.text)

        def dialog(asked: Any) -> None:
            self.errors.append(f"a dialog: {asked.message}")
            asked.dismiss()

        def connection(asked: Any) -> None:
            if not re.match(rf"(https?|wss?)://{re.escape(self.page.address)}/|blob:|data:", asked.url):
                self.outside.append(asked.url)

        self.tab.on("console", console)
        self.tab.on("dialog", dialog)
        self.tab.on("pageerror", lambda error: self.errors.append(str(error)))
        self.tab.on("request", connection)
        self.tab.on("websocket", connection)

    def tile(self, name: str) -> Locator:
        return self.tab.locator("li.tile").filter(has=self.tab.get_by_role("heading", name=name, exact=True))

    def pixels(self, name: str) -> str:
        """What is painted on a camera's canvas, as a data URL."""
        return str(self.tile(name).locator("canvas").evaluate("canvas => canvas.toDataURL()"))

    def moves(self, name: str) -> None:
        """Three pictures that differ are painted, one after the other."""
        met: set[str] = set()

        def another() -> bool:
            met.add(self.pixels(name))
            return len(met) >= 3

        self.until(another)

    def until(self, condition: Callable[[], object]) -> None:
        until(condition, SECONDS)

    def shoot(self, name: str) -> None:
        """Keep a picture of the page, where pictures are kept."""
        if folder := os.environ.get("SSR_SCREENSHOTS"):
            self.tab.screenshot(path=Path(folder) / f"{name}.png")


Open = Any
"""``open_page(watch, **context)``: a :class:`Seen`; ``context`` as playwright's ``new_context`` takes it."""


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Open]:
    """Each page must end without an error in its console, and must have asked no other host."""
    with ExitStack() as stack:
        opened: list[Seen] = []

        def open_one(watch: FakeWatch, token: str | None = None, path: str = "", **context: Any) -> Seen:
            page = Page(watch, "127.0.0.1", 0, token)
            stack.enter_context(page)
            options = {"viewport": {"width": 1440, "height": 900}, "color_scheme": "light", **context}
            around: BrowserContext = browser.new_context(**options)
            stack.callback(around.close)
            around.set_default_timeout(SECONDS * 1000)
            seen = Seen(around.new_page(), page, watch)
            seen.listen()
            opened.append(seen)
            seen.tab.goto(page.url + path)
            return seen

        yield open_one
        for seen in opened:
            assert seen.errors == []
            assert seen.outside == []


@pytest.fixture
def watch() -> FakeWatch:
    watch = FakeWatch([f"camera {i}" for i in range(1, 7)])
    fill(watch)
    return watch


# -- what is seen ----------------------------------------------------------------------------------


def test_tiles_move(open_page: Open, watch: FakeWatch) -> None:
    seen = open_page(watch)
    for name in watch.cameras:
        seen.moves(name)
    first = seen.tile("camera 1")
    playwright.expect(first).to_contain_text("live")
    playwright.expect(first).to_contain_text("2 people")
    playwright.expect(first).to_contain_text("25.0 / 15.0")
    playwright.expect(first.locator(".over")).to_be_hidden()
    label = first.locator(".picture").get_attribute("aria-label")
    assert re.fullmatch(r"camera 1, live, 2 people, \d+ years \(\d+ to \d+\), age unknown: too small", label)
    seen.shoot("live-page")


EDGES = """item => {
  const { canvas, last } = item.tile;
  const [x, y, width, height] = last.header.people[0].box;
  const yellow = (at) => {
    const left = Math.round(at * canvas.width) - 3;
    const row = Math.round((y + height / 2) * canvas.height);
    const { data } = canvas.getContext("2d").getImageData(left, row, 7, 1);
    return [...Array(7).keys()].some((i) =>
      data[4 * i] > 235 && data[4 * i + 1] > 185 && data[4 * i + 1] < 225 && data[4 * i + 2] < 140);
  };
  return [yellow(x), yellow(x + width / 2), yellow(x + width)];
}"""


def test_boxes_are_where_the_people_are(open_page: Open, watch: FakeWatch) -> None:
    """Their colour is at both edges of the box that came with the picture, and not between."""
    seen = open_page(watch)
    seen.moves("camera 1")
    seen.until(lambda: seen.tile("camera 1").evaluate(EDGES) == [True, False, True])
    canvas = seen.tile("camera 1").locator("canvas")
    width, height = canvas.evaluate("canvas => [canvas.width, canvas.height]")
    assert canvas.evaluate("canvas => [canvas.clientWidth, canvas.clientHeight]") == [width, height]
    assert width / height == pytest.approx(16 / 9, rel=0.02)


def test_sharp_on_a_dense_screen(open_page: Open, watch: FakeWatch) -> None:
    seen = open_page(watch, device_scale_factor=2)
    seen.moves("camera 1")
    canvas = seen.tile("camera 1").locator("canvas")
    assert canvas.evaluate("canvas => Math.abs(canvas.width - 2 * canvas.clientWidth)") <= 1


def test_a_killed_camera_shows_as_lost_and_comes_back(open_page: Open, watch: FakeWatch) -> None:
    seen = open_page(watch)
    seen.moves("camera 2")
    tile = seen.tile("camera 2")
    watch.lose("camera 2", "no route to host", next_try=30)
    playwright.expect(tile).to_have_attribute("data-state", "lost")
    playwright.expect(tile.locator(".over")).to_contain_text("no route to host")
    playwright.expect(tile.locator(".over")).to_contain_text(re.compile(r"next try in \d+ s"))
    playwright.expect(tile.locator(".over")).to_contain_text(re.compile(r"picture of \d\d:\d\d:\d\d"))
    assert "grayscale" in tile.locator("canvas").evaluate("canvas => getComputedStyle(canvas).filter")
    playwright.expect(seen.tab.locator("#said")).to_have_text("camera 2 is lost: no route to host")
    assert "1 lost" in seen.tab.title()
    playwright.expect(seen.tab.locator("#totals")).to_contain_text("1 lost")
    seen.shoot("live-page-lost")
    for other in ("camera 1", "camera 3"):
        seen.moves(other)
    watch.bring_back("camera 2")
    playwright.expect(tile).to_have_attribute("data-state", "live")
    playwright.expect(tile.locator(".over")).to_be_hidden()
    seen.moves("camera 2")
    assert tile.locator("canvas").evaluate("canvas => getComputedStyle(canvas).filter") == "none"


def test_sixteen_move_at_once(open_page: Open) -> None:
    """More than the connections that a browser opens to one host."""
    watch = FakeWatch([f"camera {i}" for i in range(1, 17)], rate=8)
    fill(watch)
    seen = open_page(watch, viewport={"width": 1920, "height": 1200})
    for name in watch.cameras:
        seen.moves(name)
    assert watch.wants[-1] == watch.cameras.keys()
    seen.shoot("live-page-sixteen")


def test_hundreds_of_cameras(open_page: Open) -> None:
    """Only those on the screen are drawn, here and by the watch."""
    watch = FakeWatch([f"camera {i:03}" for i in range(300)], rate=5)
    seen = open_page(watch)
    seen.moves("camera 000")
    assert 0 < len(watch.wants[-1]) < 60
    assert "camera 299" not in watch.wants[-1]
    seen.tile("camera 299").scroll_into_view_if_needed()
    seen.moves("camera 299")
    seen.until(lambda: "camera 000" not in watch.wants[-1])
    kept = seen.tab.evaluate("[...document.querySelectorAll('canvas')].filter((one) => one.width > 0).length")
    assert kept < 60


def test_a_window_that_is_not_seen_costs_nothing(open_page: Open, watch: FakeWatch) -> None:
    seen = open_page(watch)
    seen.moves("camera 1")
    hide = """state => {
      Object.defineProperty(document, "visibilityState", { value: state, configurable: true });
      document.dispatchEvent(new Event("visibilitychange"));
    }"""
    seen.tab.evaluate(hide, "hidden")
    seen.until(lambda: watch.wants[-1] == frozenset())
    seen.tab.evaluate(hide, "visible")
    seen.moves("camera 1")


def test_text_from_cameras_is_text(open_page: Open) -> None:
    name = "<img src=x onerror=alert(1)>"
    watch = FakeWatch([name])
    watch.lose(name, "<script>alert(2)</script>")
    watch.end_track(name, 30.0, zones=["<b>door</b>"])
    seen = open_page(watch)
    playwright.expect(seen.tab.get_by_role("heading", name=name, exact=True)).to_be_visible()
    playwright.expect(seen.tab.locator(".over")).to_contain_text("<script>alert(2)</script>")
    playwright.expect(seen.tab.locator("#track-table")).to_contain_text("<b>door</b>")
    assert seen.tab.locator("img, #track-table b, main script").count() == 0


def test_nothing_is_there_yet(open_page: Open) -> None:
    seen = open_page(FakeWatch([]))
    for text in ("No camera is configured.", "No track has ended yet.", "No track has ended in this time."):
        playwright.expect(seen.tab.get_by_text(text)).to_be_visible()


# -- people over time ------------------------------------------------------------------------------


def test_the_chart_and_its_table(open_page: Open, watch: FakeWatch) -> None:
    seen = open_page(watch)
    chart, tip = seen.tab.locator("#chart"), seen.tab.locator(".tip")
    playwright.expect(seen.tab.locator("#legend li")).to_have_count(len(BANDS))
    seen.tab.get_by_role("button", name="24 h").click()
    seen.until(lambda: chart.locator(".band").count() > 200)
    box = chart.bounding_box()
    seen.tab.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    playwright.expect(tip).to_be_visible()
    playwright.expect(tip).to_contain_text(re.compile(r"\d\d:\d\d – \d\d:\d\d\s\d+ (person|people)"))
    seen.tab.mouse.move(5, 5)
    playwright.expect(tip).to_be_hidden()
    chart.focus()
    seen.tab.keyboard.press("End")
    seen.tab.keyboard.press("ArrowLeft")
    playwright.expect(tip).to_be_visible()
    playwright.expect(seen.tab.locator("#said")).to_contain_text(re.compile(r"\d\d:\d\d to \d\d:\d\d, \d+ p"))
    seen.tab.get_by_text("As a table").click()
    playwright.expect(seen.tab.locator("#numbers thead th")).to_have_text(["From", *BANDS, "all"])
    cells = seen.tab.locator("#numbers tbody tr td:last-child").all_text_contents()
    assert sum(int(cell) for cell in cells) == pytest.approx(900, abs=15)  # the oldest may have left
    seen.tab.reload()
    pressed = seen.tab.get_by_role("button", name="24 h")
    playwright.expect(pressed).to_have_attribute("aria-pressed", "true")  # it is remembered


def test_recent_tracks(open_page: Open, watch: FakeWatch) -> None:
    watch.end_track("camera 4", 36.4, zones=["door", "till"])
    seen = open_page(watch)
    rows = seen.tab.locator("#track-table tbody tr")
    playwright.expect(rows).to_have_count(50)
    playwright.expect(rows.first).to_contain_text("36.4")
    playwright.expect(rows.first).to_contain_text("31–42")
    playwright.expect(rows.first).to_contain_text("door, till")
    seen.tab.get_by_label("Tracks of which camera").select_option("camera 4")
    cameras = seen.tab.locator("#track-table td:first-child")
    seen.until(lambda: set(cameras.all_text_contents()) == {"camera 4"})
    watch.end_track("camera 4", None)
    playwright.expect(rows.first).to_contain_text("unknown")


def test_failing_sinks(open_page: Open, watch: FakeWatch) -> None:
    seen = open_page(watch)
    sinks = seen.tab.locator("#sinks")
    playwright.expect(sinks.locator("summary")).to_have_text("● 1 sink")
    away = replace(watch.sinks[0], name="mqtt", failing="connection refused", waiting=1234)
    watch.sinks = [*watch.sinks, away]
    playwright.expect(sinks.locator("summary")).to_have_text("▲ 1 sink fails")
    sinks.locator("summary").click()
    last = sinks.get_by_role("row").last
    playwright.expect(last).to_have_text(re.compile("mqtt.*connection refused.*1,234"))
    seen.tab.keyboard.press("Escape")
    playwright.expect(sinks.get_by_role("table")).to_be_hidden()


# -- keys ------------------------------------------------------------------------------------------


def test_by_keys_alone(open_page: Open, watch: FakeWatch) -> None:
    seen = open_page(watch)
    keys = seen.tab.keyboard
    seen.moves("camera 1")

    def focused() -> str:
        label = seen.tab.evaluate("document.activeElement.getAttribute('aria-label') ?? ''")
        return str(label).split(",")[0]

    keys.press("ArrowRight")
    assert focused() == "camera 1"
    keys.press("ArrowRight")
    assert focused() == "camera 2"
    columns = seen.tab.evaluate(
        "getComputedStyle(document.getElementById('grid')).gridTemplateColumns.split(' ').length"
    )
    keys.press("ArrowDown")
    assert focused() == f"camera {min(2 + columns, 6)}"
    keys.press("Home")
    assert focused() == "camera 1"
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert seen.tab.evaluate(outline) == "solid"
    keys.press("Enter")
    large = seen.tab.locator(".tile.large")
    playwright.expect(large).to_have_count(1)
    box = large.bounding_box()
    assert (box["x"], box["y"], box["width"], box["height"]) == (0, 0, 1440, 900)
    playwright.expect(large.locator(".present")).to_contain_text("age unknown: too small")
    seen.until(lambda: watch.wants[-1] == {"camera 1"})
    seen.moves("camera 1")
    seen.shoot("live-page-large")
    keys.press("ArrowRight")
    playwright.expect(large.get_by_role("heading")).to_have_text("camera 2")
    for _ in range(4):
        keys.press("Tab")
        assert seen.tab.evaluate("document.activeElement.matches('.tile.large *, body')")
    keys.press("Escape")
    playwright.expect(large).to_have_count(0)
    assert focused() == "camera 2"
    keys.press("/")
    keys.type("era 5")
    playwright.expect(seen.tab.locator(".tile:visible")).to_have_count(1)
    keys.press("Escape")
    playwright.expect(seen.tab.locator(".tile:visible")).to_have_count(6)
    keys.press("?")
    playwright.expect(seen.tab.get_by_role("dialog")).to_be_visible()
    keys.press("Escape")
    playwright.expect(seen.tab.get_by_role("dialog")).to_be_hidden()
    before = seen.tile("camera 1").bounding_box()["width"]
    keys.press("+")
    keys.press("+")
    seen.until(lambda: seen.tile("camera 1").bounding_box()["width"] > before)


def test_by_pointer(open_page: Open, watch: FakeWatch) -> None:
    seen = open_page(watch)
    watch.lose("camera 3")
    seen.tile("camera 4").locator(".picture").click()
    playwright.expect(seen.tab.locator(".tile.large")).to_have_count(1)
    seen.tile("camera 4").locator(".picture").click()
    playwright.expect(seen.tab.locator(".tile.large")).to_have_count(0)
    seen.tab.locator("#totals [data-state='lost']").click()
    playwright.expect(seen.tab.locator(".tile:visible")).to_have_count(1)
    seen.tile("camera 3").get_by_text("dropped").click()
    playwright.expect(seen.tile("camera 3")).to_contain_text("decoding was late")


# -- other screens ---------------------------------------------------------------------------------


def test_a_phone(open_page: Open, watch: FakeWatch) -> None:
    """One column, and nothing sticks out to the side."""
    phone = {"device_scale_factor": 3, "is_mobile": True, "has_touch": True}
    watch.sinks = [replace(watch.sinks[0], failing="HTTP 500")]
    seen = open_page(watch, viewport={"width": 360, "height": 740}, **phone)
    seen.moves("camera 1")
    lefts = {round(seen.tile(name).bounding_box()["x"]) for name in watch.cameras}
    assert len(lefts) == 1
    assert seen.tab.evaluate("document.documentElement.scrollWidth") <= 360
    seen.shoot("live-page-phone")
    seen.tab.locator("#sinks summary").tap()
    box = seen.tab.locator("#sinks table").bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 360
    seen.tab.locator("#sinks summary").tap()
    seen.tile("camera 2").locator(".picture").tap()
    playwright.expect(seen.tab.locator(".tile.large")).to_have_count(1)
    seen.tile("camera 2").locator(".picture").tap()
    seen.tab.locator("nav").get_by_text("Tracks").tap()
    playwright.expect(seen.tab.locator("#track-table")).to_be_in_viewport()


CONTRAST = """() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const light = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    if (a < 255) return null;
    const linear = (v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    const [R, G, B] = [r, g, b].map((value) => linear(value / 255));
    return 0.2126 * R + 0.7152 * G + 0.0722 * B;
  };
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const found = light(getComputedStyle(at).backgroundColor);
      if (found !== null) return found;
    }
    return 1;
  };
  const poor = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !element.checkVisibility() || element.closest(".over, svg, .unseen")) continue;
    const [one, other] = [light(getComputedStyle(element).color), behind(element)];
    const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    if (ratio < 4.5) poor.push(`${element.outerHTML}: ${ratio.toFixed(2)}`);
  }
  return poor;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_either_theme(open_page: Open, watch: FakeWatch, scheme: str) -> None:
    """WCAG's ratio of 4.5 between every text and what is behind it."""
    watch.lose("camera 2")
    watch.change("camera 3", state="connecting")
    watch.change("camera 4", state="stopped")
    watch.change("camera 5", server="no server answers")
    watch.sinks = [replace(watch.sinks[0], failing="HTTP 500")]
    seen = open_page(watch, color_scheme=scheme)
    playwright.expect(seen.tile("camera 2")).to_have_attribute("data-state", "lost")
    seen.moves("camera 1")
    assert seen.tab.evaluate(CONTRAST) == []
    background = seen.tab.evaluate("getComputedStyle(document.body).backgroundColor")
    red = int(re.findall(r"\d+", background)[0])
    assert (red < 60) == (scheme == "dark")
    seen.shoot(f"live-page-{scheme}")


def test_every_control_has_a_name(open_page: Open, watch: FakeWatch) -> None:
    seen = open_page(watch)
    seen.moves("camera 1")
    nameless = """[...document.querySelectorAll("button, input, select, a, summary, [tabindex='0']")]
      .filter((one) => !(one.getAttribute("aria-label") || one.textContent.trim()))
      .map((one) => one.outerHTML)"""
    assert seen.tab.evaluate(nameless) == []


# -- the server goes, and asks ---------------------------------------------------------------------


def test_the_page_finds_its_server_again(open_page: Open, watch: FakeWatch) -> None:
    seen = open_page(watch)
    seen.moves("camera 1")
    place = parse_address(seen.page.address)
    seen.page.close()
    banner = seen.tab.locator("#banner")
    playwright.expect(banner).to_contain_text("The page lost its server")
    with Page(watch, *place):
        playwright.expect(banner).to_be_hidden()
        seen.moves("camera 1")
        seen.tab.close()
    seen.errors[:] = [error for error in seen.errors if not re.search("WebSocket connection to|ERR_", error)]


def test_the_token_in_a_browser(open_page: Open, watch: FakeWatch) -> None:
    """Asked for, typed once, in no address, kept."""
    seen = open_page(watch, token=TOKEN)
    seen.tab.get_by_label("Token").fill("wrong, of course")
    seen.tab.get_by_role("button", name="Open the page").click()
    playwright.expect(seen.tab.get_by_text("That is not the token of this page.")).to_be_visible()
    seen.tab.get_by_label("Token").fill(TOKEN)
    seen.tab.get_by_role("button", name="Open the page").click()
    seen.moves("camera 1")
    assert seen.tab.url == seen.page.url
    seen.tab.reload()
    seen.moves("camera 1")
    assert seen.tab.evaluate("document.cookie") == ""  # no script may read it
    seen.errors[:] = [error for error in seen.errors if "401" not in error]  # told of each by the browser


def test_a_link_with_the_token(open_page: Open, watch: FakeWatch) -> None:
    seen = open_page(watch, token=TOKEN, path=f"?token={TOKEN}")
    seen.moves("camera 1")
    assert seen.tab.url == seen.page.url
