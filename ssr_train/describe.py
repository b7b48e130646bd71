"""What a bundle is, in words, for ``ssr-train import-keras`` and ``ssr-train info``."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ssr_train.bundle import Bundle
from ssr_train.contract import Interface
from ssr_train.replay import Replay

_PIPE_WIDTH = 200  # columns into a file or pipe: a hash stays in one piece


def describe(bundle: Bundle, check: Replay, full: bool) -> None:
    """Print network, contract and the golden check; with ``full`` also provenance and files."""
    contract, a = bundle.contract, bundle.contract.architecture
    interface = contract.interface
    stored = sum(math.prod(shape) for shape in a.parameter_shapes().values())
    statistics = sum(
        math.prod(shape) for name, shape in a.parameter_shapes().items() if ".norm.running_" in name
    )
    kind = "general network, probability of male" if interface.output.name == "male" else "age network"
    margin = " x ".join(f"{m:g}" for m in interface.crop.margin)
    rows = [
        ("bundle", f"{bundle.path} ({contract.name})"),
        ("network", f"SSR-Net {tuple(a.stages)}, {kind}, V = {a.value_range:g}"),
        ("numbers", f"{stored:,} stored, {stored - statistics:,} of them trained"),
        ("input", f"{interface.input.name}: 64 x 64, {interface.input.colour.upper()}, bytes 0..255"),
        ("crop", f"{interface.crop.box} box + {margin} on each side, {interface.crop.interpolation}"),
        ("output", f"{interface.output.name}, {interface.output.unit}, clipped to {_range(interface)}"),
        (
            "golden",
            f"replayed by the native engine ({check.implementation}): {check.images} images, "
            f"on faces {check.worst:.1e} {interface.output.unit} off (allowed {check.tolerance:.1e})",
        ),
        ("weights", f"sha256 {contract.weights_sha256}"),
    ]
    if full:
        rows.append(("interface", f"sha256 {interface.sha256}"))
        if contract.interval is not None:
            rows.append(("interval", f"calibrated for {contract.interval.coverage:.0%}"))
        if contract.quantization is not None:
            rows.append(("quantization", "calibrated"))
        rows += [(f"  {key}", _plain(value)) for key, value in sorted(contract.provenance.items())]
        rows += [(f"  {name}", f"{file.bytes:,} bytes") for name, file in contract.files.items()]
    if contract.provenance.get("synthetic"):
        rows.append(("note", "these weights learned from drawn faces: do not trust them on photos"))
    table(rows)


def table(rows: Sequence[Sequence[str]], header: Sequence[str] | None = None) -> None:
    """Print columns, the first in bold; nothing is cut off."""
    grid = Table(box=None, show_header=header is not None, pad_edge=False)
    for i in range(len(rows[0])):
        title = header[i] if header else ""
        grid.add_column(title, style="bold" if i == 0 else None, no_wrap=i == 0, overflow="fold")
    for row in rows:
        grid.add_row(*map(escape, row))
    console = Console(highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = max(console.width, _PIPE_WIDTH)
    console.print(grid)


def _range(interface: Interface) -> str:
    low, high = interface.output.clip
    return f"{low:g}..{high:g}"


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
