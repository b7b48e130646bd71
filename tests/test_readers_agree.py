"""Python and the C++ core accept the same contracts and the same safetensors files, and refuse the same."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import struct
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from bundle_faults import (
    ALIGNED,
    BAD_CROPS,
    FACE,
    GOOD_CROPS,
    NOT_FILES,
    Edit,
    changed,
    edits_of,
    refusal_in_cpp,
    refusal_in_python,
    texts_of,
    with_crop,
    within,
)
from random_bundles import random_parameters, random_quantization

from ssr_bundle.alignment import is_line
from ssr_bundle.bundle import MODEL_FILE, hash_file
from ssr_bundle.contract import FIRST_BLOCKS, Architecture, Contract, Interface, Interval, convolution_widths
from ssr_ops.golden import write_bundle
from ssr_ops.shipped import default_bundle

ALL = os.environ.get("SSR_ALL_EDITS") == "1"
"""Whether all 27,000 edits are tried (two minutes), or a part that meets every place and every value."""

ARCHITECTURE = Architecture(stages=(2,), width_x=3, width_s=3, width_fusion=1)
PROVENANCE = {
    "command": "ssr-train fit",
    "data": "drawn",
    "data_sha256": None,
    "metrics": {"val_mae": 4.5, "unit": "years"},
    "source": "a test",
    "synthetic": True,
}


def nothing_rounded_up() -> dict[str, str]:
    shapes = ARCHITECTURE.parameter_shapes()
    weights = {
        name: math.prod(shapes.get(f"{name}.conv.weight") or shapes[f"{name}.weight"])
        for name in convolution_widths(ARCHITECTURE)
        if name not in FIRST_BLOCKS
    }
    return {name: "00" * ((count + 7) // 8) for name, count in weights.items()}


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small bundle whose contract leaves nothing out."""
    contract = Contract(
        name="full",
        interface=Interface(),
        architecture=ARCHITECTURE,
        provenance=PROVENANCE,
        quantization=replace(random_quantization(ARCHITECTURE), rounding=nothing_rounded_up()),
        interval=Interval(0.9, (20.0, 60.0), (4.0, 6.5, 8.0)),
    )
    folder = tmp_path_factory.mktemp("full") / "bundle"
    return write_bundle(folder, contract, random_parameters(ARCHITECTURE)).path


@pytest.fixture(scope="module")
def default(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(default_bundle(), tmp_path_factory.mktemp("default") / "bundle"))


def check(folder: Path, edits: Iterable[Edit], write: Callable[[bytes], object]) -> tuple[int, int]:
    """How many of ``edits`` both readers accept and refuse; a failure where they differ."""
    wrong, count = [], [0, 0]
    for edit in edits:
        write(edit.text)
        python, cpp = refusal_in_python(folder), refusal_in_cpp(folder)
        count[python is not None] += 1
        if (python is None) != (cpp is None) or edit.accepted not in (None, python is None):
            wrong.append(f"{edit.what}: Python: {python}; C++: {cpp}; expected: {edit.accepted}")
        for told in filter(None, (python, cpp)):
            if len(told) > 2500 or "\n" in told:
                wrong.append(f"{edit.what}: a message of {len(told)} characters: {told[:300]}")
    assert not wrong, "\n".join([f"{len(wrong)} of {sum(count)}", *wrong[:40]])
    return count[0], count[1]


def check_contracts(folder: Path, edits: Iterable[Edit]) -> tuple[int, int]:
    path = folder / "contract.json"
    before = path.read_bytes()
    try:
        return check(folder, edits, path.write_bytes)
    finally:
        path.write_bytes(before)


def write_header(folder: Path, header: bytes, data: bytes) -> None:
    """``model.safetensors`` of these parts, pinned in the contract as it is."""
    path = folder / MODEL_FILE
    path.write_bytes(struct.pack("<Q", len(header)) + header + data)
    contract = Contract.loads((folder / "contract.json").read_text())
    (folder / "contract.json").write_text(
        contract.with_files({**contract.files, MODEL_FILE: hash_file(path)}).dumps()
    )


