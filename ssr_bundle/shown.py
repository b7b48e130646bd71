"""Text of strangers (files, servers, file names) as a terminal and an error message may show it."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

LONGEST = 160
"""Characters of a value that a message repeats; the C++ core holds to the same."""

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

    def escape(found: re.Match[str]) -> str:
        character = found[0]
        if character in keep or unicodedata.category(character) not in _HIDDEN:
            return character
        return character.encode("unicode_escape", "surrogatepass").decode("ascii")

    return _SUSPECT.sub(escape, text)
