"""OpenCV, which photos need and crops do not: the extra ``photo``."""

from __future__ import annotations

from ssr_client.errors import ClientError

try:
    import cv2 as cv2
    import cv2.data  # noqa: F401  # the cascade's folder
except ImportError as error:
    raise ClientError(f"photos need OpenCV: pip install 'ssr-client[photo]' ({error})") from None
