"""One bundle as models of several backends: configuration, what is compiled, and all that is refused."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundle_faults import changed_weights
from google.protobuf import text_format
from ssr_client import AgeClient
from ssr_client.exchange import ServedModel
from tritonclient.grpc import model_config_pb2
from typer.testing import CliRunner

import ssr_ops
from ssr_bundle.bundle import Bundle, read_bundle, seal
from ssr_bundle.contract import Crop, Interval
from ssr_bundle.errors import SsrError
from ssr_bundle.tolerances import required
from ssr_ops.export import PRECISIONS, onnx_name
from ssr_ops.export.network import build_onnx
from ssr_ops.golden import write_bundle
from ssr_ops.shipped import default_bundle
from triton_repo import cli, config, repository
from triton_repo.compile.compiler import compile_plan
from triton_repo.compile.plan import PLAN_FILE, SIDECAR, Plan
from triton_repo.config import CUDA_GRAPH_SIZES, Options
from triton_repo.flavors import FLAVORS, ONNX, SSR, TENSORRT, Flavor, flavor_of
from triton_repo.server import Server
from triton_repo.tritonserver import TritonServer
from triton_repo.versions import list_versions

NO_BACKEND = "this tritonserver has no {} backend; a Triton container has"
GROUP = model_config_pb2.ModelInstanceGroup


@pytest.fixture(scope="session")
def bundle() -> Bundle:
    return read_bundle(default_bundle())


def rendered(bundle: Bundle, flavor: Flavor, **options: Any) -> Any:
    text = config.render("m", bundle.contract, Options(flavors=(flavor.name,), **options), flavor)
    return text_format.Parse(text, model_config_pb2.ModelConfig())


# -- config.pbtxt --------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(
    ("flavor", "backend", "platform", "kind"),
    [
        (TENSORRT, "tensorrt", "tensorrt_plan", GROUP.KIND_GPU),
        (ONNX, "onnxruntime", "onnxruntime_onnx", GROUP.KIND_CPU),
    ],
    ids=["tensorrt", "onnx"],
)
def test_config_of_a_stock_backend(
    bundle: Bundle, flavor: Flavor, backend: str, platform: str, kind: int, precision: str
) -> None:
    """The same tensors, batching and contract as ours; the client reads it as it reads ours."""
    options: dict[str, Any] = {"instances": 3, "threads": 2, "max_batch": 48, "queue_delay_us": 100}
    served = rendered(bundle, flavor, precision=precision, **options)
    assert (served.backend, served.platform) == (backend, platform)
    assert served.default_model_filename == (PLAN_FILE if flavor is TENSORRT else onnx_name(precision))
    assert [(g.kind, g.count) for g in served.instance_group] == [(kind, 3)]
    ours = rendered(bundle, SSR, **options)
    for field in ("input", "output", "max_batch_size", "dynamic_batching", "version_policy", "model_warmup"):
        assert getattr(served, field) == getattr(ours, field), field
    parameters = {key: value.string_value for key, value in served.parameters.items()}
    assert parameters.pop("interface_sha256") == bundle.contract.interface.sha256
    assert json.loads(parameters.pop("interface")) == bundle.contract.interface.to_json()
    threads = {"intra_op_thread_count": "2"} if flavor is ONNX else {}
    assert parameters == {"mode": "crops", "precision": precision, **threads}
    assert ServedModel.from_config(served, "m") == ServedModel.from_config(ours, "m")
    assert flavor_of(served) is flavor


def test_onnx_follows_the_device(bundle: Bundle) -> None:
    assert rendered(bundle, ONNX, device="gpu").instance_group[0].kind == GROUP.KIND_GPU


@pytest.mark.parametrize("most", [1, 5, 16, 64, 100])
def test_cuda_graphs_cover_every_small_batch_once(bundle: Bundle, most: int) -> None:
    cuda = rendered(bundle, TENSORRT, max_batch=most).optimization.cuda
    assert cuda.graphs
    covered: list[int] = []
    for spec in cuda.graph_spec:
        covered += range(spec.graph_lower_bound.batch_size, spec.batch_size + 1)
        for inputs in (spec.input, spec.graph_lower_bound.input):
            assert {name: list(shape.dim) for name, shape in inputs.items()} == {"image": [64, 64, 3]}
    assert covered == list(range(1, min(most, CUDA_GRAPH_SIZES[-1]) + 1))
    assert not rendered(bundle, ONNX, max_batch=most).HasField("optimization")


def test_calibrated_interval_is_declared_by_every_flavor(bundle: Bundle) -> None:
    calibrated = replace(bundle.contract, interval=Interval(0.9, (30.0,), (4.0, 7.0)))
    for flavor in FLAVORS.values():
        declared = config.declared(rendered(replace(bundle, contract=calibrated), flavor))
        assert declared == {"age": [1], "age_interval": [2]}


def test_a_stock_model_that_is_not_ours_stays_foreign() -> None:
    for backend in ("onnxruntime", "tensorrt", "python"):
        assert flavor_of(model_config_pb2.ModelConfig(name="m", backend=backend)) is None


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"flavors": ("onnx", "openvino")}, "flavor: expected ssr, tensorrt, onnx, got 'openvino'"),
        ({"flavors": ()}, "flavor: none given"),
        (
            {"flavors": ("ssr", "onnx"), "precision": "fp16"},
            "precision of flavor ssr: expected fp32, bf16, int8, auto, got 'fp16'",
        ),
        (
            {"flavors": ("ssr", "tensorrt"), "precision": "bf16"},
            "precision of flavor tensorrt: expected fp32, fp16, int8, got 'bf16'",
        ),
        ({"flavors": ("onnx",), "debug_outputs": True}, "debug-outputs: only flavor ssr"),
    ],
)
def test_options_that_do_not_fit(options: dict[str, Any], text: str) -> None:
    with pytest.raises(SsrError, match=text):
        Options(**options)


# -- build, publish, roll back ---------------------------------------------------------------------


@pytest.fixture(scope="session")
def built(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the shipped bundle as ssr and as onnx."""
    root = tmp_path_factory.mktemp("flavors") / "repo"
    repository.build([("ssrnet", bundle.path)], root, Options(flavors=("ssr", "onnx"), max_batch=16))
    return root


