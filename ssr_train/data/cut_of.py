"""Whether faces are cut as weights want them: read from a file, and compared."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ssr_bundle.bundle import CONTRACT_FILE
from ssr_bundle.contract import Crop
from ssr_bundle.errors import SsrError
from ssr_bundle.method import ServedBundle, read_served
from ssr_bundle.regular import read_whole
from ssr_train.data import prepared
from ssr_train.data.dataset import Dataset

_MARGINS, _POINTS = 0.02, 0.01
"""How far margins (in boxes) and template points (in sides) of one cut may differ: two measurements do."""

_MOST_BYTES = 1 << 20


def read_crop(path: Path) -> Crop:
    """The crop of a bundle, of a prepared set, or of a JSON file that holds one as ``contract.json`` does.

    Raises :class:`SsrError` for a ``path`` that is none of them, or records no crop.
    """
    if (path / CONTRACT_FILE).exists():
        return read_served(path).contract.interface.crop
    if path.is_dir():
        crop = prepared.crop(path)
        if crop is None:
            raise SsrError(f"{path}: does not record how its faces were cut")
        return crop
    try:
        return Crop.from_json(json.loads(read_whole(path, _MOST_BYTES)))
    except (OSError, ValueError) as error:
        if isinstance(error, SsrError):
            raise SsrError(f"{path}: {error}") from None
        raise SsrError(
            f"{path}: expected a bundle, a prepared set, or a JSON file with a contract's crop ({error})"
        ) from None


def crop_of(what: ServedBundle | Path | None, provenance: Mapping[str, Any]) -> Crop | None:
    """How weights want faces cut: a bundle's, or another system's as its ``provenance`` records it."""
    if what is not None and not isinstance(what, Path):
        return what.contract.interface.crop
    recorded = provenance.get("crop")
    return None if recorded is None else Crop.from_json(recorded)


def same_cut(a: Crop, b: Crop) -> bool:
    """Whether two crops are one, but for what measuring leaves open."""
    if (a.box, a.border, a.alignment) != (b.box, b.border, b.alignment):
        return False
    if a.template is not None and b.template is not None:
        pairs = zip(a.template.points, b.template.points, strict=True)
        return all(
            abs(p[i] / a.template.size - q[i] / b.template.size) <= _POINTS for p, q in pairs for i in (0, 1)
        )
    return all(abs(m - n) <= _MARGINS for m, n in zip(a.margin, b.margin, strict=True))


def recorded(faces: Dataset, option: str) -> Crop:
    """How ``faces``, which ``option`` named, were cut; :class:`SsrError` where that is not known."""
    if faces.crop is None:
        raise SsrError(
            f"{option}: {faces.name or 'the set'} does not record how its faces were cut, without which no "
            "photo can be cut alike; prepare it anew (--recut cuts published crops by the detector), or "
            f"write the crop into its {prepared.ABOUT}, as contract.json has it"
        )
    return faces.crop


def check_cut(wanted: Crop, faces: Dataset, option: str, whose: str) -> None:
    """Raise :class:`SsrError` unless ``faces``, which ``option`` named, are cut as ``wanted`` by the weights
    of ``whose``. Drawn faces are not asked: they say nothing of photos."""
    if faces.synthetic:
        return
    found = recorded(faces, option)
    if not same_cut(found, wanted):
        raise SsrError(
            f"{option}: {faces.name or 'the set'} is cut otherwise than {whose} wants, which moves answers "
            f"by years: {found.describe()}; expected {wanted.describe()}. Cut its faces anew: ssr-train "
            f"prepare --recut --crop {whose}"
        )
