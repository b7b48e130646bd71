"""TensorRT plans: built ahead of time for real, cached, and refused when they are not for what is at hand."""

from __future__ import annotations

import ctypes
import dataclasses
import hashlib
import json
import re
import shutil
import subprocess
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundle_faults import changed_weights
from random_bundles import random_bundle
from typer.testing import CliRunner

from ssr_bundle.bundle import Bundle, hash_file, read_bundle
from ssr_bundle.contract import Architecture
from ssr_bundle.errors import SsrError
from ssr_bundle.tolerances import required
from ssr_ops.export import PRECISIONS
from ssr_ops.export.names import network_sha256
from ssr_ops.export.network import build_onnx
from ssr_ops.shipped import default_bundle
from triton_repo import cli, doctor
from triton_repo.compile import builder, cache, compiler, gpu, layers, library
from triton_repo.compile.compiler import BATCHES, compile_plan
from triton_repo.compile.gpu import GpuError, NotRunnable
from triton_repo.compile.library import (
    ArgumentError,
    CompileError,
    NotBuildable,
    NotInstalled,
    Target,
    open_library,
)
from triton_repo.compile.plan import PLAN_FILE, SIDECAR, Plan, PlanError, Recipe, load_plan, read_plan
from triton_repo.compile.runner import replay_plan, run_plan

TARGETS = ("sm_89", "sm_120")
SECONDS = 180
"""The project's bar for fp32, fp16 and int8 together on a machine without a GPU."""


@pytest.fixture(scope="module")
def rtx() -> library.Library:
    """TensorRT-RTX, or a skip with the reason."""
    try:
        return open_library("tensorrt_rtx")
    except NotInstalled as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return read_bundle(default_bundle())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache of plans that these tests share."""
    return tmp_path_factory.mktemp("plans")


@dataclasses.dataclass(frozen=True)
class Made:
    plans: dict[str, Plan]
    lines: list[str]
    seconds: float


@pytest.fixture(scope="module")
def made(rtx: library.Library, bundle: Bundle, folder: Path) -> Made:
    """Every precision for two targets."""
    lines: list[str] = []
    begin = time.monotonic()
    plans = {
        p: compile_plan(bundle, p, TARGETS, cache=folder, library=rtx, say=lines.append) for p in PRECISIONS
    }
    return Made(plans, lines, time.monotonic() - begin)


@pytest.fixture
def copy(made: Made, tmp_path: Path) -> Path:
    """A plan that a test may spoil."""
    return made.plans["fp32"].copy_to(tmp_path / "copy")


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without a GPU, whatever this one has."""
    monkeypatch.setattr(gpu, "_driver", lambda: "no NVIDIA driver (libcuda.so.1)")


def with_gpu(monkeypatch: pytest.MonkeyPatch, name: str, target: str) -> None:
    monkeypatch.setattr(gpu, "require", lambda: gpu.Gpu(name, Target.parse(target)))


