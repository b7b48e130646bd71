"""What the released networks are worth on real faces: measured by ``benchmarks/real_faces.py``, which writes
released.json beside this file, and shown by ``ssr-train card``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ssr_bundle.contract import Contract, Crop
from ssr_bundle.report import Facts, Part, Table

FACTS = Path(__file__).with_name("released.json")

PARTS = ("age", "sex", "group")

SAME_SETS = (
    "The networks' crops were chosen on halves of these three sets (`ssr-train fit-crop`), which flatters "
    "them a little."
)


def facts() -> dict[str, Any]:
    """All of released.json: ``sets`` and ``networks`` by name."""
    data: dict[str, Any] = json.loads(FACTS.read_text(encoding="utf-8"))
    return data


def of(contract: Contract) -> list[Part]:
    """The section of a card for the weights of a released file; empty for others, which are known by the
    sha256 of the file that provenance says they come from."""
    source, known = contract.provenance.get("source_sha256"), facts()
    for network in known["networks"].values():
        if network["source_sha256"] == source:
            return section(network, known["sets"], contract)
    return []


def section(network: Mapping[str, Any], sets: Mapping[str, Any], contract: Contract) -> list[Part]:
    """What was measured of one ``network``, and whether it holds for the bundle of ``contract``."""
    notes = []
    if Crop.from_json(network["crop"]) != contract.interface.crop:
        notes.append("**Measured with another crop than this bundle's**, which moves answers by years.")
    if contract.recalibration is not None:
        notes.append("**Measured without this bundle's recalibration** of the answers.")
    return [
        "## What the released weights are worth on real faces",
        *notes,
        Facts(
            [
                *(f"{one['title']}: {one['count']:,} faces. {one['caution']}" for one in sets.values()),
                SAME_SETS,
            ]
        ),
        Table("", ("faces", "images", "MAE (95 % bounds)", "signed"), error_rows(network, sets)),
        challenge_text(network["challenge"]),
        coverage_text(network["coverage"], sets),
    ]


def error_rows(network: Mapping[str, Any], sets: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """A row for each set, then for its parts by age, sex and group: name, images, MAE with bounds, signed
    error, in years."""
    rows = []
    for name, found in network["errors"].items():
        title = sets[name]["title"]
        rows.append((f"**{title}**", *cells(found["all"])))
        for by in PARTS:
            rows += [(f"{title}, {by} {part}", *cells(one)) for part, one in found.get(by, {}).items()]
    return rows


def cells(one: Mapping[str, Any]) -> tuple[str, str, str]:
    """Images, MAE with bounds, signed error; dashes for too few images."""
    signed = "-" if one["bias"] is None else f"{one['bias']:+.1f}"
    return f"{one['count']:,}", mae_text(one), signed


def mae_text(one: Mapping[str, Any]) -> str:
    """``7.6 [7.5, 7.7]``, in years; a dash for too few images."""
    if one["mae"] is None:
        return "-"
    low, high = one["bounds"]
    return f"{one['mae']:.1f} [{low:.1f}, {high:.1f}]"


def rate_text(share: Mapping[str, Any]) -> str:
    """``50.6 % [46.9, 54.4]``."""
    if not share["count"]:
        return "-"
    low, high = share["bounds"]
    return f"{100 * share['hits'] / share['count']:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


def challenge_text(found: Mapping[str, Any]) -> str:
    """Who passes under age at the challenge age, in a sentence for everybody, and by group."""
    rows = dict(found["rows"])
    everybody = rows.pop("everybody")
    groups = "; ".join(f"{name} {rate_text(one['passed'])}" for name, one in rows.items())
    return (
        f"Challenge {found['challenge']:g} on UTKFace: of the {everybody['passed']['count']:,} faces of "
        f"{found['youngest']:g} to {found['age'] - 1:g}, {rate_text(everybody['passed'])} are estimated at "
        f"{found['challenge']:g} or older and would pass as adults ({groups}). Of those of "
        f"{found['challenge']:g} and over, {rate_text(everybody['asked'])} would be asked for proof."
    )


def coverage_text(found: Mapping[str, Any], sets: Mapping[str, Any]) -> str:
    """What intervals calibrated on half of UTKFace hold, there and elsewhere."""
    held = ", ".join(f"{100 * found[name]:.1f} % on {sets[name]['title']}" for name in sets)
    return (
        f"90 % intervals calibrated on half of UTKFace hold {held} (faces held out), and "
        f"{100 * found['worst group']:.1f} % in UTKFace's worst group. Released weights carry no intervals: "
        "calibrate on faces of your own."
    )
