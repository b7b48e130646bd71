"""Commands of ``ssr-train`` that judge weights: evaluate, calibrate, gate, card."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ssr_bundle.report import Report

_PICTURES = "Pictures"

_DATA = "synthetic, synthetic-persons (drawn) or a prepared set"

Data = Annotated[
    str | None,
    typer.Option(
        help=f"{_DATA}; without it the training run's own, of a run's folder or of a bundle of drawn faces.",
        rich_help_panel=_PICTURES,
    ),
]
DataOfBundle = Annotated[
    str | None,
    typer.Option(
        help=f"{_DATA}; without it the training run's own, of a bundle of drawn faces alone: another records "
        "which set it learned from, but not where it lies.",
        rich_help_panel=_PICTURES,
    ),
]
Count = Annotated[int | None, typer.Option(min=1, help="Faces to draw.", rich_help_panel=_PICTURES)]
Seed = Annotated[
    int | None,
    typer.Option(min=0, help="Which faces are drawn, and how --protocol splits.", rich_help_panel=_PICTURES),
]
Protocol = Annotated[
    str | None,
    typer.Option(
        help="random, subject-exclusive, distributed or leave-one-subject-out: its test part. Without it the "
        "run's recorded test part, or all pictures of a set that it did not learn from.",
        rich_help_panel=_PICTURES,
    ),
]
Fold = Annotated[
    int, typer.Option(min=0, help="Of leave-one-subject-out: whom to test.", rich_help_panel=_PICTURES)
]
Workers = Annotated[int, typer.Option(min=1, help="Processes that draw.", rich_help_panel=_PICTURES)]
Allow = Annotated[
    bool,
    typer.Option(
        "--allow-training-images",
        help="Go on where the weights learned from these pictures; the report says so.",
        rich_help_panel=_PICTURES,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print the report as JSON.")]


def evaluate(
    what: Annotated[
        Path | None,
        typer.Argument(metavar="WHAT", help="Bundle, run folder or system; none: what a server serves."),
    ] = None,
    data: Data = None,
    count: Count = None,
    seed: Seed = None,
    protocol: Protocol = None,
    fold: Fold = 0,
    workers: Workers = 2,
    allow: Allow = False,
    runner: Annotated[
        str | None,
        typer.Option(help="native, torch, onnx or served; without it native for a bundle, torch otherwise."),
    ] = None,
    precision: Annotated[
        str, typer.Option(help="native: fp32, bf16, int8; onnx: fp32, fp16, int8.")
    ] = "fp32",
    device: Annotated[str, typer.Option(help="torch, native: cpu, cuda or cuda:N.")] = "cpu",
    threads: Annotated[int, typer.Option(min=1, help="native, onnx: threads.")] = 1,
    url: Annotated[str, typer.Option(help="served: host:port of gRPC.")] = "localhost:8001",
    model: Annotated[str, typer.Option(help="served: the model's name.")] = "ssrnet",
    json: Json = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder to write report.md, report.json and report.png to.")
    ] = None,
) -> None:
    """Measure errors: MAE, CA(n) in both readings, by age, sex and group, with bootstrap intervals.

    A run's best and last epoch stand side by side. Pictures that the weights learned from are refused, and
    the identity leak is counted.

    Examples:

        ssr-train evaluate runs/first                           (its own test pictures)

        ssr-train evaluate bundles/morph2 --data prepared/megaage --protocol distributed --out report

        ssr-train evaluate bundles/morph2 --data prepared/megaage --runner onnx --precision fp16

        ssr-train evaluate bundles/morph2 --data prepared/megaage --runner served --url age.lan:8001
    """
    from ssr_bundle.disk import check_folder
    from ssr_train.evaluation.evaluate import Asked
    from ssr_train.evaluation.evaluate import evaluate as judge
    from ssr_train.evaluation.selection import Source

    check_folder(out)
    found = judge(
        what,
        Source(data, count, seed, protocol, fold, workers),
        Asked(runner, precision, device, threads, url, model),
        allow_trained=allow,
    )
    _deliver(found.report(), json, out)


def calibrate(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="Bundle folder.")],
    data: DataOfBundle = None,
    coverage: Annotated[float, typer.Option(help="Share of true ages that intervals shall hold.")] = 0.9,
    count: Count = None,
    seed: Seed = None,
    protocol: Protocol = None,
    fold: Fold = 0,
    workers: Workers = 2,
    allow: Allow = False,
    out: Annotated[
        Path | None, typer.Option(help="New bundle to write; without it BUNDLE is replaced.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace calibrated intervals, or the bundle at --out.")
    ] = False,
) -> None:
    """Give a bundle intervals: +- years by band of answers, from labelled faces it did not learn from.

    Half of the faces calibrate (split conformal), the other half, other persons, show what is covered. The
    intervals hold for faces like these; on other faces nothing is promised.

    Examples:

        ssr-train calibrate runs/first/bundle                   (of drawn faces: the run's test pictures)

        ssr-train calibrate runs/morph2/bundle --data prepared/morph2       (the run's test pictures)

        ssr-train calibrate bundles/morph2 --data prepared/morph2 --coverage 0.95 --out bundles/morph2-95
    """
    from ssr_train.evaluation.calibrate import calibrate_bundle
    from ssr_train.evaluation.selection import Source

    source = Source(data, count, seed, protocol, fold, workers)
    typer.echo(calibrate_bundle(bundle, source, coverage, out, force=force, allow_trained=allow).path)


def gate(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="Bundle folder.")],
    age: Annotated[float, typer.Option(help="T: how old one must be, in years.")],
    data: DataOfBundle = None,
    false_accept: Annotated[
        float, typer.Option(help="Largest share of those under T that may be accepted.")
    ] = 0.01,
    confidence: Annotated[
        float, typer.Option(help="How sure it must be that the share is kept, beyond the faces seen.")
    ] = 0.95,
    precision: Annotated[str, typer.Option(help="Of the engine: fp32, bf16 or int8.")] = "fp32",
    count: Count = None,
    seed: Seed = None,
    protocol: Protocol = None,
    fold: Fold = 0,
    workers: Workers = 2,
    allow: Allow = False,
    json: Json = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder to write gate.md, gate.json and gate.png to.")
    ] = None,
) -> None:
    """Find the answer from which a face is taken to be at least T years old, at a false-accept rate.

    Half of the faces choose the threshold so that the rate is kept with the confidence asked for; the other
    half, other persons, show false accepts and false rejects, the ROC and P(age >= T).

    Examples:

        ssr-train gate runs/first/bundle --age 18 --false-accept 0.01

        ssr-train gate bundles/morph2 --data prepared/morph2 --age 21 --false-accept 0.02 --out gate-21
    """
    from ssr_bundle.disk import check_folder
    from ssr_train.evaluation.gate_report import measure_gate
    from ssr_train.evaluation.selection import Source

    check_folder(out)
    found = measure_gate(
        bundle,
        Source(data, count, seed, protocol, fold, workers),
        age,
        false_accept,
        confidence,
        precision=precision,
        allow_trained=allow,
    )
    _deliver(found.report(), json, out)


def card(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="Bundle folder.")],
    data: DataOfBundle = None,
    evaluated: Annotated[
        bool,
        typer.Option(
            "--evaluate", help="Measure errors too, on the run's own test pictures: of drawn faces."
        ),
    ] = False,
    count: Count = None,
    seed: Seed = None,
    protocol: Protocol = None,
    fold: Fold = 0,
    workers: Workers = 2,
    allow: Allow = False,
    out: Annotated[Path | None, typer.Option(help="File to write; without it the card is printed.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file at --out.")] = False,
) -> None:
    """Write the model card: data, protocol, leak, errors by group, intervals, quantization, limits, licence.

    Nothing is invented: it says what the contract records and what is measured now (--data or --evaluate);
    the rest is "not recorded".

    Examples:

        ssr-train card runs/first/bundle --evaluate --out CARD.md

        ssr-train card bundles/morph2 --data prepared/megaage --protocol distributed --out CARD.md
    """
    from ssr_train.evaluation.card import write_card
    from ssr_train.evaluation.selection import Source

    wanted = evaluated or data is not None
    source = Source(data, count, seed, protocol, fold, workers) if wanted else None
    text = write_card(bundle, source, out, force=force, allow_trained=allow)
    if out is None:
        sys.stdout.write(text)
    else:
        typer.echo(out)


def _deliver(report: Report, json: bool, out: Path | None) -> None:
    report.show(json)
    if out is not None:
        report.write(out)


def register(app: typer.Typer) -> None:
    """Add the commands to ``ssr-train``."""
    for command in (evaluate, calibrate, gate, card):
        app.command()(command)
