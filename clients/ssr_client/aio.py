"""The asynchronous client: :class:`ssr_client.client.AgeClient`'s twin over grpc.aio."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssr_client import served as shared
from ssr_client.client import UNREGISTER_SECONDS, changed_text
from ssr_client.errors import BadInput, DeadlineExceeded, InterfaceChanged, ModelNotFound, ServerUnavailable
from ssr_client.faces import Face
from ssr_client.memory import Region, Regions, sweep
from ssr_client.photo import faces_of
from ssr_client.preprocess import Picture, as_bgr, check_colour, check_crops
from ssr_client.served import Arrays, Attempts, Deadline, Served
from ssr_client.session import Session


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

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def open(self) -> None:
        """Connect, wait until the model is ready, read its interface. Done by ``async with``."""
        from tritonclient.grpc.aio import InferenceServerClient

        if self._client is None:
            self._client = InferenceServerClient(self.url, **self.options.channel(self.url))
            self._lock = asyncio.Lock()
        await self._wait()
        self._served = await self._read_config()
        if self.options.shared_memory:
            await self._share()

    async def close(self) -> None:
        """Let go of the connection and of shared memory. Safe to call twice."""
        memory, self._memory = self._memory, None
        for region in memory.drain() if memory is not None else ():
            await self._unregister(region.name)
            region.close()
        client, self._client, self._served = self._client, None, None
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
        picture = as_bgr(image, colour)
        found = await asyncio.to_thread(self._finder.find, picture)
        deadline = Deadline(self.options.timeout)
        served = self._now()
        for attempt in (1, 2):
            boxes, crops = self._finder.cut(picture, found, served.interface)
            try:
                answer = await self._ask(crops, served.interface.input.colour, served, False, deadline)
                return faces_of(found, boxes, answer, served.interface)
            except BadInput:
                changed = await self._refresh(served)
                if attempt == 2 or changed is None:
                    raise
                served = changed
        raise AssertionError("unreachable")

    async def _predict(self, crops: Any, colour: str, only_value: bool) -> Arrays:
        check_colour(colour)
        images = check_crops(crops)
        served, deadline = self._now(), Deadline(self.options.timeout)
        try:
            return await self._ask(images, colour, served, only_value, deadline)
        except BadInput:
            changed = await self._refresh(served)
            if changed is None:
                raise
        if changed.interface.crop != served.interface.crop:
            raise InterfaceChanged(changed_text(self.model))
        return await self._ask(images, colour, changed, only_value, deadline)

    async def _ask(
        self, images: Picture, colour: str, served: Served, only_value: bool, deadline: Deadline
    ) -> Arrays:
        parts = shared.parts_of(images, colour, served)
        slots = asyncio.Semaphore(self.options.in_flight)
        jobs = [asyncio.ensure_future(self._infer(p, served, only_value, deadline, slots)) for p in parts]
        try:
            answers = await asyncio.gather(*jobs)
        finally:
            for job in jobs:
                job.cancel()
        return shared.join(answers, served, only_value)

    async def _infer(
        self, part: Picture, served: Served, only_value: bool, deadline: Deadline, slots: asyncio.Semaphore
    ) -> Arrays:
        """One request, tried again while the server is unavailable."""
        from tritonclient.utils import InferenceServerException

        attempts = Attempts(self.options.retries, self._budget, deadline, self.url)
        while True:
            async with slots:
                with self._lent(part, served) as (tensor, region):
                    try:
                        if region is not None and not region.registered:
                            await self._register(region, deadline)
                        result = await self._call(
                            "infer",
                            self.model,
                            [tensor],
                            model_version=self.version,
                            headers=self._headers,
                            **shared.request_arguments(served, only_value, deadline.left()),
                        )
                    except InferenceServerException as error:
                        failure = error
                        if region is not None and region.registered and shared.forgot_region(error):
                            region.registered = False
                            continue
                    else:
                        self._budget.earn()
                        answer, self.last = shared.read_answer(result, len(part), served, only_value)
                        return answer
            await asyncio.sleep(attempts.pause(failure))

    async def _call(self, method: str, *arguments: Any, **keywords: Any) -> Any:
        """Await a method of tritonclient's. :meth:`close` meanwhile is told as such.

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
        except BaseException:
            if self._client is not client:
                raise self._closed() from None
            raise

    async def _share(self) -> None:
        """As :meth:`AgeClient._share`."""
        from tritonclient.utils import InferenceServerException

        sweep()
        self._memory = self._memory or Regions()
        deadline = Deadline(self.options.timeout)
        region = self._memory.take(1)
        try:
            if not region.registered:
                await self._register(region, deadline)
            status = await self._call(
                "get_system_shared_memory_status", headers=self._headers, client_timeout=deadline.left()
            )
        except InferenceServerException as error:
            raise shared.translate(error, self.url, deadline) from None
        finally:
            self._memory.give(region)
        for name in shared.left_on_server(status):
            await self._unregister(name)

    async def _register(self, region: Region, deadline: Deadline) -> None:
        """As :meth:`AgeClient._register`."""
        from tritonclient.utils import InferenceServerException

        arguments = self._registration(region)
        try:
            await self._call("register_system_shared_memory", **arguments, client_timeout=deadline.left())
        except InferenceServerException as error:
            if not shared.knows_region(error):
                raise
        region.registered = True

    async def _unregister(self, name: str) -> None:
        """As :meth:`AgeClient._unregister`."""
        from tritonclient.utils import InferenceServerException

        with contextlib.suppress(InferenceServerException, ServerUnavailable):
            await self._call(
                "unregister_system_shared_memory",
                name,
                headers=self._headers,
                client_timeout=UNREGISTER_SECONDS,
            )

    async def _wait(self) -> None:
        from tritonclient.utils import InferenceServerException

        deadline = Deadline(max(self.options.wait, 0.1))
        trouble: Exception = ServerUnavailable(f"{self.url}: no answer")
        while True:
            try:
                ready = {"headers": self._headers, "client_timeout": deadline.left()}
                if await self._call("is_model_ready", self.model, self.version, **ready):
                    return
                trouble = ServerUnavailable(f"{self.url}: model {self.model!r} is not ready")
                await self._look(ready)
            except InferenceServerException as error:
                told = shared.translate(error, self.url, deadline)
                if isinstance(told, ServerUnavailable | ModelNotFound):
                    trouble = told
                elif not isinstance(told, DeadlineExceeded):
                    raise told from None
            except DeadlineExceeded:
                raise shared.not_ready(trouble, self.options.wait) from None
            await asyncio.sleep(shared.READY_POLL_SECONDS)

    async def _look(self, arguments: dict[str, Any]) -> None:
        """As :meth:`AgeClient._look`."""
        from tritonclient.utils import InferenceServerException

        try:
            index = await self._call("get_model_repository_index", **arguments)
        except InferenceServerException as error:
            if not shared.refused(error):
                raise
            await self._call("get_model_config", self.model, self.version, **arguments)
            return
        if gone := shared.not_served(index, self.model, self.version, self.url):
            raise gone

    async def _read_config(self) -> Served:
        from tritonclient.utils import InferenceServerException

        deadline = Deadline(self.options.timeout)
        attempts = Attempts(self.options.retries, self._budget, deadline, self.url)
        while True:
            try:
                response = await self._call(
                    "get_model_config",
                    self.model,
                    self.version,
                    headers=self._headers,
                    client_timeout=deadline.left(),
                )
                return Served.from_config(response.config, self.model)
            except InferenceServerException as error:
                await asyncio.sleep(attempts.pause(error))

    async def _refresh(self, used: Served) -> Served | None:
        """The configuration read again, or None if it is still the one that was used."""
        async with self._lock:
            now = self._now()
            if now == used:
                now = self._served = await self._read_config()
        return None if now == used else now
