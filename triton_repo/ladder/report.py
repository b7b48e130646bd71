"""What the ladder found: cells for a table, a line that names what fell short, JSON."""

from __future__ import annotations

from typing import Any

from ssr_client.gather import LEAST

from ssr_bundle.errors import SsrError
from triton_repo.ladder.climber import Ladder
from triton_repo.ladder.row import Row

COLUMNS = ("rung", "precision", "computed by", "pictures", "mean", "signed", "99 %", "max", "allowed")
COLOURS = {"ok": "green", "failed": "red", "not run": "yellow", "built, not run": "yellow"}

_NAMED = 3
_WORDS = {"mean": "mean {:.3g}", "signed": "signed ±{:.3g}", "p99": "99 % {:.3g}", "max": "max {:.3g}"}


def cells(row: Row) -> tuple[str, ...]:
    """One cell for each of :data:`COLUMNS`; differences in the output's unit."""
    found = ("", "", "", "")
    if row.drift is not None:
        d = row.drift
        found = (f"{d.mean:.2g}", f"{d.signed:+.2g}", f"{d.p99:.2g}", f"{d.max:.2g}")
    allowed = [_WORDS[name].format(limit) for name, limit in row.allowed.items()]
    allowed += ["the engine's bits"] if row.exact else []
    pictures = f"{row.images} {row.pictures}" if row.pictures else ""
    return (row.step, row.precision, row.by, pictures, *found, ", ".join(allowed))


def notes(ladder: Ladder) -> list[str]:
    """What the table does not say."""
    units = ", ".join(dict.fromkeys(row.unit for row in ladder.rows if row.unit))
    lines = [f"answers less the float64 reference's, in {units}"] if units else []
    if any(0 < row.images < LEAST for row in ladder.rows):
        lines.append(f"below {LEAST} faces only the largest difference is held; --images gives more")
    lines += [f"photos: {ladder.photos}"] if ladder.photos else []
    lines += [f"{name}: its weights learned from drawn faces (synthetic)" for name in ladder.synthetic]
    return lines


def check(ladder: Ladder) -> None:
    """Raise :class:`SsrError` naming the rows that fall short, if any do."""
    failed = ladder.failed
    if not failed:
        return
    named = "; ".join(f"{row.name}: {row.reason}" for row in failed[:_NAMED])
    more = f"; and {len(failed) - _NAMED} more" if len(failed) > _NAMED else ""
    raise SsrError(f"{ladder.path}: {len(failed)} of {len(ladder.rows)} rows fall short: {named}{more}")


def to_json(ladder: Ladder) -> dict[str, Any]:
    """Everything, for programs: differences as they were computed, unrounded."""
    return {
        "path": ladder.path,
        "passed": not ladder.failed,
        "photos": ladder.photos,
        "skipped": list(ladder.skipped),
        "synthetic": list(ladder.synthetic),
        "rows": [row.to_json() for row in ladder.rows],
    }
