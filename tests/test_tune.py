"""ssr-serve tune: the search against machines that are made up, and once against a real server."""

from __future__ import annotations

import json
import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ssr_client import AgeClient
from tritonclient.grpc import model_config_pb2
from typer.testing import CliRunner

from ssr_bundle.bundle import read_bundle
from ssr_bundle.errors import SsrError
from ssr_bundle.machine import usable_cores
from ssr_ops import Engine
from ssr_ops.shipped import default_bundle
from triton_repo import cli, config, repository, trial, tune_report
from triton_repo.config import Options
from triton_repo.server import Server
from triton_repo.settings import ServingSettings, notes, only_merges, read_settings, with_settings
from triton_repo.trial import Round, Trial, Workload
from triton_repo.tritonserver import TritonServer
from triton_repo.tune import EnginePoint, Goal, Search, drifts, judge, pairs, thread_counts

GPU = model_config_pb2.ModelInstanceGroup.KIND_GPU
PRESENT = ServingSettings(instances=1, threads=1, max_batch=64)


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    repository.build([("ssrnet", default_bundle())], tmp_path / "repo", Options(max_batch=32))
    return tmp_path / "repo"


def parsed(**options: Any) -> Any:
    return config.parse(config.render("m", read_bundle(default_bundle()).contract, Options(**options)))


def rounds(*crops: float, p99: float = 5.0) -> list[Round]:
    return [Round(c, p99 / 2, p99, 8.0, 1.0, 0.1) for c in crops]


# -- settings and config.pbtxt ---------------------------------------------------------------------


def test_settings_are_read_and_written_and_nothing_else_changes() -> None:
    before = parsed(instances=2, threads=3, max_batch=32, preferred_batch=(8,), queue_delay_us=7, max_queue=9)
    assert read_settings(before) == ServingSettings(2, 3, 32, 7, (8,))
    wanted = ServingSettings(1, 4, 64, 100, (16, 32), "int8")
    after = with_settings(before, wanted)
    assert read_settings(after) == wanted
    assert after.model_warmup[0].batch_size == 64
    assert with_settings(after, read_settings(before)) == before
    assert before.dynamic_batching.default_queue_policy.max_queue_size == 9
    assert after.dynamic_batching.default_queue_policy == before.dynamic_batching.default_queue_policy


def test_dynamic_batching_goes_and_comes_back() -> None:
    merged, off = ServingSettings(1, 1, 64, 0, (16,)), ServingSettings(2, 1, 64, dynamic_batching=False)
    without = with_settings(parsed(queue_delay_us=7), off)
    assert not without.HasField("dynamic_batching")
    assert read_settings(without) == off
    assert "batch as sent" in str(off)
    assert read_settings(with_settings(without, merged)) == merged
    assert read_settings(parsed(dynamic_batching=False)).dynamic_batching is False


@pytest.mark.parametrize(
    ("options", "goes"),
    [
        ({}, True),
        ({"dynamic_batching": False}, True),
        ({"queue_delay_us": 7, "preferred_batch": (8,)}, True),
        ({"max_queue": 5}, False),
        ({"queue_timeout_ms": 5}, False),
    ],
)
def test_a_bound_on_the_queue_is_never_tuned_away(options: Any, goes: bool) -> None:
    assert only_merges(parsed(**options)) is goes
    bench, _ = search(lambda s: (1000.0, 5.0), unmerged=goes, crops=1, concurrency=8)
    assert any(not s.dynamic_batching for s in bench.asked) is goes


@pytest.mark.parametrize(
    ("edit", "text"),
    [
        (lambda c: setattr(c, "backend", "python"), "backend 'python', not of ssr"),
        (lambda c: c.instance_group.add(), "2 instance groups, expected one"),
        (lambda c: setattr(c.instance_group[0], "kind", GPU), "runs on a GPU"),
        (lambda c: setattr(c.parameters["threads"], "string_value", "many"), "threads: 'many'"),
    ],
)
def test_configurations_that_cannot_be_tuned(edit: Any, text: str) -> None:
    broken = parsed()
    edit(broken)
    with pytest.raises(SsrError, match=text):
        read_settings(broken)


def test_a_configuration_is_replaced_whole_or_not_at_all(repo: Path) -> None:
    path = repo / "ssrnet" / "config.pbtxt"
    before = path.read_text()
    wanted = ServingSettings(2, 1, 32)
    after = "# first\n" + config.to_text(with_settings(config.parse(before), wanted))
    assert repository.reconfigure(repo, "ssrnet", before, after) == path
    assert read_settings(config.read(repo / "ssrnet")) == wanted
    assert notes(path.read_text()) == ["# first"]
    assert {p.name for p in path.parent.iterdir()} == {"1", "config.pbtxt"}
    with pytest.raises(SsrError, match="changed meanwhile"):
        repository.reconfigure(repo, "ssrnet", before, after)
    other = config.parse(after)
    other.parameters["interface_sha256"].string_value = "0" * 64
    with pytest.raises(SsrError, match="another interface is another model name"):
        repository.reconfigure(repo, "ssrnet", after, config.to_text(other))
    assert path.read_text() == after


