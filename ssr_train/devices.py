"""Names of the devices that networks run on."""

from __future__ import annotations

import re

from ssr_bundle.errors import SsrError


def check_device(device: str) -> None:
    """Raise :class:`SsrError` for a name that the native engine would not know either: torch knows many
    more, most of which cannot train and some of which take any number (``cpu:7``)."""
    if not re.fullmatch(r"cpu|cuda(:[0-9]+)?", device):
        raise SsrError(f"device {device!r} is unknown, expected cpu, cuda or cuda:N")
