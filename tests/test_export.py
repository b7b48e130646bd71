"""``ssr-train export``: graphs agree with the reference, read well, are refused where they do not fit."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import RELEASED, ReleasedBundles, Serve, material, unwritable
from numpy.typing import NDArray
from random_bundles import (
    quantized_bundle,
    random_bundle,
    random_contract,
    random_parameters,
    random_quantization,
)
from ssr_client.gather import gather
from test_cli_train import refused, ssr_train
from tolerances import REQUIRED, required, tolerance

from ssr_bundle.bundle import Bundle, BundleError, copy_bundle, read_bundle
from ssr_bundle.contract import Architecture, Input, Interface, Interval, Output
from ssr_bundle.errors import SsrError
from ssr_ops import quantized, reference
from ssr_ops.export import PRECISIONS, ExportError, onnx_name
from ssr_ops.export.network import build_onnx
from ssr_ops.export.runtime import check_onnx, replay_onnx
from ssr_ops.export.write import export, export_file
from ssr_ops.golden import write_bundle
from ssr_ops.shipped import default_bundle
from ssr_train.quantize.quantizer import find_quantization

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

STAGES = ("p", "eta", "delta")
PEOPLE = 64
Images = NDArray[np.uint8]
Arrays = dict[str, NDArray[Any]]
Change = Callable[[NDArray[Any]], NDArray[Any]]


def run(model: bytes, images: Images) -> Arrays:
    """Outputs by name, in ONNX Runtime on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    (image,) = session.get_inputs()
    assert (image.type, image.shape) == ("tensor(uint8)", ["n", 64, 64, 3])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {image.name: images}), strict=True))


def built(bundle: Bundle, precision: str = "fp32", stages: bool = False) -> bytes:
    data: bytes = build_onnx(bundle, precision, stage_outputs=stages).SerializeToString()
    return data


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Interface, str], Images]:
    """Faces of :data:`PEOPLE` portraits each: ``some`` to calibrate on, ``others`` that it never saw."""
    files = sorted(material("real/portraits").glob("*.jpg"))
    photos = {"some": files[:PEOPLE], "others": files[PEOPLE : 2 * PEOPLE]}
    found: dict[tuple[str, str], Images] = {}

    def crops(interface: Interface, name: str) -> Images:
        key = (interface.sha256, name)  # released networks cut each in its own way
        if key not in found:
            folder = tmp_path_factory.mktemp(name)
            for photo in photos[name]:
                shutil.copy(photo, folder)
            found[key] = gather(folder, interface, 0).images
        return found[key]

    return crops


@pytest.fixture(scope="module", params=RELEASED)
def calibrated(
    request: pytest.FixtureRequest,
    released: ReleasedBundles,
    faces: Callable[[Interface, str], Images],
    tmp_path_factory: pytest.TempPathFactory,
) -> Bundle:
    """Each released network, quantized on portraits."""
    bundle = read_bundle(released(request.param))
    crops = faces(bundle.contract.interface, "some")
    found = find_quantization(bundle.parameters(), bundle.contract.architecture, crops)
    path = tmp_path_factory.mktemp("calibrated") / request.param
    return copy_bundle(bundle, replace(bundle.contract, quantization=found), path)


