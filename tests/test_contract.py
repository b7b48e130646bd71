"""The contract: one definition, hashed the same everywhere, and every broken one refused by name."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from ssr_bundle.contract import (
    Architecture,
    Contract,
    ContractError,
    Crop,
    File,
    Input,
    Interface,
    Interval,
    Output,
    Tap,
    canonical_json,
)


def example() -> Contract:
    return Contract(
        name="ssrnet",
        interface=Interface(),
        architecture=Architecture(),
        provenance={"source": "a test", "synthetic": True},
        interval=Interval(0.9, (20.0, 60.0), (4.0, 6.5, 8.0)),
        files={"model.safetensors": File("0" * 64, 12)},
    )


def test_round_trip_keeps_everything() -> None:
    assert Contract.loads(example().dumps()) == example()


def test_interface_hash_is_over_canonical_json() -> None:
    # Pinned: the hash travels in served configurations, so it must not move by accident.
    text = canonical_json(Interface().to_json())
    assert text.startswith('{"crop":{"alignment":"none","border":"clip","box":"yunet"')
    assert Interface().sha256 == "b743cdb470e8422066d73443094f50ec2a11c76b6d6b27ad961e4d5a7a7d465b"
    assert Interface(Input(colour="rgb")).sha256 != Interface().sha256
    assert Interface(crop=Crop(margin=(0.4, 0.3))).sha256 != Interface().sha256


@pytest.mark.parametrize(
    ("stages", "taps"),
    [
        ((3,), (Tap(4, 1),)),
        ((3, 3), (Tap(4, 1), Tap(2, 4))),
        ((3, 3, 3), (Tap(4, 1), Tap(2, 4), Tap(1, 8))),
        ((2, 2, 2, 2), (Tap(4, 1), Tap(3, 2), Tap(2, 4), Tap(1, 8))),
    ],
)
def test_taps_follow_from_the_number_of_stages(stages: tuple[int, ...], taps: tuple[Tap, ...]) -> None:
    assert Architecture(stages=stages).taps == taps


def test_head_features_of_the_released_network() -> None:
    assert [Architecture().features(k) for k in range(3)] == [160, 90, 90]


def test_output_follows_from_the_value_range() -> None:
    assert Output.for_value_range(101.0) == Output("age", "years", (0.0, 101.0))
    assert Output.for_value_range(1.0) == Output("male", "probability", (0.0, 1.0))


BROKEN: list[tuple[str, Any, str]] = [
    ("contract_version", 3, "contract_version 3 is unknown"),
    ("name", "a model", "cannot name a model"),
    ("name", "../escape", "cannot name a model"),
    ("interface_sha256", "0" * 64, "but the interface hashes to"),
    ("interface.crop.margin", [0.4, 0.5], "but the interface hashes to"),
    ("interface.crop.margin", [0.4], "expected two numbers"),
    ("interface.crop.extra", 1, "no other keys"),
    ("interface.output.clip", [0, 101], "numbers written the same way"),
    ("interface.crop.interpolation", "area", "'area' is unknown, expected one of bilinear"),
    ("interface.input.colour", "grey", "'grey' is unknown, expected one of bgr, rgb"),
    ("interface.input.scale", 1 / 255, "scale"),
    ("interface.input.size", [128, 128], "expected [64, 64]"),
    ("interface.output.clip", [101, 0], "expected two rising numbers"),
    ("interface.output.clip", [1e39, 1e40], "expected two rising numbers of float32"),
    ("interface.output.clip", [0.1, 0.1000000001], "expected two rising numbers of float32"),
    ("interface.output.name", "the age", "cannot name a tensor"),
    ("architecture.stages", [], "0 stages"),
    ("architecture.stages", [3] * 5, "5 stages"),
    ("architecture.stages", [3, 0, 3], "1..256"),
    ("architecture.stages", "333", "expected a list"),
    ("architecture.value_range", float("inf"), "Infinity is not a number of JSON"),
    ("architecture.value_range", "101", "expected a finite number"),
    ("architecture.value_range", -1, "must be positive"),
    ("architecture.denominator_floor", 0, "must be positive"),
    ("architecture.lambda_width", 2, "must lie in 0..1"),
    ("architecture.taps", [{"level": 1, "pool": 8}], "not this network's layout"),
    ("architecture.widths.x", 0, "1..512"),
    ("interval.coverage", 1.5, "between 0 and 1"),
    ("interval.edges", [60, 20], "must rise"),
    ("interval.half_widths", [1, 2], "one half-width more"),
    ("interval.half_widths", [1, -2, 3], "not negative"),
    ("files.model.safetensors.sha256", "abc", "64 hexadecimal digits"),
    ("files", {"../model.safetensors": {"sha256": "0" * 64, "bytes": 1}}, "not a plain file name"),
]


@pytest.mark.parametrize(("where", "value", "message"), BROKEN)
def test_broken_contracts_are_refused_by_name(where: str, value: Any, message: str) -> None:
    data = copy.deepcopy(example().to_json())
    place, keys = data, where.replace("model.safetensors", "model;safetensors").split(".")
    for key in keys[:-1]:
        place = place[key.replace(";", ".")]
    place[keys[-1].replace(";", ".")] = value
    with pytest.raises(ContractError) as caught:
        Contract.loads(json.dumps(data))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"value_range": 101.0', '"value_range": 1' + "0" * 400, "cannot be represented"),
        ('"unit": "years"', r'"unit": "\ud800"', "cannot be represented|exactly"),
        ('"provenance": {', '"provenance": {"deep": ' + "[" * 40 + "]" * 40 + ",", "more than 32 deep"),
        ('"provenance": {', '"provenance": {"deep": ' + "[" * 10**5 + "]" * 10**5 + ",", "more than 32 deep"),
        ('"denominator_floor": 0.001', '"denominator_floor": 1e-120', "must be at least 1e-06"),
    ],
)
def test_hostile_values_are_refused(old: str, new: str, message: str) -> None:
    text = example().dumps()
    assert old in text
    with pytest.raises(ContractError, match=message):
        Contract.loads(text.replace(old, new, 1))


@pytest.mark.parametrize("key", sorted(example().to_json()))
def test_a_missing_key_is_named(key: str) -> None:
    data = example().to_json()
    del data[key]
    with pytest.raises(ContractError, match=f"'{key}' is missing"):
        Contract.loads(json.dumps(data))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"text"', "{}"])
def test_foreign_json_is_refused(text: str) -> None:
    with pytest.raises(ContractError):
        Contract.loads(text)
