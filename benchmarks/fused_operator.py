"""How much faster is the fused operator than eager PyTorch, and how far is it from the memory's limit?

One thread, stages (3, 3, 3), float32. Every candidate's outputs and gradients are checked first.
Run: python benchmarks/fused_operator.py [--rows N]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import _results
import numpy as np
import torch
from torch import Tensor

from ssr_bundle import commandline as command
from ssr_bundle.contract import Architecture
from ssr_ops import reference
from ssr_ops.op import implementation, soft_stagewise_regression
from ssr_train.model import expression

ARCHITECTURE = Architecture()
STAGES, V = ARCHITECTURE.stages, ARCHITECTURE.value_range
BINS = sum(STAGES)
FORWARD_BYTES = 4 * (2 * BINS + len(STAGES) + 1)
BACKWARD_BYTES = 4 * (2 * (2 * BINS + len(STAGES)) + 1)
REQUIRED = {"forward": 10.0, "forward + backward": 6.0}

Operator = Callable[[Tensor, Tensor, Tensor], Tensor]


def fused(p: Tensor, eta: Tensor, delta: Tensor) -> Tensor:
    return soft_stagewise_regression(p, eta, delta, STAGES, V)


def eager(p: Tensor, eta: Tensor, delta: Tensor) -> Tensor:
    return expression(p, eta, delta, ARCHITECTURE)


def inputs(rows: int, grad: bool) -> tuple[Tensor, Tensor, Tensor]:
    rng = np.random.default_rng(0)
    arrays = (
        rng.gamma(0.7, 0.4, (rows, BINS)),
        np.tanh(rng.normal(0, 1, (rows, BINS))),
        np.tanh(rng.normal(0, 0.8, (rows, len(STAGES)))),
    )
    p, eta, delta = (torch.tensor(a, dtype=torch.float32, requires_grad=grad) for a in arrays)
    return p, eta, delta


def validate(name: str, operator: Operator, rows: int) -> None:
    """Refuse to time a candidate whose output or gradients are wrong."""
    leaves = inputs(rows, grad=True)
    p, eta, delta = (x.detach().numpy() for x in leaves)
    exact = reference.soft_stagewise_regression(p, eta, delta, STAGES, V)
    age = operator(*leaves)
    torch.testing.assert_close(age.detach().double(), torch.tensor(exact), rtol=1e-5, atol=1e-4, msg=name)
    doubles = [x.detach().double().requires_grad_() for x in leaves]
    expected = torch.autograd.grad(eager(*doubles).sum(), doubles)
    for got, wanted in zip(torch.autograd.grad(age.sum(), leaves), expected, strict=True):
        torch.testing.assert_close(got.double(), wanted, rtol=1e-4, atol=1e-2, msg=f"{name}: gradient")


def forward(operator: Operator, values: tuple[Tensor, Tensor, Tensor]) -> Callable[[], Tensor]:
    return lambda: operator(*values)


def forward_and_backward(
    operator: Operator, leaves: tuple[Tensor, Tensor, Tensor], seed: Tensor
) -> Callable[[], None]:
    def run() -> None:
        for leaf in leaves:
            leaf.grad = None
        torch.autograd.backward(operator(*leaves), seed)

    return run


def measure(rows: int, seconds: float) -> str:
    torch.set_num_threads(1)
    candidates: dict[str, Operator] = {"PyTorch eager": eager, f"fused ({implementation()})": fused}
    notes = []
    try:
        compiled: Operator = torch.compile(eager, dynamic=False)
        validate("PyTorch compiled", compiled, rows)
        candidates["PyTorch compiled"] = compiled
    except Exception as error:
        notes.append(f"torch.compile did not run here: {type(error).__name__}")
    for name, operator in candidates.items():
        validate(name, operator, rows)

    plain, leaves, seed = inputs(rows, grad=False), inputs(rows, grad=True), torch.ones(rows)
    source = torch.ones(rows * FORWARD_BYTES // 8)  # floats; a copy moves as much as a forward pass
    target = torch.empty_like(source)
    copy = "copy of as many bytes"
    timed = {
        "forward": _results.medians(
            {
                **{n: forward(f, plain) for n, f in candidates.items()},
                copy: lambda: target.copy_(source),
            },
            seconds,
        ),
        "forward + backward": _results.medians(
            {n: forward_and_backward(f, leaves, seed) for n, f in candidates.items()}, seconds
        ),
    }
    bandwidth = rows * FORWARD_BYTES / timed["forward"].pop(copy)
    moved = {"forward": FORWARD_BYTES, "forward + backward": FORWARD_BYTES + BACKWARD_BYTES}
    lines, verdicts = [], []
    for step, times in timed.items():
        limit = rows * moved[step] / bandwidth
        for name, time in times.items():
            lines.append(
                (
                    f"{name}, {step}",
                    f"{time * 1e6:,.0f}",
                    f"{times['PyTorch eager'] / time:.1f}",
                    f"{moved[step]}",
                    f"{limit / time:.2f}",
                )
            )
        ratio = times["PyTorch eager"] / times[f"fused ({implementation()})"]
        met = "met" if ratio >= REQUIRED[step] else "MISSED"
        verdicts.append(f"{step}: {ratio:.1f} times eager, required {REQUIRED[step]:.0f}: {met}")
    return "\n".join(
        [
            "# The fused operator against PyTorch",
            "",
            f"{_results.hardware()}. {_results.versions('torch', 'numpy', 'ssr-serve')}. One thread.",
            f"N = {rows:,}, stages {STAGES}, float32; medians of interleaved calls;"
            " outputs and gradients checked first.",
            "",
            _results.table(("", "µs", "times eager", "bytes a row at least", "share of the limit"), lines),
            "",
            f"The limit is the memory: bytes read and written once, at the {bandwidth / 1e9:.1f} GB/s (read +"
            " written) that a copy of a forward pass's bytes reaches in the same run. Bytes are those of the"
            " fused operator; the others move more.",
            "",
            *(f"- {line}" for line in verdicts + notes),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=65536)
    parser.add_argument("--seconds", type=float, default=4.0)
    arguments = parser.parse_args()
    text = measure(arguments.rows, arguments.seconds)
    print(text)
    print("\nwritten to", _results.write("operator", text))


if __name__ == "__main__":
    command.run(main, "fused_operator")
