"""The model repository on disk: config.pbtxt, build, publish, rollback, and every input that is refused."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from bundle_faults import (
    NOT_FILES,
    broken_byte,
    broken_contract,
    broken_missing,
    broken_model,
    broken_version,
    changed_weights,
    foreign_weights,
)
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2
from typer.testing import CliRunner

import ssr_ops
from ssr_bundle import commandline, regular
from ssr_bundle.bundle import Bundle, read_bundle, replace_contract
from ssr_bundle.contract import Crop, Interval
from ssr_bundle.disk import exchange, replace_file
from ssr_bundle.errors import SsrError, UsageError
from ssr_ops import replay
from ssr_ops.golden import write_bundle
from ssr_ops.shipped import default_bundle
from triton_repo import cli, config, repository
from triton_repo.config import Options
from triton_repo.control import Control, Unreachable
from triton_repo.versions import list_versions
from triton_repo.view import View


@pytest.fixture(scope="session")
def bundle() -> Bundle:
    return read_bundle(default_bundle())


@pytest.fixture(scope="session")
def calibrated(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same weights with a calibrated interval."""
    contract = replace(bundle.contract, interval=Interval(0.9, (30.0,), (4.0, 7.0)))
    return write_bundle(tmp_path_factory.mktemp("calibrated") / "b", contract, bundle.parameters()).path


@pytest.fixture(scope="session")
def other_interface(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    interface = replace(bundle.contract.interface, crop=Crop(margin=(0.2, 0.2)))
    contract = replace(bundle.contract, interface=interface)
    return write_bundle(tmp_path_factory.mktemp("other") / "b", contract, bundle.parameters()).path


@pytest.fixture
def copy(bundle: Bundle, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle.path, tmp_path / "copy"))


@pytest.fixture
def repo(bundle: Bundle, tmp_path: Path) -> Path:
    repository.build([("ssrnet", bundle.path)], tmp_path / "repo")
    return tmp_path / "repo"


def parse(text: str) -> Any:
    return text_format.Parse(text, model_config_pb2.ModelConfig())


# -- config.pbtxt --------------------------------------------------------------------------------


def test_config_says_what_the_contract_says(bundle: Bundle) -> None:
    options = Options(
        instances=3, threads=2, max_batch=32, queue_delay_us=100, queue_timeout_ms=250, max_queue=9
    )
    served = parse(config.render("faces", bundle.contract, options))
    assert (served.name, served.backend, served.max_batch_size) == ("faces", "ssr", 32)
    assert [(i.name, list(i.dims), i.data_type) for i in served.input] == [
        ("image", [64, 64, 3], model_config_pb2.TYPE_UINT8)
    ]
    assert [(o.name, list(o.dims), o.data_type) for o in served.output] == [
        ("age", [1], model_config_pb2.TYPE_FP32)
    ]
    assert served.instance_group[0].count == 3
    assert served.instance_group[0].kind == model_config_pb2.ModelInstanceGroup.KIND_CPU
    batching = served.dynamic_batching
    assert batching.max_queue_delay_microseconds == 100
    queue = batching.default_queue_policy
    assert queue.default_timeout_microseconds == 250_000
    assert queue.allow_timeout_override
    assert queue.max_queue_size == 9
    assert queue.timeout_action == model_config_pb2.ModelQueuePolicy.REJECT
    assert served.version_policy.latest.num_versions == 2
    values = {key: value.string_value for key, value in served.parameters.items()}
    assert json.loads(values.pop("interface")) == bundle.contract.interface.to_json()
    assert values == {
        "interface_sha256": bundle.contract.interface.sha256,
        "mode": "crops",
        "precision": "fp32",
        "threads": "2",
    }
    sample = served.model_warmup[0]
    assert sample.batch_size == 32
    assert sample.inputs["image"].random_data


def test_no_queue_policy_unless_asked_for(bundle: Bundle) -> None:
    """Any policy at all makes the server's batcher poll: see Options."""
    batching = parse(config.render("m", bundle.contract, Options())).dynamic_batching
    assert not batching.HasField("default_queue_policy")
    only = parse(config.render("m", bundle.contract, Options(max_queue=5))).dynamic_batching
    assert only.default_queue_policy.max_queue_size == 5
    assert not only.default_queue_policy.allow_timeout_override


def test_without_dynamic_batching_nothing_of_it_is_left(bundle: Bundle) -> None:
    served = parse(config.render("m", bundle.contract, Options(dynamic_batching=False)))
    assert not served.HasField("dynamic_batching")
    with pytest.raises(SsrError, match="queue-delay-us, max-queue: nothing without dynamic batching"):
        Options(dynamic_batching=False, queue_delay_us=5, max_queue=2)