def edited(plan: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """``plan`` with its sidecar changed."""
    sidecar = plan.with_name(SIDECAR)
    content = json.loads(sidecar.read_text())
    change(content)
    sidecar.write_text(json.dumps(content))
    return plan


def never(*_: object, **__: object) -> None:
    raise AssertionError("this was not to be built")


@pytest.mark.parametrize("precision", PRECISIONS)
def test_plan_and_sidecar(made: Made, bundle: Bundle, rtx: library.Library, precision: str) -> None:
    plan = made.plans[precision]
    assert plan.rebuilt
    assert plan.reason == "none in the cache"
    content = json.loads(plan.sidecar.read_text())
    file = hash_file(plan.path)
    assert content["plan"] == {"sha256": file.sha256, "bytes": file.bytes}
    assert file.bytes > 100_000
    graph = build_onnx(bundle, precision).SerializeToString(deterministic=True)
    assert content["recipe"] == {
        "model": "ssrnet",
        "precision": precision,
        "library": "tensorrt_rtx",
        "version": rtx.version,
        "targets": list(TARGETS),
        "gpu": "",
        "compatibility": "exact",
        "batches": [1, 16, 64],
        "revision": builder.REVISION,
        "interface_sha256": bundle.contract.interface.sha256,
        "weights_sha256": bundle.contract.weights_sha256,
        "network_sha256": network_sha256(bundle.contract, precision),
        "onnx_sha256": hashlib.sha256(graph).hexdigest(),
    }
    replayed = content["onnx_replay"]
    assert replayed["precision"] == precision
    assert 0 < replayed["worst"] <= replayed["tolerance"]
    assert read_plan(plan.path.parent, bundle) == dataclasses.replace(plan, rebuilt=False, reason="")


def test_all_precisions_within_the_bar(made: Made) -> None:
    assert made.seconds < SECONDS
    assert [line.split(":")[0] for line in made.lines] == [f"ssrnet {p}" for p in PRECISIONS]


def test_layers_compute_in_the_precision_asked_for(made: Made) -> None:
    """The convolutions of the graph's precision, and the age in float32 in one last kernel."""
    wanted = {"fp32": "Float", "fp16": "Half", "int8": "Int8"}
    for precision, kind in wanted.items():
        kernels = [layer for layer in made.plans[precision].layers if layer.launches]
        assert made.plans[precision].launches == len(kernels) > 20
        convolutions = [k for k in kernels if k.kind == "correlation"]
        typed = [k for k in convolutions if k.types[0] == kind]
        assert len(convolutions) == 14
        assert len(typed) == (12 if precision == "int8" else 14)  # int8: the first blocks read float pictures
        assert kernels[-1].types == ("Float",)
        assert {"age", "age.unclipped"} <= set(kernels[-1].nodes)
        for other in set(wanted.values()) - {kind, "Float"}:
            assert not any(other in k.types for k in kernels)


def test_cached_plan_is_not_built_again(
    made: Made, bundle: Bundle, folder: Path, rtx: library.Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiler.builder, "build", never)
    lines: list[str] = []
    again = compile_plan(bundle, "fp16", reversed(TARGETS), cache=folder, library=rtx, say=lines.append)
    assert (again.rebuilt, again.reason, lines) == (False, "", [])
    assert (again.path, again.sha256) == (made.plans["fp16"].path, made.plans["fp16"].sha256)


def test_a_cache_that_is_only_read_is_used(made: Made, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError("not yours")

    monkeypatch.setattr(cache.os, "utime", refuse)
    found, reason = cache.PlanCache(folder).find(made.plans["fp16"].recipe)
    assert (found is not None, reason) == (True, "")


def test_forced(made: Made, bundle: Bundle, rtx: library.Library, tmp_path: Path) -> None:
    first = compile_plan(bundle, "fp32", TARGETS, cache=tmp_path, library=rtx)
    second = compile_plan(bundle, "fp32", TARGETS, cache=tmp_path, library=rtx, force=True)
    assert second.rebuilt
    assert second.reason == "asked to build again"
    assert second.path == first.path
    assert len(list(tmp_path.iterdir())) == 1


CHANGES: dict[str, Any] = {
    "library": "tensorrt",
    "version": "1.8.0.1",
    "targets": ("sm_86",),
    "gpu": "NVIDIA L4",
    "compatibility": "ampere+",
    "batches": (1, 8, 32),
    "revision": builder.REVISION + 1,
    "interface_sha256": "a" * 64,
    "weights_sha256": "b" * 64,
    "network_sha256": "d" * 64,
    "onnx_sha256": "c" * 64,
}


@pytest.mark.parametrize(
    "field", [f.name for f in dataclasses.fields(Recipe) if f.name not in ("model", "precision")]
)
def test_every_part_of_the_recipe_makes_a_plan_stale(made: Made, folder: Path, field: str) -> None:
    recipe = dataclasses.replace(made.plans["fp32"].recipe, **{field: CHANGES[field]})
    found, reason = cache.PlanCache(folder).find(recipe)
    assert found is None
    assert reason.startswith(f"stale, the cached plan has {field} ")
    assert ";" not in reason


def test_other_model_or_precision_is_not_stale_but_missing(made: Made, folder: Path) -> None:
    recipe = dataclasses.replace(made.plans["fp32"].recipe, model="another")
    assert cache.PlanCache(folder).find(recipe) == (None, "none in the cache")


def test_stale_plan_is_rebuilt_with_the_reason(
    made: Made, bundle: Bundle, folder: Path, rtx: library.Library, tmp_path: Path
) -> None:
    lines: list[str] = []
    other = changed_weights(bundle, tmp_path / "other")
    plan = compile_plan(read_bundle(other), "fp32", TARGETS, cache=folder, library=rtx, say=lines.append)
    (line,) = lines
    old, new = made.plans["fp32"].recipe.weights_sha256, read_bundle(other).contract.weights_sha256
    assert f"stale, the cached plan has weights_sha256 {old[:12]}, wanted {new[:12]}" in line
    assert plan.rebuilt
    assert line.endswith(plan.reason)
    assert read_plan(made.plans["fp32"].path, bundle).recipe.weights_sha256 == old


def test_damaged_cache_heals(bundle: Bundle, rtx: library.Library, tmp_path: Path) -> None:
    first = compile_plan(bundle, "fp32", TARGETS, cache=tmp_path, library=rtx)
    first.path.write_bytes(first.path.read_bytes()[:-1])
    second = compile_plan(bundle, "fp32", TARGETS, cache=tmp_path, library=rtx)
    assert "damaged" in second.reason
    assert "truncated" in second.reason
    assert read_plan(second.path, bundle).sha256 == second.sha256


def test_cache_is_bounded(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "LARGEST", 3)
    kept = cache.PlanCache(tmp_path)
    recipes = [dataclasses.replace(made.plans["fp32"].recipe, revision=n) for n in range(5)]
    for recipe in recipes:
        source = made.plans["fp32"]

        def write(folder: Path, source: Plan = source) -> None:
            source.copy_to(folder)

        kept.add(recipe, write)
        assert kept.find(recipes[0])[0]  # used, so that others go first
        time.sleep(0.02)
    assert [kept.find(r)[0] is not None for r in recipes] == [True, False, False, True, True]


def test_failed_build_leaves_nothing(
    bundle: Bundle, rtx: library.Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And it is for that reason that we refuse sm_75 ourselves."""
    monkeypatch.setattr(library, "OLDEST_TARGET", Target(7, 5))
    with pytest.raises(CompileError, match=r"tensorrt_rtx \S+ could not build for sm_75: .*FP32 GEMM"):
        compile_plan(bundle, "fp32", ["sm_75"], cache=tmp_path, library=rtx)
    assert not list(tmp_path.rglob("*"))


def test_interrupted_write_leaves_the_old_plan(
    bundle: Bundle, rtx: library.Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = compile_plan(bundle, "fp32", TARGETS, cache=tmp_path, library=rtx)

    def half(folder: Path, data: bytes, *_: object) -> None:
        (folder / PLAN_FILE).write_bytes(data[: len(data) // 2])
        raise OSError("disk full")

    monkeypatch.setattr(compiler, "write_plan", half)
    with pytest.raises(OSError, match="disk full"):
        compile_plan(bundle, "fp32", TARGETS, cache=tmp_path, library=rtx, force=True)
    assert [p.name for p in tmp_path.iterdir()] == [first.path.parent.name]
    assert load_plan(first.path).sha256 == first.sha256


def test_graph_that_fails_its_replay_is_not_built(
    bundle: Bundle, rtx: library.Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another bundle's golden record stands for a graph that computes something else."""
    other = random_bundle(tmp_path / "other", Architecture())
    golden = other.golden()
    monkeypatch.setattr(Bundle, "golden", lambda self: golden)
    monkeypatch.setattr(compiler.builder, "build", never)
    with pytest.raises(SsrError, match="off by"):
        compile_plan(bundle, "fp32", TARGETS, cache=tmp_path / "plans", library=rtx)


def test_graph_that_the_parser_refuses(rtx: library.Library, bundle: Bundle) -> None:
    model = build_onnx(bundle, "fp32")
    model.graph.node[0].op_type = "NoSuchOperator"
    with pytest.raises(CompileError, match=r"refuses the ONNX graph: .*NoSuchOperator"):
        builder.build(rtx, model.SerializeToString(), [Target(8, 9)], (1, 2, 4))


def test_progress_is_told(rtx: library.Library, bundle: Bundle) -> None:
    seen: list[tuple[str, int, int]] = []
    graph = build_onnx(bundle, "fp32").SerializeToString()
    builder.build(rtx, graph, [Target(8, 9)], (1, 2, 4), watch=lambda *step: seen.append(step))
    assert ("Building engine", 0) in {(phase, done) for phase, done, _ in seen}
    assert seen[-1][0] == "Building engine"
    assert seen[-1][1] == seen[-1][2] > 0


def test_an_interrupt_ends_the_build(rtx: library.Library, bundle: Bundle) -> None:
    def interrupt(phase: str, done: int, steps: int) -> None:
        raise KeyboardInterrupt

    graph = build_onnx(bundle, "fp32").SerializeToString()
    with pytest.raises(KeyboardInterrupt):
        builder.build(rtx, graph, [Target(8, 9)], (1, 2, 4), watch=interrupt)


@pytest.mark.parametrize("stages", [(3,), (5, 2), (2, 3, 4, 5)])
def test_other_architectures_build(rtx: library.Library, tmp_path: Path, stages: tuple[int, ...]) -> None:
    other = random_bundle(tmp_path / "bundle", Architecture(stages=stages, value_range=1.0))
    plan = compile_plan(other, "fp16", ["sm_86"], cache=tmp_path / "plans", library=rtx)
    kernels = [layer for layer in plan.layers if layer.launches]
    assert other.contract.interface.output.name in kernels[-1].nodes


def test_int8_without_ranges(rtx: library.Library, tmp_path: Path) -> None:
    other = random_bundle(tmp_path / "bundle", Architecture())
    with pytest.raises(SsrError, match="ssr-train quantize"):
        compile_plan(other, "int8", TARGETS, cache=tmp_path / "plans", library=rtx)


def test_without_a_gpu_every_target_from_sm_80_on(
    rtx: library.Library, bundle: Bundle, tmp_path: Path, no_gpu: None
) -> None:
    plan = compile_plan(bundle, "fp16", cache=tmp_path, library="tensorrt_rtx")
    assert plan.targets == rtx.targets()
    assert plan.targets[0] == Target(8, 0)
    assert len(plan.targets) >= 4
    assert plan.recipe.batches == BATCHES


def test_targets_come_from_the_library(rtx: library.Library) -> None:
    assert {Target(8, 6), Target(8, 9), Target(12, 0)} <= set(rtx.targets())
    assert [str(t) for t in rtx.targets()] == sorted(map(str, rtx.targets()), key=lambda t: int(t[3:]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"targets": ["sm_90"]},
            r"target: tensorrt_rtx \S+ does not build for sm_90, compute capability 9\.0, "
            "expected sm_80, sm_86",
        ),
        (
            {"targets": ["sm_89", "sm_75"]},
            r"target: tensorrt_rtx \S+ does not build for sm_75, compute capability 7\.5 \(it lacks the "
            r"network's float32 matrix products there\), expected sm_80, sm_86",
        ),
        ({"targets": ["ampere"]}, "'ampere' is no GPU architecture, expected one like sm_89"),
        ({"targets": []}, "target: none given, expected sm_80"),
        ({"batches": (0, 1, 2)}, "expected 1 <= smallest <= tuned for <= largest <= 4096, got 0,1,2"),
        ({"batches": (4, 2, 8)}, "got 4,2,8"),
        ({"batches": (1, 2, 5000)}, "got 1,2,5000"),
        ({"precision": "bf16"}, "precision: expected fp32, fp16, int8, got 'bf16'"),
        ({"library": "openvino"}, "library: 'openvino' is unknown, expected tensorrt or tensorrt_rtx"),
        ({"compatibility": "all"}, "compatibility: expected exact, same-capability, ampere"),
        ({"compatibility": "ampere+"}, "takes targets instead"),
    ],
)
def test_arguments_that_are_refused(
    rtx: library.Library, bundle: Bundle, tmp_path: Path, arguments: dict[str, Any], message: str
) -> None:
    given = {"precision": "fp32", "targets": TARGETS, "library": "tensorrt_rtx", **arguments}
    with pytest.raises(CompileError, match=message):
        compile_plan(bundle, cache=tmp_path, **given)
    assert not list(tmp_path.iterdir())


def test_missing_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in library.OLDEST:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(NotInstalled, match=r"no TensorRT is installed: pip install 'ssr-serve\[tensorrt\]'"):
        open_library()
    with pytest.raises(NotInstalled, match="tensorrt is not installed: pip install tensorrt"):
        open_library("tensorrt")
    assert "pip install" in next(f for f in doctor.examine() if f.what == "TensorRT").remedy


def test_library_that_is_too_old(monkeypatch: pytest.MonkeyPatch, copy: Path) -> None:
    for version, message in (
        ("8.6.1", "tensorrt 8.6.1 is too old, expected 10.0"),
        ("", "without a version"),
    ):
        module = types.ModuleType("tensorrt")
        module.__dict__["__version__"] = version
        monkeypatch.setitem(sys.modules, "tensorrt", module)
        with pytest.raises(CompileError, match=message):
            open_library("tensorrt")
    old = types.ModuleType("tensorrt_rtx")
    old.__dict__["__version__"] = "1.0.0.21"
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", old)
    with pytest.raises(PlanError, match=r"built by tensorrt_rtx \S+; here tensorrt_rtx 1.0.0.21 is too old"):
        read_plan(copy)


def test_tensorrt_builds_for_the_gpu_at_hand_alone(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_gpu: None
) -> None:
    config = type("IBuilderConfig", (), {})
    module = types.SimpleNamespace(IBuilderConfig=config)
    tensorrt = library.Library("tensorrt", "11.4.0", module)
    with pytest.raises(CompileError, match="builds on a GPU and there is none: pip install 'ssr-serve"):
        compile_plan(bundle, "fp32", cache=tmp_path, library=tensorrt)
    with_gpu(monkeypatch, "NVIDIA H100", "sm_90")
    with pytest.raises(CompileError, match=r"the GPU at hand \(NVIDIA H100 \(sm_90\)\) alone, not for sm_89"):
        compile_plan(bundle, "fp32", ["sm_89"], cache=tmp_path, library=tensorrt)


def test_gpu_that_the_library_does_not_build_for(
    rtx: library.Library, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, target, told in (
        ("NVIDIA H100", "sm_90", r"compute capability 9\.0, expected sm_80, .*: pip install tensorrt"),
        ("Tesla T4", "sm_75", r"compute capability 7\.5 \(.* float32 .*\), expected sm_80, .*: pip install"),
    ):
        with_gpu(monkeypatch, name, target)
        with pytest.raises(NotBuildable, match=rf"the GPU at hand, {name} \({target}\), {told}"):
            compile_plan(bundle, "fp32", cache=tmp_path, library=rtx)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda p: p.write_bytes(p.read_bytes()[:-1]), r"bytes, its sidecar says \d+: truncated or altered"),
        (lambda p: p.write_bytes(b"\0" + p.read_bytes()[1:]), r"its sidecar says \w{64}: altered"),
        (lambda p: p.unlink(), "missing; `ssr-serve compile` writes it"),
        (lambda p: p.with_name(SIDECAR).unlink(), f"no {SIDECAR} beside it"),
        (lambda p: p.with_name(SIDECAR).write_text("{"), "not JSON"),
        (lambda p: p.with_name(SIDECAR).write_bytes(b"\xff"), "not JSON"),
        (lambda p: p.with_name(SIDECAR).write_text("[]"), "not a plan's sidecar"),
        (lambda p: edited(p, lambda c: c.update(format=1)), "format 1, expected 2"),
        (lambda p: edited(p, lambda c: c["recipe"].pop("targets")), "not a plan's sidecar .*targets"),
        (lambda p: edited(p, lambda c: c["recipe"].update(targets=["x"])), "'x' is no GPU architecture"),
        (lambda p: edited(p, lambda c: c["recipe"].update(batches=[1])), "not a plan's sidecar"),
    ],
)
def test_damaged_plan_is_refused(copy: Path, spoil: Callable[[Path], object], message: str) -> None:
    spoil(copy)
    with pytest.raises(PlanError, match=message) as error:
        read_plan(copy)
    assert str(copy.parent) in str(error.value)


