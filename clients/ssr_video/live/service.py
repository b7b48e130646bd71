"""The command ``ssr-video watch``: everything put together, and its end by a signal."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ssr_client.cli import Connection

from ssr_bundle.errors import UsageError
from ssr_bundle.shown import say
from ssr_video.live.cameras import read_settings
from ssr_video.live.page.address import parse_address
from ssr_video.live.page.server import Page
from ssr_video.live.watch import Watch
from ssr_video.stop import settled, stoppable

PAGE_SECONDS = 1.0
"""In which the page ends, browsers or not."""


def check_cameras(path: Path) -> None:
    """Say what a configuration holds, without its secrets."""
    settings = read_settings(path, os.environ)
    for camera in settings.cameras.values():
        zones = ", ".join(zone.name for zone in camera.zones)
        parts = [f"zones {zones}"] * bool(zones) + [f"{len(camera.masks)} masks"] * bool(camera.masks)
        say(f"{camera.name}: {camera.address}{''.join(f', {part}' for part in parts)}")
    for sink in settings.sinks:
        say(f"sink: {type(sink).__name__.removesuffix('Settings').lower()}")


def watch_cameras(
    path: Path,
    server: Connection,
    spool: Path | None,
    page: str | None,
    token: str | None,
    show_faces: bool,
) -> None:
    """Watch until a signal asks to stop; all that runs has ended when this returns."""
    if page is None and token is not None and "SSR_VIDEO_PAGE_TOKEN" not in os.environ:
        raise UsageError("--page-token is for --page")
    place = None if page is None else parse_address(page)
    folder = spool or state_folder() / path.stem
    with stoppable() as stop, ExitStack() as running:
        watch = Watch(path, server, folder, show_faces=show_faces, say=_say)
        running.enter_context(_hangup(watch))
        if place is not None:
            shown = Page(watch.hub, *place, token, _say)
            shown.start()
            running.callback(shown.close, PAGE_SECONDS)
            _say(f"page: {shown.url}")
        running.callback(watch.close)
        watch.start()
        watch.run(stop.event)
        settled()
        assert stop.asked is not None
        _say(f"stopping on {stop.asked.name}")
    if watch.hangs:
        os._exit(0)  # at whose end Python would wait for it


def state_folder() -> Path:
    """Where a service, or this user, keeps what outlives a run."""
    given = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
    if given:
        return Path(given)
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "ssr-video"


@contextmanager
def _hangup(watch: Watch) -> Iterator[None]:
    """SIGHUP reads the configuration again."""
    before = signal.signal(signal.SIGHUP, lambda number, frame: watch.reload.set())
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


def _say(line: str) -> None:
    say(f"ssr-video: {line}", to_stderr=True)
