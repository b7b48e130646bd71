"""Those who look at the page: what each sees, and what is on its way there.

Everything here runs in the event loop's thread; only the source's snapshots are made in another.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ssr_video.live.page.messages import Told, picture_message
from ssr_video.live.page.source import Picture, Source

MOST_VIEWERS = 64
"""Pages that are open at once; another is told to come back later."""
STATE_SECONDS = 1.0
PICTURE_SECONDS = 0.04
"""How often the source is asked for snapshots, and for pictures."""
ON_THE_WAY = 2
"""Pictures of one camera that were sent and not yet drawn. Two: the next travels while one is drawn."""
BYTES_ON_THE_WAY = 256 * 1024
"""Of all cameras together. What a slow line holds is old before it arrives: 2 seconds at a megabit."""
COMPLAINT_SECONDS = 60.0
"""A source that fails is told of so often, at most."""


class Viewer:
    """One open page. Nothing is queued for it but the newest picture of each visible camera, and the newest
    snapshot."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.visible: frozenset[str] = frozenset()
        self._clock = clock
        self._told = Told()
        self._snapshot: dict[str, Any] | None = None
        self._waiting: dict[str, Picture] = {}
        self._newest: dict[str, float] = {}
        self._on_the_way: dict[str, list[int]] = {}
        self._news = asyncio.Event()

    def look_at(self, cameras: frozenset[str]) -> None:
        """The page shows these now; what waits of others is dropped."""
        self.visible = cameras
        self._waiting = {name: one for name, one in self._waiting.items() if name in cameras}
        self._newest = {name: time for name, time in self._newest.items() if name in cameras}

    def drawn(self, counts: dict[str, int]) -> None:
        """So many of each camera's pictures have been dealt with, the oldest first."""
        for camera, count in counts.items():
            sizes = self._on_the_way.pop(camera, [])[count:]
            if sizes:
                self._on_the_way[camera] = sizes
        self._news.set()

    def offer(self, picture: Picture) -> None:
        """A picture that is not new to it is left out."""
        if picture.camera not in self.visible or picture.time <= self._newest.get(picture.camera, -math.inf):
            return
        self._newest[picture.camera] = picture.time
        self._waiting[picture.camera] = picture  # in the place of an older one: first come, first served
        self._news.set()

    def state(self, snapshot: dict[str, Any]) -> None:
        self._snapshot = snapshot
        self._news.set()

    async def next(self) -> str | bytes:
        """The next message for the browser, once there is one that it has room for."""
        while True:
            self._news.clear()
            if self._snapshot is not None:
                snapshot, self._snapshot = self._snapshot, None
                return self._told.message(snapshot)
            if (picture := self._due()) is not None:
                message = picture_message(picture, self._clock())
                self._on_the_way.setdefault(picture.camera, []).append(len(message))
                return message
            await self._news.wait()

    def _due(self) -> Picture | None:
        held = sum(map(sum, self._on_the_way.values()))
        for camera, picture in self._waiting.items():
            fits = not held or held + len(picture.jpeg) <= BYTES_ON_THE_WAY
            if fits and len(self._on_the_way.get(camera, ())) < ON_THE_WAY:
                return self._waiting.pop(camera)
        return None


class Viewers:
    """All who look. The source is asked for pictures and snapshots only while there are any, and draws
    pictures only of cameras that some of them see. ``say`` is told what fails."""

    def __init__(self, source: Source, say: Callable[[str], object]) -> None:
        self._source = source
        self._say = say
        self._all: set[Viewer] = set()
        self._wanted: frozenset[str] = frozenset()
        self._asking: list[asyncio.Task[None]] = []
        self._newest: dict[str, Any] | None = None
        self._complain_from = 0.0

    @property
    def full(self) -> bool:
        return len(self._all) >= MOST_VIEWERS

    @contextmanager
    def viewer(self) -> Iterator[Viewer]:
        """One more, while the block lasts."""
        viewer = Viewer()
        self._all.add(viewer)
        if self._newest is not None:
            viewer.state(self._newest)
        if not self._asking:
            self._asking = [asyncio.create_task(self._states()), asyncio.create_task(self._pictures())]
        try:
            yield viewer
        finally:
            self._all.discard(viewer)
            self._want()
            if not self._all:
                for task in self._asking:
                    task.cancel()
                self._asking, self._newest = [], None

    def look_at(self, viewer: Viewer, cameras: frozenset[str]) -> None:
        """``viewer`` sees these cameras from now on; of those that are new to it, it gets what there is."""
        new = cameras - viewer.visible
        viewer.look_at(cameras)
        self._want()
        with self._complaining():
            for picture in self._source.pictures(0)[1] if new else ():
                if picture.camera in new:
                    viewer.offer(picture)

    def _want(self) -> None:
        wanted = frozenset().union(*(viewer.visible for viewer in self._all))
        if wanted != self._wanted:
            self._wanted = wanted
            with self._complaining():
                self._source.wanted(wanted)

    async def _pictures(self) -> None:
        after = 0
        while True:
            with self._complaining():
                after, pictures = self._source.pictures(after) if self._wanted else (after, [])
                for picture in pictures:
                    for viewer in self._all:
                        viewer.offer(picture)
            await asyncio.sleep(PICTURE_SECONDS)

    async def _states(self) -> None:
        while True:
            with self._complaining():
                self._newest = await asyncio.to_thread(self._source.snapshot)
                for viewer in self._all:
                    viewer.state(self._newest)
            await asyncio.sleep(STATE_SECONDS)

    @contextmanager
    def _complaining(self) -> Iterator[None]:
        """The page goes on, whatever the source raises."""
        try:
            yield
        except Exception as error:
            now = time.monotonic()
            if now >= self._complain_from:
                self._complain_from = now + COMPLAINT_SECONDS
                self._say(f"page: no news from the watch: {type(error).__name__}: {error}")
