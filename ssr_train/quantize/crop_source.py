"""Where the crops come from that a bundle is quantized on, as the command line says it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from ssr_bundle.errors import SsrError


@dataclass(frozen=True)
class CropSource:
    """A folder of ``images`` (and one for ``test``), or labelled faces (``data``): drawn, or a prepared set.

    ``jitter``: further cuts of each face found. ``count``, ``seed``: of labelled faces; as many are held out.
    """

    images: Annotated[
        Path | None, typer.Option(help="Folder of photos (faces are found and cut) or 64 x 64 face crops.")
    ] = None
    data: Annotated[
        str | None, typer.Option(help="Labelled faces instead: synthetic (drawn), or a prepared set.")
    ] = None
    test: Annotated[
        Path | None,
        typer.Option(help="Other photos, for the drift; without it every fifth of --images is held out."),
    ] = None
    jitter: Annotated[int, typer.Option(min=0, max=100, help="Further cuts of each face found.")] = 7
    detector: Annotated[str, typer.Option(help="auto, yunet or haar.")] = "auto"
    count: Annotated[int, typer.Option(help="Faces of --data, and as many to hold out.")] = 384
    seed: Annotated[int, typer.Option(min=0, help="Which faces of --data.")] = 1

    def __post_init__(self) -> None:
        if (self.images is None) == (self.data is None):
            raise SsrError("give either --images DIR or --data NAME")
        if self.test is not None and self.images is None:
            raise SsrError("--test belongs to --images; with --data other faces are held out")
