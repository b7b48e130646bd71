"""From video files to what is told of the people in them: read, analyse and write, each in its own thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from ssr_video.events import Told, Work
from ssr_video.frame import Frame
from ssr_video.pipeline import ahead, behind
from ssr_video.stop import Stop, Stopped, settled
from ssr_video.summary import Done, Summary
from ssr_video.video_file import VideoError, VideoFile
from ssr_video.writer import Writer


class Analysis(Protocol):
    """What :class:`ssr_video.people.People` is to a run."""

    work: Work

    def advance(self, frame: Frame) -> Told: ...

    def finish(self) -> Told: ...


class Watcher(Protocol):
    """Who is told how far a run is."""

    def begin(self, path: Path, seconds: float | None) -> None: ...

    def at(self, seconds: float, tracks: int) -> None: ...

    def failed(self, error: str) -> None:
        """A video cannot be read, or not on; the run goes on with the next."""


def run(
    videos: Iterable[Path],
    analysis: Callable[[], Analysis],
    writer: Writer,
    watcher: Watcher,
    stop: Stop,
    *,
    start: datetime | None = None,
    follow: float = 0.0,
    model: Callable[[], dict[str, Any]] = dict,
) -> Summary:
    """Analyse each video with an ``analysis`` of its own, tell ``writer``, and sum up.

    A video that cannot be read is noted in the summary. An error of the analysis or of the writer ends the
    run and is raised. :class:`VideoFile` says what ``start`` and ``follow`` are, ``model`` who answered. When
    ``stop`` is asked for, the frame at hand is the last; tracks end, and ``writer`` is closed with a summary
    that says so.
    """
    summary, began = Summary(), time.monotonic()
    for path in videos:
        if stop.asked is not None:
            break
        done = Done(str(path))
        summary.done.append(done)
        try:
            with VideoFile(path, start, follow, stop.event) as video:
                done.reading = video.reading
                _one(video, analysis(), writer, watcher, stop, done)
        except VideoError as error:
            done.error = str(error)
        except OSError as error:
            if done.reading is not None:  # it is an output's
                raise
            done.error = f"{path}: {(error.strerror or str(error)).lower()}"
        if done.error is not None:
            watcher.failed(done.error)
    settled()
    summary.stopped_by = None if stop.asked is None else stop.asked.name
    summary.seconds = time.monotonic() - began
    summary.model = model()
    writer.close(summary)
    return summary


def _one(
    video: VideoFile, people: Analysis, writer: Writer, watcher: Watcher, stop: Stop, done: Done
) -> None:
    """One video. Raises :class:`VideoError` where it cannot be read on, once all that was read is told."""
    done.work = people.work
    failure: VideoError | None = None
    watcher.begin(video.path, video.seconds)
    writer.begin(video.reading, video.rate)

    def write(pair: tuple[Frame, Told]) -> None:
        writer.frame(*pair)

    with behind(write) as hand, ahead(video) as frames:
        try:
            for frame in frames:
                hand((frame, people.advance(frame)))
                watcher.at(frame.time, people.work.tracks)
                if stop.asked is not None:
                    break
        except Stopped:
            pass
        except VideoError as error:
            failure = error
        finally:
            settled()
    done.dropped = video.reading.frames - done.work.frames
    writer.end(people.finish())
    if failure is not None:
        raise failure
