"""``ssr-serve versions``: with a server at hand, the state of a version is what that server says."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest
from bundle_faults import broken_byte

from ssr_ops.shipped import default_bundle
from triton_repo import repository
from triton_repo.control import Control, VersionState
from triton_repo.versions import list_versions

READY, LOADING, UNLOADED = ("READY", ""), ("LOADING", ""), ("UNAVAILABLE", "unloaded")
REFUSED = ("UNAVAILABLE", "Invalid argument: no such precision")


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Version 4 is broken, 3 would serve, 2 is kept beside it, 1 is not loaded; .withdrawn-5."""
    root = tmp_path_factory.mktemp("four") / "repo"
    repository.build([("ssrnet", default_bundle())], root)
    model = root / "ssrnet"
    for name in ("2", "3", "4", ".withdrawn-5"):
        shutil.copytree(model / "1", model / name)
    broken_byte(model / "4")
    return root


def states(repo: Path, said: Mapping[int, tuple[str, str]] | None) -> dict[Any, tuple[str, str]]:
    class Server:
        def index(self) -> list[VersionState]:
            return [VersionState("ssrnet", number, *state) for number, state in (said or {}).items()]

    rows = list_versions(repo, None if said is None else cast(Control, Server()))
    return {row["version"]: (row["state"], row["reason"]) for row in rows}


def test_without_a_server_they_are_those_of_one_that_follows(four: Path) -> None:
    found = states(four, None)
    assert {number: state for number, (state, _) in found.items()} == {
        5: "withdrawn",
        4: "broken",
        3: "serving",
        2: "loaded",
        1: "available",
    }


NOT_LOADED = ("available", "not loaded by the server")
SAID: dict[str, tuple[dict[int, tuple[str, str]], dict[int, tuple[str, str]]]] = {
    "in step": ({3: READY, 2: READY}, {3: ("serving", ""), 2: ("loaded", ""), 1: ("available", "")}),
    "unloaded": ({3: UNLOADED, 2: UNLOADED}, {3: NOT_LOADED, 2: NOT_LOADED}),
    "half unloaded": ({3: UNLOADED, 2: READY}, {3: NOT_LOADED, 2: ("serving", "")}),
    "knows nothing of it": ({}, {3: NOT_LOADED, 2: NOT_LOADED}),
    "refused": ({3: REFUSED, 2: READY}, {3: ("failed", REFUSED[1]), 2: ("serving", "")}),
    "on the way": ({3: LOADING, 2: ("UNLOADING", "")}, {3: ("loading", ""), 2: ("unloading", "")}),
    "more than was kept": ({1: READY}, {1: ("serving", "")}),
    "withdrawn, and not followed": (
        {5: READY, 3: READY},
        {5: ("serving", "withdrawn in the repository"), 3: ("loaded", "")},
    ),
}


@pytest.mark.parametrize("name", SAID)
def test_with_one_they_are_what_it_says(name: str, four: Path) -> None:
    said, expected = SAID[name]
    found = states(four, said)
    assert {number: found[number] for number in expected} == expected


def test_one_that_broke_on_disk_and_serves_from_memory(four: Path, tmp_path: Path) -> None:
    state, reason = states(four, {4: READY})[4]
    assert (state, reason.startswith("broken in the repository: ")) == ("serving", True)
    assert "sha256" in reason
    assert states(four, {4: REFUSED})[4] == states(four, None)[4]
    copy = Path(shutil.copytree(four, tmp_path / "copy"))
    (copy / "ssrnet" / "config.pbtxt").write_text("")
    found = states(copy, {3: READY, 2: READY, 1: UNLOADED})
    assert found.pop(None)[0] == "broken"
    assert found == {3: ("serving", "broken in the repository"), 2: ("loaded", "broken in the repository")}
