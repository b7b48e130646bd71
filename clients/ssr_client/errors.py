"""What the client raises. Each is an ``SsrError``: its message is one line meant for a person."""

from __future__ import annotations

from ssr_bundle.errors import SsrError


class ClientError(SsrError):
    """A request that could not be answered."""


class ServerUnavailable(ClientError):
    """No server, or one that cannot answer now, after all retries."""


class ModelNotFound(ClientError):
    """The server answers, but does not serve this model or version."""


class DeadlineExceeded(ClientError):
    """The answer did not come within ``timeout``."""


class BadInput(ClientError):
    """The pictures, crops or parameters of the call are not what is expected."""


class InterfaceChanged(ClientError):
    """The served model now wants crops that are cut differently; those given were cut for the old way."""


class SharedMemoryWarning(UserWarning):
    """The server shares no memory with this client, whose crops are sent to it instead."""
