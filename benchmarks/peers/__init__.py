"""The contestants of ``benchmarks/engine.py``: our engine and the runtimes that run the same network.

One module a runtime. Each offers :func:`contestants`, and imports its runtime there and nowhere else, so that
what is not installed costs a line of the report and nothing more.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Iterable
from dataclasses import dataclass

from peers.contestant import Contestant, Material, Plan, WrongError
from peers.trial import crash

RUNTIMES = ("onnxruntime", "openvino", "tflite", "torch")
PACKAGES = ("onnxruntime", "openvino", "nncf", "ai-edge-litert", "litert-torch", "ai-edge-quantizer", "torch")
"""Distributions whose versions a report names."""

INSTALL = "pip install -c constraints.txt -e '.[bench]' (or: make peers)"


@dataclass(frozen=True)
class Absent:
    """A contestant that does not run here, and why."""

    name: str
    reason: str


def reason_of(error: Exception) -> str:
    """A peer's fault in a line."""
    told = str(error).splitlines() or [""]
    kind = "" if isinstance(error, WrongError) else f"{type(error).__name__}: "
    return f"{kind}{told[0][:200]}"


def gather(
    material: Material, runtimes: Iterable[str], precisions: Iterable[str]
) -> tuple[list[Contestant], list[Absent]]:
    """Contestants of ``runtimes`` (of :data:`RUNTIMES`, or ``ours``) in ``precisions``, ready to compile."""
    found: list[Contestant] = []
    absent: list[Absent] = []

    def attempt() -> None:
        for item in module.contestants(material, precision):
            if not isinstance(item, Absent):
                for variant in item.variants:
                    item.prepare(Plan(variant, 1), material.crops[:1], 1)()

    for runtime in runtimes:
        module = importlib.import_module(f"peers.with_{runtime}")
        for precision in precisions:
            if precision not in module.PRECISIONS:
                continue
            begin = time.perf_counter()
            name = f"{module.TITLE} {precision}"
            if module.TITLE != "ours" and (end := crash(attempt)):
                absent.append(Absent(name, end))
                continue
            try:
                more = module.contestants(material, precision)
            except ImportError as error:
                absent.append(Absent(name, f"not installed ({error.name or error}): {INSTALL}"))
                continue
            except Exception as error:  # a runtime that cannot convert the network is a finding, not an end
                absent.append(Absent(name, reason_of(error)))
                continue
            for item in more:
                if isinstance(item, Absent):
                    absent.append(item)
                else:
                    found.append(item)
            print(f"  {name}: ready in {time.perf_counter() - begin:.1f} s", flush=True)
    return found, absent