def test_plan_of_another_contract_is_refused(copy: Path, bundle: Bundle, tmp_path: Path) -> None:
    other = changed_weights(bundle, tmp_path / "other")
    with pytest.raises(PlanError, match="built for another contract: weights_sha256"):
        read_plan(copy, read_bundle(other))
    edited(copy, lambda c: c["recipe"].update(interface_sha256="f" * 64))
    with pytest.raises(PlanError, match="built for another contract: interface_sha256 ffffffffffff"):
        read_plan(copy, bundle)


def test_int8_plan_from_before_another_quantization_is_refused(
    made: Made, bundle: Bundle, tmp_path: Path
) -> None:
    quantization = bundle.contract.quantization
    assert quantization is not None
    again = dataclasses.replace(
        quantization, ranges={k: tuple(2 * v for v in r) for k, r in quantization.ranges.items()}
    )
    contract = dataclasses.replace(bundle.contract, quantization=again)
    other = dataclasses.replace(bundle, contract=contract)
    with pytest.raises(PlanError, match="built for another contract: network_sha256"):
        read_plan(made.plans["int8"].path, other)
    read_plan(made.plans["fp32"].path, other)  # has nothing of it


def test_plan_of_another_library_version_is_refused(copy: Path, rtx: library.Library) -> None:
    edited(copy, lambda c: c["recipe"].update(version="1.6.1.120"))
    with pytest.raises(PlanError, match=f"built by tensorrt_rtx 1.6.1.120, installed is {rtx.version}"):
        read_plan(copy)