# -- candidates, goals and the verdict -------------------------------------------------------------


@pytest.mark.parametrize("cores", [1, 2, 3, 8, 64, 300])
def test_never_more_threads_than_cores(cores: int) -> None:
    even = [EnginePoint(t, 128, 1000.0 * t) for t in thread_counts(cores)]
    found = pairs(PRESENT, even, cores, Goal())
    assert all(1 <= s.cores <= cores for s in found)
    assert any(s.cores == min(cores, 256) for s in found)
    assert len(set(found)) == len(found) <= 27


def test_threads_that_the_engine_wastes_are_tried_for_latency_only() -> None:
    flat = [EnginePoint(t, 128, 1000.0) for t in thread_counts(8)]
    assert {s.threads for s in pairs(PRESENT, flat, 8, Goal())} == {1, 2}
    assert {s.threads for s in pairs(PRESENT, flat, 8, Goal("latency"))} == {1, 2, 4, 8}


@pytest.mark.parametrize(
    ("present", "best", "goal", "worth", "words"),
    [
        (rounds(*[100] * 8), rounds(*[150] * 8), Goal(), True, "1.50 times the crops/s, better in 8 of 8"),
        (rounds(*[100] * 8), rounds(*[101] * 8), Goal(), False, "no gain that is worth a change"),
        (rounds(*[100] * 8), rounds(*[150, 80] * 4), Goal(), False, "within the noise: 1.15 times"),
        (rounds(*[100] * 8), rounds(*[90] * 8), Goal(), False, "no gain"),
        (rounds(*[100] * 8), rounds(*[150] * 8, p99=9), Goal("latency", 6), False, "only the present"),
        (rounds(*[100] * 8, p99=9), rounds(*[80] * 8), Goal("latency", 6), True, "1.80 times the 1/p99"),
        (rounds(*[100] * 8), rounds(*[120] * 8), Goal("latency", 6), True, "1.20 times the crops/s"),
        (rounds(*[100] * 8), rounds(*[100] * 8, p99=4), Goal("latency"), True, "1.25 times the 1/p99"),
    ],
)
def test_verdict(present: Any, best: Any, goal: Goal, worth: bool, words: str) -> None:
    verdict = judge(Trial(PRESENT, present), Trial(replace(PRESENT, threads=2), best), goal, Workload())
    assert (verdict.worth, words in verdict.reason) == (worth, True), verdict.reason


@pytest.mark.parametrize(
    ("goal", "workload", "text"),
    [
        (Goal("speed"), Workload(), "expected throughput or latency, got 'speed'"),  # type: ignore[arg-type]
        (Goal(p99_ms=5), Workload(), "for --goal latency"),
        (Goal("latency", -1), Workload(), "above 0"),
        (Goal("latency", math.nan), Workload(), "above 0"),
        (Goal(), Workload(rate=100), "no throughput to find"),
    ],
)
def test_goals_that_make_no_sense(goal: Goal, workload: Workload, text: str) -> None:
    with pytest.raises(SsrError, match=text):
        goal.check(workload)


def test_workloads_that_make_no_sense() -> None:
    for broken in ({"crops": 0}, {"concurrency": 0}, {"rate": -1.0}, {"rate": math.nan}):
        with pytest.raises(SsrError, match=next(iter(broken))):
            Workload(**broken)  # type: ignore[arg-type]
    with pytest.raises(SsrError, match="at most 64 crops a request"):
        Search(MadeUp({}), PRESENT, Workload(crops=65), Goal(), 60, 2, print)  # type: ignore[arg-type]


# -- the search on machines that are made up -------------------------------------------------------


class MadeUp:
    """Stands for :class:`triton_repo.trial.Bench`: a round is what ``machine`` says of the settings."""

    version = "made up"

    def __init__(self, machine: Any) -> None:
        self.machine, self.loaded = machine, set[ServingSettings]()
        self.asked: set[ServingSettings] = set()

    def keep(self, wanted: list[ServingSettings]) -> None:
        self.loaded = set(wanted)
        self.asked |= self.loaded

    def measure(self, trial: Trial, seconds: float) -> Round:
        assert trial.settings in self.loaded
        crops, p99 = self.machine(trial.settings)
        trial.rounds.append(Round(crops, p99 / 2, p99, 8.0, 1.0, 0.1))
        return trial.rounds[-1]


