"""How fast is the fused operator on a GPU: of eager PyTorch, of torch.compile, of the card's copy bandwidth?

Stages (3, 3, 3), float32, at several numbers of rows. Outputs and gradients are checked first, at both ends
of the arrays. Prints a table; exits 1 when the largest size misses what is required.
Run: python benchmarks/fused_operator_gpu.py [--rows N,...]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import _gpu as gpu
import _results
import numpy as np
import torch
from fused_operator import (
    BACKWARD_BYTES,
    BINS,
    FORWARD_BYTES,
    STAGES,
    Operator,
    V,
    eager,
    forward,
    forward_and_backward,
    fused,
)
from torch import Tensor

from ssr_bundle import commandline as command
from ssr_bundle.tolerances import operator_tolerance
from ssr_ops import reference
from ssr_ops.magnitude import operator_scale

REQUIRED_BANDWIDTH = 0.80
REQUIRED_RATIO = 5.0
ROW_BYTES = 800
"""Memory that eager PyTorch takes for a row, forward and backward; rows are fewer where a card has less."""

ALLOWED = 2 * operator_tolerance("cuda", np.dtype(np.float32))
"""Twice ours: the others sum in another order."""

Leaves = tuple[Tensor, Tensor, Tensor]


def inputs(rows: int, device: torch.device) -> Leaves:
    """p, eta (rows, 9) and delta (rows, 3) as a network gives them, some deltas below the floor."""
    random = torch.Generator(device).manual_seed(0)

    def normal(columns: int) -> Tensor:
        return torch.randn(rows, columns, generator=random, device=device)

    delta = normal(len(STAGES)).mul_(0.8).tanh_()
    delta[::1000, 1] = -1.0
    return normal(BINS).relu_().mul_(0.4), normal(BINS).tanh_(), delta


def validate(name: str, operator: Operator, leaves: Leaves, edge: int = 4096) -> None:
    """Compare answers and gradients of the first and the last rows with the float64 reference, or raise."""
    alive = [leaf.clone().requires_grad_() for leaf in leaves]
    age = operator(*alive)
    gradients = torch.autograd.grad(age.sum(), alive)
    for ends in (slice(None, edge), slice(-edge, None)):
        p, eta, delta = (leaf[ends].cpu().numpy() for leaf in leaves)
        exact = reference.soft_stagewise_regression(p, eta, delta, STAGES, V)
        limit = ALLOWED * operator_scale(p, eta, delta, STAGES, V)
        if not (np.abs(age.detach()[ends].cpu().numpy() - exact) <= limit).all():
            raise SystemExit(f"{name}: wrong answers, not timed")
        doubles = [torch.from_numpy(single).double().requires_grad_() for single in (p, eta, delta)]
        expected = torch.autograd.grad(eager(*doubles).sum(), doubles)
        for found, wanted in zip(gradients, expected, strict=True):
            size = wanted.abs().amax(dim=1, keepdim=True) + 1e-6
            if not ((found[ends].double().cpu() - wanted).abs() <= 1e-4 * size).all():
                raise SystemExit(f"{name}: wrong gradients, not timed")


def copy_bandwidth(size: int, device: torch.device, seconds: float) -> float:
    """Bytes a second, read and written, of a copy on the card that moves ``size`` bytes in all."""
    source = torch.randint(255, (size // 2,), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return size / gpu.medians({"copy": lambda: target.copy_(source)}, seconds)["copy"]


def contestants(leaves: Leaves, notes: set[str]) -> dict[str, Operator]:
    """By name, each checked on ``leaves``; why torch.compile is missing goes to ``notes``."""
    found: dict[str, Operator] = {"PyTorch eager": eager, "**fused**": fused}
    for name, operator in found.items():
        validate(name, operator, leaves)
    try:
        compiled: Operator = torch.compile(eager, dynamic=False)
        validate("torch.compile", compiled, leaves)
        found["torch.compile"] = compiled
    except Exception as error:
        notes.add(f"torch.compile did not run here: {type(error).__name__}: {str(error).splitlines()[0]}")
    return found


@dataclass(frozen=True)
class Measured:
    """Table rows of one size, and of the fused forward pass: share of a copy's bandwidth, times eager."""

    lines: list[tuple[str, ...]]
    share: float
    ratio: float


