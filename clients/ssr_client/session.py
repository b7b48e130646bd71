"""What the two clients hold alike: whom they talk to, how, and what they learned of the served model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ssr_bundle.contract import Interface
from ssr_client import served as shared
from ssr_client.detectors import Detector
from ssr_client.errors import BadInput, ServerUnavailable
from ssr_client.memory import Region, Regions
from ssr_client.photo import Finder
from ssr_client.preprocess import Picture
from ssr_client.served import Budget, Options, Served, Version


class Session:
    """Base of :class:`ssr_client.AgeClient` and :class:`ssr_client.AsyncAgeClient`."""

    _block = "a `with`"

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
        self.options = Options(**options)
        self._headers = self.options.metadata()
        self._finder = Finder(detector)
        self._budget = Budget()
        self._client: Any = None
        self._served: Served | None = None
        self._memory: Regions | None = None
        self.last: Version | None = None

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

    @contextmanager
    def _lent(self, part: Picture, served: Served) -> Iterator[tuple[Any, Region | None]]:
        """The request's tensor, and the region that holds its crops if memory is shared."""
        memory = self._memory
        if memory is None:
            yield shared.tensor_of(part, served), None
            return
        region = memory.take(part.nbytes)
        try:
            yield shared.tensor_of(part, served, region), region
        finally:
            memory.give(region)

    def _registration(self, region: Region) -> dict[str, Any]:
        """Keywords of ``register_system_shared_memory``."""
        return {
            "name": region.name,
            "key": region.key,
            "byte_size": region.size,
            "headers": self._headers,
        }

    def _now(self) -> Served:
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
