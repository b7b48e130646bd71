"""What are the released age networks worth on real faces?

Errors by age band, sex and group, with bounds; who passes under age at challenge 25; and what 90 % intervals
hold that were calibrated on one set, on another. Each network sees faces cut as it wants: the sets are
prepared by ``ssr-train prepare --one-of-copies --recut --crop BUNDLE`` below --work, where a later run finds
them. Writes results/real-faces.md, .json and .png; with --write also what ``ssr-train card`` shows.

    python benchmarks/real_faces.py --utkface UTKFACE --portraits portraits --fairface fairface --work WORK
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from _coverage import WAYS, Answered, compare, left_out
from _results import RESULTS, table
from crop import NETWORKS

from ssr_bundle import commandline as command
from ssr_bundle.bundle import Bundle
from ssr_bundle.disk import replace_file
from ssr_bundle.fetch import fetch
from ssr_bundle.report import Picture
from ssr_ops.golden import write_bundle
from ssr_train.data.cutting import Cut
from ssr_train.data.prepare import prepare
from ssr_train.evaluation.asked import Asked, Source
from ssr_train.evaluation.challenge import Row, measure_challenge
from ssr_train.evaluation.evaluate import evaluate
from ssr_train.evaluation.intervals import Share
from ssr_train.evaluation.metrics import LEAST_IN_CELL, Errors, Metrics
from ssr_train.evaluation.released import FACTS, PARTS, SAME_SETS, mae_text, rate_text
from ssr_train.keras_import import import_keras

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Json = dict[str, Any]

SETS = {
    "utkface": {
        "title": "UTKFace",
        "distribution": "utkface",
        "caution": "Pictures from the web, copies left out. Identities are unknown, so that bounds may be "
        "too narrow, and the networks' training sets may overlap with it.",
    },
    "portraits": {
        "title": "portraits",
        "distribution": "folder",
        "caution": "Official studio portraits of adults, retouched and well lit: they look younger than they "
        "are, and the answers come out young.",
    },
    "fairface": {
        "title": "FairFace",
        "distribution": "folder",
        "caution": "Hard poses, hats, blur. Labels are bins of ages: the error is the distance to the bin, "
        "and an interval that overlaps the bin holds the age.",
    },
}
OVERLAP = "UTKFace: identities unknown, training sets may overlap"
"""In the title of each table with it."""


def measured(name: str, folders: Mapping[str, Path], given: argparse.Namespace, made: Path) -> Json:
    """Everything about one network."""
    weights = fetch(name)
    bundle = write_bundle(made / name, *import_keras(weights))
    errors: Json = {}
    answered = {}
    for one, folder in folders.items():
        place = prepared(bundle, name, one, folder, given)
        found = evaluate(bundle.path, Source(str(place)), Asked())
        chosen, (judged,) = found.selection, found.judged
        faces = chosen.faces
        errors[one] = of_metrics(judged.metrics)
        answered[one] = Answered(
            judged.answers.astype(np.float64), faces.spans, {"sex": faces.sexes, "group": faces.groups}
        )
        print(name, one, judged.metrics.overall.mae_text, flush=True)
    place = prepared(bundle, name, "utkface", folders["utkface"], given)
    challenge = measure_challenge(bundle.path, Source(str(place)))
    return {
        "source_sha256": bundle.contract.provenance["source_sha256"],
        "crop": bundle.contract.interface.crop.to_json(),
        "errors": errors,
        "challenge": {
            "age": challenge.age,
            "youngest": challenge.youngest,
            "challenge": challenge.challenge,
            "rows": {row.name: of_row(row) for row in challenge.rows},
        },
        "coverage": compare(answered, given.times),
        "left_out": left_out(answered["utkface"], given.times),
    }


def prepared(bundle: Bundle, name: str, one: str, folder: Path, given: argparse.Namespace) -> Path:
    """The set ``one``, cut for the network; made once."""
    place: Path = given.work / f"{name}-{one}"
    cut = Cut(recut=True, crop=bundle.contract.interface.crop)
    options = {
        "workers": given.processes,
        "limit": given.limit if one == "utkface" else None,
        "one_of_copies": True,
    }
    prepare(SETS[one]["distribution"], folder, place, cut, resume=place.exists(), **options)
    return place


def of_metrics(found: Metrics) -> Json:
    """Errors of a set, by what its labels give, and of age band, sex and group at once."""
    parts = {by: {name: of_errors(one) for name, one in named.items()} for by, named in found.parts.items()}
    crossed = [{"names": list(cell.names), **of_errors(cell.errors, cell.count)} for cell in found.cells]
    return {"all": of_errors(found.overall), **parts, "crossed": crossed}


def of_errors(found: Errors | None, count: int = 0) -> Json:
    """To a hundredth of a year; nothing of fewer images than a cell of the evaluation needs."""
    if found is None or found.mae_bounds is None or found.count < LEAST_IN_CELL:
        return {"count": count or (found.count if found else 0), "mae": None, "bounds": None, "bias": None}
    bounds = [round(end, 2) for end in found.mae_bounds]
    return {"count": found.count, "mae": round(found.mae, 2), "bounds": bounds, "bias": round(found.bias, 2)}


def of_row(row: Row) -> Json:
    """Both counts at every challenge age."""
    sides = {"passed": row.passed, "asked": row.asked}
    return {
        side: {f"{age:g}": {"hits": one.hits, "count": one.count} for age, one in shares.items()}
        for side, shares in sides.items()
    }


def bounded(share: Mapping[str, int]) -> Json:
    """Hits and count with their 95 % bounds."""
    found = Share(share["hits"], share["count"]).to_json()
    return {**found, "bounds": [round(end, 4) for end in found["bounds"]]}


def card_facts(numbers: Json) -> Json:
    """What the card shows of ``numbers``: errors by age, sex and group, challenge 25, plain intervals."""
    return {
        "sets": numbers["sets"],
        "networks": {name: _of_card(found) for name, found in numbers["networks"].items()},
    }


def _of_card(found: Json) -> Json:
    challenge = found["challenge"]
    age = f"{challenge['challenge']:g}"
    groups = [name for name in challenge["rows"] if ", " not in name]
    rows = {
        name: {side: bounded(challenge["rows"][name][side][age]) for side in ("passed", "asked")}
        for name in groups
    }
    plain = found["coverage"][WAYS[0].name]
    return {
        "source_sha256": found["source_sha256"],
        "crop": found["crop"],
        "errors": {
            one: {by: part for by, part in errors.items() if by != "crossed"}
            for one, errors in found["errors"].items()
        },
        "challenge": {**challenge, "rows": rows},
        "coverage": {name: round(held[0], 4) for name, held in plain.items()},
    }


def markdown(numbers: Json) -> str:
    """results/real-faces.md."""
    networks, sets = numbers["networks"], numbers["sets"]
    text = [
        "# What the released networks are worth on real faces",
        f"`{numbers['command']}`. Years; in brackets 95 % bounds, by bootstrap over pictures for errors and "
        "binomial for rates; behind them the mean error with its sign, positive where people are taken for "
        f"older; a dash for fewer than {LEAST_IN_CELL} faces. Each network sees faces cut as it wants. The "
        "card of an imported network (`ssr-train card`) shows its part of these numbers.",
        "\n".join(f"- {one['title']}: {one['count']:,} faces. {one['caution']}" for one in sets.values())
        + f"\n- {SAME_SETS}",
        f"## Mean error and sign ({OVERLAP})",
        _errors(networks, [(sets[one]["title"], one, "all", "") for one in sets]),
        "![errors by age, and who passes under age](real-faces.png)",
    ]
    for one, about in sets.items():
        for by in PARTS:
            parts = next(iter(networks.values()))["errors"][one].get(by)
            if parts:
                known = f" ({OVERLAP.partition(': ')[2]})" if one == "utkface" else ""
                text += [
                    f"## {about['title']} by {by}{known}",
                    _errors(networks, [(part, one, by, part) for part in parts]),
                ]
    text += [*_challenge(networks), *_coverage(networks, sets), *_crossed(networks)]
    return "\n\n".join(text) + "\n"


def _errors(networks: Json, rows: Sequence[tuple[str, str, str, str]]) -> str:
    lines = []
    for title, one, by, part in rows:
        found = [network["errors"][one][by] for network in networks.values()]
        each = [errors[part] if part else errors for errors in found]
        lines.append([title, f"{each[0]['count']:,}", *(_error(errors) for errors in each)])
    return table(("faces", "images", *networks), lines)


def _error(errors: Json) -> str:
    return "-" if errors["mae"] is None else f"{mae_text(errors)}, {errors['bias']:+.1f}"


def _challenge(networks: Json) -> list[str]:
    first = next(iter(networks.values()))["challenge"]
    age = f"{first['challenge']:g}"
    text = []
    for side, title, who in (
        ("passed", f"Under age and estimated at {age} or older", f"{first['youngest']:g} to 17"),
        ("asked", f"{age} or older and asked for proof", f"{age} and over"),
    ):
        rows = []
        for name in first["rows"]:
            found = [network["challenge"]["rows"][name][side][age] for network in networks.values()]
            rates = [rate_text(bounded(one)) for one in found]
            rows.append([name, f"{found[0]['count']:,}", *rates])
        text += [
            f"## {title} ({OVERLAP})",
            table((f"UTKFace, {who}", "people", *networks), rows),
        ]
    return [*text, "Every challenge age from 18 to 30 is in real-faces.json."]


def _coverage(networks: Json, sets: Json) -> list[str]:
    columns = {
        "utkface": "UTKFace",
        "worst group": "its worst group",
        "portraits": "portraits",
        "fairface": "FairFace",
    }
    times = next(iter(networks.values()))
    rows = []
    for name, network in networks.items():
        for way, found in network["coverage"].items():
            rows.append([f"{name}: {way}", *(_held(*found[one]) for one in columns)])
    lines = []
    for name, network in networks.items():
        for way in ("pooled", "widest"):
            shares = [one[way] for one in network["left_out"].values()]
            lines.append([f"{name}: {way}", *(f"{100 * share:.1f}" for share in shares)])
    return [
        f"## What 90 % intervals hold, calibrated here and checked there ({OVERLAP})",
        "Share of true ages held, in %, mean of random halves [lowest, highest], and the mean width in "
        "years. Checked are the halves of UTKFace and portraits that did not calibrate, and all of FairFace, "
        f"whose {sets['fairface']['count']} faces leave 3 to 4 points to chance.",
        table(("calibrated on", *columns.values()), rows),
        f"## What 90 % intervals hold of a group that did not calibrate ({OVERLAP})",
        "Share of true ages held, in %: calibrated on UTKFace's other groups, pooled or the widest of them.",
        table(("calibrated on the others", *times["left_out"]), lines),
    ]


def _held(mean: float, low: float, high: float, width: float) -> str:
    return f"{100 * mean:.1f} [{100 * low:.1f}, {100 * high:.1f}], {width:.0f} y"


def _crossed(networks: Json) -> list[str]:
    """UTKFace by age band, sex and group at once."""
    first, *_ = networks.values()
    lines = []
    for number, cell in enumerate(first["errors"]["utkface"]["crossed"]):
        found = [network["errors"]["utkface"]["crossed"][number] for network in networks.values()]
        lines.append([", ".join(cell["names"]), f"{cell['count']:,}", *map(_error, found)])
    return [
        f"## UTKFace by age, sex and group ({OVERLAP.partition(': ')[2]})",
        table(("faces", "images", *networks), lines),
    ]


def draw(figure: Figure, numbers: Json) -> None:
    """Error and sign by age band on UTKFace, and who passes under age by challenge age."""
    left, middle, right = figure.subplots(1, 3)
    for name, network in numbers["networks"].items():
        bands = network["errors"]["utkface"]["age"]
        left.plot(list(bands), [one["mae"] for one in bands.values()], marker=".", label=name)
        middle.plot(list(bands), [one["bias"] for one in bands.values()], marker=".", label=name)
        passed = network["challenge"]["rows"]["everybody"]["passed"]
        ages = [float(age) for age in passed]
        right.plot(ages, [one["hits"] / one["count"] for one in passed.values()], marker=".", label=name)
    middle.axhline(0, color="0.6", linewidth=1)
    right.axvline(25, color="0.6", linewidth=1, linestyle=":")
    right.set(xlabel="challenge age T (years)", title="14 to 17 and estimated at T or older", ylim=(0, 1))
    left.set(ylabel="years", title="mean error by true age")
    middle.set(ylabel="years", title="signed error by true age")
    for axis in (left, middle):
        axis.tick_params(axis="x", rotation=45)
    left.set_ylim(bottom=0)
    right.legend()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    for name, about in SETS.items():
        parser.add_argument(f"--{name}", type=Path, required=True, help=f"the folder of {about['title']}")
    parser.add_argument("--work", type=Path, required=True, help="folder of the prepared sets")
    parser.add_argument("--limit", type=int, help="so many faces of UTKFace")
    parser.add_argument("--times", type=int, default=20, help="random halves of the intervals")
    parser.add_argument("--only", nargs="+", default=list(NETWORKS), choices=NETWORKS)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--write", action="store_true", help=f"write {FACTS.name} of the package too")
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    folders = {name: getattr(given, name) for name in SETS}
    with tempfile.TemporaryDirectory(prefix="ssr-real-") as made:
        networks = {name: measured(name, folders, given, Path(made)) for name in given.only}
    first = next(iter(networks.values()))["errors"]
    limited = f" --limit {given.limit}" if given.limit else ""
    numbers = {
        "command": f"python benchmarks/real_faces.py{limited} --times {given.times}",
        "sets": {
            name: {key: about[key] for key in ("title", "caution")} | {"count": first[name]["all"]["count"]}
            for name, about in SETS.items()
        },
        "networks": networks,
    }
    given.out.mkdir(exist_ok=True)
    replace_file(given.out / "real-faces.json", dumped(numbers))
    replace_file(given.out / "real-faces.md", markdown(numbers).encode())
    title = f"The released networks on real faces ({OVERLAP})"
    picture = Picture("", lambda figure: draw(figure, numbers), (14, 4.2), title)
    replace_file(given.out / "real-faces.png", picture.png())
    if given.write:
        replace_file(FACTS, dumped(card_facts(numbers)))
    print(given.out / "real-faces.md")


def dumped(numbers: Json) -> bytes:
    """JSON with a line for each innermost object."""
    text = json.dumps(numbers, indent=1, ensure_ascii=False)
    for inner in (r"\[[^\[\]{}]*\]", r"\{[^{}]*\}"):
        text = re.sub(inner, lambda found: re.sub(r"\s*\n\s*", " ", found[0]), text)
    return (text + "\n").encode()


if __name__ == "__main__":
    command.run(main, "real_faces")
