"""A video file as frames: everything that can be read of it, and an account of what cannot."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from fractions import Fraction
from pathlib import Path
from typing import Any

from ssr_bundle.errors import SsrError
from ssr_bundle.regular import opened, size_of
from ssr_video.clock import StreamClock
from ssr_video.frame import Frame
from ssr_video.growing import Growing
from ssr_video.libav import av, reason
from ssr_video.reading import Reading
from ssr_video.upright import UPRIGHT, degrees, display_matrix, turned

_NO_VIDEOS = frozenset({"tty", "hls", "concat", "dash", "imf"})
"""Formats of libav that draw text, or fetch what other files and hosts hold."""

_SILENT = frozenset({"vp8", "vp9", "av1"})
"""Codecs whose packets may hold a picture that is never shown. (Nor need a packet with one of two fields.)"""

_MOST_FAILURES = 100
"""Reads that may fail in a row before the rest of a file is given up."""

_USUAL_STEP = 0.04
"""Seconds between frames where a file says no rate."""


class VideoError(SsrError):
    """The file holds no video that can be read, or it cannot be read on. The message says why."""


class VideoFile:
    """One video file, decoded frame by frame; iterate it once, inside its ``with``.

    Opening raises :class:`VideoError` for what holds no video stream with a known codec, ``OSError`` for what
    cannot be opened. Iterating gives every :class:`Frame` that can be decoded, in the order of display, and
    holds one at a time; what a decoder refuses is counted in ``reading`` and left out. It raises
    :class:`VideoError` where there is no frame at all, or where the disk fails. ``start``: UTC of the first
    frame; without it, what the file says of its creation. ``follow``: seconds to wait at the end for a file
    that grows, unless ``stop`` is set; 0 reads what is there.
    """

    def __init__(
        self,
        path: Path,
        start: datetime | None = None,
        follow: float = 0.0,
        stop: threading.Event | None = None,
    ) -> None:
        self.path = path
        self._start = start
        self._follow = follow
        self._stop = stop or threading.Event()

    def __enter__(self) -> VideoFile:
        self._file = opened(self.path, VideoError)
        stream = self._file.__enter__()
        try:
            self._size = size_of(stream)
            source = Growing(stream, self._follow, self._stop) if self._follow else stream
            self._container = _container(self.path, source)
            try:
                self._stream = _video_stream(self.path, self._container)
            except BaseException:
                self._container.close()
                raise
        except BaseException:
            self._file.__exit__(None, None, None)
            raise
        self._raw = stream
        known, origin = _creation(self._container)
        self.reading = Reading(
            str(self.path),
            self._container.format.name,
            self._stream.codec_context.name,
            start=self._start or known,
            start_from="option" if self._start else origin,
        )
        if (streams := len(_moving(self._container))) > 1:
            self.reading.problems[f"holds {streams} video streams, of which the largest is read"] += 1
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()
        self._file.__exit__(None, None, None)

    @property
    def seconds(self) -> float | None:
        """How long the file says that it is."""
        return _declared_seconds(self._container, self._stream)

    @property
    def rate(self) -> float:
        """Frames a second on average, as the file says or libav guesses; for a first idea of it only."""
        return 1 / self._step

    @property
    def _step(self) -> float:
        rate = self._stream.average_rate or self._stream.guessed_rate
        return float(1 / rate) if rate else _USUAL_STEP

    def __iter__(self) -> Iterator[Frame]:
        clock = StreamClock(self._stream.time_base or Fraction(1, 90_000), self._step)
        reading = self.reading
        shape, matrix, angle = None, UPRIGHT, 0
        for decoded, following in _with_next(self._decoded()):
            time, follows = clock.at(decoded.pts, following and following.pts)
            if shape is None or decoded.rotation != angle:
                matrix, angle = display_matrix(decoded), decoded.rotation
            try:
                image = turned(decoded.to_ndarray(format="bgr24"), matrix)
            except av.FFmpegError as error:
                self._refused += 1
                reading.problems[f"frames whose colours cannot be converted: {reason(error)}"] += 1
                continue
            if shape is None:
                reading.height, reading.width = image.shape[:2]
                reading.rotation = degrees(matrix)
            elif image.shape != shape:
                follows = False
                reading.problems[
                    f"the size changes, at {time:.2f} s to {image.shape[1]} x {image.shape[0]}"
                ] += 1
            shape = image.shape
            utc = None
            if reading.start is not None and not clock.resets:
                utc = reading.start + timedelta(seconds=time)
            frame = Frame(reading.frames, time, image, utc, follows)
            reading.frames += 1
            reading.damaged += decoded.is_corrupt
            reading.duration = time
            yield frame
        self._account(clock)

    def _decoded(self) -> Iterator[Any]:
        """Every frame of PyAV. One packet at a time: a packet that fails takes no other's frame with it, as
        it would in libav's threads of frames."""
        self._packets = self._refused = 0
        self._fields = False
        for packet in self._demuxed():
            self._packets += packet.size > 0 and not packet.is_discard
            try:
                frames = packet.decode()
            except av.FFmpegError as error:
                self._refused += 1
                self.reading.problems[f"packets that cannot be decoded: {reason(error)}"] += 1
                continue
            for frame in frames:
                self._fields |= frame.interlaced_frame
                yield frame

    def _demuxed(self) -> Iterator[Any]:
        packets, failures = self._container.demux(self._stream), 0
        while failures < _MOST_FAILURES:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except IndexError:  # PyAV's, at the end, of a stream that it did not know; ours ended before
                self.reading.problems["another stream begins in the middle, and is not read"] += 1
                return
            except av.FFmpegError as error:
                failures += 1
                self.reading.problems[f"the file cannot be read on: {reason(error)}"] += 1
                packets = self._container.demux(self._stream)
            except OSError as error:  # of the disk, by way of libav
                raise VideoError(
                    f"{self.path}: cannot be read on ({(error.strerror or 'failed').lower()})"
                ) from None
            else:
                failures = 0
                yield packet

    def _account(self, clock: StreamClock) -> None:
        """What is known at the end alone."""
        reading = self.reading
        declared = self.seconds
        early = 0.0 if declared is None else declared - reading.duration - self._step
        if early > max(2 * self._step, 0.25) and not clock.resets:
            reading.missing_seconds = early
            reading.problems[f"ends after {reading.duration:.2f} s of {declared:.2f} s: cut short"] += 1
            if self._container.format.name.startswith("mov"):
                reading.unreadable += max(0, self._stream.frames - self._packets)
        without = self._packets - self._refused - reading.frames
        if without > 0 and reading.codec not in _SILENT and not self._fields:
            reading.problems[f"{without} packets hold no picture that {reading.codec} can show"] += 1
            reading.unreadable += without
        reading.unreadable += self._refused
        if reading.damaged:
            reading.problems[f"{reading.damaged} frames are damaged in parts"] += 1
        if clock.resets:
            reading.problems["timestamps go back; times after that are counted on"] += clock.resets
        if clock.repairs:
            reading.problems["timestamps that were missing or did not rise"] += clock.repairs
        if (now := size_of(self._raw)) != self._size and not self._follow:
            reading.problems[f"the file grew from {self._size:,} to {now:,} bytes while it was read"] += 1
        if not reading.frames:
            told = "; ".join(reading.told()) or "it is empty"
            raise VideoError(f"{self.path}: no frame of its {reading.codec} video can be read ({told})")


