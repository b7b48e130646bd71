"""What the GPU's benchmarks share: the card, its state, and medians of interleaved calls by its events."""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Callable, Mapping

import torch


def require_gpu() -> torch.device:
    """The first CUDA device, or the end of the program in one line."""
    if not torch.cuda.is_available():
        raise SystemExit(
            f"torch {torch.__version__} finds no GPU: it takes an NVIDIA driver and a torch built for CUDA"
        )
    return torch.device("cuda", 0)


def state() -> str:
    """One line: clocks, power and temperature of the card as they are now."""
    fields = "clocks.sm,clocks.mem,power.draw,temperature.gpu"
    done = subprocess.run(
        ["nvidia-smi", "-i", "0", f"--query-gpu={fields}", "--format=csv,noheader"],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or "nvidia-smi says nothing"


def medians(candidates: Mapping[str, Callable[[], object]], seconds: float) -> dict[str, float]:
    """Median seconds on the GPU of a call of each candidate, in turns, by events around each call.

    Rounds of one call each for about ``seconds``, at least 5; nothing waits for the GPU within a round, so
    that the CPU's share of a call hides behind the GPU's as it does in training.
    """
    for run in candidates.values():
        for _ in range(3):
            run()
    torch.cuda.synchronize()
    times: dict[str, list[float]] = {name: [] for name in candidates}
    end = time.perf_counter() + seconds
    rounds = 0
    while rounds < 5 or time.perf_counter() < end:
        events = {}
        for name, run in candidates.items():
            begin, done = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            run()
            done.record()
            events[name] = begin, done
        torch.cuda.synchronize()
        for name, (begin, done) in events.items():
            times[name].append(begin.elapsed_time(done) / 1e3)
        rounds += 1
    return {name: statistics.median(values) for name, values in times.items()}
