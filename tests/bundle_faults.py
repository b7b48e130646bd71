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


FACE = ((38.29, 51.7), (73.53, 51.5), (56.03, 71.74), (41.55, 92.37), (70.73, 92.2))
"""Five landmarks of an upright face in a picture of 112 x 112."""

PLAIN = {
    "box": "yunet",
    "margin": [0.4, 0.3],
    "rounding": "floor-inclusive",
    "border": "clip",
    "interpolation": "bilinear",
    "alignment": "none",
}
"""A crop as version 1 of the contract writes it."""

ALIGNED = {
    "box": "yunet",
    "border": "replicate",
    "interpolation": "bilinear",
    "alignment": "similarity",
    "template": [list(point) for point in FACE],
    "size": 112,
}
"""A crop that only version 2 can say."""


def _plain(margin: Any, **changes: Any) -> dict[str, Any]:
    return {**PLAIN, "margin": list(margin) if isinstance(margin, tuple) else margin, **changes}


def _aligned(points: Sequence[Any] = FACE, **changes: Any) -> dict[str, Any]:
    return {**ALIGNED, "template": [list(point) for point in points], **changes}


_FOUR = (0.1, -0.15, 0.11, 0.02)

GOOD_CROPS: dict[str, tuple[int, dict[str, Any]]] = {
    "two margins, clipped": (1, PLAIN),
    "no margin": (1, _plain((0.0, 0.0))),
    "the largest margins": (1, _plain((4.0, 4.0))),
    "boxes of Haar": (1, _plain((0.4, 0.4), box="haar")),
    "four margins": (2, _plain((0.1, 0.2, 0.3, 0.4))),
    "four margins, some negative": (2, _plain(_FOUR)),
    "the same negative margins on both sides": (2, _plain((-0.1, -0.2, -0.1, -0.2))),
    "the least margin, made up for": (2, _plain((-0.9, -0.9, 0.1, 4.0))),
    "margins that leave 0.1 and a bit": (2, _plain((-0.45, 0.0, -0.449, 0.0))),
    "replicated": (2, _plain(_FOUR, border="replicate")),
    "black": (2, _plain(_FOUR, border="constant")),
    "two margins, replicated": (2, _plain((0.4, 0.3, 0.4, 0.3), border="replicate")),
    "boxes of Haar, replicated": (2, _plain(_FOUR, border="replicate", box="haar")),
    "aligned": (2, ALIGNED),
    "aligned, black": (2, _aligned(border="constant")),
    "landmarks of another detector": (2, _aligned(box="haar")),
    "the smallest template": (2, _aligned([(x / 14, y / 14) for x, y in FACE], size=8)),
    "the largest template": (2, _aligned([(x * 36, y * 36) for x, y in FACE], size=4096)),
    "a template beside its picture": (2, _aligned([(x + 112, y + 112) for x, y in FACE])),
    "a template that is mirrored": (2, _aligned([(112 - x, y) for x, y in FACE])),
    "a template that is narrow": (2, _aligned([(56 + (x - 56) / 20, y) for x, y in FACE])),
}
"""Every kind of crop, and the version of the contract that says it."""

