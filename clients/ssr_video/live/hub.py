"""What is known of all cameras: told by their keepers, handed on to sinks, page and metrics."""

from __future__ import annotations

import threading
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import Any

import numpy as np

import ssr_bundle
from ssr_video.counts import BANDS, band_of, names_of
from ssr_video.json_lines import SCHEMA
from ssr_video.live.cameras import Camera
from ssr_video.live.messages import Events, Opened, Preview, Report, Said
from ssr_video.live.metrics import Metrics
from ssr_video.live.page.source import Picture
from ssr_video.live.sinks.sink import Event, Sink
from ssr_video.live.status import CameraStatus, Cause, Counts, State
from ssr_video.reading import utc_text

RECENT = 50
"""Tracks that the page lists."""
MINUTES = 24 * 60
"""Minutes of people by age band that are kept."""
RATES = 5.0
"""Seconds over which frames a second are taken."""
LATENCIES = 60.0
"""Seconds over which percentiles of latency are taken."""


def _now() -> datetime:
    return datetime.now(timezone.utc)


@dataclass
class _Known:
    """What is known of a camera. ``open``: the last event of every track that has not ended."""

    status: CameraStatus
    openings: int = 0
    rates: deque[tuple[float, int, int]] = field(default_factory=deque)
    latencies: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=4096))
    open: dict[tuple[str, int], Event] = field(default_factory=dict)
    shown: CameraStatus | None = None
    picture: tuple[int, Picture] | None = None


