"""What the two clients do alike: everything but the waiting.

It is written once, as coroutines. :class:`ssr_client.AsyncAgeClient` awaits them in its event loop;
:class:`ssr_client.AgeClient` runs them to their end with :func:`finish`, for there nothing ever waits: what a
coroutine asks of :class:`Session`'s abstract methods is done when they return.
"""

from __future__ import annotations

import contextlib
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, TypeVar

from ssr_bundle.contract import Interface
from ssr_client import exchange, frames
from ssr_client.crops import Picture, check_colour, check_crops
from ssr_client.errors import (
    BadInput,
    DeadlineExceeded,
    InterfaceChanged,
    ModelNotFound,
    ServerUnavailable,
    SharedMemoryWarning,
)
from ssr_client.exchange import (
    AnswerSource,
    Arrays,
    Attempts,
    ClientOptions,
    Deadline,
    RetryBudget,
    ServedModel,
)
from ssr_client.faces import Detector, Face, check_detector, faces_of
from ssr_client.frames import Frame
from ssr_client.shared_memory import Region, Regions, sweep

if TYPE_CHECKING:
    from ssr_client.photo import Finder

T = TypeVar("T")

UNREGISTER_SECONDS = 2.0


def finish(work: Coroutine[Any, Any, T]) -> T:
    """What a coroutine gives that never waits."""
    try:
        work.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    work.close()
    raise AssertionError("the coroutine waits")