BAD_CROPS: dict[str, tuple[int, dict[str, Any]]] = {
    "four margins as version 1": (1, _plain(_FOUR)),
    "replicated as version 1": (1, _plain(_FOUR, border="replicate")),
    "two margins, replicated, as version 1": (1, _plain((0.4, 0.3), border="replicate")),
    "aligned as version 1": (1, ALIGNED),
    "two margins as version 2": (2, PLAIN),
    "a plain crop as version 3": (3, PLAIN),
    "four margins as version 3": (3, _plain(_FOUR)),
    "aligned as version 3": (3, ALIGNED),
    "aligned as version 0": (0, ALIGNED),
    "four margins that two can say": (2, _plain((0.4, 0.3, 0.4, 0.3))),
    "four margins that two can say, as version 1": (1, _plain((0.4, 0.3, 0.4, 0.3))),
    "two margins, replicated": (2, _plain((0.4, 0.3), border="replicate")),
    "two negative margins": (2, _plain((-0.1, -0.1))),
    "two negative margins as version 1": (1, _plain((-0.1, -0.1))),
    "no margins": (2, _plain(())),
    "one margin": (2, _plain((0.4,))),
    "three margins": (2, _plain((0.1, 0.2, 0.3))),
    "five margins": (2, _plain((0.1, 0.2, 0.3, 0.4, 0.5))),
    "a margin that is text": (2, _plain([0.1, "0.2", 0.3, 0.4])),
    "a margin that is true": (2, _plain([0.1, True, 0.3, 0.4])),
    "margins that are no list": (2, _plain({"left": 0.1})),
    "whole margins": (2, _plain((1, 0, 0, 0))),
    "a margin that is NaN": (2, _plain((0.1, float("nan"), 0.1, 0.2))),
    "an endless margin": (2, _plain((0.1, float("inf"), 0.1, 0.2))),
    "a margin of 1e9": (2, _plain((0.1, 1e9, 0.1, 0.2))),
    "a margin of -1e9": (2, _plain((0.1, -1e9, 0.1, 0.2))),
    "a margin above 4": (2, _plain((0.1, 4.000001, 0.1, 0.2))),
    "a margin below -0.9": (2, _plain((0.1, -0.900001, 0.1, 0.2))),
    "margins that leave nothing of the width": (2, _plain((-0.5, 0.0, -0.5, 0.0))),
    "margins that leave nothing of the height": (2, _plain((0.0, -0.6, 0.0, -0.5))),
    "margins that leave less than 0.1": (2, _plain((-0.46, 0.0, -0.45, 0.0))),
    "an unknown border": (2, _plain(_FOUR, border="reflect")),
    "an unknown alignment": (2, _plain(_FOUR, alignment="affine")),
    "an unknown rounding": (2, _plain(_FOUR, rounding="nearest")),
    "an unknown detector": (2, _plain(_FOUR, box="retinaface")),
    "a template without an alignment": (2, _plain(_FOUR, template=ALIGNED["template"], size=112)),
    "a template in version 1": (1, {**PLAIN, "template": ALIGNED["template"], "size": 112}),
    "a size without an alignment": (2, _plain(_FOUR, size=112)),
    "a foreign key": (2, _plain(_FOUR, tilt=0.0)),
    "a foreign key beside a template": (2, _aligned(tilt=0.0)),
    "a margin beside a template": (2, _aligned(margin=[0.4, 0.4])),
    "rounding beside a template": (2, _aligned(rounding="floor-inclusive")),
    "aligned and clipped": (2, _aligned(border="clip")),
    "no template": (2, {k: v for k, v in ALIGNED.items() if k != "template"}),
    "no size": (2, {k: v for k, v in ALIGNED.items() if k != "size"}),
    "no margin": (2, {k: v for k, v in PLAIN.items() if k != "margin"}),
    "four points": (2, _aligned(FACE[:4])),
    "six points": (2, _aligned([*FACE, (1.5, 2.5)])),
    "no points": (2, _aligned(())),
    "points of three numbers": (2, _aligned([(*point, 1.5) for point in FACE])),
    "points of one number": (2, _aligned([point[:1] for point in FACE])),
    "points that are numbers": (2, _aligned(template=[1.5, 2.5, 3.5, 4.5, 5.5])),
    "points that are text": (2, _aligned(template=["12"] * 5)),
    "a template that is an object": (2, _aligned(template={str(i): list(p) for i, p in enumerate(FACE)})),
    "whole points": (2, _aligned([(38, 51), (73, 51), (56, 71), (41, 92), (70, 92)])),
    "a point that is NaN": (2, _aligned([(float("nan"), 51.7), *FACE[1:]])),
    "an endless point": (2, _aligned([(float("inf"), 51.7), *FACE[1:]])),
    "a point of 1e300": (2, _aligned([(1e300, 51.7), *FACE[1:]])),
    "a point far from the picture": (2, _aligned([(224.5, 51.7), *FACE[1:]])),
    "a point far before the picture": (2, _aligned([(-112.5, 51.7), *FACE[1:]])),
    "points on one line": (2, _aligned([(10.0 * i + 5, 20.0 * i + 3) for i in range(5)])),
    "points nearly on one line": (2, _aligned([(50 + 0.01 * i * i, 20.0 * i + 3) for i in range(5)])),
    "points on a row": (2, _aligned([(10.0 * i + 5, 50.0) for i in range(5)])),
    "points on one spot": (2, _aligned([(56.0, 56.0)] * 5)),
    "a size of 0": (2, _aligned(size=0)),
    "a size of 7": (2, _aligned([(x / 16, y / 16) for x, y in FACE], size=7)),
    "a size of 4097": (2, _aligned(size=4097)),
    "a size of 1e300": (2, _aligned(size=1e300)),
    "a size below 0": (2, _aligned(size=-112)),
    "a size that is 112.0": (2, _aligned(size=112.0)),
    "a size that is text": (2, _aligned(size="112")),
    "a size that is true": (2, _aligned(size=True)),
    "two sizes": (2, _aligned(size=[112, 112])),
    "a template of half the size": (2, _aligned([(x * 3, y * 3) for x, y in FACE])),
}
"""What is no crop, or not one of that version."""


def with_crop(text: str, version: Any, crop: Any) -> bytes:
    """The contract ``text`` with another version and crop, and the hash that its interface then has."""
    contract = json.loads(text)
    contract["contract_version"], contract["interface"]["crop"] = version, crop
    canonical = json.dumps(
        contract["interface"], sort_keys=True, separators=(",", ":"), ensure_ascii=False
    )  # as canonical_json, of what is no number too
    contract["interface_sha256"] = hashlib.sha256(canonical.encode()).hexdigest()
    return json.dumps(contract).encode()


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
