"""Ask a served SSR-Net for ages. Light: NumPy, OpenCV and tritonclient, each loaded on first use."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ssr_client.aio import AsyncAgeClient
    from ssr_client.client import AgeClient
    from ssr_client.errors import (
        BadInput,
        ClientError,
        DeadlineExceeded,
        InterfaceChanged,
        ModelNotFound,
        ServerUnavailable,
    )
    from ssr_client.faces import Detection, Face

_HOME = {
    "AgeClient": "client",
    "AsyncAgeClient": "aio",
    "BadInput": "errors",
    "ClientError": "errors",
    "DeadlineExceeded": "errors",
    "Detection": "faces",
    "Face": "faces",
    "InterfaceChanged": "errors",
    "ModelNotFound": "errors",
    "ServerUnavailable": "errors",
}

__all__ = [
    "AgeClient",
    "AsyncAgeClient",
    "BadInput",
    "ClientError",
    "DeadlineExceeded",
    "Detection",
    "Face",
    "InterfaceChanged",
    "ModelNotFound",
    "ServerUnavailable",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"ssr_client.{_HOME[name]}"), name)
    globals()[name] = value
    return value
