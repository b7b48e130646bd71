"""The asynchronous client: :class:`ssr_client.client.AgeClient`'s twin over grpc.aio."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ssr_client import exchange
from ssr_client.exchange import Arrays
from ssr_client.faces import Face
from ssr_client.frames import Frame
from ssr_client.session import Session, T


class AsyncAgeClient(Session):
    """As :class:`ssr_client.client.AgeClient`, with ``async with`` and awaitable methods; one event loop.

    Detection runs in a worker thread, so that the loop stays free.
    """

    _block = "an `async with`"

    async def __aenter__(self) -> AsyncAgeClient:
        try:
            await self.open()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def open(self) -> None:
        """Connect, wait until the model is ready, read its interface. Done by ``async with``."""
        from tritonclient.grpc.aio import InferenceServerClient

        if self._client is None:
            self._client = InferenceServerClient(self.url, **self.options.channel(self.url))
            self._lock = asyncio.Lock()
        await self._begin()

    async def close(self) -> None:
        """Let go of the connection and of shared memory. Safe to call twice."""
        await self._unshare()
        client, self._client, self._served, self._served_frames = self._client, None, None, None
        if client is not None:
            await client.close()

    async def predict(self, crops: Any, colour: str = "bgr") -> NDArray[np.float32]:
        """As :meth:`AgeClient.predict`."""
        answer = await self._predict(crops, colour, only_value=True)
        return next(iter(answer.values()))

    async def predict_full(self, crops: Any, colour: str = "bgr") -> Arrays:
        """As :meth:`AgeClient.predict_full`."""
        return await self._predict(crops, colour, only_value=False)

    async def predict_photo(self, image: Any, colour: str = "bgr") -> list[Face]:
        """As :meth:`AgeClient.predict_photo`."""
        return await self._predict_photo(image, colour)

    async def predict_frame(
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
        """As :meth:`AgeClient.predict_frame`."""
        given = (frame, format, matrix, range, boxes, landmarks, threshold, scales)
        return await self._predict_frame(Frame.checked(*given))

    async def _call(self, method: str, *arguments: Any, **keywords: Any) -> Any:
        """Await a method of tritonclient's.

        Closing a channel cancels its calls. Awaited here, that would look as if the caller were cancelled,
        who may be too: a call is a task of its own, and only the caller's own end ends ``asyncio.wait``.
        """
        client = self._connected()
        call = asyncio.ensure_future(getattr(client, method)(*arguments, **keywords))
        try:
            await asyncio.wait([call])
        finally:
            call.cancel()
        try:
            return call.result()
        except AttributeError:  # tritonclient looks into a message that grpc.aio gives as None
            raise exchange.unreadable(self.url) from None
        except BaseException:
            if self._client is not client:
                raise self._closed() from None
            raise

    async def _sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def _aside(self, work: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.to_thread(work, *arguments)

    async def _together(self, jobs: Sequence[Callable[[], Coroutine[Any, Any, T]]]) -> list[T]:
        slots = asyncio.Semaphore(self.options.in_flight)

        async def bounded(job: Callable[[], Coroutine[Any, Any, T]]) -> T:
            async with slots:
                return await job()

        begun = [asyncio.ensure_future(bounded(job)) for job in jobs]
        try:
            return await asyncio.gather(*begun)
        finally:
            for task in begun:
                task.cancel()
