"""TensorRT as installed here: ``tensorrt`` 10 or 11, or ``tensorrt_rtx``, which builds without a GPU."""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass
from typing import Any

from ssr_bundle.errors import SsrError, UsageError

OLDEST = {"tensorrt": (10, 0), "tensorrt_rtx": (1, 7)}
"""Modules that the builder drives, the one that Triton serves first, and their oldest usable releases.

TensorRT-RTX 1.4, 1.5 and 1.6 build fp32 and fp16, but fail on the int8 graph."""

INSTALL = {
    "tensorrt": "pip install tensorrt (needs NVIDIA's package index and a GPU)",
    "tensorrt_rtx": "pip install 'ssr-serve[tensorrt]' (TensorRT-RTX; builds without a GPU)",
}


class CompileError(SsrError):
    """A plan that cannot be built: the library, the target or the graph is named."""


class ArgumentError(CompileError, UsageError):
    """An argument that cannot be meant, whatever bundle and machine are at hand."""


class NotInstalled(CompileError):
    """The TensorRT that is asked for is not here; the message says what to install."""


class NotBuildable(CompileError):
    """The TensorRT at hand builds nothing on this machine, whatever the bundle; the message says why."""


@dataclass(frozen=True, order=True)
class Target:
    """A GPU architecture that plans are built for, written as nvcc writes it: ``sm_89``."""

    major: int
    minor: int

    @classmethod
    def parse(cls, text: str) -> Target:
        """``sm_89``, or the same in capitals or without the underscore."""
        found = re.fullmatch(r"sm_?(\d{2,3})", text.strip().lower())
        if found is None:
            raise ArgumentError(f"target: {text!r} is no GPU architecture, expected one like sm_89")
        return cls(*divmod(int(found[1]), 10))

    def __str__(self) -> str:
        return f"sm_{self.major}{self.minor}"


OLDEST_TARGET = Target(8, 0)
"""TensorRT-RTX lists sm_75 as well, but has no float32 matrix product there, as the network's heads are."""


@dataclass(frozen=True)
class Library:
    """An imported TensorRT module. ``version`` as the module says it."""

    name: str
    version: str
    module: Any

    def __str__(self) -> str:
        return f"{self.name} {self.version}"

    @property
    def ahead_of_time(self) -> bool:
        """Whether it builds for GPUs that are not here."""
        return hasattr(self.module.IBuilderConfig, "set_compute_capability")

    def targets(self) -> tuple[Target, ...]:
        """What an ahead-of-time library builds the network for, oldest first; empty for the others."""
        names = self.module.ComputeCapability.__members__ if self.ahead_of_time else ()
        listed = sorted(Target.parse(name) for name in names if re.fullmatch(r"SM\d+", name))
        return tuple(target for target in listed if target >= OLDEST_TARGET)

    def refusal(self, target: Target, named: str) -> str:
        """The sentence that ``target``, called ``named`` in it, is none of :meth:`targets`."""
        reason = " (it lacks the network's float32 matrix products there)" if target < OLDEST_TARGET else ""
        return (
            f"{self} does not build for {named}, compute capability {target.major}.{target.minor}{reason}, "
            f"expected {', '.join(map(str, self.targets()))}"
        )


def open_library(name: str | None = None) -> Library:
    """The library called ``name``, else the first of :data:`OLDEST` that is installed.

    Raises :class:`CompileError`: unknown name or too old; :class:`NotInstalled` with what to
    install.
    """
    if name is not None and name not in OLDEST:
        raise ArgumentError(f"library: {name!r} is unknown, expected {' or '.join(OLDEST)}")
    for candidate in [name] if name else OLDEST:
        try:
            module = importlib.import_module(candidate)
        except (ImportError, OSError) as error:
            if isinstance(error, ModuleNotFoundError) and error.name == candidate:
                continue
            raise CompileError(f"{candidate} cannot be imported: {error}") from None
        version = str(getattr(module, "__version__", ""))
        if tuple(int(n) for n in re.findall(r"\d+", version)[:2]) < OLDEST[candidate]:
            raise CompileError(
                f"{candidate} {version or 'without a version'} is too old, "
                f"expected {'.'.join(map(str, OLDEST[candidate]))} or newer: {INSTALL[candidate]}"
            )
        return Library(candidate, version, module)
    if name:
        raise NotInstalled(f"{name} is not installed: {INSTALL[name]}")
    raise NotInstalled(f"no TensorRT is installed: {INSTALL['tensorrt_rtx']}, or {INSTALL['tensorrt']}")
