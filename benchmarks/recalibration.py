"""What does a recalibration fitted to some labelled faces do to others, and to other sets?

Each released age network, its faces cut as it wants. Each set is halved at random, many times: the map is
fitted, as ``ssr-train fit-crop --recalibrate`` does, to the first half of one set or of all, and measured on
the second halves of all. Writes results/recalibration.md.

    python benchmarks/recalibration.py --data portraits --data fairface --data utkface=UTKFACE --limit 3000
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from _results import RESULTS, table
from crop import NETWORKS
from rich.console import Console

from ssr_bundle import commandline as command
from ssr_bundle.bundle import Bundle
from ssr_bundle.contract import Crop
from ssr_bundle.disk import replace_file
from ssr_bundle.fetch import fetch
from ssr_ops.golden import write_bundle
from ssr_train.crops.faces import Faces, look
from ssr_train.crops.measured import Asked, Half, halves
from ssr_train.crops.recalibrate import recalibrate
from ssr_train.crops.sets import read_sets
from ssr_train.evaluation.metrics import Years
from ssr_train.keras_import import import_keras
from ssr_train.progress import bar

Answers = dict[str, Years]


def error(faces: Faces, answers: Years, half: Half) -> float:
    return float(np.abs(faces.signed(answers[half.rows], half.rows)).mean())


def trial(sets: Sequence[Faces], answers: Answers, fitted: Sequence[str], seed: int) -> list[float]:
    """Mean errors on the second half of each set, without the map and with it."""
    parts = {one.name: halves(one, seed) for one in sets}
    first = [parts[name][0] for name in fitted]
    given = [answers[half.faces.name][half.rows] for half in first]
    points = recalibrate(first, given, (0.0, 101.0))
    lost = []
    for one in sets:
        ages = answers[one.name]
        for served in (ages, np.interp(ages, points.before, points.after)):
            lost.append(error(one, served, parts[one.name][1]))
    return lost


def rows_of(name: str, bundle: Bundle, sets: Sequence[Faces], times: int) -> list[list[str]]:
    asked, crop = Asked(bundle, 2), bundle.contract.interface.crop
    answers = {one.name: asked.ages(one.cut(np.arange(len(one)), crop)) for one in sets}
    every = [one.name for one in sets]
    rows = []
    for fitted in [*([one] for one in every), *([every] if len(every) > 1 else [])]:
        with bar(Console(stderr=True), f"{name}, fitted to {len(fitted)} set(s)", times) as tick:
            lost = []
            for seed in range(times):
                lost.append(trial(sets, answers, fitted, seed))
                tick()
        mean = np.array(lost).mean(axis=0).reshape(len(sets), 2)
        cells = [f"{before:.2f} → {after:.2f}" for before, after in mean]
        rows.append([name, "all, each counting alike" if len(fitted) > 1 else fitted[0], *cells])
        print("  ".join(rows[-1]), flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", action="append", required=True, help="as of ssr-train fit-crop")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--seed", type=int, default=0, help="which pictures --limit takes")
    parser.add_argument("--times", type=int, default=100, help="random halves")
    parser.add_argument("--only", nargs="+", default=list(NETWORKS), choices=NETWORKS)
    given = parser.parse_args()
    sources = read_sets(given.data, given.limit, given.seed)
    sets = [look(source, "yunet", Crop(), 2, Console(stderr=True)) for source in sources]
    with tempfile.TemporaryDirectory(prefix="ssr-crop-") as made:
        rows = []
        for name in given.only:
            bundle = write_bundle(Path(made) / name, *import_keras(fetch(name)))
            rows += rows_of(name, bundle, sets, given.times)
    named = " ".join(f"--data {source.name}" for source in sources)
    limited = f" --limit {given.limit}" if given.limit else ""
    text = [
        "# What recalibrated answers are worth",
        f"`python benchmarks/recalibration.py {named}{limited}`, seed {given.seed}: mean errors in years, "
        "without the map → with it, of faces with an age bin years to the bin. The map is fitted to one half "
        f"of the set named and measured on the other half of each; means over {given.times} random halves. "
        "Faces are cut as the network wants: " + ", ".join(f"{one.name} {len(one):,}" for one in sets) + ".",
        table(("network", "fitted to", *(one.name for one in sets)), rows),
    ]
    replace_file(RESULTS / "recalibration.md", ("\n\n".join(text) + "\n").encode())
    print(RESULTS / "recalibration.md")


if __name__ == "__main__":
    command.run(main, "recalibration")
