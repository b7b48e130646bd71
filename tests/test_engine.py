"""The native engine against the float64 reference and the original network, in every implementation."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import RELEASED, ROOT, ReleasedBundles, material
from numpy.typing import NDArray
from random_bundles import quantized_bundle, random_bundle
from ssr_client.gather import gather
from tolerances import OFFICIAL, Tolerance, tolerance

from ssr_bundle.bundle import Bundle, copy_bundle, read_bundle
from ssr_bundle.contract import Architecture, Interval
from ssr_bundle.errors import SsrError
from ssr_ops import _native, implementations, quantized, reference
from ssr_ops.engine import Engine, Stages
from ssr_ops.shipped import default_bundle
from ssr_train.quantize.quantizer import find_quantization

IMPLEMENTATIONS = ("avx512", "avx2", "portable")
QUANTIZED = [
    *(("bf16", name) for name in ("amx", "avx512", "avx2", "portable")),
    *(("int8", name) for name in ("amx", "avx512vnni", "avxvnni", "avx2", "portable")),
]
PATHS = [*(("fp32", name) for name in IMPLEMENTATIONS), *QUANTIZED]
FACES = 6  # the golden images begin with the face crops


def forced(monkeypatch: pytest.MonkeyPatch, name: str, precision: str = "fp32") -> str:
    """Force an implementation as a user would, or skip with the reason."""
    if name not in implementations(precision):
        pytest.skip(f"this CPU or build has no {name} in {precision}")
    monkeypatch.setenv("SSR_FORCE_IMPLEMENTATION", name)
    return name


def noise(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 64, 64, 3), dtype=np.uint8)


@pytest.fixture(scope="session")
def plain_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random network of the released architecture, so that these tests need no material."""
    return random_bundle(tmp_path_factory.mktemp("plain") / "bundle", Architecture()).path


