"""Text of strangers (files, servers, file names) as a terminal and an error message may show it."""

from __future__ import annotations

import json
import re
import sys
import unicodedata
from collections.abc import Callable
from typing import Any

LONGEST = 160
"""Characters of a value that a message repeats; ``core/shown.h`` says the same."""

_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Categories of Unicode: control, format (as of direction), surrogate, separators of lines."""

_SUSPECT = re.compile(r"[^ -~]")


def shown(value: Any) -> str:
    """``value`` as Python writes it, for an error message; see :func:`cut`."""
    return cut(repr(value))


def cut(text: str, longest: int = LONGEST) -> str:
    """``text``, or where it is too long its first ``longest`` characters and how many it has::

    'aaaaaaaa... (102,400 characters)
    """
    return text if len(text) <= longest else f"{text[:longest]}... ({len(text):,} characters)"


def printable(text: str, keep: str = "") -> str:
    """``text`` with what a terminal would obey or hide as escapes (``\\x1b``, ``\\n``, ``\\u202e``), but for
    the characters of ``keep``."""

    return _escaped(text, keep, lambda character: character.encode("unicode_escape").decode("ascii"))


def say(text: str, *, to_stderr: bool = False) -> None:
    """Print ``text``, which may hold what strangers wrote, as one :func:`printable` line, at once."""
    print(printable(text.strip()), file=sys.stderr if to_stderr else sys.stdout, flush=True)


def note(console: Any, text: str, style: str | None = None) -> None:
    """As :func:`say`, on a console of rich."""
    console.print(printable(text), markup=False, style=style)


def printable_json(text: str) -> str:
    """The JSON ``text``, indented or not, as :func:`printable`; the same value."""
    return _escaped(text, "\n", lambda character: json.dumps(character)[1:-1])


def _escaped(text: str, keep: str, escape: Callable[[str], str]) -> str:
    def replacement(found: re.Match[str]) -> str:
        character = found[0]
        shows = character in keep or unicodedata.category(character) not in _HIDDEN
        return character if shows else escape(character)

    return _SUSPECT.sub(replacement, text)
