"""Timing of the kernels' layers, and the benchmark that holds them against their limits."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from conftest import ROOT
from native_programs import BUILD_SECONDS
from random_bundles import quantized_bundle, random_bundle

from ssr_bundle.contract import Architecture
from ssr_ops import _native

pytestmark = pytest.mark.timeout(2 * BUILD_SECONDS)

NAMES = ["x.0 s.0", "x.1", "s.1", "x.2", "s.2", "x.3", "s.3"]
IMAGE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)


@pytest.fixture(scope="session")
def kernels() -> ModuleType:
    """The benchmarks' build of the kernels, compiled when it is out of date."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        patch.delitem(sys.modules, "_kernels", raising=False)
        import _kernels

        return _kernels.load()


def test_the_shipped_library_has_no_timers() -> None:
    assert not hasattr(_native, "time_layers")
    assert not hasattr(_native, "measure_multiply_adds")
    library = Path(_native.__file__).read_bytes()
    assert b"LayerDone" not in library
    assert b"MultiplyAdd" not in library


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_multiply_adds_alone(kernels: ModuleType, precision: str) -> None:
    for implementation in _native.implementations(precision):
        assert kernels.measure_multiply_adds(implementation, 0.01, precision) > 1e8
    with pytest.raises(ValueError, match="'mmx' is not available"):
        kernels.measure_multiply_adds("mmx", 0.01, precision)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_bundle(tmp_path_factory.mktemp("layers") / "bundle", Architecture()).path


@pytest.mark.parametrize("implementation", _native.implementations())
def test_every_layer_has_its_time(kernels: ModuleType, bundle: Path, implementation: str) -> None:
    found = kernels.time_layers(str(bundle), IMAGE, implementation, "fp32", 0.05)
    assert [name for name, _ in found] == [*NAMES, "stages.0", "stages.1", "stages.2"]
    times = dict(found)
    assert min(times.values()) > 0
    assert times["x.1"] > times["x.3"]  # 28 times the work without a transform, 7 times with it
    assert sum(times.values()) < 0.1


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_every_precision_tells_its_layers(kernels: ModuleType, tmp_path: Path, precision: str) -> None:
    path = quantized_bundle(tmp_path / "quantized", Architecture()).path
    for implementation in _native.implementations(precision):
        found = kernels.time_layers(str(path), IMAGE, implementation, precision, 0.0)
        assert [name for name, _ in found] == [*NAMES, "stages.0", "stages.1", "stages.2"]


def test_layers_of_another_architecture(kernels: ModuleType, tmp_path: Path) -> None:
    architecture = Architecture(stages=(3, 3), width_x=40, width_s=20, width_fusion=18)
    path = random_bundle(tmp_path / "wide", architecture).path
    found = kernels.time_layers(str(path), IMAGE, "portable", "fp32", 0.0)
    assert [name for name, _ in found] == [*NAMES, "stages.0", "stages.1"]


@pytest.mark.parametrize(
    ("image", "implementation", "precision", "message"),
    [
        (IMAGE[:63], "portable", "fp32", r"expected shape \(64, 64, 3\)"),
        (IMAGE, "mmx", "fp32", "'mmx' is not available"),
        (IMAGE, "portable", "fp12", "'fp12' is unknown"),
        (IMAGE, "portable", "int8", "needs a quantized bundle"),
    ],
)
def test_refuses_what_it_cannot_time(
    kernels: ModuleType, bundle: Path, image: np.ndarray, implementation: str, precision: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        kernels.time_layers(str(bundle), image, implementation, precision, 0.0)


def test_counts_of_the_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    monkeypatch.delitem(sys.modules, "layers", raising=False)
    import layers

    direct = layers.layers(Architecture(), floats=False)
    assert sum(layer.direct for layer in direct) == 16_212_364
    assert all(layer.transformed == layer.direct for layer in direct)
    assert [layer.name for layer in direct] == [*NAMES, "stages.0", "stages.1", "stages.2"]
    left = {
        layer.name: layer.transformed / layer.direct for layer in layers.layers(Architecture(), floats=True)
    }
    assert left["x.1"] == left["s.2"] == 0.25
    assert left["x.3"] == left["stages.2"] == 1