def search(
    machine: Any, goal: Goal | None = None, cores: int = 8, unmerged: bool = True, **workload: Any
) -> tuple[MadeUp, Any]:
    bench = MadeUp(machine)
    even = [EnginePoint(t, b, 1000.0 * t) for t in thread_counts(cores) for b in (1, 16, 128)]
    found = Search(
        bench,  # type: ignore[arg-type]
        PRESENT,
        Workload(**workload),
        goal or Goal(),
        20,
        cores,
        lambda _: None,
        unmerged,
    )
    return bench, found.run(even, PRESENT)


def test_requests_of_one_crop_are_served_as_sent_where_that_is_better() -> None:
    def machine(s: ServingSettings) -> tuple[float, float]:
        return 1000.0 * s.instances, 1.0 + s.dynamic_batching

    bench, verdict = search(machine, Goal("latency", 5.0), cores=2, crops=1, concurrency=4)
    assert verdict.best.settings == ServingSettings(2, 1, 64)
    bench, verdict = search(machine, Goal("latency"), cores=2, crops=1, rate=50.0)
    assert not verdict.best.settings.dynamic_batching
    assert all(s.threads == 1 for s in bench.asked if not s.dynamic_batching), (
        "one crop keeps one thread busy"
    )
    assert verdict.present.settings.changes(verdict.best.settings).endswith("dynamic_batching True -> False")


def test_the_search_finds_the_top_of_a_made_up_machine() -> None:
    """Rising up to six instances, to 32 merged crops and 100 us; every candidate within the cores."""

    def machine(s: ServingSettings) -> tuple[float, float]:
        merged = min((*s.preferred, s.max_batch))
        rate = 1000 * min(s.instances, 6) - 100 * (s.instances > 6) - 50 * s.threads
        return rate * (1.5 if merged == 16 else 1.0) * (1.2 if s.queue_delay_us == 100 else 1.0), 5.0

    bench, verdict = search(machine, crops=4, concurrency=64)
    assert verdict.worth
    assert verdict.best.settings == ServingSettings(6, 1, 64, 100, (16,))
    assert all(s.cores <= 8 for s in bench.asked)
    assert all(s.max_batch >= PRESENT.max_batch for s in bench.asked), "larger requests would be refused"


def test_the_search_changes_nothing_where_nothing_helps() -> None:
    _, verdict = search(lambda s: (1000.0, 5.0))
    assert not verdict.worth
    assert verdict.best.settings == PRESENT
    assert "the best that was found" in verdict.reason


def test_the_bound_on_p99_outweighs_throughput() -> None:
    """Threads make it slower and quick to answer; one instance alone breaks the bound."""

    def machine(s: ServingSettings) -> tuple[float, float]:
        return 1000.0 * s.instances + 10 * s.threads, 12.0 / s.threads

    _, verdict = search(machine, Goal("latency", 4.0), crops=16, concurrency=8)
    assert verdict.worth
    assert verdict.best.settings.threads == 4
    assert verdict.best.settings.instances == 2
    _, verdict = search(machine, Goal("latency"), crops=16, rate=50.0)
    assert verdict.best.settings.threads == 8


def test_drift_is_told_beside_the_speed() -> None:
    numbers = {"mean": 0.0924, "p99": 0.3795}
    own = {"mean": 0.08, "p99": 0.3}
    assert tune_report._drift({"calibration": own, "held_out": numbers}) == (
        "mean 0.0924, p99 0.38, on faces it never saw"
    )
    assert tune_report._drift({"calibration": own}) == "mean 0.08, p99 0.3, on its own"
    assert tune_report._drift("not stated") == "not stated"
    assert drifts(read_bundle(default_bundle()).contract, ["fp32"]) == {}


def test_cores_of_a_container(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(12)))
    for text, cores in (("max 100000", 12), ("350000 100000", 3), ("50000 100000", 1), ("what", 12)):
        monkeypatch.setattr(Path, "read_text", lambda *_, text=text: text)
        assert usable_cores() == cores


# -- the command -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--crops", "0"], "crops: must lie in"),
        (["--seconds", "1"], "--seconds"),
        (["--precision", "int3"], "got 'int3'"),
        (["--goal", "speed"], "got 'speed'"),
        (["--rate", "100"], "use --goal latency"),
        (["--rate", "4", "--goal", "latency"], "rate: must lie in"),
    ],
)
def test_options_out_of_range(arguments: list[str], text: str) -> None:
    shown = CliRunner(env={"COLUMNS": "300"}).invoke(cli.app, ["tune", "--bundle", "default", *arguments])
    assert shown.exit_code == 2
    assert text in shown.output


