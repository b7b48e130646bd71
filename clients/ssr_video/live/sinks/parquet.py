"""Tracks that are over as Parquet: one row a person, in files that appear whole."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path

from ssr_bundle.errors import SsrError
from ssr_video.live.backoff import Backoff
from ssr_video.live.sinks.delivery import Delivery, Refused, Undelivered
from ssr_video.live.sinks.settings import ParquetSettings
from ssr_video.live.sinks.sink import Event
from ssr_video.live.sinks.spool import Spool
from ssr_video.live.sinks.spooled import Spooled
from ssr_video.part_file import OutputError, PartFile

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError as error:
    raise SsrError(f"Parquet needs pyarrow: pip install 'ssr-client[parquet]' ({error})") from None

NAME = "parquet"
_MOMENT = pa.timestamp("ms", tz="UTC")

SCHEMA = pa.schema([
    pa.field("id", pa.string(), nullable=False),
    pa.field("camera", pa.string(), nullable=False),
    pa.field("session", pa.string()),
    pa.field("track", pa.int64(), nullable=False),
    pa.field("first_utc", _MOMENT),
    pa.field("last_utc", _MOMENT),
    pa.field("first", pa.float64()),
    pa.field("last", pa.float64()),
    pa.field("frames", pa.int64()),
    pa.field("age", pa.float64()),
    pa.field("low", pa.float64()),
    pa.field("high", pa.float64()),
    pa.field("looks", pa.int64()),
    pa.field("effective_looks", pa.float64()),
    pa.field("unknown", pa.string()),
    pa.field("zones", pa.list_(pa.string())),
])  # fmt: skip


class Parquet(Spooled):
    """A sink of ``end`` events. A file ``ages-20261129T080000Z.parquet`` appears in ``settings.folder`` after
    ``rows`` rows, or ``every`` seconds after the first of them, and when the sink is closed.

    Until then the rows are kept in the spool. Where the folder cannot be written they stay there. After a
    kill rows may be in two files; ``id`` tells.

    Raises :class:`SsrError` where the spool or the folder cannot be made.
    """

    def __init__(
        self,
        settings: ParquetSettings,
        spool_folder: Path,
        say: Callable[[str], None],
        backoff: Backoff | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
    ) -> None:
        self._folder, self._now = settings.folder, now
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SsrError(f"{error.filename}: {(error.strerror or 'cannot be made').lower()}") from None
        self._spool = Spool(spool_folder / f"{NAME}.spool", settings.spool_bytes, say)
        self._delivery = Delivery(
            NAME,
            self._spool,
            self._write,
            say,
            at_once=settings.rows,
            gather=settings.every,
            backoff=backoff,
        )

    def take(self, event: Event) -> None:
        if event["event"] == "end":
            super().take(event)

    def _write(self, events: Sequence[Event]) -> None:
        if not events:
            return
        try:
            table = pa.Table.from_pylist([_row(event) for event in events], SCHEMA)
        except (pa.ArrowException, ValueError, TypeError, KeyError) as error:
            raise Refused(f"an event is no row ({type(error).__name__})") from None
        try:
            if not self._folder.is_dir():  # not made again: what is gone may be a disk
                raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
            with PartFile(self._free_name(), keep=False) as file:
                pq.write_table(table, file.stream, compression="zstd")
        except OutputError as error:
            raise Undelivered(str(error)) from None
        except OSError as error:
            raise Undelivered((error.strerror or "cannot be written").lower()) from None

    def _free_name(self) -> Path:
        moment = self._now()
        while os.path.lexists(path := self._folder / f"ages-{moment:%Y%m%dT%H%M%SZ}.parquet"):
            moment += timedelta(seconds=1)
        return path


def _row(event: Event) -> dict[str, object]:
    low, high = event["interval"] or (None, None)
    names = ("id", "camera", "session", "track", "first", "last", "frames", "age", "looks", "effective_looks")
    return {
        **{name: event[name] for name in (*names, "unknown", "zones")},
        "low": low,
        "high": high,
        "first_utc": _utc(event, "first"),
        "last_utc": _utc(event, "last"),
    }


def _utc(event: Event, key: str) -> datetime | None:
    """The moment of the stream time at ``key``: as long before ``utc`` as it is before ``time``."""
    if event["utc"] is None:
        return None
    moment = datetime.fromisoformat(event["utc"].replace("Z", "+00:00"))
    return moment + timedelta(seconds=event[key] - event["time"])