@pytest.fixture
def repo(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "repo"))


def test_build_makes_a_model_of_each_flavor(bundle: Bundle, built: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    assert sorted(p.name for p in built.iterdir()) == ["ssrnet", "ssrnet-onnx"]
    version = built / "ssrnet-onnx" / "1"
    assert {p.name for p in version.iterdir()} == {"contract.json", *bundle.contract.files, "model.onnx"}
    assert {p.name for p in (built / "ssrnet" / "1").iterdir()} == {"contract.json", *bundle.contract.files}
    model = repository.read_model(built / "ssrnet-onnx")
    assert [(v.number, v.fault, model.foreign) for v in model.versions] == [(1, "", False)]
    session = onnxruntime.InferenceSession(version / "model.onnx", providers=["CPUExecutionProvider"])
    crops = bundle.golden()["crops"]
    ages = session.run(["age"], {"image": crops})[0][:, 0]
    engine = ssr_ops.Engine(bundle.path).predict(crops)
    assert np.abs(ages - engine).max() <= 2 * required("onnx", "fp32", bundle.contract).few


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_each_precision_has_its_file(bundle: Bundle, tmp_path: Path, precision: str) -> None:
    options = Options(flavors=("onnx",), precision=precision)
    [model] = repository.build([("m", bundle.path)], tmp_path / "repo", options)
    assert model.name == "m-onnx"
    assert [v.fault for v in model.versions] == [""]
    assert model.config.default_model_filename == onnx_name(precision)
    assert (model.path / "1" / onnx_name(precision)).is_file()
    rows = list_versions(tmp_path / "repo")
    assert [(r["flavor"], r["precision"], r["state"]) for r in rows] == [("onnx", precision, "serving")]


def test_build_refuses(bundle: Bundle, repo: Path, tmp_path: Path) -> None:
    contract = replace(bundle.contract, quantization=None)
    plain = write_bundle(tmp_path / "plain", contract, bundle.parameters()).path
    with pytest.raises(SsrError, match="ssr-train quantize"):
        repository.build([("m", plain)], repo, Options(flavors=("onnx",), precision="int8"))
    with pytest.raises(SsrError, match="ssrnet-onnx: exists"):
        repository.build([("ssrnet", plain)], repo, Options(flavors=("onnx",)))
    both = Options(flavors=("ssr", "onnx"))
    with pytest.raises(SsrError, match="a-onnx: given twice"):
        repository.build([("a", plain), ("a-onnx", plain)], repo, both)
    assert sorted(p.name for p in repo.iterdir()) == ["ssrnet", "ssrnet-onnx"]


@pytest.mark.skipif(find_spec("tensorrt") is not None, reason="tensorrt is installed here")
def test_a_plan_needs_the_library_that_triton_serves(bundle: Bundle, tmp_path: Path) -> None:
    """TensorRT-RTX would build one, which no backend loads. Nothing is written, of neither flavor."""
    with pytest.raises(SsrError, match="tensorrt is not installed: pip install tensorrt"):
        repository.build([("m", bundle.path)], tmp_path / "repo", Options(flavors=("ssr", "tensorrt")))
    assert not (tmp_path / "repo").exists()


def test_an_exported_graph_is_taken_as_it_is(bundle: Bundle, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(bundle.path, tmp_path / "copy"))
    graph = build_onnx(bundle)
    graph.graph.doc_string += " Exported by hand."
    (copy / "model.onnx").write_bytes(graph.SerializeToString())
    seal(copy, bundle.contract)
    [model] = repository.build([("m", copy)], tmp_path / "repo", Options(flavors=("onnx",)))
    assert (model.path / "1" / "model.onnx").read_bytes() == (copy / "model.onnx").read_bytes()


def test_publish_makes_the_graph_anew_and_rollback_returns(
    bundle: Bundle, repo: Path, tmp_path: Path
) -> None:
    second = changed_weights(bundle, tmp_path / "second")
    version = repository.publish(second, repo, "ssrnet-onnx")
    assert (version.number, version.fault) == (2, "")
    graphs = [(repo / "ssrnet-onnx" / n / "model.onnx").read_bytes() for n in "12"]
    assert graphs[0] != graphs[1]
    assert repository.rollback(repo, "ssrnet-onnx")[0].number == 1
    assert repository.publish(repo / "ssrnet-onnx" / ".withdrawn-2", repo, "ssrnet-onnx").number == 3
    assert (repo / "ssrnet-onnx" / "3" / "model.onnx").read_bytes() == graphs[1]

    interface = replace(bundle.contract.interface, crop=Crop(margin=(0.2, 0.2)))
    other = write_bundle(
        tmp_path / "o", replace(bundle.contract, interface=interface), bundle.parameters()
    ).path
    with pytest.raises(SsrError, match="another interface is another model name"):
        repository.publish(other, repo, "ssrnet-onnx")
    (repo / "ssrnet-onnx" / "config.pbtxt").write_text('name: "ssrnet-onnx"\nbackend: "python"\n')
    with pytest.raises(SsrError, match="did not make this model of the backend 'python', expected one of"):
        repository.publish(second, repo, "ssrnet-onnx")


# -- what is refused before a server sees it ---------------------------------------------------------


def _altered(version: Path, bundle: Bundle) -> None:
    data = bytearray((version / "model.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (version / "model.onnx").write_bytes(data)


def _truncated(version: Path, bundle: Bundle) -> None:
    (version / "model.onnx").write_bytes((version / "model.onnx").read_bytes()[:-100])


def _not_there(version: Path, bundle: Bundle) -> None:
    (version / "model.onnx").unlink()
    seal(version, bundle.contract)


def _not_a_graph(version: Path, bundle: Bundle) -> None:
    (version / "model.onnx").write_bytes(b"\xff" * 1000)
    seal(version, bundle.contract)


def _of_other_weights(version: Path, bundle: Bundle) -> None:
    other = read_bundle(changed_weights(bundle, version.parents[1] / ".other"))
    (version / "model.onnx").write_bytes(build_onnx(other).SerializeToString())
    seal(version, bundle.contract)


def _in_another_precision(version: Path, bundle: Bundle) -> None:
    (version / "model.onnx").write_bytes(build_onnx(bundle, "fp16").SerializeToString())
    seal(version, bundle.contract)


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (_altered, "model.onnx: sha256"),
        (_truncated, "model.onnx: .* truncated or altered"),
        (_not_there, "model.onnx: missing, or not listed"),
        (_not_a_graph, "model.onnx"),
        (_of_other_weights, "weights"),
        (_in_another_precision, "fp16.*fp32"),
    ],
)
def test_a_graph_that_is_refused(bundle: Bundle, repo: Path, fault: Any, text: str) -> None:
    fault(repo / "ssrnet-onnx" / "1", bundle)
    [version] = repository.read_model(repo / "ssrnet-onnx").versions
    with pytest.raises(SsrError, match=text):
        raise SsrError(version.fault)
    assert repository.read_model(repo / "ssrnet").versions[0].fault == ""


@pytest.fixture(scope="session")
def plan(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """A real plan, built ahead of time."""
    if find_spec("tensorrt_rtx") is None:
        pytest.skip("tensorrt_rtx is not installed")
    cache = tmp_path_factory.mktemp("plans")
    return compile_plan(bundle, "fp32", ["sm_89"], batches=(1, 16, 16), cache=cache, library="tensorrt_rtx")


@pytest.fixture
def planned(bundle: Bundle, plan: Plan, repo: Path) -> Path:
    """``repo`` with a third model, whose sidecar says that TensorRT built the plan: what this machine can
    check of one it accepts; only TensorRT itself can know more."""
    folder = repo / "ssrnet-tensorrt"
    shutil.copytree(bundle.path, folder / "1")
    plan.copy_to(folder / "1")
    options = Options(flavors=("tensorrt",), max_batch=16)
    (folder / "config.pbtxt").write_text(config.render(folder.name, bundle.contract, options, TENSORRT))
    change_recipe(folder / "1", library="tensorrt", version="10.13.2.6")
    return repo


def change_recipe(folder: Path, **values: Any) -> None:
    content = json.loads((folder / SIDECAR).read_text())
    content["recipe"].update(values)
    (folder / SIDECAR).write_text(json.dumps(content))


def test_a_whole_plan_is_accepted(planned: Path, bundle: Bundle) -> None:
    model = repository.read_model(planned / "ssrnet-tensorrt")
    assert [(v.fault, v.contract) for v in model.versions] == [("", bundle.contract)]


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (lambda v: (v / PLAN_FILE).write_bytes((v / PLAN_FILE).read_bytes()[:-1]), "truncated or altered"),
        (lambda v: (v / PLAN_FILE).unlink(), "model.plan: missing"),
        (lambda v: (v / SIDECAR).unlink(), f"no {SIDECAR} beside it"),
        (lambda v: change_recipe(v, weights_sha256="0" * 64), "built for another contract: weights_sha256"),
        (lambda v: change_recipe(v, interface_sha256="0" * 64), "another contract: interface_sha256"),
        (lambda v: change_recipe(v, precision="fp16"), "built in fp16, the model is served in fp32"),
        (lambda v: change_recipe(v, batches=[1, 4, 8]), "batches of 1 to 8, the model takes 1 to 16"),
        (
            lambda v: change_recipe(v, library="tensorrt_rtx", version="1.7"),
            r"tensorrt_rtx 1\.7",
        ),
    ],
)
def test_a_plan_that_is_refused(planned: Path, fault: Any, text: str) -> None:
    fault(planned / "ssrnet-tensorrt" / "1")
    [version] = repository.read_model(planned / "ssrnet-tensorrt").versions
    with pytest.raises(SsrError, match=text):
        raise SsrError(version.fault)