LISTED: dict[str, tuple[tuple[Any, ...], str, bool]] = {
    "a version that is true": (("contract_version",), "true", False),
    "a version that is 1.0": (("contract_version",), "1.0", False),
    "a name that is a number": (("name",), "7", False),
    "a unit that is NaN": (("interface", "output", "unit"), "NaN", False),
    "a unit that is a number": (("interface", "output", "unit"), "3", False),
    "a pool that is true": (("architecture", "taps", 0, "pool"), "true", False),
    "a level that is 4.0": (("architecture", "taps", 0, "level"), "4.0", False),
    "a range beyond float32": (("architecture", "value_range"), "1e300", False),
    "NaN in provenance": (("provenance", "note"), "NaN", False),
    "too large a number in provenance": (("provenance", "note"), "1e400", False),
    "too long a number in provenance": (("provenance", "note"), "1" * 5000, False),
    "half a character in provenance": (("provenance", "note"), r'"\ud800"', False),
    "a key twice in provenance": (("provenance", "note"), '{"a": 1, "a": 1}', False),
    "anything else in provenance": (
        ("provenance", "note"),
        '[1e308, {"é": "\\ud83d\\ude00\\u0000"}, -0]',
        True,
    ),
    "metrics that are a list": (("provenance", "metrics"), "[1]", False),
    "data that is a list": (("provenance", "data"), "[1]", False),
    "a hash that is null": (("provenance", "data_sha256"), "null", True),
    "drawn faces, said in words": (("provenance", "synthetic"), '"no"', False),
    "a foreign layer": (("quantization", "ranges", "x.4"), "1.0", False),
    "a foreign precision": (("quantization", "bias_correction", "int4"), "{}", False),
    "a calibration that is a list": (("quantization", "calibration"), "[]", False),
    "a bit too many": (("quantization", "rounding", "s.1"), json.dumps("00" * 10 + "01"), False),
    "the last bit": (("quantization", "rounding", "s.1"), json.dumps("00" * 10 + "80"), True),
    "edges that rise in no float": (("interval", "edges"), "[9007199254740992, 9007199254740993]", False),
    "whole edges": (("interval", "edges"), "[1, 2]", True),
    "a file without a name": (("files", ""), json.dumps({"sha256": "0" * 64, "bytes": 0}), False),
    "a file of a control character": (
        ("files", "a\x1b"),
        json.dumps({"sha256": "0" * 64, "bytes": 0}),
        False,
    ),
    "a file of too long a name": (("files", "a" * 256), json.dumps({"sha256": "0" * 64, "bytes": 0}), False),
    "a file of terabytes": (("files", "a"), json.dumps({"sha256": "0" * 64, "bytes": 1 << 42}), False),
    "a file of no size that fits": (
        ("files", "a"),
        json.dumps({"sha256": "0" * 64, "bytes": 1 << 64}),
        False,
    ),
    "a foreign key": (("foreign",), '{"a": [1.5, null]}', True),
    "another way to write a number": (("architecture", "value_range"), "1.010e2", True),
    "32 brackets": (("provenance", "note"), "[" * 30 + "]" * 30, True),
    "33 brackets": (("provenance", "note"), "[" * 31 + "]" * 31, False),
}


def test_listed_contracts(full: Path) -> None:
    text = (full / "contract.json").read_text()
    edits = [
        Edit(what, changed(text, place, value), accepted) for what, (place, value, accepted) in LISTED.items()
    ]
    check_contracts(full, edits)


def test_listed_crops(full: Path) -> None:
    """Each with the hash of what it says, so that nothing but the crop and its version is judged."""
    text = (full / "contract.json").read_text()
    edits = [Edit(f"good: {what}", with_crop(text, *crop), True) for what, crop in GOOD_CROPS.items()]
    edits += [Edit(f"bad: {what}", with_crop(text, *crop), False) for what, crop in BAD_CROPS.items()]
    assert check_contracts(full, edits) == (len(GOOD_CROPS), len(BAD_CROPS))


@pytest.mark.parametrize("turn", [0.0, 0.4, 1.3])
def test_points_that_are_just_a_line(full: Path, turn: float) -> None:
    """Where the rule turns from one verdict to the other, all numbers around it are judged alike."""

    def narrow(width: float) -> list[tuple[float, float]]:
        c, s = math.cos(turn), math.sin(turn)
        moved = [((x - 56) * width, y - 70) for x, y in FACE]
        return [(56 + c * x - s * y, 70 + s * x + c * y) for x, y in moved]

    low, high = 0.001, 1.0
    while math.nextafter(low, high) < high:
        middle = (low + high) / 2
        low, high = (middle, high) if is_line(narrow(middle)) else (low, middle)
    text = (full / "contract.json").read_text()
    widths = [high]
    for _ in range(30):
        widths = [math.nextafter(widths[0], 0), *widths, math.nextafter(widths[-1], 1)]
    crops = [(width, {**ALIGNED, "template": [list(p) for p in narrow(width)]}) for width in widths]
    edits = [Edit(f"{w!r}", with_crop(text, 2, crop), not is_line(narrow(w))) for w, crop in crops]
    accepted, refused = check_contracts(full, edits)
    assert accepted > 0
    assert refused > 0


@pytest.mark.parametrize("what", GOOD_CROPS)
def test_a_crop_is_written_as_it_is_read(full: Path, what: str) -> None:
    version, crop = GOOD_CROPS[what]
    text = with_crop((full / "contract.json").read_text(), version, crop).decode()
    contract = Contract.loads(text)
    assert contract.interface.crop.to_json() == crop
    assert json.loads(contract.dumps()) == json.loads(text)
    assert Contract.loads(contract.dumps()) == contract


