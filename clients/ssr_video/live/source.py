"""A camera as packets that arrive and pictures that are decoded from them, in two threads."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from ssr_client.opencv import cv2

from ssr_bundle.errors import SsrError
from ssr_video.libav import av, reason
from ssr_video.live.address import unreachable
from ssr_video.live.cameras import Camera
from ssr_video.upright import UPRIGHT, display_matrix, turned

Clock = Callable[[], float]

Kind = Literal["away", "broken", "refused"]
"""Why a camera is lost. ``away``: its port takes no connection. ``broken``: it takes one, and gives no
pictures. ``refused``: it says no, and will until somebody changes something."""

_NETWORK = "rtsp,rtsps,rtp,srtp,udp,tcp,tls,http,https,httpproxy,crypto,data"
"""What libav may open for a camera: no file of this machine."""

_UNTIMED = ("mpjpeg", "mjpeg", "image2pipe", "h264", "hevc", "m4v")
"""Formats without timestamps: libav counts their frames, which is not time."""

_MICROSECONDS = Fraction(1, 1_000_000)


class CameraLost(SsrError):
    """No pictures come from a camera; ``kind`` says what helps."""

    def __init__(self, why: str, kind: Kind = "broken") -> None:
        super().__init__(why)
        self.kind: Kind = kind


class Unreadable(Exception):
    """A packet that the decoder refuses."""


class Packet(NamedTuple):
    """``arrived``: seconds of the monotonic clock. ``key``: whether decoding may begin with it. ``anew``:
    whether what was decoded before does not matter to it."""

    arrived: float
    data: Any
    size: int
    key: bool = True
    anew: bool = False


@dataclass(frozen=True)
class Picture:
    """``arrived`` as of its packet. ``pts`` in units of the source's ``time_base``, or None. ``size``: width
    and height, upright. ``image`` converts it to BGR (H, W, 3), upright."""

    arrived: float
    pts: int | None
    size: tuple[int, int]
    image: Callable[[], NDArray[np.uint8]]


class Source(Protocol):
    """An open camera. ``packets`` runs in one thread, ``pictures`` in another."""

    codec: str
    time_base: Fraction
    step: float

    def packets(self) -> Iterator[Packet]:
        """Everything that arrives. Raises :class:`CameraLost` at its end."""

    def pictures(self, packet: Packet) -> Iterator[Picture]:
        """What a packet completes. Raises :class:`Unreadable`."""

    def close(self) -> None: ...


def open_source(camera: Camera, clock: Clock = time.monotonic) -> Source:
    """Open ``camera``. Raises :class:`CameraLost`; its message holds no part of the address."""
    if camera.url.startswith("webcam:"):
        return Webcam(int(camera.url.partition(":")[2]), clock)
    if camera.url.startswith("clip:"):
        return Clip(camera.url.partition(":")[2], clock)
    return Stream(camera, clock)


class _Decoded:
    """What is common to all that libav reads."""

    def __init__(self, container: Any, clock: Clock) -> None:
        self._container, self._clock = container, clock
        stream = _video_of(container)
        self.codec: str = stream.codec_context.name
        rate = stream.average_rate or stream.guessed_rate
        self.step = float(1 / rate) if rate else 0.04
        self._untimed = container.format.name in _UNTIMED
        self.time_base = _MICROSECONDS if self._untimed else stream.time_base or Fraction(1, 90_000)
        self._arrivals: dict[int | None, float] = {}

    def pictures(self, packet: Packet) -> Iterator[Picture]:
        if packet.anew:
            packet.data.stream.codec_context.flush_buffers()
            self._arrivals.clear()
        self._arrivals[packet.data.pts] = packet.arrived
        if len(self._arrivals) > 64:  # more than any decoder holds back
            self._arrivals = {packet.data.pts: packet.arrived}
        try:
            frames = packet.data.decode()
        except av.FFmpegError as error:
            raise Unreadable(reason(error)) from None
        for frame in frames:
            arrived = self._arrivals.pop(frame.pts, packet.arrived)
            if frame.is_corrupt:
                raise Unreadable("a damaged picture")
            pts = round(arrived / _MICROSECONDS) if self._untimed else frame.pts
            size = (frame.height, frame.width) if frame.rotation % 180 else (frame.width, frame.height)
            yield Picture(arrived, pts, size, lambda frame=frame: _image(frame))  # type: ignore[misc]

    def _demuxed(self) -> Iterator[Packet]:
        for packet in self._container.demux(_video_of(self._container)):
            if packet.size and not packet.is_discard:
                yield Packet(self._clock(), packet, packet.size, bool(packet.is_keyframe))

    def close(self) -> None:
        self._container.close()


class Stream(_Decoded):
    """A camera of the network."""

    def __init__(self, camera: Camera, clock: Clock) -> None:
        options = {"protocol_whitelist": _NETWORK, "analyzeduration": "1000000"}
        if camera.url.lower().startswith("rtsp"):
            options |= {"rtsp_transport": camera.transport, "max_delay": "300000"}
        limits = (camera.open_timeout, camera.silence)
        began = clock()
        try:
            container = av.open(camera.url, options=options, timeout=limits, metadata_errors="replace")
        except (av.FFmpegError, OSError, ValueError) as error:
            raise _lost(error, camera, clock() - began) from None
        super().__init__(container, clock)
        self._silence = camera.silence

    def packets(self) -> Iterator[Packet]:
        try:
            yield from self._demuxed()
        except av.error.ExitError:
            raise CameraLost(f"it has sent nothing for {self._silence:g} s") from None
        except (av.FFmpegError, OSError) as error:
            raise CameraLost(f"the connection broke: {_words(error)}") from None
        raise CameraLost("it has ended the stream")


class Clip(_Decoded):
    """A video file in place of a camera: as fast as it was taken, again and again."""

    def __init__(self, path: str, clock: Clock) -> None:
        self._path = path
        super().__init__(self._open(), clock)

    def _open(self) -> Any:
        options = {"protocol_whitelist": "file"}
        try:
            return av.open(self._path, options=options, metadata_errors="replace")
        except (av.FFmpegError, OSError, ValueError) as error:
            raise CameraLost(f"the clip cannot be read: {_words(error)}", "refused") from None

    def packets(self) -> Iterator[Packet]:
        while True:
            began, first, anew = self._clock(), None, True
            for packet in self._demuxed():
                stamp = packet.data.dts if packet.data.dts is not None else packet.data.pts
                if stamp is not None:
                    first = stamp if first is None else first
                    due = began + float((stamp - first) * self.time_base)
                    time.sleep(max(0.0, due - self._clock()))
                yield packet._replace(arrived=self._clock(), anew=anew)
                anew = False
            if first is None:
                raise CameraLost("the clip holds no frame", "refused")
            self._container = self._open()  # packets of the old one may still be decoded


class Webcam:
    """A camera of this machine, by its number. It has no timestamps: a frame's time is its arrival's."""

    codec = "raw"
    time_base = _MICROSECONDS
    step = 0.04

    def __init__(self, number: int, clock: Clock) -> None:
        self._clock = clock
        self._capture = cv2.VideoCapture(number, cv2.CAP_V4L2)
        if not self._capture.isOpened():
            raise CameraLost(f"no webcam {number} can be opened here", "refused")

    def packets(self) -> Iterator[Packet]:
        while True:
            taken, image = self._capture.read()
            if not taken:
                raise CameraLost("the webcam gives no pictures")
            yield Packet(self._clock(), image, image.nbytes)

    def pictures(self, packet: Packet) -> Iterator[Picture]:
        height, width = packet.data.shape[:2]
        pts = round(packet.arrived / _MICROSECONDS)
        yield Picture(packet.arrived, pts, (width, height), lambda: packet.data)

    def close(self) -> None:
        self._capture.release()


def _video_of(container: Any) -> Any:
    """The largest video stream that can be decoded, in one thread."""
    moving = [s for s in container.streams.video if s.codec_context is not None]
    if not moving:
        container.close()
        raise CameraLost("it sends no video that can be decoded here", "refused")
    stream = max(moving, key=lambda s: s.codec_context.width * s.codec_context.height)
    stream.thread_type = "SLICE"
    stream.codec_context.thread_count = 1
    return stream


def _image(frame: Any) -> NDArray[np.uint8]:
    matrix = display_matrix(frame) if frame.rotation else UPRIGHT
    try:
        return turned(frame.to_ndarray(format="bgr24"), matrix)
    except av.FFmpegError as error:
        raise Unreadable(reason(error)) from None


def _lost(error: Exception, camera: Camera, seconds: float) -> CameraLost:
    """Why a camera could not be opened."""
    if isinstance(error, av.error.HTTPUnauthorizedError):
        return CameraLost("it refuses the user or the password (401)", "refused")
    if isinstance(error, av.error.HTTPClientError):
        return CameraLost(f"it refuses: {_words(error)}", "refused")
    if isinstance(error, av.error.HTTPServerError):
        return CameraLost(f"it has a fault of its own: {_words(error)}")
    if isinstance(error, (av.error.ProtocolNotFoundError, av.error.OptionNotFoundError)):
        return CameraLost(f"it cannot be opened here: {_words(error)}", "refused")
    if why := unreachable(camera.url):
        return CameraLost(why, "away")
    if isinstance(error, av.error.ExitError) or seconds >= camera.open_timeout:
        return CameraLost(f"it takes connections, and has sent no video for {camera.open_timeout:g} s")
    scheme = camera.url.partition(":")[0].upper()
    return CameraLost(f"what it sends is no {scheme} stream ({_words(error)})")


def _words(error: Exception) -> str:
    """What went wrong, without the address: libav puts it, password and all, behind its own words."""
    return reason(error) if isinstance(error, av.FFmpegError) else type(error).__name__