@pytest.mark.parametrize(
    ("changes", "card", "fits"),
    [
        ({}, ("NVIDIA L4", "sm_89"), True),
        ({}, ("NVIDIA H100", "sm_90"), False),
        ({"gpu": "NVIDIA L4", "targets": ["sm_89"]}, ("NVIDIA L4", "sm_89"), True),
        ({"gpu": "NVIDIA L4", "targets": ["sm_89"]}, ("NVIDIA L40S", "sm_89"), False),
        (
            {"gpu": "NVIDIA L4", "targets": ["sm_89"], "compatibility": "same-capability"},
            ("NVIDIA L40S", "sm_89"),
            True,
        ),
        (
            {"gpu": "NVIDIA L4", "targets": ["sm_89"], "compatibility": "ampere+"},
            ("NVIDIA H100", "sm_90"),
            True,
        ),
        (
            {"gpu": "NVIDIA L4", "targets": ["sm_89"], "compatibility": "ampere+"},
            ("Tesla T4", "sm_75"),
            False,
        ),
    ],
)
def test_plan_of_another_gpu_is_refused(
    copy: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
    card: tuple[str, str],
    fits: bool,
) -> None:
    with_gpu(monkeypatch, *card)
    edited(copy, lambda c: c["recipe"].update(changes))
    if fits:
        read_plan(copy)
        return
    with pytest.raises(PlanError, match=rf"built for .*, the GPU here is {card[0]} \({card[1]}\)"):
        read_plan(copy)
    with pytest.raises(NotRunnable, match="built for"):
        run_plan(load_plan(copy), np.zeros((1, 64, 64, 3), np.uint8))