def _with_next(items: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
    """Each of ``items`` and the one after it, None after the last."""
    before = None
    for item in items:
        if before is not None:
            yield before, item
        before = item
    if before is not None:
        yield before, None


def _container(path: Path, stream: Any) -> Any:
    try:
        container = av.open(stream, mode="r", options={"protocol_whitelist": ""}, metadata_errors="replace")
    except av.FFmpegError as error:
        raise VideoError(f"{path}: not a video that can be read ({reason(error)})") from None
    kind = container.format.name
    if kind in _NO_VIDEOS or kind.startswith("image2") or kind.endswith("_pipe"):
        container.close()
        raise VideoError(
            f"{path}: is no video ({container.format.long_name}), expected one such as .mp4 or .mkv"
        )
    return container


def _video_stream(path: Path, container: Any) -> Any:
    streams = _moving(container)
    if not streams:
        kinds = ", ".join(sorted({s.type for s in container.streams})) or "nothing"
        raise VideoError(f"{path}: holds no video stream ({kinds}), expected one")
    known = [stream for stream in streams if stream.codec_context is not None]
    if not known:
        raise VideoError(
            f"{path}: its video has a codec that is unknown here, expected H.264, HEVC, VP9, AV1, ..."
        )
    stream = max(known, key=lambda s: s.codec_context.width * s.codec_context.height)
    stream.thread_type = "SLICE"
    return stream


def _moving(container: Any) -> list[Any]:
    """Its video streams, but for pictures such as the cover of a song."""
    return [s for s in container.streams.video if "attached_pic" not in str(s.disposition).lower()]


def _declared_seconds(container: Any, stream: Any) -> float | None:
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    text = stream.metadata.get("DURATION", "")  # Matroska's, as 00:00:03.036000000
    with suppress(ValueError):
        hours, minutes, seconds = map(float, text.split(":"))
        return 3600 * hours + 60 * minutes + seconds
    return None if container.duration is None else container.duration / av.time_base


def _creation(container: Any) -> tuple[datetime | None, str | None]:
    """When the file says that it was made, if it says a time after 1970."""
    for key in ("com.apple.quicktime.creationdate", "creation_time"):
        text = container.metadata.get(key, "")
        with suppress(ValueError):
            moment = datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
            if moment.tzinfo is not None and moment.year > 1970:
                return moment.astimezone(timezone.utc), key
    return None, None
