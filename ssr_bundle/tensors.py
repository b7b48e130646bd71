"""safetensors files: a header that can be read in one way only, then the arrays.

The library reads the arrays. The header is checked here first, for what the library and the C++ core would
take differently (``core/safetensors.cc`` refuses the same): a key twice, foreign fields, metadata that is no
text.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors import numpy as safetensors

from ssr_bundle import strict_json
from ssr_bundle.errors import SsrError
from ssr_bundle.shown import shown

MAX_HEADER_BYTES = 16 << 20

_BYTES = {
    **dict.fromkeys(("BOOL", "I8", "U8"), 1),
    **dict.fromkeys(("F16", "I16", "U16"), 2),
    **dict.fromkeys(("F32", "I32", "U32"), 4),
    **dict.fromkeys(("F64", "I64", "U64"), 8),
}
_MOST_DIMENSIONS, _LARGEST_DIMENSION = 8, 1 << 31


class TensorError(SsrError):
    """Bytes that are not a safetensors file, or one that two readers could read differently."""


def parse(data: bytes) -> dict[str, NDArray[Any]]:
    """The arrays of a safetensors file by name. Raises :class:`TensorError`, nothing else but MemoryError."""
    check_header(data)
    try:
        return dict(safetensors.load(data))
    except (SafetensorError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise TensorError(str(error)) from None


def check_header(data: bytes) -> None:
    """Raise :class:`TensorError` unless the header describes the data behind it, each byte once."""
    if len(data) < 8:
        raise TensorError("shorter than its header length")
    size = int.from_bytes(data[:8], "little")
    if size > min(len(data) - 8, MAX_HEADER_BYTES):
        told = f"a header of {size} bytes in a file of {len(data)}"
        raise TensorError(f"{told}, expected at most {MAX_HEADER_BYTES:,}")
    if size == 0 or data[8:9] != b"{":
        raise TensorError("the header is not a JSON object")
    try:
        header = strict_json.loads(data[8 : 8 + size])
    except strict_json.JsonError as error:
        raise TensorError(f"its header: {error}") from None
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise TensorError(f"__metadata__: expected texts by name, got {shown(metadata)}")
    left = len(data) - 8 - size
    end = 0
    for begin, end_of_one, name in sorted(_extent(name, entry, left) for name, entry in header.items()):
        if begin != end:
            raise TensorError(f"{shown(name)}: data_offsets begin at {begin}, expected {end}")
        end = end_of_one
    if end != left:
        raise TensorError(f"{left - end} bytes after the last tensor belong to nothing")


def _extent(name: str, entry: Any, left: int) -> tuple[int, int, str]:
    """Where the tensor begins and ends in the ``left`` bytes of data."""
    if not isinstance(entry, Mapping) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise TensorError(f"{shown(name)}: expected dtype, shape and data_offsets, got {shown(entry)}")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _BYTES:
        raise TensorError(f"{shown(name)}: has dtype {shown(dtype)}, expected one of {', '.join(_BYTES)}")
    if not _counts(shape) or len(shape) > _MOST_DIMENSIONS or any(n > _LARGEST_DIMENSION for n in shape):
        raise TensorError(f"{shown(name)}: shape {shown(shape)} is not a shape")
    if not _counts(offsets) or len(offsets) != 2 or not offsets[0] <= offsets[1] <= left:
        raise TensorError(
            f"{shown(name)}: data_offsets {shown(offsets)} lie outside the {left} bytes of data"
        )
    if (needed := math.prod(shape) * _BYTES[dtype]) != offsets[1] - offsets[0]:
        raise TensorError(f"{shown(name)}: data_offsets {shown(offsets)}, its shape needs {needed} bytes")
    return offsets[0], offsets[1], name


def _counts(value: Any) -> bool:
    return isinstance(value, list) and all(type(n) is int and n >= 0 for n in value)