def test_a_plan_that_no_backend_loads(planned: Path, plan: Plan) -> None:
    """TensorRT-RTX, as it really built it."""
    plan.copy_to(planned / "ssrnet-tensorrt" / "1")
    [version] = repository.read_model(planned / "ssrnet-tensorrt").versions
    assert f"built by tensorrt_rtx {plan.recipe.version}, which no backend of Triton loads" in version.fault


# -- a real server -----------------------------------------------------------------------------------


@pytest.mark.server
def test_one_flavor_serves_though_the_server_lacks_the_others(
    bundle: Bundle, planned: Path, tmp_path: Path, tritonserver: TritonServer
) -> None:
    if {"onnxruntime", "tensorrt"} & {p.name for p in (tritonserver.root / "backends").glob("*")}:
        pytest.skip("this tritonserver has the stock backends")
    with Server(planned, tritonserver=tritonserver) as server, AgeClient(server.grpc_url) as client:
        assert [s.model for s in server.served] == ["ssrnet"]
        expected = {
            ("ssrnet-onnx", None): NO_BACKEND.format("onnxruntime"),
            ("ssrnet-tensorrt", None): NO_BACKEND.format("tensorrt"),
        }
        assert {(f.model, f.version): f.reason for f in server.failures} == expected
        images = np.random.default_rng(3).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
        assert client.predict(images).tobytes() == ssr_ops.Engine(bundle.path).predict(images).tobytes()
        _truncated(planned / "ssrnet-onnx" / "1", bundle)
        repository.publish(changed_weights(bundle, tmp_path / "second"), planned, "ssrnet")
        server.refresh()
        assert [(s.model, s.versions) for s in server.served] == [("ssrnet", (2, 1))]
        reasons = {f.model: f.reason for f in server.failures if f.version == 1}
        assert "truncated or altered" in reasons["ssrnet-onnx"]


