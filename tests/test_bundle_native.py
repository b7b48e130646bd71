"""Every way a bundle can be damaged, met by the C++ loader: one clear error naming file and fault."""

from __future__ import annotations

import hashlib
import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundle_faults import BAD_CROPS, GOOD_CROPS, with_crop
from random_bundles import random_bundle, random_parameters
from safetensors.numpy import load_file, save_file

from ssr_bundle.bundle import seal
from ssr_bundle.contract import Architecture, Contract, canonical_json
from ssr_bundle.errors import SsrError
from ssr_ops.engine import Engine

ARCHITECTURE = Architecture(stages=(2,), width_x=4, width_s=4, width_fusion=2)


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_bundle(tmp_path_factory.mktemp("pristine") / "bundle", ARCHITECTURE).path


@pytest.fixture
def bundle(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "bundle"))


def edit_contract(folder: Path, change: Callable[[dict[str, Any]], object], rehash: bool = False) -> None:
    path = folder / "contract.json"
    contract = json.loads(path.read_text())
    change(contract)
    if rehash:
        text = canonical_json(contract["interface"])
        contract["interface_sha256"] = hashlib.sha256(text.encode()).hexdigest()
    path.write_text(json.dumps(contract))


def set_in(*keys: Any, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(contract: dict[str, Any]) -> None:
        for key in keys[:-1]:
            contract = contract[key]
        contract[keys[-1]] = value

    return change


def edit_tensors(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")
    reseal(folder)


def edit_bytes(folder: Path, change: Callable[[bytes], bytes]) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(change(path.read_bytes()))
    reseal(folder)


def reseal(folder: Path) -> None:
    seal(folder, Contract.loads((folder / "contract.json").read_text()))


def edit_header(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    def rewrite(content: bytes) -> bytes:
        (size,) = struct.unpack("<Q", content[:8])
        header = json.loads(content[8 : 8 + size])
        change(header)
        text = json.dumps(header).encode()
        return struct.pack("<Q", len(text)) + text + content[8 + size :]

    edit_bytes(folder, rewrite)


def refused(folder: Path, message: str) -> None:
    with pytest.raises(SsrError, match=message) as caught:
        Engine(folder)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)


def test_pristine_loads(bundle: Path) -> None:
    assert Engine(bundle).stages == (2,)


def test_no_folder(tmp_path: Path) -> None:
    refused(tmp_path / "nothing", "no contract.json in it, expected a bundle folder")


def test_folder_is_a_file(bundle: Path) -> None:
    with pytest.raises(SsrError, match=r"no contract\.json in it"):
        Engine(bundle / "model.safetensors")


def test_contract_is_a_folder(bundle: Path) -> None:
    (bundle / "contract.json").unlink()
    (bundle / "contract.json").mkdir()
    refused(bundle, "contract.json")


@pytest.mark.parametrize("name", ["model.safetensors", "golden.safetensors"])
def test_missing_file(bundle: Path, name: str) -> None:
    (bundle / name).unlink()
    refused(bundle, f"{name}: missing, but the contract lists it")


@pytest.mark.parametrize("name", ["model.safetensors", "golden.safetensors"])
def test_truncated_file(bundle: Path, name: str) -> None:
    content = (bundle / name).read_bytes()
    (bundle / name).write_bytes(content[:-5])
    refused(bundle, f"{name}: {len(content) - 5} bytes, the contract says {len(content)}: truncated")


@pytest.mark.parametrize("name", ["model.safetensors", "golden.safetensors"])
def test_altered_file(bundle: Path, name: str) -> None:
    content = bytearray((bundle / name).read_bytes())
    content[-3] ^= 1
    (bundle / name).write_bytes(bytes(content))
    refused(bundle, rf"{name}: sha256 [0-9a-f]{{64}}, the contract says [0-9a-f]{{64}}: altered")


@pytest.mark.parametrize("size", [0, 1, 55, 56, 63, 64, 65, 119, 120, 128, 1000])
def test_sha256_of_every_padding(bundle: Path, size: int) -> None:
    (bundle / "extra.bin").write_bytes(bytes(range(256)) * 4)
    (bundle / "extra.bin").write_bytes((bundle / "extra.bin").read_bytes()[:size])
    reseal(bundle)
    assert Engine(bundle).stages == (2,)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe{}", b"null", b'{"contract_version": NaN}'])
def test_contract_is_not_one(bundle: Path, content: bytes) -> None:
    (bundle / "contract.json").write_bytes(content)
    refused(bundle, r"contract\.json: (not JSON|contract: expected an object)")


CONTRACT_FAULTS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "version": (set_in("contract_version", value=3), "contract_version 3 is unknown, expected 1 or 2"),
    "version of the crop": (set_in("contract_version", value=2), "this interface.crop is one of version 1"),
    "version text": (set_in("contract_version", value="1"), 'contract_version "1" is unknown'),
    "no version": (lambda c: c.pop("contract_version"), "'contract_version' is missing"),
    "no interface": (lambda c: c.pop("interface"), "'interface' is missing"),
    "hash": (
        set_in("interface_sha256", value="0" * 64),
        "interface_sha256 is 0{64}, but the",
    ),
    "edited interface": (set_in("interface", "input", "colour", value="rgb"), "but the interface hashes to"),
    "name": (set_in("name", value="../up"), "cannot name a model"),
    "no stages": (set_in("architecture", "stages", value=[]), "0 stages; this network has levels for 1 to 4"),
    "stages": (set_in("architecture", "stages", value=[3] * 5), "5 stages"),
    "bins": (set_in("architecture", "stages", value=[257]), r"expected a whole number in 1\.\.256, got 257"),
    "bins text": (set_in("architecture", "stages", value=["3"]), "expected a whole number"),
    "taps": (set_in("architecture", "taps", value=[{"level": 1, "pool": 8}]), "architecture.taps"),
    "width": (
        set_in("architecture", "widths", "x", value=0),
        r"widths\.x: expected .* in 1\.\.512",
    ),
    "range": (set_in("architecture", "value_range", value=-1), "value_range: must be positive"),
    "floor": (set_in("architecture", "denominator_floor", value=0), "denominator_floor: must be positive"),
    "lambda": (set_in("architecture", "lambda_width", value=1.5), r"lambda_width: must lie in 0\.\.1"),
    "files": (lambda c: c["files"].pop("model.safetensors"), "model.safetensors is not listed"),
    "path": (
        set_in("files", "../x", value={"sha256": "0" * 64, "bytes": 1}),
        "is not a plain file name",
    ),
    "digest": (set_in("files", "model.safetensors", "sha256", value="zz"), "expected 64 hexadecimal digits"),
    "size": (
        set_in("files", "model.safetensors", "bytes", value=-1),
        "expected a size of at most 1073741824, got -1",
    ),
    "interval": (
        set_in("interval", value={"coverage": 0.9, "edges": [2, 1], "half_widths": [1, 1, 1]}),
        "edges must rise",
    ),
    "interval length": (
        set_in("interval", value={"coverage": 0.9, "edges": [1], "half_widths": [1]}),
        "one half-width",
    ),
    "quantization": (set_in("quantization", value=3), "quantization: expected an object"),
}


@pytest.mark.parametrize("fault", CONTRACT_FAULTS)
def test_contract_faults(bundle: Path, fault: str) -> None:
    change, message = CONTRACT_FAULTS[fault]
    edit_contract(bundle, change)
    refused(bundle, rf"contract\.json: .*{message}")


INTERFACE_FAULTS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "size": (
        set_in("interface", "input", "size", value=[32, 32]),
        r"size: \[32,32\] is not supported",
    ),
    "colour": (
        set_in("interface", "input", "colour", value="hsv"),
        "'hsv' is unknown, expected one of bgr",
    ),
    "output": (set_in("interface", "output", "name", value="a b"), "'a b' cannot name a tensor"),
    "clip": (set_in("interface", "output", "clip", value=[5, 5]), "expected two rising numbers"),
    "infinite clip": (
        set_in("interface", "output", "clip", value=[1e39, 1e40]),
        "two rising numbers of float32",
    ),
    "narrow clip": (
        set_in("interface", "output", "clip", value=[0.1, 0.1000000001]),
        "rising numbers of float32",
    ),
    "margin": (set_in("interface", "crop", "margin", value=[0.4]), "expected two numbers"),
    "foreign key": (set_in("interface", "crop", "tilt", value=1), "no other keys"),
    "integer clip": (set_in("interface", "output", "clip", value=[0, 101]), "numbers written the same way"),
}