def test_a_model_that_is_not_there(repo: Path) -> None:
    shown = CliRunner().invoke(cli.app, ["tune", "nobody", "--repo", str(repo)])
    assert "no model 'nobody' in it; there is ssrnet" in str(shown.exception)


def test_usage_and_a_folder_that_cannot_be_written(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is measured."""
    for arguments in ([], ["ssrnet", "--bundle", "default"], ["--repo", str(repo), "--bundle", "default"]):
        assert CliRunner().invoke(cli.app, ["tune", *arguments]).exit_code == 2
    monkeypatch.setattr("os.access", lambda path, mode: mode != os.W_OK)
    shown = CliRunner().invoke(cli.app, ["tune", "--repo", str(repo)])
    assert "ssrnet: cannot be written to; --dry-run only searches" in str(shown.exception)


def test_what_is_written(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing in a dry run, or without a gain; else the settings, with the old values in a comment."""

    class Pretend(MadeUp):
        def __init__(self, *_: Any) -> None:
            super().__init__(lambda s: (1000.0 * (1 + s.queue_delay_us), 5.0))

        def __enter__(self) -> Pretend:
            return self

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr("triton_repo.tune.Bench", Pretend)
    monkeypatch.setattr("triton_repo.tune.usable_cores", lambda: 1)
    path = repo / "ssrnet" / "config.pbtxt"
    before = path.read_text()

    def tune(*options: str) -> Any:
        done = CliRunner().invoke(
            cli.app, ["tune", "--seconds", "5", "--repo", str(repo), "--json", *options]
        )
        assert done.exception is None, done.output
        return json.loads(done.stdout)

    report = tune("--dry-run")
    assert (report["worth"], report["written"], path.read_text()) == (True, None, before)
    report = tune()
    assert report["written"] == str(path)
    assert read_settings(config.read(repo / "ssrnet")) == ServingSettings(1, 1, 32, 2000)
    [note] = notes(path.read_text())
    assert "queue_delay_us 0 -> 2000; " in note
    assert "better in" in note
    written = path.read_text()
    report = tune()
    assert (report["worth"], report["written"], path.read_text()) == (False, None, written)
    assert repository.read_model(repo / "ssrnet").good, "the configuration still fits its version"


@pytest.mark.server
def test_a_running_server_is_tuned(
    tmp_path: Path, tritonserver: TritonServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that holds requests back for 0.1 s: any machine finds better. The server that runs is not
    touched until the end, then follows, and answers the same bits."""
    monkeypatch.setenv("TRITONSERVER", str(tritonserver.binary))
    monkeypatch.setattr("triton_repo.tune._DELAYS_US", (500,))
    repo = tmp_path / "repo"
    repository.build([("ssrnet", default_bundle())], repo, Options(queue_delay_us=100_000))
    path = repo / "ssrnet" / "config.pbtxt"
    command = ["tune", "--repo", str(repo), "--crops", "4", "--concurrency", "2", "--seconds", "5"]
    images = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), np.uint8)
    expected = Engine(default_bundle()).predict(images)
    with Server(repo, tritonserver=tritonserver) as server, AgeClient(server.grpc_url) as client:
        done = CliRunner().invoke(cli.app, [*command, "--url", server.http_url])
        assert done.exception is None, done.output
        requests = client.statistics()[0].inference_stats.success.count
        warmed = 64 * (1 + usable_cores())  # the instance of before, and each of those that were found
        assert requests <= warmed, "more than its warm-ups: the running server was used"
        assert "written to" in done.stdout
        assert "engine alone, one thread" in done.stdout
        assert f"fp32 {Engine(default_bundle()).implementation}" in done.stdout
        served = read_settings(config.from_json(server.control.config("ssrnet")))
        assert served == read_settings(config.parse(path.read_text()))
        assert served.cores <= usable_cores()
        assert served.queue_delay_us < 100_000 or served.preferred
        [note] = notes(path.read_text())
        assert "queue_delay_us 100000 -> " in note or "preferred none -> 4" in note
        assert client.predict(images).tobytes() == expected.tobytes()
        assert server.failures == []
    assert {p.name for p in path.parent.iterdir()} == {"1", "config.pbtxt"}


@pytest.mark.server
def test_a_candidate_that_the_server_refuses_is_told(
    tritonserver: TritonServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TRITONSERVER", str(tritonserver.binary))
    broken = parsed()
    broken.parameters["unheard_of"].string_value = "1"
    with (
        pytest.raises(SsrError, match="unheard_of"),
        trial.Bench(broken, default_bundle(), Workload()) as bench,
    ):
        bench.keep([PRESENT])
