"""``ssr-train``: everything up to the bundle."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ssr_train import command
from ssr_train.errors import SsrError

_EXTRAS = {"h5py": "import", "torch": "train", "cv2": "train", "matplotlib": "train"}

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Train, import and inspect SSR-Net model bundles.\n\n"
    "A [bold]bundle[/bold] is the one folder that travels from here to the server: weights, the contract "
    "that says how pictures must be cut for them, and a golden record to check every later step.\n\n"
    "[bold]Released weights[/bold], no PyTorch needed:\n\n"
    "    ssr-train fetch morph2\n\n"
    "    ssr-train import-keras ssrnet_morph2.h5 --out bundles/morph2\n\n"
    "[bold]Your own[/bold]:\n\n"
    "    ssr-train fit --data synthetic --out runs/first\n\n"
    "    ssr-train info runs/first/bundle",
)


@app.command("import-keras")
def import_keras_command(
    h5: Annotated[Path, typer.Argument(metavar="H5", help="A weight file released by shamangary/SSR-Net.")],
    out: Annotated[Path, typer.Option(help="Bundle folder to write.")],
    name: Annotated[
        str | None, typer.Option(help="Model name in the contract; without it, ssrnet or ssrnet-male.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the bundle at --out.")] = False,
) -> None:
    """Turn a released Keras weight file (age or gender) into a bundle.

    Which network it is, age or gender, is read off the file.

    Example:  ssr-train import-keras ssrnet_morph2.h5 --out bundles/morph2
    """
    from ssr_train.bundle import write_bundle
    from ssr_train.keras_import import import_keras

    contract, parameters = import_keras(h5, name)
    bundle = write_bundle(out, contract, parameters, overwrite=force)
    _describe(bundle.path, full=False)


@app.command()
def info(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="Bundle folder.")],
    json: Annotated[bool, typer.Option("--json", help="Print contract.json as it is.")] = False,
) -> None:
    """Check a bundle's hashes, replay its golden record, and say what it is.

    Example:  ssr-train info bundles/morph2
    """
    if json:
        from ssr_train.bundle import read_bundle

        sys.stdout.write(read_bundle(bundle).contract.dumps())
        return
    _describe(bundle, full=True)


def _describe(path: Path, full: bool) -> None:
    """Print what a bundle is, after checking it by its golden record."""
    from ssr_train.bundle import read_bundle
    from ssr_train.describe import describe
    from ssr_train.replay import replay

    bundle = read_bundle(path)
    describe(bundle, replay(bundle), full=full)


def main() -> None:
    """Entry point of ``ssr-train``: 0 success, 1 failure, 2 usage, 130 after Ctrl-C."""
    command.run(_app, "ssr-train")


def _app() -> None:
    try:
        app()
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
