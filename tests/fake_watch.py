"""A watch without cameras, for the page: drawn pictures that move, and cameras that can be lost.

``python tests/fake_watch.py 127.0.0.1:8080 16`` shows the page of sixteen such cameras.
"""

from __future__ import annotations

import contextlib
import math
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import cv2
import numpy as np
from ssr_video.live.page.address import parse_address
from ssr_video.live.page.server import Page
from ssr_video.live.page.source import Picture
from ssr_video.live.status import CameraStatus, Cause, Counts, Present, SinkStatus
from ssr_video.reading import utc_text

FIRSTS = [0, 13, 18, 25, 35, 45, 55, 65]
BANDS = ["0-12", "13-17", "18-24", "25-34", "35-44", "45-54", "55-64", "65+", "unknown"]
WIDTH, HEIGHT = 640, 360
CIRCLE = 20.0
"""Seconds after which a person is where they were."""


class FakeWatch:
    """A :class:`ssr_video.live.page.source.Source`. Its pictures are drawn when they are asked for, at most
    ``rate`` a second of each camera that is wanted; ``padding`` bytes are added to each."""

    def __init__(
        self, names: Sequence[str] = ("front", "back"), rate: float = 15.0, padding: int = 0
    ) -> None:
        live = CameraStatus(
            "", "", "live", _utc(), None, None, WIDTH, HEIGHT, "h264", 25.0, rate, (0.06, 0.14)
        )
        self.version = "1.0"
        self.cameras = {name: replace(live, name=name, address=f"rtsp://{name}.example/1") for name in names}
        self.sinks = [SinkStatus("lines", delivered=120)]
        self.minutes: dict[str, list[int]] = {}
        self.tracks: list[dict[str, Any]] = []
        self.wants: list[frozenset[str]] = [frozenset()]
        self.snapshots = 0
        self.drawn = 0
        self._rate, self._padding = rate, padding
        self._lock = threading.Lock()
        self._began = time.monotonic()
        self._newest: dict[str, tuple[int, Picture]] = {}

    # -- what a test does to it ------------------------------------------------------------------------

    def change(self, name: str, **fields: Any) -> None:
        self.cameras[name] = replace(self.cameras[name], since=_utc(), **fields)

    def lose(self, name: str, why: str = "connection refused", next_try: float = 8.0) -> None:
        counts = self._counts()
        self.change(name, state="lost", why=why, next_try=next_try, rate=0.0, latency=None, counts=counts)

    def bring_back(self, name: str) -> None:
        self.change(name, state="live", why=None, next_try=None, rate=25.0, latency=(0.06, 0.14))

    def end_track(self, camera: str, years: float | None, minutes_ago: float = 0.0, **fields: Any) -> None:
        """A person left, so many minutes ago."""
        at = _utc() - timedelta(minutes=minutes_ago)
        people = self.minutes.setdefault(utc_text(at.replace(second=0, microsecond=0)), [0] * len(BANDS))
        people[-1 if years is None else sum(first <= years for first in FIRSTS) - 1] += 1
        track = {
            "camera": camera,
            "track": len(self.tracks) + 1,
            "utc": utc_text(at),
            "first": 3.0,
            "last": 9.4,
            "age": years,
            "interval": None if years is None else [years - 5, years + 6],
            "looks": 4,
            "unknown": "too small" if years is None else None,
            "zones": [],
        }
        self.tracks = [{**track, **fields}, *self.tracks][:50]

    # -- what the page asks ----------------------------------------------------------------------------

    def snapshot(self) -> dict[str, Any]:
        self.snapshots += 1
        minutes = [{"utc": utc, "people": [*people]} for utc, people in sorted(self.minutes.items())]
        return {
            "schema": 1,
            "utc": utc_text(_utc()),
            "version": self.version,
            "cameras": [self._status(one).to_json() for one in self.cameras.values()],
            "sinks": [sink.to_json() for sink in self.sinks],
            "bands": {"names": BANDS, "minutes": minutes},
            "tracks": self.tracks,
        }

    def wanted(self, cameras: frozenset[str]) -> None:
        self.wants.append(cameras)

    def pictures(self, after: int) -> tuple[int, list[Picture]]:
        with self._lock:
            for name in self.wants[-1] & self.cameras.keys():
                if self.cameras[name].state == "live" and self._due(name):
                    self.drawn += 1
                    self._newest[name] = (self.drawn, self._draw(name))
            return self.drawn, [picture for number, picture in self._newest.values() if number > after]

    def metrics(self) -> tuple[bytes, str]:
        lines = [
            f'ssr_camera_up{{camera="{one.name}"}} {int(one.state == "live")}\n'
            for one in self.cameras.values()
        ]
        return "".join(lines).encode(), "text/plain; version=0.0.4; charset=utf-8"

    def _due(self, name: str) -> bool:
        return name not in self._newest or time.monotonic() - self._newest[name][1].time >= 1 / self._rate

    def _counts(self) -> Counts:
        seconds = time.monotonic() - self._began
        dropped: dict[Cause, int] = {"behind": 3, "limit": int(10 * seconds)}
        return Counts(int(25 * seconds), int(self._rate * seconds), dropped)

    def _status(self, one: CameraStatus) -> CameraStatus:
        if one.state != "live":
            return one
        people = one.people or tuple(self._people(one.name, time.monotonic() - self._began))
        return replace(one, counts=self._counts(), people=people)

    def _people(self, name: str, seconds: float) -> list[Present]:
        """Two who walk round and round, one of them without an age."""
        start = sum(map(ord, name))
        found = []
        ages: tuple[float | None, ...] = (20.0 + start % 50, None)
        for track, (years, speed) in enumerate(zip(ages, (1.0, 0.7), strict=True), 1):
            turn = 2 * math.pi * (seconds * speed / CIRCLE + start / 10)
            box = 0.42 + 0.33 * math.cos(turn), 0.35 + 0.25 * math.sin(turn), 0.12, 0.21
            interval = None if years is None else (years - 5.0, years + 6.0)
            unknown = "too small" if years is None else None
            found.append(Present(track, box, years, interval, unknown, ("door",) if years else ()))
        return found

    def _draw(self, name: str) -> Picture:
        now = time.monotonic()
        picture = np.empty((HEIGHT, WIDTH, 3), np.uint8)
        picture[:] = np.linspace(70, 120, HEIGHT).astype(np.uint8)[:, None, None]
        cv2.line(picture, (0, 250), (WIDTH, 230), (95, 105, 110), 90)
        people = self._people(name, now - self._began)
        for person in people:
            left, top = round(person.box[0] * WIDTH), round(person.box[1] * HEIGHT)
            width, height = round(person.box[2] * WIDTH), round(person.box[3] * HEIGHT)
            middle = left + width // 2
            cv2.ellipse(picture, (middle, top + 2 * height), (width, height), 0, 0, 360, (120, 90, 60), -1)
            face = middle, top + height // 2
            cv2.ellipse(picture, face, (width // 2, height // 2), 0, 0, 360, (150, 175, 205), -1)
        jpeg = cv2.imencode(".jpg", picture)[1].tobytes() + bytes(self._padding)
        return Picture(name, jpeg, now, utc_text(_utc()), [person.to_json() for person in people])


def _utc() -> datetime:
    return datetime.now(timezone.utc)


def fill(watch: FakeWatch, seed: int = 1) -> None:
    """A day of people, as a busy entrance has them."""
    random = np.random.default_rng(seed)
    names = list(watch.cameras)
    for minutes_ago in sorted(random.uniform(0, 24 * 60, 900), reverse=True):
        years = None if random.random() < 0.08 else float(np.clip(random.normal(38, 18), 1, 95))
        watch.end_track(names[int(random.integers(len(names)))], years, minutes_ago)


def main(address: str = "127.0.0.1:8080", cameras: str = "16") -> None:
    watch = FakeWatch([f"camera {i + 1}" for i in range(int(cameras))])
    fill(watch)
    watch.lose("camera 2", "no route to host")
    watch.change("camera 3", server="no server answers at 127.0.0.1:8001")
    with Page(watch, *parse_address(address), say=print) as page, contextlib.suppress(KeyboardInterrupt):
        print(page.url)
        threading.Event().wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