def test_without_a_gpu_a_plan_says_why_it_does_not_run(made: Made, bundle: Bundle, no_gpu: None) -> None:
    plan = made.plans["fp32"]
    with pytest.raises(NotRunnable, match="no GPU: no NVIDIA driver"):
        run_plan(plan, np.zeros((1, 64, 64, 3), np.uint8))
    with pytest.raises(NotRunnable):
        replay_plan(plan, bundle)
    assert gpu.find() is None


def test_a_fault_on_the_gpu_is_not_a_missing_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver of which one call fails: while looking there is no usable GPU, while running it is a fault."""

    class Driver:
        def __init__(self, failing: str) -> None:
            self.failing = failing

        def __getattr__(self, name: str) -> Any:
            return lambda *_: 700 if name == self.failing else 0

    def driver(failing: str) -> None:
        monkeypatch.setattr(gpu, "_driver", lambda: Driver(failing))

    driver("cuInit")
    with pytest.raises(NotRunnable, match="no usable GPU: cuInit: CUDA error 700"):
        gpu.require()
    assert gpu.find() is None
    driver("cuStreamSynchronize")
    assert gpu.find() is not None
    with gpu.stream() as stream, pytest.raises(GpuError, match=r"^cuStreamSynchronize: CUDA error 700"):
        stream.synchronize()


@pytest.mark.parametrize("images", [np.zeros((64, 64, 3), np.uint8), np.zeros((1, 64, 64, 3), np.float32)])
def test_images_of_another_shape_or_type(made: Made, images: Any) -> None:
    with pytest.raises(SsrError, match=r"expected uint8 \(N, 64, 64, 3\)"):
        run_plan(made.plans["fp32"], images)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", PRECISIONS)
def test_golden_record_on_the_gpu(bundle: Bundle, tmp_path: Path, precision: str) -> None:
    try:
        gpu.require()
        plan = compile_plan(bundle, precision, cache=tmp_path, batches=(2, 8, 8))
    except (NotRunnable, CompileError) as error:
        pytest.skip(str(error))
    assert replay_plan(plan, bundle).worst <= required("tensorrt", precision, bundle.contract).few
    images = bundle.golden()["images"]
    assert run_plan(plan, images[:0]).shape == (0,)
    assert run_plan(plan, images[:1]).shape == (1,)  # less than the smallest batch


def test_driver_signatures_are_those_of_cuda_h(tmp_path: Path) -> None:
    """The bindings of gpu.py against the header that nvcc brings."""
    nvcc = shutil.which("nvcc") or next(map(str, Path("/usr/local").glob("cuda*/bin/nvcc")), None)
    if nvcc is None:
        pytest.skip("no nvcc, and so no cuda.h to compare with")
    source = tmp_path / "header.cu"
    source.write_text("#include <cuda.h>\n")
    header = subprocess.run([nvcc, "-E", str(source)], capture_output=True, text=True, check=True).stdout
    known: dict[Any, str] = {
        ctypes.c_int: r"int|CUdevice|CUdevice_attribute|CUresult",
        ctypes.c_uint: r"unsigned int",
        ctypes.c_uint64: r"CUdeviceptr|size_t",  # c_size_t is the same type here
        ctypes.c_void_p: r"CUcontext|CUstream|const void \*|void \*",
        ctypes.c_char_p: r"char \*|const char \*",
        ctypes.POINTER(ctypes.c_int): r"int \*|CUdevice \*",
        ctypes.POINTER(ctypes.c_void_p): r"CUcontext \*|CUstream \*",
        ctypes.POINTER(ctypes.c_uint64): r"CUdeviceptr \*",
        ctypes.POINTER(ctypes.c_char_p): r"const char \*\*",
    }
    for name, arguments in gpu._SIGNATURES.items():
        found = re.search(rf"\bCUresult\s+{name}\s*\(([^)]*)\)\s*;", header)
        assert found, name
        declared = [re.sub(r"\s*\w+$", "", " ".join(a.split())) for a in found[1].split(",")]
        assert len(declared) == len(arguments), name
        for text, argument in zip(declared, arguments, strict=True):
            assert re.fullmatch(known[argument], text), (name, text, argument)


def test_layers_of_the_inspector() -> None:
    """As ``LayerInformationFormat.JSON`` is documented, with detailed verbosity and with names only."""
    tensor = {"Name": "a", "Dimensions": [1, 3], "Format/Datatype": "Row major linear FP16 format"}
    detailed = {
        "Name": "conv + relu",
        "LayerType": "CaskConvolution",
        "Inputs": [tensor],
        "Outputs": [tensor],
        "Metadata": "[ONNX Layer: x.0.relu]\x1e[ONNX Layer: x.0.conv]",
    }
    (layer,) = layers.from_inspector(json.dumps({"Layers": [detailed]}))
    assert layer.nodes == ("x.0.conv", "x.0.relu")
    assert layer.types == ("Row major linear FP16 format",)
    assert layer.launches
    (named,) = layers.from_inspector(json.dumps({"Layers": ["conv + relu"]}))
    assert (named.name, named.nodes) == ("conv + relu", ())


def command(monkeypatch: pytest.MonkeyPatch, folder: Path, *arguments: str) -> tuple[int, str, str]:
    monkeypatch.setenv("SSR_CACHE", str(folder))
    result = CliRunner().invoke(cli.app, ["compile", *arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        assert isinstance(result.exception, SsrError)
        return 1, result.stdout, str(result.exception)
    return result.exit_code, result.stdout, result.stderr


def test_command(
    made: Made, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_gpu: None
) -> None:
    out = tmp_path / "plans"
    arguments = ("default", "--precision", "all", "--target", ",".join(TARGETS), "--out", str(out))
    status, shown, said = command(monkeypatch, tmp_path / "cache", *arguments)
    assert status == 0
    assert shown.count("built, not run: no GPU") == 3
    assert said.count("none in the cache") == 3
    for precision in PRECISIONS:
        assert read_plan(out / precision, bundle).recipe.precision == precision
        assert f"{precision}: {out / precision / PLAN_FILE}" in shown
    status, shown, said = command(monkeypatch, tmp_path / "cache", *arguments, "--json")
    assert (status, said) == (0, "")
    told = json.loads(shown)
    assert [t["recipe"]["precision"] for t in told] == list(PRECISIONS)
    assert [(t["rebuilt"], t["ran"]) for t in told] == [(False, None)] * 3
    status, shown, said = command(monkeypatch, tmp_path / "cache", *arguments, "--require-tensorrt")
    assert (status, said) == (1, "fp32: built, not run: no GPU: no NVIDIA driver (libcuda.so.1)")
    assert shown.count("cached") == 3


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("--batch", "1,2"), 2, "expected MIN,OPT,MAX"),
        (("--batch", "1,x,3"), 2, "expected MIN,OPT,MAX"),
        (("--precision", "fp8"), 2, "got 'fp8'"),
        (("--target", "cuda"), 2, "'cuda' is no GPU"),
        (("--target", "sm_90"), 1, "does not build for sm_90"),
        (("--target", "sm_75"), 1, "does not build for sm_75, compute capability 7.5"),
    ],
)
def test_command_refuses(
    rtx: library.Library,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    status: int,
    message: str,
) -> None:
    found, _, said = command(monkeypatch, tmp_path, "default", *arguments)
    assert found == status
    assert message in " ".join(said.replace("│", " ").split())


def test_out_is_checked_before_anything_is_built(
    rtx: library.Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiler, "builder", None)
    (tmp_path / "file").touch()
    (tmp_path / "out").mkdir()
    (tmp_path / "out/fp16").touch()
    for out, named in (("file", "file"), ("file/below", "file"), ("out", "out/fp16")):
        arguments = ("default", "--precision", "fp32,fp16", "--out", str(tmp_path / out))
        status, _, said = command(monkeypatch, tmp_path / "cache", *arguments)
        assert (status, said) == (1, f"{tmp_path / named}: is a file, expected a folder for the plans")
    status, _, said = command(monkeypatch, tmp_path / "cache", "default", "--out", "/proc/new/plans")
    assert (status, said.partition(" (")[0]) == (1, "/proc: cannot be written to")
    assert not (tmp_path / "cache").exists()


def test_argument_errors_are_compile_errors() -> None:
    assert issubclass(ArgumentError, CompileError)
