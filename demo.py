"""``make demo``: weights, model repository, a real tritonserver, a real photo, ages; step by step."""

from __future__ import annotations

import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from ssr_bundle.commandline import Application, run
from ssr_bundle.errors import SsrError

PREFERRED = ("imdb", "wiki", "morph2")
"""Released weights, best for photos from anywhere first."""
MODEL = "ssrnet"

app = Application()


@app.command()
def demo(
    photo: Annotated[Path | None, typer.Option(help="An image file; by default the sample photo.")] = None,
    out: Annotated[Path, typer.Option(help="Where the annotated picture goes.")] = Path("demo/annotated.jpg"),
    detector: Annotated[str, typer.Option(help="auto, yunet or haar.")] = "auto",
    bundle: Annotated[
        str | None,
        typer.Option(help="A bundle folder, or 'default' for the shipped one; else released weights if any."),
    ] = None,
) -> None:
    """Serve SSR-Net on a real tritonserver and ask it for the age of every face in a photo.

    Exit status 1 if there is no such photo, no face in it, or the server does not start.
    """
    from ssr_client.annotate import annotate, write_picture
    from ssr_client.cli import SYNTHETIC, answer
    from ssr_client.client import AgeClient
    from ssr_client.faces import check_detector
    from ssr_client.preprocess import read_picture

    from ssr_ops.shipped import ASSETS
    from triton_repo.repository import build
    from triton_repo.server import Server

    began = time.perf_counter()
    source = photo or ASSETS / "astronaut.jpg"
    picture = read_picture(source)
    check_detector(detector)
    if out.is_dir() or not out.suffix:
        raise SsrError(f"{out}: expected a picture to write, such as demo/annotated.jpg")
    if out.exists() and out.samefile(source):
        raise SsrError(f"{out}: --out would overwrite the photo")
    with tempfile.TemporaryDirectory(prefix="ssr-demo-") as temporary:
        with step("weights") as say:
            chosen, told = (bundle, str(bundle)) if bundle else prepare(Path(temporary))
            say(told)
        repository = Path(temporary) / "repository"
        with step("model repository") as say:
            build([(MODEL, chosen)], repository)
            say("built, its golden record replayed")
        server = Server(repository, watch=False)
        try:
            with step("tritonserver") as say:
                server.start()
                say(f"serves {MODEL} with our backend, gRPC at {server.grpc_url}")
            with (
                step("ages") as say,
                warnings.catch_warnings(record=True) as caught,
                AgeClient(server.grpc_url, MODEL, detector=detector) as client,
            ):
                warnings.simplefilter("always")
                faces = client.predict_photo(picture)
                unit, synthetic = client.interface.output.unit, client.synthetic
                say(f"{len(faces)} face{'' if len(faces) == 1 else 's'} in {source}")
        finally:
            with step("stop") as say:
                server.stop()
                say("server stopped")
    for warning in caught:
        print(f"note: {warning.message}", file=sys.stderr)
    if not faces:
        raise SsrError(f"{source}: no face found in it")
    for number, face in enumerate(faces, 1):
        x, y, w, h = face.box
        print(f"face {number} at x {x:.0f} y {y:.0f}, {w:.0f} x {h:.0f} pixels: {answer(face, unit)}")
    write_picture(out, annotate(picture, faces))
    print(f"annotated picture: {out}   (all in {time.perf_counter() - began:.1f} s)")
    if synthetic:
        print(f"note: {SYNTHETIC}", file=sys.stderr)


def prepare(folder: Path) -> tuple[str | Path, str]:
    """A bundle and one line on where it is from: released weights if they are here or can be fetched,
    else the default bundle, which learned from drawn faces."""
    from ssr_bundle.fetch import FetchError, fetch, find
    from ssr_ops.golden import write_bundle
    from ssr_ops.shipped import default_bundle
    from ssr_train.keras_import import import_keras

    trouble = ""
    for name in PREFERRED:
        try:
            # One look at the network is enough: offline, the others would only cost time.
            path = find(name) if trouble else fetch(name)
        except FetchError as error:
            trouble = trouble or str(error)
            continue
        if path is not None:
            bundle = write_bundle(folder / "bundle", *import_keras(path))
            return bundle.path, f"released {name} (Apache-2.0, shamangary/SSR-Net)"
    return default_bundle(), f"the shipped ones, learned from drawn faces ({trouble})"


@contextmanager
def step(name: str) -> Iterator[Callable[[str], None]]:
    """Print ``name``, what the block said, and how long it took."""
    begin = time.perf_counter()
    said: list[str] = []
    yield said.append
    print(f"{name:18} {'; '.join(said)}   ({time.perf_counter() - begin:.1f} s)", flush=True)


def main() -> None:
    run(app, "demo")


if __name__ == "__main__":
    main()
