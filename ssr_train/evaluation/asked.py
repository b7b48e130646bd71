"""What is asked of an evaluation, as the command line says it: which pictures, and who answers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ssr_bundle.method import ServedBundle
    from ssr_train.inference import Runner

_option = partial(typer.Option, rich_help_panel="Pictures")
_DATA = "synthetic, synthetic-persons (drawn) or a prepared set"


@dataclass(frozen=True)
class Source:
    """Pictures. ``data`` None: those of the training run, as recorded. ``protocol`` None: the recorded test
    part, or, of a set the weights did not learn from, all pictures."""

    data: Annotated[
        str | None,
        _option(
            help=f"{_DATA}; without it the training run's own, of a run's folder or of a bundle of drawn "
            "faces."
        ),
    ] = None
    count: Annotated[int | None, _option(min=1, help="Faces to draw.")] = None
    seed: Annotated[int | None, _option(min=0, help="Which faces are drawn, and how --protocol splits.")] = (
        None
    )
    protocol: Annotated[
        str | None,
        _option(
            help="random, subject-exclusive, distributed or leave-one-subject-out: its test part. Without it "
            "the run's recorded test part, or all pictures of a set that it did not learn from."
        ),
    ] = None
    fold: Annotated[int, _option(min=0, help="Of leave-one-subject-out: whom to test.")] = 0
    workers: Annotated[int, _option(min=1, help="Processes that draw.")] = 2
    allow_training_images: Annotated[
        bool,
        _option(
            "--allow-training-images",
            help="Go on where the weights learned from these pictures; the report says so.",
        ),
    ] = False


@dataclass(frozen=True)
class SourceOfBundle(Source):
    """Pictures for what takes a bundle alone."""

    data: Annotated[
        str | None,
        _option(
            help=f"{_DATA}; without it the training run's own, of a bundle of drawn faces alone: another "
            "records which set it learned from, but not where it lies."
        ),
    ] = None


@dataclass(frozen=True)
class Asked:
    """Who answers. ``runner`` None: the native engine for SSR-Net's bundle, ONNX Runtime for another
    method's, torch for a system."""

    runner: Annotated[
        str | None,
        typer.Option(
            help="native, torch, onnx or served; without it native for SSR-Net's bundle, onnx for another "
            "method's, torch for a system."
        ),
    ] = None
    precision: Annotated[str, typer.Option(help="native: fp32, bf16, int8; onnx: fp32, fp16, int8.")] = "fp32"
    device: Annotated[str, typer.Option(help="torch, native: cpu, cuda or cuda:N.")] = "cpu"
    threads: Annotated[int, typer.Option(min=1, help="native, onnx: threads.")] = 1
    url: Annotated[str, typer.Option(help="served: host:port of gRPC.")] = "localhost:8001"
    model: Annotated[str, typer.Option(help="served: the model's name.")] = "ssrnet"

    def open(self, what: ServedBundle | Path | None) -> Runner:
        """The runner of these weights, see :func:`ssr_train.inference.open_runner`."""
        from ssr_train.inference import open_runner, runner_of

        options = {name: value for name, value in vars(self).items() if name != "runner"}
        return open_runner(what, self.runner or runner_of(what), **options)
