"""Which crop do the released age networks answer best on, and what is it worth on faces not searched?

Each network's crop is searched as ``ssr-train fit-crop`` does, over the sets given; it stands beside the crop
of contract version 1. With --portraits, a labelled folder of photos with one face each: how far the answer
moves when a photo is cut to 0.12 box sizes around the face. Writes results/crop.md and crop.png.

    python benchmarks/crop.py --data utkface=UTKFACE --data portraits --data fairface --limit 3000 \
        --portraits portraits
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from _results import RESULTS, table
from rich.console import Console
from ssr_client.detectors import YuNet
from ssr_client.preprocess import crop_faces, read_picture

from ssr_bundle import commandline as command
from ssr_bundle.bundle import Bundle, read_bundle
from ssr_bundle.contract import Crop
from ssr_bundle.disk import replace_file
from ssr_bundle.fetch import fetch
from ssr_bundle.report import Picture
from ssr_ops import Engine
from ssr_ops.golden import write_bundle
from ssr_train.crops.faces import Faces, look
from ssr_train.crops.fit_crop import Wanted, find_crop
from ssr_train.crops.report import Found
from ssr_train.crops.sets import Source, read_sets
from ssr_train.data import distributions
from ssr_train.keras_import import import_keras

NETWORKS = ("imdb", "wiki", "morph2", "megaface_asian")
TIGHT = 0.12
"""Box widths and heights that are left around a face."""

Row = list[str]


def imported(name: str, folder: Path) -> Bundle:
    """The released network with the crop of contract version 1."""
    contract, parameters = import_keras(fetch(name))
    contract = replace(contract, interface=replace(contract.interface, crop=Crop()))
    return write_bundle(folder / name, contract, parameters)


def tightened(bundle: Bundle, crops: Sequence[Crop], folder: Path) -> list[Row]:
    """How far answers move, with each crop, from whole photos to ones cut to :data:`TIGHT` around the face:
    with the same box, and with that of the face found again."""
    engine, detector = Engine(bundle), YuNet()
    records = distributions.scan("folder", folder).records
    moved: list[list[tuple[float, float]]] = [[] for _ in crops]
    found = 0
    for record in records:
        photo = read_picture(folder / record.path)
        if not (whole := detector.detect(photo)):
            continue
        found += 1
        x, y, w, h = whole[0].box
        left, top = max(int(x - TIGHT * w), 0), max(int(y - TIGHT * h), 0)
        cut = np.ascontiguousarray(photo[top : int(y + h + TIGHT * h) + 1, left : int(x + w + TIGHT * w) + 1])
        again = detector.detect(cut)
        for crop, distances in zip(crops, moved, strict=True):
            first = crop_faces(photo, [whole[0].box], crop)
            boxes = [(x - left, y - top, w, h), *(one.box for one in again[:1])]
            age, same, *anew = engine.predict(np.concatenate([first, crop_faces(cut, boxes, crop)])).tolist()
            distances.append((abs(same - age), abs(anew[0] - age) if anew else np.nan))
    rows = []
    for crop, distances in zip(crops, moved, strict=True):
        same_box, found_again = np.array(distances).T
        missing = int(np.isnan(found_again).sum())
        rows.append([
            bundle.contract.name,
            crop.describe(),
            f"{same_box.mean():.2f}",
            f"{np.nanmean(found_again):.2f}",
            f"{found - missing} of {found}",
        ])  # fmt: skip
    return rows


def searched(
    name: str, folder: Path, sources: Sequence[Source], sets: Sequence[Faces], wanted: Wanted
) -> Found:
    """The search for one network, in a process of its own."""
    console = Console(stderr=True)
    return find_crop(read_bundle(folder / name), name, sources, sets, wanted, console)


def summary(found: Found) -> list[Row]:
    """A row a set: the errors of the bundle's crop, of the set's own best and of the chosen one."""
    rows = []
    for one in found.sets:
        by = {result.label: result for result in one.results}
        chosen, own, before = by["chosen"], by["the set's own best"], by["the bundle's"]
        smooth = by["chosen, anti-aliased (no contract says that)"]
        median = next(result for label, result in by.items() if label.startswith("none"))
        numbers = (median.mae, before.mae, own.mae, chosen.mae, chosen.regret or 0.0, smooth.mae)
        rows.append([found.bundle, one.name, *(f"{number:.2f}" for number in numbers)])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", action="append", required=True, help="as of ssr-train fit-crop")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--portraits", type=Path)
    parser.add_argument("--only", nargs="+", default=list(NETWORKS), choices=NETWORKS)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    cv2.setNumThreads(1)  # processes are forked below
    wanted = Wanted(given.data, given.limit, given.seed, workers=given.processes)
    sources = read_sets(wanted.data, wanted.limit, wanted.seed)
    console = Console(stderr=True)
    sets = [look(source, "yunet", Crop(), wanted.workers, console) for source in sources]
    one_thread = replace(wanted, workers=1)
    with tempfile.TemporaryDirectory(prefix="ssr-crop-") as made:
        folder = Path(made)
        bundles = {name: imported(name, folder) for name in given.only}
        fork = multiprocessing.get_context("fork")  # which shares the pictures
        with ProcessPoolExecutor(given.processes, mp_context=fork) as pool:
            jobs = [pool.submit(searched, name, folder, sources, sets, one_thread) for name in bundles]
            found = [job.result() for job in jobs]
        moved: list[Row] = []
        for one in found if given.portraits else []:
            rows = tightened(bundles[one.bundle], (Crop(), one.crop), given.portraits)
            moved += [[one.bundle, *row[1:]] for row in rows]
    sets_given = " ".join(f"--data {source.name}" for source in sources)
    limited = f" --limit {given.limit}" if given.limit else ""
    text = [
        "# The crop of the released age networks",
        f"`python benchmarks/crop.py {sets_given}{limited}`, seed {given.seed}. Mean errors in years on the "
        "half of each set that was not searched; of faces with an age bin years to the bin. Regret: against "
        "the set's own best crop, both found on the half searched.",
        table(
            ("network", "crop chosen", "crops measured"),
            [(one.bundle, one.crop.describe(), one.tried) for one in found],
        ),
        table(
            (
                "network",
                "set",
                "always the median",
                "version 1",
                "own best",
                "chosen",
                "regret",
                "chosen, anti-aliased",
            ),
            [row for one in found for row in summary(one)],
        ),
    ]
    if moved:
        text += [
            f"## A photo cut to {TIGHT:g} box sizes around the face",
            "How far the answer moves from the whole photo's, in years, mean over the portraits: with the "
            "box of the whole photo, and with the face found again in what is left.",
            table(("network", "crop", "the same box", "found again", "faces found again"), moved),
        ]
    text += [one.report().markdown(2, picture=False).rstrip() for one in found]
    given.out.mkdir(exist_ok=True)
    replace_file(given.out / "crop.md", ("\n\n".join(text) + "\n").encode())

    def draw(figure: object) -> None:
        parts = figure.subfigures(1, len(found), squeeze=False)[0]  # type: ignore[attr-defined]
        for part, one in zip(parts, found, strict=True):
            part.suptitle(one.bundle)
            one.draw(part)

    replace_file(given.out / "crop.png", Picture("", draw, (5.5 * len(found), 4.5)).png())
    print(given.out / "crop.md")


if __name__ == "__main__":
    command.run(main, "crop")