@pytest.fixture(scope="session")
def calibrated_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with what bf16 and int8 need."""
    return quantized_bundle(tmp_path_factory.mktemp("quantized") / "bundle", Architecture()).path


def readable(bundle: Bundle, precision: str, implementation: str, images: np.ndarray) -> reference.Stages:
    """What ``ssr_ops.quantized`` says of the network that ``implementation`` computes; each asked once."""
    round_maps = precision == "bf16" and implementation == "amx"
    key = (bundle.path, precision, round_maps, images.tobytes())
    if key not in _readable:
        a, q = bundle.contract.architecture, bundle.contract.quantization
        assert q is not None
        options = {"round_maps": round_maps} if precision == "bf16" else {}
        _readable[key] = getattr(quantized, precision)(bundle.parameters(), a, q, images, **options).stages
    return _readable[key]


_readable: dict[tuple[object, ...], reference.Stages] = {}


def check_quantized(
    bundle: Bundle, precision: str, implementation: str, images: np.ndarray
) -> tuple[Stages, reference.Stages]:
    """Hold p, eta and Delta to the table and prove which implementation ran; the answers and what is read."""
    expected = readable(bundle, precision, implementation, images)
    engine = Engine(bundle, precision=precision)
    assert engine.implementation == implementation
    found = engine.predict_stages(images)
    bound = tolerance(implementation, precision, bundle.contract.architecture.value_range).stages
    for name in ("p", "eta", "delta"):
        scale = max(1.0, np.abs(getattr(expected, name)).max())
        error = np.abs(getattr(found, name) - getattr(expected, name)).max() / scale
        assert error <= bound, f"{bundle.path.name}: {name}: {error}"
    return found, expected


def check_stages(path: Path, implementation: str) -> tuple[Bundle, Stages, Tolerance]:
    """Replay golden, hold p, eta and Delta to the table, and prove which implementation ran."""
    bundle = read_bundle(path)
    golden, bound = (
        bundle.golden(),
        tolerance(implementation, "fp32", bundle.contract.architecture.value_range),
    )
    engine = Engine(bundle)
    assert engine.implementation == implementation
    stages = engine.predict_stages(golden["images"])
    for name in ("p", "eta", "delta"):
        scale = max(1.0, np.abs(golden[name]).max())
        error = np.abs(getattr(stages, name) - golden[name]).max() / scale
        assert error <= bound.stages, f"{name}: {error}"
    np.testing.assert_array_equal(engine.predict(golden["images"]), stages.age)
    return bundle, stages, bound


def magnified(bundle: Bundle, expected: reference.Stages, error: float) -> NDArray[np.float64]:
    """How far ``error`` in p, eta and Delta moves each answer: near the floor, far."""
    a = bundle.contract.architecture
    step = error * max(1.0, np.abs(expected.p).max())
    ends = [
        reference.soft_stagewise_regression(
            expected.p + sign * step,
            expected.eta + sign * error,
            expected.delta - sign * error,
            a.stages,
            a.value_range,
            a.lambda_index,
            a.lambda_width,
            a.denominator_floor,
        )
        for sign in (-1, 1)
    ]
    return np.asarray(np.abs(ends - expected.age).max(axis=0))


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_replays_golden_of_released_weights(
    released_bundle: Path, implementation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle, stages, bound = check_stages(released_bundle, forced(monkeypatch, implementation))
    error = np.abs(stages.age - bundle.golden()["output"])
    assert error[:FACES].max() <= bound.faces
    assert error.max() <= bound.anywhere


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("name", RELEASED)
def test_agrees_with_original_network(
    name: str, implementation: str, released: ReleasedBundles, monkeypatch: pytest.MonkeyPatch
) -> None:
    forced(monkeypatch, implementation)
    bundle = read_bundle(released(name))
    value_range = bundle.contract.architecture.value_range
    with np.load(material("golden/official_outputs.npz")) as official:
        stages = Engine(bundle).predict_stages(official["images"])
        low, high = bundle.contract.interface.output.clip
        printed = np.clip(official[f"{name}.output"][:, 0], low, high)
        assert np.abs(stages.age - printed).max() <= OFFICIAL * value_range / 101
        for ours, theirs in (("p", "p"), ("eta", "eta"), ("delta", "delta")):
            expected = np.concatenate([official[f"{name}.{theirs}{k}"] for k in (1, 2, 3)], axis=1)
            scale = max(1.0, np.abs(expected).max())
            assert np.abs(getattr(stages, ours) - expected).max() <= 1e-4 * scale


ARCHITECTURES = {
    "one stage": Architecture(stages=(4,)),
    "odd bins": Architecture(stages=(5, 2)),
    "one bin": Architecture(stages=(1,)),
    "four stages": Architecture(stages=(2, 3, 2, 3)),
    "probability": Architecture(value_range=1.0),
    "no dynamic range": Architecture(lambda_index=0.0, lambda_width=0.0),
    "wider": Architecture(stages=(3, 3), width_x=40, width_s=20, width_fusion=18),
    "narrow": Architecture(stages=(3, 3, 3, 3), width_x=1, width_s=3, width_fusion=2),
    "swapped widths": Architecture(stages=(3, 3, 3), width_x=16, width_s=32, width_fusion=16),
    "many bins": Architecture(stages=(101,), value_range=80.0),
    "high floor": Architecture(denominator_floor=0.9),
}


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("architectures")
    return {
        name: random_bundle(folder / name.replace(" ", "-"), architecture, seed=len(name)).path
        for name, architecture in ARCHITECTURES.items()
    }


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_other_architectures(
    name: str, implementation: str, bundles: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    forced(monkeypatch, implementation)
    bundle, found, bound = check_stages(bundles[name], implementation)
    golden = bundle.golden()
    expected = reference.Stages(golden["p"], golden["eta"], golden["delta"], golden["unclipped"])
    error = np.abs(found.age - golden["output"])
    assert (error <= bound.faces + magnified(bundle, expected, bound.stages)).all()
    for values in (found.p, found.eta, found.delta):
        assert np.ptp(values, axis=0).max() > 1e-3  # what is compared depends on the picture


def test_floor_below_float32_rounding(tmp_path: Path, plain_bundle: Path) -> None:
    """Delta = tanh(-20): 1 + Delta is 4e-18 in double and 0 in float32; the floor answers for both."""
    from ssr_ops.golden import write_bundle

    plain = read_bundle(plain_bundle)
    parameters = plain.parameters()
    for k in range(3):
        parameters[f"stages.{k}.delta.weight"] = np.zeros_like(parameters[f"stages.{k}.delta.weight"])
        parameters[f"stages.{k}.delta.bias"] = np.float32([-20.0 if k == 1 else 0.0])
    bundle = write_bundle(tmp_path / "floored", plain.contract, parameters)
    golden = bundle.golden()
    assert golden["unclipped"].min() > 101
    answers = Engine(bundle).predict_stages(golden["images"])
    np.testing.assert_array_equal(answers.age, np.float32(101))
    np.testing.assert_allclose(answers.p, golden["p"], rtol=1e-4, atol=1e-5)
    assert (answers.delta[:, 1] == -1).all()


@pytest.fixture(scope="session")
def calibrated_bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("quantized-architectures")
    return {
        name: quantized_bundle(folder / name.replace(" ", "-"), ARCHITECTURES[name]).path
        for name in ("four stages", "wider", "narrow", "swapped widths", "odd bins", "probability")
    }


@pytest.mark.parametrize(("precision", "implementation"), QUANTIZED)
def test_quantized_networks(
    precision: str,
    implementation: str,
    calibrated_bundle: Path,
    calibrated_bundles: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """p, eta and Delta are those of the readable int8 and bf16 networks."""
    forced(monkeypatch, implementation, precision)
    images = np.concatenate([noise(2), np.full((1, 64, 64, 3), 255, np.uint8)])
    for path in (calibrated_bundle, *calibrated_bundles.values()):
        bundle = read_bundle(path)
        found, _ = check_quantized(bundle, precision, implementation, images)
        exact = Engine(bundle, implementation="portable").predict_stages(images)
        assert not np.array_equal(found.delta, exact.delta)  # it is another network


class Calibrated:
    """Released networks calibrated on the face of a photo that the golden images have nothing of."""

    def __init__(self, released: ReleasedBundles, folder: Path) -> None:
        self.released, self.folder = released, folder

    def __call__(self, name: str) -> Bundle:
        if not (self.folder / name).exists():
            bundle = read_bundle(self.released(name))
            crops = gather(self._photos(), bundle.contract.interface, 15).images
            quantization = find_quantization(
                bundle.parameters(), bundle.contract.architecture, crops, learned=False
            )  # learned rounding takes its time
            copy_bundle(bundle, replace(bundle.contract, quantization=quantization), self.folder / name)
        return read_bundle(self.folder / name)

    def _photos(self) -> Path:
        photos = self.folder / "photos"
        photos.mkdir(exist_ok=True)
        shutil.copy(ROOT / "ssr_ops/assets/astronaut.jpg", photos)
        return photos


@pytest.fixture(scope="session")
def calibrated(released: ReleasedBundles, tmp_path_factory: pytest.TempPathFactory) -> Calibrated:
    return Calibrated(released, tmp_path_factory.mktemp("calibrated"))


@pytest.mark.parametrize(("precision", "implementation"), QUANTIZED)
@pytest.mark.parametrize("name", RELEASED)
def test_quantized_released_weights(
    name: str, precision: str, implementation: str, calibrated: Calibrated, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Faces, noise and hard-edged checkers: the stages by the table, and the answers that follow from them;
    on faces also by how far this precision may drift."""
    forced(monkeypatch, implementation, precision)
    bundle = calibrated(name)
    a, golden = bundle.contract.architecture, bundle.golden()
    found, expected = check_quantized(bundle, precision, implementation, golden["images"])
    low, high = bundle.contract.interface.output.clip
    bound = tolerance(implementation, precision, a.value_range)
    allowed = magnified(bundle, expected, bound.stages) + 1e-5 * a.value_range
    assert (np.abs(found.age - np.clip(expected.age, low, high)) <= allowed).all()
    drift = np.abs(found.age - golden["output"])[:FACES]
    if name == "morph2":  # one face does not calibrate the others to the limit of the table
        assert drift.max() <= bound.faces
    assert 0 < drift.mean() <= 0.6 * bound.faces