class Hub:
    """Safe to use from several threads. ``wants`` is told which cameras' pictures are looked at."""

    def __init__(
        self,
        *,
        wants: Callable[[frozenset[str]], None] = lambda cameras: None,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._sinks: Sequence[Sink] = ()
        self._wants, self._say = wants, say
        self._lock = threading.RLock()
        self._known: dict[str, _Known] = {}
        self._failing: str | None = None
        self._pictures = 0
        self._recent: deque[Event] = deque(maxlen=RECENT)
        self._minutes: deque[tuple[datetime, Counter[str]]] = deque(maxlen=MINUTES)
        self._metrics = Metrics(self.statuses, lambda: [sink.status for sink in self._sinks])

    def use(self, sinks: Sequence[Sink]) -> None:
        """Hand events to these from now on; they hear of every camera with the next :meth:`tick`."""
        with self._lock:
            self._sinks = sinks
            for known in self._known.values():
                known.shown = None

    # -- cameras -------------------------------------------------------------------------------------

    def add(self, camera: Camera) -> None:
        """A camera is watched from now on."""
        with self._lock:
            self._known[camera.name] = _Known(CameraStatus(camera.name, camera.address, "connecting", _now()))

    def remove(self, name: str) -> None:
        """A camera is watched no more; it has stopped."""
        with self._lock:
            self._known.pop(name, None)
            self._metrics.forget(name)

    def statuses(self) -> list[CameraStatus]:
        """Of every camera, in the order of the configuration."""
        with self._lock:
            return [self._fresh(known) for known in self._known.values()]

    # -- told by keepers -----------------------------------------------------------------------------

    def connecting(self, camera: str) -> None:
        with self._lock:
            status = self._known[camera].status
            if status.state == "lost":  # it is so until it is live
                self._known[camera].status = replace(status, next_try=None)
            else:
                self._turn(camera, "connecting", None)

    def lost(self, camera: str, why: str, next_try: float) -> None:
        with self._lock:
            self._turn(camera, "lost", why, time.monotonic() + next_try)

    def stopped(self, camera: str) -> None:
        with self._lock:
            self._turn(camera, "stopped", None)

    def said(self, camera: str, message: Said) -> None:
        with self._lock:
            known = self._known[camera]
            if isinstance(message, Opened):
                self._opened(known, message)
            elif isinstance(message, Report):
                self._reported(known, message)
            elif isinstance(message, Events):
                for event in message.events:
                    self._event(known, event)
            elif isinstance(message, Preview):
                self._pictures += 1
                people = [person.to_json() for person in message.people]
                shown = Picture(camera, message.jpeg, message.time, message.utc, people)
                known.picture = (self._pictures, shown)

    def _turn(self, camera: str, state: State, why: str | None, next_try: float | None = None) -> None:
        """A camera's state changes; every track of one that is not live has ended."""
        known = self._known[camera]
        before = known.status
        gone = state != "live"
        if gone:
            self._end_open(known)
        changed = state != before.state
        known.status = replace(
            before,
            state=state,
            why=why,
            next_try=next_try,
            since=_now() if changed else before.since,
            people=() if gone else before.people,
            server=None if gone else before.server,
        )
        if gone:
            known.rates.clear()
        if (state, why) != (before.state, before.why) and state != "connecting":
            self._camera_event(known)

    def _camera_event(self, known: _Known) -> None:
        status = known.status
        why = f": {status.why}" if status.why else ""
        self._say(f"{status.name}: {status.state}{why}")
        self._hand({
            "schema": SCHEMA,
            "event": "camera",
            "id": uuid.uuid4().hex,
            "camera": status.name,
            "state": status.state,
            "why": status.why,
            "utc": utc_text(_now()),
        })  # fmt: skip

    def _opened(self, known: _Known, message: Opened) -> None:
        known.status = replace(known.status, width=message.width, height=message.height, codec=message.codec)
        if known.status.state != "live":
            counts = replace(known.status.counts, reconnections=known.openings)
            known.openings += 1
            known.status = replace(known.status, counts=counts)
            self._turn(known.status.name, "live", None)

    def _reported(self, known: _Known, report: Report) -> None:
        before, now = known.status.counts, time.monotonic()
        dropped: dict[Cause, int] = dict(before.dropped)
        for cause, count in report.dropped.items():
            dropped[cause] = dropped.get(cause, 0) + count
        counts = Counts(
            before.read + report.read,
            before.analysed + report.analysed,
            dropped,
            before.detections + report.detections,
            before.tracks + report.tracks,
            before.asks + report.asks,
            before.reconnections,
        )
        known.rates.append((now, counts.read, counts.analysed))
        known.latencies.extend((now, latency) for latency in report.latencies)
        self._metrics.latencies(known.status.name, report.latencies)
        known.status = replace(known.status, counts=counts, people=report.people, server=report.server)
        failing = next((one.status.server for one in self._known.values() if one.status.server), None)
        if (failing is None) != (self._failing is None):
            self._say(f"no ages: {failing}" if failing else "ages are told again")
        self._failing = failing

    def _event(self, known: _Known, event: Event) -> None:
        key = (event["session"], event["track"])
        if event["event"] == "end":
            known.open.pop(key, None)
            self._ended(event)
        else:
            known.open[key] = event
        self._hand(event)

    def _end_open(self, known: _Known) -> None:
        """End the tracks of a process that could not: killed, or crashed."""
        for event in list(known.open.values()):
            self._event(known, {**event, "event": "end", "id": f"{event['id']}-end", "complete": False})

    def _ended(self, event: Event) -> None:
        self._recent.appendleft(event)
        band = band_of(event["age"], BANDS)
        self._metrics.ended(event["camera"], band)
        minute = _now().replace(second=0, microsecond=0)
        if not self._minutes or self._minutes[-1][0] != minute:
            self._minutes.append((minute, Counter()))
        self._minutes[-1][1][band] += 1

    def _hand(self, event: Event) -> None:
        for sink in self._sinks:
            sink.take(event)

    def tick(self) -> None:
        """Tell the sinks which cameras have changed; once a second."""
        with self._lock:
            for known in self._known.values():
                status = self._fresh(known)
                if known.shown is None or _differs(status, known.shown):
                    known.shown = status
                    for sink in self._sinks:
                        sink.camera(status)

    def _fresh(self, known: _Known) -> CameraStatus:
        """The status with what time changes."""
        now, status = time.monotonic(), known.status
        while known.rates and now - known.rates[0][0] > RATES:
            known.rates.popleft()
        while known.latencies and now - known.latencies[0][0] > LATENCIES:
            known.latencies.popleft()
        rate = analysed = 0.0
        if len(known.rates) > 1:
            (since, *first), (until, *last) = known.rates[0], known.rates[-1]
            rate, analysed = ((b - a) / (until - since) for a, b in zip(first, last, strict=True))
        latency = None
        if known.latencies:
            values = np.percentile([value for _, value in known.latencies], [50, 99])
            latency = (float(values[0]), float(values[1]))
        next_try = None if status.next_try is None else max(0.0, status.next_try - now)
        return replace(status, rate=rate, analysed_rate=analysed, latency=latency, next_try=next_try)

    # -- the page's source ---------------------------------------------------------------------------

    def snapshot(self) -> dict[str, Any]:
        """See :class:`ssr_video.live.page.source.Source`, as for all below."""
        with self._lock:
            names = names_of(BANDS)
            return {
                "schema": SCHEMA,
                "utc": utc_text(_now()),
                "version": ssr_bundle.__version__,
                "cameras": [status.to_json() for status in self.statuses()],
                "sinks": [sink.status.to_json() for sink in self._sinks],
                "bands": {
                    "names": names,
                    "minutes": [
                        {"utc": utc_text(minute), "people": [counts[name] for name in names]}
                        for minute, counts in self._minutes
                    ],
                },
                "tracks": list(self._recent),
            }

    def wanted(self, cameras: frozenset[str]) -> None:
        self._wants(cameras)

    def pictures(self, after: int) -> tuple[int, list[Picture]]:
        with self._lock:
            newest = [known.picture for known in self._known.values() if known.picture]
            return self._pictures, [picture for number, picture in newest if number > after]

    def metrics(self) -> tuple[bytes, str]:
        return self._metrics.text()


def _differs(one: CameraStatus, other: CameraStatus) -> bool:
    """Whether a sink wants to know: another state, another reason, other people."""

    def of(status: CameraStatus) -> tuple[object, ...]:
        people = [(person.track, person.age, person.interval) for person in status.people]
        return status.state, status.why, status.server, people

    return of(one) != of(other)
