"""``ssr-serve verify``: every rung agrees where it should, and the ladder says so when one does not."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from bundle_faults import broken_byte, changed_weights, foreign_weights
from conftest import RELEASED, ROOT, ReleasedBundles, material
from ssr_client.gather import gather
from typer.testing import CliRunner

import ssr_ops
from ssr_bundle import tolerances
from ssr_bundle.bundle import Bundle, copy_bundle, read_bundle, seal
from ssr_bundle.errors import SsrError
from ssr_bundle.tolerances import TABLE, Limits, required
from ssr_ops import implementations, native
from ssr_ops.shipped import default_bundle
from ssr_train.data.synthetic import draw_faces
from ssr_train.quantize import quantizer
from triton_repo import cli, flavors, repository
from triton_repo.compile import gpu
from triton_repo.compile.gpu import NotRunnable
from triton_repo.config import Options
from triton_repo.ladder import engines, over_grpc
from triton_repo.ladder.pictures import Pictures
from triton_repo.ladder.row import climb
from triton_repo.ladder.rung import STEPS, NotRun, Opened, Rung
from triton_repo.tritonserver import TritonServer
from triton_repo.view import Failure

ASTRONAUT = ROOT / "ssr_ops/assets/astronaut.jpg"
DRAWN = 40


class Found:
    """What one run of the command gave."""

    def __init__(self, *arguments: str | Path) -> None:
        self.result = CliRunner().invoke(cli.app, ["verify", *map(str, arguments), "--json"])
        self.status = self.result.exit_code
        self.error = str(self.result.exception or "") + self.result.stderr
        self.report = json.loads(self.result.stdout) if self.result.stdout.startswith("{") else {}

    def rows(self, **keys: str) -> list[dict[str, Any]]:
        rows = self.report.get("rows", [])
        return [row for row in rows if all(row[key] == value for key, value in keys.items())]

    def verdicts(self, **keys: str) -> set[str]:
        return {row["verdict"] for row in self.rows(**keys)}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of ready crops: drawn faces (synthetic)."""
    folder = tmp_path_factory.mktemp("drawn")
    for number, image in enumerate(draw_faces(DRAWN, 9).images):
        cv2.imwrite(str(folder / f"{number}.png"), image)
    return folder


@pytest.fixture(scope="module")
def default() -> Bundle:
    return read_bundle(default_bundle())


@pytest.fixture
def copy(default: Bundle, tmp_path: Path) -> Bundle:
    """The shipped bundle, to be spoiled."""
    return copy_bundle(default, default.contract, tmp_path / "bundle")


# -- it agrees -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(drawn: Path, tritonserver: TritonServer) -> Found:
    """Every rung of the shipped bundle."""
    return Found("default", "--images", drawn)


def test_every_rung_of_the_shipped_bundle(whole: Found) -> None:
    assert whole.status == 0, whole.error
    assert whole.report["passed"] is True
    for step, precisions in STEPS.items():
        for precision in precisions:
            assert whole.rows(step=step, precision=precision), (step, precision)
    ran = [row for row in whole.rows() if row["drift"]]
    assert {row["verdict"] for row in ran} == {"ok"}
    assert {(row["pictures"], row["images"]) for row in ran} == {("golden", 6), ("photos", DRAWN)}
    for row in whole.rows():
        assert row["verdict"] == "ok" or row["reason"], row


def test_every_implementation_is_a_rung(whole: Found) -> None:
    for precision in ("fp32", "bf16", "int8"):
        here = implementations(precision)
        for name in [n for n, p in TABLE if p == precision and n not in ("onnx", "cuda")]:
            expected = {"ok"} if name in here else {"not run"}
            assert whole.verdicts(step="native", precision=precision, by=name) == expected, name


