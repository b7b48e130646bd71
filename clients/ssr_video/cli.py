"""``ssr-video``: the ages of the people in video files."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from ssr_client.cli import SYNTHETIC, Connection

from ssr_bundle.commandline import Application, run, unfolded
from ssr_bundle.errors import Interrupted, UsageError
from ssr_bundle.shown import say
from ssr_video.options import Input, Sparing, Writing
from ssr_video.progress import Bar

if TYPE_CHECKING:
    from ssr_video.service import Service
    from ssr_video.summary import Summary

app = Application(
    help="One age with an interval for every person in a video, from a served SSR-Net.", no_args_is_help=True
)

Videos = Annotated[
    list[Path],
    typer.Argument(
        metavar="VIDEO...", help="Video files, and folders with videos in them or below.", readable=False
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("run")
@unfolded
def run_command(
    videos: Videos,
    *,
    writing: Writing,
    reading: Input,
    sparing: Sparing,
    server: Connection,
) -> None:
    """Find the people in each video, follow them, and tell how old they are. Every frame is looked at.

    Without an output, one line a person is printed. Outputs appear when they are whole; until then they are
    NAME.part. A file that is no video is one error line; the others are still done, and the exit status is 1.
    What is unreadable in a damaged video is told of, and counted in the summary. Ctrl-C or SIGTERM ends the
    run with what was done being written.

    No picture is stored unless --annotated asks for it, and there faces are blurred.

    Examples:

        ssr-video run clip.mp4 --out ages.jsonl --annotated out.mp4

        ssr-video run recordings --csv people.csv --counts counts.json
    """
    _check_extra()
    from ssr_video.people import People
    from ssr_video.run import run as work
    from ssr_video.sources import videos_of
    from ssr_video.stop import stoppable

    options, start = sparing.options(), reading.moment()
    files = videos_of(videos)
    if start is not None and len(files) > 1:
        raise UsageError(f"--start is the time of one video's first frame, and there are {len(files)}")
    outputs, shown = writing.outputs(files), _Shown()
    with stoppable() as stop, sparing.service(server, stop) as service, shown, outputs:
        summary = work(
            files,
            lambda: People(service, options),
            outputs,
            shown,
            stop,
            start=start,
            follow=reading.follow,
            model=lambda: _model(service),
        )
    _tell(summary, writing)
    _check(summary, "what was done is written", reading.strict)


@app.command()
@unfolded
def evaluate(
    video: Annotated[Path, typer.Argument(metavar="VIDEO", help="A video file.", readable=False)],
    *,
    tracks: Annotated[
        Path | None,
        typer.Option(help="CSV of true faces (frame, person, x, y, width, height): counts switches."),
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(help="Draw each person's age over time here; .png, .svg, ...")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a picture that exists.")] = False,
    sparing: Sparing,
    server: Connection,
    as_json: Json = False,
) -> None:
    """Measure how steady the ages of a video are, and what they cost.

    Everything is computed from what was published at each frame's time: video noise as NIST defines it (for
    people of at least 20 frames), noise by yaw, flickers a minute, asks saved; with --tracks, how often a
    person's track became another.
    """
    _check_extra()
    from ssr_video.evaluation import Evaluation, read_truth
    from ssr_video.part_file import check_output
    from ssr_video.people import People
    from ssr_video.run import run as work
    from ssr_video.stop import stoppable
    from ssr_video.writer import Measured

    options = sparing.options()
    evaluation = Evaluation(None if tracks is None else read_truth(tracks))
    if picture is not None:
        check_output(picture, force)
    shown, writer = _Shown(), Measured(evaluation.add)
    with stoppable() as stop, sparing.service(server, stop) as service, shown:
        summary = work([video], lambda: People(service, options), writer, shown, stop)
    _check(summary, "nothing is measured")
    report = evaluation.report()
    print(json.dumps(report.to_json(), indent=2) if as_json else report.text())
    if picture is not None:
        evaluation.picture(picture)


@app.command()
@unfolded
def watch(
    cameras: Annotated[
        Path,
        typer.Argument(
            metavar="CAMERAS.toml", help="Which cameras, and where their events go.", readable=False
        ),
    ],
    *,
    page: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT", help="Serve the live page and the metrics here, such as 127.0.0.1:8080."
        ),
    ] = None,
    page_token: Annotated[
        str | None,
        typer.Option(
            envvar="SSR_VIDEO_PAGE_TOKEN",
            help="What a browser must show; needed where others get to the page.",
        ),
    ] = None,
    show_faces: Annotated[bool, typer.Option("--show-faces", help="Do not blur faces on the page.")] = False,
    spool: Annotated[
        Path | None,
        typer.Option(help="Folder of what sinks have not brought on yet; without it one of this user's own."),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Read the configuration, say what is in it, and end.")
    ] = False,
    server: Connection,
) -> None:
    """Watch cameras live, and tell the age of everybody who is tracked, until Ctrl-C or SIGTERM.

    A camera that is down, hangs or sends garbage is opened again, and costs the others nothing. A changed
    configuration is taken up by itself, and on SIGHUP; cameras that are the same in it are left alone.
    docs/live.md describes the configuration, the events, the page and the metrics.

    No picture is stored. The page shows faces blurred, and takes no other machine's connections unless it
    is given their address and a token.

    Examples:

        ssr-video watch cameras.toml --page 127.0.0.1:8080

        ssr-video watch cameras.toml --check
    """
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until there is something to read again
    _check_extra()
    from ssr_video.live.service import check_cameras, watch_cameras

    if check:
        check_cameras(cameras)
    else:
        watch_cameras(cameras, server, spool, page, page_token, show_faces)


def _check_extra() -> None:
    """Say in one line that the extra ``video`` is not installed, before a part of it is missed elsewhere."""
    import ssr_video.libav  # noqa: F401


def _check(summary: Summary, what: str, strict: bool = False) -> None:
    """Leave with the exit status of a run that was stopped, or in which a video could not be read."""
    if summary.stopped_by is not None:
        raise Interrupted(f"stopped by {summary.stopped_by}; {what}", signal.Signals[summary.stopped_by])
    unreadable = strict and any(one.unreadable or one.missing_seconds for one in summary.readings)
    if unreadable or not summary.complete:
        raise typer.Exit(1)


class _Shown(Bar):
    """The bar, and a line for every video that cannot be read."""

    def failed(self, error: str) -> None:
        say(f"ssr-video: {error}", to_stderr=True)


def _model(service: Service) -> dict[str, Any]:
    last = service.client.last
    return {
        "name": service.client.model,
        "version": last.model_version if last else None,
        "weights_sha256": last.weights_sha256 if last else None,
        "synthetic": last.synthetic if last else None,
        "detector": service.detector,
    }


def _tell(summary: Summary, writing: Writing) -> None:
    """One line a video, where outputs lie, and on stderr what was out of the ordinary."""
    to_stderr = Path("-") in writing.files
    for done in summary.done:
        read, work = done.reading, done.work
        if read is None:
            continue
        people = f"{work.tracks} {'person' if work.tracks == 1 else 'people'}"
        asked = f"{work.asks} asks for {work.face_frames} faces"
        say(
            f"{done.source}: {read.frames} frames, {read.duration:.1f} s, {people}, {asked}",
            to_stderr=to_stderr,
        )
        for problem in read.told():
            say(f"ssr-video: {done.source}: {problem}", to_stderr=True)
        if read.unreadable:
            say(f"ssr-video: {done.source}: {read.unreadable} frames are unreadable", to_stderr=True)
        if done.work.lost_asks:
            say(f"ssr-video: {done.source}: {work.lost_asks} asks were not answered", to_stderr=True)
    took = f"{summary.seconds:.1f} s, {summary.speed:.1f} times real time"
    places = ", ".join(str(path) for path in writing.files if str(path) != "-")
    say(f"{took}{f'; written: {places}' if places else ''}", to_stderr=to_stderr)
    if summary.model.get("synthetic"):
        print(f"ssr-video: {SYNTHETIC}", file=sys.stderr)


def main() -> None:
    run(app, "ssr-video")
