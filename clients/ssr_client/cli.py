"""``ssr-client``: ages of the faces in photos, and a load test of the server."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ssr_bundle.commandline import Application, Header, headers_of, run, unfolded
from ssr_bundle.disk import check_folder
from ssr_bundle.errors import SsrError, UsageError
from ssr_bundle.shown import printable_json, say

if TYPE_CHECKING:
    from ssr_client.client import AgeClient

app = Application(help="Ask a served SSR-Net.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@dataclass(frozen=True)
class Connection:
    """Whom the client asks, and how: options of both commands."""

    url: Annotated[str, typer.Option(help="host:port of the server's gRPC.", envvar="SSR_URL")] = (
        "localhost:8001"
    )
    model: Annotated[str, typer.Option(help="Name of the served model.")] = "ssrnet"
    version: Annotated[str, typer.Option(help="A version's number; the newest by default.")] = ""
    timeout: Annotated[float, typer.Option(help="Seconds for one answer, retries included.")] = 30.0
    wait: Annotated[float, typer.Option(help="Seconds to wait for the server to be ready.")] = 10.0
    tls: Annotated[bool, typer.Option("--tls", help="Use TLS.")] = False
    root_certificates: Annotated[
        Path | None, typer.Option(help="PEM file of root certificates, with --tls.")
    ] = None
    token: Annotated[str | None, typer.Option(help="Sent as a bearer token.", envvar="SSR_TOKEN")] = None
    header: Header = None

    def client(self, **options: Any) -> AgeClient:
        """A client, not opened yet. What it refuses before it asks anybody is an option's fault."""
        from ssr_client.client import AgeClient
        from ssr_client.errors import BadInput

        certificates = None if self.root_certificates is None else str(self.root_certificates)
        try:
            return AgeClient(
                self.url,
                self.model,
                self.version,
                timeout=self.timeout,
                wait=self.wait,
                ssl=self.tls,
                root_certificates=certificates,
                token=self.token,
                headers=headers_of(self.header),
                **options,
            )
        except BadInput as error:
            raise UsageError(str(error)) from None


PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")

SYNTHETIC = (
    "these ages come from weights that learned from drawn faces, not from photos: they show that everything "
    "works, not how old anybody is. For real ages: `ssr-train fetch imdb`, `ssr-train import-keras`, "
    "`ssr-serve build`"
)


@app.command()
@unfolded
def image(
    photos: Annotated[
        list[Path],
        # Not readable=True, typer's default: one file that is not would be the end of all of them.
        typer.Argument(metavar="PHOTO...", help="Image files.", readable=False),
    ],
    *,
    out: Annotated[
        Path | None,
        typer.Option(help="Write the annotated picture here; a folder if there are several photos."),
    ] = None,
    detector: Annotated[str, typer.Option(help="auto, yunet or haar.")] = "auto",
    server: Connection,
    as_json: Json = False,
) -> None:
    """Print the age of every face in each photo, one line a face, left to right.

    A photo without faces says so and is no failure. A file that is no image, or a picture that cannot be
    written, is one error line; the other photos are still done, and the exit status is 1. When the server
    fails, the photos that are left have its error; what was answered before is printed all the same.
    """
    from ssr_client.annotate import annotate, write_picture
    from ssr_client.errors import BadInput
    from ssr_client.opencv import without_libjpeg
    from ssr_client.preprocess import read_picture

    opened = server.client(detector=detector)
    targets = _targets(photos, out)
    results: list[dict[str, Any]] = []
    failure: SsrError | None = None
    with _warnings_in_lines(), opened as client:
        for photo, target in zip(photos, targets, strict=True):
            result: dict[str, Any] = {"photo": str(photo), "faces": [], "error": None}
            results.append(result)
            if failure is not None:
                result["error"] = str(failure)
                continue
            faces: list[Any] | None = None
            try:
                with without_libjpeg():
                    picture = read_picture(photo)
                faces = _faces_in(client, photo, picture)
                if target is not None:
                    write_picture(target, annotate(picture, faces))
                    result["annotated"] = str(target)
            except (BadInput, OSError) as error:
                result["error"] = _reason(photo, error)
            except SsrError as error:
                failure, result["error"] = error, str(error)
            if faces is not None:
                result["faces"] = [_face_json(face) for face in faces]
                if not as_json:
                    _print_faces(photo, faces, client.interface.output.unit)
            if "annotated" in result and not as_json:
                say(f"{photo}: annotated picture in {target}")
            if result["error"] and failure is None:
                say(f"ssr-client: {result['error']}", to_stderr=True)
        last = client.last
    if as_json:
        summary = {
            "model": server.model,
            "version": last.model_version if last else None,
            "weights_sha256": last.weights_sha256 if last else None,
            "synthetic": last.synthetic if last else None,
            "photos": results,
        }
        print(printable_json(json.dumps(summary, indent=2, ensure_ascii=False)))
    if last is not None and last.synthetic:
        print(f"ssr-client: {SYNTHETIC}", file=sys.stderr)
    if failure is not None:
        raise failure
    if any(result["error"] for result in results):
        raise typer.Exit(1)


