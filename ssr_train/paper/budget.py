"""What every system of a table gets alike, as the command line says it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

Data = Annotated[
    str, typer.Option(help="synthetic or synthetic-persons (drawn faces), or a folder made by `prepare`.")
]
BatchSize = Annotated[
    int | None, typer.Option(help="Faces a step; without it 50, or 128 on IMDB.", show_default=False)
]
Seed = Annotated[int, typer.Option(help="Decides data, split, order, weights, augmentation.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:N; auto takes a GPU where torch sees one.")]
Threads = Annotated[int | None, typer.Option(help="Threads of torch on the CPU; without it, one a core.")]


@dataclass(frozen=True)
class Budget:
    """On what and how much is trained; what is None follows the paper on real faces, and is small on drawn
    ones. ``pretrain``: prepared sets to train on before, in order."""

    data: Data = "synthetic"
    pretrain: Annotated[
        list[Path] | None,
        typer.Option(help="Prepared set to train on before, such as IMDB's, then WIKI's: once for each."),
    ] = None
    protocol: Annotated[
        str | None,
        typer.Option(
            help="random, subject-exclusive, distributed or leave-one-subject-out; without it the paper's."
        ),
    ] = None
    count: Annotated[
        int | None, typer.Option(help="Faces to draw; 1,000 without it.", show_default=False)
    ] = None
    epochs: Annotated[
        int | None,
        typer.Option(
            help="Passes over the training faces; without it 90, on drawn faces 6.", show_default=False
        ),
    ] = None
    batch_size: BatchSize = None
    seed: Seed = 0
    device: Device = "auto"
    threads: Threads = None
    workers: Annotated[int, typer.Option(min=1, help="Processes that draw.")] = 2
