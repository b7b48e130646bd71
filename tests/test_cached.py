"""The server's response cache answers in front of the backend, so no answer of ours may come out of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ssr_bundle.errors import SsrError
from ssr_ops.shipped import default_bundle
from triton_repo import repository
from triton_repo.cached import check_not_cached
from triton_repo.config import parse
from triton_repo.versions import list_versions
from triton_repo.view import View

CACHED = "response_cache { enable: true }\n"


def ensemble(*steps: str) -> str:
    named = "".join(f'step {{ model_name: "{name}" model_version: -1 }}\n' for name in steps)
    return f'platform: "ensemble"\nensemble_scheduling {{ {named} }}\n'


def put(repo: Path, name: str, text: str) -> Path:
    (repo / name / "1").mkdir(parents=True)
    (repo / name / "config.pbtxt").write_text(text)
    return repo / name


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    repository.build([("ssrnet", default_bundle())], tmp_path / "repo")
    return tmp_path / "repo"


def test_a_cached_model_is_refused(repo: Path, tmp_path: Path) -> None:
    """By whoever looks at it; its versions are well, so that it is one sentence."""
    with (repo / "ssrnet" / "config.pbtxt").open("a") as config:
        config.write(CACHED)
    told = r"ssrnet/config.pbtxt: response_cache is on, and a cached answer of ssrnet names no weights"
    view = View(repo, tmp_path / "view")
    view.update()
    assert view.models == {}
    [failure] = view.failures
    assert failure.reason == repository.read_model(repo / "ssrnet").fault == list_versions(repo)[0]["reason"]
    with pytest.raises(SsrError, match=told):
        repository.publish("default", repo)


@pytest.mark.parametrize("backend", ["onnxruntime", "tensorrt"])
def test_so_is_one_of_a_stock_backend(backend: str, repo: Path) -> None:
    ours = 'parameters { key: "interface_sha256" value { string_value: "0" } }'
    with pytest.raises(SsrError, match="a cached answer of ssrnet-x names no weights"):
        check_not_cached(repo / "ssrnet-x", parse(f'backend: "{backend}" {ours} {CACHED}'))
    check_not_cached(repo / "ssrnet-x", parse(f'backend: "{backend}" {CACHED}'))  # not of ours


@pytest.mark.parametrize("steps", [["nobody", "ssrnet"], ["over"], ["circle", "over"]])
def test_so_is_an_ensemble_with_ours_in_it(steps: list[str], repo: Path) -> None:
    """It answers from before a publish: of itself nothing has changed."""
    put(repo, "over", ensemble("ssrnet"))
    put(repo, "circle", ensemble("circle", "cached"))
    put(repo, "cached", ensemble(*steps) + CACHED)
    assert "a cached answer of ssrnet names no weights" in repository.read_model(repo / "cached").fault
    assert repository.read_model(repo / "over").fault == ""


def test_others_may_be_cached(repo: Path) -> None:
    put(repo, "program", f'backend: "python" {CACHED}')
    put(repo, "cached", ensemble("program", "cached", "nobody") + CACHED)
    assert [repository.read_model(repo / name).fault for name in ("program", "cached")] == ["", ""]
