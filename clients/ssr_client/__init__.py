"""Ask a served SSR-Net for ages. Light: NumPy, OpenCV and tritonclient, each loaded on first use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ssr_bundle.lazy import on_first_use

if TYPE_CHECKING:
    from ssr_client.aio import AsyncAgeClient as AsyncAgeClient
    from ssr_client.client import AgeClient as AgeClient
    from ssr_client.errors import BadInput as BadInput
    from ssr_client.errors import ClientError as ClientError
    from ssr_client.errors import DeadlineExceeded as DeadlineExceeded
    from ssr_client.errors import InterfaceChanged as InterfaceChanged
    from ssr_client.errors import ModelNotFound as ModelNotFound
    from ssr_client.errors import ServerUnavailable as ServerUnavailable
    from ssr_client.errors import SharedMemoryWarning as SharedMemoryWarning
    from ssr_client.faces import Detection as Detection
    from ssr_client.faces import Face as Face

__getattr__, __all__ = on_first_use(
    __name__,
    {
        "aio": ("AsyncAgeClient",),
        "client": ("AgeClient",),
        "errors": (
            "BadInput",
            "ClientError",
            "DeadlineExceeded",
            "InterfaceChanged",
            "ModelNotFound",
            "ServerUnavailable",
            "SharedMemoryWarning",
        ),
        "faces": ("Detection", "Face"),
    },
)