@pytest.fixture(scope="module")
def default() -> Bundle:
    return read_bundle(default_bundle())


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    return Path(shutil.copytree(default_bundle(), tmp_path / "bundle"))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_released_networks_on_golden_images(calibrated: Bundle, precision: str) -> None:
    """Answers on golden faces, noise and checkers; p, eta and Delta of all of them."""
    contract, golden = calibrated.contract, calibrated.golden()
    found = run(built(calibrated, precision, stages=True), golden["images"])
    row = tolerance("onnx", precision, contract.architecture.value_range)
    answers = found[contract.interface.output.name]
    assert (answers.dtype, answers.shape) == (np.float32, (len(golden["images"]), 1))
    drift = np.abs(answers[:, 0] - golden["output"])
    assert drift[: len(golden["crops"])].max() <= required("onnx", precision, contract).few
    assert drift.max() <= row.anywhere
    if precision == "fp32":
        assert drift[: len(golden["crops"])].max() <= row.faces
    expected = {name: golden[name] for name in STAGES}
    if precision == "int8":
        assert contract.quantization is not None
        network = quantized.int8(
            calibrated.parameters(), contract.architecture, contract.quantization, golden["images"]
        )
        expected = {name: getattr(network.stages, name) for name in STAGES}
    for name, values in expected.items():
        off = np.abs(found[name] - values).max() / max(1.0, np.abs(values).max())
        assert off <= row.stages, (name, off)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_released_networks_on_people_whom_calibration_never_saw(
    calibrated: Bundle, precision: str, faces: Callable[[Interface, str], Images]
) -> None:
    contract = calibrated.contract
    crops = faces(contract.interface, "others")
    assert len(crops) == PEOPLE
    expected = reference.answer(
        contract, reference.network(calibrated.parameters(), contract.architecture, crops)
    )
    name = contract.interface.output.name
    drift = run(built(calibrated, precision), crops)[name][:, 0] - expected[name]
    size = np.abs(drift)
    found = {
        "mean": size.mean(),
        "signed": abs(drift.mean()),
        "p99": np.percentile(size, 99),
        "max": size.max(),
    }
    for quantity, limit in required("onnx", precision, contract).bounds(many=True).items():
        assert found[quantity] <= limit, (quantity, found[quantity])


