"""The ground truth: reference and torch against what the original Keras network printed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from conftest import RELEASED, ReleasedBundles, material
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from random_bundles import random_parameters
from tolerances import OFFICIAL

from ssr_bundle import sampling
from ssr_bundle.bundle import read_bundle
from ssr_bundle.contract import Architecture, Crop
from ssr_bundle.crop import Part
from ssr_ops import reference
from ssr_train.model import load_model

OUTPUTS = "golden/official_outputs.npz"


@pytest.mark.parametrize("name", RELEASED)
def test_reference_reproduces_the_original_network(name: str, released: ReleasedBundles) -> None:
    official = np.load(material(OUTPUTS))
    bundle = read_bundle(released(name))
    architecture = bundle.contract.architecture
    stages = reference.network(bundle.parameters(), architecture, official["images"])
    _compare_with_official(official, name, architecture, *stages)


@pytest.mark.parametrize("name", RELEASED)
def test_torch_reproduces_the_original_network(name: str, released: ReleasedBundles) -> None:
    torch = pytest.importorskip("torch")
    official = np.load(material(OUTPUTS))
    bundle = read_bundle(released(name))
    model = load_model(bundle)
    images = torch.from_numpy(official["images"]).float().permute(0, 3, 1, 2)
    with torch.no_grad():
        stages, age = model.forward_stages(images), model(images)[:, 0]
    arrays = [t.numpy() for t in (*stages, age)]
    _compare_with_official(official, name, bundle.contract.architecture, *arrays)


def _compare_with_official(
    official: Mapping[str, NDArray[Any]],
    name: str,
    architecture: Architecture,
    p: NDArray[Any],
    eta: NDArray[Any],
    delta: NDArray[Any],
    age: NDArray[Any],
) -> None:
    tolerance = OFFICIAL * architecture.value_range / 101
    assert np.abs(age - official[f"{name}.output"][:, 0]).max() <= tolerance
    begin = 0
    for k, bins in enumerate(architecture.stages):
        part = slice(begin, begin + bins)
        assert np.abs(p[:, part] - official[f"{name}.p{k + 1}"]).max() <= tolerance
        assert np.abs(eta[:, part] - official[f"{name}.eta{k + 1}"]).max() <= tolerance
        assert np.abs(delta[:, [k]] - official[f"{name}.delta{k + 1}"]).max() <= tolerance
        begin += bins


@pytest.mark.parametrize("stages", [(3,), (5, 2), (3, 3, 3), (2, 4, 1, 3)])
@pytest.mark.parametrize("dynamic_range", [0.0, 1.0])
def test_torch_agrees_with_the_reference_for_other_stages(
    stages: tuple[int, ...], dynamic_range: float
) -> None:
    torch = pytest.importorskip("torch")
    from ssr_train.model import SSRNet

    architecture = Architecture(stages=stages, lambda_index=dynamic_range, lambda_width=dynamic_range)
    parameters = random_parameters(architecture, 7)
    model = SSRNet(architecture).eval()
    model.load_parameters({k: torch.from_numpy(v) for k, v in parameters.items()})
    images = np.random.default_rng(3).integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)
    with torch.no_grad():
        found = model(torch.from_numpy(images).float().permute(0, 3, 1, 2))[:, 0].numpy()
    expected = reference.network(parameters, architecture, images).age
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)
    assert np.ptp(expected) > 0


def test_parameter_counts_of_the_released_network() -> None:
    shapes = Architecture().parameter_shapes()
    sizes = {name: int(np.prod(shape)) for name, shape in shapes.items()}
    assert sum(sizes.values()) == 40_915
    assert sum(size for name, size in sizes.items() if "running" not in name) == 40_531


def test_parameter_shapes_are_those_of_the_torch_network() -> None:
    pytest.importorskip("torch")
    from ssr_train.model import SSRNet

    for stages in [(3,), (4, 2), (3, 3, 3), (1, 2, 3, 4)]:
        architecture = Architecture(stages=stages)
        found = {k: tuple(v.shape) for k, v in SSRNet(architecture).parameters_by_name().items()}
        assert found == architecture.parameter_shapes()


def test_dynamic_range_off_is_the_plain_stagewise_formula() -> None:
    """Both lambdas 0: Equation 3, worked by hand: V=90, stages (3, 3)."""
    p = [[0.0, 1.0, 0.0, 0.0, 0.0, 1.0]]
    eta, delta = np.ones((1, 6)), np.full((1, 2), 0.5)
    age = reference.soft_stagewise_regression(p, eta, delta, (3, 3), 90.0, 0.0, 0.0)
    assert age == pytest.approx([1 * 90 / 3 + 2 * 90 / 9])


def test_the_floor_bounds_the_denominator() -> None:
    p, eta = np.ones((3, 2)), np.zeros((3, 2))
    age = reference.soft_stagewise_regression(p, eta, [[-1.0], [-0.9995], [-0.999]], (2,), 2.0)
    np.testing.assert_allclose(age, [1000.0] * 3)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 400), st.integers(1, 400), st.integers(0, 2**32 - 1))
def test_resize_is_opencv_bit_for_bit(height: int, width: int, seed: int) -> None:
    picture = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    expected = cv2.resize(picture, (64, 64), interpolation=cv2.INTER_LINEAR)
    whole = Part(range(height), range(width))
    np.testing.assert_array_equal(sampling.resized(picture, whole, "clip", 64), expected)


def test_crop_is_the_released_demos() -> None:
    """The box arithmetic of the authors' demo, written out."""
    picture = np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8)
    for x, y, w, h in [(100.2, 80.9, 60.5, 70.1), (-5.5, -3.2, 90.0, 80.0), (280.0, 200.0, 60.0, 60.0)]:
        x0, y0 = max(int(x - 0.4 * w), 0), max(int(y - 0.4 * h), 0)
        x1, y1 = min(int(x + w + 0.4 * w), 319), min(int(y + h + 0.4 * h), 239)
        expected = cv2.resize(picture[y0 : y1 + 1, x0 : x1 + 1], (64, 64))
        np.testing.assert_array_equal(reference.crop_faces(picture, [(x, y, w, h)], Crop())[0], expected)


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ((10, 10, 0, 5), "no area"),
        ((10, 10, 5, -1), "no area"),
        ((float("nan"), 0, 5, 5), "no area"),
        ((500, 10, 20, 20), "outside the picture"),
        ((-80, 10, 20, 20), "outside the picture"),
    ],
)
def test_impossible_boxes_are_refused(box: tuple[float, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        reference.crop_faces(np.zeros((64, 64, 3), np.uint8), [box], Crop())


def test_released_networks_say_which_they_are(released: ReleasedBundles) -> None:
    age = read_bundle(released("morph2")).contract
    male = read_bundle(released("imdb_gender_models")).contract
    assert (age.name, age.interface.output.name, age.architecture.value_range) == ("ssrnet", "age", 101.0)
    assert (male.name, male.interface.output.name, male.architecture.value_range) == (
        "ssrnet-male",
        "male",
        1.0,
    )


@pytest.fixture
def not_a_weight_file(tmp_path: Path) -> Path:
    path = tmp_path / "x.h5"
    path.write_bytes(b"not HDF5")
    return path


def test_foreign_weight_files_are_refused(tmp_path: Path, not_a_weight_file: Path) -> None:
    h5py = pytest.importorskip("h5py")
    from ssr_train.keras_import import KerasImportError, import_keras

    with pytest.raises(KerasImportError, match="no such file"):
        import_keras(tmp_path / "missing.h5")
    with pytest.raises(KerasImportError, match="not a readable HDF5"):
        import_keras(not_a_weight_file)
    with h5py.File(tmp_path / "foreign.h5", "w") as file:
        file["dense_1/dense_1/kernel:0"] = np.zeros((3, 3), np.float32)
    with pytest.raises(KerasImportError, match="not an SSR-Net of the authors' script"):
        import_keras(tmp_path / "foreign.h5")
    # A released file with one layer cut out, and one with a layer of another shape.
    source = material("weights/ssrnet_morph2.h5")
    for name, message in (("delta_s2", "layer 'delta_s2' is missing"), ("conv2d_3", "has shape")):
        damaged = tmp_path / f"{name}.h5"
        damaged.write_bytes(source.read_bytes())
        with h5py.File(damaged, "r+") as file:
            del file[name]
            if name == "conv2d_3":
                file["conv2d_3/conv2d_3/kernel:0"] = np.zeros((5, 5, 32, 32), np.float32)
                file["conv2d_3/conv2d_3/bias:0"] = np.zeros(32, np.float32)
        with pytest.raises(KerasImportError, match=message):
            import_keras(damaged)
