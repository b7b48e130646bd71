"""Commands of ``ssr-train`` that judge weights: evaluate, calibrate, gate, challenge, card."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ssr_bundle.commandline import unfolded
from ssr_train.evaluation.asked import Asked, Source, SourceOfBundle

Bundle = Annotated[Path, typer.Argument(metavar="BUNDLE", help="Bundle folder.")]
Json = Annotated[bool, typer.Option("--json", help="Print the report as JSON.")]


@unfolded
def evaluate(
    what: Annotated[
        Path | None,
        typer.Argument(metavar="WHAT", help="Bundle, run folder or system; none: what a server serves."),
    ] = None,
    *,
    source: Source,
    asked: Asked,
    json: Json = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder to write report.md, report.json and report.png to.")
    ] = None,
) -> None:
    """Measure errors: MAE, CA(n) in both readings, by age, sex and group, with bootstrap intervals.

    A run's best and last epoch stand side by side. Pictures that the weights learned from are refused, and
    the identity leak is counted. Of a set with bins of ages the error is the distance to the bin. Calibrated
    intervals show what they hold of these faces, in all and by band of answers.

    Examples:

        ssr-train evaluate runs/first                           (its own test pictures)

        ssr-train evaluate bundles/morph2 --data prepared/megaage --protocol distributed --out report

        ssr-train evaluate bundles/morph2 --data prepared/megaage --runner onnx --precision fp16

        ssr-train evaluate bundles/morph2 --data prepared/megaage --runner served --url age.lan:8001
    """
    from ssr_bundle.disk import check_folder
    from ssr_train.evaluation.evaluate import evaluate as judge

    check_folder(out)
    judge(what, source, asked).report().deliver(json, out)


@unfolded
def calibrate(
    bundle: Bundle,
    *,
    source: SourceOfBundle,
    coverage: Annotated[float, typer.Option(help="Share of true ages that intervals shall hold.")] = 0.9,
    also: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SET",
            help="A further prepared set: the coverage is kept on each set, by the widest of their "
            "half-widths. Repeat for more.",
        ),
    ] = None,
    each: Annotated[
        list[str] | None,
        typer.Option(
            metavar="sex|group",
            help="Keep the coverage for each sex or group of the labels too, not only for all together. "
            "Repeat for both.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="New bundle to write; without it BUNDLE is replaced.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace calibrated intervals, or the bundle at --out.")
    ] = False,
) -> None:
    """Give a bundle intervals: +- years by band of answers, from labelled faces it did not learn from.

    Half of the faces calibrate (split conformal), the other half, other persons, show what is covered. The
    intervals hold for faces like these, taken together; on other faces nothing is promised, and some groups
    may be covered less. --also and --each keep the coverage on further sets, and in each group; intervals
    then are wider.

    Examples:

        ssr-train calibrate runs/first/bundle                   (of drawn faces: the run's test pictures)

        ssr-train calibrate runs/morph2/bundle --data prepared/morph2       (the run's test pictures)

        ssr-train calibrate bundles/morph2 --data prepared/morph2 --coverage 0.95 --out bundles/morph2-95

        ssr-train calibrate bundles/imdb --data prepared/utkface --each group --each sex

        ssr-train calibrate bundles/imdb --data prepared/utkface --also prepared/cameras
    """
    from ssr_train.evaluation.calibrate import calibrate_bundle

    written = calibrate_bundle(bundle, source, coverage, out, also=also or (), each=each or (), force=force)
    typer.echo(written.path)


@unfolded
def gate(
    bundle: Bundle,
    age: Annotated[float, typer.Option(help="T: how old one must be, in years.")],
    *,
    source: SourceOfBundle,
    false_accept: Annotated[
        float, typer.Option(help="Largest share of those under T that may be accepted.")
    ] = 0.01,
    confidence: Annotated[
        float, typer.Option(help="How sure it must be that the share is kept, beyond the faces seen.")
    ] = 0.95,
    precision: Annotated[str, typer.Option(help="Of the engine: fp32, bf16 or int8.")] = "fp32",
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

    check_folder(out)
    found = measure_gate(bundle, source, age, false_accept, confidence, precision=precision)
    found.report().deliver(json, out)


@unfolded
def challenge(
    bundle: Bundle,
    *,
    source: SourceOfBundle,
    age: Annotated[float, typer.Option(help="The legal age, in years.")] = 18,
    youngest: Annotated[
        float | None,
        typer.Option(
            help="Youngest age counted as under age; without it the legal age less 4, as NIST counts (14 to "
            "17): of infants nobody asks.",
            show_default=False,
        ),
    ] = None,
    challenge: Annotated[
        float,
        typer.Option(help="T: who is estimated younger is asked for proof, who is estimated T or older not."),
    ] = 25,
    precision: Annotated[str, typer.Option(help="Of the engine: fp32, bf16 or int8.")] = "fp32",
    json: Json = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder to write challenge.md, challenge.json and challenge.png to.")
    ] = None,
) -> None:
    """Count who passes at "challenge T": people under age who are estimated at T or older, by sex and group.

    The other side stands beside it: people of T and over who are asked for proof. Every T from the legal age
    on, with exact bounds, in the layout of NIST's FATE age estimation and verification. Unlike `gate`, which
    finds a threshold, this measures given ones, on all faces. Sets of age bins are taken; a face whose bin
    holds both sides of an age cannot be judged there, and is left out and counted.

    Examples:

        ssr-train challenge bundles/morph2 --data prepared/utkface

        ssr-train challenge bundles/morph2 --data prepared/utkface --challenge 23 --out challenge-23

        ssr-train challenge bundles/morph2 --data prepared/fairface --age 20 --youngest 10
    """
    from ssr_bundle.disk import check_folder
    from ssr_train.evaluation.challenge import measure_challenge

    check_folder(out)
    found = measure_challenge(bundle, source, age, challenge, youngest, precision=precision)
    found.report().deliver(json, out)


@unfolded
def card(
    bundle: Bundle,
    *,
    source: SourceOfBundle,
    evaluated: Annotated[
        bool,
        typer.Option(
            "--evaluate", help="Measure errors too, on the run's own test pictures: of drawn faces."
        ),
    ] = False,
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

    wanted = evaluated or source.data is not None
    text = write_card(bundle, source if wanted else None, out, force=force)
    if out is None:
        sys.stdout.write(text)
    else:
        typer.echo(out)


def register(app: typer.Typer) -> None:
    """Add the commands to ``ssr-train``."""
    for command in (evaluate, calibrate, gate, challenge, card):
        app.command()(command)
