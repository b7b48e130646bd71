"""OpenCV, which photos need and crops do not: the extra ``photo``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ssr_client.errors import ClientError

try:
    import cv2 as cv2
    import cv2.data  # the cascade's folder
except ImportError as error:
    raise ClientError(f"photos need OpenCV: pip install 'ssr-client[photo]' ({error})") from None


@contextmanager
def quiet() -> Iterator[None]:
    """Keep OpenCV from printing what it cannot read or write: our errors say it."""
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(level)
