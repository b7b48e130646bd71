"""The readable int8 and bf16 networks on cases worked by hand; the engine is held to them elsewhere."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

from ssr_bundle.bundle import read_bundle
from ssr_bundle.contract import PRECISIONS, Quantization, convolution_widths
from ssr_ops import quantized, reference
from ssr_ops.quantized import Layer
from ssr_ops.shipped import default_bundle


def layer(weights: list[float], bias: float) -> Layer:
    """One output channel, 1x1."""
    return Layer(np.array(weights, np.float32).reshape(1, -1, 1, 1), np.array([bias], np.float32))


def integers(name: str, *arguments: object) -> tuple[list[int], int, float]:
    whole = quantized.integer_layer(name, *arguments)  # type: ignore[arg-type]
    return whole.weights.ravel().tolist(), int(whole.bias[0]), float(whole.step[0])


def test_weights_carry_the_steps_of_their_inputs() -> None:
    # real weights 63.5 * 2 and 20 * 0.5: the larger is 127 steps of 1
    assert integers("x.1", layer([63.5, 20.0], 7.0), [2.0, 0.5], [0.0]) == ([127, 10], 7, 1.0)


def test_weights_round_half_to_even() -> None:
    assert integers("x.1", layer([127.0, 10.5, 11.5, -2.5], 0.5), np.ones(4), [0.0])[0] == [127, 10, 12, -2]


def test_learned_rounding_goes_up_from_the_floor() -> None:
    up = np.array([True, True, False, False, True]).reshape(1, 5, 1, 1)
    whole = integers("x.1", layer([127.0, 10.1, 10.9, -2.5, -2.5], 0.0), np.ones(5), [0.0], up)[0]
    assert whole == [127, 11, 10, -3, -2]  # the first stays within 127


def test_bytes_around_128_are_taken_back_in_the_bias() -> None:
    assert integers("s.1", layer([127.0, -27.0], 5.0), np.ones(2), [1.0]) == ([127, -27], 6 - 128 * 100, 1.0)
    assert integers("stages.0.fuse_s", layer([127.0], 0.0), [1.0], [0.0])[1] == -128 * 127
    assert integers("s.0", layer([511.0], 3.0), [1.0], [0.0])[1] == 3  # the picture's bytes are not
    assert integers("stages.0.fuse_x", layer([127.0], 2.0), [1.0], [0.0])[1] == 2


def test_first_blocks_have_eight_significant_bits() -> None:
    # 301 lies between 300 and 302, a tie; 299.6 rounds to 300 first; below 256 every whole number is one
    weights = [511.0, 301.0, 303.0, 299.6, 255.0, -129.0]
    assert integers("x.0", layer(weights, 0.0), np.ones(6), [0.0])[0] == [512, 300, 304, 300, 255, -129]


@pytest.mark.parametrize(("name", "limit"), [("x.0", 2**19), ("x.2", 2**26), ("stages.1.fuse_x", 2**23)])
def test_a_large_bias_sets_the_step(name: str, limit: int) -> None:
    whole, bias, step = integers(name, layer([1.0], 0.0), [1.0], [2.0 * limit])
    assert (whole, bias, step) == ([0], limit, 2.0)  # 1 / 2 rounds to 0


def test_a_layer_of_zeros_is_no_division_by_zero() -> None:
    assert integers("x.1", layer([0.0], 0.0), [1.0], [0.0]) == ([0], 0, float(np.float32(1e-30)))


def test_x_maps_are_means_of_relu_in_bytes() -> None:
    sums = np.array([[4, -3], [2, 1]]).reshape(1, 2, 2, 1)
    step, out = np.float32([0.5]), np.float32([0.25])
    assert quantized.requantize_x(sums, step, out, 2).item() == 4  # 7 * 0.5 / 4 / 0.25 = 3.5, to even
    assert quantized.requantize_x(sums + 2, step, out, 2).item() == 6  # 6 + 0 + 4 + 3 = 13: 6.5, to even
    assert quantized.requantize_x(sums * 1000, step, out, 2).item() == 255
    assert quantized.requantize_x(sums, step, out, 1)[0, :, :, 0].tolist() == [[8, 0], [4, 2]]


def test_s_maps_are_tanh_of_the_maximum_around_128() -> None:
    sums = np.array([[2, -3], [1, 0]]).reshape(1, 2, 2, 1)
    assert quantized.requantize_s(sums, np.float32([0.25]), 2).item() == 128 + 59  # 127 tanh(0.5) = 58.69
    assert quantized.requantize_s(sums, np.float32([100.0]), 1)[0, :, :, 0].tolist() == [[255, 1], [255, 128]]


def test_sums_of_a_convolution_by_hand() -> None:
    picture = np.arange(16).reshape(1, 4, 4, 1)
    kernel = quantized.IntegerLayer(
        np.arange(9).reshape(1, 1, 3, 3), np.array([-100]), np.ones(1, np.float32)
    )
    sums = quantized.convolve_integers(picture, kernel)
    assert sums.shape == (1, 2, 2, 1)
    assert sums[0, 0, 0, 0] == sum(i * v for i, v in enumerate([0, 1, 2, 4, 5, 6, 8, 9, 10])) - 100
    assert sums[0, 1, 1, 0] == sum(i * v for i, v in enumerate([5, 6, 7, 9, 10, 11, 13, 14, 15])) - 100


def test_bits_are_written_most_significant_first() -> None:
    up = np.zeros((2, 5), bool)
    up[0, 0] = up[1, 4] = True
    assert quantized.rounding_text(up) == "8040"
    assert np.array_equal(quantized.rounding_bits("8040", (2, 5)), up)


def test_bfloat16_rounds_half_to_even() -> None:
    given = np.float32([1.0, 1.0 + 2**-8, 1.0 + 3 * 2**-8, 257.0, 259.0, -0.0, 3.3895314e38])
    expected = np.float32([1.0, 1.0, 1.0 + 2**-6, 256.0, 260.0, -0.0, 3.3895314e38])
    assert np.array_equal(quantized.bfloat16(given), expected)


def test_fma_rounds_once() -> None:
    rng = np.random.default_rng(0)
    a, b, c = (rng.normal(size=2000).astype(np.float32) for _ in range(3))
    c[:1000] *= np.float32(1e-7)
    # halves of a step with a little more or less, lost if the sum is rounded to float64 first
    a[:2], b[:2], c[:2] = 1 + 2**-12, 1 + 2**-12, np.float32([2**-60, -(2**-60)])
    found = quantized.fma(a, b, c)
    for x, y, z, f in zip(a, b, c, found, strict=True):
        exact = Fraction(float(x)) * Fraction(float(y)) + Fraction(float(z))
        off = abs(Fraction(float(f)) - exact)
        for other in (np.nextafter(f, np.float32(-np.inf)), np.nextafter(f, np.float32(np.inf))):
            beside = abs(Fraction(float(other)) - exact)
            assert off < beside or (off == beside and int(f.view(np.uint32)) % 2 == 0)


def test_tanh_is_good_to_a_fraction_of_a_byte() -> None:
    v = np.linspace(-6, 6, 200_001).astype(np.float32)
    found = quantized.tanh_127(v)
    assert np.abs(found - 127 * np.tanh(np.clip(v.astype(np.float64), -3.2, 3.2))).max() < 0.023
    assert np.array_equal(found, -found[::-1])
    assert np.abs(np.rint(found)).max() == 127
    assert all(float(np.float32(c)) == c for c in quantized.TANH_COEFFICIENTS)


def test_tanh_is_the_native_engines() -> None:
    """The C++ copy, where the sources are."""
    source = (ROOT / "ssr_ops/csrc/cpu/quantized.h").read_text()
    found = re.search(r"kTanh127\[kTanhTerms\] = \{([^}]*)\}", source)
    assert found
    assert [float(t.strip("f \n")) for t in found[1].split(",")] == list(quantized.TANH_COEFFICIENTS)
    assert f"kTanhLimit = {quantized.TANH_LIMIT!s}f" in source


def test_nothing_lost_gives_the_float_network() -> None:
    """Folding, wiring, pools and heads: with bf16's rounding taken out the maps are the reference's."""
    bundle = read_bundle(default_bundle())
    parameters, a = bundle.parameters(), bundle.contract.architecture
    images = bundle.golden()["images"][:8]
    zeros = {name: (0.0,) * width for name, width in convolution_widths(a).items()}
    plain = Quantization({f"x.{i}": 1.0 for i in range(4)}, dict.fromkeys(PRECISIONS, zeros))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quantized, "bfloat16", lambda v: np.asarray(v, np.float32))
        found = quantized.bf16(parameters, a, plain, images).stages
    expected = reference.network(parameters, a, images)
    for name in ("p", "eta", "delta"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), atol=1e-5)


def test_maps_of_the_int8_network() -> None:
    """Every map that C++ may be compared with is there, in its bounds."""
    bundle = read_bundle(Path(default_bundle()))
    a, q = bundle.contract.architecture, bundle.contract.quantization
    assert q is not None
    maps = quantized.int8(bundle.parameters(), a, q, bundle.golden()["images"][:2]).maps
    assert {f"{name}.sum" for name in convolution_widths(a)} <= set(maps)
    for name, side in (("x.0", 31), ("x.1", 14), ("x.2", 6), ("x.3", 4), ("s.0", 31), ("s.3", 4)):
        assert maps[name].shape == (2, side, side, a.width_x if name[0] == "x" else a.width_s)
        assert maps[name].min() >= (0 if name[0] == "x" else 1)
        assert maps[name].max() <= 255
    assert maps["stages.2.fuse_x"].shape == (2, 3, 3, a.width_fusion)
    assert maps["stages.2.fuse_x"].dtype == np.float32
