"""What goes wrong between a sink and its network, in words that hold no address and no credential."""

from __future__ import annotations

import re
import socket
import ssl
from pathlib import Path

from ssr_bundle.errors import SsrError
from ssr_bundle.shown import cut, printable


def why(error: BaseException) -> str:
    """The reason at the bottom of ``error``, as ``connection refused``. Of other exceptions than the
    system's the message is not repeated: it may hold what was sent."""
    deepest: BaseException | None = error
    while deepest is not None:
        if (words := _words(deepest)) is not None:
            return cut(printable(words))
        deepest = deepest.__cause__ or deepest.__context__
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(error).__name__).lower()


def tls_context(ca: Path | None) -> ssl.SSLContext:
    """Certificates are verified: by those in the file ``ca`` alone, or by the system's. :class:`SsrError`
    where ``ca`` holds none."""
    try:
        return ssl.create_default_context(cafile=ca and str(ca))
    except OSError as error:  # SSLError is one
        told = "no certificates in PEM" if isinstance(error, ssl.SSLError) else (error.strerror or "").lower()
        raise SsrError(f"{ca}: {told}, expected the certificates to trust") from None


def _words(error: BaseException) -> str | None:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate refused: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {(error.reason or 'no reason given').lower().replace('_', ' ')}"
    if isinstance(error, socket.gaierror):
        return "the host's name is not known"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return None
