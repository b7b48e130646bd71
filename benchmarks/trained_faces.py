"""How do the systems of a table, trained on one set, do on others?

Every finished run that ``ssr-train table1`` and its like left below RUNS, on its own test pictures and on
portraits and FairFace, whose faces are cut as the training set's were measured to be cut. Writes
results/trained-faces-N-epochs.md.

    python benchmarks/trained_faces.py OUT/runs --portraits portraits --fairface fairface --work WORK
"""

from __future__ import annotations

import argparse
from pathlib import Path

from _results import RESULTS, table

from ssr_bundle import commandline as command
from ssr_bundle.disk import replace_file
from ssr_bundle.errors import SsrError
from ssr_train.data import prepared
from ssr_train.data.cutting import Cut
from ssr_train.data.prepare import prepare
from ssr_train.evaluation.asked import Asked, Source
from ssr_train.evaluation.evaluate import evaluate
from ssr_train.training.folder import RunFolder, Settings

TITLES = {"portraits": "portraits", "fairface": "FairFace"}


def finished(folder: Path) -> list[RunFolder]:
    """The finished runs in ``folder``, all of one set."""
    runs = [run for run in map(RunFolder, sorted(folder.iterdir())) if run.settings_file.is_file()]
    runs = [run for run in runs if run.finished]
    if len({run.settings().data for run in runs}) != 1:
        raise SsrError(f"{folder}: expected finished runs on one set")
    return runs


def prepared_for(data: str, folder: Path, place: Path, processes: int) -> Path:
    """The photos in ``folder``, cut as the set ``data`` is."""
    cut = Cut(recut=True, crop=prepared.crop(Path(data)))
    prepare("folder", folder, place, cut, workers=processes, one_of_copies=True, resume=place.exists())
    return place


def judged(run: RunFolder, place: Path | None) -> list[str]:
    """Errors of the best and of the last epoch; without ``place`` on the run's own test pictures."""
    found = evaluate(run.path, Source(None if place is None else str(place)), Asked())
    return [f"{one.metrics.overall.mae_text}, {one.metrics.overall.bias:+.1f}" for one in found.judged]


def markdown(settings: Settings, rows: list[list[str]]) -> str:
    header = [
        "system",
        *(f"{one}, {epoch} epoch" for one in ("own test", *TITLES.values()) for epoch in _EPOCHS),
    ]
    name = prepared.check(Path(settings.data))["name"]
    return "\n\n".join(
        [
            f"# Trained on {name}, judged on other sets (identities of {name} are unknown)",
            f"`python benchmarks/trained_faces.py`. {settings.epochs} epochs of {settings.batch_size} faces "
            f"a step, seed {settings.seed}, every system alike. Years: mean error, in brackets its 95 % "
            "bounds, and the mean error with its sign. The best epoch was chosen on the own test pictures, "
            "which flatters it there. Faces of the other sets are cut as the training set was measured to be "
            "cut; of FairFace's bins the error is the distance to the bin.",
            table(header, rows),
        ]
    )


_EPOCHS = ("best", "last")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("runs", type=Path)
    for name, title in TITLES.items():
        parser.add_argument(f"--{name}", type=Path, required=True, help=f"the folder of {title}")
    parser.add_argument("--work", type=Path, required=True, help="folder of the prepared sets")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    runs = finished(given.runs)
    settings = runs[0].settings()
    given.work.mkdir(parents=True, exist_ok=True)
    places = [
        prepared_for(settings.data, getattr(given, name), given.work / name, given.processes)
        for name in TITLES
    ]
    rows = []
    for run in runs:
        rows.append([run.path.name, *(cell for place in (None, *places) for cell in judged(run, place))])
        print(*rows[-1], sep=" | ", flush=True)
    path = given.out / f"trained-faces-{settings.epochs}-epochs.md"
    replace_file(path, (markdown(settings, rows) + "\n").encode())
    print(path)


if __name__ == "__main__":
    command.run(main, "trained_faces")
