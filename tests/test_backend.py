"""The backend in a stock tritonserver, over real gRPC."""

from __future__ import annotations

import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from random_bundles import random_contract, random_parameters
from safetensors import numpy as safetensors

from ssr_bundle.bundle import MODEL_FILE, read_bundle, seal
from ssr_bundle.contract import Architecture, Interface, Interval, Output
from ssr_ops import Engine, _native
from ssr_ops.golden import write_bundle

pytest.importorskip("tritonclient.grpc", reason="tritonclient is not installed (extra: serve)")

import tritonclient.grpc as grpc
from raw_server import LIBRARY, RawServer
from tritonclient.utils import InferenceServerException, shared_memory

from triton_repo.tritonserver import TritonServer

pytestmark = pytest.mark.server

DEBUG = ("p", "eta", "delta")


class Bundles:
    """Bundles of random weights, each made once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def make(
        self, name: str, architecture: Architecture | None = None, seed: int = 0, **changes: object
    ) -> Path:
        path = self.folder / name
        if not path.exists():
            architecture = architecture or Architecture()
            write_bundle(
                path,
                random_contract(architecture, **{"provenance": {}, **changes}),
                random_parameters(architecture, seed),
            )
        return path


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Bundles:
    return Bundles(tmp_path_factory.mktemp("bundles"))


@pytest.fixture(scope="module")
def plain(bundles: Bundles) -> Path:
    return bundles.make("plain")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, tritonserver: TritonServer) -> Iterator[RawServer]:
    running = RawServer(tmp_path_factory.mktemp("server"), tritonserver)
    yield running
    running.close()


@pytest.fixture(scope="module")
def debug_model(server: RawServer, plain: Path) -> str:
    return server.add("debug", plain, debug_outputs=True, max_batch=256)


def noise(n: int, seed: int = 0) -> np.ndarray:
    """Images that differ in brightness and contrast as well, so that answers differ."""
    rng = np.random.default_rng(seed)
    level, spread = rng.uniform(30, 220, (n, 1, 1, 3)), rng.uniform(5, 120, (n, 1, 1, 1))
    return np.clip(rng.normal(level, spread, (n, 64, 64, 3)), 0, 255).astype(np.uint8)


def image_input(images: np.ndarray) -> grpc.InferInput:
    tensor = grpc.InferInput("image", list(images.shape), "UINT8")
    tensor.set_data_from_numpy(images)
    return tensor


def infer(
    server: RawServer, model: str, images: np.ndarray, *outputs: str, **options: Any
) -> grpc.InferResult:
    wanted = [grpc.InferRequestedOutput(name) for name in outputs] or None
    return server.client.infer(model, [image_input(images)], outputs=wanted, **options)


def output_names(result: grpc.InferResult) -> set[str]:
    return {output.name for output in result.get_response().outputs}


def response_parameters(result: grpc.InferResult) -> dict[str, str]:
    return {key: value.string_param for key, value in result.get_response().parameters.items()}


# -- answers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 7, 64, 256])
def test_answers_have_the_engines_bits(server: RawServer, debug_model: str, plain: Path, n: int) -> None:
    images = noise(n, seed=n)
    result = infer(server, debug_model, images)
    direct = Engine(plain).predict_stages(images)
    assert len(np.unique(direct.age)) > n // 2
    assert output_names(result) == {"age", *DEBUG}
    np.testing.assert_array_equal(result.as_numpy("age"), direct.age[:, None])
    for name in DEBUG:
        np.testing.assert_array_equal(result.as_numpy(name), getattr(direct, name))


def test_released_network(server: RawServer, morph2_bundle: Path) -> None:
    server.add("morph2", morph2_bundle, threads=2)
    images = read_bundle(morph2_bundle).golden()["images"]
    found = infer(server, "morph2", images).as_numpy("age")
    np.testing.assert_array_equal(found[:, 0], Engine(morph2_bundle).predict(images))


@pytest.mark.parametrize("wanted", [["age"], ["delta"], ["eta", "age"], ["p", "eta", "delta"]])
def test_only_requested_outputs_are_produced(
    server: RawServer, debug_model: str, plain: Path, wanted: list[str]
) -> None:
    images = noise(3)
    result = infer(server, debug_model, images, *wanted)
    assert output_names(result) == set(wanted)
    direct = Engine(plain).predict_stages(images)
    for name in wanted:
        expected = direct.age[:, None] if name == "age" else getattr(direct, name)
        np.testing.assert_array_equal(result.as_numpy(name), expected)


def test_calibrated_bundle_gives_intervals_and_says_synthetic(server: RawServer, bundles: Bundles) -> None:
    bundle = bundles.make(
        "calibrated", interval=Interval(0.9, (30.0,), (5.0, 9.0)), provenance={"synthetic": True}
    )
    server.add("calibrated", bundle)
    images = noise(9)
    result = infer(server, "calibrated", images)
    engine = Engine(bundle)
    direct = engine.predict_full(images)
    assert output_names(result) == {"age", "age_interval"}
    np.testing.assert_array_equal(result.as_numpy("age")[:, 0], direct["age"])
    np.testing.assert_array_equal(result.as_numpy("age_interval"), direct["age_interval"])
    weights = read_bundle(bundle).contract.weights_sha256
    assert response_parameters(result) == {
        "weights_sha256": weights,
        "engine": f"fp32 {engine.implementation}",
        "synthetic": "true",
    }


def test_other_stages_and_probability(server: RawServer, bundles: Bundles) -> None:
    bundle = bundles.make("male", Architecture(stages=(2, 4), value_range=1.0))
    server.add("male", bundle, debug_outputs=True)
    images = noise(5)
    result = infer(server, "male", images)
    assert output_names(result) == {"male", *DEBUG}
    np.testing.assert_array_equal(result.as_numpy("male")[:, 0], Engine(bundle).predict(images))
    assert result.as_numpy("p").shape == (5, 6)
    assert result.as_numpy("delta").shape == (5, 2)


def test_weights_are_named_and_not_called_synthetic(server: RawServer, debug_model: str, plain: Path) -> None:
    parameters = response_parameters(infer(server, debug_model, noise(1), "age"))
    assert parameters == {
        "weights_sha256": read_bundle(plain).contract.weights_sha256,
        "engine": f"fp32 {Engine(plain).implementation}",
    }


def test_the_log_says_what_runs(server: RawServer, debug_model: str, plain: Path) -> None:
    weights = read_bundle(plain).contract.weights_sha256
    expected = f"debug version 1: {Engine(plain).implementation}, fp32 on cpu, threads 1, weights {weights}"
    assert server.log.read_text(errors="replace").count(expected) == 1


def test_warm_up(server: RawServer, plain: Path) -> None:
    server.add("warm", plain, warmup=True)
    np.testing.assert_array_equal(
        infer(server, "warm", noise(2)).as_numpy("age")[:, 0], Engine(plain).predict(noise(2))
    )


# -- batches ---------------------------------------------------------------------------------------


def test_eight_clients_of_mixed_sizes_are_merged(server: RawServer, plain: Path) -> None:
    model = server.add("merged", plain, max_batch=64, queue_delay_us=3000, instances=2)
    sizes = (1, 2, 3, 5, 8, 13, 31, 64)
    images = noise(64)
    expected = Engine(plain).predict(images)
    rounds = 6
    start = threading.Barrier(len(sizes))

    def work(size: int) -> None:
        with grpc.InferenceServerClient(server.url) as client:
            start.wait()
            for turn in range(rounds):
                first = turn % (len(images) - size + 1)
                result = client.infer(model, [image_input(images[first : first + size])])
                np.testing.assert_array_equal(result.as_numpy("age")[:, 0], expected[first : first + size])

    with ThreadPoolExecutor(len(sizes)) as pool:
        list(pool.map(work, sizes))
    statistics = server.statistics(model)
    requests = len(sizes) * rounds
    assert statistics.inference_stats.success.count == requests
    assert statistics.inference_stats.fail.count == 0
    assert statistics.inference_count == sum(sizes) * rounds
    assert statistics.execution_count < requests


class Merged:
    """A model that executes exactly when eight images are queued: what is sent together is one batch."""

    def __init__(self, server: RawServer, bundle: Path) -> None:
        self.server, self.engine = server, Engine(bundle)
        self.hash = read_bundle(bundle).contract.interface.sha256
        self.model = server.add("eight", bundle, max_batch=8, queue_delay_us=10_000_000, queue_timeout_ms=0)

    def send(self, requests: list[tuple[np.ndarray, dict[str, Any]]]) -> list[Any]:
        """The results or exceptions of requests that fill one batch."""
        with ThreadPoolExecutor(len(requests)) as pool:
            sent = [pool.submit(infer, self.server, self.model, images, **o) for images, o in requests]
            return [future.exception() or future.result() for future in sent]


@pytest.fixture(scope="module")
def merged(server: RawServer, plain: Path) -> Merged:
    return Merged(server, plain)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"interface_sha256": "0" * 64}, "another interface is another model name"),
        ({"interface_sha256": ""}, "another interface is another model name"),
        ({"interface_sha256": 7}, "expected a string of 64 hexadecimal digits"),
        ({"interface_sha256": True}, "expected a string of 64 hexadecimal digits"),
    ],
)
def test_a_refused_request_does_not_disturb_its_batch(
    merged: Merged, parameters: dict[str, Any], message: str
) -> None:
    before = merged.server.statistics(merged.model)
    images = noise(8)
    right = {"parameters": {"interface_sha256": merged.hash, "other": "ignored"}}
    first, bad, last = merged.send(
        [(images[:3], right), (images[3:5], {"parameters": parameters}), (images[5:], {})]
    )
    assert isinstance(bad, InferenceServerException)
    assert message in str(bad)
    assert bad.status() == "StatusCode.INVALID_ARGUMENT"
    if message.startswith("another"):
        assert merged.hash in str(bad)
        assert str(parameters["interface_sha256"]) in str(bad)
    expected = merged.engine.predict(images)
    np.testing.assert_array_equal(first.as_numpy("age")[:, 0], expected[:3])
    np.testing.assert_array_equal(last.as_numpy("age")[:, 0], expected[5:])

    after = merged.server.statistics(merged.model)
    assert after.execution_count - before.execution_count == 1
    assert after.inference_count - before.inference_count == 6
    assert after.inference_stats.success.count - before.inference_stats.success.count == 2
    assert after.inference_stats.fail.count - before.inference_stats.fail.count == 1
    assert 6 in {batch.batch_size for batch in after.batch_stats}


def test_a_batch_of_refused_requests_executes_nothing(merged: Merged) -> None:
    before = merged.server.statistics(merged.model)
    wrong = {"parameters": {"interface_sha256": "f" * 64}}
    results = merged.send([(noise(4), wrong), (noise(4), wrong)])
    assert all(isinstance(result, InferenceServerException) for result in results)
    after = merged.server.statistics(merged.model)
    assert after.execution_count == before.execution_count
    assert after.inference_stats.fail.count - before.inference_stats.fail.count == 2


def test_outputs_differ_between_requests_of_a_batch(server: RawServer, plain: Path) -> None:
    model = server.add(
        "eight_debug", plain, max_batch=8, queue_delay_us=10_000_000, queue_timeout_ms=0, debug_outputs=True
    )
    images = noise(8)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(infer, server, model, images[:3], "age")
        second = pool.submit(infer, server, model, images[3:], "delta", "p")
        results = first.result(), second.result()
    direct = Engine(plain).predict_stages(images)
    assert [output_names(r) for r in results] == [{"age"}, {"delta", "p"}]
    np.testing.assert_array_equal(results[0].as_numpy("age")[:, 0], direct.age[:3])
    np.testing.assert_array_equal(results[1].as_numpy("delta"), direct.delta[3:])
    np.testing.assert_array_equal(results[1].as_numpy("p"), direct.p[3:])


def test_cancelled_requests_are_skipped(server: RawServer, plain: Path) -> None:
    """Without dynamic batching only the backend looks at cancellation.

    A long request holds the instance while others queue behind it and are cancelled; on a busy machine
    that may take more than one try.
    """
    model = server.add("unbatched", plain, lambda c: c.ClearField("dynamic_batching"), max_batch=1024)
    long, short, queued = noise(1024), noise(64), 6
    done = threading.Semaphore(0)

    def send(images: np.ndarray) -> Any:
        return server.client.async_infer(
            model, [image_input(images)], callback=lambda result, error: done.release()
        )

    tries = 0
    while tries < 10:
        tries += 1
        send(long)
        time.sleep(0.05)
        calls = [send(short) for _ in range(queued)]
        time.sleep(0.05)
        for call in calls:
            call.cancel()
        for _ in range(1 + queued):
            assert done.acquire(timeout=60)
        answer = infer(server, model, noise(2)).as_numpy("age")[:, 0]
        np.testing.assert_array_equal(answer, Engine(plain).predict(noise(2)))
        statistics = server.statistics(model)
        if statistics.inference_stats.fail.count > 0:
            break
    assert 0 < statistics.inference_stats.fail.count <= queued * tries
    computed = statistics.inference_stats.success.count - 2 * tries
    assert statistics.inference_count == (1024 + 2) * tries + 64 * computed


def test_shared_memory_at_an_odd_offset(server: RawServer, debug_model: str, plain: Path) -> None:
    images = noise(4)
    region = shared_memory.create_shared_memory_region("ssr", "/ssr_test_backend", images.nbytes + 3)
    try:
        shared_memory.set_shared_memory_region(region, [images], offset=3)
        server.client.register_system_shared_memory("ssr", "/ssr_test_backend", images.nbytes + 3)
        tensor = grpc.InferInput("image", list(images.shape), "UINT8")
        tensor.set_shared_memory("ssr", images.nbytes, offset=3)
        result = server.client.infer(debug_model, [tensor])
        np.testing.assert_array_equal(result.as_numpy("age")[:, 0], Engine(plain).predict(images))
    finally:
        server.client.unregister_system_shared_memory("ssr")
        shared_memory.destroy_shared_memory_region(region)


# -- bad input over the wire -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((0, 64, 64, 3), np.uint8), "Expected 12288, got 0"),
        (np.zeros((257, 64, 64, 3), np.uint8), "256"),
        (np.zeros((1, 64, 64), np.uint8), "shape|dims"),
        (np.zeros((1, 64, 63, 3), np.uint8), "shape"),
        (np.zeros((1, 64, 64, 3), np.int8), "data-type|UINT8"),
    ],
)
def test_wrong_tensors_are_refused(
    server: RawServer, debug_model: str, plain: Path, images: np.ndarray, message: str
) -> None:
    tensor = grpc.InferInput("image", list(images.shape), "INT8" if images.dtype == np.int8 else "UINT8")
    tensor.set_data_from_numpy(images)
    with pytest.raises(InferenceServerException, match=message):
        server.client.infer(debug_model, [tensor])
    result = infer(server, debug_model, noise(1), "age")
    np.testing.assert_array_equal(result.as_numpy("age")[:, 0], Engine(plain).predict(noise(1)))


# -- broken configurations -------------------------------------------------------------------------


def set_parameter(key: str, value: str) -> Callable[[Any], None]:
    def edit(config: Any) -> None:
        config.parameters[key].string_value = value

    return edit


def add_output(name: str, *dims: int) -> Callable[[Any], None]:
    def edit(config: Any) -> None:
        config.output.add(name=name, data_type="TYPE_FP32").dims.extend(dims)

    return edit


def set_dims(field: str, *dims: int) -> Callable[[Any], None]:
    def edit(config: Any) -> None:
        tensor = getattr(config, field)[0]
        del tensor.dims[:]
        tensor.dims.extend(dims)

    return edit


BROKEN: dict[str, tuple[Callable[[Any], Any], str]] = {
    "other_interface": (
        lambda c: set_interface(c, Interface(output=Output(clip=(0.0, 90.0)))),
        "another interface is another model name",
    ),
    "hash_of_another": (set_parameter("interface_sha256", "0" * 64), "but interface_sha256 is 0000"),
    "interface_edited": (set_parameter("interface", "{}"), "parameter interface hashes to"),
    "no_interface": (lambda c: c.parameters.pop("interface"), "parameter interface is missing"),
    "no_hash": (lambda c: c.parameters.pop("interface_sha256"), "parameter interface_sha256 is missing"),
    "unknown_parameter": (
        set_parameter("thread", "1"),
        "parameter 'thread' is unknown, expected detector_sha256, interface,",
    ),
    "mode": (set_parameter("mode", "frames"), "parameter mode: 'frames' is unknown, expected crops or frame"),
    "mode_frame": (set_parameter("mode", "frame"), "parameter max_frame_pixels is missing"),
    "limit_of_frames": (set_parameter("max_boxes", "9"), "parameter max_boxes belongs to mode frame"),
    "precision": (set_parameter("precision", "fp8"), "precision 'fp8' is unknown, expected fp32"),
    "precision_not_calibrated": (set_parameter("precision", "int8"), "ssr-train quantize"),
    "threads_0": (set_parameter("threads", "0"), "parameter threads: '0', expected a whole number in 1..256"),
    "threads_text": (set_parameter("threads", "two"), "parameter threads: 'two', expected a whole number"),
    "threads_many": (set_parameter("threads", "257"), "parameter threads: '257', expected a whole number"),
    "unbatched": (lambda c: setattr(c, "max_batch_size", 0), "expected at least 1"),
    "input_name": (
        lambda c: setattr(c.input[0], "name", "picture"),
        "input 'picture' is unknown, expected image",
    ),
    "input_type": (
        lambda c: setattr(c.input[0], "data_type", 11),
        "data_type TYPE_FP32, expected TYPE_UINT8",
    ),
    "input_dims": (set_dims("input", 3, 64, 64), "input 'image' has dims [3, 64, 64], expected [64, 64, 3]"),
    "input_dynamic": (
        set_dims("input", -1, -1, 3),
        "input 'image' has dims [-1, -1, 3], expected [64, 64, 3]",
    ),
    "input_reshape": (
        lambda c: c.input[0].reshape.shape.extend([12288]),
        "input 'image': reshape is not supported",
    ),
    "input_optional": (lambda c: setattr(c.input[0], "optional", True), "optional is not supported"),
    "second_input": (
        lambda c: c.input.add(name="box", data_type=2).dims.append(4),
        "input 'box' is unknown, expected image",
    ),
    "output_name": (
        lambda c: setattr(c.output[0], "name", "male"),
        "output 'male' is unknown, expected one of age",
    ),
    "output_type": (
        lambda c: setattr(c.output[0], "data_type", 12),
        "data_type TYPE_FP64, expected TYPE_FP32",
    ),
    "output_dims": (set_dims("output", 2), "output 'age' has dims [2], expected [1]"),
    "debug_dims": (add_output("p", 12), "output 'p' has dims [12], expected [9]"),
    "interval": (add_output("age_interval", 2), "the bundle is not calibrated"),
    "no_answer": (
        lambda c: (setattr(c.output[0], "name", "p"), set_dims("output", 9)(c)),
        "output 'age' is not declared",
    ),
    "sequence": (
        lambda c: (c.ClearField("dynamic_batching"), c.sequence_batching.SetInParent()),
        "sequence_batching is not supported",
    ),
    "decoupled": (
        lambda c: setattr(c.model_transaction_policy, "decoupled", True),
        "decoupled is not supported",
    ),
    "response_cache": (
        lambda c: setattr(c.response_cache, "enable", True),
        "response_cache is not supported: a cached answer names no weights",
    ),
    "another_file": (
        lambda c: setattr(c, "default_model_filename", "other.safetensors"),
        "default_model_filename is not supported: what serves is the bundle",
    ),
    "file_by_gpu": (
        lambda c: c.cc_model_filenames.update({"8.0": "model.safetensors"}),
        "cc_model_filenames is not supported",
    ),
    "passive": (lambda c: setattr(c.instance_group[0], "passive", True), "passive is not supported"),
    "kind_model": (lambda c: setattr(c.instance_group[0], "kind", 3), "expected KIND_CPU or KIND_GPU"),
}


def set_interface(config: Any, interface: Interface) -> None:
    """The interface of another bundle, consistent in itself."""
    from ssr_bundle.contract import canonical_json

    config.parameters["interface"].string_value = canonical_json(interface.to_json())
    config.parameters["interface_sha256"].string_value = interface.sha256


@pytest.mark.parametrize("name", BROKEN)
def test_broken_configurations_are_refused(server: RawServer, plain: Path, name: str) -> None:
    edit, message = BROKEN[name]
    with pytest.raises(InferenceServerException) as caught:
        server.add(f"broken_{name}", plain, edit)
    assert message in str(caught.value)
    assert f"broken_{name}" in str(caught.value)


BROKEN_FRAMES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "batched": (lambda c: setattr(c, "max_batch_size", 4), "max_batch_size is 4, expected 0 in mode frame"),
    "merged": (
        lambda c: c.dynamic_batching.SetInParent(),
        "dynamic_batching is not supported in mode frame",
    ),
    "boxes_needed": (lambda c: setattr(c.input[1], "optional", False), "'boxes': expected it to be optional"),
    "no_landmarks": (lambda c: c.input.pop(), "declares 2 inputs, expected frame, boxes, landmarks"),
    "fixed_size": (
        set_dims("input", 480, 640, 3),
        "input 'frame' has dims [480, 640, 3], expected [-1, -1, -1]",
    ),
    "one_face": (set_dims("output", 1), "output 'age' has dims [1], expected [-1]"),
    "no_limit": (lambda c: c.parameters.pop("max_queue"), "parameter max_queue is missing, build the"),
    "no_detector": (
        lambda c: c.parameters.pop("detector_sha256"),
        "parameter detector_sha256 is missing",
    ),
    "another_detector": (
        set_parameter("detector_sha256", "0" * 64),
        "the detector's weights are none, the configuration says detector_sha256 0000",
    ),
    "limit_0": (set_parameter("max_queue", "0"), "max_queue: '0', expected a whole number in 1..1048576"),
    "limit_text": (set_parameter("max_boxes", "1e3"), "max_boxes: '1e3', expected a whole number"),
}


@pytest.mark.parametrize("name", BROKEN_FRAMES)
def test_broken_configurations_of_frames_are_refused(server: RawServer, plain: Path, name: str) -> None:
    from triton_repo.config import Options, parse, render_frame

    edit, message = BROKEN_FRAMES[name]

    def of_frames(config: Any) -> None:
        config.CopyFrom(parse(render_frame(config.name, read_bundle(plain).contract, Options())))
        edit(config)

    with pytest.raises(InferenceServerException) as caught:
        server.add(f"broken_frames_{name}", plain, of_frames)
    assert message in str(caught.value)


def test_gpu_instances_need_a_gpu(server: RawServer, plain: Path) -> None:
    """The server refuses by itself where there is no GPU, the backend where it has no CUDA engine."""
    if subprocess.run(["sh", "-c", "nvidia-smi -L"], capture_output=True).returncode == 0:
        pytest.skip("this machine has a GPU")
    with pytest.raises(InferenceServerException, match=r"GPU|CUDA"):
        server.add("broken_gpu", plain, device="gpu")


def test_defaults_of_the_parameters(server: RawServer, plain: Path) -> None:
    """mode, precision, threads and the instance group may be left out."""

    def edit(config: Any) -> None:
        for key in ("mode", "precision", "threads"):
            config.parameters.pop(key)
        config.ClearField("instance_group")

    server.add("defaults", plain, edit)
    gpu = _native.built_with_cuda and Path("/dev/nvidia0").exists()  # then the server takes that
    np.testing.assert_array_equal(
        infer(server, "defaults", noise(2)).as_numpy("age")[:, 0],
        Engine(plain, device="cuda" if gpu else "cpu").predict(noise(2)),
    )


# -- broken bundles --------------------------------------------------------------------------------


def reseal_with(folder: Path, **changed: np.ndarray) -> None:
    parameters = read_bundle(folder).parameters() | changed
    contract = read_bundle(folder).contract
    safetensors.save_file(parameters, folder / MODEL_FILE)
    seal(folder, contract)


CORRUPT: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated": (lambda f: (f / MODEL_FILE).write_bytes((f / MODEL_FILE).read_bytes()[:-4]), MODEL_FILE),
    "empty": (lambda f: (f / MODEL_FILE).write_bytes(b""), MODEL_FILE),
    "missing": (lambda f: (f / MODEL_FILE).unlink(), MODEL_FILE),
    "tampered": (lambda f: flip_last_byte(f / MODEL_FILE), MODEL_FILE),
    "no_contract": (lambda f: (f / "contract.json").unlink(), "no contract.json"),
    "contract_cut": (lambda f: (f / "contract.json").write_text("{"), "contract.json"),
    "nan": (lambda f: reseal_with(f, **{"s.0.conv.bias": np.full(16, np.nan, np.float32)}), MODEL_FILE),
    "shape": (lambda f: reseal_with(f, **{"s.0.conv.bias": np.zeros(3, np.float32)}), MODEL_FILE),
}


def flip_last_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("name", CORRUPT)
def test_corrupt_bundles_are_refused_by_file(server: RawServer, plain: Path, name: str) -> None:
    damage, file = CORRUPT[name]
    damage(server.put(f"corrupt_{name}", plain))
    with pytest.raises(InferenceServerException, match=re.escape(f"corrupt_{name}/1") + f"[:/ ]+{file}"):
        server.client.load_model(f"corrupt_{name}")


def test_nan_is_named(server: RawServer) -> None:
    with pytest.raises(InferenceServerException, match=r"s\.0\.conv\.bias"):
        server.client.load_model("corrupt_nan")


# -- life ------------------------------------------------------------------------------------------


def test_models_unload_and_load_again(server: RawServer, plain: Path) -> None:
    server.add("again", plain, instances=2)
    for _ in range(3):
        server.client.unload_model("again")
        server.client.load_model("again")
    np.testing.assert_array_equal(
        infer(server, "again", noise(2)).as_numpy("age")[:, 0], Engine(plain).predict(noise(2))
    )


def test_the_library_exports_its_entry_points_alone() -> None:
    shown = subprocess.run(["nm", "-D", LIBRARY], check=True, capture_output=True, text=True).stdout
    exported = {line.split()[-1] for line in shown.splitlines() if line.split()[-2] not in "Uw"}
    entry = ["Initialize", "Finalize", "GetBackendAttribute", "ModelInitialize", "ModelFinalize"]
    entry += ["ModelInstanceInitialize", "ModelInstanceFinalize", "ModelInstanceExecute"]
    assert exported == {f"TRITONBACKEND_{name}" for name in entry}
    needed = subprocess.run(["readelf", "-d", LIBRARY], check=True, capture_output=True, text=True).stdout
    assert "NEEDED" in needed
    assert "triton" not in "".join(line for line in needed.splitlines() if "NEEDED" in line)


def test_the_server_survived_all_of_this(server: RawServer, debug_model: str, plain: Path) -> None:
    assert server.process.poll() is None
    result = infer(server, debug_model, noise(3), "age")
    np.testing.assert_array_equal(result.as_numpy("age")[:, 0], Engine(plain).predict(noise(3)))