def test_each_precision_is_an_arithmetic_of_its_own(whole: Found) -> None:
    """Were a rung's precision ignored, its row would be another's."""

    def mean(step: str, precision: str) -> float:
        return float(whole.rows(step=step, precision=precision, pictures="photos")[0]["drift"]["mean"])

    assert 0 < mean("native", "fp32") < 1e-3 < mean("native", "bf16") < mean("native", "int8")
    assert 0 < mean("onnx", "fp32") < 1e-3 < mean("onnx", "fp16") < mean("onnx", "int8")
    assert mean("onnx", "int8") != mean("native", "int8")


def test_served_rows_are_the_engines(whole: Found) -> None:
    for precision in STEPS["served"]:
        for pictures in ("golden", "photos"):
            (row,) = whole.rows(step="served", precision=precision, pictures=pictures)
            (engine,) = whole.rows(step="native", precision=precision, pictures=pictures, by=row["by"])
            assert row["exact"] is True
            assert row["drift"] == engine["drift"]
            assert row["by"] == implementations(precision)[0]


def test_tensorrt_without_a_gpu_is_neither(whole: Found) -> None:
    rows = whole.rows(step="tensorrt")
    if any(row["drift"] for row in rows):
        pytest.skip("this machine has a GPU for TensorRT")
    assert {row["verdict"] for row in rows} <= {"built, not run", "not run"}
    required_here = Found("default", "--rungs", "tensorrt", "--precision", "fp32", "--require-tensorrt")
    assert required_here.status == 1
    assert required_here.verdicts(step="tensorrt") == {"failed"}
    assert "1 of 2 rows fall short: tensorrt fp32" in required_here.error


QUANTIZED_ON = {"morph2": 48, "megaface_asian": 192, "imdb_gender_models": 48}
"""Crops, as few as each network can do with, for time."""


