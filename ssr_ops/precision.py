"""The right precision on this machine: the quickest whose answers are close enough to fp32's."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ssr_ops.native import call, folder_of, native

if TYPE_CHECKING:
    from ssr_bundle.bundle import Bundle

AUTO = "auto"
"""The name that stands for the choice, wherever a precision is asked for."""


class SlowPrecision(UserWarning):
    """A precision that was asked for by its name, and that is slower than fp32 on this machine."""


@dataclass(frozen=True)
class PrecisionChoice:
    """``precision``: fp32, bf16 or int8; ``reason``: why, in a sentence; ``speeds``: images a second on one
    core by precision, empty on a GPU and for a bundle that is not quantized; ``slower``: by precision that is
    slower than fp32 here, a sentence that says so."""

    precision: str
    reason: str
    speeds: Mapping[str, float]
    slower: Mapping[str, str]

    def note(self, asked: str) -> str:
        """What to say to who asked for the precision ``asked``: what ``auto`` is here and why, or that
        another is slower than fp32. Empty if there is nothing to say."""
        if asked == AUTO:
            return f"precision auto is {self.precision} here: {self.reason}"
        return self.slower.get(asked, "")


def precision_note(bundle: str | os.PathLike[str] | Bundle, asked: str, device: str = "cpu") -> str:
    """:meth:`PrecisionChoice.note` of a bundle on ``device`` (cpu or gpu); of fp32 nothing is measured."""
    if asked == "fp32":
        return ""
    return choose_precision(bundle, "cpu" if device == "cpu" else "cuda").note(asked)


def choose_precision(
    bundle: str | os.PathLike[str] | Bundle, device: str = "cpu", implementation: str | None = None
) -> PrecisionChoice:
    """What ``Engine(bundle, precision="auto")`` runs here, and why.

    The quickest of fp32 and the precisions that the bundle is quantized for, that this machine runs, and
    whose recorded drift keeps :data:`ssr_bundle.tolerances.REQUIRED`; one of less accuracy has to be faster
    by a twentieth. Measured once a machine and bundle, within half a second, and kept in the folder
    ``precisions`` of :func:`ssr_bundle.fetch.cache_dir`. Raises :class:`ssr_bundle.errors.SsrError` as
    :class:`ssr_ops.Engine` does.
    """
    found = call(native.choose_precision, folder_of(bundle), str(device), implementation or "")
    return PrecisionChoice(**found)