class Session(ABC):
    """Base of :class:`ssr_client.AgeClient` and :class:`ssr_client.AsyncAgeClient`."""

    _block = "a `with`"
    _lock: AbstractAsyncContextManager[Any]
    """Held while the configuration is read again."""

    def __init__(
        self,
        url: str = "localhost:8001",
        model: str = "ssrnet",
        version: str | int | None = None,
        *,
        detector: Detector | str = "auto",
        **options: Any,
    ) -> None:
        for name, value in (("url", url), ("model", model)):
            if not isinstance(value, str) or not value:
                what = "host:port" if name == "url" else "a name"
                raise BadInput(f"{name}: expected {what}, got {value!r}")
        number = "" if version is None else str(version)
        if number and not (number.isascii() and number.isdigit()):
            raise BadInput(
                f"version: expected a version's number, or nothing for the newest, got {version!r}"
            )
        self.url, self.model, self.version = url, model, number
        self.options = ClientOptions(**options)
        if isinstance(detector, str):
            check_detector(detector)
        self.options.check_secrets(url)
        self._detector = detector
        self._headers = self.options.metadata()
        self._budget = RetryBudget()
        self._client: Any = None
        self._served: ServedModel | None = None
        self._served_frames: ServedModel | None = None
        self._memory: Regions | None = None
        self.last: AnswerSource | None = None

    @property
    def interface(self) -> Interface:
        """The interface that the served configuration states: how to cut faces, what the answer is."""
        return self._now().interface

    @property
    def max_batch_size(self) -> int:
        return self._now().max_batch_size

    @property
    def weights_sha256(self) -> str | None:
        """Identity of the weights that gave the last answer."""
        return self.last.weights_sha256 if self.last else None

    @property
    def synthetic(self) -> bool | None:
        """Whether the weights of the last answer learned from drawn faces; None before any answer."""
        return self.last.synthetic if self.last else None

    @property
    def shares_memory(self) -> bool:
        """Whether crops go through memory that the server shares: asked for, and not refused by it."""
        return self._memory is not None

    # -- how a client waits --------------------------------------------------------------------------

    @abstractmethod
    async def _call(self, method: str, *arguments: Any, **keywords: Any) -> Any:
        """What tritonclient's ``method`` gives. A client that was closed meanwhile is told as such."""

    @abstractmethod
    async def _sleep(self, seconds: float) -> None: ...

    @abstractmethod
    async def _aside(self, work: Callable[..., T], *arguments: Any) -> T:
        """Work for the CPU."""

    @abstractmethod
    async def _together(self, jobs: Sequence[Callable[[], Coroutine[Any, Any, T]]]) -> list[T]:
        """The results of all jobs, ``in_flight`` of them under way at a time."""

    # -- opening and closing -------------------------------------------------------------------------

    async def _begin(self) -> None:
        """Wait until the model is ready, read its interface."""
        await self._wait()
        self._served = await self._read_config()
        if self.options.shared_memory:
            await self._share()

    async def _wait(self) -> None:
        deadline = Deadline(max(self.options.wait, 0.1))
        trouble: Exception = ServerUnavailable(f"{self.url}: no answer")
        while True:
            try:
                ready = self._until(deadline)
                if await self._call("is_model_ready", self.model, self.version, **ready):
                    return
                trouble = ServerUnavailable(f"{self.url}: model {self.model!r} is not ready")
                await self._look(ready)
            except exchange.grpc_failure() as error:
                told = exchange.translate(error, self.url, deadline)
                if isinstance(told, ServerUnavailable | ModelNotFound):
                    trouble = told
                elif not isinstance(told, DeadlineExceeded):
                    raise told from None
            except DeadlineExceeded:
                raise exchange.not_ready(trouble, self.options.wait) from None
            await self._sleep(exchange.READY_POLL_SECONDS)

    async def _look(self, arguments: dict[str, Any]) -> None:
        """Of a model that is not ready: raise what the server says of it, if it says anything.

        A server may keep its index from clients; the model's configuration then shows whether it is known.
        """
        try:
            index = await self._call("get_model_repository_index", **arguments)
        except exchange.grpc_failure() as error:
            if not exchange.refused(error):
                raise
            await self._call("get_model_config", self.model, self.version, **arguments)
            return
        if gone := exchange.not_served(index, self.model, self.version, self.url):
            raise gone

    async def _read_config(self, model: str = "") -> ServedModel:
        model = model or self.model
        deadline = Deadline(self.options.timeout)
        attempts = Attempts(self.options.retries, self._budget, deadline, self.url)
        while True:
            try:
                asked = (model, self.version)
                response = await self._call("get_model_config", *asked, **self._until(deadline))
                if response is None:
                    raise exchange.unreadable(self.url)
                return ServedModel.from_config(response.config, model)
            except exchange.grpc_failure() as error:
                pause = attempts.pause(error)
            await self._sleep(pause)

    async def _refresh(self, used: ServedModel) -> ServedModel | None:
        """The configuration read again, or None if it is still the one that was used."""
        async with self._lock:
            now = self._now()
            if now == used:
                now = self._served = await self._read_config()
        return None if now == used else now

    # -- asking --------------------------------------------------------------------------------------

    async def _predict(self, crops: Any, colour: str, only_value: bool) -> Arrays:
        check_colour(colour)
        images = check_crops(crops, colour)
        first, deadline = self._now(), Deadline(self.options.timeout)

        async def ask(served: ServedModel) -> Arrays:
            if served.interface.crop != first.interface.crop:
                raise InterfaceChanged(
                    f"{self.model}: the served model now wants faces cut another way than these crops were; "
                    "cut them again by client.interface.crop"
                )
            return await self._ask(images, colour, served, only_value, deadline)

        return await self._following(first, ask)

    async def _predict_photo(self, image: Any, colour: str) -> list[Face]:
        picture, found = await self._aside(self._finder.find_in, image, colour)
        deadline = Deadline(self.options.timeout)

        async def ask(served: ServedModel) -> list[Face]:
            boxes, crops = self._finder.cut(picture, found, served.interface)
            answer = await self._ask(crops, served.interface.input.colour, served, False, deadline)
            return faces_of(found, boxes, answer, served.interface.output.name)

        return await self._following(self._now(), ask)

    async def _predict_frame(self, frame: Frame) -> list[Face]:
        deadline = Deadline(self.options.timeout)
        self._now()
        served = self._served_frames = self._served_frames or await self._read_frames(deadline)
        result = await self._send(
            self.model + frames.SUFFIX,
            frame.pixels.nbytes,
            frame.tensor,
            frame.others(),
            partial(frames.request_arguments, frame, served),
            deadline,
        )
        found, self.last = frames.read_faces(result, frame, served)
        return found

    async def _read_frames(self, deadline: Deadline) -> ServedModel:
        """The configuration of the frame model; one error says how it comes to be served."""
        name = self.model + frames.SUFFIX
        try:
            return await self._read_config(name)
        except ModelNotFound:
            raise ModelNotFound(
                f"{self.url}: the server has no model {name!r}, which takes frames; "
                "`ssr-serve build --frame` makes it"
            ) from None

    async def _following(
        self, served: ServedModel, ask: Callable[[ServedModel], Coroutine[Any, Any, T]]
    ) -> T:
        """What ``ask`` gives, asked again if the served model changed meanwhile."""
        try:
            return await ask(served)
        except BadInput:
            changed = await self._refresh(served)
            if changed is None:
                raise
        return await ask(changed)

    async def _ask(
        self, images: Picture, colour: str, served: ServedModel, only_value: bool, deadline: Deadline
    ) -> Arrays:
        parts = exchange.parts_of(images, colour, served)
        jobs = [partial(self._infer, part, served, only_value, deadline) for part in parts]
        return exchange.join(await self._together(jobs), served, only_value)

    async def _infer(
        self, part: Picture, served: ServedModel, only_value: bool, deadline: Deadline
    ) -> Arrays:
        """The answers to crops that are one request."""
        result = await self._send(
            self.model,
            part.nbytes,
            partial(exchange.tensor_of, part, served),
            [],
            partial(exchange.request_arguments, served, only_value),
            deadline,
        )
        answer, self.last = exchange.read_answer(result, len(part), served, only_value)
        return answer

    async def _send(
        self,
        model: str,
        size: int,
        make: Callable[[Region | None], Any],
        others: Sequence[Any],
        arguments: Callable[[float], dict[str, Any]],
        deadline: Deadline,
    ) -> Any:
        """One request, tried again while the server is unavailable. ``make``: the tensor of ``size`` bytes
        that may go through shared memory; ``others``: further inputs; ``arguments`` for the seconds left."""
        attempts = Attempts(self.options.retries, self._budget, deadline, self.url)
        with self._lent(size, make) as (tensor, region):
            while True:
                try:
                    if region is not None and not region.registered:
                        await self._ensure_registered(region, deadline)
                    result = await self._call(
                        "infer",
                        model,
                        [tensor, *others],
                        model_version=self.version,
                        headers=self._headers,
                        **arguments(deadline.left()),
                    )
                except exchange.grpc_failure() as error:
                    if region is not None and region.registered and exchange.forgot_region(error):
                        region.registered = False
                        continue
                    if region is not None and exchange.refuses_memory(error):
                        self._stop_sharing(error)
                        tensor, region = make(None), None
                        continue
                    pause = attempts.pause(error)
                else:
                    self._budget.earn()
                    return result
                await self._sleep(pause)

    # -- memory shared with the server ---------------------------------------------------------------

    async def _share(self) -> None:
        """Begin to share memory, which shows whether the server does; clear up what crashed clients left."""
        sweep()
        self._memory = memory = self._memory or Regions()
        deadline = Deadline(self.options.timeout)
        region = memory.take(1)
        try:
            if not region.registered:
                await self._ensure_registered(region, deadline)
            status = await self._call("get_system_shared_memory_status", **self._until(deadline))
        except exchange.grpc_failure() as error:
            if not exchange.refuses_memory(error):
                raise exchange.translate(error, self.url, deadline) from None
            self._stop_sharing(error)
            return
        finally:
            memory.give(region)
        for name in exchange.left_on_server(status):
            await self._unregister(name)

    async def _ensure_registered(self, region: Region, deadline: Deadline) -> None:
        place = {"name": region.name, "key": region.key, "byte_size": region.size}
        try:
            await self._call("register_system_shared_memory", **place, **self._until(deadline))
        except exchange.grpc_failure() as error:
            if not exchange.knows_region(error):
                raise
        region.registered = True

    async def _unregister(self, name: str) -> None:
        """Have the server let go of a region. One that it still reads from stays, for the next sweep."""
        soon = self._until(Deadline(UNREGISTER_SECONDS))
        with contextlib.suppress(exchange.grpc_failure(), ServerUnavailable):
            await self._call("unregister_system_shared_memory", name, **soon)

    def _stop_sharing(self, error: Exception) -> None:
        """The server shares no memory, as ``error`` says: send bytes from here on, with one warning."""
        memory, self._memory = self._memory, None
        if memory is None:
            return
        warnings.warn(
            f"{self.url}: the server shares no memory with this client ({exchange.told(error)[1]}): crops "
            "are sent instead; `ssr-serve run --shared-memory` shares it",
            SharedMemoryWarning,
            stacklevel=2,
        )
        for region in memory.drain():
            region.close()

    async def _unshare(self) -> None:
        memory, self._memory = self._memory, None
        for region in memory.drain() if memory is not None else ():
            await self._unregister(region.name)
            region.close()

    @contextmanager
    def _lent(self, size: int, make: Callable[[Region | None], Any]) -> Iterator[tuple[Any, Region | None]]:
        """The request's tensor, and the region that holds its bytes if memory is shared."""
        memory = self._memory
        if memory is None:
            yield make(None), None
            return
        region = memory.take(size)
        try:
            yield make(region), region
        finally:
            memory.give(region)

    # -- state ---------------------------------------------------------------------------------------

    @cached_property
    def _finder(self) -> Finder:
        from ssr_client.photo import Finder  # with OpenCV, which crops do not need

        return Finder(self._detector)

    def _until(self, deadline: Deadline) -> dict[str, Any]:
        """Keywords of every call: the headers, and the seconds that are left."""
        return {"headers": self._headers, "client_timeout": deadline.left()}

    def _now(self) -> ServedModel:
        served = self._served
        if served is None:
            raise ServerUnavailable(f"{self.url}: the client is not open; use it in {self._block} block")
        return served

    def _connected(self) -> Any:
        client = self._client
        if client is None:
            raise self._closed()
        return client

    def _closed(self) -> ServerUnavailable:
        return ServerUnavailable(f"{self.url}: the client is closed")