@pytest.mark.parametrize("fault", INTERFACE_FAULTS)
def test_interface_faults(bundle: Path, fault: str) -> None:
    change, message = INTERFACE_FAULTS[fault]
    edit_contract(bundle, change, rehash=True)
    refused(bundle, rf"contract\.json: interface.*{message}")


CROP_FAULTS = {
    "aligned as version 3": "contract_version 3 is unknown, expected 1 or 2",
    "aligned as version 1": r"contract_version 1: this interface\.crop is one of version 2",
    "two margins as version 2": r"contract_version 2: this interface\.crop is one of version 1",
    "four margins that two can say": "no other keys, numbers written the same way",
    "two margins, replicated": "no other keys, numbers written the same way",
    "a margin beside a template": "no other keys, numbers written the same way",
    "three margins": r"crop\.margin: expected two numbers in 0\.\.4 \(version 1\), or four in -0\.9\.\.4",
    "a margin of 1e9": r"crop\.margin: expected two numbers in 0\.\.4 \(version 1\), or four in -0\.9\.\.4",
    "a margin that is NaN": "not JSON",
    "margins that leave nothing of the width": "leaves less than 0.1 of a box's width or height",
    "four points": r"crop\.template: expected five points",
    "points of three numbers": r"crop\.template: expected points as two numbers",
    "points on one line": r"crop\.template: the five points lie on one line",
    "points on one spot": r"crop\.template: the five points lie on one line",
    "a size of 7": r"crop\.size: expected a whole number in 8\.\.4096, got 7",
    "a size that is 112.0": r"crop\.size: expected a whole number",
    "aligned and clipped": r"crop\.border: an aligned crop cannot be clipped",
    "no template": "'template' is missing",
}