@pytest.mark.parametrize(("precision", "implementation"), PATHS)
def test_bits_depend_on_the_image_alone(
    precision: str, implementation: str, calibrated_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forced(monkeypatch, implementation, precision)
    images = noise(33)
    engine = Engine(calibrated_bundle, precision=precision)
    assert engine.implementation == implementation
    whole = engine.predict_stages(images)
    assert len(np.unique(whole.delta)) > 33
    for size in (1, 2, 31, 33):
        parts = [engine.predict_stages(images[i : i + size]) for i in range(0, 33, size)]
        for name in whole._fields:
            together = np.concatenate([getattr(part, name) for part in parts])
            np.testing.assert_array_equal(together, getattr(whole, name), err_msg=f"batches of {size}")
    np.testing.assert_array_equal(engine.predict_stages(images[::-1]).delta, whole.delta[::-1])
    for threads in (2, 3):
        several = Engine(calibrated_bundle, precision=precision, threads=threads).predict_stages(images)
        for name in whole._fields:
            np.testing.assert_array_equal(getattr(several, name), getattr(whole, name))


def test_strided_and_unaligned_input(plain_bundle: Path) -> None:
    images = noise(5)
    engine = Engine(plain_bundle)
    expected = engine.predict_stages(images).delta
    buffer = np.zeros(images.size + 1, np.uint8)
    unaligned = buffer[1:].reshape(images.shape)
    unaligned[...] = images
    planes = np.ascontiguousarray(images.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1)
    wide = np.zeros((5, 64, 80, 3), np.uint8)
    wide[:, :, 9:73] = images
    every_other = np.repeat(images, 2, axis=0)[::2]
    flipped = images[:, :, :, ::-1].copy()[:, :, :, ::-1]
    frozen = images.copy()
    frozen.flags.writeable = False
    for given in (unaligned, planes, wide[:, :, 9:73], every_other, flipped, frozen, list(images)):
        np.testing.assert_array_equal(engine.predict_stages(given).delta, expected)
    one = np.broadcast_to(images[:1], (3, 64, 64, 3))
    np.testing.assert_array_equal(engine.predict_stages(one).delta, np.repeat(expected[:1], 3, axis=0))


@pytest.mark.parametrize("threads", [1, 2])
def test_concurrent_calls(plain_bundle: Path, threads: int) -> None:
    engine = Engine(plain_bundle, threads=threads)
    batches = [noise(n, seed=n) for n in (1, 2, 3, 5, 8, 13, 4, 7)]
    expected = [engine.predict_stages(batch).delta for batch in batches]
    wrong: list[str] = []

    def work(index: int) -> None:
        for _ in range(12):
            found = engine.predict_stages(batches[index]).delta
            if not np.array_equal(found, expected[index]):
                wrong.append(f"thread {index}")

    workers = [threading.Thread(target=work, args=(i,)) for i in range(len(batches))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert wrong == []


def test_empty_batch(plain_bundle: Path) -> None:
    engine = Engine(plain_bundle)
    assert engine.predict(noise(0)).shape == (0,)
    assert engine.predict(noise(0)).dtype == np.float32
    stages = engine.predict_stages(noise(0))
    assert [a.shape for a in stages] == [(0, 9), (0, 9), (0, 3), (0,)]


def test_interval(tmp_path: Path) -> None:
    calibrated = Interval(coverage=0.9, edges=(20.0, 40.0, 60.0), half_widths=(3.0, 5.5, 8.0, 200.0))
    bundle = random_bundle(tmp_path / "b", Architecture(), interval=calibrated)
    golden = bundle.golden()
    full = Engine(bundle).predict_full(golden["images"])
    assert list(full) == ["age", "age_interval"]
    clip = bundle.contract.interface.output.clip
    expected = reference.interval(calibrated, full["age"].astype(np.float64), clip)
    np.testing.assert_allclose(full["age_interval"], expected, rtol=1e-6)
    np.testing.assert_allclose(full["age_interval"], golden["output_interval"], atol=1e-2)


def test_uncalibrated_network_has_no_interval(plain_bundle: Path) -> None:
    assert list(Engine(plain_bundle).predict_full(noise(1))) == ["age"]


def test_facts_of_the_contract(plain_bundle: Path) -> None:
    bundle = read_bundle(plain_bundle)
    engine = Engine(bundle)
    assert engine.name == "random"
    assert (engine.input_name, engine.output_name, engine.colour) == ("image", "age", "bgr")
    assert engine.clip == (0.0, 101.0)
    assert engine.stages == (3, 3, 3)
    assert engine.synthetic
    assert not engine.calibrated
    assert engine.interface_sha256 == bundle.contract.interface.sha256
    assert engine.weights_sha256 == bundle.contract.weights_sha256


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((2, 64, 64, 3), np.float32), r"dtype float32, expected uint8 \(N, 64, 64, 3\)"),
        (np.zeros((2, 3, 64, 64), np.uint8), r"shape \(2, 3, 64, 64\), expected uint8"),
        (np.zeros((64, 64, 3), np.uint8), r"one image .* images\[None\]"),
        (np.zeros((2, 64, 64), np.uint8), r"shape \(2, 64, 64\)"),
        (np.zeros((2, 64, 63, 3), np.uint8), r"shape \(2, 64, 63, 3\)"),
        (np.zeros(0, np.uint8), r"shape \(0,\)"),
        ([], r"dtype float64"),
        ([np.zeros((64, 64, 3), np.uint8), 1], "not an array"),
        (None, "dtype object"),
    ],
)
def test_refuses_bad_images(plain_bundle: Path, images: object, message: str) -> None:
    engine = Engine(plain_bundle)
    with pytest.raises(SsrError, match=message):
        engine.predict(images)  # type: ignore[arg-type]
    assert engine.predict(noise(1)).shape == (1,)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threads": 0}, r"threads must be a whole number in 1\.\.256, got 0"),
        ({"threads": 257}, "got 257"),
        ({"threads": 1.5}, "got 1.5"),
        ({"threads": True}, "got True"),
        ({"device": "gpu"}, "device 'gpu' is unknown, expected cpu, cuda or cuda:N"),
        ({"device": "cuda:"}, "device 'cuda:' is unknown"),
        ({"device": "cuda:-1"}, "device 'cuda:-1' is unknown"),
        ({"precision": "fp64"}, "precision 'fp64' is unknown, expected fp32, bf16 or int8"),
        ({"precision": "fp16"}, "precision 'fp16' is unknown"),
        ({"precision": "int8"}, "ssr-train quantize"),
        ({"precision": "bf16"}, "ssr-train quantize"),
        ({"implementation": "sse9"}, "'sse9' is not available here, expected one of .*portable"),
    ],
)
def test_refuses_bad_options(plain_bundle: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(SsrError, match=message):
        Engine(plain_bundle, **options)  # type: ignore[arg-type]


def test_unknown_forced_implementation(plain_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSR_FORCE_IMPLEMENTATION", "mmx")
    with pytest.raises(
        SsrError, match=r"^SSR_FORCE_IMPLEMENTATION: implementation 'mmx' is not available here"
    ):
        Engine(plain_bundle)


def test_a_path_of_any_bytes(plain_bundle: Path, tmp_path: Path) -> None:
    """Names of folders need not be UTF-8, also in the text of an error."""
    place = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    with pytest.raises(SsrError, match=r"no contract\.json") as caught:
        Engine(place)
    assert str(place) in str(caught.value)
    place.symlink_to(plain_bundle)
    assert Engine(os.fsencode(place)).weights_sha256 == Engine(plain_bundle).weights_sha256


@pytest.mark.parametrize("bundle", ["", "a\0b", None, 3])
def test_refuses_what_is_no_path(bundle: Any) -> None:
    with pytest.raises(SsrError, match=r"^bundle: expected"):
        Engine(bundle)


def test_an_engine_in_a_forked_process(plain_bundle: Path) -> None:
    """The child has no helper threads: it computes alone, and does not wait for them when it lets go."""
    engine, crops = Engine(plain_bundle, threads=3), noise(7)
    expected = engine.predict(crops)
    child = os.fork()
    if child == 0:
        same = engine.predict(crops).tobytes() == expected.tobytes()
        del engine
        os._exit(0 if same else 1)
    deadline = time.monotonic() + 30
    while (status := os.waitpid(child, os.WNOHANG)) == (0, 0) and time.monotonic() < deadline:
        time.sleep(0.01)
    if status == (0, 0):
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert status == (child, 0)


def test_cuda_without_a_gpu(plain_bundle: Path) -> None:
    if _native.built_with_cuda and Path("/dev/nvidia0").exists():
        pytest.skip("this machine has a GPU")
    wanted = "no usable GPU" if _native.built_with_cuda else "needs a build with CUDA"
    with pytest.raises(SsrError, match=wanted):
        Engine(plain_bundle, device="cuda")


@pytest.fixture
def gpu() -> None:
    if not (_native.built_with_cuda and Path("/dev/nvidia0").exists()):
        pytest.skip("needs an NVIDIA GPU and a build with CUDA")


def cuda_replays_golden(path: Path) -> None:
    bundle = read_bundle(path)
    golden, bound = bundle.golden(), tolerance("cuda", "fp32", bundle.contract.architecture.value_range)
    engine = Engine(bundle, device="cuda")
    assert engine.implementation == "cuda"
    answers = engine.predict(golden["images"])
    error = np.abs(answers - golden["output"])
    assert error[:FACES].max() <= bound.faces
    assert error.max() <= bound.anywhere


@pytest.mark.gpu
def test_cuda_replays_the_shipped_bundles_golden(gpu: None) -> None:
    cuda_replays_golden(default_bundle())


@pytest.mark.gpu
def test_cuda_replays_golden(gpu: None, released_bundle: Path) -> None:
    cuda_replays_golden(released_bundle)


@pytest.mark.gpu
@pytest.mark.parametrize(
    "architecture",
    [Architecture(), Architecture(stages=(2, 3, 2, 3), width_x=20, width_s=3, width_fusion=5)],
    ids=["released", "four stages"],
)
def test_cuda_answers_the_same_in_any_batch(gpu: None, architecture: Architecture, tmp_path: Path) -> None:
    """Against the reference; then 8 callers at once, with batches within and beyond a launch's 256 images."""
    bundle = random_bundle(tmp_path / "bundle", architecture)
    images, bound = noise(600), tolerance("cuda", "fp32", architecture.value_range)
    engine = Engine(bundle, device="cuda")
    found = engine.predict_stages(images)
    exact = reference.network(bundle.parameters(), architecture, images[-2:])
    for name in ("p", "eta", "delta"):
        scale = max(1.0, float(np.abs(getattr(exact, name)).max()))
        assert np.abs(getattr(found, name)[-2:] - getattr(exact, name)).max() <= bound.stages * scale
    cuts = [(0, 600), (1, 2), (255, 511), (3, 260), (0, 256), (599, 600), (40, 47), (10, 10)]
    with ThreadPoolExecutor(8) as callers:
        for (begin, end), ages in zip(
            cuts * 4, callers.map(lambda cut: engine.predict(images[slice(*cut)]), cuts * 4), strict=True
        ):
            np.testing.assert_array_equal(ages, found.age[begin:end])
