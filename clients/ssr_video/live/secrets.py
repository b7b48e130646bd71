"""Secrets in a configuration: ``${NAME}`` stands for an environment variable, so that the file holds none."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ssr_bundle.errors import SsrError

_REFERENCE = re.compile(r"\$\{([^}]*)(\}?)")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def filled(text: str, environ: Mapping[str, str]) -> str:
    """``text`` with every ``${NAME}`` replaced by the variable's value; a ``$`` alone stays.

    Raises :class:`SsrError`, which never shows the text or a value, where a variable is not set, or ``${``
    begins no name.
    """

    def value(found: re.Match[str]) -> str:
        name, closed = found.groups()
        if not closed or not _NAME.fullmatch(name):
            raise SsrError("expected ${NAME}, the name of an environment variable in braces")
        if name not in environ:
            raise SsrError(f"${{{name}}}: this environment variable is not set")
        return environ[name]

    return _REFERENCE.sub(value, text)
