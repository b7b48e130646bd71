"""Who may include whom in the C++ sources (DESIGN: imports)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from conftest import ROOT

SOURCES = ROOT / "ssr_ops" / "csrc"
PUBLIC = SOURCES / "include"
ALLOWED = {
    "include": {"include"},
    "core": {"core", "include"},
    "cpu": {"cpu", "core", "include"},
    "cuda": {"cuda", "core", "include"},
    "python": {"python", "include"},
    "triton": {"triton", "include"},
}
OTHERS = re.compile(r"triton/core/")
"""Quoted includes that are not ours: the official headers of Triton, if they are there."""


def includes() -> dict[Path, set[Path]]:
    """Each source file, and which of our files it includes."""
    files = sorted(p for p in SOURCES.rglob("*") if p.suffix in (".h", ".cc", ".cu"))
    found: dict[Path, set[Path]] = {}
    for file in files:
        names = re.findall(r'^\s*#\s*include\s+"([^"]+)"', file.read_text(), re.MULTILINE)
        found[file] = {resolve(file, name) for name in names if not OTHERS.match(name)}
    return found


def resolve(file: Path, name: str) -> Path:
    for folder in (SOURCES, PUBLIC):
        if (folder / name).is_file():
            return folder / name
    raise AssertionError(f"{file.relative_to(SOURCES)}: no such file: {name}")


def part(file: Path) -> str:
    return file.relative_to(SOURCES).parts[0]


def cycle(graph: Mapping[Path, set[Path]]) -> list[str]:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return [str(file) for file in error.args[1]]
    return []


def test_every_part_includes_only_what_it_may() -> None:
    found = includes()
    assert {part(file) for file in found} == set(ALLOWED)
    wrong = [
        f"{file.relative_to(SOURCES)} includes {included.relative_to(SOURCES)}"
        for file, all_included in found.items()
        for included in sorted(all_included)
        if part(included) not in ALLOWED[part(file)]
    ]
    assert not wrong


def test_no_file_includes_itself_in_the_end() -> None:
    assert not cycle(includes())
    a, b = Path("a"), Path("b")
    assert cycle({a: {b}, b: {a}}) in (["a", "b", "a"], ["b", "a", "b"])


def test_textual_includes_end_in_inl_h() -> None:
    """A header guards itself; a body that is compiled once for each instruction set does not, and says so."""
    for file in includes():
        if file.suffix == ".h":
            assert ("#pragma once" in file.read_text()) != file.name.endswith(".inl.h"), file


def test_every_include_is_found() -> None:
    with pytest.raises(AssertionError, match="no such file: core/nothing"):
        resolve(SOURCES / "core" / "engine.cc", "core/nothing.h")
