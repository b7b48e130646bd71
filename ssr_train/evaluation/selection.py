"""Which pictures weights are tested on, and whether they learned from any of them."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from ssr_bundle.contract import Crop
from ssr_bundle.errors import SsrError
from ssr_bundle.method import ServedBundle
from ssr_train import data as datasets
from ssr_train.data.cut_of import check_cut, same_cut
from ssr_train.data.dataset import Dataset, need_ages
from ssr_train.data.protocols import Split, leak, make_split
from ssr_train.evaluation.asked import Source
from ssr_train.evaluation.intervals import TooFew
from ssr_train.inference import Runner, Years
from ssr_train.progress import bar, drawing_bar

DRAWN = "Drawn faces (synthetic): these numbers say nothing of photos of people."

COUNT = 4000
"""Faces drawn where no count is said."""

_CHUNK = 1024

Index = NDArray[np.int64]


@dataclass(frozen=True)
class Origin:
    """What provenance records of the pictures that weights learned from; None where it records nothing.

    ``data`` describes them; ``name`` is their set's, ``drawn`` too if it is a drawn one. ``chosen``: whether
    the epoch was chosen by the validation error. ``initial``: weights they started from.
    """

    data: str | None = None
    name: str | None = None
    drawn: str | None = None
    count: int | None = None
    seed: int | None = None
    protocol: str | None = None
    fold: int = 0
    data_sha256: str | None = None
    labels_sha256: str | None = None
    chosen: bool = False
    initial: str | None = None

    @classmethod
    def of(cls, provenance: Mapping[str, Any]) -> Origin:
        """Read a bundle's or a system's provenance.

        The first runs recorded no protocol, theirs was random; later ones no name of the set, and the hash of
        the labels as the data's.
        """
        name = provenance.get("data_name") or _name_by_command(provenance)
        if name is None or "data" not in provenance:
            return cls()
        return cls(
            data=str(provenance["data"]),
            name=name,
            drawn=name if name in datasets.NAMES else None,
            count=_integer(provenance.get("count")),
            seed=_integer(provenance.get("seed")),
            protocol=str(provenance.get("protocol", "random")),
            fold=_integer(provenance.get("fold")) or 0,
            data_sha256=provenance.get("data_sha256"),
            labels_sha256=provenance.get("labels_sha256", provenance.get("data_sha256")),
            chosen=str(provenance.get("weights", "")).startswith("best epoch"),
            initial=provenance.get("initial_weights_sha256"),
        )

    def split(self, faces: Dataset, seed: int) -> Split | None:
        """The run's own split, if ``faces`` (drawn by ``seed``) are the run's by their labels, wherever they
        lie and however they were cut."""
        if self.protocol is None or self.seed is None:
            return None
        if self.drawn is not None:
            same = self._draws(faces, seed) and len(faces) == self.count
        else:
            same = self.labels_sha256 == faces.labels_sha256
        return make_split(faces, self.protocol, self.seed, fold=self.fold) if same else None

    def learned_from(self, faces: Dataset, seed: int) -> Index | None:
        """Which of ``faces`` (drawn by ``seed``) the weights learned from; None where that cannot be told.

        Of drawn faces that are some of the run's, or more than those, all that the run had count.
        """
        if self.data is None:
            return None
        if (split := self.split(faces, seed)) is not None:
            return split.train
        if self.drawn is not None:
            shared = self.count if self._draws(faces, seed) else 0
            return None if shared is None else np.arange(min(shared, len(faces)))
        return None if faces.name == self.name else np.empty(0, np.int64)

    def cut_otherwise(self, faces: Dataset) -> bool:
        """Whether ``faces``, the run's own by their labels, were prepared otherwise than for the run."""
        return self.drawn is None and self.data_sha256 not in {faces.sha256, faces.labels_sha256}

    def _draws(self, faces: Dataset, seed: int) -> bool:
        """Whether a drawn set of this name and ``seed`` holds the pictures that the run drew."""
        from ssr_train.data.synthetic import VERSION

        drawn_alike = f"generator version {VERSION}," in (self.data or "")
        return faces.name == self.drawn and seed == self.seed and drawn_alike


