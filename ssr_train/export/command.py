"""``ssr-train export``: write the graphs and print what they hold to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ssr_train.describe import table
from ssr_train.export import write


def export(
    bundle: Path, precisions: Sequence[str], out: Path | None, *, stage_outputs: bool, force: bool
) -> None:
    """Export into ``bundle``, or the one precision to the file ``out``, and print a table of the replays."""
    options = {"stage_outputs": stage_outputs, "force": force}
    if out is None:
        written = write.export(bundle, precisions, **options)
    else:
        written = [write.export_file(bundle, precisions[0], out, **options)]
    rows = [
        (
            str(exported.path),
            exported.replay.precision,
            str(exported.opset),
            f"{exported.bytes:,}",
            f"{exported.replay.mean:.1e}",
            f"{exported.replay.worst:.1e}",
            f"{exported.replay.tolerance:.1e} {exported.replay.unit}",
        )
        for exported in written
    ]
    table(rows, header=("file", "precision", "opset", "bytes", "mean", "worst", "allowed on golden faces"))
