"""The lowest versions that our distributions promise, as constraints for pip: ``make test-lowest``.

    python tests/lowest.py 'ssr-client[photo]' 'ssr-serve[train]' > lowest.txt

They are derived from what the installed distributions require, so from the two ``pyproject.toml``. Of each
package the lowest version of the index is taken that all requirements allow; where the index has none as low
as the bound, the table on standard error says which one is tested in its place.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import requires

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

OURS = ("ssr-client", "ssr-serve")


def required(wanted: Requirement) -> Iterator[Requirement]:
    """What one of our distributions needs of others, its extras and our own distributions followed."""
    for text in requires(wanted.name) or ():
        needed = Requirement(text)
        if needed.marker and not any(
            needed.marker.evaluate({"extra": extra}) for extra in (*wanted.extras, "")
        ):
            continue
        if needed.name in OURS:
            yield from required(needed)
        else:
            yield needed


def lowest(specifier: SpecifierSet, versions: list[Version]) -> Version | None:
    """The lowest of ``versions`` that ``specifier`` allows."""
    return min(specifier.filter(versions), default=None)


def bound(specifier: SpecifierSet) -> Version | None:
    """The lower bound; None where there is none."""
    return max((Version(s.version) for s in specifier if s.operator in (">=", "==")), default=None)


def _available(name: str) -> list[Version]:
    command = [sys.executable, "-m", "pip", "index", "versions", name]
    told = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    found = re.search(r"^Available versions: (.*)$", told, re.MULTILINE)
    return [Version(text.strip()) for text in found[1].split(",")] if found else []


def main(roots: list[str]) -> int:
    specifiers: dict[str, SpecifierSet] = {}
    for root in roots:
        for needed in required(Requirement(root)):
            specifiers[needed.name] = specifiers.get(needed.name, SpecifierSet()) & needed.specifier
    failed = 0
    for name, specifier in sorted(specifiers.items()):
        promised, found = bound(specifier), lowest(specifier, _available(name))
        if promised is None or found is None:
            failed += 1
            told = "no lower bound" if promised is None else f"the index has none of {specifier}"
        else:
            print(f"{name}=={found.public}")
            same = found.release[: len(promised.release)] == promised.release
            told = f">={promised}: {found.public}" + ("" if same else " (the index has no lower one)")
        print(f"  {name} {told}", file=sys.stderr)
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
