"""Plans kept between builds, each under the hash of all that determines it; bounded."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from ssr_bundle.disk import new_folder
from ssr_bundle.fetch import cache_dir
from triton_repo.compile.plan import PLAN_FILE, Plan, PlanError, Recipe, load_plan

LARGEST = 64
"""Plans that are kept, about a megabyte each; the longest unused go first."""


class PlanCache:
    """A folder of plans: one folder for each recipe, named by its hash."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or cache_dir() / "plans"

    def find(self, recipe: Recipe) -> tuple[Plan | None, str]:
        """The plan of ``recipe``, or None and why there is none: nothing yet, stale (how), or damaged."""
        entry = self._entry(recipe)
        if entry.is_dir():
            try:
                plan = load_plan(entry)
            except PlanError as error:
                return None, f"the cached plan is damaged: {error}"
            with contextlib.suppress(OSError):  # a cache that is only read, or pruned meanwhile
                os.utime(entry)
            return plan, ""
        differences: list[list[str]] = []
        for entry in self._entries():
            with contextlib.suppress(PlanError):
                other = load_plan(entry).recipe
                if (other.model, other.precision) == (recipe.model, recipe.precision):
                    differences.append(recipe.differences(other))
        if not differences:
            return None, "none in the cache"
        closest = min(differences, key=len)
        return None, f"stale, the cached plan has {'; '.join(closest)}"

    def add(self, recipe: Recipe, write: Callable[[Path], None]) -> Plan:
        """Let ``write`` fill a folder, which then becomes the plan of ``recipe``, whole or not at all."""
        entry = self._entry(recipe)
        with new_folder(entry) as made:
            write(made)
        for unused in self._entries()[LARGEST:]:
            shutil.rmtree(unused, ignore_errors=True)
        return load_plan(entry)

    def _entry(self, recipe: Recipe) -> Path:
        return self.folder / recipe.sha256[:32]

    def _entries(self) -> list[Path]:
        """Newest first."""
        found = [p for p in self.folder.glob("*") if (p / PLAN_FILE).is_file() and not p.name.startswith(".")]
        return sorted(found, key=_used, reverse=True)


def _used(entry: Path) -> float:
    try:
        return entry.stat().st_mtime
    except FileNotFoundError:  # pruned by another process
        return 0.0