@pytest.mark.parametrize("what", CROP_FAULTS)
def test_crop_faults(bundle: Path, what: str) -> None:
    path = bundle / "contract.json"
    path.write_bytes(with_crop(path.read_text(), *BAD_CROPS[what]))
    refused(bundle, rf"contract\.json: .*{CROP_FAULTS[what]}")


@pytest.mark.parametrize("what", GOOD_CROPS)
def test_crops_of_both_versions_have_one_hash(bundle: Path, what: str) -> None:
    path = bundle / "contract.json"
    path.write_bytes(with_crop(path.read_text(), *GOOD_CROPS[what]))
    assert Engine(bundle).interface_sha256 == Contract.loads(path.read_text()).interface.sha256


def write_numbers(folder: Path, clip: list[str], margin: list[str], unit: str = "years") -> str:
    """These numbers, digit for digit, in the contract, and the hash of what it then says."""
    path = folder / "contract.json"
    contract = json.loads(path.read_text())
    contract["interface"]["crop"]["margin"] = ["@0", "@1"]
    contract["interface"]["output"] |= {"clip": ["@2", "@3"], "unit": unit}
    contract["interface_sha256"] = "@4"

    def filled(text: str, *values: str) -> str:
        for i, value in enumerate(values):
            text = text.replace(f'"@{i}"', value)
        return text

    numbers = [*margin, *clip]
    sha256 = hashlib.sha256(filled(canonical_json(contract["interface"]), *numbers).encode()).hexdigest()
    path.write_text(filled(json.dumps(contract), *numbers, json.dumps(sha256)))
    return sha256


