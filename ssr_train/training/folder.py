"""The folder of one training run: its settings, checkpoint, history, curves and bundles.

settings.json      what was asked for; ``--resume`` reads it
checkpoint.pt      the whole state, replaced atomically
history.json, .csv every epoch; curves.png plots it
split.json         who trains, validates and tests
bundle/            SSR-Net's best epoch by validation MAE; bundle-last/ the last epoch
system/            the same of another system; system-last/
logs/              TensorBoard's files, where asked for
bad_batch.npz      only after a loss that was not finite
"""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Any, BinaryIO, get_args, get_origin, get_type_hints

from ssr_bundle.bundle import RUN_BUNDLE, RUN_SETTINGS
from ssr_bundle.disk import check_folder, held, replace_file, room_for
from ssr_bundle.errors import SsrError
from ssr_bundle.report import Picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Settings:
    """Everything that decides a run's numbers; the defaults are the paper's recipe.

    ``data``: a drawn set, or the path of a prepared one. ``step``: epochs at one learning rate. ``options``:
    what the system is built with. ``ema``: decay of the averaged weights, None without. ``processes``: how
    many share each batch. ``init`` and ``init_sha256``: the bundle or system that the run starts from.
    """

    data: str = "synthetic"
    count: int = 20000
    epochs: int = 90
    batch_size: int = 50
    lr: float = 0.002
    step: int = 30
    seed: int = 0
    system: str = "ssrnet"
    options: dict[str, Any] = field(default_factory=dict)
    protocol: str = "random"
    fold: int = 0
    augment: bool = True
    device: str = "cpu"
    threads: int = 1
    precision: str = "fp32"
    ema: float | None = None
    processes: int = 1
    init: str | None = None
    init_sha256: str | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Settings:
        """The recorded settings; those of runs from before there were systems mean SSR-Net.

        Raises :class:`SsrError` for other keys and for values of another kind.
        """
        known = {f.name for f in fields(cls)}
        if set(data) == _FIRST_KEYS:
            for name, kind in (("stages", list), ("dropout", float)):
                _require(name, data[name], kind)
            options = {name: data[name] for name in ("stages", "dropout")}
            data = {**cls().to_json(), **{k: v for k, v in data.items() if k in known}, "options": options}
        if set(data) != known:
            raise SsrError(f"settings.json: expected the keys {sorted(known)}, got {sorted(data)}")
        for name, kind in get_type_hints(cls).items():
            _require(name, data[name], kind)
        return cls(**data)


_FIRST_KEYS = {
    *("data", "count", "epochs", "batch_size", "lr", "step", "seed", "stages", "dropout", "augment"),
    *("device", "threads", "init", "init_sha256"),
}
"""Keys of settings.json in the first version, which trained SSR-Net alone."""


def _require(name: str, value: Any, kind: Any) -> None:
    """Raise :class:`SsrError` unless ``value`` is of ``kind``; whole numbers pass for float."""
    kinds = {
        get_origin(part) or part for part in (get_args(kind) if isinstance(kind, UnionType) else (kind,))
    }
    if type(value) not in kinds | ({int} if float in kinds else set()):
        raise SsrError(f"settings.json: {name} is {value!r}, another kind of value is expected")


