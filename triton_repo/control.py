"""Triton's HTTP control API, as far as ``ssr-serve`` needs it. Standard library only."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, InvalidURL
from typing import Any
from urllib.parse import quote

from ssr_bundle.errors import SsrError
from triton_repo import keyfile
from triton_repo.access import KEY_HEADER

IDENTITY = "ssr-serve"
"""What the name of a server starts with that follows its repository by itself."""
POLL_FAILED = "failed to poll from model repository"
"""All that a server says of a configuration that it does not take."""
_LONGEST = 64 << 20
"""Bytes of an answer that are read; an index of ten thousand models has one."""


class ControlError(SsrError):
    """The server refused, cannot be reached, or is no tritonserver."""


class Unreachable(ControlError):
    """Nothing answers at the address."""


@dataclass(frozen=True)
class VersionState:
    """One line of the server's repository index."""

    model: str
    version: int | None
    state: str
    reason: str

    @property
    def ready(self) -> bool:
        return self.state == "READY"

    @property
    def failed(self) -> bool:
        """Could not be loaded, as against unloaded on purpose."""
        return self.state == "UNAVAILABLE" and self.reason not in ("", "unloaded")


class Control:
    """Talks to one server over HTTP: ``host:port``, with an optional ``http://`` before it.

    ``headers`` go with every request: the key of a restricted API
    (``--http-restricted-api=model-repository:KEY=VALUE``). The key of a server that this user runs on this
    machine with ``ssr-serve run`` is found by itself.
    """

    def __init__(self, url: str, *, headers: Mapping[str, str] | None = None, timeout: float = 60.0) -> None:
        self.url = url.removeprefix("http://").rstrip("/")
        host, _, port = self.url.rpartition(":")
        if not host or "/" in host or not (port.isascii() and port.isdigit() and len(port) < 6):
            raise ControlError(_no_address(url))
        self._host, self._port = host.strip("[]"), int(port)
        key = keyfile.find(self._host, self._port)
        found = {} if key is None else {KEY_HEADER: key}
        self._headers = {"Content-Type": "application/json", **found, **(headers or {})}
        self._timeout = timeout

    def metadata(self) -> dict[str, Any]:
        """Server name and version."""
        result = self._call("GET", "/v2")
        if not isinstance(result, dict) or "version" not in result:
            raise self._foreign()
        return result

    def ready(self, model: str, version: int | None = None) -> bool:
        """Whether the model (or that version of it) answers requests now."""
        path = f"/v2/models/{quote(model, safe='')}" + (f"/versions/{version}" if version else "")
        try:
            self._call("GET", f"{path}/ready")
        except Unreachable:
            raise
        except ControlError:
            return False
        return True

    def index(self) -> list[VersionState]:
        """Every model version that the server knows, with its state and, if it failed, the reason."""
        with self._understood():
            return [
                VersionState(
                    str(entry["name"]),
                    int(entry["version"]) if entry.get("version") else None,
                    str(entry.get("state", "")),
                    str(entry.get("reason", "")),
                )
                for entry in self._call("POST", "/v2/repository/index", {})
            ]

    def config(self, model: str) -> dict[str, Any]:
        """The configuration that a model is served with."""
        with self._understood():
            return dict(self._call("GET", f"/v2/models/{quote(model, safe='')}/config"))

    def counts(self) -> dict[tuple[str, int], int]:
        """Crops answered by each version of every loaded model, since it was loaded."""
        with self._understood():
            found = self._call("GET", "/v2/models/stats")
            return {
                (str(entry["name"]), int(entry["version"])): int(entry.get("inference_count", 0))
                for entry in found.get("model_stats", ())
            }

    def load(self, model: str) -> None:
        """Load or reload; returns when the versions are ready. One already served stays up meanwhile."""
        try:
            self._call("POST", f"/v2/repository/models/{quote(model, safe='')}/load", {})
        except ControlError as error:
            if POLL_FAILED not in str(error):
                raise
            raise ControlError(f"{error}: its log says why") from None

    def unload(self, model: str) -> None:
        self._call("POST", f"/v2/repository/models/{quote(model, safe='')}/unload", {})

    def follow(
        self,
        model: str,
        version: int,
        wait: float,
        gone: Sequence[int] = (),
        done: Callable[[], bool] = lambda: True,
    ) -> None:
        """Wait until the server has taken up a change: ``version`` is ready, the versions ``gone`` are not,
        and it is ``done``. A server that does not follow by itself is told to load.

        Raises :class:`ControlError` if it could not load the version, or after ``wait`` seconds.
        """
        if not str(self.metadata().get("name", "")).startswith(IDENTITY):
            self.load(model)
        deadline = time.monotonic() + wait
        while True:
            states = {s.version: s for s in self.index() if s.model == model}
            ready = {number for number, state in states.items() if state.ready}
            if version in ready and not ready.intersection(gone) and done():
                return
            if version in states and states[version].failed:
                reason = states[version].reason
                raise ControlError(f"{self.url}: could not load {model} version {version}: {reason}")
            if time.monotonic() > deadline:
                raise ControlError(
                    f"{self.url}: {model} version {version} did not come up within {wait:g} s; "
                    "does this server read this repository? its log says more"
                )
            time.sleep(0.1)

    def _foreign(self) -> ControlError:
        return ControlError(f"{self.url}: answers, but not as a Triton server")

    @contextmanager
    def _understood(self) -> Iterator[None]:
        """Whatever an answer holds that no tritonserver gives is one error."""
        try:
            yield
        except ControlError:
            raise
        except (TypeError, ValueError, KeyError, AttributeError):
            raise self._foreign() from None

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        try:
            with closing(HTTPConnection(self._host, self._port, timeout=self._timeout)) as connection:
                connection.request(method, path, None if body is None else json.dumps(body), self._headers)
                response = connection.getresponse()
                text = response.read(_LONGEST + 1).decode("utf-8", "replace")
        except (InvalidURL, UnicodeError):  # no name that DNS could look up
            raise ControlError(_no_address(self.url)) from None
        except HTTPException:
            raise ControlError(
                f"{self.url}: does not speak HTTP; give the server's HTTP port (8000), not its gRPC port"
            ) from None
        except OSError as error:
            raise Unreachable(f"{self.url}: no server answers ({error.strerror or error})") from None
        if len(text) > _LONGEST:
            raise self._foreign()
        try:
            result = json.loads(text) if text.strip() else {}
        except (ValueError, RecursionError):
            result = {}
        if response.status != 200:
            reason = result.get("error") if isinstance(result, dict) else None
            if response.status == 403 and KEY_HEADER in str(reason):
                reason = f"{reason}: its key lies with the user who runs it, or `ssr-serve run --open`"
            raise ControlError(f"{self.url}: {reason or f'{method} {path}: HTTP {response.status}'}")
        return result


def _no_address(url: str) -> str:
    return f"{url}: expected the server's HTTP address as host:port, such as localhost:8000"
