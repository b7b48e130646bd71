"""The synchronous client."""

from __future__ import annotations

import contextlib
import threading
import time
from concurrent.futures import CancelledError, ThreadPoolExecutor
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssr_client import served as shared
from ssr_client.detectors import Detector
from ssr_client.errors import BadInput, DeadlineExceeded, InterfaceChanged, ModelNotFound, ServerUnavailable
from ssr_client.faces import Face
from ssr_client.memory import Region, Regions, sweep
from ssr_client.photo import faces_of
from ssr_client.preprocess import Picture, as_bgr, check_colour, check_crops
from ssr_client.served import Arrays, Attempts, Deadline, Served
from ssr_client.session import Session

UNREGISTER_SECONDS = 2.0


class AgeClient(Session):
    """Asks a served SSR-Net; use it as a context manager. Safe to use from several threads.

    ``url``: host:port of gRPC. ``version``: None or empty for the newest. ``detector``: ``auto``, ``yunet``,
    ``haar`` or an object with :class:`ssr_client.detectors.Detector`'s members. Other keywords:
    :class:`ssr_client.served.Options`. Opening waits, bounded by ``wait``, until the model is ready,
    and reads its interface from the served configuration.

    **When the served model changes under the client** the server refuses the request, and the client
    reads the configuration again, once per call. :meth:`predict_photo` then cuts the faces anew.
    :meth:`predict` and :meth:`predict_full` ask again if only colour order, names or batch size
    changed, and raise :class:`InterfaceChanged` if ``crop`` changed, since the crops given were cut
    for another network.
    """

    def __init__(
        self,
        url: str = "localhost:8001",
        model: str = "ssrnet",
        version: str | int | None = None,
        *,
        detector: Detector | str = "auto",
        **options: Any,
    ) -> None:
        super().__init__(url, model, version, detector=detector, **options)
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None

    def __enter__(self) -> AgeClient:
        try:
            self.open()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def open(self) -> None:
        """Connect, wait until the model is ready, read its interface. Done by ``with``."""
        from tritonclient.grpc import InferenceServerClient

        if self._client is None:
            self._client = InferenceServerClient(self.url, **self.options.channel(self.url))
            self._pool = ThreadPoolExecutor(self.options.in_flight, thread_name_prefix="ssr-client")
        self._wait()
        self._served = self._read_config()
        if self.options.shared_memory:
            self._share()

    def close(self) -> None:
        """Let go of the connection and of shared memory. Safe to call twice."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        memory, self._memory = self._memory, None
        for region in memory.drain() if memory is not None else ():
            self._unregister(region.name)
            region.close()
        if self._client is not None:
            self._client.close()
        self._pool = self._client = self._served = None

    def predict(self, crops: Any, colour: str = "bgr") -> NDArray[np.float32]:
        """Ages (N,) float32 of crops uint8 (N, 64, 64, 3) in ``colour`` order; N = 0 asks nobody.

        Raises :class:`BadInput`, :class:`ServerUnavailable`, :class:`ModelNotFound`,
        :class:`DeadlineExceeded`, :class:`InterfaceChanged`.
        """
        answer = self._predict(crops, colour, only_value=True)
        return next(iter(answer.values()))

    def predict_full(self, crops: Any, colour: str = "bgr") -> Arrays:
        """Every declared output by name: the value (N,), ``<name>_interval`` (N, 2) if calibrated."""
        return self._predict(crops, colour, only_value=False)

    def predict_photo(self, image: Any, colour: str = "bgr") -> list[Face]:
        """Faces in a picture, left to right. ``image``: (H, W, 3) uint8 in ``colour`` order, or what
        :func:`ssr_client.preprocess.as_bgr` takes. No face gives an empty list."""
        picture = as_bgr(image, colour)
        found = self._finder.find(picture)
        deadline = Deadline(self.options.timeout)
        served = self._now()
        for attempt in (1, 2):
            boxes, crops = self._finder.cut(picture, found, served.interface)
            try:
                answer = self._ask(crops, served.interface.input.colour, served, False, deadline)
                return faces_of(found, boxes, answer, served.interface)
            except BadInput:
                changed = self._refresh(served)
                if attempt == 2 or changed is None:
                    raise
                served = changed
        raise AssertionError("unreachable")

    def statistics(self) -> list[Any]:
        """The server's own counters for the model, one ``ModelStatistics`` message a version."""
        from tritonclient.utils import InferenceServerException

        deadline = Deadline(self.options.timeout)
        try:
            answer = self._connected().get_inference_statistics(
                self.model, self.version, headers=self._headers, client_timeout=deadline.left()
            )
        except InferenceServerException as error:
            raise shared.translate(error, self.url, deadline) from None
        return list(answer.model_stats)

    def _predict(self, crops: Any, colour: str, only_value: bool) -> Arrays:
        check_colour(colour)
        images = check_crops(crops)
        served, deadline = self._now(), Deadline(self.options.timeout)
        try:
            return self._ask(images, colour, served, only_value, deadline)
        except BadInput:
            changed = self._refresh(served)
            if changed is None:
                raise
        if changed.interface.crop != served.interface.crop:
            raise InterfaceChanged(changed_text(self.model))
        return self._ask(images, colour, changed, only_value, deadline)

    def _ask(
        self, images: Picture, colour: str, served: Served, only_value: bool, deadline: Deadline
    ) -> Arrays:
        parts = shared.parts_of(images, colour, served)
        if len(parts) <= 1:
            answers = [self._infer(part, served, only_value, deadline) for part in parts]
        else:
            pool = self._pool
            if pool is None:
                raise self._closed()
            try:
                jobs = [pool.submit(self._infer, part, served, only_value, deadline) for part in parts]
            except RuntimeError:  # the pool was shut down since
                raise self._closed() from None
            try:
                answers = [job.result() for job in jobs]
            except CancelledError:
                raise self._closed() from None
            finally:
                for job in jobs:
                    job.cancel()
        return shared.join(answers, served, only_value)

    def _infer(self, part: Picture, served: Served, only_value: bool, deadline: Deadline) -> Arrays:
        """One request, tried again while the server is unavailable."""
        from tritonclient.utils import InferenceServerException

        attempts = Attempts(self.options.retries, self._budget, deadline, self.url)
        with self._lent(part, served) as (tensor, region):
            while True:
                try:
                    if region is not None and not region.registered:
                        self._register(region, deadline)
                    result = self._connected().infer(
                        self.model,
                        [tensor],
                        model_version=self.version,
                        headers=self._headers,
                        **shared.request_arguments(served, only_value, deadline.left()),
                    )
                except InferenceServerException as error:
                    if region is not None and region.registered and shared.forgot_region(error):
                        region.registered = False
                        continue
                    time.sleep(attempts.pause(error))
                    continue
                except ValueError:  # how gRPC says that the channel was closed under the call
                    self._connected()
                    raise
                self._budget.earn()
                answer, self.last = shared.read_answer(result, len(part), served, only_value)
                return answer

    def _share(self) -> None:
        """Begin to share memory, which shows whether the server can; clear up what crashed clients left."""
        from tritonclient.utils import InferenceServerException

        sweep()
        self._memory = self._memory or Regions()
        deadline = Deadline(self.options.timeout)
        region = self._memory.take(1)
        try:
            if not region.registered:
                self._register(region, deadline)
            status = self._connected().get_system_shared_memory_status(
                headers=self._headers, client_timeout=deadline.left()
            )
        except InferenceServerException as error:
            raise shared.translate(error, self.url, deadline) from None
        finally:
            self._memory.give(region)
        for name in shared.left_on_server(status):
            self._unregister(name)

    def _register(self, region: Region, deadline: Deadline) -> None:
        from tritonclient.utils import InferenceServerException

        arguments = self._registration(region)
        try:
            self._connected().register_system_shared_memory(**arguments, client_timeout=deadline.left())
        except InferenceServerException as error:
            if not shared.knows_region(error):
                raise
        region.registered = True

    def _unregister(self, name: str) -> None:
        """Have the server let go of a region. One that it still reads from stays, for the next sweep."""
        from tritonclient.utils import InferenceServerException

        with contextlib.suppress(InferenceServerException, ServerUnavailable):
            self._connected().unregister_system_shared_memory(
                name, headers=self._headers, client_timeout=UNREGISTER_SECONDS
            )

    def _wait(self) -> None:
        from tritonclient.utils import InferenceServerException

        deadline = Deadline(max(self.options.wait, 0.1))
        trouble: Exception = ServerUnavailable(f"{self.url}: no answer")
        while True:
            try:
                ready = {"headers": self._headers, "client_timeout": deadline.left()}
                if self._connected().is_model_ready(self.model, self.version, **ready):
                    return
                trouble = ServerUnavailable(f"{self.url}: model {self.model!r} is not ready")
                self._look(ready)
            except InferenceServerException as error:
                told = shared.translate(error, self.url, deadline)
                if isinstance(told, ServerUnavailable | ModelNotFound):
                    trouble = told
                elif not isinstance(told, DeadlineExceeded):
                    raise told from None
            except DeadlineExceeded:
                raise shared.not_ready(trouble, self.options.wait) from None
            time.sleep(shared.READY_POLL_SECONDS)

    def _look(self, arguments: dict[str, Any]) -> None:
        """Of a model that is not ready: raise what the server says of it, if it says anything.

        A server may keep its index from clients; the model's configuration then shows whether it is known.
        """
        from tritonclient.utils import InferenceServerException

        try:
            index = self._connected().get_model_repository_index(**arguments)
        except InferenceServerException as error:
            if not shared.refused(error):
                raise
            self._connected().get_model_config(self.model, self.version, **arguments)
            return
        if gone := shared.not_served(index, self.model, self.version, self.url):
            raise gone

    def _read_config(self) -> Served:
        from tritonclient.utils import InferenceServerException

        deadline = Deadline(self.options.timeout)
        attempts = Attempts(self.options.retries, self._budget, deadline, self.url)
        while True:
            try:
                response = self._connected().get_model_config(
                    self.model, self.version, headers=self._headers, client_timeout=deadline.left()
                )
                return Served.from_config(response.config, self.model)
            except InferenceServerException as error:
                time.sleep(attempts.pause(error))

    def _refresh(self, used: Served) -> Served | None:
        """The configuration read again, or None if it is still the one that was used."""
        with self._lock:
            now = self._now()
            if now == used:
                now = self._served = self._read_config()
        return None if now == used else now


def changed_text(model: str) -> str:
    return (
        f"{model}: the served model now wants faces cut another way than these crops were; "
        "cut them again by client.interface.crop"
    )