def measure(rows: int, device: torch.device, seconds: float, notes: set[str]) -> Measured:
    leaves = inputs(rows, device)
    alive: Leaves = tuple(leaf.clone().requires_grad_() for leaf in leaves)  # type: ignore[assignment]
    seed = torch.ones(rows, device=device)
    operators = contestants(leaves, notes)
    bandwidth = copy_bandwidth(rows * FORWARD_BYTES, device, seconds / 4)
    steps: dict[str, tuple[int, dict[str, Callable[[], object]]]] = {
        "forward": (FORWARD_BYTES, {n: forward(f, leaves) for n, f in operators.items()}),
        "forward + backward": (
            FORWARD_BYTES + BACKWARD_BYTES,
            {n: forward_and_backward(f, alive, seed) for n, f in operators.items()},
        ),
    }
    lines: list[tuple[str, ...]] = []
    fused_forward = (0.0, 0.0)
    for step, (moved, calls) in steps.items():
        times = gpu.medians(calls, seconds)
        for name, time in times.items():
            rate, ratio = rows * moved / time, times["PyTorch eager"] / time
            share = rate / bandwidth
            cells = (f"{time * 1e6:,.0f}", f"{ratio:.1f}", f"{rate / 1e9:,.0f}", f"{share:.2f}")
            lines.append((f"{rows:,}, {step}, {name}", *cells))
            if (step, name) == ("forward", "**fused**"):
                fused_forward = share, ratio
    return Measured(lines, *fused_forward)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--rows",
        type=lambda text: [int(part) for part in text.split(",")],
        default=[65536, 1 << 20, 1 << 24],
        metavar="N,...",
        help="default: 65536,1048576,16777216",
    )
    parser.add_argument("--seconds", type=float, default=3.0, help="for each step of each size")
    options = parser.parse_args()
    if min(options.rows) < 8192:
        parser.error(f"--rows: expected at least 8192 each, got {min(options.rows)}")
    device = gpu.require_gpu()
    most = torch.cuda.mem_get_info(device)[0] // ROW_BYTES
    notes: set[str] = set()
    before = gpu.state()
    results = []
    for rows in options.rows:
        results.append(measure(min(rows, most), device, options.seconds, notes))
        torch.cuda.empty_cache()
    last = results[-1]
    met = last.share >= REQUIRED_BANDWIDTH and last.ratio >= REQUIRED_RATIO
    lines = [line for result in results for line in result.lines]
    print("## The fused operator\n")
    print(
        f"Stages {STAGES}, float32; medians of interleaved calls by the card's events; outputs and gradients"
        f" checked first. {_results.versions('torch', 'triton', 'ssr-serve')}. Clocks, power, temperature"
        f" before: {before}; after: {gpu.state()}.\n"
    )
    print(_results.table(("rows", "µs", "times eager", "GB/s", "of copy bandwidth"), lines))
    print(
        "\nGB/s counts the bytes that the fused operator must move, each once; copy bandwidth is that of a"
        " copy on the card that moves as many as a forward pass, in the same run.\n"
    )
    print(
        f"- forward at N = {min(options.rows[-1], most):,}: {last.share:.0%} of copy bandwidth (required"
        f" {REQUIRED_BANDWIDTH:.0%}), {last.ratio:.1f} times eager (required {REQUIRED_RATIO:.0f}):"
        f" {'met' if met else 'MISSED'}"
    )
    for note in sorted(notes):
        print(f"- {note}")
    if not met:
        raise SystemExit(1)


if __name__ == "__main__":
    command.run(main, "fused_operator_gpu")