ARCHITECTURES = {
    "K=1": Architecture(stages=(5,), width_x=9, width_s=7, width_fusion=4),
    "K=2, lambdas": Architecture(stages=(2, 4), lambda_index=0.3, lambda_width=0.7, value_range=60.0),
    "K=3, no dynamic range": Architecture(lambda_index=0.0, lambda_width=0.0),
    "K=4": Architecture(stages=(3, 1, 2, 4), denominator_floor=0.2),
    "V=1": Architecture(value_range=1.0),
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_any_architecture(name: str, tmp_path: Path) -> None:
    architecture = ARCHITECTURES[name]
    bundle = quantized_bundle(tmp_path / "b", architecture, seed=3)
    contract, golden = bundle.contract, bundle.golden()
    assert contract.quantization is not None
    output = contract.interface.output.name
    row = tolerance("onnx", "fp32", architecture.value_range)
    exact = run(built(bundle, stages=True), golden["images"])
    assert np.abs(exact[output][:, 0] - golden["output"]).max() <= row.anywhere
    for stage in STAGES:
        assert np.abs(exact[stage] - golden[stage]).max() <= row.stages * max(1, np.abs(golden[stage]).max())
    coarse = run(built(bundle, "int8", stages=True), golden["images"])
    network = quantized.int8(bundle.parameters(), architecture, contract.quantization, golden["images"])
    for stage in STAGES:
        values = getattr(network.stages, stage)
        off = np.abs(coarse[stage] - values)
        assert off.mean() <= 0.1 * np.abs(golden[stage] - values).mean() + 1e-6, stage
    half = run(built(bundle, "fp16", stages=True), golden["images"])
    bound = tolerance("onnx", "fp16", architecture.value_range).stages
    for stage in STAGES:
        assert np.abs(half[stage] - golden[stage]).max() <= bound * max(1, np.abs(golden[stage]).max())


@pytest.fixture(scope="module")
def at_the_floor(tmp_path_factory: pytest.TempPathFactory) -> dict[float, Bundle]:
    """By p, networks with that for every p and with widths at the floor: in float32, 1 + tanh(-20) is 0."""
    architecture = Architecture()
    contract = random_contract(architecture, quantization=random_quantization(architecture))
    parameters = random_parameters(architecture)
    bundles = {}
    for p in (1e-9, 0.5):
        for k in range(3):
            for layer, bias in (("delta", -20.0), ("p", p)):
                parameters[f"stages.{k}.{layer}.weight"][:] = 0
                parameters[f"stages.{k}.{layer}.bias"][:] = bias
        bundles[p] = write_bundle(tmp_path_factory.mktemp("floor") / "bundle", contract, parameters)
    return bundles


@pytest.mark.parametrize("precision", PRECISIONS)
def test_floor_and_clip(precision: str, at_the_floor: dict[float, Bundle]) -> None:
    for p, bundle in at_the_floor.items():
        found = run(built(bundle, precision, stages=True), bundle.golden()["images"])
        expected = reference.soft_stagewise_regression(
            *(found[name] for name in STAGES), stages=(3, 3, 3), value_range=101.0
        )
        assert (found["delta"] == -1).all()
        assert (expected > 101).all() == (p == 0.5)
        assert (expected > 1).all()
        np.testing.assert_allclose(found["age"][:, 0], np.minimum(expected, 101), rtol=1e-5)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_any_batch_and_an_image_does_not_depend_on_it(default: Bundle, precision: str) -> None:
    model, images = built(default, precision), default.golden()["images"]
    expected = np.concatenate([run(model, images[i : i + 1])["age"] for i in range(len(images))])
    for count in (1, 7, 128):
        found = run(model, np.resize(images, (count, *images.shape[1:])))["age"]
        np.testing.assert_allclose(found, np.resize(expected, (count, 1)), atol=1e-4)


def test_calibrated_intervals(default: Bundle, tmp_path: Path) -> None:
    output = default.contract.interface.output
    ages = np.sort(default.golden()["output"][: len(default.golden()["crops"])])
    between = tuple(float(edge) for edge in (ages[1:] + ages[:-1]) / 2)
    for i, edges in enumerate(((), between[:1], between)):
        interval = Interval(0.9, edges, tuple(1.5 + 2.5 * ((3 * k) % 4) for k in range(len(edges) + 1)))
        contract = replace(default.contract, interval=interval)
        bundle = write_bundle(tmp_path / str(i), contract, default.parameters())
        model = built(bundle)
        found = run(model, bundle.golden()["images"])
        assert list(found) == [output.name, f"{output.name}_interval"]
        np.testing.assert_allclose(
            found["age_interval"], bundle.golden()["output_interval"], atol=1e-3, err_msg=str(edges)
        )
        assert replay_onnx(model, bundle).worst < 1e-3


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_person_can_read_it(default: Bundle, precision: str) -> None:
    """One name a node and its tensor, shapes everywhere, no leftovers, float32 from the fusion maps on."""
    model = build_onnx(default, precision, stage_outputs=True)
    onnx.checker.check_model(model, full_check=True)
    graph = model.graph
    assert [node.name for node in graph.node] == [node.output[0] for node in graph.node]
    used = {name for node in graph.node for name in node.input}
    outputs = {output.name for output in graph.output}
    assert outputs == {"age", *STAGES}
    assert {node.name for node in graph.node} <= used | outputs
    assert {constant.name for constant in graph.initializer} <= used
    assert not {node.op_type for node in graph.node} & {"Identity", "Constant", "Dropout", "Shape", "Gather"}
    assert {"x.0.conv", "x.0", "s.3", "stages.0.fuse_x", "stages.2.eta"} <= {node.name for node in graph.node}
    shapes = {info.name: info.type.tensor_type for info in [*graph.value_info, *graph.output]}
    kinds: dict[str, set[int]] = {"convolutions": set(), "head": set()}
    for node in graph.node:
        dimensions = shapes[node.name].shape.dim
        assert node.name.endswith(".weight") or dimensions[0].dim_param == "n", node.name
        assert all(d.dim_value > 0 for d in dimensions[1:]), node.name
        part = "head" if node.op_type in ("Gemm", "ReduceSum", "Div", "Clip", "Max") else "convolutions"
        if part == "head" or node.op_type == "Conv":
            kinds[part].add(shapes[node.name].elem_type)
    half = {onnx.TensorProto.FLOAT16 if precision == "fp16" else onnx.TensorProto.FLOAT}
    assert kinds == {"convolutions": half, "head": {onnx.TensorProto.FLOAT}}
    assert "BGR" in graph.input[0].doc_string.upper()
    assert "years" in graph.output[0].doc_string


def test_int8_is_what_tensorrt_takes(default: Bundle) -> None:
    """Symmetric s8 alone, one scale a map, one a channel of weights; every layer but the first blocks."""
    graph = build_onnx(default, "int8").graph
    values = {constant.name: onnx.numpy_helper.to_array(constant) for constant in graph.initializer}
    makers = {node.name: node for node in graph.node}
    for node in graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            scale, zero = values[node.input[1]], values[node.input[2]]
            assert zero.dtype == np.int8
            assert not zero.any()
            assert (scale > 0).all()
            assert scale.ndim == (1 if node.name.endswith(".weight") else 0)
        if node.op_type == "Conv":
            quantizers = [makers[name].op_type for name in node.input if name in makers]
            first = node.name in ("x.0.conv", "s.0.conv")
            assert quantizers == (["Transpose"] if first else ["DequantizeLinear"] * 2), node.name


def test_export_writes_all_or_nothing(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (copied / "contract.json").read_bytes()
    with pytest.raises(ExportError, match=r"precision 'fp8' is unknown, expected one of fp32, fp16, int8"):
        export(copied, ("fp32", "fp8"))
    with monkeypatch.context() as patch:
        patch.setitem(REQUIRED, ("onnx", "int8"), replace(REQUIRED["onnx", "int8"], p99=1e-9))
        with pytest.raises(ExportError, match=r"model\.int8\.onnx: in ONNX Runtime .* allowed 1e-09"):
            export(copied, PRECISIONS)
    assert (copied / "contract.json").read_bytes() == before
    assert not [path for path in copied.iterdir() if "onnx" in path.name or path.name.startswith(".")]
    written = export(copied, PRECISIONS)
    bundle = read_bundle(copied)
    for entry, precision in zip(written, PRECISIONS, strict=True):
        data = entry.path.read_bytes()
        assert entry.path == copied / onnx_name(precision)
        assert (entry.bytes, bundle.contract.files[entry.path.name].bytes) == (len(data), len(data))
        assert entry.replay == replay_onnx(data, bundle)
        assert entry.replay.images == len(bundle.golden()["images"])
        assert check_onnx(data, bundle) == precision
    with pytest.raises(ExportError, match=r"holds model\.fp16\.onnx already; --force"):
        export(copied, ("fp16",))
    export(copied, ("fp16",), stage_outputs=True, force=True)
    read_bundle(copied)
    data = (copied / "model.onnx").read_bytes()
    (copied / "model.onnx").write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(BundleError, match=r"model\.onnx: sha256 .* altered"):
        read_bundle(copied)


@pytest.mark.parametrize("spoil", ["altered", "truncated", "missing"])
def test_force_heals_the_graph_that_it_writes_and_no_other_file(spoil: str, copied: Path) -> None:
    def damage(name: str) -> bytes:
        data = (copied / name).read_bytes()
        (copied / name).unlink()
        if spoil != "missing":
            (copied / name).write_bytes(data[:-9] if spoil == "truncated" else data[:-1] + b"\xff")
        return data

    export(copied, ("fp32", "fp16"))
    whole = damage("model.onnx")
    with pytest.raises(BundleError, match=r"model\.onnx"):
        export(copied, ("fp32",))
    with pytest.raises(BundleError, match=r"model\.onnx"):
        export(copied, ("fp16",), force=True)
    export(copied, ("fp32",), force=True)
    assert (copied / "model.onnx").read_bytes() == whole
    read_bundle(copied)
    damage("model.onnx")
    weights = damage("model.safetensors")
    with pytest.raises(BundleError, match=r"model\.safetensors"):
        export(copied, ("fp32",), force=True)
    (copied / "model.safetensors").write_bytes(weights)
    export(copied, ("fp32", "fp16"), force=True)
    read_bundle(copied)


def test_out_is_no_file_that_the_bundle_pins(copied: Path, tmp_path: Path) -> None:
    export(copied)
    (tmp_path / "link").symlink_to(copied)
    for folder in (copied, tmp_path / "link"):
        with pytest.raises(ExportError, match=r"model\.onnx: is the bundle's own, pinned in its contract"):
            export_file(copied, "fp32", folder / "model.onnx", stage_outputs=True, force=True)
    read_bundle(copied)
    (tmp_path / "model.onnx").write_bytes(b"damaged")
    export_file(copied, "fp32", tmp_path / "model.onnx", force=True)
    assert (tmp_path / "model.onnx").read_bytes() == (copied / "model.onnx").read_bytes()


def test_a_folder_that_cannot_be_written_is_said_first(
    copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ssr_ops.export.write.build_onnx", lambda *_, **__: pytest.fail("work was done"))
    (tmp_path / "file").touch()
    with pytest.raises(SsrError, match="file: is a file, expected a folder for the graph"):
        export_file(copied, "fp32", tmp_path / "file" / "model.onnx")
    unwritable(monkeypatch, copied)
    with pytest.raises(SsrError, match=r"cannot be written to \(Read-only .*a folder for the graph"):
        export(copied)


def test_a_graph_of_another_origin_is_refused(default: Bundle, tmp_path: Path) -> None:
    model = built(default)
    contract = default.contract
    assert contract.quantization is not None
    relearned = replace(contract.quantization, ranges={**contract.quantization.ranges, "x.0": 3.0})
    others = {
        "interface_sha256": replace(contract, interface=Interface(input=Input(colour="rgb"))),
        "network_sha256": replace(
            contract, architecture=replace(contract.architecture, denominator_floor=0.01)
        ),
        "weights_sha256": contract,
    }
    for i, (key, changed) in enumerate(others.items()):
        parameters = default.parameters()
        if key == "weights_sha256":
            parameters["x.0.conv.bias"] = parameters["x.0.conv.bias"] + 1
        other = write_bundle(tmp_path / str(i), changed, parameters)
        for check in (check_onnx, replay_onnx):
            with pytest.raises(
                ExportError, match=rf"ssr\.{key} is [0-9a-f]+, expected [0-9a-f]+: exported from"
            ):
                check(model, other)
    requantized = copy_bundle(default, replace(contract, quantization=relearned), tmp_path / "requantized")
    assert check_onnx(model, requantized) == "fp32"
    remedy = r"run `ssr-train export .*requantized --precision int8 --force`$"
    with pytest.raises(ExportError, match=rf"ssr\.network_sha256 is .* {remedy}"):
        check_onnx(built(default, "int8"), requantized)
    plain = copy_bundle(default, replace(contract, quantization=None), tmp_path / "plain")
    with pytest.raises(ExportError, match=r"int8, but .*plain is not quantized"):
        check_onnx(built(default, "int8"), plain)
    recalibrated = replace(contract.quantization, calibration={"note": "another record of the same numbers"})
    same = copy_bundle(default, replace(contract, quantization=recalibrated), tmp_path / "same")
    assert check_onnx(built(default, "int8"), same) == "int8"


def test_what_is_no_graph_of_ours_is_refused(default: Bundle) -> None:
    model = built(default)
    for data in (model[: len(model) // 2], b"not a protocol buffer"):
        with pytest.raises(ExportError, match=r"^some\.onnx: not an ONNX file, or truncated$"):
            check_onnx(data, default, "some.onnx")
    stranger = onnx.load_model_from_string(model)
    del stranger.metadata_props[:]
    for data in (b"", stranger.SerializeToString()):
        with pytest.raises(ExportError, match=r"^some\.onnx: not written by `ssr-train export`"):
            check_onnx(data, default, "some.onnx")


def test_a_graph_that_answers_otherwise_is_refused(
    default: Bundle, at_the_floor: dict[float, Bundle]
) -> None:
    """Its metadata says it is the bundle's: the golden record finds out."""

    def refuse(bundle: Bundle, name: str, change: Change, message: str) -> None:
        model = build_onnx(bundle)
        (constant,) = [c for c in model.graph.initializer if c.name == name]
        constant.CopyFrom(onnx.numpy_helper.from_array(change(onnx.numpy_helper.to_array(constant)), name))
        with pytest.raises(ExportError, match=message):
            replay_onnx(model.SerializeToString(), bundle)

    refuse(default, "stages.0.p.bias", lambda v: v + np.float32(0.1), r"off by [0-9.]+ years on golden face")
    refuse(default, "x.1.bias", lambda v: v * np.float32(np.nan), r"age leaves 0\.\.101 on golden|off by nan")
    refuse(default, "x.1.weight", lambda v: v[:, :5], r"ONNX graph: ONNX Runtime refuses it: ")
    refuse(at_the_floor[0.5], "age.high", lambda v: v + np.float32(9), r"age leaves 0\.\.101 on golden")


def test_bundles_that_cannot_be_exported(default: Bundle, tmp_path: Path) -> None:
    architecture = Architecture()
    plain = random_bundle(tmp_path / "plain", architecture)
    with pytest.raises(
        ExportError, match=r"has no ranges for int8, run `ssr-train quantize .*plain --images DIR`"
    ):
        build_onnx(plain, "int8")
    parameters = default.parameters()
    parameters["x.1.conv.weight"] = parameters["x.1.conv.weight"] * np.float32(1e9)
    loud = write_bundle(tmp_path / "loud", default.contract, parameters)
    with pytest.raises(ExportError, match=r"fp16 cannot hold weights of x\.1: .* export fp32"):
        build_onnx(loud, "fp16")
    clash = Interface(output=Output(name="delta"))
    named = write_bundle(tmp_path / "named", replace(default.contract, interface=clash), default.parameters())
    assert list(run(built(named), named.golden()["crops"])) == ["delta"]
    with pytest.raises(ExportError, match="two tensors of the graph would be called 'delta'"):
        build_onnx(named, stage_outputs=True)
    clash = Interface(output=Output(name="bin_axis"))
    named = replace(default, contract=replace(default.contract, interface=clash))
    with pytest.raises(ExportError, match="two tensors of the graph would be called 'bin_axis'"):
        build_onnx(named)


def test_the_command_without_torch(copied: Path, tmp_path: Path) -> None:
    blocked = ("torch", "h5py", "cv2", "scipy", "matplotlib", "onnxscript")
    result = ssr_train("export", copied, "--precision", "all", blocked=blocked)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert len(lines) == 1 + len(PRECISIONS)
    for line, precision in zip(lines[1:], PRECISIONS, strict=True):
        assert str(copied / onnx_name(precision)) in line
        assert precision in line.split()
    assert "holds model.onnx already" in refused(ssr_train("export", copied))
    out = tmp_path / "new" / "stages.onnx"
    result = ssr_train("export", copied, "--stages", "--out", out, blocked=blocked)
    assert result.returncode == 0, result.stderr
    assert [output.name for output in onnx.load(out).graph.output] == ["age", *STAGES]
    assert "exists already" in refused(ssr_train("export", copied, "--out", out))
    assert "is a folder" in refused(ssr_train("export", copied, "--out", tmp_path))
    assert "'fp8' is unknown" in refused(ssr_train("export", copied, "--precision", "fp8"), 2)
    assert "--out takes one file" in refused(
        ssr_train("export", copied, "--precision", "all", "--out", out), 2
    )
    for package, name in (("onnx", "package onnx,"), ("onnxruntime", "ONNX Runtime")):
        missing = refused(ssr_train("export", copied, "--force", blocked=(package,)))
        assert name in missing
        assert "not installed: pip install 'ssr-serve[onnx]'" in missing


@pytest.mark.server
def test_an_exported_bundle_is_served_as_before(copied: Path, serve: Serve, default: Bundle) -> None:
    from ssr_client import AgeClient

    from ssr_ops import Engine

    export(copied, PRECISIONS)
    server = serve({"ssrnet": copied})
    crops = default.golden()["crops"]
    with AgeClient(server.grpc_url, model="ssrnet") as client:
        ages = client.predict(crops, colour=default.contract.interface.input.colour)
    assert np.array_equal(ages, Engine(str(copied)).predict(crops))