@pytest.mark.parametrize("sealed", [False, True], ids=["", "sealed"])
@pytest.mark.parametrize("what", ["aligned", "four margins, some negative"])
def test_single_edits_of_a_contract_of_version_2(full: Path, what: str, sealed: bool) -> None:
    text = with_crop((full / "contract.json").read_text(), *GOOD_CROPS[what]).decode()
    every = 1 if ALL else 5 if sealed else 29
    edits = (
        e for e in edits_of(text, sealed, every) if not sealed or e.what.startswith("('interface', 'crop")
    )
    accepted, refused = check_contracts(full, edits)
    assert accepted > (0 if sealed else 20)
    assert refused > 80


@pytest.mark.parametrize("what", ["a size", "a point", "a margin", "a version"])
def test_other_texts_of_a_number_of_version_2(full: Path, what: str) -> None:
    """A number is written one way, the one that Python writes."""
    crop = {"a margin": "four margins, some negative"}.get(what, "aligned")
    text = with_crop((full / "contract.json").read_text(), *GOOD_CROPS[crop]).decode()
    old, others = {
        "a size": ('"size": 112', ["112.0", "1.12e2", "0112", "1120e-1"]),
        "a point": ("38.29", ["38.290", "3.829e1", "38.28999999999999999"]),
        "a margin": ("-0.15", ["-0.150", "-15e-2", "-.15"]),
        "a version": ('"contract_version": 2', ["2.0", "2e0", '"2"', "02", "true", "1", "3", "null", "[2]"]),
    }[what]
    assert text.count(old) == 1
    key = old.rpartition(" ")[0]
    edits = [Edit(other, text.replace(old, f"{key} {other}".strip()).encode(), False) for other in others]
    check_contracts(full, edits)


@pytest.mark.parametrize("name", ["full", "default"])
def test_contracts_in_other_texts(name: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(name)
    accepted, _ = check_contracts(folder, texts_of((folder / "contract.json").read_text()))
    assert accepted > 4


@pytest.mark.parametrize("sealed", [False, True], ids=["", "sealed"])
def test_single_edits_of_a_contract(full: Path, sealed: bool) -> None:
    """Some thousand contracts of which one thing is another. ``sealed``: with the hash of what they say."""
    text = (full / "contract.json").read_text()
    every = 1 if ALL or sealed else 3
    edits = (e for e in edits_of(text, sealed, every) if not sealed or e.what.startswith("('interface'"))
    accepted, refused = check_contracts(full, edits)
    assert accepted > (20 if sealed else 100)
    assert refused > (1000 if sealed else 2000)


def test_single_edits_of_the_shipped_contract(default: Path) -> None:
    """Few, for each reads the whole bundle, and its contract has the fields of the small one."""
    edits = edits_of((default / "contract.json").read_text(), every=1 if ALL else 37)
    accepted, refused = check_contracts(default, edits)
    assert accepted > 30
    assert refused > 200


@pytest.mark.parametrize("name", ["contract.json", MODEL_FILE, "golden.safetensors"])
@pytest.mark.parametrize("what", NOT_FILES)
def test_what_is_no_file_is_refused_at_once(full: Path, tmp_path: Path, what: str, name: str) -> None:
    folder = Path(shutil.copytree(full, tmp_path / "bundle"))
    (folder / name).unlink()
    make, message = NOT_FILES[what]
    make(folder / name)
    for reader in (refusal_in_python, refusal_in_cpp):
        told = within(20, lambda reader=reader: reader(folder))  # type: ignore[misc]
        assert told is not None
        assert re.search(f"{folder / name}: ({message})", told, re.IGNORECASE), told
        assert "\n" not in told


def test_links_to_files_are_followed(full: Path, tmp_path: Path) -> None:
    for file in full.iterdir():
        (tmp_path / file.name).symlink_to(file)
    assert (refusal_in_python(tmp_path), refusal_in_cpp(tmp_path)) == (None, None)


def test_names_that_cannot_be(full: Path, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    for place, message in (
        (tmp_path / "loop", "too many levels of symbolic links"),
        (tmp_path / ("a" * 300), "file name too long"),
        (tmp_path / "/".join(["a" * 200] * 30), "file name too long"),
    ):
        for reader in (refusal_in_python, refusal_in_cpp):
            assert re.search(message, reader(place) or "", re.IGNORECASE)


def test_single_edits_of_a_safetensors_header(full: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(full, tmp_path / "bundle"))
    content = (folder / MODEL_FILE).read_bytes()
    size = int.from_bytes(content[:8], "little")
    header, data = json.loads(content[8 : 8 + size]), content[8 + size :]
    names = sorted(header, key=lambda name: header[name]["data_offsets"][0])
    few = {name: header[name] for name in (names[0], names[-1])}
    rest = json.dumps({name: header[name] for name in names[1:-1]})[1:-1]

    def whole(edit: Edit) -> Edit:
        """The entries that are left as they are, behind those edited."""
        return replace(edit, text=edit.text[:-1] + b", " + rest.encode() + b"}")

    metadata = {"__metadata__": {"command": "a test"}}
    edits = [*map(whole, edits_of(json.dumps({**metadata, **few})))]
    edits += texts_of(json.dumps({**metadata, **header}))
    accepted, refused = check(folder, edits, lambda header: write_header(folder, header, data))
    assert accepted > 10
    assert refused > 800