def python_refuses(folder: Path, message: str) -> None:
    with pytest.raises(SsrError, match=message):
        Contract.loads((folder / "contract.json").read_text())


MARGINS = [
    0.4,
    0.0,
    -0.0,
    1e-05,
    1e-07,
    0.1 + 0.2,
    1 / 3,
    4.0,
    5e-324,
    0.0001,
    9.999999999999999e-05,
    0.00015,
]
CLIPS = [-1e16, 9999999999999998.0, 1e15, 1.2345678901234567e20, 123456789012345.67, 1e22, 0.0001, -2.5e-09]


@pytest.mark.parametrize("margin", MARGINS)
def test_interface_hash_writes_numbers_as_python(bundle: Path, margin: float) -> None:
    unit = 'years "é" \\ \u0001\n/\u007f€😀'
    sha256 = write_numbers(bundle, ["-1e+16", "1.2345678901234567e+20"], [repr(margin), "1.5"], unit)
    assert Engine(bundle).interface_sha256 == sha256
    assert Contract.loads((bundle / "contract.json").read_text()).interface.sha256 == sha256


@pytest.mark.parametrize("clip", CLIPS)
def test_interface_hash_of_large_and_small_clips(bundle: Path, clip: float) -> None:
    sha256 = write_numbers(bundle, sorted([repr(clip), "1e+30"], key=float), ["0.4", "0.4"])
    assert Engine(bundle).interface_sha256 == sha256
    assert Contract.loads((bundle / "contract.json").read_text()).interface.sha256 == sha256


OTHER_TEXTS = [
    ("margin", "0.40 4e-1 4e-01 4E-01 0.40000000000000002 40e-2 00.4 1 1e0 1.0e0 0.00001 1e-5 1E-05 1e-04"),
    ("margin", "0.10e-04 0 -0 0e0 -0.00 0.3333333333333333333"),
    (
        "clip",
        "1e16 1E+16 1e+15 10000000000000000.0 10000000000000000 1.0e+16 1e+016 101 101.00 1.01e2 1.01e+02",
    ),
    ("clip", "12345678901234567890 123456789012345680000.0"),
]


@pytest.mark.parametrize(
    ("place", "text"), [(place, t) for place, texts in OTHER_TEXTS for t in texts.split()]
)
@pytest.mark.parametrize("hashed", [False, True])
def test_interface_numbers_are_written_one_way(bundle: Path, place: str, text: str, hashed: bool) -> None:
    """Python writes 0.4; another text of the same number is refused, also with a hash of its own."""

    def write(number: str) -> str:
        if place == "margin":
            return write_numbers(bundle, ["-1.0", "1.2345e+20"], ["0.4", number])
        return write_numbers(bundle, ["-1.0", number], ["0.4", "0.4"])

    sha256 = write(repr(float(text)))
    assert Engine(bundle).interface_sha256 == sha256
    own = write(text)
    if not hashed:
        path = bundle / "contract.json"
        path.write_text(path.read_text().replace(own, sha256))
    python_refuses(bundle, r"not JSON|numbers written the same way")
    refused(bundle, r"not JSON|numbers written the same way")


def test_numbers_outside_the_interface_are_written_in_any_way(bundle: Path) -> None:
    """Also where another key of this name, or a string that looks like one, stands elsewhere."""
    path = bundle / "contract.json"
    other = '"a": {"interface": {"b": 1e0}}, "c": "\\"interface\\": {-1.50,", "interface": [2.50]'
    text = path.read_text().replace('"provenance": {', f'"provenance": {{"d": 0.40, {other}, ', 1)
    assert '"value_range": 101.0,' in text
    path.write_text(text.replace('"value_range": 101.0,', '"value_range": 1.010e2,'))
    assert Engine(bundle).interface_sha256 == Contract.loads(path.read_text()).interface.sha256


