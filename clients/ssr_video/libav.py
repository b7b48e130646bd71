"""PyAV, which reads and writes videos: the extra ``video``."""

from __future__ import annotations

from ssr_bundle.errors import SsrError

try:
    import av as av
    import av.error
except ImportError as error:
    raise SsrError(f"videos need PyAV: pip install 'ssr-client[video]' ({error})") from None


def reason(error: av.error.FFmpegError) -> str:
    """What libav says went wrong, in lower case and without its own names."""
    return (error.strerror or type(error).__name__).lower()
