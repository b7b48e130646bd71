"""Who may import whom, as pyproject.toml's import-linter part has it, for modules that strings name too."""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT

MAY: dict[str, set[str]] = {
    "ssr_bundle": set(),
    "ssr_ops": {"ssr_bundle"},
    "ssr_client": {"ssr_bundle"},
    "ssr_video": {"ssr_bundle", "ssr_client"},
    "ssr_train": {"ssr_bundle", "ssr_ops", "ssr_client"},
    "triton_repo": {"ssr_bundle", "ssr_ops", "ssr_client"},
}


def _folder(package: str) -> Path:
    return ROOT / ("clients" if package in {"ssr_client", "ssr_video"} else "") / package


def _named(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and package of every import, wherever it stands, and of every string that names a module."""
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module or ""]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and " " not in node.value:
            names = [node.value]
        for name in names:
            package = name.split(".")[0]
            if package in MAY:
                yield getattr(node, "lineno", 0), package


@pytest.mark.parametrize("package", MAY)
def test_a_package_names_only_those_below_it(package: str) -> None:
    for path in _folder(package).rglob("*.py"):
        for line, other in _named(ast.parse(path.read_text(encoding="utf-8"))):
            allowed = other == package or other in MAY[package]
            assert allowed, f"{path.relative_to(ROOT)}:{line}: {package} names {other}"


def test_every_way_to_name_a_module_is_seen() -> None:
    source = (
        "import triton_repo.cli\n"
        "if TYPE_CHECKING:\n    from ssr_train import x\n"
        "def f():\n    from ssr_ops.engine import Engine\n"
        "import_module('ssr_client.cli')\n"
    )
    assert list(_named(ast.parse(source))) == [
        (1, "triton_repo"),
        (3, "ssr_train"),
        (5, "ssr_ops"),
        (6, "ssr_client"),
    ]


@pytest.mark.parametrize("package", ["ssr_bundle", "ssr_ops", "ssr_client", "ssr_video", "triton_repo"])
def test_no_text_names_the_trainer(package: str) -> None:
    """Nor do docstrings and C++ comments: what serves and asks says nothing of ssr_train."""
    for path in _folder(package).rglob("*"):
        if path.suffix in {".py", ".cc", ".h", ".cu", ".md", ".toml"}:
            assert "ssr_train" not in path.read_text(encoding="utf-8"), path


def _modules() -> dict[str, Path]:
    """Every module of ours by its dotted name."""
    found = {}
    for package in MAY:
        folder = _folder(package)
        for path in folder.rglob("*.py"):
            parts = path.relative_to(folder.parent).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def test_no_module_imports_itself_by_way_of_others() -> None:
    """Packages count as their __init__.py; imports inside functions and for type checkers count as well."""
    modules = _modules()
    imports: dict[str, set[str]] = {}
    for name, path in modules.items():
        wanted = imports.setdefault(name, set())
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                wanted |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                inner = {f"{node.module}.{alias.name}" for alias in node.names}
                wanted |= inner & modules.keys() or {node.module}
        wanted &= modules.keys() - {name}
    try:
        graphlib.TopologicalSorter(imports).prepare()
    except graphlib.CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))
