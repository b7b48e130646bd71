"""The process of one camera: opens it once, analyses what arrives, and says so until the camera is lost.

A process of its own can be killed whatever it hangs in, and holds nothing of another camera.
"""

from __future__ import annotations

import os
import signal
import threading
import time
import traceback
import uuid
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any

from ssr_client.cli import Connection
from ssr_client.opencv import cv2

from ssr_bundle.shown import cut
from ssr_video.clock import StreamClock
from ssr_video.events import Person, Told, Work
from ssr_video.frame import Frame
from ssr_video.json_lines import SCHEMA, event_json
from ssr_video.live.answering import Answering
from ssr_video.live.cameras import Camera
from ssr_video.live.inbox import Inbox
from ssr_video.live.messages import Asked, Events, Finish, Lost, Opened, Report, Wanted
from ssr_video.live.pace import Pace
from ssr_video.live.preview import Previews
from ssr_video.live.source import CameraLost, Picture, Source, Unreadable, open_source
from ssr_video.live.status import Cause, Present
from ssr_video.live.zones import cover
from ssr_video.people import Options, People
from ssr_video.reading import utc_text
from ssr_video.service import Service
from ssr_video.writer import Anchor

REPORT = 0.5
"""Seconds between two reports."""
MOST_UNREADABLE = 250
"""Packets in a row that cannot be decoded, after which the camera is opened anew."""
LONGEST_ANSWER = 2.0
"""Seconds that the server may take, whatever the client's timeout allows."""
OUTRUN = 0.1
"""Seconds that a frame of a limited camera may come early."""


@dataclass(frozen=True)
class Job:
    """What the process is given."""

    camera: Camera
    server: Connection
    show_faces: bool


