"""How well a network answers faces that are cut in one way, and what a cut is worth against others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from ssr_client.errors import BadInput
from ssr_client.preprocess import filled

from ssr_bundle.bundle import Bundle
from ssr_bundle.contract import IMAGE_SIZE, Crop
from ssr_bundle.crop import cuts
from ssr_bundle.report import plain
from ssr_bundle.scratch import scratch
from ssr_ops import Engine
from ssr_ops.golden import write_bundle
from ssr_train.crops.faces import Faces
from ssr_train.crops.search import Errors, Trial
from ssr_train.data.cutting import Picture
from ssr_train.evaluation.metrics import RESAMPLES, Bounds, Years, correlation, errors

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Half:
    """Some of a set's faces. ``views``: how often each is cut, with its box moved a little."""

    faces: Faces
    rows: Rows
    views: int = 1


@dataclass(frozen=True)
class Result:
    """One cut on one half of a set. ``regret``: mean error less that of the set's own best cut on the same
    faces. Bounds are bootstrap intervals, of the regret too (the same faces are drawn for both)."""

    label: str
    crop: Crop | None
    mae: float
    mae_bounds: Bounds | None
    bias: float
    bias_bounds: Bounds | None
    correlation: float | None = None
    correlation_bounds: Bounds | None = None
    regret: float | None = None
    regret_bounds: Bounds | None = None

    def to_json(self) -> dict[str, Any]:
        numbers = {name: plain(value) for name, value in vars(self).items() if name != "crop"}
        return numbers | {"crop": None if self.crop is None else self.crop.to_json()}


def halves(faces: Faces, seed: int) -> tuple[Half, Half]:
    """The faces that are searched and those that show what was found: whole persons, or whole files, at
    random."""
    owners = int(faces.owners.max()) + 1
    order = np.random.default_rng((seed, owners)).permutation(owners)
    first = np.isin(faces.owners, order[: (owners + 1) // 2])
    return Half(faces, np.flatnonzero(first)), Half(faces, np.flatnonzero(~first))


class Asked:
    """A bundle's native engine, asked for the ages of BGR crops as the network itself says them, without a
    recalibration of the bundle."""

    def __init__(self, bundle: Bundle, threads: int) -> None:
        with scratch("crop") as folder:
            if bundle.contract.recalibration is not None:
                plain = replace(bundle.contract, recalibration=None, files={})
                bundle = write_bundle(folder / "plain", plain, bundle.parameters())
            self._engine = Engine(bundle, threads=threads)

    def ages(self, crops: Picture) -> Years:
        images = crops if self._engine.colour == "bgr" else crops[..., ::-1]
        return self._engine.predict(images).astype(np.float64)

    def of_trial(
        self, halves: Sequence[Half], box: str, tick: Callable[[], None]
    ) -> Callable[[Trial], Errors]:
        """What the search asks: the mean error on each half of a crop."""

        def measure(trial: Trial) -> Errors:
            crop, found = trial.crop(box), []
            for half in halves:
                try:
                    views = [self.ages(half.faces.cut(half.rows, crop, view)) for view in range(half.views)]
                except BadInput:  # a face lies outside its picture then
                    found.append(float("inf"))
                else:
                    lost = [np.abs(half.faces.signed(answers, half.rows)) for answers in views]
                    found.append(float(np.mean(lost)))
            tick()
            return tuple(found)

        return measure

    def on(self, half: Half, crop: Crop, *, antialiased: bool = False) -> Years:
        """Answers to the faces of ``half`` as ``crop`` cuts them."""
        if not antialiased:
            return self.ages(half.faces.cut(half.rows, crop))
        return self.ages(np.stack([_antialiased(half.faces, i, crop) for i in half.rows]))


def result(
    label: str,
    crop: Crop | None,
    answers: Years,
    half: Half,
    own: Years | None = None,
    *,
    varies: bool = True,
) -> Result:
    """Errors of ``answers``, with bounds; ``own`` are the answers of the set's own best crop. ``varies``:
    False for one answer for all, which correlates with nothing."""
    faces, rows = half.faces, half.rows
    owners = np.unique(faces.owners[rows], return_inverse=True)[1].astype(np.int64)
    names, zero = owners.astype(np.str_), np.zeros(len(rows))
    signed = faces.signed(answers, rows)
    found = errors(signed, zero, names, resamples=RESAMPLES)
    regret = None
    if own is not None:
        lost = np.abs(signed) - np.abs(faces.signed(own, rows))
        regret = errors(lost, zero, names, resamples=RESAMPLES)
    correlated = correlation(answers, faces.ages[rows], owners) if varies else (None, None)
    return Result(
        label,
        crop,
        found.mae,
        found.mae_bounds,
        found.bias,
        found.bias_bounds,
        correlation=correlated[0],
        correlation_bounds=correlated[1],
        regret=None if regret is None else regret.bias,
        regret_bounds=None if regret is None else regret.bias_bounds,
    )


def _antialiased(faces: Faces, number: int, crop: Crop) -> Picture:
    """The face as ``crop`` cuts it, but each pixel the mean of what it covers where the face is shrunk."""
    picture = faces.pictures[number]
    (part,) = cuts([faces.boxes[number]], crop, *picture.shape[:2])
    way = cv2.INTER_AREA if min(map(len, part)) > IMAGE_SIZE else cv2.INTER_LINEAR
    size = (IMAGE_SIZE, IMAGE_SIZE)
    return np.asarray(cv2.resize(filled(picture, part, crop.border), size, interpolation=way), np.uint8)