@app.command()
@unfolded
def bench(
    *,
    concurrency: Annotated[int, typer.Option(min=1, max=1024, help="Requests at once, closed loop.")] = 4,
    rate: Annotated[
        float,
        typer.Option(min=0, help="Requests a second, arriving by chance whether or not the server keeps up."),
    ] = 0.0,
    seed: Annotated[int, typer.Option(min=0, help="Of the arrivals, with --rate.")] = 0,
    batch: Annotated[int, typer.Option(min=1, max=4096, help="Crops a request.")] = 16,
    duration: Annotated[float, typer.Option(help="Seconds to measure.")] = 5.0,
    warm_up: Annotated[float, typer.Option(help="Seconds before that.")] = 1.0,
    shared_memory: Annotated[
        bool,
        typer.Option(
            "--shared-memory",
            help="Send crops through memory that a server of this machine shares (ssr-serve run "
            "--shared-memory).",
        ),
    ] = False,
    server: Connection,
    as_json: Json = False,
) -> None:
    """Load the server and print images a second, latencies and the batches that it made.

    A closed loop keeps --concurrency requests under way: that measures throughput. --rate makes it an open
    loop of Poisson arrivals, each latency counted from the moment at which its request was due: that
    measures what a user of a server that is not full waits, stalls included.

    Examples:

        ssr-client bench --batch 64 --concurrency 8

        ssr-client bench --batch 1 --rate 1500 --duration 20
    """
    from ssr_client.bench import bench as measure
    from ssr_client.bench import check_settings
    from ssr_client.errors import BadInput

    try:
        check_settings(concurrency, batch, duration, warm_up, rate)
    except BadInput as error:
        raise UsageError(str(error)) from None
    opened = server.client(shared_memory=shared_memory)
    with _warnings_in_lines(), opened as client:
        result = measure(client, concurrency, batch, duration, warm_up, rate=rate, seed=seed)
        shares = client.shares_memory
    if as_json:
        print(json.dumps(result.to_json(), indent=2))
        return
    engine = f", {result.engine}" if result.engine else ""
    say(f"{server.model} at {server.url}, weights {result.weights_sha256[:12]}{engine}; {result.machine}")
    print("answers validated: finite, in range, the same bits alone and in a batch")
    wire = "shared memory" if shares else "gRPC"
    loop = f"open loop, {rate:g} requests/s" if rate else f"closed loop, {concurrency} at once"
    print(f"{loop}, {batch} crops a request over {wire}, {result.seconds:.1f} s")
    print(f"images/s        {result.images_per_second:,.0f}   ({result.requests} requests)")
    print(f"latency ms      p50 {result.p50_ms:.2f}   p90 {result.p90_ms:.2f}   p99 {result.p99_ms:.2f}")
    print(f"on the server   {result.mean_batch:.1f} images an execution, {result.queue_ms:.2f} ms queued")
    print(f"client CPU      {result.client_cpu:.2f} cores, on the same machine not left to a local server")
    if rate:
        print(f"client sent     {result.late_p99_ms:.2f} ms late at p99, which the latencies contain")


@contextmanager
def _warnings_in_lines() -> Iterator[None]:
    """Print warnings as they come, in one line each."""
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda message, *_, **__: say(f"ssr-client: {message}", to_stderr=True)
        yield


def _targets(photos: list[Path], out: Path | None) -> list[Path | None]:
    """Where each annotated picture goes; faults of ``--out`` show before anything is asked."""
    from ssr_client.annotate import check_format

    if out is None:
        return [None] * len(photos)
    if len(photos) == 1 and not out.is_dir() and out.suffix:
        check_format(out)
        targets = [out]
    else:
        check_folder(out, f"{len(photos)} annotated pictures")
        if out.suffix.lower() in PICTURES and not out.is_dir():
            raise SsrError(f"{out}: names one picture, expected a folder for {len(photos)} of them")
        targets, taken = [], set()
        for photo in photos:
            name, number = photo.stem, 2
            while name in taken:
                name, number = f"{photo.stem}-{number}", number + 1
            taken.add(name)
            targets.append(out / f"{name}.jpg")
    for photo in photos:
        if photo.exists() and any(t.exists() and t.samefile(photo) for t in targets):
            raise SsrError(f"{photo}: --out would overwrite this photo")
    return list(targets)


def _print_faces(photo: Path, faces: list[Any], unit: str) -> None:
    if not faces:
        say(f"{photo}: no face found")
    for number, face in enumerate(faces, 1):
        x, y, w, h = face.box
        say(f"{photo}: face {number} at x {x:.0f} y {y:.0f}, {w:.0f} x {h:.0f} pixels: {answer(face, unit)}")


def answer(face: Any, unit: str) -> str:
    """``43.2 years (38.0 to 48.9)``, or ``male 0.93 probability``."""
    if face.age is None:
        return ", ".join(f"{name} {value:.2f} {unit}" for name, value in face.attributes.items())
    between = f" ({face.interval[0]:.1f} to {face.interval[1]:.1f})" if face.interval else ""
    return f"{face.age:.1f} {unit}{between}"


def _face_json(face: Any) -> dict[str, Any]:
    return {
        "box": [round(v, 2) for v in face.box],
        "landmarks": face.landmarks and [[round(v, 2) for v in point] for point in face.landmarks],
        "age": face.age,
        "interval": face.interval,
        "attributes": face.attributes,
    }


def _faces_in(client: Any, photo: Path, picture: Any) -> list[Any]:
    from ssr_client.errors import BadInput

    try:
        found: list[Any] = client.predict_photo(picture)
    except BadInput as error:
        raise BadInput(f"{photo}: {error}") from None
    return found


def _reason(photo: Path, error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{error.filename or photo}: {error.strerror or error}"
    return str(error)


def main() -> None:
    run(app, "ssr-client")
