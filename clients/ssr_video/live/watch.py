"""The watch: a keeper for each camera, sinks, a page, and a configuration that may change meanwhile."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from ssr_client.cli import Connection

from ssr_bundle.errors import SsrError
from ssr_video.live.cameras import Camera, Settings, read_settings
from ssr_video.live.hub import Hub
from ssr_video.live.keeper import FAREWELL, Keeper
from ssr_video.live.sinks.open import open_sink
from ssr_video.live.sinks.settings import SinkSettings
from ssr_video.live.sinks.sink import Sink
from ssr_video.live.worker import Job

TICK = 1.0
"""Seconds between two looks at the configuration."""
LAST_WORDS = 1.0
"""Seconds that sinks have to bring on what they hold, when the watch ends; half as long again to close."""


class Watch:
    """Everything that :meth:`run` keeps going. ``say`` prints a line about what changes."""

    def __init__(
        self,
        path: Path,
        server: Connection,
        spool: Path,
        *,
        show_faces: bool = False,
        environ: Mapping[str, str] = os.environ,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._path, self._server, self._spool = path, server, spool
        self._show_faces, self._environ, self._say = show_faces, environ, say
        self._settings = read_settings(path, environ)
        self._stamp = _stamp(path)
        self._keepers: dict[str, Keeper] = {}
        self._sinks: list[tuple[SinkSettings, Sink]] = []
        self._processes = multiprocessing.get_context("forkserver")
        self._processes.set_forkserver_preload(["ssr_video.live.worker"])
        self.hub = Hub(wants=self._show, say=say)
        self.reload = threading.Event()
        """Set to read the configuration again, whether or not the file has changed."""
        self.hangs = False
        """After :meth:`close`: whether a camera's thread hangs in what nobody can end."""

    def start(self) -> None:
        """Open the sinks, and begin with every camera. Raises :class:`SsrError` where a sink cannot be."""
        try:
            self._apply(self._settings)
        except BaseException:
            self.close()
            raise

    def run(self, stop: threading.Event) -> None:
        """Keep going until ``stop``."""
        while not stop.wait(TICK):
            self.hub.tick()
            self._look_again()

    def close(self) -> None:
        """Stop every camera, then every sink; within 5 seconds."""
        for keeper in self._keepers.values():
            keeper.ask_to_stop()
        end = time.monotonic() + FAREWELL + 0.5
        stopped = [keeper.stop(max(0.0, end - time.monotonic())) for keeper in self._keepers.values()]
        self.hangs = not all(stopped)
        self._keepers.clear()
        self.hub.tick()
        self._close_sinks([])

    # -- configuration -------------------------------------------------------------------------------

    def _look_again(self) -> None:
        """Take up a changed configuration; a faulty one is said once, and changes nothing."""
        stamp = _stamp(self._path)
        if stamp == self._stamp and not self.reload.is_set():
            return
        asked, self._stamp = self.reload.is_set(), stamp
        self.reload.clear()
        try:
            settings = read_settings(self._path, self._environ)
            if settings == self._settings:
                if asked:
                    self._say(f"{self._path}: read again, nothing has changed")
                return
            self._apply(settings)
        except SsrError as error:
            self._say(f"{error}; what was configured before goes on")
        except OSError as error:
            words = (error.strerror or type(error).__name__).lower()
            self._say(f"{self._path}: {words}; what was configured before goes on")

    def _apply(self, settings: Settings) -> None:
        """Make what runs what ``settings`` say; what is the same in both is left alone."""
        self._use_sinks(settings.sinks)
        before = {name: keeper.camera for name, keeper in self._keepers.items()}
        after = settings.cameras
        for name in [name for name in before if after.get(name) != before[name]]:
            self._keepers[name].ask_to_stop()
        for name in [name for name in before if after.get(name) != before[name]]:
            self._keepers.pop(name).stop()
            if name not in after:
                self.hub.remove(name)
        for name, camera in after.items():
            if name not in self._keepers:
                self._watch(camera)
        for _, sink in self._sinks:
            sink.cameras(list(after))
        self._settings = settings

    def _watch(self, camera: Camera) -> None:
        self.hub.add(camera)
        keeper = Keeper(Job(camera, self._server, self._show_faces), self.hub, self._processes)
        self._keepers[camera.name] = keeper
        keeper.start()

    def _use_sinks(self, wanted: Sequence[SinkSettings]) -> None:
        """Close the sinks that are not ``wanted``, open those that are new; where that fails, go back."""
        before = [one for one, _ in self._sinks]
        self._close_sinks(wanted)
        try:
            self._open_sinks(wanted)
        except BaseException:
            self._close_sinks(before)
            self._open_sinks(before)
            raise

    def _open_sinks(self, wanted: Sequence[SinkSettings]) -> None:
        running = [one for one, _ in self._sinks]
        for one in wanted:
            if one not in running:
                self._sinks.append((one, open_sink(one, self._spool, self._say)))
        self.hub.use([sink for _, sink in self._sinks])

    def _close_sinks(self, kept: Sequence[SinkSettings]) -> None:
        """Close the sinks that are not ``kept``; several at once, as each may wait for a network."""
        closing = [sink for one, sink in self._sinks if one not in kept]
        self._sinks = [(one, sink) for one, sink in self._sinks if one in kept]
        self.hub.use([sink for _, sink in self._sinks])
        threads = [threading.Thread(target=sink.close, args=(LAST_WORDS,), daemon=True) for sink in closing]
        for thread in threads:
            thread.start()
        end = time.monotonic() + 1.5 * LAST_WORDS
        for thread in threads:
            thread.join(max(0.0, end - time.monotonic()))

    def _show(self, wanted: frozenset[str]) -> None:
        for name, keeper in list(self._keepers.items()):
            keeper.show(name in wanted)


def _stamp(path: Path) -> tuple[int, ...] | None:
    """What changes with a file's content; None where it is gone for a moment."""
    with suppress(OSError):
        found = path.stat()
        return found.st_ino, found.st_mtime_ns, found.st_size
    return None