@pytest.mark.parametrize("key", ["interface", r"\u0069nterface"])
def test_an_interface_that_stands_twice_is_refused(bundle: Path, key: str) -> None:
    """Parsers differ on which of two counts."""
    path = bundle / "contract.json"
    contract = json.loads(path.read_text())
    again = f', "{key}" : {json.dumps(contract["interface"])}}}'
    path.write_text(json.dumps(contract)[:-1] + again)
    python_refuses(bundle, "the key 'interface' stands twice in one object")
    refused(bundle, 'the key "interface" stands twice in one object')


def test_missing_tensor(bundle: Path) -> None:
    edit_tensors(bundle, lambda t: t.pop("stages.0.mix.bias"))
    refused(bundle, r"model\.safetensors: stages\.0\.mix\.bias is missing")


def test_foreign_tensor(bundle: Path) -> None:
    edit_tensors(bundle, lambda t: t.update(extra=np.zeros(3, np.float32)))
    refused(bundle, r"model\.safetensors: extra does not belong to this network")


def test_wrong_shape(bundle: Path) -> None:
    edit_tensors(bundle, lambda t: t.update({"x.0.conv.bias": np.zeros(5, np.float32)}))
    refused(bundle, r"x\.0\.conv\.bias has shape \(5\), expected \(4\)")


def test_wrong_dtype(bundle: Path) -> None:
    edit_tensors(bundle, lambda t: t.update({"x.0.conv.bias": np.zeros(4, np.float64)}))
    refused(bundle, r'x\.0\.conv\.bias has dtype "F64", expected "F32"')


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["x.2.conv.weight", "s.1.norm.running_var", "stages.0.eta.bias"])
def test_weights_that_are_not_numbers(bundle: Path, name: str, value: float) -> None:
    def change(tensors: dict[str, Any]) -> None:
        tensors[name].flat[-1] = value

    edit_tensors(bundle, change)
    refused(bundle, f"model.safetensors: {name} holds NaN or infinite values")


def test_negative_variance(bundle: Path) -> None:
    edit_tensors(bundle, lambda t: t["s.3.norm.running_var"].__setitem__(0, -1e-6))
    refused(bundle, r"s\.3\.norm\.running_var holds a negative variance")


def test_weights_that_overflow(bundle: Path) -> None:
    def change(tensors: dict[str, Any]) -> None:
        tensors["x.1.conv.weight"][...] = 3e38

    edit_tensors(bundle, change)
    with pytest.raises(SsrError, match=r"the weights of x\.1 are so large"):
        Engine(bundle)


def test_weights_that_overflow_behind_a_dead_block(bundle: Path) -> None:
    """Infinite weights times a block whose outputs are all 0 are NaN, which nothing after it would show."""

    def change(tensors: dict[str, Any]) -> None:
        for name in ("weight", "bias"):
            tensors[f"x.0.norm.{name}"][...] = 0
        tensors["x.1.conv.weight"][...] = 1e30
        tensors["x.1.norm.weight"][...] = 1e30

    edit_tensors(bundle, change)
    with pytest.raises(SsrError, match=r"the weights of x\.1 are so large"):
        Engine(bundle)


