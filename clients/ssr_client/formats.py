"""What the bytes of a picture file say before a decoder reads them: its format, and whether its end is there.

A decoder may fill what is missing with grey and say nothing, as ``cv2.imread`` does of a JPEG.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
"""A JPEG's marker; in coded pixels FF is followed by 00, or restarts them (D0 to D7)."""

_SOME_MCUS = 4096
"""Bytes: a decoder may drop what it reads of a block that is not whole."""

_RESTART = re.compile(rb"\xff[\xd0-\xd7]")

JPEG_END = b"\xff\xd9"
_END, _SCAN, _START, _ALONE = 0xD9, 0xDA, 0xD8, 0x01
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_COEFFICIENTS = frozenset(range(64))

_ISO_BRANDS = {
    b"avif": "AVIF",
    b"avis": "AVIF",
    b"heic": "HEIC",
    b"heix": "HEIC",
    b"hevc": "HEIC",
    b"heim": "HEIC",
    b"heis": "HEIC",
    b"mif1": "HEIC",
    b"msf1": "HEIC",
}
_BEGINNINGS = {
    b"\xff\xd8": "JPEG",
    b"\x89PNG": "PNG",
    b"GIF8": "GIF",
    b"\xff\x0a": "JPEG XL",
    b"\x00\x00\x00\x0cJXL ": "JPEG XL",
    b"%PDF": "PDF",
}


OFTEN_UNREAD = ("HEIC", "AVIF", "JPEG XL")
"""Formats that not every build of OpenCV reads, or none."""


def format_of(data: bytes) -> str | None:
    """The name of a picture's format by its first bytes, such as ``JPEG``; None for others than these few."""
    if data[4:8] == b"ftyp":
        return _ISO_BRANDS.get(data[8:12])
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WebP"
    return next((name for start, name in _BEGINNINGS.items() if data.startswith(start)), None)


def ends_early(data: bytes) -> bool:
    """Whether a JPEG, PNG, WebP, HEIC or AVIF lacks its end. Of anything else, its decoder must tell."""
    match format_of(data):
        case "JPEG":
            return not (data.endswith(JPEG_END) or _read_jpeg(data).ended)
        case "PNG":
            return b"IEND" not in data
        case "WebP":
            return int.from_bytes(data[4:8], "little") + 8 > len(data)
        case "HEIC" | "AVIF":
            return _boxes_end(data) > len(data)
    return False


def may_lack_only_its_end(data: bytes) -> bool:
    """Whether the bytes of a JPEG stop in coded pixels, and every coefficient has had its turn by then: the
    two bytes of the end marker alone may be missing. Whether pixels are, only a decoder can tell."""
    found = _read_jpeg(data)
    return found.in_scan and bool(found.sent) and all(sent >= _COEFFICIENTS for sent in found.sent.values())


def jpeg_continuations(data: bytes) -> Iterator[bytes]:
    """Coded pixels that might have followed ``data``, going on at once and behind the restart that is due."""
    restarts = _RESTART.findall(data)
    due = bytes([0xFF, 0xD0 + (restarts[-1][1] + 1) % 8 if restarts else 0xD0])
    chance = random.Random(0)
    yield b""
    for _ in range(4):
        bits = bytes(chance.randrange(0xFF) for _ in range(_SOME_MCUS))
        yield bits
        yield due + bits


def _boxes_end(data: bytes) -> int:
    """Where the boxes end, by their own lengths, of a file that is made of them (ISO 14496-12)."""
    at = 0
    while at + 16 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if size == 1:
            size = int.from_bytes(data[at + 8 : at + 16], "big")
        if size < 8:  # 0: to the end of the file
            return len(data)
        at += size
    return at


@dataclass
class _Jpeg:
    """How far the segments of a JPEG reach. ``sent``: by component, coefficients in their last bit."""

    ended: bool = False
    in_scan: bool = False
    sent: dict[int, set[int]] = field(default_factory=dict)


def _read_jpeg(data: bytes) -> _Jpeg:
    """Segment by segment, so that a thumbnail's end, or a second picture's, is not taken for this one's."""
    jpeg, at = _Jpeg(), 2
    while found := _MARKER.search(data, at):
        marker, at = found[0][1], found.end()
        if marker == _END:
            jpeg.ended = True
            break
        if marker in (_START, _ALONE):
            continue
        content = data[at + 2 : at + int.from_bytes(data[at : at + 2], "big")]
        at += 2 + len(content)
        jpeg.in_scan = marker == _SCAN
        if marker in _FRAMES and len(content) > 5:
            jpeg.sent = {component: set() for component in content[6::3]}
        elif marker == _SCAN and len(content) >= 4:
            first, last, low_bit = content[-3], content[-2], content[-1] & 15
            for component in content[1:-3:2]:
                if low_bit == 0 and component in jpeg.sent:
                    jpeg.sent[component].update(range(first, last + 1))
    return jpeg