def test_config_declares_intervals_and_debug_outputs_only_when_meant(
    bundle: Bundle, calibrated: Path
) -> None:
    contract = read_bundle(calibrated).contract
    plain = config.declared(parse(config.render("m", contract, Options(warmup=False))))
    assert plain == {"age": [1], "age_interval": [2]}
    debug = parse(
        config.render("m", bundle.contract, Options(debug_outputs=True, device="gpu", warmup=False))
    )
    assert config.declared(debug) == {"age": [1], "p": [9], "eta": [9], "delta": [3]}
    assert debug.instance_group[0].kind == model_config_pb2.ModelInstanceGroup.KIND_GPU
    assert not debug.model_warmup


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"instances": 0}, "instances: must lie in 1..256, got 0"),
        ({"threads": 1000}, "threads"),
        ({"max_batch": 0}, "max-batch"),
        ({"queue_timeout_ms": -1}, "queue-timeout-ms"),
        ({"device": "tpu"}, "expected cpu or gpu, got 'tpu'"),
        ({"precision": "int3"}, "precision: expected fp32, bf16, int8, auto, got 'int3'"),
    ],
)
def test_options_out_of_range(options: dict[str, Any], text: str) -> None:
    with pytest.raises(SsrError, match=text):
        Options(**options)


def test_broken_config_is_told_with_its_line(repo: Path) -> None:
    (repo / "ssrnet" / "config.pbtxt").write_text('name: "ssrnet"\nnonsense: 1\n')
    model = repository.read_model(repo / "ssrnet")
    assert "config.pbtxt: 2:1" in model.fault
    assert "nonsense" in model.fault


# -- build ---------------------------------------------------------------------------------------


def test_build_copies_the_bundle_whole(bundle: Bundle, repo: Path) -> None:
    version = repo / "ssrnet" / "1"
    assert read_bundle(version).contract == bundle.contract
    assert {p.name for p in version.iterdir()} == {"contract.json", *bundle.contract.files}
    assert {p.name for p in repo.iterdir()} == {"ssrnet"}
    assert {p.name for p in version.parent.iterdir()} == {"1", "config.pbtxt"}