def test_strict_refuses_a_flavor_that_cannot_serve(repo: Path, tritonserver: TritonServer) -> None:
    command = [sys.executable, "-m", "triton_repo.cli", "run", "--repo", str(repo), "--strict"]
    command += ["--http-port", "0", "--grpc-port", "0", "--metrics-port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "--strict: not everything serves" in done.stderr
    assert f"ssrnet-onnx: {NO_BACKEND.format('onnxruntime')}" in done.stderr
    assert "Traceback" not in done.stderr


def test_nothing_but_lacking_flavors(repo: Path, tritonserver: TritonServer) -> None:
    shutil.rmtree(repo / "ssrnet")
    with pytest.raises(SsrError, match="nothing to serve\n  ssrnet-onnx: this tritonserver has no onnx"):
        Server(repo, tritonserver=tritonserver).start()


@pytest.mark.server
@pytest.mark.parametrize("flavor", [TENSORRT, ONNX], ids=["tensorrt", "onnx"])
def test_a_real_server_takes_the_configuration(
    bundle: Bundle, repo: Path, tritonserver: TritonServer, flavor: Flavor
) -> None:
    """All of it but what only the stock backend can take: its name, its file, its threads, its GPU. With our
    backend in its place, the server's core checks the rest, runs the warm-up and serves."""
    served = rendered(bundle, flavor)
    served.name, served.backend, served.platform = "ssrnet", "ssr", ""
    served.default_model_filename = ""
    served.instance_group[0].kind = GROUP.KIND_CPU
    served.parameters.pop("intra_op_thread_count", None)
    (repo / "ssrnet" / "config.pbtxt").write_text(config.to_text(served))
    shutil.rmtree(repo / "ssrnet-onnx")
    with Server(repo, tritonserver=tritonserver, watch=False) as server:
        assert server.failures == []
        taken = config.from_json(server.control.config("ssrnet"))
        assert taken.optimization.cuda == served.optimization.cuda
        with AgeClient(server.grpc_url) as client:
            assert len(client.predict(np.zeros((64, 64, 64, 3), np.uint8))) == 64


# -- the command line ----------------------------------------------------------------------------------


def test_flavors_from_the_command_line(tmp_path: Path) -> None:
    arguments = ["build", "--bundle", "m=default", "--repo", str(tmp_path / "repo")]
    done = CliRunner().invoke(cli.app, [*arguments, "--flavor", "ssr,onnx", "--flavor", "onnx"])
    assert done.exit_code == 0, done.output
    assert f"{tmp_path}/repo/m-onnx: version 1 in fp32" in done.output
    assert [(r["model"], r["flavor"]) for r in list_versions(tmp_path / "repo")] == [
        ("m", "ssr"),
        ("m-onnx", "onnx"),
    ]
    done = CliRunner().invoke(cli.app, [*arguments, "--flavor", "onx"])
    assert done.exit_code == 2
    assert "flavor: expected ssr, tensorrt, onnx, got 'onx'" in done.stderr


def test_without_onnx_the_flavor_says_what_to_install(tmp_path: Path) -> None:
    """And flavor ssr needs none of it."""
    code = "import sys; sys.modules['onnx'] = None; from triton_repo.cli import main; main()"
    for flavor, status in (("onnx", 1), ("ssr", 0)):
        command = [sys.executable, "-c", code, "build", "--bundle", "default", "--flavor", flavor]
        done = subprocess.run(
            [*command, "--repo", str(tmp_path / flavor)], capture_output=True, text=True, timeout=60
        )
        assert done.returncode == status, done.stderr
        if status:
            expected = "ssr-serve: flavor onnx: onnx is not installed: pip install 'ssr-serve[onnx]'"
            assert done.stderr.strip() == expected
