"""What the ladder found: its report, and a line that names what fell short."""

from __future__ import annotations

from ssr_client.gather import LEAST

from ssr_bundle.errors import SsrError
from ssr_bundle.report import Cell, Facts, Report, State, Table
from triton_repo.ladder.climber import Ladder
from triton_repo.ladder.row import Row

_DRIFT = ("mean", "signed", "99 %", "max")
_COLUMNS = ("rung", "precision", "computed by", "pictures", *_DRIFT, "allowed", "verdict")
_COLOURS = {"ok": "green", "failed": "red", "not run": "yellow", "built, not run": "yellow"}

_NAMED = 3
_WORDS = {"mean": "mean {:.3g}", "signed": "signed ±{:.3g}", "p99": "99 % {:.3g}", "max": "max {:.3g}"}


def report(ladder: Ladder) -> Report:
    """Everything: JSON has the differences as they were computed, unrounded."""
    several = any(row.model for row in ladder.rows)
    rows = [[*([row.model] if several else []), *_cells(row)] for row in ladder.rows]
    header = [*(["version"] if several else []), *_COLUMNS]
    numbers = {
        "path": ladder.path,
        "passed": not ladder.failed,
        "photos": ladder.photos,
        "skipped": list(ladder.skipped),
        "synthetic": list(ladder.synthetic),
        "rows": [row.to_json() for row in ladder.rows],
    }
    return Report("", (Table("", header, rows, ruled=True), Facts(_notes(ladder))), numbers)


def _cells(row: Row) -> tuple[Cell, ...]:
    """One cell for each of :data:`_COLUMNS`; differences in the output's unit."""
    found = ("", "", "", "")
    if row.drift is not None:
        d = row.drift
        found = (f"{d.mean:.2g}", f"{d.signed:+.2g}", f"{d.p99:.2g}", f"{d.max:.2g}")
    allowed = [_WORDS[name].format(limit) for name, limit in row.allowed.items()]
    allowed += ["the engine's bits"] if row.exact else []
    pictures = f"{row.images} {row.pictures}" if row.pictures else ""
    verdict = State(row.verdict, _COLOURS[row.verdict], row.reason)
    return (row.step, row.precision, row.by, pictures, *found, ", ".join(allowed), verdict)


def _notes(ladder: Ladder) -> list[str]:
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
    if failed := ladder.failed:
        named = "; ".join(f"{row.name}: {row.reason}" for row in failed[:_NAMED])
        more = f"; and {len(failed) - _NAMED} more" if len(failed) > _NAMED else ""
        raise SsrError(f"{ladder.path}: {len(failed)} of {len(ladder.rows)} rows fall short: {named}{more}")
