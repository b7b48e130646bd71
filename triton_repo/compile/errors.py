"""What can go wrong between a bundle and a running plan."""

from __future__ import annotations

from ssr_bundle.errors import SsrError


class CompileError(SsrError):
    """A plan that cannot be built: the library, the target or the graph is named."""


class ArgumentError(CompileError):
    """An argument that cannot be meant, whatever bundle and machine are at hand."""


class NotInstalled(CompileError):
    """The TensorRT that is asked for is not here; the message says what to install."""


class NotBuildable(CompileError):
    """The TensorRT at hand builds nothing on this machine, whatever the bundle; the message says why."""


class PlanError(SsrError):
    """A plan that must not be loaded: damaged, or made for something else than what is at hand."""


class NotRunnable(SsrError):
    """A plan that is whole, but cannot run on this machine; the message is the reason."""


class GpuError(SsrError):
    """A call of CUDA that failed on a GPU that is there: memory, or a fault of what ran."""