def first(header: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = header["s.0.conv.bias"]
    return found


HEADER_FAULTS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "overlap": (
        lambda h: first(h).update(data_offsets=h["s.0.conv.weight"]["data_offsets"][:1] * 2, shape=[0]),
        "a hole|overlapping",
    ),
    "shifted": (
        lambda h: first(h).update(data_offsets=[v + 4 for v in first(h)["data_offsets"]]),
        "a hole|overlapping",
    ),
    "outside": (lambda h: first(h).update(data_offsets=[0, 1 << 40]), "lie outside"),
    "backwards": (lambda h: first(h).update(data_offsets=[16, 0]), "lie outside"),
    "negative": (lambda h: first(h).update(data_offsets=[-16, 0]), r"expected \[begin, end\]"),
    "one offset": (lambda h: first(h).update(data_offsets=[0]), r"expected \[begin, end\]"),
    "size": (lambda h: first(h).update(shape=[3]), "its shape needs 12"),
    "overflow": (lambda h: first(h).update(shape=[1 << 33, 1 << 33]), "does not fit the file"),
    "shape": (lambda h: first(h).update(shape="4"), "is not a shape"),
    "negative shape": (lambda h: first(h).update(shape=[-4]), "does not fit the file"),
    "dtype": (lambda h: first(h).update(dtype=7), "has dtype 7"),
    "no dtype": (lambda h: first(h).pop("dtype"), "must have dtype, shape and data_offsets"),
    "not an object": (lambda h: h.update({"s.0.conv.bias": 3}), "must have dtype"),
}


@pytest.mark.parametrize("fault", HEADER_FAULTS)
def test_header_faults(bundle: Path, fault: str) -> None:
    change, message = HEADER_FAULTS[fault]
    edit_header(bundle, change)
    refused(bundle, rf"model\.safetensors: .*({message})")


BYTE_FAULTS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda b: b"", "shorter than its header length"),
    "short": (lambda b: b[:7], "shorter than its header length"),
    "huge header": (lambda b: b"\xff" * 8 + b[8:], "a header of 18446744073709551615 bytes"),
    "no JSON": (lambda b: b[:8] + b"x" + b[9:], "the header is not a JSON object"),
    "array": (lambda b: struct.pack("<Q", 2) + b"[]", "the header is not a JSON object"),
    "no tensors": (lambda b: struct.pack("<Q", 2) + b"{}", "is missing"),
    "trailing": (lambda b: b + b"1234", "4 bytes after the last tensor"),
    "header only": (lambda b: b[: 8 + struct.unpack("<Q", b[:8])[0]], "does not fit the file|lie outside"),
}


@pytest.mark.parametrize("fault", BYTE_FAULTS)
def test_byte_faults(bundle: Path, fault: str) -> None:
    change, message = BYTE_FAULTS[fault]
    edit_bytes(bundle, change)
    refused(bundle, rf"model\.safetensors: .*({message})")


def test_random_damage_never_crashes(bundle: Path) -> None:
    """400 resealed mutations of the header: each loads or is refused, none crashes."""
    original = (bundle / "model.safetensors").read_bytes()
    rng = np.random.default_rng(7)
    (size,) = struct.unpack("<Q", original[:8])
    refusals = 0
    for _ in range(400):
        damaged = bytearray(original)
        for where in rng.integers(0, 8 + size, rng.integers(1, 4)):
            damaged[where] = rng.integers(0, 256)
        edit_bytes(bundle, lambda _, content=bytes(damaged): content)  # type: ignore[misc]
        try:
            Engine(bundle)
        except SsrError:
            refusals += 1
    assert refusals > 300


def test_parameters_of_another_architecture(bundle: Path) -> None:
    foreign = random_parameters(Architecture(stages=(2,), width_x=8, width_s=4, width_fusion=2))
    edit_tensors(bundle, lambda t: t.update(foreign))
    refused(bundle, r"has shape .*, expected")


def test_hostile_nesting_is_refused(bundle: Path) -> None:
    """What walks a contract recurses: a bundle must not be able to end the process."""
    contract = bundle / "contract.json"
    nested = '"interface": {"deep": ' + "[" * 10**6 + "]" * 10**6 + ","
    contract.write_text(contract.read_text().replace('"interface": {', nested, 1))
    with pytest.raises(SsrError, match="nested more than 32 deep"):
        Engine(bundle)