@dataclass(frozen=True)
class Selection:
    """The pictures ``index`` of ``faces``; ``lines`` say which they are, and what is known of the leak.

    ``trained``: how many of them the weights learned from; None where that is not known. ``choosing``: how
    many chose the epoch of the weights. ``seed``: of a drawn set, None of another.
    """

    faces: Dataset
    index: Index
    lines: tuple[str, ...]
    trained: int | None
    choosing: int = 0
    seed: int | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "data": self.faces.description,
            "data_sha256": self.faces.sha256,
            "synthetic": self.faces.synthetic,
            "bins": int(self.faces.spans[self.index].binned.sum()),
            "selection": list(self.lines),
            "chose_epoch": self.choosing,
        }

    @property
    def drawn(self) -> str:
        """What a title says of them, if they are drawn faces."""
        return " on drawn faces (synthetic)" if self.faces.synthetic else ""

    @contextmanager
    def suffices(self) -> Iterator[None]:
        """Let the error that there are too few of them say how to come by more."""
        try:
            yield
        except TooFew as error:
            name, count = self.faces.name, len(self.index)
            more = "give a larger set" if self.seed is None else f"--data {name} --count N draws more"
            raise TooFew(f"{error}; half of the {count:,} pictures are held out: {more}") from None


def select(
    source: Source,
    origin: Origin,
    console: Console,
    *,
    run_data: str | None = None,
    fresh_seed: int,
    crop: Crop | None,
    whose: str,
) -> Selection:
    """Load what ``source`` names and choose the pictures to test weights of ``origin`` on.

    ``run_data``: what a run's settings name as its data. ``fresh_seed``: of drawn faces, where none is said.
    ``crop``: how the weights of ``whose`` want faces cut, None where they do not say.
    Raises :class:`SsrError` if there is nothing to load, if the pictures are cut otherwise, or if the weights
    learned from one of them, unless ``source`` allows it.
    """
    name, count, seed = _named(source, origin, run_data, fresh_seed)
    faces = load(name, count, seed, source.workers, console)
    if crop is not None:
        check_cut(crop, faces, f"--data {name}", whose)
    recorded = origin.split(faces, seed)
    split = recorded
    if source.protocol is not None:
        split = make_split(faces, source.protocol, seed, fold=source.fold)
    elif source.fold:
        raise SsrError("--fold belongs to --protocol leave-one-subject-out")
    index = np.arange(len(faces)) if split is None else split.test
    if not len(index):
        raise SsrError(f"{name}: no pictures to test on")
    known = origin.learned_from(faces, seed)
    trained = None if known is None else int(np.isin(index, known).sum())
    if trained and not source.allow_training_images:
        raise SsrError(
            f"{trained:,} of the {len(index):,} pictures are among those of the training run and say nothing "
            f"of others: give others{' (--seed)' if origin.drawn else ''}, leave out --data for the run's "
            "own test pictures, or say --allow-training-images"
        )
    lines = [f"data: {faces.description}"]
    if name in datasets.NAMES:
        lines[0] += f", seed {seed}"
    lines.append(f"test: all {len(faces):,} pictures" if split is None else f"test: {split}")
    lines.append(str(leak(faces, split)) if split is not None else _leak_of(origin, faces))
    if trained:
        lines.append(
            f"WARNING: {trained:,} of the {len(index):,} test pictures are among those of the training run"
        )
    elif trained is None:
        lines.append("WARNING: whether the weights learned from these pictures is not recorded")
    choosing = 0
    if recorded is not None and origin.chosen:
        choosing = int(np.isin(index, recorded.validation).sum())
    if choosing:
        lines.append(
            f"note: {choosing:,} of the {len(index):,} pictures also chose the epoch of these weights, whose "
            "errors on them are the smaller for it"
        )
    if faces.synthetic and crop is not None and faces.crop is not None and not same_cut(crop, faces.crop):
        lines.append("note: drawn faces are cut otherwise than these weights want")
    if recorded is not None and origin.cut_otherwise(faces):
        lines.append("note: the weights learned from pictures of this set that were prepared otherwise")
    if origin.initial is not None:
        lines.append("note: the weights started from others; what those learned from is not checked")
    return Selection(faces, index, tuple(lines), trained, choosing, seed if name in datasets.NAMES else None)


