"""The tables and figures on the command line: one command each, the same options for all that train."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ssr_bundle.commandline import Before, unfolded
from ssr_bundle.errors import SsrError
from ssr_train.paper.budget import Budget

if TYPE_CHECKING:
    from ssr_bundle.report import Report
    from ssr_train.paper.trained import Runs

Systems = Annotated[
    str | None,
    typer.Option(
        help="Which systems, with commas between, each NAME or NAME:OPTION=VALUE; without it the paper's."
    ),
    Before("pretrain"),
]


Out = Annotated[
    Path, typer.Option(help="Folder of the table and of its runs; tables in one folder share their runs.")
]
Force = Annotated[bool, typer.Option("--force", help="Train anew what OUT holds of another budget.")]


def register(app: typer.Typer) -> None:
    """Add the five commands to ``app``."""
    for name in (table1, table2, figure2, figure3, ablation):
        app.command(rich_help_panel="The paper's tables and figures")(name)


@unfolded
def table1(
    *,
    out: Out,
    budget: Budget,
    systems: Systems = None,
    seconds: Annotated[
        float, typer.Option(min=0.1, help="About how long inference is timed, a device.")
    ] = 10,
    force: Force = False,
) -> None:
    """Table 1: error, size and inference time of SSR-Net and its competitors, beside the paper's.

    Trains every system at one budget, measures the test images, writes OUT/table1.md, .json and .png. The
    bulky methods stand on SSR-Net's own network here; their sizes as published are counted. Interrupted, the
    same command goes on; what is finished is not trained again. On drawn faces everything says so.

    Examples:

        ssr-train table1 --out paper                        (drawn faces, every system)

        ssr-train table1 --out paper --systems ssrnet,dex,densenet:depth=13 --epochs 20

        ssr-train table1 --out morph2 --data prepared/morph2 --pretrain prepared/imdb --pretrain prepared/wiki

        torchrun --nproc-per-node 4 -m ssr_train.cli table1 --out morph2 --data prepared/morph2
    """
    from ssr_train import zoo
    from ssr_train.paper import table1 as module

    names = _named(systems, zoo.NAMES)
    _run(out, budget, module.PROTOCOL, force, lambda runs: module.table1(runs, names, seconds))


@unfolded
def table2(
    *,
    out: Out,
    budget: Budget,
    systems: Systems = None,
    force: Force = False,
) -> None:
    """Table 2: cumulative accuracies CA(3) and CA(5), errors < n and <= n, beside the paper's.

    MobileNet, DenseNet and SSR-Net unless told otherwise, on the set's own test images as distributed. Writes
    OUT/table2.md, .json and .png.

    Examples:

        ssr-train table2 --out paper                        (drawn faces)

        ssr-train table2 --out mega --data prepared/mega --pretrain prepared/imdb --pretrain prepared/wiki
    """
    from ssr_train.paper import table2 as module

    names = _named(systems, module.SYSTEMS)
    _run(out, budget, module.PROTOCOL, force, lambda runs: module.table2(runs, names))


@unfolded
def figure2(
    *,
    out: Out,
    budget: Budget,
    systems: Systems = None,
    official: Annotated[
        Path | None,
        typer.Option(help="JSON of the published runs' curves, to draw beside ours."),
        Before("pretrain"),
    ] = None,
    official_data: Annotated[
        str | None,
        typer.Option(
            help="Whose published curves: imdb, wiki, morph2, megaage-asian; without it ours, or morph2."
        ),
        Before("pretrain"),
    ] = None,
    force: Force = False,
) -> None:
    """Figure 2: training and validation curves, best and last epoch, the published runs' overlaid.

    MobileNet, DenseNet and SSR-Net unless told otherwise. Writes OUT/figure2.md, .json and .png.

    Examples:

        ssr-train figure2 --out paper                       (drawn faces)

        ssr-train figure2 --out wiki --data prepared/wiki --pretrain prepared/imdb --official histories.json
    """
    if official_data is not None and official is None:
        raise typer.BadParameter("--official-data says which curves of --official JSON")
    from ssr_train.paper import figure2 as module

    names = _named(systems, module.SYSTEMS)
    _run(
        out,
        budget,
        module.PROTOCOL,
        force,
        lambda runs: module.figure2(runs, names, official, official_data),
    )


def figure3(
    out: Annotated[Path, typer.Option(help="Folder to write figure3.md, .json and .png to.")],
    classes: Annotated[
        str | None, typer.Option(help="Numbers of classes (V), 2 to 256, with commas between.")
    ] = None,
) -> None:
    """Figure 3: parameters against stages and classes, one stage against several, and ORCNN; exact counts.

    Nothing is trained, and no data are needed.

    Examples:

        ssr-train figure3 --out paper

        ssr-train figure3 --out paper --classes 27,71,101
    """
    from ssr_bundle.disk import check_folder
    from ssr_train.paper import figure3 as module

    check_folder(out)
    if classes is None:
        chosen = list(module.CLASSES)
    else:
        try:
            chosen = [int(part) for part in classes.split(",")]
        except ValueError:
            raise SsrError(
                f"--classes {classes}: expected whole numbers with commas between, such as 27,101"
            ) from None
    _finish(module.figure3(chosen), out)


@unfolded
def ablation(*, out: Out, budget: Budget, force: Force = False) -> None:
    """Dynamic range on and off: SSR-Net trained with it, without it, and with it switched off afterwards.

    Writes OUT/ablation.md, .json and .png.

    Examples:

        ssr-train ablation --out paper                      (drawn faces)

        ssr-train ablation --out morph2 --data prepared/morph2 --pretrain prepared/wiki
    """
    from ssr_train.paper import ablation as module

    _run(out, budget, module.PROTOCOL, force, module.ablation)


def _run(out: Path, budget: Budget, protocol: str, force: bool, make: Callable[[Runs], Report]) -> None:
    """Make the report at the command's budget; the first process of ``torchrun`` prints and writes it."""
    from rich.console import Console

    from ssr_train.data import NAMES
    from ssr_train.paper.trained import Runs, device_of
    from ssr_train.progress import Reporter
    from ssr_train.training.processes import joined

    if budget.count is not None and budget.data not in NAMES:
        raise SsrError(f"--count says how many faces to draw, but --data {budget.data} is a prepared set")
    with (
        joined(device_of(budget)) as processes,
        Reporter(None if processes.first else Console(quiet=True)) as reporter,
    ):
        report = make(Runs(out, budget, reporter, processes, protocol=protocol, force=force))
    _finish(report, out)


def _finish(report: Report, out: Path) -> None:
    report.show()
    typer.echo(report.write(out))


def _named(systems: str | None, default: tuple[str, ...]) -> tuple[str, ...]:
    return default if systems is None else tuple(name.strip() for name in systems.split(","))
