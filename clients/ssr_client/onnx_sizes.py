"""An ONNX model for pictures of one size, made into one for pictures of any size.

YuNet's file says 640 x 640 of its input. ONNX Runtime holds a model to that, though nothing in the network
depends on it. Only the shapes that the file states are changed, in its bytes (protobuf's wire format), so
that the ``onnx`` package is not needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from ssr_bundle.errors import SsrError

_GRAPH = 7  # of ModelProto
_INPUT, _OUTPUT, _INNER = 11, 12, 13  # of GraphProto; inner maps: value_info
_TYPE, _TENSOR, _SHAPE, _DIMENSION = (
    2,
    1,
    2,
    1,
)  # ValueInfoProto, TypeProto, TypeProto.Tensor, TensorShapeProto
_NAME_OF_DIMENSION = 2  # dim_param, in place of a number
_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5
_FIXED = {_EIGHT_BYTES: 8, _FOUR_BYTES: 4}


_Change = Callable[[bytes], bytes] | None
"""What becomes of a field's content; None: it is left out."""


class OnnxError(SsrError):
    """Bytes that are not an ONNX model with one picture as its input."""


def for_any_size(model: bytes) -> bytes:
    """``model`` with names in place of the height and width (dimensions 2 and 3) of its inputs, and no shape
    stated of what follows from them. Raises :class:`OnnxError` for what is not an ONNX model."""
    try:
        return _replaced(model, {_GRAPH: _graph})
    except (IndexError, ValueError):
        raise OnnxError("not an ONNX model") from None


def _graph(graph: bytes) -> bytes:
    def tensor(change: Mapping[int, _Change]) -> Mapping[int, _Change]:
        return {_TYPE: lambda kind: _replaced(kind, {_TENSOR: lambda t: _replaced(t, change)})}

    of_input, of_output = tensor({_SHAPE: _named}), tensor({_SHAPE: None})
    return _replaced(
        graph,
        {
            _INPUT: lambda value: _replaced(value, of_input),
            _OUTPUT: lambda value: _replaced(value, of_output),
            _INNER: None,
        },
    )


def _named(shape: bytes) -> bytes:
    dimensions = [content for _, content, _ in _fields(shape)]
    if len(dimensions) != 4:
        raise ValueError
    dimensions[2:] = [_field(_NAME_OF_DIMENSION, name) for name in (b"height", b"width")]
    return b"".join(_field(_DIMENSION, dimension) for dimension in dimensions)


def _replaced(message: bytes, changes: Mapping[int, _Change]) -> bytes:
    """The message with fields of these numbers changed, or left out (None)."""
    parts = []
    for number, content, whole in _fields(message):
        if number not in changes:
            parts.append(whole)
        elif (change := changes[number]) is not None:
            parts.append(_field(number, change(content)))
    return b"".join(parts)


def _fields(message: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Number, content and all bytes of each field."""
    at = 0
    while at < len(message):
        begin = at
        key, at = _varint(message, at)
        kind, size = key & 7, 0
        if kind == _VARINT:
            _, at = _varint(message, at)
        elif kind == _BYTES:
            size, at = _varint(message, at)
        else:
            size = _FIXED.get(kind, len(message))
        if at + size > len(message):
            raise ValueError
        yield key >> 3, message[at : at + size], message[begin : at + size]
        at += size


def _field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | _BYTES]) + _as_varint(len(content)) + content


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """The number that begins there, and where it ends."""
    value = shift = 0
    while shift < 64:
        byte = message[at]
        value, at, shift = value | (byte & 0x7F) << shift, at + 1, shift + 7
        if byte < 0x80:
            return value, at
    raise ValueError


def _as_varint(value: int) -> bytes:
    digits = []
    while value >= 0x80:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*digits, value])
