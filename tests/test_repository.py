"""The model repository on disk: config.pbtxt, build, publish, rollback, and every input that is refused."""

from __future__ import annotations

import json
import os
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
from ssr_bundle.disk import exchange
from ssr_bundle.errors import SsrError, UsageError
from ssr_ops import replay
from ssr_ops.golden import write_bundle
from ssr_ops.shipped import default_bundle
from triton_repo import cli, config, repository
from triton_repo.config import Options
from triton_repo.control import Control, ControlError, Unreachable
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
        ({"precision": "int3"}, "precision: expected fp32, bf16, int8, got 'int3'"),
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
    with pytest.raises(ControlError, match="expected host:port"):
        Control("localhost").metadata()
    with pytest.raises(Unreachable, match="no server answers"):
        Control("127.0.0.1:1").metadata()
