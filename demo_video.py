"""``make demo-video``: a clip, a real tritonserver, and the age of every person in it; step by step."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from demo import MODEL, prepare, step
from ssr_bundle.commandline import Application, run
from ssr_bundle.errors import SsrError

app = Application()


@app.command()
def demo_video(
    video: Annotated[
        Path | None, typer.Option(help="A video file; by default a clip of drawn people is made.")
    ] = None,
    out: Annotated[Path, typer.Option(help="The folder where everything goes.")] = Path("demo/video"),
    bundle: Annotated[
        str | None,
        typer.Option(help="A bundle folder, or 'default' for the shipped one; else released weights if any."),
    ] = None,
) -> None:
    """Serve SSR-Net on a real tritonserver and follow the people in a video.

    Outputs of an earlier demo in the folder are replaced.
    """
    from ssr_train.data.synthetic.clip import write_clip
    from triton_repo.config import Options
    from triton_repo.repository import build
    from triton_repo.server import Server

    if video is not None and not video.is_file():
        raise SsrError(f"{video}: no such file")
    with tempfile.TemporaryDirectory(prefix="ssr-demo-") as temporary:
        with step("weights") as say:
            chosen, told = (bundle, str(bundle)) if bundle else prepare(Path(temporary))
            say(told)
        repository = Path(temporary) / "repository"
        with step("model repository") as say:
            build([(MODEL, chosen)], repository, Options(frame=True))
            say("built, its golden record replayed; with a detector of faces")
        drawn = video is None
        if video is None:
            video = out / "drawn.mp4"
            with step("clip") as say:
                write_clip(video)
                say(f"ten seconds of drawn people in {video}")
        server = Server(repository, watch=False)
        try:
            with step("tritonserver") as say:
                server.start()
                say(f"serves {MODEL} and {MODEL}-frame with our backend, gRPC at {server.grpc_url}")
            words = [
                *("run", str(video), "--url", server.grpc_url, "--model", MODEL, "--force"),
                *("--out", str(out / "ages.jsonl"), "--csv", str(out / "people.csv")),
                *("--vtt", str(out / "captions.vtt"), "--annotated", str(out / "annotated.mp4")),
            ]
            print(f"$ ssr-video {' '.join(words)}", flush=True)
            program = "from ssr_video.cli import main; main()"
            status = subprocess.run([sys.executable, "-c", program, *words], check=False).returncode
        finally:
            with step("stop") as say:
                server.stop()
                say("server stopped")
    if status:
        sys.exit(status)
    print((out / "people.csv").read_text(), end="")
    if drawn:
        print("note: drawn people show that everything works, not how old anybody is", file=sys.stderr)
    print(f"everything is in {out}: look at annotated.mp4 (faces are blurred; --show-faces shows them)")


def main() -> None:
    run(app, "demo-video")


if __name__ == "__main__":
    main()
