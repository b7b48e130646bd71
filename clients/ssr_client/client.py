"""The synchronous client."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ssr_client import exchange
from ssr_client.exchange import Arrays, Deadline
from ssr_client.faces import Face
from ssr_client.frames import Frame
from ssr_client.session import Session, T, finish
from ssr_client.shared_memory import Region


class AgeClient(Session):
    """Asks a served SSR-Net; use it as a context manager. Safe to use from several threads.

    ``url``: host:port of gRPC. ``version``: None or empty for the newest. ``detector``: ``auto``, ``yunet``,
    ``haar`` or an object with :class:`ssr_client.faces.Detector`'s members. Other keywords:
    :class:`ssr_client.exchange.ClientOptions`. Opening waits, bounded by ``wait``, until the model is ready,
    and reads its interface from the served configuration.

    **When the served model changes under the client** the server refuses the request, and the client
    reads the configuration again, once per call. :meth:`predict_photo` then cuts the faces anew.
    :meth:`predict` and :meth:`predict_full` ask again if only colour order, names or batch size
    changed, and raise :class:`InterfaceChanged` if ``crop`` changed, since the crops given were cut
    for another network.
    """

    _pool: ThreadPoolExecutor | None = None

    def __enter__(self) -> AgeClient:
        try:
            self.open()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self) -> None:
        """Connect, wait until the model is ready, read its interface. Done by ``with``."""
        from tritonclient.grpc import InferenceServerClient

        if self._client is None:
            self._client = InferenceServerClient(self.url, **self.options.channel(self.url))
            self._lock = _Lock()
            self._pool = ThreadPoolExecutor(self.options.in_flight, thread_name_prefix="ssr-client")
        finish(self._begin())

    def close(self) -> None:
        """Let go of the connection and of shared memory. Safe to call twice."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        finish(self._unshare())
        if self._client is not None:
            self._client.close()
        self._pool = self._client = self._served = self._served_frames = None

    def predict(self, crops: Any, colour: str = "bgr") -> NDArray[np.float32]:
        """Ages (N,) float32 of crops uint8 (N, 64, 64, 3) in ``colour`` order; N = 0 asks nobody.

        A list may hold PIL images, which say their own colours.
        Raises :class:`BadInput`, :class:`ServerUnavailable`, :class:`ModelNotFound`,
        :class:`DeadlineExceeded`, :class:`InterfaceChanged`.
        """
        answer = finish(self._predict(crops, colour, only_value=True))
        return next(iter(answer.values()))

    def predict_full(self, crops: Any, colour: str = "bgr") -> Arrays:
        """Every declared output by name: the value (N,), ``<name>_interval`` (N, 2) if calibrated."""
        return finish(self._predict(crops, colour, only_value=False))

    def predict_photo(self, image: Any, colour: str = "bgr") -> list[Face]:
        """Faces in a picture, left to right. ``image``: (H, W, 3) uint8 in ``colour`` order, or what else
        :func:`ssr_client.preprocess.as_bgr` takes, such as a PIL image. No face gives an empty list. Needs
        the extra ``photo``."""
        return finish(self._predict_photo(image, colour))

    def predict_frame(
        self,
        frame: Any,
        format: str = "bgr",
        *,
        matrix: str | None = None,
        range: str | None = None,
        boxes: ArrayLike | None = None,
        landmarks: ArrayLike | None = None,
        threshold: float | None = None,
        scales: Sequence[int] | None = None,
    ) -> list[Face]:
        """Faces of a frame in one request: the server searches it, cuts and answers. Needs no OpenCV.

        ``frame``: uint8 (H, W, 3) in ``format`` bgr or rgb; or ``nv12`` as (H * 3 / 2, W), with its
        ``matrix`` (bt601, bt709) and ``range`` (limited, full). A PIL image says its own colours, and is
        turned upright as its EXIF orientation says. ``boxes`` (N, 4) as x, y, width, height in
        pixels: the server cuts these, searches nothing, and gives N faces in their order; ``landmarks``
        (N, 5, 2) beside them where the served crop aligns. Without boxes ``threshold`` and ``scales``
        (longest sides in pixels) replace the detector's own.

        Raises :class:`ModelNotFound` where no frame model is served, and what :meth:`predict` does.
        """
        given = (frame, format, matrix, range, boxes, landmarks, threshold, scales)
        return finish(self._predict_frame(Frame.checked(*given)))

    def statistics(self) -> list[Any]:
        """The server's own counters for the model, one ``ModelStatistics`` message a version."""
        deadline = Deadline(self.options.timeout)
        asked = (self.model, self.version)
        try:
            answer = finish(self._call("get_inference_statistics", *asked, **self._until(deadline)))
        except exchange.grpc_failure() as error:
            raise exchange.translate(error, self.url, deadline) from None
        return list(answer.model_stats)

    def _register(self, region: Region, deadline: Deadline) -> None:
        """Make a region known to the server, for whoever sends requests of their own."""
        try:
            finish(self._ensure_registered(region, deadline))
        except exchange.grpc_failure() as error:
            raise exchange.translate(error, self.url, deadline) from None

    async def _call(self, method: str, *arguments: Any, **keywords: Any) -> Any:
        client = self._connected()
        try:
            return getattr(client, method)(*arguments, **keywords)
        except ValueError:  # how gRPC says that the channel was closed under the call
            self._connected()
            raise

    async def _sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    async def _aside(self, work: Callable[..., T], *arguments: Any) -> T:
        return work(*arguments)

    async def _together(self, jobs: Sequence[Callable[[], Coroutine[Any, Any, T]]]) -> list[T]:
        if len(jobs) <= 1:
            return [await job() for job in jobs]
        pool = self._pool
        if pool is None:
            raise self._closed()
        try:
            begun = [pool.submit(_done, job) for job in jobs]
        except RuntimeError:  # the pool was shut down since
            raise self._closed() from None
        try:
            return [job.result() for job in begun]
        except CancelledError:
            raise self._closed() from None
        finally:
            for future in begun:
                future.cancel()


def _done(job: Callable[[], Coroutine[Any, Any, T]]) -> T:
    return finish(job())


class _Lock:
    """A lock among threads, as coroutines take one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    async def __aenter__(self) -> None:
        self._lock.acquire()

    async def __aexit__(self, *_: object) -> None:
        self._lock.release()
