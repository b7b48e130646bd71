"""What a run of ``ssr-video`` is asked for: options of its commands, and what they mean."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from ssr_client.cli import Connection

from ssr_bundle.disk import check_folder
from ssr_bundle.errors import SsrError, UsageError
from ssr_bundle.shown import say

if TYPE_CHECKING:
    from ssr_video.outputs import Outputs
    from ssr_video.people import Options
    from ssr_video.service import Service
    from ssr_video.stop import Stop
    from ssr_video.writer import Text, Writer


@dataclass(frozen=True)
class Sparing:
    """How much is asked of the server."""

    budget: Annotated[
        float,
        typer.Option(
            help="Asks for each frame with a face, at most, after the first looks; 1 asks whenever it pays.",
            rich_help_panel="Analysis",
        ),
    ] = 0.1
    smallest_face: Annotated[
        float,
        typer.Option(help="Pixels; the age of a smaller face is unknown.", rich_help_panel="Analysis"),
    ] = 24.0
    patience: Annotated[
        float,
        typer.Option(
            min=0, help="Seconds that the server may be away in the middle.", rich_help_panel="Analysis"
        ),
    ] = 60.0

    def options(self) -> Options:
        from ssr_video.people import Options

        try:
            return Options(budget=self.budget, smallest=self.smallest_face)
        except SsrError as error:
            raise UsageError(str(error)) from None

    def service(self, server: Connection, stop: Stop) -> Service:
        """The served models, opened; waiting for them ends with ``stop``."""
        from ssr_video.service import Service

        return Service.open(
            server.client(),
            self.patience,
            sleep=stop.sleep,
            waits=lambda why: say(f"ssr-video: waiting for the server: {why}", to_stderr=True),
        )


@dataclass(frozen=True)
class Input:
    """How files are read."""

    start: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="When the first frame was, such as 2026-11-29T08:00:00Z; else the file's creation time.",
            rich_help_panel="Reading",
        ),
    ] = None
    follow: Annotated[
        float,
        typer.Option(
            min=0,
            help="A file may still grow: wait this many seconds at its end for more.",
            rich_help_panel="Reading",
        ),
    ] = 0.0
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Exit status 1 if any frame is unreadable.", rich_help_panel="Reading"),
    ] = False

    def moment(self) -> datetime | None:
        if self.start is None:
            return None
        try:
            moment = datetime.fromisoformat(self.start.replace("Z", "+00:00"))
        except ValueError:
            moment = None
        if moment is None or moment.tzinfo is None:
            expected = "a time with its zone, such as 2026-11-29T08:00:00Z or 2026-11-29T09:00:00+01:00"
            raise UsageError(f"--start: expected {expected}, got {self.start!r}")
        return moment.astimezone(timezone.utc)


@dataclass(frozen=True)
class Writing:
    """What is written."""

    out: Annotated[
        Path | None,
        typer.Option(
            help="JSON lines: what happens to every track, and a summary; - for stdout.",
            rich_help_panel="Outputs",
        ),
    ] = None
    csv: Annotated[
        Path | None, typer.Option(help="CSV: a row for every person.", rich_help_panel="Outputs")
    ] = None
    vtt: Annotated[
        Path | None,
        typer.Option(
            help="WebVTT captions with the ages; a folder if there are several videos.",
            rich_help_panel="Outputs",
        ),
    ] = None
    annotated: Annotated[
        Path | None,
        typer.Option(
            help="The video with boxes and ages, faces blurred; a folder if there are several videos.",
            rich_help_panel="Outputs",
        ),
    ] = None
    show_faces: Annotated[
        bool,
        typer.Option("--show-faces", help="Do not blur faces in --annotated.", rich_help_panel="Outputs"),
    ] = False
    counts: Annotated[
        Path | None,
        typer.Option(
            help="JSON: people by age band, small cells suppressed; - for stdout.", rich_help_panel="Outputs"
        ),
    ] = None
    bands: Annotated[
        str, typer.Option(help="Where the bands of --counts begin.", rich_help_panel="Outputs")
    ] = "0,13,18,25,35,45,55,65"
    smallest_cell: Annotated[
        int,
        typer.Option(min=1, help="People in a band of --counts, to be shown.", rich_help_panel="Outputs"),
    ] = 5
    force: Annotated[
        bool, typer.Option("--force", help="Replace outputs that exist.", rich_help_panel="Outputs")
    ] = False

    @property
    def files(self) -> list[Path]:
        """Those that were asked for; ``-`` among them."""
        given = (self.out, self.csv, self.vtt, self.annotated, self.counts)
        return [path for path in given if path is not None]

    def outputs(self, videos: list[Path]) -> Outputs:
        """Everything that is asked for, not opened yet; faults show before anything is read or asked."""
        from ssr_video import annotated, captions, counts, json_lines, spoken, table
        from ssr_video.outputs import OfRun, OfVideo, Outputs
        from ssr_video.part_file import check_output

        if self.show_faces and self.annotated is None:
            raise UsageError("--show-faces is for --annotated")
        if self.files.count(Path("-")) > 1 or Path("-") in (self.csv, self.vtt, self.annotated):
            raise UsageError("- is for one of --out and --counts")
        bands = counts.bands_of(self.bands)
        captioned = _each(self.vtt, videos, ".vtt", "captions")
        drawn = _each(self.annotated, videos, ".mp4", "annotated videos")
        for path in drawn.values():
            annotated.check_format(path)
        whole = [path for path in (self.out, self.csv, self.counts) if path is not None]
        taken: set[Path] = set()
        for path in [*whole, *captioned.values(), *drawn.values()]:
            if str(path) == "-":
                continue
            place = path.resolve()
            if place in taken:
                raise UsageError(f"{path}: two outputs would go here")
            taken.add(place)
            if any(video.exists() and path.exists() and path.samefile(video) for video in videos):
                raise SsrError(f"{path}: this output would overwrite a video that is read")
            check_output(path, self.force)

        of_run: list[OfRun] = []
        if self.out is not None:
            of_run.append(partial(_text, self.out, json_lines.JsonLines))
        if self.csv is not None:
            of_run.append(partial(_text, self.csv, table.Table))
        if self.counts is not None:
            count = partial(counts.Counts, bands=bands, smallest=self.smallest_cell)
            of_run.append(partial(_text, self.counts, count))
        if not self.files:
            of_run.append(lambda: nullcontext(spoken.Spoken()))
        of_video: list[OfVideo] = []
        if captioned:
            of_video.append(lambda source: _text(captioned[source], captions.Captions))
        if drawn:
            of_video.append(lambda source: annotated.Annotated(drawn[source], self.show_faces))
        return Outputs(of_run, of_video)


def _text(path: Path, make: Callable[[Text], Writer]) -> AbstractContextManager[Writer]:
    """A writer of the text file at ``path``, or of stdout."""
    from ssr_video.outputs import TextOutput
    from ssr_video.part_file import PartFile

    return nullcontext(make(_Stdout())) if str(path) == "-" else TextOutput(PartFile(path), make)


class _Stdout:
    def write(self, text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()


def _each(out: Path | None, videos: Sequence[Path], ending: str, what: str) -> dict[str, Path]:
    """A file for every video by its name: ``out`` itself for one, files in the folder ``out`` for several."""
    if out is None:
        return {}
    if len(videos) == 1 and out.suffix and not out.is_dir():
        return {str(videos[0]): out}
    check_folder(out, f"{len(videos)} {what}")
    if out.suffix and not out.is_dir():
        raise UsageError(f"{out}: names one file, expected a folder for {len(videos)} {what}")
    places: dict[str, Path] = {}
    for video in videos:
        name, number = video.stem, 2
        while out / f"{name}{ending}" in places.values():
            name, number = f"{video.stem}-{number}", number + 1
        places[str(video)] = out / f"{name}{ending}"
    return places
