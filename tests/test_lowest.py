"""Lower bounds: each requirement has one, and what ``make test-lowest`` installs is derived from them."""

from __future__ import annotations

from importlib.metadata import requires

import pytest
from lowest import OURS, bound, lowest, required
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version


def test_the_lowest_allowed_version_is_taken() -> None:
    versions = [Version(v) for v in ("4.12.0.88", "4.13.0.90", "4.14.0.94", "5.0.0.93", "4.13.0rc1")]
    assert lowest(SpecifierSet(">=4.13,<5"), versions) == Version("4.13.0.90")
    assert lowest(SpecifierSet(">=6"), versions) is None
    assert bound(SpecifierSet(">=1.26") & SpecifierSet(">=2,<3")) == Version("2")
    assert bound(SpecifierSet("<5")) is None


@pytest.mark.parametrize("name", OURS)
def test_every_requirement_has_a_lower_bound(name: str) -> None:
    for text in requires(name) or ():
        needed = Requirement(text)
        assert needed.name in OURS or bound(needed.specifier), f"{name}: {text}"


def test_extras_are_followed() -> None:
    base = {needed.name for needed in required(Requirement("ssr-client"))}
    assert {"numpy", "tritonclient", "typer"} <= base
    assert "opencv-python-headless" not in base
    trains = {needed.name: needed.specifier for needed in required(Requirement("ssr-serve[train]"))}
    assert {"torch", "h5py", "onnx", "opencv-python-headless", "safetensors"} <= trains.keys()


def test_opencv_is_bounded_where_its_decoder_is_safe() -> None:
    """Up to 4.10 a truncated picture shows what the decoder's buffer held, and up to 4.12 there is no
    ``cv2.utils.logging``."""
    needed = {r.name: r.specifier for r in required(Requirement("ssr-client[photo]"))}[
        "opencv-python-headless"
    ]
    assert not needed.contains("4.12.0.88")
    assert needed.contains("4.13.0.90")
    assert not needed.contains("5.0.0.93")
