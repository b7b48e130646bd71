"""The contract: one definition, hashed the same everywhere, and every broken one refused by name."""

from __future__ import annotations

import copy
import hashlib
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from bundle_faults import ALIGNED, BAD_CROPS, FACE, GOOD_CROPS, with_crop

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
    Template,
    canonical_json,
)
from ssr_ops.shipped import default_bundle


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


HASHES = {
    "two margins, clipped": "6cf0b28c7ce5b74eda140f82161e2a89c3e15b6f774b4522816bba3ba09b59e0",
    "no margin": "a22fb858173350ffd0b2ef6c4c4d343f8d1b2899585b573b51df834f4a551ee2",
    "four margins, some negative": "eb3d035be3235d3b13490239324c5cbcc6f6168a601998383da688592446c585",
    "replicated": "fb604def01e9ffae55a93f88988dcbecb14c59060468612a31ec47eff9813c6a",
    "aligned": "57a17cac2e46240618003ea5578357cb604482ff1b8d71f5388a2d8086e9e3e8",
}
"""The first two as they were before there was a version 2."""


@pytest.mark.parametrize("what", HASHES)
def test_interface_hashes_stay(what: str) -> None:
    assert Interface(crop=Crop.from_json(GOOD_CROPS[what][1])).sha256 == HASHES[what]


def test_a_contract_of_version_1_is_written_as_before() -> None:
    """The shipped contract, byte for byte as it was before there was a version 2."""
    text = (default_bundle() / "contract.json").read_text()
    assert hashlib.sha256(text.encode()).hexdigest() == (
        "2aa1253d56f5d988a1d14119ab53a5dc1ec9164153bf32a2caf8a0e992b506f9"
    )
    contract = Contract.loads(text)
    assert contract.dumps() == text
    assert contract.interface.crop == Crop(margin=(0.4, 0.4), border="clip")
    assert contract.to_json()["contract_version"] == 1


@pytest.mark.parametrize("what", GOOD_CROPS)
def test_a_crop_is_written_in_the_oldest_version_that_can_say_it(what: str) -> None:
    version, crop = GOOD_CROPS[what]
    contract = replace(example(), interface=Interface(crop=Crop.from_json(crop)))
    assert contract.to_json()["contract_version"] == version
    assert Contract.loads(contract.dumps()) == contract


def test_crops_that_cut_alike_are_one() -> None:
    assert Crop(margin=(0.1, 0.2)) == Crop(margin=(0.1, 0.2, 0.1, 0.2))
    template = Template(FACE, 112)
    of_arrays = Template(np.array(FACE), np.int64(112))  # type: ignore[arg-type]
    aligned = Crop(border="replicate", template=template)
    for other in (
        Crop(margin=(0.1, 0.2), border="replicate", template=template),
        Crop(border="replicate", template=of_arrays),
        Crop.from_json(ALIGNED),
    ):
        assert other == aligned
        assert Interface(crop=other).sha256 == Interface(crop=aligned).sha256


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"margin": ("a", 1)}, "margin: expected two numbers"),
        ({"margin": None}, "margin: expected two numbers"),
        ({"margin": (10**400, 1)}, "margin: expected two numbers"),
        ({"margin": (float("nan"), 0.1)}, "margin: expected two numbers"),
        ({"margin": (-0.5, 0.0, -0.45, 0.0)}, "leaves less than 0.1 of a box's width or height"),
        ({"border": "wrap"}, "border: 'wrap' is unknown, expected one of clip, replicate, constant"),
        ({"box": "mtcnn"}, "box: 'mtcnn' is unknown"),
        ({"template": Template(FACE, 112)}, "an aligned crop cannot be clipped, expected replicate or"),
        (
            {"template": Template(FACE, 112.5), "border": "constant"},
            "size: expected a whole number in 8..4096",
        ),
        ({"template": Template(FACE, True), "border": "constant"}, "size: expected a whole number"),
        ({"template": Template(FACE, "9"), "border": "constant"}, "size: expected a whole number"),
        (
            {"template": Template(FACE[:4], 112), "border": "constant"},
            "expected 5 points as x, y (right eye, ",
        ),
        ({"template": Template((1, 2, 3, 4, 5), 112), "border": "constant"}, "expected 5 points as x, y"),
        ({"template": Template(7, 112), "border": "constant"}, "expected 5 points as x, y"),
        (
            {"template": Template(((5.0, 5.0),) * 5, 112), "border": "constant"},
            "the five points lie on one line",
        ),
        ({"template": Template(FACE, 20), "border": "constant"}, "template: expected points in -20..40"),
    ],
)
def test_crops_that_are_none(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ContractError) as caught:
        Crop(**changes)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_crop_in_a_few_words() -> None:
    for what, words in {
        "two margins, clipped": "yunet box + 0.4 x 0.3 on each side, clipped at the border",
        "replicated": "yunet box + 0.1 left, -0.15 top, 0.11 right, 0.02 bottom, border repeated",
        "aligned, black": "aligned by yunet's five landmarks, border black",
    }.items():
        assert Crop.from_json(GOOD_CROPS[what][1]).describe() == words


MESSAGES = {
    "aligned as version 3": "contract_version 3 is unknown, expected 1 or 2",
    "aligned as version 1": "contract_version 1: this interface.crop is one of version 2",
    "two margins as version 2": "contract_version 2: this interface.crop is one of version 1",
    "four margins that two can say": "contract_version 2: this interface.crop is one of version 1",
    "two margins, replicated": "no other keys, numbers written the same way",
    "a margin beside a template": "no other keys, numbers written the same way",
    "three margins": "interface.crop.margin: expected two numbers in 0..4 (version 1), or four in -0.9..4",
    "a margin of 1e9": "interface.crop.margin: expected two numbers in 0..4 (version 1), or four in -0.9..4",
    "a margin that is NaN": "NaN is not a number of JSON",
    "margins that leave nothing of the width": "leaves less than 0.1 of a box's width or height",
    "four points": "interface.crop.template: expected 5 points as x, y (right eye, left eye, nose tip",
    "points of three numbers": "interface.crop.template: expected points as two numbers",
    "points on one line": "interface.crop.template: the five points lie on one line",
    "points on one spot": "interface.crop.template: the five points lie on one line",
    "a template of half the size": "interface.crop.template: expected points in -112..224",
    "a size of 7": "interface.crop.size: expected a whole number in 8..4096 pixels, got 7",
    "a size that is 112.0": "interface.crop.size: expected a whole number, got 112.0",
    "aligned and clipped": "interface.crop.border: an aligned crop cannot be clipped",
    "no template": "interface.crop: 'template' is missing",
}


@pytest.mark.parametrize("what", MESSAGES)
def test_what_is_said_of_a_crop(what: str) -> None:
    with pytest.raises(ContractError) as caught:
        Contract.loads(with_crop(example().dumps(), *BAD_CROPS[what]).decode())
    assert MESSAGES[what] in str(caught.value)


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
