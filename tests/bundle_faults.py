"""Ways in which a bundle on disk can be wrong."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from ssr_bundle.bundle import Bundle, BundleError, read_bundle, seal
from ssr_bundle.contract import Contract, canonical_json
from ssr_bundle.errors import SsrError
from ssr_ops.engine import Engine
from ssr_ops.golden import write_bundle


def changed_weights(bundle: Bundle, path: Path, factor: float = 1.01) -> Path:
    """A bundle whose weights, and so answers, differ."""
    parameters = {k: v * factor if k.endswith("eta.bias") else v for k, v in bundle.parameters().items()}
    return write_bundle(path, bundle.contract, parameters).path


def broken_model(path: Path) -> None:
    (path / "model.safetensors").write_bytes((path / "model.safetensors").read_bytes()[:-1])


def broken_byte(path: Path) -> None:
    data = bytearray((path / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (path / "model.safetensors").write_bytes(data)


def broken_missing(path: Path) -> None:
    (path / "golden.safetensors").unlink()


def broken_contract(path: Path) -> None:
    (path / "contract.json").write_text("{")


def broken_version(path: Path) -> None:
    contract = json.loads((path / "contract.json").read_text())
    (path / "contract.json").write_text(json.dumps({**contract, "contract_version": 99}))


def foreign_weights(path: Path) -> None:
    """Well-formed, well-hashed, but not the weights that the golden record was made with."""
    arrays = load_file(path / "model.safetensors")
    arrays["x.0.conv.weight"] = arrays["x.0.conv.weight"] * np.float32(1.1)
    save_file(arrays, path / "model.safetensors")
    seal(path, Contract.loads((path / "contract.json").read_text()))


def refusal_in_python(folder: Path) -> str | None:
    """Why Python refuses the bundle, None if it does not; any exception but those promised goes on."""
    try:
        read_bundle(folder).parameters()
    except BundleError as error:
        return str(error)
    return None


def refusal_in_cpp(folder: Path) -> str | None:
    """Why the C++ core refuses the bundle, None if it does not."""
    try:
        Engine(folder)
    except SsrError as error:
        return str(error)
    return None


@dataclass(frozen=True)
class Edit:
    """A contract, or the header of a safetensors file, of which one thing differs. ``accepted``: None where
    only that all readers agree is asked."""

    what: str
    text: bytes
    accepted: bool | None = None


OTHER_VALUES = (
    *(
        "true",
        "false",
        "null",
        "NaN",
        "Infinity",
        "-Infinity",
        "0",
        "1",
        "-1",
        "-0",
        "1.0",
        "-0.0",
        "4e0",
        "0.5",
    ),
    *("64", "1e-400", "1e400", "-1e400", "3.4028235e38", "3.5e38", "1e300", "9007199254740993"),
    *("9223372036854775807", "9223372036854775808", "18446744073709551615", "18446744073709551616"),
    *("18446744073709551617", *(first + "0" * zeros for first in "12" for zeros in (308, 400, 5000))),
    *('""', '"text"', '"years"', r'"\ud800"', r'"\udc00\ud800"', r'"\ud83d\ude00"', r'"\u0000"'),
    *(r'"\u001b[31m"', '"\t"', '"a\\u00e9\u20ac"', '"' + "a" * 100_000 + '"', "01", "+1", ".5", "1.", "'a'"),
    *("[]", "{}", "[null]", "[0.5, 1]", "[3]", "[true]", '{"a": 1}', '{"a": 1, "a": 1}', "[" * 40 + "]" * 40),
)
"""JSON, and what is nearly JSON, of every type."""


def edits_of(text: str, sealed: bool = False, every: int = 1) -> Iterator[Edit]:
    """Every leaf and every branch of a JSON object replaced by :data:`OTHER_VALUES`, removed, twice there,
    with a foreign key. ``sealed``: with the hash that the interface has then. ``every``: of the values one in
    so many, others at each place."""
    data = json.loads(text)
    for i, place in enumerate(_places(data)):
        for value in OTHER_VALUES[i % every :: every]:
            yield Edit(f"{place} = {value[:40]}", _sealed(_replaced(data, place, value), sealed))
        *branch, last = place
        parent = _at(data, branch)
        if isinstance(parent, dict):
            own = json.dumps(_at(data, place))
            name = json.dumps(last)
            without = {key: value for key, value in parent.items() if key != last}
            for what, inner in {
                "removed": json.dumps(without),
                "twice": json.dumps(without)[:-1]
                + (", " if without else "")
                + f"{name}: {own}, {name}: {own}}}",
                "other first": f"{{{name}: null, " + json.dumps(parent)[1:],
                "foreign key": json.dumps({**parent, "foreign": 1}),
                "foreign deep": json.dumps({**parent, "foreign": {"a": [{}]}}),
            }.items():
                yield Edit(f"{place} {what}", _sealed(_replaced(data, branch, inner), sealed))


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    """Of a short name, for a socket's is at most 108 bytes."""
    with socket.socket(socket.AF_UNIX) as made, tempfile.TemporaryDirectory() as folder:
        made.bind(f"{folder}/s")
        Path(f"{folder}/s").rename(path)


