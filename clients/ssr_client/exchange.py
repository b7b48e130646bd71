"""What is exchanged with the server: options, the served interface, requests, answers, errors.

Also when a request that failed is worth another try.
"""

from __future__ import annotations

import random
import re
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssr_bundle import strict_json
from ssr_bundle.contract import ContractError, Interface
from ssr_bundle.shown import cut, printable
from ssr_client.crops import Picture, in_colour
from ssr_client.errors import BadInput, ClientError, DeadlineExceeded, ModelNotFound, ServerUnavailable
from ssr_client.shared_memory import Region, left_behind

Arrays = dict[str, NDArray[np.float32]]

CHANNEL_OPTIONS: list[tuple[str, int]] = [
    # channel_args replaces every default of tritonclient, so all of them are said here. The server
    # answers more than one ping in five minutes with GOAWAY.
    ("grpc.max_send_message_length", 2**31 - 1),
    ("grpc.max_receive_message_length", 2**31 - 1),
    ("grpc.keepalive_time_ms", 300_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.keepalive_permit_without_calls", 0),
    ("grpc.http2.max_pings_without_data", 2),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
]

READY_POLL_SECONDS = 0.1
LONGEST_TOLD = 1000
"""Characters of a server's message that an error repeats."""

LONGEST_SECONDS = 86_400


@dataclass(frozen=True)
class ClientOptions:
    """How a client talks. ``timeout``: seconds for one call as a whole, retries included, also sent as
    the server's queue timeout; ``wait``: seconds to wait for a server and its model at the start;
    ``retries``: extra attempts of a request answered UNAVAILABLE; ``in_flight``: requests at once when
    a large input is split; ``ssl`` and the three PEM files, or ``creds`` (grpc.ChannelCredentials);
    ``token``: sent as ``authorization: Bearer``; ``headers``: sent with every request (keys in lower case,
    values printable ASCII; bytes for keys that end in ``-bin``);
    ``shared_memory``: crops go through memory that a server on this machine shares (same user or root, same
    /dev/shm), not through the connection.
    """

    timeout: float = 30.0
    wait: float = 10.0
    retries: int = 5
    in_flight: int = 4
    ssl: bool = False
    root_certificates: str | None = None
    private_key: str | None = None
    certificate_chain: str | None = None
    creds: Any = None
    token: str | None = None
    shared_memory: bool = False
    headers: Mapping[str, str | bytes] | None = None

    def __post_init__(self) -> None:
        for name in ("timeout", "wait"):
            if not isinstance(getattr(self, name), Real):
                raise BadInput(f"{name}: expected seconds, got {getattr(self, name)!r}")
        if not 0 < self.timeout <= LONGEST_SECONDS:
            raise BadInput(f"timeout: must be seconds above 0, at most {LONGEST_SECONDS}, got {self.timeout}")
        if not 0 <= self.wait <= LONGEST_SECONDS:
            raise BadInput(f"wait: must be seconds from 0 to {LONGEST_SECONDS}, got {self.wait}")
        for name in ("root_certificates", "private_key", "certificate_chain"):
            path = getattr(self, name)
            if path is not None and not self.ssl:
                raise BadInput(f"{name}: is for an encrypted connection, ask for one (ssl, --tls)")
            if path is not None and not Path(path).is_file():
                raise BadInput(f"{name}: {path}: no such file")
        for name, least in (("retries", 0), ("in_flight", 1)):
            number = getattr(self, name)
            if not isinstance(number, Integral) or number < least:
                raise BadInput(f"{name}: expected a whole number of at least {least}, got {number!r}")
        if self.token is not None and not (isinstance(self.token, str) and _printable(self.token)):
            raise BadInput("token: expected printable ASCII; is there a line break at its end?")
        if self.headers is not None and not isinstance(self.headers, Mapping):
            raise BadInput(
                f"headers: expected a mapping of names to values, got {type(self.headers).__name__}"
            )
        for key, value in (self.headers or {}).items():
            _check_header(key, value)

    def check_secrets(self, url: str) -> None:
        """Raise :class:`BadInput` if a secret would leave this machine where all on the way can read it."""
        secret = self.token is not None or "authorization" in (self.headers or {})
        encrypted = self.ssl or self.creds is not None
        if secret and not encrypted and not is_local(url):
            raise BadInput(
                f"token: {url} is not this machine and the connection is not encrypted, so that anybody on "
                "the way could read it; ask for encryption (ssl, --tls)"
            )

    def channel(self, url: str) -> dict[str, Any]:
        """Keywords for both kinds of ``InferenceServerClient``."""
        same = ("ssl", "root_certificates", "private_key", "certificate_chain", "creds")
        # gRPC would ask the environment's http_proxy for this very machine.
        arguments = [*CHANNEL_OPTIONS, ("grpc.enable_http_proxy", 0 if is_local(url) else 1)]
        return {name: getattr(self, name) for name in same} | {"channel_args": arguments}

    def metadata(self) -> dict[str, str | bytes] | None:
        headers = dict(self.headers or {})
        if self.token:
            headers["authorization"] = f"Bearer {self.token}"
        return headers or None


def is_local(url: str) -> bool:
    """Whether what is sent to ``url`` stays on this machine: loopback, or a socket in the file system."""
    if url.startswith(("unix:", "unix-abstract:")):
        return True
    host = url.rsplit(":", 1)[0].strip("[]")
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _check_header(key: Any, value: Any) -> None:
    """Refuse by name what gRPC refuses without one. Values may be secret: no message shows them."""
    if not isinstance(key, str) or not re.fullmatch(r"[0-9a-z_.-]+", key):
        raise BadInput(f"headers: {key!r}: expected a name of a-z, 0-9, '-', '_' and '.', in lower case")
    if key.endswith("-bin"):
        if not isinstance(value, bytes):
            raise BadInput(f"headers: {key!r}: its value must be bytes, got {type(value).__name__}")
    elif not isinstance(value, str) or not _printable(value):
        raise BadInput(f"headers: {key!r}: its value must be printable ASCII")


def _printable(text: str) -> bool:
    return text.isascii() and text.isprintable()


@dataclass(frozen=True)
class ServedModel:
    """The served configuration, as far as a client follows it."""

    interface: Interface
    max_batch_size: int
    outputs: tuple[str, ...]

    @classmethod
    def from_config(cls, config: Any, model: str) -> ServedModel:
        """Read ``ModelConfig``'s parameters; raises :class:`ClientError` if they are not this project's."""
        parameters = config.parameters
        for key in ("interface", "interface_sha256"):
            if key not in parameters:
                raise ClientError(
                    f"{model}: its configuration carries no {key!r}, so how to cut faces for it is unknown; "
                    "serve it with `ssr-serve build`"
                )
        try:
            interface = Interface.from_json(strict_json.loads(parameters["interface"].string_value))
        except (ContractError, strict_json.JsonError) as error:
            raise ClientError(f"{model}: the served interface cannot be followed: {short(error)}") from None
        stated = parameters["interface_sha256"].string_value
        if stated != interface.sha256:
            raise ClientError(
                f"{model}: the served interface hashes to {interface.sha256}, its configuration says "
                f"{short(stated)}"
            )
        return cls(interface, max(1, config.max_batch_size), tuple(o.name for o in config.output))


@dataclass(frozen=True)
class AnswerSource:
    """What gave an answer. ``synthetic``: the weights learned from drawn faces, not from photos;
    ``engine``: precision and implementation that computed, ``int8 amx`` (empty from an older backend);
    ``detector_sha256``: identity of the detector that the model has, of a frame model with one."""

    model_version: str
    weights_sha256: str
    synthetic: bool
    engine: str = ""
    detector_sha256: str = ""


class Deadline:
    """A point in time that a call must not pass."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds left; raises :class:`DeadlineExceeded` when there are none."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise self.exceeded()
        return left

    @property
    def over(self) -> bool:
        return time.monotonic() >= self._end

    def exceeded(self, why: str = "") -> DeadlineExceeded:
        return DeadlineExceeded(f"no answer within {self.seconds:g} s" + (f" ({why})" if why else ""))


class RetryBudget:
    """Retries that a client may spend: ten, won back one for every ten answers. It keeps many clients of
    a struggling server from multiplying its load."""

    def __init__(self, most: float = 10.0, gain: float = 0.1) -> None:
        self._most, self._gain, self._tokens = most, gain, most
        self._lock = threading.Lock()

    def spend(self) -> bool:
        with self._lock:
            if self._tokens < 1:
                return False
            self._tokens -= 1
            return True

    def earn(self) -> None:
        with self._lock:
            self._tokens = min(self._most, self._tokens + self._gain)


class Attempts:
    """Decides, for one request, whether an error is worth another try and after how long."""

    FIRST, LONGEST = 0.1, 2.0

    def __init__(self, retries: int, budget: RetryBudget, deadline: Deadline, url: str) -> None:
        self._retries, self._budget, self._deadline, self._url = retries, budget, deadline, url
        self._made = 0

    def pause(self, error: Exception) -> float:
        """Seconds to wait before trying again (full jitter); raises what the caller shall see instead."""
        translated = translate(error, self._url, self._deadline)
        if not isinstance(translated, ServerUnavailable):
            raise translated from None
        if self._made >= self._retries or not self._budget.spend():
            tries = f"{self._made + 1} attempts" if self._made else "1 attempt"
            raise ServerUnavailable(f"{translated} ({tries})") from None
        pause = random.uniform(0, min(self.LONGEST, self.FIRST * 2**self._made))
        self._made += 1
        if pause >= self._deadline.left():
            raise ServerUnavailable(f"{translated} (no time left for another attempt)") from None
        return pause


def grpc_failure() -> type[Exception]:
    """tritonclient's exception. Asked for when one is there: importing this module loads no gRPC."""
    from tritonclient.utils import InferenceServerException

    failure: type[Exception] = InferenceServerException
    return failure


def told(error: Exception) -> tuple[str, str]:
    """gRPC's status, such as ``NOT_FOUND`` (empty without one), and the message on one line."""
    status = str(getattr(error, "status", lambda: None)() or "").removeprefix("StatusCode.")
    return status, short(getattr(error, "message", lambda: error)() or error)


def short(text: object) -> str:
    """What a server said, on one line that a terminal can show, cut where it is long."""
    return cut(printable(" ".join(str(text).split())), LONGEST_TOLD)


def refused(error: Exception) -> bool:
    """Whether tritonclient's exception says that this client may not ask that."""
    status, message = told(error)
    return "protocol is restricted" in message or status in ("UNAUTHENTICATED", "PERMISSION_DENIED")


def translate(error: Exception, url: str, deadline: Deadline) -> Exception:
    """tritonclient's exception as one of the client's own."""
    status, message = told(error)
    if "shared memory region" in message and ("open" in message or "register" in message):
        return ClientError(
            f"{url}: the server does not reach this machine's shared memory (it runs elsewhere, in a "
            f"container with a /dev/shm of its own, or as another user); leave shared_memory off: {message}"
        )
    if refused(error):
        return ClientError(f"{url}: access refused: {message}")
    if status == "UNAVAILABLE" and "timeout expired" in message.lower():
        return deadline.exceeded("it waited in the server's queue")
    if status == "UNAVAILABLE":
        return ServerUnavailable(f"{url}: {_connection(message)}")
    if status == "CANCELLED" and not deadline.over:
        return ServerUnavailable(f"{url}: the call was cancelled, the client or the server is closing")
    if status in ("DEADLINE_EXCEEDED", "CANCELLED"):
        return deadline.exceeded()
    if status == "NOT_FOUND" and "no available versions" in message:
        # Of a model that the server knows: it starts, reloads or stops.
        return ServerUnavailable(f"{url}: {message}")
    if status == "NOT_FOUND":
        return ModelNotFound(f"{url}: {message}")
    if status == "INVALID_ARGUMENT":
        return BadInput(f"{url}: {message}")
    return ClientError(f"{url}: {status or type(error).__name__}: {message}")


def _connection(message: str) -> str:
    """gRPC's connection errors, shortened to what a person can use."""
    for sign in ("Connection refused", "DNS resolution failed", "Connection reset", "Socket closed"):
        if sign.lower() in message.lower():
            return f"no server answers there ({sign.lower()})"
    if "failed to connect" in message.lower():
        return "no server answers there"
    return message


def parts_of(crops: Picture, colour: str, served: ServedModel) -> list[Picture]:
    """Parts of at most ``max_batch_size`` crops, in the contract's colour order."""
    most, wanted = served.max_batch_size, served.interface.input.colour
    return [in_colour(crops[k : k + most], colour, wanted) for k in range(0, len(crops), most)]


def tensor_of(part: Picture, served: ServedModel, region: Region | None = None) -> Any:
    """``InferInput`` of crops in the contract's colour order; with a region, they are copied to there."""
    from tritonclient.grpc import InferInput

    tensor = InferInput(served.interface.input.name, list(part.shape), "UINT8")
    if region is None:
        return tensor.set_data_from_numpy(np.ascontiguousarray(part))
    region.fill(part)
    return tensor.set_shared_memory(region.name, part.nbytes)


def forgot_region(error: Exception) -> bool:
    """Whether the server does not know a region that was registered: it was started anew since."""
    return "unable to find shared memory region" in str(error).lower()


def refuses_memory(error: Exception) -> bool:
    """Whether the server shares no memory with its clients: not with any, or not with this one."""
    return refused(error) or "shared memory is disabled" in told(error)[1].lower()


def knows_region(error: Exception) -> bool:
    """Whether the server has a region of this name: an earlier call registered it, whose answer was not
    waited for. Names are chosen by chance, so it is the same region."""
    return "already in manager" in str(error).lower()


def left_on_server(status: Any) -> list[str]:
    """Names of the registered regions whose owners are gone. Only for a server of this machine's."""
    return [r.name for r in status.regions.values() if r.key == f"/{r.name}" and left_behind(r.name)]


def request_arguments(served: ServedModel, only_value: bool, left: float) -> dict[str, Any]:
    """Keywords of ``infer`` that say what is wanted and by when (seconds ``left``)."""
    from tritonclient.grpc import InferRequestedOutput

    return {
        "outputs": [InferRequestedOutput(served.interface.output.name)] if only_value else None,
        "parameters": {"interface_sha256": served.interface.sha256},
        **deadline_arguments(left),
    }


def deadline_arguments(left: float) -> dict[str, Any]:
    """Keywords of ``infer`` that bound the call, and its wait in the server's queue, by seconds ``left``."""
    return {"client_timeout": left, "timeout": max(1, int(left * 1e6))}


def read_answer(
    result: Any, count: int, served: ServedModel, only_value: bool
) -> tuple[Arrays, AnswerSource]:
    """Arrays by name and the version that gave them; the value is (N,), its interval (N, 2), others (N, ...).

    Raises :class:`ClientError` for anything else, and for a value or an end of its interval that is NaN or
    outside the contract's range.
    """
    response, output = result.get_response(), served.interface.output
    names = [output.name] if only_value else [o.name for o in response.outputs]
    rows = {output.name: ((), (1,)), f"{output.name}_interval": ((2,),)}
    low, high = np.asarray(output.clip, np.float32)
    arrays: Arrays = {}
    for name in names:
        array, row = _array(result, name), rows.get(name)
        if (
            array is None
            or array.dtype != np.float32
            or array.shape[:1] != (count,)
            or (row is not None and array.shape[1:] not in row)
        ):
            what = "nothing that can be read" if array is None else f"{array.dtype} {array.shape}"
            raise ClientError(
                f"output {short(name)!r}: the server sent {what}, expected float32 for {count} crops"
            )
        if row is not None and not ((low <= array) & (array <= high)).all():
            wrong = array[~((low <= array) & (array <= high))][0]
            raise ClientError(f"output {name!r}: the server sent {wrong:g}, expected {low:g} to {high:g}")
        arrays[name] = array.reshape(count) if name == output.name else array
    return arrays, source_of(response)


def source_of(response: Any) -> AnswerSource:
    """What gave an answer, as its parameters say."""
    parameters = response.parameters

    def stated(key: str) -> str:
        return str(parameters[key].string_param) if key in parameters else ""

    return AnswerSource(
        response.model_version,
        stated("weights_sha256"),
        stated("synthetic") == "true",
        stated("engine"),
        stated("detector_sha256"),
    )


def _array(result: Any, name: str) -> NDArray[Any] | None:
    """An output as tritonclient reads it; None where it cannot: absent, or of another size than its shape."""
    try:
        array: NDArray[Any] | None = result.as_numpy(name)
    except Exception:  # of tritonclient, NumPy or struct, by what does not fit
        return None
    return array


def join(parts: Sequence[Arrays], served: ServedModel, only_value: bool) -> Arrays:
    """The parts of a split input, in order."""
    if parts:
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    name = served.interface.output.name
    empty = {name: np.empty(0, np.float32)}
    if not only_value and f"{name}_interval" in served.outputs:
        empty[f"{name}_interval"] = np.empty((0, 2), np.float32)
    return empty


def not_served(index: Any, model: str, version: str, url: str) -> ModelNotFound | None:
    """From the repository index: why waiting for ``model`` is in vain, or None if it may yet come."""
    here = [m for m in index.models if m.name == model and (not version or m.version in ("", version))]
    if not here:
        others = sorted({m.name for m in index.models})
        which = f"version {version} of model {model!r}" if version else f"model {model!r}"
        return ModelNotFound(f"{url} has no {which}; it has {', '.join(others) or 'none'}")
    failed = [m.reason for m in here if m.state == "UNAVAILABLE" and m.reason not in ("", "unloaded")]
    if failed and len(failed) == len(here):
        return ModelNotFound(f"{url}: model {model!r} failed to load: {short(failed[0])}")
    return None


def unreadable(url: str) -> ClientError:
    """What to raise where a server's answer is no message of its kind."""
    return ClientError(f"{url}: its answer cannot be read; is it a Triton server?")


def not_ready(trouble: Exception, wait: float) -> Exception:
    """What to raise when the wait for readiness is over and ``trouble`` was seen last."""
    if isinstance(trouble, ServerUnavailable):
        return ServerUnavailable(f"{trouble}, waited {wait:g} s; is the server running? (ssr-serve run)")
    return trouble