def test_files_are_hashed_once_where_they_are_read_and_once_as_they_are_copied(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[Path] = []
    digest_of = regular.digest_of

    def counted(stream: BinaryIO, *copy: Any, **most: Any) -> tuple[str, int]:
        hashed.append(Path(f"/proc/self/fd/{stream.fileno()}").readlink())
        return digest_of(stream, *copy, **most)

    monkeypatch.setattr("ssr_bundle.bundle.digest_of", counted)
    once = sorted(bundle.path / name for name in bundle.contract.files)
    repository.build([("a", bundle.path)], tmp_path / "repo")
    assert sorted(hashed) == sorted(once * 2)
    hashed.clear()
    repository.publish(bundle.path, tmp_path / "repo", "a")
    assert sorted(hashed) == sorted(once * 2)
    hashed.clear()
    View(tmp_path / "repo", tmp_path / "view").update()
    assert sorted(hashed) == sorted(tmp_path / "repo" / "a" / n / f.name for n in "12" for f in once)


def broken_later(copy: Path) -> None:
    """Another command finishes meanwhile."""
    bundle = read_bundle(copy)
    replace_contract(bundle, replace(bundle.contract, quantization=None))


@pytest.mark.parametrize(
    ("change", "text"), [(broken_byte, "sha256 .* altered"), (broken_later, "changed since")]
)
def test_what_changes_before_it_is_copied_is_refused(
    change: Any, text: str, bundle: Bundle, copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A build may compile for minutes between reading a bundle and copying it."""
    make = repository.artifacts.make

    def slow(*arguments: Any) -> Any:
        made = make(*arguments)
        change(copy)
        return made

    monkeypatch.setattr(repository.artifacts, "make", slow)
    with pytest.raises(SsrError, match=text):
        repository.build([("a", copy)], tmp_path / "repo")
    assert list((tmp_path / "repo").iterdir()) == []


def test_name_defaults_to_the_contracts(bundle: Bundle, tmp_path: Path) -> None:
    models = repository.build([(None, bundle.path)], tmp_path / "repo")
    assert [m.name for m in models] == [bundle.contract.name]


def test_default_names_the_shipped_bundle(bundle: Bundle, tmp_path: Path) -> None:
    [model] = repository.build([("d", "default")], tmp_path / "repo")
    assert model.versions[0].contract == bundle.contract


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (broken_model, "truncated or altered"),
        (broken_byte, "sha256"),
        (broken_missing, "golden.safetensors: missing"),
        (broken_contract, "not JSON"),
        (broken_version, "contract_version 99 is unknown"),
        (foreign_weights, "replaying its golden record"),
        (shutil.rmtree, "does not exist"),
    ],
)
def test_a_bundle_that_fails_writes_nothing(
    bundle: Bundle, copy: Path, tmp_path: Path, fault: Any, text: str
) -> None:
    fault(copy)
    with pytest.raises(SsrError, match=text):
        repository.build([("good", bundle.path), ("bad", copy)], tmp_path / "repo")
    assert not (tmp_path / "repo").exists()


def test_build_refuses(bundle: Bundle, repo: Path, tmp_path: Path) -> None:
    def refused(text: str, *arguments: Any, **keywords: Any) -> None:
        with pytest.raises(SsrError, match=text):
            repository.build(*arguments, **keywords)

    refused("`ssr-serve publish` adds a version", [("ssrnet", bundle.path)], repo)
    refused("given twice", [("a", bundle.path), ("a", bundle.path)], tmp_path / "new")
    refused("cannot name a model", [("../a", bundle.path)], tmp_path / "new")
    refused("no bundle given", [], tmp_path / "new")
    (tmp_path / "file").write_text("")
    refused("is a file", [("a", bundle.path)], tmp_path / "file")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_precisions_need_a_quantized_bundle(bundle: Bundle, repo: Path, precision: str) -> None:
    """Refused at build and at publish with the command to run; what was there stays as it was."""
    plain = write_bundle(
        repo.parent / "plain", replace(bundle.contract, quantization=None), bundle.parameters()
    ).path
    told = f"plain: cannot be served in {precision}, .*`ssr-train quantize .*plain --images DIR`"
    with pytest.raises(SsrError, match=told):
        repository.build([("a", plain)], repo.parent / "new", Options(precision=precision))
    assert not (repo.parent / "new").exists()
    text = config.render("ssrnet", bundle.contract, Options(precision=precision))
    (repo / "ssrnet" / "config.pbtxt").write_text(text)
    before = {p.name for p in (repo / "ssrnet").iterdir()}
    with pytest.raises(SsrError, match=told):
        repository.publish(plain, repo, "ssrnet")
    assert {p.name for p in (repo / "ssrnet").iterdir()} == before
    assert list_versions(repo)[0]["precision"] == precision
    (repo / "ssrnet" / "config.pbtxt").write_text(text.replace(f'"{precision}"', '"fp7"'))
    assert "precision 'fp7' is unknown" in repository.read_model(repo / "ssrnet").versions[0].fault


def test_force_replaces_the_model(bundle: Bundle, repo: Path) -> None:
    repository.publish(bundle.path, repo, "ssrnet")
    repository.build([("ssrnet", bundle.path)], repo, Options(threads=2), force=True)
    model = repository.read_model(repo / "ssrnet")
    assert [v.number for v in model.versions] == [1]
    assert config.parameter(model.config, "threads") == "2"
    assert {p.name for p in repo.iterdir()} == {"ssrnet"}


KILLED = """
import os, signal, sys
from ssr_bundle import disk
from triton_repo import repository
from triton_repo.config import Options

bundle, repo, swaps, steps = sys.argv[1], sys.argv[2], sys.argv[3] == "swaps", int(sys.argv[4])
if not swaps:
    disk.exchange = lambda one, other: False


def count(event, _):
    global steps
    if event in ("os.rename", "shutil.rmtree", "os.remove", "os.rmdir"):
        if steps == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        steps -= 1


sys.addaudithook(count)
repository.build([("ssrnet", bundle)], repo, Options(threads=2), force=True)
"""
"""A forced build that is killed after so many steps that rename or remove."""


@pytest.mark.parametrize(("filesystem", "most"), [("swaps", 3), ("renames", 5)])
def test_a_forced_build_that_is_killed_leaves_a_model(
    filesystem: str, most: int, bundle: Bundle, repo: Path, tmp_path: Path
) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    if filesystem == "swaps" and not exchange(tmp_path / "one", tmp_path / "other"):
        pytest.skip("this filesystem cannot swap two folders")
    seen = set()
    for step in range(most):
        copy = Path(shutil.copytree(repo, tmp_path / f"killed-{step}"))
        command = [sys.executable, "-c", KILLED, str(bundle.path), str(copy), filesystem, str(step)]
        assert subprocess.run(command, timeout=60).returncode == -signal.SIGKILL, step
        if filesystem == "swaps":
            assert (copy / "ssrnet").is_dir()
        view = View(copy, tmp_path / f"view-{step}")
        view.update()
        assert (view.models, view.failures) == ({"ssrnet": (1,)}, [])
        seen.add(config.parameter(repository.read_model(copy / "ssrnet").config, "threads"))
        with pytest.raises(SsrError, match="ssrnet: exists"):
            repository.build([("ssrnet", bundle.path)], copy)
        repository.build([("ssrnet", bundle.path)], copy, Options(threads=3), force=True)
        assert config.parameter(repository.read_model(copy / "ssrnet").config, "threads") == "3"
        assert not list(copy.glob(".replaced-*"))
    assert seen == ({"2"} if filesystem == "swaps" else {"1", "2"})


def test_a_model_moved_aside_is_no_vacant_name(bundle: Bundle, repo: Path) -> None:
    (repo / "ssrnet").rename(repo / ".replaced-ssrnet")
    with pytest.raises(SsrError, match="ssrnet: exists; `ssr-serve publish` adds a version"):
        repository.build([("ssrnet", bundle.path)], repo)
    assert [p.name for p in repo.iterdir()] == ["ssrnet"]


def test_bundle_arguments(tmp_path: Path) -> None:
    assert repository.parse_bundle("a=b/c") == ("a", "b/c")
    assert repository.parse_bundle("b/c") == (None, "b/c")
    assert repository.parse_bundle("runs/lr=1/bundle") == (None, "runs/lr=1/bundle")
    with pytest.raises(SsrError, match="no bundle after"):
        repository.parse_bundle("a=")
    with pytest.raises(SsrError, match="cannot name a model"):
        repository.parse_bundle("=b")


def test_replay_catches_a_wrong_operator(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    import ssr_ops

    class Wrong(ssr_ops.Engine):
        """Right on the face crops, wrong at the floor."""

        def predict_stages(self, images: Any) -> Any:
            stages = super().predict_stages(images)
            age = stages.age.copy()
            age[-1] += 0.5
            return stages._replace(age=age)

    assert replay.replay(bundle).worst < 2e-3
    monkeypatch.setattr(ssr_ops, "Engine", Wrong)
    with pytest.raises(SsrError, match="its own stages give"):
        replay.replay(bundle)


# -- publish, rollback, versions -----------------------------------------------------------------


def test_publish_and_rollback_never_reuse_a_number(bundle: Bundle, repo: Path, tmp_path: Path) -> None:
    second = changed_weights(bundle, tmp_path / "second")
    assert repository.publish(second, repo, "ssrnet").number == 2
    version, moved = repository.rollback(repo, "ssrnet")
    assert (version.number, moved) == (1, [2])
    assert read_bundle(repo / "ssrnet" / ".withdrawn-2").contract == read_bundle(second).contract
    assert repository.publish(repo / "ssrnet" / ".withdrawn-2", repo, "ssrnet").number == 3
    states = {r["version"]: r["state"] for r in list_versions(repo)}
    assert states == {3: "serving", 1: "loaded", 2: "withdrawn"}
    assert not [p for p in (repo / "ssrnet").iterdir() if p.name.startswith(".tmp-")]


def test_rollback_to_a_chosen_version(bundle: Bundle, repo: Path) -> None:
    for _ in range(3):
        repository.publish(bundle.path, repo, "ssrnet")
    assert [r["state"] for r in list_versions(repo)] == ["serving", "loaded", "available", "available"]
    version, moved = repository.rollback(repo, "ssrnet", to=2)
    assert (version.number, moved) == (2, [4, 3])
    with pytest.raises(SsrError, match="cannot roll back to version 3: there is no such version"):
        repository.rollback(repo, "ssrnet", to=3)
    with pytest.raises(SsrError, match="version 2 is the newest already"):
        repository.rollback(repo, "ssrnet", to=2)


def test_rollback_skips_a_broken_version(bundle: Bundle, repo: Path) -> None:
    repository.publish(bundle.path, repo, "ssrnet")
    repository.publish(bundle.path, repo, "ssrnet")
    broken_model(repo / "ssrnet" / "2")
    assert repository.rollback(repo, "ssrnet")[0].number == 1


def test_publish_refuses(
    bundle: Bundle, repo: Path, copy: Path, other_interface: Path, tmp_path: Path
) -> None:
    with pytest.raises(SsrError, match="another interface is another model name"):
        repository.publish(other_interface, repo, "ssrnet")
    foreign_weights(copy)
    with pytest.raises(SsrError, match="replaying its golden record"):
        repository.publish(copy, repo, "ssrnet")
    with pytest.raises(SsrError, match="no model 'nobody' in it; there is ssrnet"):
        repository.publish(bundle.path, repo, "nobody")
    with pytest.raises(SsrError, match="does not exist"):
        repository.publish(bundle.path, tmp_path / "none", "ssrnet")
    with pytest.raises(SsrError, match="only one good version"):
        repository.rollback(repo, "ssrnet")
    assert repository.version_folders(repo / "ssrnet").keys() == {1}


def test_publish_needs_the_declared_interval(bundle: Bundle, calibrated: Path, tmp_path: Path) -> None:
    repository.build([("c", calibrated)], tmp_path / "repo")
    with pytest.raises(SsrError, match=r"declares the output age_interval .* is not calibrated"):
        repository.publish(bundle.path, tmp_path / "repo", "c")
    assert repository.publish(calibrated, tmp_path / "repo", "c").number == 2


def test_concurrent_publishes_get_numbers_of_their_own(bundle: Bundle, repo: Path) -> None:
    numbers: list[int] = []
    threads = [
        threading.Thread(
            target=lambda: numbers.append(repository.publish(bundle.path, repo, "ssrnet").number)
        )
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers) == [2, 3, 4, 5]


def test_versions_tell_what_is_broken(bundle: Bundle, repo: Path) -> None:
    repository.publish(bundle.path, repo, "ssrnet")
    broken_byte(repo / "ssrnet" / "2")
    (repo / "ssrnet" / "02").mkdir()
    (repo / "empty").mkdir()
    rows = {(r["model"], r["version"]): r for r in list_versions(repo)}
    assert rows["ssrnet", 2]["state"] == "broken"
    assert "sha256" in rows["ssrnet", 2]["reason"]
    assert rows["ssrnet", 1]["state"] == "serving"
    assert rows["ssrnet", 1]["weights"] == bundle.contract.weights_sha256
    assert rows["ssrnet", 1]["synthetic"] == "yes"
    assert "config.pbtxt: missing" in rows["empty", None]["reason"]
    assert len(rows) == 3


# -- the view that the server reads --------------------------------------------------------------


def test_view_links_good_versions_only(bundle: Bundle, repo: Path, tmp_path: Path) -> None:
    repository.publish(bundle.path, repo, "ssrnet")
    broken_byte(repo / "ssrnet" / "2")
    view = View(repo, tmp_path / "view")
    assert view.update() == (["ssrnet"], [])
    assert view.models == {"ssrnet": (1,)}
    assert {p.name for p in (tmp_path / "view" / "ssrnet").iterdir()} == {"1", "config.pbtxt"}
    assert [(f.model, f.version) for f in view.failures] == [("ssrnet", 2)]
    assert view.update() == ([], [])


def test_view_follows_and_leaves_the_configuration_alone(bundle: Bundle, repo: Path, tmp_path: Path) -> None:
    view = View(repo, tmp_path / "view")
    view.update()
    before = (tmp_path / "view" / "ssrnet" / "config.pbtxt").stat()
    signature = view.signature()
    repository.publish(bundle.path, repo, "ssrnet")
    assert view.signature() != signature
    assert view.update() == (["ssrnet"], [])
    assert view.models == {"ssrnet": (2, 1)}
    after = (tmp_path / "view" / "ssrnet" / "config.pbtxt").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    repository.rollback(repo, "ssrnet")
    assert view.update() == (["ssrnet"], [])
    assert view.models == {"ssrnet": (1,)}


def test_view_keeps_serving_when_the_repository_goes_bad(repo: Path, tmp_path: Path) -> None:
    view = View(repo, tmp_path / "view")
    view.update()
    broken_byte(repo / "ssrnet" / "1")
    assert view.update() == ([], [])
    assert view.models == {"ssrnet": (1,)}
    assert {f.version for f in view.failures} == {1, None}
    shutil.rmtree(repo / "ssrnet")
    assert view.update() == ([], ["ssrnet"])
    assert view.models == {}


def test_view_drops_a_version_that_the_server_refused(bundle: Bundle, repo: Path, tmp_path: Path) -> None:
    repository.publish(bundle.path, repo, "ssrnet")
    view = View(repo, tmp_path / "view")
    view.update()
    assert view.refuse("ssrnet", 2, "no such precision")
    assert view.models == {"ssrnet": (1,)}
    assert [str(f) for f in view.failures] == ["ssrnet version 2: no such precision"]
    assert not view.refuse("ssrnet", 1, "nothing would be left")
    assert view.models == {"ssrnet": (1,)}
    broken_model(repo / "ssrnet" / "2")
    view.update()
    assert "truncated" in view.failures[0].reason


def test_a_version_is_refused_when_the_others_just_broke(bundle: Bundle, repo: Path, tmp_path: Path) -> None:
    """What serves stays in the view then; `run` must not ask for the same again and again."""
    repository.publish(bundle.path, repo, "ssrnet")
    view = View(repo, tmp_path / "view")
    view.update()
    broken_model(repo / "ssrnet" / "1")
    assert not view.refuse("ssrnet", 2, "no such precision")
    assert view.models == {"ssrnet": (2, 1)}


# -- command line --------------------------------------------------------------------------------


def test_command_line(
    repo: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["ssr-serve", *arguments])
        status = 0
        try:
            cli.main()
        except SystemExit as end:
            status = int(end.code or 0)
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    status, out, _ = call("versions", "--repo", str(repo), "--json")
    assert (status, json.loads(out)[0]["state"]) == (0, "serving")
    status, _, error = call("rollback", "ssrnet", "--repo", str(repo))
    assert status == 1
    assert error.count("\n") == 1
    assert "nothing to roll back to" in error
    assert call("versions")[0] == 2
    assert call("build", "--bundle", "default", "--repo", str(repo), "--threads", "x")[0] == 2
    status, out, _ = call("publish", "default", "--repo", str(repo), "--model", "ssrnet")
    assert (status, out) == (0, "ssrnet: published as version 2\n")


def test_usage_is_told_from_failure(capsys: pytest.CaptureFixture[str]) -> None:
    """In a program without typer as well, such as a benchmark."""

    def main(error: Exception) -> None:
        raise error

    for error, status in ((UsageError("--bar: below 0"), 2), (SsrError("no bundle"), 1)):
        with pytest.raises(SystemExit) as end:
            commandline.run(lambda error=error: main(error), "program")  # type: ignore[misc]
        assert end.value.code == status
        assert capsys.readouterr().err == f"program: {error}\n"


def test_every_help_has_an_example() -> None:
    for name in ("build", "run", "publish", "rollback", "versions", "tune"):
        shown = CliRunner().invoke(cli.app, [name, "--help"]).output
        assert "Example" in shown, name
        assert f"ssr-serve {name}" in shown, name


def test_doctor_tells_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    from triton_repo import doctor

    findings = {f.what: f for f in doctor.examine()}
    assert findings["native engine"].state == "ok"
    for precision in ("fp32", "bf16", "int8"):
        best = ssr_ops.implementations(precision)[0]
        assert f"{precision}: {best}" in findings["native engine"].found
    assert findings["tritonclient"].state == "ok"
    monkeypatch.setenv("TRITONSERVER", os.devnull)
    found = {f.what: f for f in doctor.examine()}["tritonserver"]
    assert (found.state, found.remedy) == ("missing", "set TRITONSERVER to a working binary")
    monkeypatch.setattr("triton_repo.server.backend_library", lambda: None)
    shown = CliRunner().invoke(cli.app, ["doctor"])
    assert isinstance(shown.exception, SsrError)
    assert str(shown.exception) == "serving cannot work here: Triton backend, tritonserver"


def test_control_says_who_does_not_answer() -> None:
    with pytest.raises(SsrError, match="expected the server's HTTP address"):
        Control("https://x/y")
    with pytest.raises(Unreachable, match="no server answers"):
        Control("127.0.0.1:1").metadata()


# -- whatever a folder holds -----------------------------------------------------------------------


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


@pytest.mark.parametrize(
    "error", [ValueError("a\nb"), RecursionError(), MemoryError(), UnicodeError("no"), TypeError("x" * 10**6)]
)
def test_any_error_of_a_version_is_a_fault_of_it(
    error: Exception, bundle: Bundle, repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        repository.publish(bundle.path, repo, "ssrnet")

    def read(path: Any) -> Bundle:
        if Path(path).name == "2":
            raise error
        return read_bundle(path)

    monkeypatch.setattr(repository, "read_served", read)
    rows = {row["version"]: row for row in list_versions(repo)}
    assert [rows[n]["state"] for n in (3, 2, 1)] == ["serving", "broken", "loaded"]
    reason = rows[2]["reason"]
    assert f"ssrnet/2: cannot be read ({type(error).__name__}" in reason
    assert "\n" not in reason
    assert len(reason) < 500
    view = View(repo, tmp_path / "view")
    view.update()
    assert view.models == {"ssrnet": (3, 1)}
    assert [(f.model, f.version) for f in view.failures] == [("ssrnet", 2)]
    assert repository.rollback(repo, "ssrnet")[0].number == 1
    with pytest.raises(SsrError, match=type(error).__name__):
        repository.build([("b", repo / "ssrnet" / ".withdrawn-2" / ".." / "2")], repo)


@pytest.mark.parametrize("unit", ["NaN", "1e999", "5", nested(100_000), "9" * 5000, "[[]]", '"\\ud800"'])
def test_a_unit_of_any_kind_is_a_fault(unit: str, bundle: Bundle, repo: Path) -> None:
    repository.publish(bundle.path, repo, "ssrnet")
    path = repo / "ssrnet" / "2" / "contract.json"
    contract = json.loads(path.read_text())
    contract["interface"]["output"]["unit"] = "@"
    path.write_text(json.dumps(contract).replace('"@"', unit))
    states = {row["version"]: row["state"] for row in list_versions(repo)}
    assert states == {2: "broken", 1: "serving"}


@pytest.mark.parametrize(
    ("mae", "shown"), [(10**400, ""), (float("nan"), ""), (-(10**400), ""), (5, "5.00"), ("x", "")]
)
def test_a_summary_of_any_provenance(mae: Any, shown: str, bundle: Bundle) -> None:
    contract = replace(bundle.contract, provenance={"metrics": {"val_mae": mae}})
    assert repository.summary(contract)["mae"] == shown


@pytest.mark.parametrize(("make", "text"), NOT_FILES.values(), ids=list(NOT_FILES))
def test_a_config_that_is_no_file(make: Any, text: str, bundle: Bundle, repo: Path, tmp_path: Path) -> None:
    """A pipe would be waited for, a device read for ever."""
    repository.build([("other", bundle.path)], repo)
    (repo / "ssrnet" / "config.pbtxt").unlink()
    make(repo / "ssrnet" / "config.pbtxt")
    assert re.search(text, repository.read_model(repo / "ssrnet").fault)
    view = View(repo, tmp_path / "view")
    view.update()
    assert view.models == {"other": (1,)}
    with pytest.raises((SsrError, OSError)):
        repository.publish(bundle.path, repo, "ssrnet")


@pytest.mark.parametrize("name", ["model.plan", "model.plan.json"])
@pytest.mark.parametrize(("make", "text"), NOT_FILES.values(), ids=list(NOT_FILES))
def test_a_plan_that_is_no_file(name: str, make: Any, text: str, tmp_path: Path) -> None:
    from triton_repo.compile.plan import PlanError, load_plan

    for file in ("model.plan", "model.plan.json"):
        (tmp_path / file).write_text("{}")
    (tmp_path / name).unlink()
    make(tmp_path / name)
    with pytest.raises(PlanError, match=text):
        load_plan(tmp_path)


@pytest.mark.parametrize("name", ["\udcff", "*", "a\x1b[31m", "a b", "ü", "a%2fb", "\\"])
def test_a_model_that_no_server_can_be_told_to_load(name: str, repo: Path, tmp_path: Path) -> None:
    """``--load-model=*`` would load all there is; over HTTP a name is taken as it is written in the URL."""
    (repo / "ssrnet").rename(repo / name)
    (repo / name / "config.pbtxt").write_text('backend: "python"')
    view = View(repo, tmp_path / "view")
    assert view.update() == ([], [])
    assert "a server cannot be told to load such a name" in view.failures[0].reason


# -- version numbers -------------------------------------------------------------------------------

LARGEST = 9223372036854775807


@pytest.mark.parametrize(
    "number", [LARGEST + 1, 17640000000000000000000, 10**254], ids=["one", "time", "most"]
)
def test_a_version_beyond_what_a_server_takes(
    number: int, bundle: Bundle, repo: Path, tmp_path: Path
) -> None:
    """Listed, never linked, no obstacle to the next."""
    shutil.copytree(repo / "ssrnet" / "1", repo / "ssrnet" / str(number))
    view = View(repo, tmp_path / "view")
    view.update()
    assert view.models == {"ssrnet": (1,)}
    assert {p.name for p in (tmp_path / "view" / "ssrnet").iterdir()} == {"1", "config.pbtxt"}
    assert f"no tritonserver takes a version above {LARGEST}" in view.failures[0].reason
    assert [row["state"] for row in list_versions(repo)] == ["broken", "serving"]
    assert repository.publish(bundle.path, repo, "ssrnet").number == 2
    assert repository.rollback(repo, "ssrnet")[1] == [2]
    assert repository.publish(bundle.path, repo, "ssrnet").number == 3


def test_no_version_follows_the_largest(bundle: Bundle, repo: Path) -> None:
    (repo / "ssrnet" / "1").rename(repo / "ssrnet" / str(LARGEST - 1))
    assert repository.publish(bundle.path, repo, "ssrnet").number == LARGEST
    before = sorted(p.name for p in (repo / "ssrnet").iterdir())
    with pytest.raises(SsrError, match=rf"ssrnet: version {LARGEST} is there, .* rename its folder"):
        repository.publish(bundle.path, repo, "ssrnet")
    assert sorted(p.name for p in (repo / "ssrnet").iterdir()) == before
    assert [v.number for v in repository.read_model(repo / "ssrnet").good] == [LARGEST, LARGEST - 1]


def test_a_foreign_model_with_a_name_that_ends_the_server(repo: Path, tmp_path: Path) -> None:
    """tritonserver reads a number off the beginning of any folder's name."""
    model = repo / "ssrnet"
    (model / "config.pbtxt").write_text('backend: "python"')
    fatal = [f"{LARGEST + 1}", f"{LARGEST + 1}abc", f"-{LARGEST + 2}", f" +{LARGEST + 1}"]
    harmless = ["2", f"{LARGEST}", f"-{LARGEST + 1}", f"0{LARGEST + 1}", "files", "2abc"]
    for name in fatal + harmless:
        (model / name).mkdir()
    view = View(repo, tmp_path / "view")
    view.update()
    linked = {p.name for p in (tmp_path / "view" / "ssrnet").iterdir()}
    assert linked == {"1", "config.pbtxt", *harmless}
    assert {f.version for f in view.failures} == {LARGEST + 1, None}
    assert len(view.failures) == len(fatal)
    assert not view.refuse("ssrnet", 1, "no such backend")  # `run` would try for ever
    for name in fatal:
        (model / name).rmdir()
    assert view.update() == (["ssrnet"], [])
    assert (tmp_path / "view" / "ssrnet").is_symlink()
    assert view.failures == []


# -- the view from any state to any other ----------------------------------------------------------


def as_own(repo: Path) -> None:
    text = config.render("ssrnet", read_bundle(default_bundle()).contract, Options())
    as_gone(repo)
    (repo / "ssrnet").mkdir()
    shutil.copytree(default_bundle(), repo / "ssrnet" / "1")
    (repo / "ssrnet" / "config.pbtxt").write_text(text)


def as_foreign(repo: Path) -> None:
    as_own(repo)
    (repo / "ssrnet" / "config.pbtxt").write_text('backend: "python"')


def as_fatal(repo: Path) -> None:
    as_foreign(repo)
    (repo / "ssrnet" / f"{LARGEST + 1}").mkdir()


def as_broken(repo: Path) -> None:
    as_own(repo)
    broken_byte(repo / "ssrnet" / "1")


def as_empty_config(repo: Path) -> None:
    as_own(repo)
    (repo / "ssrnet" / "config.pbtxt").write_text("")


def as_file(repo: Path) -> None:
    as_gone(repo)
    (repo / "ssrnet").write_text("")


def as_gone(repo: Path) -> None:
    if (repo / "ssrnet").is_dir():
        shutil.rmtree(repo / "ssrnet")
    (repo / "ssrnet").unlink(missing_ok=True)


STATES = [as_own, as_foreign, as_fatal, as_broken, as_empty_config, as_file, as_gone]


@pytest.mark.parametrize("second", STATES)
@pytest.mark.parametrize("first", STATES)
def test_the_view_follows_from_any_state_to_any_other(first: Any, second: Any, tmp_path: Path) -> None:
    """And is in the end as a new view would be, but that what was good before a fault stays."""
    repo = tmp_path / "repo"
    repo.mkdir()
    view = View(repo, tmp_path / "view")
    good = (as_own, as_foreign, as_fatal)
    for state in (first, second, first, as_own):
        before = view.models
        state(repo)
        view.update()
        assert not view.unsettled, view.failures
        if state in (as_broken, as_empty_config):
            assert view.models == before
            assert view.failures
            continue
        assert view.models == ({"ssrnet": (1,)} if state in good else {})
        fresh = View(repo, tmp_path / f"fresh-{state.__name__}")
        fresh.update()
        assert tree(view.folder) == tree(fresh.folder)
        shutil.rmtree(fresh.folder)


def test_a_version_is_not_taken_out_of_a_model_that_broke_meanwhile(repo: Path, tmp_path: Path) -> None:
    """Whoever is told that it was would have the server load it again and again."""
    repository.publish("default", repo, "ssrnet")
    view = View(repo, tmp_path / "view")
    view.update()
    (repo / "ssrnet" / "config.pbtxt").write_text("")
    assert not view.refuse("ssrnet", 2, "the server's reason")
    assert view.models == {"ssrnet": (2, 1)}


def tree(folder: Path) -> list[tuple[str, str]]:
    return sorted(
        (str(p.relative_to(folder)), str(p.readlink()) if p.is_symlink() else "") for p in folder.rglob("*")
    )


def test_an_error_of_the_machine_is_made_good(
    bundle: Bundle, repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half-made is not taken for made, and the other models are served."""
    repository.build([("other", bundle.path), ("third", bundle.path)], repo)
    view = View(repo, tmp_path / "view")
    with monkeypatch.context() as full:

        def fail(path: Path, data: bytes) -> None:
            if path.parent.name == "other":
                raise OSError(28, "No space left on device", str(path))
            replace_file(path, data)

        full.setattr("triton_repo.view.replace_file", fail)
        assert view.update() == (["ssrnet", "third"], [])
        assert view.unsettled
        assert "No space left" in str(view.failures[0])
    assert view.update() == (["other"], [])
    assert not view.unsettled
    assert view.failures == []
    assert set(view.models) == {"other", "ssrnet", "third"}


def test_a_change_beside_a_refused_version_is_not_forgotten(
    bundle: Bundle, repo: Path, tmp_path: Path
) -> None:
    repository.publish(bundle.path, repo, "ssrnet")
    view = View(repo, tmp_path / "view")
    view.update()
    repository.build([("other", bundle.path)], repo)
    assert view.refuse("ssrnet", 2, "no such precision")
    assert view.update() == (["other"], [])


def test_a_signature_sees_beside_a_dangling_link(repo: Path, tmp_path: Path) -> None:
    version = repo / "ssrnet" / "1"
    (version / "nowhere").symlink_to("nothing")
    view = View(repo, tmp_path / "view")
    before = view.signature()
    broken_byte(version)
    assert view.signature() != before


def test_a_signature_of_links_in_circles_ends(repo: Path, tmp_path: Path) -> None:
    version = repo / "ssrnet" / "1"
    for name in ("a", "b", "c", "d"):
        (version / name).symlink_to(".")
        (repo / "ssrnet" / name).symlink_to(".")
    (version / "all").symlink_to("/")
    (repo / "ssrnet" / "7").symlink_to("/")
    deep = version
    for _ in range(300):
        deep = deep / "down"
        deep.mkdir()
    view = View(repo, tmp_path / "view")
    [signature] = view.signature()
    assert len(signature) < 20_000  # type: ignore[arg-type]
    view.update()
    assert view.models == {"ssrnet": (1,)}


# -- what a kill leaves ----------------------------------------------------------------------------

KILLED_AS_IT_RENAMES = """
import os, signal, sys
from triton_repo import repository


def end(event, _):
    if event == "os.rename":
        os.kill(os.getpid(), signal.SIGKILL)


sys.addaudithook(end)
if sys.argv[1] == "publish":
    repository.publish("default", sys.argv[2], "ssrnet")
else:
    repository.build([("other", "default")], sys.argv[2])
"""


@pytest.mark.parametrize("command", ["publish", "build"])
def test_the_next_removes_what_a_kill_left(command: str, bundle: Bundle, repo: Path) -> None:
    folder = repo / "ssrnet" if command == "publish" else repo
    mine = folder / ".tmp-mine"
    mine.mkdir()
    killed = [sys.executable, "-c", KILLED_AS_IT_RENAMES, command, str(repo)]
    assert subprocess.run(killed, timeout=60).returncode == -signal.SIGKILL
    [left] = [p for p in folder.glob(".tmp-*") if p != mine]
    assert (left / "contract.json").exists() or (left / "1" / "contract.json").exists()
    if command == "publish":
        (folder / ".tmp-config.pbtxt-abcd_123").write_text("of a killed tune")
        repository.publish(bundle.path, repo, "ssrnet")
    else:
        repository.build([("other", bundle.path)], repo)
    assert list(folder.glob(".tmp-*")) == [mine]


def test_what_another_publish_works_in_is_left_alone(
    bundle: Bundle, repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A build beside it, in the folder above, and another publish, which waits for it."""
    inside, go_on = threading.Event(), threading.Event()
    fill = repository._fill

    def slow(folder: Path, *arguments: Any) -> Any:
        if folder.parent.name == "ssrnet" and not inside.is_set():
            inside.set()
            assert go_on.wait(30)
        return fill(folder, *arguments)

    monkeypatch.setattr(repository, "_fill", slow)
    numbers: list[int] = []

    def publish() -> None:
        numbers.append(repository.publish(bundle.path, repo, "ssrnet").number)

    threads = [threading.Thread(target=publish) for _ in range(2)]
    threads[0].start()
    assert inside.wait(30)
    threads[1].start()
    repository.build([("other", bundle.path)], repo)
    assert len(list((repo / "ssrnet").glob(".tmp-*"))) == 1
    go_on.set()
    for thread in threads:
        thread.join(30)
    assert sorted(numbers) == [2, 3]