class RunFolder:
    """Paths and atomic writes of a run at ``path``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.settings_file = path / RUN_SETTINGS
        self.checkpoint_file = path / "checkpoint.pt"
        self.history_json = path / "history.json"
        self.history_csv = path / "history.csv"
        self.curves = path / "curves.png"
        self.bad_batch = path / "bad_batch.npz"
        self.split_file = path / "split.json"
        self.logs = path / "logs"
        self.bundle, self.bundle_last = path / RUN_BUNDLE, path / "bundle-last"
        self.system, self.system_last = path / "system", path / "system-last"

    @property
    def best(self) -> Path | None:
        """The finished run's bundle or system of the best epoch; None while it is unfinished."""
        return next((folder for folder in (self.bundle, self.system) if folder.is_dir()), None)

    @property
    def last(self) -> Path | None:
        """The finished run's bundle or system of the last epoch; None while it is unfinished."""
        return {self.bundle: self.bundle_last, self.system: self.system_last}.get(self.best or self.path)

    @property
    def finished(self) -> bool:
        return self.best is not None

    def start(self, settings: Settings, force: bool) -> None:
        """Begin a new run in the locked folder. Refuses one that holds a run, unless ``force``, and also then
        if the new run is to start from weights that would go with the old one."""
        if self.settings_file.exists():
            if not force:
                state = "a finished run" if self.finished else "an unfinished run"
                raise SsrError(
                    f"{self.path}: holds {state}; --resume continues it, --force starts anew in its place"
                )
            if settings.init is not None and self._holds(Path(settings.init)):
                raise SsrError(
                    f"{self.path}: --force would remove the weights to start from, {settings.init}; choose "
                    "another --out, or copy them to another place first"
                )
            self._clear()
        self.write(self.settings_file, _json(settings.to_json()))

    def settings(self) -> Settings:
        """The recorded settings of the run to resume."""
        try:
            data = json.loads(self.settings_file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise SsrError(f"{self.path}: no run to resume here (no settings.json)") from None
        except ValueError as error:
            raise SsrError(f"{self.settings_file}: not JSON: {error}") from None
        if not isinstance(data, dict):
            raise SsrError(f"{self.settings_file}: expected an object")
        return Settings.from_json(data)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Make the folder and hold it: two trainers in one run would overwrite each other.

        A folder that is no run's is refused before anything is written into it.
        """
        check_folder(self.path, "the run")
        self.path.mkdir(parents=True, exist_ok=True)
        if not self.settings_file.exists() and any(
            f.name != ".lock" and not f.name.startswith(".tmp-") for f in self.path.iterdir()
        ):
            raise SsrError(f"{self.path}: exists and is not a run's folder; choose another --out")
        with held(self.path):
            yield

    def write(self, path: Path, data: bytes | Callable[[BinaryIO], object]) -> None:
        """Replace ``path`` in one step: after a crash it is the old file or the new one, whole.

        On a full disk the old file stays, and :class:`SsrError` says so.
        """
        with room_for(path, "the file from before stays; free some space and go on with --resume"):
            replace_file(path, data)

    def write_history(self, history: list[dict[str, Any]]) -> None:
        """One row an epoch: epoch (from 1), rate, train_mae, val_mae, in years; seconds."""
        self.write(self.history_json, _json(history))
        text = io.StringIO()
        writer = csv.DictWriter(text, list(history[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(history)
        self.write(self.history_csv, text.getvalue().encode())

    def plot(self, history: list[dict[str, Any]], constant_mae: float) -> None:
        """Draw the learning curves, with the error of always answering the mean age for comparison."""

        def draw(figure: Figure) -> None:
            axes = figure.subplots()
            epochs = [row["epoch"] for row in history]
            axes.plot(epochs, [row["train_mae"] for row in history], label="training (augmented, dropout)")
            axes.plot(epochs, [row["val_mae"] for row in history], label="validation")
            axes.axhline(constant_mae, color="0.6", linestyle=":", label="always the mean age")
            axes.set(xlabel="epoch", ylabel="mean absolute error (years)", title=self.path.name)
            axes.set_ylim(bottom=0, top=1.15 * constant_mae)
            axes.legend()

        self.write(self.curves, Picture("learning curves", draw, (8, 4.5)).png())

    def _holds(self, weights: Path) -> bool:
        """Whether the folder ``weights``, or a file that it leads to, lies in this one."""
        here = self.path.resolve()
        return any(p.resolve().is_relative_to(here) for p in (weights, *weights.glob("*")))

    def _clear(self) -> None:
        """Remove what a run writes, its settings last: until then it is a run's folder."""
        written = set(vars(self).values()) - {self.path, self.settings_file}
        for path in (*written, self.settings_file):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=2) + "\n").encode()
