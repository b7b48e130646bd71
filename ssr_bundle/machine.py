"""What was measured on, and how: the machine's name, cores and versions, meters of CPU time, interleaved
medians."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import re
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path


def cpu_name() -> str:
    """The processor's name as the system gives it."""
    path = Path("/proc/cpuinfo")
    if path.exists():
        fields = dict(re.findall(r"^([\w ]+?)\s*: (.+)$", path.read_text(), re.MULTILINE))
        if "model name" in fields:
            name = " ".join(fields["model name"].split())
            model = f"family {fields.get('cpu family')} model {fields.get('model')}"
            return name if re.search(r"\d", name) else f"{name} ({model})"
    return platform.processor() or platform.machine()


def hardware() -> str:
    """One line: processor, cores this process may use, system."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{cpu_name()}, {cores} cores, {platform.system()} {platform.machine()}"


def usable_cores() -> int:
    """Cores that this process may use: its affinity, and a container's quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        cores = min(cores, max(1, int(quota) // int(period)))
    return cores


def versions(*distributions: str) -> str:
    """One line: Python and the installed distributions named, those absent left out."""
    parts = [f"Python {platform.python_version()}"]
    for name in distributions:
        try:
            parts.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return ", ".join(parts)


class CpuMeter:
    """How much of one core a process uses, all its threads together, from here on."""

    def __init__(self, pid: int) -> None:
        self._file = Path(f"/proc/{pid}/stat")
        self._used, self._begin = self._seconds(), time.perf_counter()

    @property
    def share(self) -> float:
        """Of one core, until now: 2.0 where it kept two busy."""
        return (self._seconds() - self._used) / (time.perf_counter() - self._begin)

    def _seconds(self) -> float:
        fields = self._file.read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def medians(
    candidates: Mapping[str, Callable[[], object]], seconds: float = 4.0, warmup: int = 3
) -> dict[str, float]:
    """Median seconds of a call of each candidate, interleaved so that a busy machine hurts all alike.

    Runs rounds of one call each for about ``seconds`` in all, at least 5 rounds.
    """
    for run in candidates.values():
        for _ in range(warmup):
            run()
    times: dict[str, list[float]] = {name: [] for name in candidates}
    end = time.perf_counter() + seconds
    rounds = 0
    while rounds < 5 or time.perf_counter() < end:
        for name, run in candidates.items():
            begin = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - begin)
        rounds += 1
    return {name: statistics.median(values) for name, values in times.items()}
