"""What ``run`` says of a configuration that the server does not take, and of what serves already."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ssr_bundle.errors import SsrError
from ssr_ops.shipped import default_bundle
from triton_repo import repository
from triton_repo.config import Options
from triton_repo.follower import one_line, poll_failure
from triton_repo.server import Server
from triton_repo.tritonserver import TritonServer

UNORDERED = "dynamic_batching {\n"
ORDERED = f"{UNORDERED} priority_levels: 2\n default_priority_level: 1\n preserve_ordering: true\n"
ENSEMBLE = """platform: "ensemble" max_batch_size: 16
input { name: "IN" data_type: TYPE_UINT8 dims: [64, 64, 3] }
output { name: "OUT" data_type: TYPE_FP32 dims: 1 }
ensemble_scheduling { step {
  model_name: "never" model_version: -1
  input_map { key: "image" value: "IN" } output_map { key: "age" value: "OUT" }
} }
"""
WHY = "Only one priority level is allowed when 'preserve_ordering' is true for"


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """``ssrnet``, and ``never``, which is refused from the start, with ``both``, which needs it."""
    models = [(name, default_bundle()) for name in ("ssrnet", "never")]
    repository.build(models, tmp_path / "repo", Options(warmup=False))
    replace(tmp_path / "repo" / "never", UNORDERED, ORDERED)
    (tmp_path / "repo" / "both" / "1").mkdir(parents=True)
    (tmp_path / "repo" / "both" / "config.pbtxt").write_text(ENSEMBLE)
    return tmp_path / "repo"


@pytest.fixture
def events() -> list[str]:
    return []


@pytest.fixture
def server(repo: Path, tritonserver: TritonServer, events: list[str]) -> Iterator[Server]:
    """It goes by ``refresh`` alone."""
    with Server(repo, tritonserver=tritonserver, watch=False, on_event=events.append) as running:
        yield running


def replace(model: Path, before: str, after: str) -> None:
    path = model / "config.pbtxt"
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after, 1))


@pytest.mark.server
def test_a_refused_configuration(repo: Path, server: Server, events: list[str]) -> None:
    """The reason is told, what still serves is reported as such, and the shutdown is not delayed."""
    told = {failure.model: failure.reason for failure in server.failures}
    assert told.pop("never") == f"{WHY} never"
    assert told.pop("both").startswith("ensemble both contains models that are not available")
    assert told == {}
    model = repo / "ssrnet"
    replace(model, UNORDERED, ORDERED)
    server.refresh()
    with pytest.raises(SsrError, match="failed to poll from model repository: its log says why"):
        server.control.load("ssrnet")  # as `publish --url` of a server that does not follow
    assert events == [f"not served: ssrnet: {WHY} ssrnet", "ssrnet: still serves version 1"]
    replace(model, ORDERED, UNORDERED)
    replace(model, '"threads"', '"threds"')
    server.refresh()
    assert events[2].startswith("not served: ssrnet: load failed for model 'ssrnet': version 1 is at")
    assert events[2].endswith("precision, threads")
    assert events[3:] == ["ssrnet: still serves version 1"]
    replace(model, '"threds"', '"threads"')
    replace(repo / "never", ORDERED, UNORDERED)
    server.refresh()
    assert events[4:] == [f"{name}: serves version 1" for name in ("both", "never", "ssrnet")]
    assert server.failures == []
    begun = time.monotonic()
    server.stop()
    assert time.monotonic() - begun < server.exit_timeout / 2
    assert server.returncode is not None


def test_a_reason_in_the_log() -> None:
    log = """
I1 model_repository_manager.cc:1460] "Poll failed for model directory 'a': not this one"
E1 model_repository_manager.cc:1460] "Poll failed for model directory 'ssrnet': an older one"
E1 model_repository_manager.cc:1460] "Poll failed for model directory 'ssrnet': of\\ntwo lines;\\n"
E1 model_repository_manager.cc:1460] Poll failed for model directory 'plain': without quotes
E1 model_repository_manager.cc:703] "ensemble both contains models that are not available: ssrnet\\n"
"""
    assert poll_failure(log, "ssrnet") == "of two lines"
    assert poll_failure(log, "plain") == "without quotes"
    assert poll_failure(log, "both") == "ensemble both contains models that are not available: ssrnet"
    assert poll_failure(log, "ssr") == poll_failure("", "ssrnet") == ""
    assert one_line("load failed:\n version 1;\n") == "load failed: version 1"