def work(pipe: Pipe, job: Job) -> None:
    """Run in the camera's process, to its end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal: the watch ends its cameras itself
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    cv2.setNumThreads(1)
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    worker = Worker(pipe, job)
    threading.Thread(target=worker.obey, name="ssr-video-obey", daemon=True).start()
    try:
        worker.run()
    except (BrokenPipeError, ConnectionError):  # a watch that is gone
        pass
    except Exception as error:
        at = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(at.filename).name}:{at.lineno}"
        with suppress(OSError):
            words = cut(" ".join(str(error).split()))
            fault = f"a fault of ssr-video's own: {type(error).__name__}: {words} ({where})"
            pipe.send(Lost(fault, "broken"))
    pipe.close()
    os._exit(0)  # a reader may hang in its last read


class Worker:
    """The work itself. ``obey`` and the reader are threads of their own."""

    def __init__(self, pipe: Pipe, job: Job) -> None:
        self._pipe, self._camera, self._server = pipe, job.camera, job.server
        self._finish = threading.Event()
        self._wanted = False
        self._session = uuid.uuid4().hex[:12]
        self._event = 0
        self._counts: Counter[str] = Counter()
        self._dropped: Counter[Cause] = Counter()
        self._latencies: list[float] = []
        self._present: tuple[Present, ...] = ()
        self._reported = -REPORT
        self._told = self._done = Work()
        self._service: Service | None = None
        self._people: People | None = None
        self._previews = Previews(job.show_faces)
        self._frame: Frame | None = None
        self._due = 0.0
        self._pace = Pace(job.camera.staleness)

    def obey(self) -> None:
        """Do what the watch asks. A watch that is gone ends the process."""
        try:
            while True:
                asked: Asked = self._pipe.recv()
                if isinstance(asked, Wanted):
                    self._wanted = asked.pictures
                elif isinstance(asked, Finish):
                    self._finish.set()
        except (EOFError, OSError):
            os._exit(1)

    def run(self) -> None:
        """Open the camera, and follow it until it is lost or the watch wants no more."""
        answering = Answering(self._open_service, time.monotonic)
        try:
            source = open_source(self._camera)
            inbox = Inbox(self._camera.staleness, time.monotonic)
            reader = threading.Thread(
                target=inbox.fill, args=(source.packets(),), name="ssr-video-read", daemon=True
            )
            reader.start()
            self._follow(source, inbox, answering)
        except CameraLost as lost:
            self._end(Lost(str(lost), lost.kind), answering)
        else:
            self._end(None, answering)

    def _open_service(self) -> Service:
        patient = replace(self._server, timeout=min(self._server.timeout, LONGEST_ANSWER), wait=0.0)
        return Service.open(patient.client(), patience=0.0)

    def _end(self, lost: Lost | None, answering: Answering) -> None:
        self._finish_tracks()
        self._reported = -REPORT
        self._report(time.monotonic(), answering.failing)
        if lost is not None:
            self._pipe.send(lost)

    # -- frames --------------------------------------------------------------------------------------

    def _follow(self, source: Source, inbox: Inbox, answering: Answering) -> None:
        clock = StreamClock(source.time_base, source.step)
        utc = _LiveUtc()
        unreadable, skipped = 0, 0
        last_picture = time.monotonic()
        size: tuple[int, int] | None = None
        while not self._finish.is_set():
            packet = inbox.take(REPORT)
            self._report(time.monotonic(), answering.failing)
            if inbox.skipped > skipped:
                self._dropped["behind"] += inbox.skipped - skipped
                skipped = inbox.skipped
            if packet is None:
                self._check_silence(last_picture, size is not None)
                continue
            try:
                for picture in source.pictures(packet):
                    unreadable, last_picture = 0, time.monotonic()
                    moment = clock.at(picture.pts)
                    follows = moment.follows
                    if picture.size != size:
                        size, follows = picture.size, False
                        self._pipe.send(Opened(*size, source.codec))
                    frame_utc = utc.of(moment.time, picture.arrived, follows)
                    newest = not inbox.waiting
                    self._picture(picture, moment.time, follows, frame_utc, newest, answering)
            except Unreadable:
                unreadable += 1
                self._dropped["unreadable"] += 1
                if unreadable >= MOST_UNREADABLE:
                    raise CameraLost("nothing that it sends can be decoded") from None
            self._check_silence(last_picture, size is not None)

    def _check_silence(self, last_picture: float, opened: bool) -> None:
        limit = self._camera.silence if opened else self._camera.open_timeout
        if time.monotonic() - last_picture > limit:
            raise CameraLost(f"no picture for {limit:g} s, though the connection holds")

    def _picture(
        self,
        picture: Picture,
        at: float,
        follows: bool,
        utc: datetime,
        newest: bool,
        answering: Answering,
    ) -> None:
        """One decoded picture: worked on, or counted as dropped."""
        self._counts["read"] += 1
        if not follows:
            self._due = at
        if self._camera.fps and at < self._due - OUTRUN / self._camera.fps:
            self._dropped["limit"] += 1
            return
        began = time.monotonic()
        if not self._pace.takes(began - picture.arrived, newest):
            self._dropped["stale"] += 1
            return
        service = answering.service()
        if service is None:
            self._dropped["server away"] += 1
            self._present = ()
            return
        if self._camera.fps:
            self._due = max(self._due + 1 / self._camera.fps, at)
        if service is not self._service:
            self._begin(service)
        image = picture.image()
        cover(image, self._camera.masks)
        frame = Frame(self._counts["analysed"], at, image, utc, follows)
        self._frame = frame
        people = self._people
        assert people is not None
        told = answering.ask(lambda: people.advance(frame))
        if told is None:
            self._dropped["server away"] += 1
            self._present = ()
            return
        self._counts["analysed"] += 1
        self._tell(told, Anchor(at, utc), frame)
        now = time.monotonic()
        self._pace.took(now - began)
        self._latencies.append(now - picture.arrived)
        self._show(frame, told, picture.arrived, utc)

    def _begin(self, service: Service) -> None:
        """Follow people with this service; what was followed with another one ends."""
        self._finish_tracks()
        options = Options(budget=self._camera.budget, smallest=self._camera.smallest_face)
        self._people, self._service = People(service, options), service
        self._session = uuid.uuid4().hex[:12]

    def _finish_tracks(self) -> None:
        if self._people is None or self._frame is None:
            return
        self._tell(self._people.finish(), Anchor(self._frame.time, self._frame.utc), self._frame)
        self._done = _sum(self._done, self._people.work)
        self._people = None

    def _show(self, frame: Frame, told: Told, arrived: float, utc: datetime) -> None:
        """Make the pictures that somebody looks at."""
        self._present = tuple(self._share(person, frame) for person in told.people)
        if not self._wanted:
            self._previews.clear()
            return
        new = [self._share(event.person, frame).box for event in told.events if event.event == "new"]
        self._previews.add(frame.image, arrived, utc_text(utc), self._present, new)
        for preview in self._previews.ready(arrived):
            self._pipe.send(preview)

    # -- what is said --------------------------------------------------------------------------------

    def _tell(self, told: Told, anchor: Anchor, frame: Frame) -> None:
        if told.events:
            self._pipe.send(Events([self._event_of(event, anchor, frame) for event in told.events]))

    def _event_of(self, event: Any, anchor: Anchor, frame: Frame) -> dict[str, Any]:
        self._event += 1
        name = self._camera.name
        return {
            "schema": SCHEMA,
            **event_json(name, event, anchor),
            "camera": name,
            "session": self._session,
            "id": f"{self._session}-{self._event}",
            "zones": list(self._share(event.person, frame).zones),
        }

    def _share(self, person: Person, frame: Frame) -> Present:
        height, width = frame.image.shape[:2]
        x, y, w, h = person.box
        box = (x / width, y / height, w / width, h / height)
        zones = tuple(zone.name for zone in self._camera.zones if zone.holds(box))
        age = person.age
        years, interval = (age.years, age.interval) if age else (None, None)
        return Present(person.track, box, years, interval, person.unknown, zones)

    def _report(self, now: float, server: str | None) -> None:
        """Say how it goes, every :data:`REPORT` seconds."""
        if now - self._reported < REPORT:
            return
        self._reported = now
        work = self._done if self._people is None else _sum(self._done, self._people.work)
        before, self._told = self._told, work
        self._pipe.send(
            Report(
                read=self._counts.pop("read", 0),
                analysed=work.frames - before.frames,
                dropped=dict(self._dropped),
                detections=work.searches + work.near_searches - before.searches - before.near_searches,
                tracks=work.tracks - before.tracks,
                asks=work.asks - before.asks,
                latencies=tuple(self._latencies),
                people=self._present,
                server=server,
            )
        )
        self._dropped.clear()
        self._latencies.clear()


def _sum(one: Work, other: Work) -> Work:
    """What both have cost."""
    return Work(**{name: value + getattr(other, name) for name, value in vars(one).items()})


class _LiveUtc:
    """UTC of a stream's times: frames arrive late by more or less, and the least late shows how the two
    clocks lie. The difference may grow by :data:`DRIFT`, as clocks of cameras do."""

    DRIFT = 1e-3

    def __init__(self) -> None:
        self._offset: float | None = None
        self._at = 0.0

    def of(self, at: float, arrived: float, follows: bool) -> datetime:
        """Of the frame at stream time ``at``, which ``arrived`` on the monotonic clock."""
        late = arrived - at
        if self._offset is None or not follows:
            self._offset = late
        else:
            self._offset = min(late, self._offset + self.DRIFT * max(0.0, at - self._at))
        self._at = at
        ago = time.monotonic() - (at + self._offset)
        return datetime.now(timezone.utc) - timedelta(seconds=ago)