def select_for(
    bundle: ServedBundle, source: Source, console: Console, *, fresh_seed: int, ages_for: str | None = None
) -> Selection:
    """:func:`select` for ``bundle``; what ``ages_for`` names refuses a set with bins of ages."""
    chosen = select(
        source,
        Origin.of(bundle.contract.provenance),
        console,
        fresh_seed=fresh_seed,
        crop=bundle.contract.interface.crop,
        whose=str(bundle.path),
    )
    if ages_for is not None:
        need_ages(chosen.faces, f"--data {source.data}", ages_for)
    return chosen


def load(name: str, count: int, seed: int, workers: int, console: Console) -> Dataset:
    """The data set ``name`` with a progress bar while faces are drawn."""
    if workers < 1:
        raise SsrError(f"--workers must be at least 1, got {workers}")
    with drawing_bar(console, count) as progress:
        return datasets.load(name, count=count, seed=seed, workers=workers, progress=progress)


def ask(runner: Runner, faces: Dataset, index: Index, console: Console) -> Years:
    """The runner's answers (M,) to the pictures ``index``, read a piece at a time."""
    with bar(console, runner.name, len(index)) as tick:
        parts = [
            runner.predict(faces.images[index[start : start + _CHUNK]], tick)
            for start in range(0, len(index), _CHUNK)
        ]
    return np.concatenate(parts)


def _named(source: Source, origin: Origin, run_data: str | None, fresh_seed: int) -> tuple[str, int, int]:
    """Name, count and seed of the set to load."""
    if source.data is not None:
        drawn = source.data in datasets.NAMES
        if not drawn and source.count is not None:
            raise SsrError(f"--count belongs to drawn faces, {source.data} is what it is")
        default = fresh_seed if drawn else origin.seed or 0
        seed = default if source.seed is None else source.seed
        return source.data, COUNT if source.count is None else source.count, seed
    name = run_data or origin.drawn
    if name is None or (origin.seed is None or origin.count is None):
        raise SsrError(
            "give --data: "
            + (
                f"where the pictures lie that these weights learned from ({origin.data}) is not recorded"
                if origin.data
                else "what these weights learned from is not recorded"
            )
        )
    if name not in datasets.NAMES and not Path(name).exists():
        raise SsrError(f"{name}: the run's pictures do not lie there any more; say where they do: --data DIR")
    if source.count is not None or source.seed is not None:
        raise SsrError("--count and --seed belong to --data; without it the run's own pictures are tested")
    return name, origin.count, origin.seed


def _name_by_command(provenance: Mapping[str, Any]) -> str | None:
    """The set's name where the command alone tells it: that of a drawn set, or of what is described."""
    try:
        words = shlex.split(str(provenance.get("command", "")))
    except ValueError:  # no command line, whoever wrote it
        return None
    given = words[words.index("--data") + 1] if "--data" in words[:-1] else None
    if given is None or given in datasets.NAMES:
        return given
    return str(provenance.get("data", "")).partition(":")[0]


def _leak_of(origin: Origin, faces: Dataset) -> str:
    if origin.data is None:
        return "leak: what the weights learned from is not recorded"
    if faces.synthetic:
        return "leak: none, drawn faces of persons that the weights did not learn from"
    if origin.drawn is not None:
        return "leak: none, the weights learned from drawn faces"
    return (
        f"leak: not counted, the weights learned from another set ({origin.data}), maybe of the same persons"
    )


def _integer(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
