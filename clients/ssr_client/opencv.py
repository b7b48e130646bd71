"""OpenCV, which photos need and crops do not: the extra ``photo``."""

from __future__ import annotations

import os
import tempfile
import threading
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


_LIBJPEG = b"Corrupt JPEG data: "
_standard_error = threading.Lock()


@contextmanager
def without_libjpeg() -> Iterator[None]:
    """Keep libjpeg's own lines from standard error, which OpenCV has no level for. For programs: it is the
    whole process's. What other threads write there meanwhile comes when this ends."""
    with _standard_error, tempfile.TemporaryFile() as held:
        try:
            before = os.dup(2)
        except OSError:  # closed
            yield
            return
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(before, 2)
            os.close(before)
            held.seek(0)
            if others := b"".join(line for line in held if not line.startswith(_LIBJPEG)):
                os.write(2, others)
