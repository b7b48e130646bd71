"""The life of one camera: a process for each connection, killed when it hangs, followed by another."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection as Pipe
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from typing import Protocol

from ssr_video.live.address import unreachable
from ssr_video.live.backoff import Backoff
from ssr_video.live.cameras import Camera
from ssr_video.live.messages import Asked, Finish, Lost, Opened, Said, Wanted
from ssr_video.live.source import Kind
from ssr_video.live.worker import Job, work

FIRST_PAUSE = 0.5
LONGEST_PAUSE: dict[Kind, float] = {"away": 30.0, "broken": 2.0, "refused": 30.0}
"""Seconds between two tries, as of :class:`Backoff`. A camera
that gives no pictures may do so again any moment; one that refuses locks out who asks too often."""
KNOCKS = 2.0
"""Seconds between two looks at whether the port of a camera that is away takes connections again."""
STEADY = 10.0
"""Seconds of pictures after which pauses begin small again."""
SLACK = 5.0
"""Seconds that a process may be silent beyond what its camera may."""
END = 1.0
"""Seconds in which a killed process ends."""
FAREWELL = 1.5
"""Seconds that a process has to end its tracks."""


class Listener(Protocol):
    """Who is told how a camera does."""

    def connecting(self, camera: str) -> None: ...

    def said(self, camera: str, message: Said) -> None: ...

    def lost(self, camera: str, why: str, next_try: float) -> None: ...

    def stopped(self, camera: str) -> None: ...


class Keeper:
    """Watches one camera from :meth:`start` to :meth:`stop`, in a thread of its own."""

    def __init__(
        self,
        job: Job,
        listener: Listener,
        processes: BaseContext,
        *,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._job, self._listener, self._processes, self._chance = job, listener, processes, chance
        self._stop = threading.Event()
        self._wanted = self._abandoned = False
        self._changed = threading.Event()
        self._thread = threading.Thread(target=self._keep, name=f"ssr-video-{job.camera.name}", daemon=True)

    @property
    def camera(self) -> Camera:
        return self._job.camera

    def start(self) -> None:
        self._thread.start()

    def show(self, wanted: bool) -> None:
        """Whether somebody looks at the camera's pictures."""
        if wanted != self._wanted:
            self._wanted = wanted
            self._changed.set()

    def ask_to_stop(self) -> None:
        """Begin to stop."""
        self._stop.set()
        self._changed.set()

    def stop(self, seconds: float = FAREWELL + 1.0) -> bool:
        """Stop within ``seconds``; whether all has ended. What hangs then, such as the lookup of a name, is
        left to itself."""
        self.ask_to_stop()
        self._thread.join(seconds)
        self._abandoned = self._thread.is_alive()
        return not self._abandoned

    def _keep(self) -> None:
        name = self._job.camera.name
        kind, backoff = None, self._backoff("broken")
        while not self._stop.is_set():
            self._listener.connecting(name)
            lost, steady = self._connect()
            if lost is None:
                break
            # Garbage may look like a refusal: only one kind of failure after another makes pauses grow.
            if lost.kind != kind or steady:
                kind, backoff = lost.kind, self._backoff(lost.kind)
            while lost is not None and not self._stop.is_set():
                pause = backoff.pause()
                self._listener.lost(name, lost.why, pause)
                self._wait(kind, pause)
                # A process for a camera that is away would only find out what a knock does.
                ask = kind == "away" and not self._stop.is_set()
                why = unreachable(self._job.camera.url) if ask else None
                lost = Lost(why, "away") if why else None
        if not self._abandoned:  # else another keeper may watch the camera by now
            self._listener.stopped(name)

    def _connect(self) -> tuple[Lost | None, bool]:
        """One connection: why it is lost, None where it was to end; and whether it was steady."""
        try:
            connection = _Connection(self._job, self._listener, self._processes, self._changed.set)
        except (OSError, EOFError, RuntimeError) as error:
            words = str(getattr(error, "strerror", None) or type(error).__name__).lower()
            return Lost(f"its process cannot be started ({words})", "broken"), False
        lost = self._follow(connection)
        live = connection.live_since
        return lost, live is not None and time.monotonic() - live > STEADY

    def _backoff(self, kind: Kind) -> Backoff:
        return Backoff(FIRST_PAUSE, LONGEST_PAUSE[kind], self._chance)

    def _wait(self, kind: Kind, pause: float) -> None:
        """Wait ``pause`` seconds; for a camera that is away no longer than that."""
        end = time.monotonic() + pause
        while (left := end - time.monotonic()) > 0:
            if self._stop.wait(min(left, KNOCKS)):
                return
            if kind == "away" and unreachable(self._job.camera.url) is None:
                return

    def _follow(self, connection: _Connection) -> Lost | None:
        """One connection, from its beginning to its end. Why it ended, None where it was to."""
        camera = self._job.camera
        shown = False
        try:
            while True:
                limit = camera.silence + SLACK if connection.live_since else camera.open_timeout + 2 * SLACK
                if connection.ended.is_set():
                    return connection.lost
                if self._stop.is_set():
                    if connection.live_since is not None:
                        connection.ask(Finish())
                        connection.ended.wait(FAREWELL)
                    return None
                if time.monotonic() - connection.last_sign > limit:
                    return Lost(f"its process gave no sign for {limit:g} s, and was killed", "broken")
                if self._wanted != shown:
                    shown = self._wanted
                    connection.ask(Wanted(shown))
                self._changed.wait(0.25)
                self._changed.clear()
        finally:
            connection.close()


class _Connection:
    """A process, and a thread that hears what it says."""

    def __init__(
        self, job: Job, listener: Listener, processes: BaseContext, on_end: Callable[[], None]
    ) -> None:
        self._name, self._listener, self._on_end = job.camera.name, listener, on_end
        self.last_sign = time.monotonic()
        self.live_since: float | None = None
        self.ended = threading.Event()
        self._last_word: Lost | None = None
        self._pipe: Pipe
        self._pipe, theirs = processes.Pipe()
        try:
            self._process: BaseProcess = processes.Process(  # type: ignore[attr-defined]
                target=work, args=(theirs, job), name=f"ssr-video {self._name}", daemon=True
            )
            self._process.start()
        except BaseException:
            self._pipe.close()
            raise
        finally:
            theirs.close()
        self._thread = threading.Thread(target=self._hear, name=f"ssr-video-hear-{self._name}", daemon=True)
        self._thread.start()

    @property
    def lost(self) -> Lost:
        """Why it ended."""
        if self._last_word is not None:
            return self._last_word
        self._process.join(END)
        code = self._process.exitcode
        how = (
            f"ended by {signal.Signals(-code).name}"
            if code is not None and code < 0
            else f"exit status {code}"
        )
        return Lost(f"its process ended without a word ({how})", "broken")

    def ask(self, message: Asked) -> None:
        with suppress(OSError):  # of a process that has just ended
            self._pipe.send(message)

    def _hear(self) -> None:
        try:
            while True:
                message: Said = self._pipe.recv()
                self.last_sign = time.monotonic()
                if isinstance(message, Lost):
                    self._last_word = message
                    continue
                if isinstance(message, Opened):
                    self.live_since = self.last_sign
                self._listener.said(self._name, message)
        except (EOFError, OSError):
            pass
        finally:
            self.ended.set()
            self._on_end()

    def close(self) -> None:
        """End the process, whatever it does."""
        self._process.kill()
        self._process.join(END)
        self._thread.join(END)
        self._pipe.close()
        with suppress(ValueError):  # of a process whose end nobody reports
            self._process.close()