@pytest.mark.parametrize("name", RELEASED)
def test_released_networks_on_a_real_photo(
    name: str, released: ReleasedBundles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Quantized on the six faces of one photo, verified on the face of another."""
    monkeypatch.setattr(quantizer, "MOST", QUANTIZED_ON[name])
    for folder, photo in (("cast", material("faces/the_flash_cast.png")), ("astronaut", ASTRONAUT)):
        (tmp_path / folder).mkdir()
        shutil.copy(photo, tmp_path / folder)
    plain = read_bundle(released(name))
    crops = gather(tmp_path / "cast", plain.contract.interface, 31).images
    found = quantizer.find_quantization(plain.parameters(), plain.contract.architecture, crops)
    bundle = copy_bundle(plain, replace(plain.contract, quantization=found), tmp_path / "bundle")
    rungs = ["--rungs", "torch,native,onnx", "--images", tmp_path / "astronaut", "--jitter", "31"]
    climbed = Found(bundle.path, *rungs)
    assert climbed.status == 0, climbed.error
    assert climbed.report["photos"].endswith("1 faces in 1 pictures, 32 crops")
    assert {row["unit"] for row in climbed.rows()} == {plain.contract.interface.output.unit}
    for step in ("torch", "native", "onnx"):
        for precision in STEPS[step]:
            ran = climbed.rows(step=step, precision=precision, pictures="photos")
            assert ran
            assert {row["verdict"] for row in ran} == {"ok"}


def test_the_table_for_people(tritonserver: TritonServer) -> None:
    result = CliRunner().invoke(
        cli.app, ["verify", "default", "--rungs", "native,served", "--precision", "fp32"]
    )
    assert result.exit_code == 0, result.output
    for words in (
        "max 0.002, the engine's bits",
        "6 golden",
        "learned from drawn faces (synthetic)",
        "in years",
        "below 32 faces only the largest difference is held",
    ):
        assert words in result.stdout, words
    assert "served fp32 tritonserver" in result.stderr  # progress


# -- and says so when it does not ------------------------------------------------------------------


def exported(bundle: Bundle, tamper: Callable[[Any], None]) -> None:
    """Put a graph into the bundle as `ssr-train export` does, but ``tamper`` with it first."""
    from ssr_ops.export.network import build_onnx

    graph = build_onnx(bundle)
    tamper(graph)
    (bundle.path / "model.onnx").write_bytes(graph.SerializeToString())
    seal(bundle.path, bundle.contract)


def test_a_weight_that_changed_after_the_export(copy: Bundle) -> None:
    import onnx

    def tamper(graph: Any) -> None:
        (weight,) = (i for i in graph.graph.initializer if i.name == "stages.0.p.weight")
        values = onnx.numpy_helper.to_array(weight) * np.float32(1.05)
        weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))

    exported(copy, lambda graph: None)
    assert Found(copy.path, "--rungs", "onnx", "--precision", "fp32").status == 0
    exported(copy, tamper)
    found = Found(copy.path, "--rungs", "onnx", "--precision", "fp32")
    assert found.status == 1
    (row,) = found.rows(step="onnx")
    assert row["verdict"] == "failed"
    assert row["by"].endswith("model.onnx")
    assert "allowed 0.002" in row["reason"]
    assert f"onnx fp32 {row['by']} on golden: max" in found.error


def test_a_graph_of_another_bundle(copy: Bundle, default: Bundle, tmp_path: Path) -> None:
    from ssr_ops.export.network import build_onnx

    other = read_bundle(changed_weights(default, tmp_path / "other"))
    (copy.path / "model.onnx").write_bytes(build_onnx(other).SerializeToString())
    seal(copy.path, copy.contract)
    found = Found(copy.path, "--rungs", "native,onnx", "--precision", "fp32")
    assert found.status == 1
    assert found.verdicts(step="onnx") == {"failed"}
    assert "exported from another bundle" in found.rows(step="onnx")[0]["reason"]
    assert "failed" not in found.verdicts(step="native")


def test_a_tighter_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(tolerances.REQUIRED, ("native", "fp32"), Limits("tighter", max=1e-9))
    found = Found("default", "--rungs", "torch,native", "--precision", "fp32")
    assert found.status == 1
    assert found.verdicts(step="native", pictures="golden") == {"failed"}
    assert found.verdicts(step="torch") == {"ok"}
    count = len(implementations())
    assert (
        f"{count} of {len(found.rows())} rows fall short: native fp32 {implementations()[0]}" in found.error
    )


def test_a_server_that_takes_the_colours_for_others(
    tritonserver: TritonServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = over_grpc.ask

    def swapped(url: str, model: over_grpc.ServedVersion) -> Any:
        predict = honest(url, model)
        return lambda images: predict(np.ascontiguousarray(images[..., ::-1]))

    monkeypatch.setattr(over_grpc, "ask", swapped)
    found = Found("default", "--rungs", "served", "--precision", "fp32")
    assert found.status == 1
    (row,) = found.rows(step="served")
    assert "answers are not the engine's, by up to" in row["reason"]
    assert "allowed 0.002" in row["reason"]


def test_weights_that_the_record_was_not_made_with(copy: Bundle) -> None:
    foreign_weights(copy.path)
    found = Found(copy.path, "--rungs", "torch")
    assert found.status == 1
    assert found.verdicts(step="reference") == {"failed"}
    assert found.verdicts(step="torch") == {"ok"}


def pictures(faces: int) -> Pictures:
    images = np.zeros((faces + 2, 64, 64, 3), np.uint8)
    return Pictures("made", images, faces, np.linspace(20, 40, faces + 2))


@pytest.mark.parametrize(
    ("faces", "change", "reason"),
    [
        (40, lambda v: v, ""),
        (40, lambda v: v + 0.3 * (-1) ** np.arange(len(v)), ""),
        (40, lambda v: v + 0.3, "signed 0.3, allowed 0.2"),
        (40, lambda v: v + 0.5 * (-1) ** np.arange(len(v)), "mean 0.5, allowed 0.4"),
        (40, lambda v: v + 3.0 * (np.arange(len(v)) == 7), "p99 1.83, allowed 1.75"),
        (6, lambda v: v + 0.5, ""),
        (6, lambda v: v + 1.8 * (np.arange(len(v)) == 0), "max 1.8, allowed 1.75"),
        (6, lambda v: v + 5.0 * (np.arange(len(v)) == 6), ""),
        (6, lambda v: np.where(np.arange(len(v)) == 1, np.nan, v), "max nan, allowed 1.75"),
        (6, lambda v: np.where(np.arange(len(v)) == 7, np.nan, v), "1 of 8 answers are no number in 0..101"),
        (6, lambda v: np.where(np.arange(len(v)) == 7, 102, v), "no number in 0..101, the first 102"),
        (6, lambda v: v[:-1], "answers of shape (7,) to 8 pictures"),
    ],
)
def test_what_the_table_refuses(
    default: Bundle, faces: int, change: Callable[[Any], Any], reason: str
) -> None:
    made = pictures(faces)
    rung = Rung("native", "int8", "made up", lambda: Opened(lambda images: change(made.expected), "made up"))
    (row,) = climb(rung, [made], default.contract)
    assert (row.verdict, reason in row.reason) == ("failed" if reason else "ok", True), row.reason
    assert bool(row.reason) is bool(reason)
    json.dumps(row.to_json(), allow_nan=False)


def test_answers_that_are_not_the_twins(default: Bundle) -> None:
    made = pictures(6)
    near = np.nextafter(made.expected, 50)
    rung = Rung("native", "int8", "", lambda: Opened(lambda i: near, "", lambda i: made.expected))
    (row,) = climb(rung, [made], default.contract)
    assert (row.verdict, "8 of 8 answers are not the engine's" in row.reason) == ("failed", True)


def test_rungs_that_do_not_open(default: Bundle) -> None:
    def raising(error: Exception) -> Callable[[], Opened]:
        def open_rung() -> Opened:
            raise error

        return open_rung

    for error, verdict in (
        (NotRun("no such thing"), "not run"),
        (NotRun("no GPU", built=True), "built, not run"),
        (SsrError("damaged\n  twice"), "failed"),
        (OSError("disk"), "failed"),
    ):
        (row,) = climb(Rung("native", "fp32", "x", raising(error)), [pictures(6)], default.contract)
        assert (row.verdict, row.reason) == (verdict, str(error).replace("\n  ", "; "))


def test_many_faces_are_held_to_more_than_few(default: Bundle) -> None:
    limits = required("native", "int8", default.contract)
    assert limits.bounds(many=True) == {"mean": 0.40, "signed": 0.20, "p99": 1.75}
    assert limits.bounds(many=False) == {"max": 1.75}
    half = replace(default.contract.architecture, value_range=50.5)
    scaled = required("native", "int8", replace(default.contract, architecture=half))
    assert (scaled.mean, scaled.p99, scaled.max) == (0.20, 0.875, np.inf)


# -- what a machine lacks --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "step", "words"),
    [
        ("torch", "torch", "torch is not installed: pip install 'ssr-serve[train]'"),
        ("onnxruntime", "onnx", "onnxruntime is not installed"),
        ("tritonclient.grpc", "served", "is not installed: pip install 'ssr-client[photo]'"),
    ],
)
def test_a_missing_library_is_told_and_no_failure(
    module: str, step: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    found = Found("default", "--rungs", f"native,{step}", "--precision", "fp32")
    assert found.status == 0, found.error
    assert found.verdicts(step=step) == {"not run"}
    assert words in found.rows(step=step)[0]["reason"]
    alone = Found("default", "--rungs", step)
    assert alone.status == 1
    assert "nothing to compare" in alone.error


def test_only_a_missing_gpu_or_build_is_a_reason_not_to_run_cuda(
    default: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GPU that is there and fails (out of memory, a kernel that the build lacks) is a failed rung."""

    def no_gpu() -> None:
        raise NotRunnable("no GPU: none")

    def failing(*_: object, **__: object) -> None:
        raise SsrError("CUDA: cudaMalloc(&p): out of memory")

    (rung,) = [r for r in engines.native_rungs(default, "fp32") if r.by == "cuda"]
    monkeypatch.setattr(ssr_ops, "Engine", failing)
    for built, there, verdict, words in (
        (False, no_gpu, "not run", "this build of the native core has no CUDA"),
        (True, no_gpu, "not run", "no GPU: none"),
        (True, lambda: None, "failed", "CUDA: cudaMalloc(&p): out of memory"),
    ):
        monkeypatch.setattr(native, "native", SimpleNamespace(built_with_cuda=built))
        monkeypatch.setattr(gpu, "require", there)
        (row,) = climb(rung, [pictures(6)], default.contract)
        assert (row.verdict, row.reason) == (verdict, words)


def test_no_tensorrt(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("tensorrt", "tensorrt_rtx"):
        monkeypatch.setitem(sys.modules, module, None)
    found = Found("default", "--rungs", "native,tensorrt", "--precision", "fp32")
    assert (found.status, found.verdicts(step="tensorrt")) == (0, {"not run"})
    assert "no TensorRT is installed: pip install" in found.rows(step="tensorrt")[0]["reason"]


def test_a_gpu_that_the_library_does_not_build_for(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed")
    from triton_repo.compile import gpu
    from triton_repo.compile.library import Target

    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.setattr(gpu, "find", lambda: gpu.Gpu("NVIDIA H100", Target(9, 0)))
    found = Found("default", "--rungs", "native,tensorrt", "--precision", "fp32")
    assert (found.status, found.verdicts(step="tensorrt")) == (0, {"not run"})
    assert "does not build for the GPU at hand" in found.rows(step="tensorrt")[0]["reason"]


def test_a_stock_backend_that_refuses_its_model_fails(
    default: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a server without the backend is a reason not to run."""
    refused = SimpleNamespace(failures=[Failure("m", 1, "refused by the backend")], grpc_url="")
    rung = over_grpc.ServedVersion("m", 1, default, "fp32", flavors.ONNX).rung(lambda: refused)  # type: ignore[arg-type]
    for backends, verdict, words in (
        ({"onnxruntime": None}, "failed", "refused by the backend"),
        ({}, "not run", "has no onnxruntime backend"),
    ):
        monkeypatch.setattr(
            over_grpc, "find", lambda backends=backends: SimpleNamespace(backends=lambda: backends)
        )
        (row,) = climb(rung, [pictures(6)], default.contract)
        assert (row.verdict, words in row.reason) == (verdict, True), row.reason


def test_no_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TRITONSERVER", str(tmp_path / "none"))
    found = Found("default", "--rungs", "native,served", "--precision", "fp32,int8")
    assert (found.status, found.verdicts(step="served")) == (0, {"not run"})
    assert "no tritonserver: TRITONSERVER=" in found.rows(step="served")[0]["reason"]


def test_a_bundle_that_is_not_quantized(default: Bundle, tmp_path: Path) -> None:
    copy_bundle(default, replace(default.contract, quantization=None), tmp_path / "plain")
    found = Found(tmp_path / "plain", "--rungs", "native,onnx")
    assert found.status == 0, found.error
    for precision in ("bf16", "int8"):
        for row in found.rows(precision=precision):
            assert row["verdict"] == "not run"
            assert "not quantized" in row["reason"] or "this CPU or build" in row["reason"]
    assert found.verdicts(step="onnx", precision="fp16") == {"ok"}


# -- a repository ----------------------------------------------------------------------------------


def test_a_repository_with_several_versions(
    default: Bundle, tmp_path: Path, drawn: Path, tritonserver: TritonServer
) -> None:
    """Two versions in int8, one of a stock backend, and one that is damaged: the others are compared."""
    repo = tmp_path / "repo"
    repository.build([("ssrnet", default.path)], repo, Options(precision="int8", flavors=("ssr", "onnx")))
    repository.publish(changed_weights(default, tmp_path / "second"), repo, "ssrnet")
    before = sorted((str(p), p.lstat().st_mtime_ns) for p in repo.rglob("*"))
    found = Found(repo, "--images", drawn)
    assert sorted((str(p), p.lstat().st_mtime_ns) for p in repo.rglob("*")) == before
    assert found.status == 0, found.error
    for version in ("ssrnet/1", "ssrnet/2"):
        rows = found.rows(model=version, step="served")
        assert [(r["precision"], r["pictures"], r["exact"]) for r in rows] == [
            ("int8", "golden", True),
            ("int8", "photos", True),
        ]
    first, second = (found.rows(model=f"ssrnet/{n}", step="served")[1]["drift"] for n in (1, 2))
    assert first != second
    graph = found.rows(model="ssrnet-onnx/1", step="onnx")
    assert [row["verdict"] for row in graph] == ["ok", "ok"]
    assert graph[0]["by"].endswith("model.int8.onnx")
    (stock,) = found.rows(model="ssrnet-onnx/1", step="served")
    assert (stock["verdict"], "onnxruntime backend" in stock["reason"]) == ("not run", True)
    assert found.rows(precision="fp32") == []

    broken_byte(repo / "ssrnet" / "1")
    spoiled = Found(repo, "--rungs", "served")
    assert spoiled.status == 1
    (row,) = spoiled.rows(model="ssrnet/1")
    assert (row["verdict"], "altered" in row["reason"]) == ("failed", True)
    assert spoiled.verdicts(model="ssrnet/2", step="served") == {"ok"}
    assert "1 of 5 rows fall short: ssrnet/1 version: " in spoiled.error


def test_a_plan_in_a_version_folder(default: Bundle, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed")
    from triton_repo.compile.compiler import compile_plan

    version = copy_bundle(default, default.contract, tmp_path / "1")
    plan = compile_plan(default, "fp32", cache=tmp_path / "plans").copy_to(version.path)
    rung = engines.served_plan(version, "fp32")
    (row,) = climb(rung, [pictures(6)], default.contract)
    assert row.drift is not None or row.verdict == "built, not run", row.reason
    plan.write_bytes(plan.read_bytes()[:-100])
    (row,) = climb(rung, [pictures(6)], default.contract)
    assert (row.verdict, "truncated or altered" in row.reason) == ("failed", True)


def test_a_repository_that_no_tensorrt_serves(default: Bundle, tmp_path: Path) -> None:
    repository.build([("ssrnet", default.path)], tmp_path / "repo", Options())
    found = Found(tmp_path / "repo", "--rungs", "native,tensorrt", "--require-tensorrt")
    assert found.status == 1
    assert "no model of it is served by TensorRT" in found.error
    found = Found(tmp_path / "repo", "--rungs", "torch")
    assert found.status == 1
    assert "no model in it is served in what was asked for: torch" in found.error


# -- bad input -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["nowhere"], 1, "nowhere: does not exist, expected a bundle or a model repository"),
        (["{tmp}"], 1, "neither a bundle (no contract.json) nor a model repository (no */config.pbtxt)"),
        (["default", "--rungs", "onxx"], 2, "'onxx' is unknown, expected torch, native"),
        (["default", "--precision", "fp8"], 2, "'fp8' is unknown, expected fp32"),
        (["default", "--rungs", "torch", "--precision", "int8"], 2, "torch has fp32"),
        (["default", "--rungs", "native", "--require-tensorrt"], 2, "no TensorRT rung"),
        (["default", "--rungs", "native", "--detector", "haar"], 2, "--detector says how faces are cut"),
        (["default", "--rungs", "native", "--jitter", "7"], 2, "from --images DIR, which is not given"),
        (["default", "--images", "{tmp}", "--rungs", "native"], 1, "no pictures in it"),
        (
            ["default", "--images", "{tmp}/none", "--rungs", "native"],
            1,
            "none: does not exist, expected a folder",
        ),
    ],
)
def test_bad_input(arguments: list[str], status: int, words: str, tmp_path: Path) -> None:
    found = Found(*(a.format(tmp=tmp_path) for a in arguments))
    assert found.status == status
    assert words in " ".join(found.error.replace("│", " ").split())
    assert not found.report


def test_a_damaged_bundle(copy: Bundle) -> None:
    broken_byte(copy.path)
    found = Found(copy.path)
    assert (found.status, "altered" in found.error, found.report) == (1, True, {})
