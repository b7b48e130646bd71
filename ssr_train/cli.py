"""``ssr-train``: everything up to the bundle."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ssr_bundle import commandline as command
from ssr_bundle.errors import SsrError
from ssr_train.evaluation import commands as judging
from ssr_train.paper import budget, reproduce
from ssr_train.quantize.crop_source import CropSource
from ssr_train.training.folder import Settings

if TYPE_CHECKING:
    from ssr_train.keras_file import KerasFile

_EXTRAS = {
    "h5py": "import",
    "onnx": "onnx",
    "torch": "train",
    "cv2": "train",
    "matplotlib": "train",
    "tensorboard": "log",
    "scipy": "train",
    "sklearn": "train",
}

_of_run = partial(typer.Option, rich_help_panel="Run")

_UsageError: type[Exception] = typer.BadParameter.__bases__[0]

app = command.Application(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Train, import and inspect SSR-Net model bundles.\n\n"
    "A [bold]bundle[/bold] is the one folder that travels from here to the server: weights, the contract "
    "that says how pictures must be cut for them, and a golden record to check every later step.\n\n"
    "[bold]Released weights[/bold], no PyTorch needed:\n\n"
    "    ssr-train fetch morph2 --out .\n\n"
    "    ssr-train import-keras ssrnet_morph2.h5 --out bundles/morph2\n\n"
    "[bold]Your own[/bold]:\n\n"
    "    ssr-train fit --data synthetic --out runs/first\n\n"
    "    ssr-train evaluate runs/first\n\n"
    "    ssr-train info runs/first/bundle\n\n"
    "[bold]From a public data set on your disk[/bold]:\n\n"
    "    ssr-train prepare --data morph2 --root ~/data/MORPH --out prepared/morph2\n\n"
    "[bold]For the int8 and bf16 engines[/bold]:\n\n"
    "    ssr-train quantize runs/first/bundle --images photos",
)


@app.command()
def fetch(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="A released file; --list names them.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder to put it in; without it a local or cached copy is used.")
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="What can be fetched, and where it is now.")] = False,
) -> None:
    """Get a released weight file by name, checked against its pinned sha256, and print its path.

    A local folder first (SSR_WEIGHTS_DIR), then the cache, then the public URL.

    Examples:

        ssr-train fetch --list

        ssr-train fetch morph2 --out weights
    """
    from ssr_bundle import fetch as released

    if list_:
        from ssr_bundle.report import table

        table(released.available(), header=("name", "what it is", "where"))
        return
    if name is None:
        raise typer.BadParameter("name what to fetch, or --list")
    typer.echo(released.fetch(name, out))


@app.command("import-keras")
def import_keras_command(
    h5: Annotated[
        Path,
        typer.Argument(
            metavar="H5",
            help="A weight file released by shamangary/SSR-Net, or of a network that the authors' script "
            "made: .h5, .weights.h5 or .keras, of Keras 2, tf.keras or Keras 3. Of the authors' MobileNet "
            "and DenseNet the .h5 file.",
        ),
    ],
    out: Annotated[
        Path, typer.Option(help="Folder to write: SSR-Net's bundle, or the system of another network.")
    ],
    name: Annotated[
        str | None, typer.Option(help="Model name in the contract; without it, ssrnet or ssrnet-male.")
    ] = None,
    lambda_index: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="What scales the shift of bins, eta (lambda_local of the authors' script); for a file that "
            "does not say it.",
        ),
    ] = None,
    lambda_width: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="What scales the width of bins, Delta (the script's lambda_d)."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace what is at --out.")] = False,
) -> None:
    """Turn a Keras weight file into a bundle (SSR-Net, age or gender), or a system (MobileNet, DenseNet).

    Which network it is, age or gender, is read off the file. So are the two lambdas, where it holds a whole
    model; else its name must say them, as the authors' script writes it
    (ssrnet_3_3_3_64_<lambda_local>_<lambda_d>.h5), or the two options. The released files have 1 and 1.

    Colour and crop of a file that is not a released one are those of the authors' demo: BGR, a margin of 0.4.
    `ssr-train fit-crop` measures the crop.

    The authors' MobileNet and DenseNet become systems of the zoo (docs/zoo.md), which `evaluate` judges and
    `export` turns into a bundle that is served.

    Examples:

        ssr-train import-keras ssrnet_morph2.h5 --out bundles/morph2

        ssr-train import-keras mine.keras --out bundles/mine

        ssr-train import-keras best.h5 --lambda-index 0.25 --lambda-width 1 --out bundles/best

        ssr-train import-keras morph2_densenet_reg_19_64.h5 --out systems/densenet
    """
    from ssr_ops.golden import write_bundle
    from ssr_train.keras_file import open_keras
    from ssr_train.keras_import import import_keras, is_competitor

    keras = open_keras(h5)
    if is_competitor(keras.layers):
        _import_competitor(keras, out, force, name, lambda_index, lambda_width)
        return
    contract, parameters = import_keras(h5, name, lambda_index, lambda_width)
    bundle = write_bundle(out, contract, parameters, overwrite=force)
    _describe(bundle.path, full=False)


def _import_competitor(keras: KerasFile, out: Path, force: bool, *of_ssrnet: object) -> None:
    if any(value is not None for value in of_ssrnet):
        raise typer.BadParameter(
            f"{keras.path} holds no SSR-Net: --name is an option of `ssr-train export`, and it has no lambdas"
        )
    from ssr_bundle.report import table
    from ssr_train import zoo
    from ssr_train.keras_competitors import import_competitor

    found = import_competitor(keras)
    zoo.save_system(out, found.system, found.provenance, overwrite=force)
    options = ", ".join(f"{name} {value}" for name, value in found.system.options.items())
    count = found.system.count()
    table(
        [
            ("system", str(out)),
            ("network", f"{found.system.description.title} ({options})"),
            ("numbers", f"{count.stored:,} stored, {count.trainable:,} of them trained"),
            ("source", found.provenance["source"]),
            ("crop", found.provenance["crop_source"]),
            ("next", f"ssr-train export {out} --out BUNDLE, which is served"),
        ]
    )


@app.command("import-detector")
def import_detector_command(
    onnx: Annotated[Path, typer.Argument(metavar="ONNX", help="YuNet's file: yunet_n_640_640.onnx.")],
    out: Annotated[Path, typer.Option(help="Detector bundle to write.")],
    force: Annotated[bool, typer.Option("--force", help="Replace the bundle at --out.")] = False,
) -> None:
    """Turn YuNet's ONNX file into a detector bundle, for servers that find faces themselves.

    The same bundle ships with ssr-serve.

    Example:  ssr-train import-detector yunet_n_640_640.onnx --out bundles/yunet
    """
    from ssr_train.detector_import import import_detector

    bundle = import_detector(onnx, out, overwrite=force)
    for name, entry in bundle.contract.files.items():
        typer.echo(f"{bundle.path / name}: {entry.bytes:,} bytes")


@app.command()
def prepare(
    data: Annotated[str, typer.Option(help="Which published set; `ssr-train doctor --list` names them.")],
    root: Annotated[Path, typer.Option(help="Where it lies, unpacked.")],
    out: Annotated[Path, typer.Option(help="Folder of the prepared set, for `--data` of other commands.")],
    size: Annotated[int, typer.Option(help="Side of the pictures in pixels.")] = 64,
    crop: Annotated[
        Path | None,
        typer.Option(
            help="How to cut faces: a bundle, a prepared set, or a JSON file with a contract's crop; without "
            "it a margin of 0.4 boxes, the border repeated."
        ),
    ] = None,
    recut: Annotated[
        bool,
        typer.Option("--recut", help="Cut published crops anew too: the detector looks for their faces."),
    ] = False,
    align: Annotated[
        str, typer.Option(help="none, or similarity: by five landmarks, to ArcFace's template.")
    ] = "none",
    detector: Annotated[
        str, typer.Option(help="Of photos: yunet, haar, auto, or none (the set's own boxes).")
    ] = "auto",
    workers: Annotated[int, typer.Option(help="Processes that read, detect and cut.")] = 2,
    limit: Annotated[int | None, typer.Option(help="So many faces, spread evenly over the set.")] = None,
    one_of_copies: Annotated[
        bool,
        typer.Option(
            "--one-of-copies", help="Keep one of byte-identical pictures, none where they differ in age."
        ),
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a half-prepared set.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Start anew in the place of one.")] = False,
) -> None:
    """Turn a public data set, as distributed, into one memory-mapped file to train on.

    Filters as the published protocol does, cuts every face, and ends with the doctor's report, which stays
    beside the pictures as doctor.md, doctor.json and doctor.png. How the faces were cut is recorded, and goes
    into the bundles that are trained on them. Published crops are only resized, and their cut is measured:
    where the detector finds the face in them; --recut cuts them anew.

    However it is stopped, the same command with --resume goes on and ends in the same bytes.

    Examples:

        ssr-train prepare --data megaage-asian --root ~/data/megaage_asian --out prepared/megaage

        ssr-train prepare --data morph2 --root ~/data/MORPH --out prepared/morph2 --align similarity

        ssr-train prepare --data utkface --root ~/UTKFace --out prepared/utkface --recut --crop bundles/imdb

        ssr-train fit --data prepared/megaage --out runs/megaage
    """
    if resume and force:
        raise typer.BadParameter("--resume and --force contradict each other")
    from ssr_train.data import prepare as preparing
    from ssr_train.data.cut_of import read_crop
    from ssr_train.data.cutting import Cut

    cut = Cut(size, align, detector, recut, None if crop is None else read_crop(crop))
    report = preparing.prepare(
        data,
        root,
        out,
        cut,
        workers=workers,
        limit=limit,
        one_of_copies=one_of_copies,
        resume=resume,
        force=force,
    )
    report.show()
    typer.echo(out)


@app.command()
def doctor(
    data: Annotated[str | None, typer.Option(help="Which published set; --list names them.")] = None,
    root: Annotated[Path | None, typer.Option(help="Where it lies, unpacked.")] = None,
    labels_only: Annotated[
        bool, typer.Option("--labels-only", help="Open no picture: seconds in place of minutes.")
    ] = False,
    workers: Annotated[int, typer.Option(help="Processes that read.")] = 2,
    out: Annotated[
        Path | None, typer.Option(help="Folder to write doctor.md, doctor.json and doctor.png to.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    list_: Annotated[
        bool, typer.Option("--list", help="The sets that can be read, and their layouts.")
    ] = False,
) -> None:
    """Examine a public data set: counts against the published ones, and everything odd in it.

    Ages out of range, labels that contradict each other, files that are missing, empty, truncated or there
    twice; what `prepare` would leave out, and why.

    Examples:

        ssr-train doctor --list

        ssr-train doctor --data utkface --root ~/data/UTKFace
    """
    from ssr_train.data import distributions

    if list_:
        from ssr_bundle.report import table

        table(
            [(name, distributions.describe(name)) for name in distributions.NAMES],
            header=("name", "what it is"),
        )
        return
    if data is None or root is None:
        raise typer.BadParameter("give --data NAME and --root DIR, or --list")
    from ssr_bundle.disk import check_folder
    from ssr_train.data.prepare import diagnose

    check_folder(out)
    found = diagnose(data, root, workers=workers, labels_only=labels_only)
    if out is not None:
        found.report().write(out)
    if json:
        found.report().show(as_json=True)
    else:
        found.show()


@app.command()
def fit(
    context: typer.Context,
    out: Annotated[Path, _of_run(help="Folder of the run.")],
    system: Annotated[
        str, typer.Option(help="What to train: ssrnet, or a competitor of the paper's tables (docs/zoo.md).")
    ] = Settings.system,
    data: budget.Data = Settings.data,
    count: Annotated[
        int | None, typer.Option(help=f"Faces to draw; {Settings.count:,} without it.", show_default=False)
    ] = None,
    protocol: Annotated[
        str,
        typer.Option(
            help="random (80/20, the paper's), subject-exclusive, distributed (the set's own split) or "
            "leave-one-subject-out."
        ),
    ] = Settings.protocol,
    fold: Annotated[int, typer.Option(help="Which person leave-one-subject-out tests.")] = Settings.fold,
    epochs: Annotated[int, typer.Option(help="Passes over the training faces.")] = Settings.epochs,
    batch_size: budget.BatchSize = None,
    lr: Annotated[float, typer.Option(help="Initial learning rate (Adam).")] = Settings.lr,
    step: Annotated[
        int | None, typer.Option(help="Epochs until the rate drops tenfold; without it a third of --epochs.")
    ] = None,
    seed: budget.Seed = Settings.seed,
    stages: Annotated[
        str | None,
        typer.Option(help="SSR-Net's bins of each stage, deepest level first; without it 3,3,3."),
    ] = None,
    dropout: Annotated[
        float | None, typer.Option(help="Dropout in the heads; without it the system's own (SSR-Net 0.2).")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="NAME=VALUE", help="Another option of the system, such as dynamic_range=false."
        ),
    ] = None,
    augment: Annotated[
        bool, typer.Option(help="Mirror; rotate, shear, shift, zoom with probability 0.25 each.")
    ] = Settings.augment,
    init: Annotated[
        Path | None,
        typer.Option(help="Bundle (or system folder) to start from: fine-tuning; the same network."),
    ] = None,
    device: budget.Device = "auto",
    threads: budget.Threads = None,
    precision: Annotated[
        str, typer.Option(help="fp32; or bf16: convolutions in bfloat16, weights and answers in fp32.")
    ] = Settings.precision,
    ema: Annotated[
        float | None,
        typer.Option(help="Validate and save an exponential average of the weights, such as 0.999."),
    ] = None,
    log: Annotated[str, _of_run(help="csv, or tensorboard for event files in OUT/logs as well.")] = "csv",
    workers: Annotated[int, _of_run(min=1, help="Processes that draw.")] = 2,
    checkpoint_every: Annotated[
        int, _of_run(min=1, help="Steps between checkpoints, besides every epoch's.")
    ] = 200,
    resume: Annotated[bool, _of_run("--resume", help="Go on with the run in --out.")] = False,
    force: Annotated[bool, _of_run("--force", help="Start anew in the place of a run.")] = False,
) -> None:
    """Train SSR-Net or a competitor: Adam, the paper's schedule and augmentations.

    Ends in OUT/bundle, or in OUT/system for what is not SSR-Net. Ctrl-C saves and stops; --resume goes on
    and gives the same weights, bit for bit, as a run that was never stopped.

    Examples:

        ssr-train fit --out runs/quick --count 2000 --epochs 6

        ssr-train fit --out runs/quick --resume

        ssr-train fit --out runs/tuned --init runs/quick/bundle --lr 0.0005

        ssr-train fit --out runs/megaage --data prepared/megaage --protocol distributed

        ssr-train fit --out runs/dex --system dex --count 2000 --epochs 6

        torchrun --nproc-per-node 2 -m ssr_train.cli fit --out runs/wiki --data prepared/wiki
    """
    from ssr_train.training import service

    given = {name.rstrip("_") for name in command.given(context)}
    options = {
        name.rstrip("_"): value
        for name, value in context.params.items()
        if name not in {"out", "log", "workers", "checkpoint_every", "resume", "force"}
    }
    if resume and force:
        raise typer.BadParameter("--resume and --force contradict each other")
    best = (
        service.resume(out, options, given & options.keys(), workers, checkpoint_every, log)
        if resume
        else service.start(out, options, force, workers, checkpoint_every, log)
    )
    if not service.speaks():
        return
    if best.name == "bundle":
        _describe(best, full=False)
    else:
        typer.echo(best)


@app.command()
@command.unfolded
def quantize(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="Bundle folder.")],
    *,
    source: CropSource,
    out: Annotated[
        Path | None,
        typer.Option(help="New bundle to write; without it BUNDLE's contract is replaced."),
        command.Before("jitter"),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace a quantization, or the bundle at --out.")
    ] = False,
) -> None:
    """Quantize a bundle for int8 and bf16: ranges, learned rounding, bias corrections.

    The weights stay as they are. Prints how far the answers then drift from fp32's, on the crops used and
    on others. A few hundred crops of many persons do; they should look like what will be served.

    Examples:

        ssr-train quantize bundles/morph2 --images photos

        ssr-train quantize bundles/morph2 --images photos --test other-photos --out bundles/morph2-int8

        ssr-train quantize runs/first/bundle --data synthetic
    """
    from ssr_train.quantize.quantize_bundle import quantize_bundle

    _describe(quantize_bundle(bundle, source, out, force).path, full=False)


@app.command()
def export(
    what: Annotated[
        Path,
        typer.Argument(
            metavar="BUNDLE", help="Bundle folder; of another method than SSR-Net, its system or its run."
        ),
    ],
    precision: Annotated[
        str, typer.Option(help="fp32, fp16, int8, several with commas between, or all.")
    ] = "fp32",
    stages: Annotated[
        bool, typer.Option("--stages", help="p, eta and delta of every stage as outputs too.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Write to this file (one precision) and leave the bundle as it is; of another method, the "
            "bundle folder to write."
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(help="Of another method: model name in its contract; without it the method's."),
    ] = None,
    crop: Annotated[
        Path | None,
        typer.Option(
            help="Of a system that does not record its faces' cut: a bundle, a prepared set, or a JSON file "
            "with a contract's crop."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False,
) -> None:
    """Write the network as ONNX into its bundle, and replay the golden record in ONNX Runtime.

    The graph takes the bytes that every server of ours takes (uint8, N x 64 x 64 x 3, any N) and gives the
    same clipped answers. fp16 and int8 are of the convolutions; the age arithmetic is float32 in each. int8
    needs a bundle that `ssr-train quantize` made. No torch is needed.

    Another method of the zoo (docs/zoo.md) becomes a bundle of its own, whose network is the graph, in fp32:
    `ssr-serve build --flavor onnx` serves it, and the same clients ask it. That needs torch.

    Examples:

        ssr-train export bundles/morph2                     (model.onnx)

        ssr-train export bundles/morph2 --precision all     (and model.fp16.onnx, model.int8.onnx)

        ssr-train export bundles/morph2 --stages --out morph2-stages.onnx

        ssr-train export runs/dex --out bundles/dex         (another method)
    """
    from ssr_bundle.report import table
    from ssr_ops.export import PRECISIONS, write

    if (system := _system_in(what)) is not None:
        if precision != "fp32" or stages:
            raise typer.BadParameter(
                f"{what} is of another method than SSR-Net, which is exported in fp32 alone"
            )
        if out is None:
            raise typer.BadParameter(f"{what} is of another method than SSR-Net: --out names its bundle")
        from ssr_train.data.cut_of import read_crop
        from ssr_train.zoo.served import write_method

        cut = None if crop is None else read_crop(crop)
        _describe(write_method(system, out, name=name, crop=cut, overwrite=force).path, full=False)
        return
    if name is not None or crop is not None:
        raise typer.BadParameter(
            "--name and --crop are of another method than SSR-Net, whose bundle has both"
        )
    chosen = PRECISIONS if precision == "all" else tuple(dict.fromkeys(precision.split(",")))
    if unknown := [name for name in chosen if name not in PRECISIONS]:
        raise typer.BadParameter(
            f"--precision {unknown[0]!r} is unknown, expected {', '.join(PRECISIONS)} or all"
        )
    if out is not None and len(chosen) > 1:
        raise typer.BadParameter("--out takes one file, so give one --precision with it")
    options = {"stage_outputs": stages, "force": force}
    if out is None:
        written = write.export(what, chosen, **options)
    else:
        written = [write.export_file(what, chosen[0], out, **options)]
    rows = []
    for exported in written:
        replay, sizes = exported.replay, (str(exported.opset), f"{exported.bytes:,}")
        drift = (f"{replay.mean:.1e}", f"{replay.worst:.1e}", f"{replay.tolerance:.1e} {replay.unit}")
        rows.append((str(exported.path), replay.precision, *sizes, *drift))
    table(rows, header=("file", "precision", "opset", "bytes", "mean", "worst", "allowed on golden faces"))


def _system_in(path: Path) -> Path | None:
    """The folder of the system that ``path`` is, or that the run at ``path`` ended in; None of a bundle."""
    from ssr_train.training.folder import RunFolder

    candidates = (path, RunFolder(path).system)
    return next((folder for folder in candidates if (folder / "system.json").is_file()), None)


@app.command("fit-crop")
def fit_crop_command(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="Bundle folder of an age network.")],
    data: Annotated[
        list[str],
        typer.Option(
            metavar="SET",
            help="Labelled pictures: NAME=FOLDER (`ssr-train doctor --list` has the names), or a folder with "
            "labels.csv (file, age; or file, age_low, age_high). Repeat for more.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="New bundle to write, with crop.md, crop.json and crop.png.")],
    limit: Annotated[int | None, typer.Option(help="So many pictures a set, drawn by --seed.")] = None,
    seed: Annotated[int, typer.Option(help="Which pictures --limit takes, and which half is searched.")] = 0,
    box: Annotated[str, typer.Option(help="Whose boxes the crop goes by: yunet or haar.")] = "yunet",
    recalibrate: Annotated[
        bool,
        typer.Option(
            "--recalibrate",
            help="Also fit a rising map of the answers to the faces searched. It fits faces like these, and "
            "can make others worse.",
        ),
    ] = False,
    workers: Annotated[int, typer.Option(help="Processes that look for faces; threads that answer.")] = 2,
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the bundle at --out.")] = False,
) -> None:
    """Measure how faces must be cut for a network: margins, vertical shift and border.

    One half of the faces of each set is searched; the other half shows what was found: error, sign and
    correlation of the bundle's crop, of each set's own best and of the chosen one. Of several sets the crop
    with the smallest worst regret is taken (error less that of the set's own best). The new bundle has the
    same weights; its crop is a new interface, so it is served under another name.

    Examples:

        ssr-train fit-crop bundles/wiki --data photos --out bundles/wiki-cut

        ssr-train fit-crop bundles/wiki --data utkface=~/UTKFace --data portraits --limit 3000 --out wiki-cut

        ssr-train fit-crop bundles/wiki --data photos --recalibrate --out bundles/wiki-mine
    """
    from ssr_train.crops.fit_crop import Wanted, fit_crop

    written, found = fit_crop(bundle, Wanted(data, limit, seed, box, workers, recalibrate), out, force=force)
    found.report().show(json)
    if not json:
        typer.echo(written.path)


@app.command()
def info(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="Bundle folder.")],
    json: Annotated[bool, typer.Option("--json", help="Print contract.json as it is.")] = False,
) -> None:
    """Check a bundle's hashes, replay its golden record, and say what it is.

    Example:  ssr-train info bundles/morph2
    """
    if json:
        from ssr_bundle.bundle import read_bundle

        sys.stdout.write(read_bundle(bundle).contract.dumps())
        return
    _describe(bundle, full=True)


judging.register(app)
reproduce.register(app)


def _describe(path: Path, full: bool) -> None:
    """Print what a bundle is, after checking it by its golden record."""
    from ssr_bundle.method import GRAPH_FILE, MethodBundle, read_served
    from ssr_train.describe import describe, describe_method

    bundle = read_served(path)
    if isinstance(bundle, MethodBundle):
        from ssr_ops.export.runtime import replay_onnx

        graph = path / GRAPH_FILE
        describe_method(bundle, replay_onnx(graph.read_bytes(), bundle, str(graph)), full=full)
    else:
        from ssr_ops.replay import replay_all

        describe(bundle, replay_all(bundle), full=full)


def main() -> None:
    """Entry point of ``ssr-train``: 0 success, 1 failure, 2 usage, 130 after Ctrl-C, 143 after SIGTERM."""
    command.run(_app, "ssr-train")


def _app() -> None:
    try:
        if command.speaks():
            app()
        else:
            sys.exit(app(standalone_mode=False))
    except _UsageError:
        sys.exit(2)
    except ModuleNotFoundError as error:
        package = (error.name or "").split(".")[0]
        if package not in _EXTRAS:
            raise
        raise SsrError(
            f"this needs the package {package}, which is not installed: "
            f"pip install 'ssr-serve[{_EXTRAS[package]}]'"
        ) from None


if __name__ == "__main__":
    main()