def _sparse(path: Path) -> None:
    with path.open("wb") as stream:
        stream.truncate(1 << 42)


def _linked(make: Callable[[Path], None]) -> Callable[[Path], None]:
    def link(path: Path) -> None:
        make(path.with_name(f"to-{path.name}"))
        path.symlink_to(f"to-{path.name}")

    return link


NOT_FILES: dict[str, tuple[Callable[[Path], None], str]] = {
    "pipe": (_pipe, "is a pipe, expected a regular file"),
    "socket": (_socket, "is a socket, expected a regular file"),
    "folder": (Path.mkdir, "is a folder, expected a regular file"),
    "endless device": (lambda path: path.symlink_to("/dev/zero"), "is a device, expected a regular file"),
    "terminal": (lambda path: path.symlink_to("/dev/ptmx"), "is a device, expected a regular file"),
    "link to a pipe": (_linked(_pipe), "is a pipe, expected a regular file"),
    "link to a folder": (_linked(Path.mkdir), "is a folder, expected a regular file"),
    "link to itself": (lambda path: path.symlink_to(path.name), "too many levels of symbolic links"),
    "terabytes of nothing": (
        _sparse,
        "4,?398,?046,?511,?104 bytes, (expected at most [0-9,]+|the contract says)",
    ),
}
"""What can stand in a file's place, and what is said of it."""


def within(seconds: float, call: Callable[[], str | None]) -> str | None:
    """What ``call`` returns; a failure where it takes longer, as what waits for a pipe does."""
    found: list[str | None] = []
    thread = threading.Thread(target=lambda: found.append(call()), daemon=True)
    thread.start()
    thread.join(seconds)
    assert found, f"not done, or failed, within {seconds} s"
    return found[0]


def changed(text: str, place: Sequence[Any], value: str) -> bytes:
    """The JSON ``text`` with the text ``value`` at ``place``."""
    return _replaced(json.loads(text), place, value).encode()


def texts_of(text: str) -> Iterator[Edit]:
    """``text``, which has a "command", in other encodings and with other things around it."""
    data = text.encode()
    yield Edit("as it is", data, accepted=True)
    yield Edit("empty", b"", accepted=False)
    yield Edit("byte order mark", b"\xef\xbb\xbf" + data, accepted=False)
    for encoding in ("utf-16", "utf-16-le", "utf-32", "utf-7"):
        yield Edit(encoding, text.encode(encoding), accepted=None if encoding == "utf-7" else False)
    for what, after in (
        ("brace", b"}"),
        ("text", b"x"),
        ("NUL", b"\0"),
        ("NULs", b"\0" * 9),
        ("comma", b","),
    ):
        yield Edit(f"{what} behind", data + after, accepted=False)
        yield Edit(f"{what} before", after + data, accepted=False)
    for space in (b" ", b"\t", b"\n", b"\r\n"):
        yield Edit(f"{space!r} around", space + data + space, accepted=None if data[:1] == b"{" else False)
    for space in (b"\x0b", b"\x0c", b"\xc2\xa0", b"\x00", b"\xe2\x80\xa8"):
        yield Edit(f"{space!r} around", space + data + space, accepted=False)
    yield Edit("comment", b"/* */" + data, accepted=False)
    yield Edit("comma before the end", data.rstrip()[:-1] + b",}", accepted=False)
    yield Edit("half", data[: len(data) // 2], accepted=False)
    for bad in (
        b"\xe9",
        b"\xed\xa0\x80",
        b"\xc0\xaf",
        b"\xf5\x80\x80\x80",
        b"\xe2\x82",
        b"\x1b",
        b"\x7f",
        b"\xc3\xa9",
    ):
        fine = bad in (b"\x7f", b"\xc3\xa9")
        yield Edit(
            f"{bad!r} in a text", data.replace(b'"command": "', b'"command": "' + bad, 1), accepted=fine
        )


def _places(data: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every key and, of a list, the first and the last item."""
    if isinstance(data, dict):
        inner: Any = data.items()
    else:
        inner = {0: data[0], len(data) - 1: data[-1]}.items() if isinstance(data, list) and data else ()
    for key, value in inner:
        yield (*place, key)
        yield from _places(value, (*place, key))


def _at(data: Any, place: Sequence[Any]) -> Any:
    for key in place:
        data = data[key]
    return data


def _replaced(data: Any, place: Sequence[Any], value: str) -> str:
    """``data`` as JSON with the text ``value`` at ``place``."""
    if not place:
        return value
    changed = copy.deepcopy(data)
    _at(changed, place[:-1])[place[-1]] = "@@"
    return json.dumps(changed, ensure_ascii=False).replace('"@@"', value, 1)


def _sealed(text: str, sealed: bool) -> bytes:
    if sealed:
        with suppress(ValueError, KeyError, TypeError, RecursionError):
            data = json.loads(text)
            sha256 = hashlib.sha256(canonical_json(data["interface"]).encode()).hexdigest()
            text = text.replace(json.dumps(data["interface_sha256"]), json.dumps(sha256), 1)
    return text.encode("utf-8", "surrogatepass")
