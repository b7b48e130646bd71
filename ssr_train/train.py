"""The training loop: L1 loss, Adam, step schedule, and a run that resumes to the last bit.

Every random choice of a step (augmentation, dropout) and of an epoch (order) is a function of the
seed, the epoch and the step, so a checkpoint needs no generator state: a resumed run computes what
the uninterrupted one would have, on the same device with the same number of threads.
"""

from __future__ import annotations

import platform
import shlex
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ssr_train.bundle import Bundle, load_model, read_bundle, write_bundle
from ssr_train.contract import Architecture, Contract, Crop, Input, Interface, Output
from ssr_train.data import Dataset
from ssr_train.data.transforms import augment, to_network
from ssr_train.errors import SsrError
from ssr_train.model import SSRNet
from ssr_train.progress import Reporter
from ssr_train.run_folder import RunFolder, Settings
from ssr_train.schedule import learning_rate

VALIDATION_SHARE = 0.2
_ORDER, _STEP, _SPLIT, _INITIAL = 1, 2, 3, 4  # which random choice a derived seed is for
_EVALUATION_BATCH = 256


class Interrupted(SsrError):
    """Training was asked to stop, and has saved its state."""


class Divergence(SsrError):
    """The loss or an answer is no longer finite."""


def split(count: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of the training (80 %) and validation (20 %) faces, a random split fixed by the seed."""
    order = np.random.default_rng((seed, _SPLIT)).permutation(count)
    held_out = round(count * VALIDATION_SHARE)
    return np.sort(order[held_out:]), np.sort(order[:held_out])


def check(settings: Settings) -> None:
    """Raise :class:`SsrError` for settings that cannot train, before any time is spent."""
    s = settings
    for name, least in (("count", 1), ("epochs", 1), ("batch_size", 2), ("step", 1), ("threads", 1)):
        if getattr(s, name) < least:
            raise SsrError(f"--{name.replace('_', '-')} must be at least {least}, got {getattr(s, name)}")
    if s.seed < 0:
        raise SsrError(f"--seed must not be negative, got {s.seed}")
    if not (s.lr > 0 and np.isfinite(s.lr)):
        raise SsrError(f"--lr must be positive and finite, got {s.lr}")
    if not 0 <= s.dropout < 1:
        raise SsrError(f"--dropout must lie in 0..1, got {s.dropout}")
    training, validation = (len(part) for part in split(s.count, s.seed))
    if validation < 1 or training < s.batch_size:
        raise SsrError(
            f"--count {s.count} leaves {training} faces to train on and {validation} to validate on, "
            f"expected at least one batch of {s.batch_size} and one face"
        )
    if s.device.startswith("cuda") and not torch.cuda.is_available():
        raise SsrError(f"--device {s.device}: torch sees no GPU here")
    try:
        torch.empty(0, device=s.device)
    except (RuntimeError, AssertionError) as error:
        raise SsrError(f"--device {s.device}: {str(error).splitlines()[0]}") from None


def initial_bundle(path: Path, architecture: Architecture) -> Bundle:
    """The bundle to start from; refused unless it is the same network for the same input and output."""
    bundle = read_bundle(path)
    found = bundle.contract.architecture
    if found.stages != architecture.stages:
        raise SsrError(f"{path}: has stages {list(found.stages)}, --stages says {list(architecture.stages)}")
    if found != architecture:
        raise SsrError(f"{path}: another network than the one to train: {found}, expected {architecture}")
    if bundle.contract.interface.input.colour != "bgr":
        raise SsrError(f"{path}: made for {bundle.contract.interface.input.colour} input, expected bgr")
    return bundle


def fit(
    folder: RunFolder, settings: Settings, data: Dataset, reporter: Reporter, checkpoint_every: int
) -> Bundle:
    """Train, or go on from the folder's checkpoint, and write the run's bundle.

    Raises :class:`Interrupted` after SIGINT or SIGTERM, state saved; :class:`Divergence` with the
    batch saved when the loss is not finite.
    """
    torch.set_num_threads(settings.threads)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    trainer = Trainer(folder, settings, data, reporter, checkpoint_every)
    with _stop_signals(trainer):
        trainer.run()
    return trainer.finish()


class Trainer:
    """One run's state and its loop."""

    def __init__(
        self,
        folder: RunFolder,
        settings: Settings,
        data: Dataset,
        reporter: Reporter,
        checkpoint_every: int,
    ) -> None:
        self.folder, self.settings, self.data, self.reporter = folder, settings, data, reporter
        self.checkpoint_every = checkpoint_every
        self.stop = False
        self.device = torch.device(settings.device)
        self.architecture = Architecture(stages=settings.stages)
        self.training, self.validation = split(settings.count, settings.seed)
        self.steps = len(self.training) // settings.batch_size
        self.images, self.ages = torch.from_numpy(data.images), torch.from_numpy(data.ages)
        self.model = self._initial_model().to(self.device)
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=settings.lr)
        self.epoch = self.step = self.seen = 0
        self.error_sum = self.seconds = 0.0
        self.history: list[dict[str, Any]] = []
        self.best: dict[str, Tensor] = {}
        if folder.checkpoint_file.exists():
            self._load()

    @property
    def best_row(self) -> dict[str, Any]:
        """History row with the least validation MAE, the first of equals."""
        return min(self.history, key=lambda row: float(row["val_mae"]))

    @property
    def constant_mae(self) -> float:
        """Validation MAE of always answering the training faces' mean age, in years."""
        mean = self.data.ages[self.training].mean(dtype=np.float64)
        return float(np.abs(self.data.ages[self.validation] - mean).mean())

    def run(self) -> None:
        """Train to the last epoch."""
        s = self.settings
        while self.epoch < s.epochs:
            rate = learning_rate(s.lr, self.epoch, s.step)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            order = np.random.default_rng((s.seed, _ORDER, self.epoch)).permutation(self.training)
            started = time.monotonic() - self.seconds
            self.reporter.begin(self.epoch, s.epochs, self.steps, self.step)
            while self.step < self.steps:
                begin = self.step * s.batch_size
                self._train(order[begin : begin + s.batch_size])
                self.seconds = time.monotonic() - started
                self.reporter.step(self.step, self.error_sum / self.seen)
                last = self.epoch + 1 == s.epochs and self.step == self.steps
                if self.stop or (self.step % self.checkpoint_every == 0 and not last):
                    self.save()
                if self.stop:
                    raise Interrupted(
                        f"stopped in epoch {self.epoch + 1} of {s.epochs}, step {self.step} of {self.steps}; "
                        + how_to_resume(self.folder.path)
                    )
            self._end_epoch(rate, started)

    def finish(self) -> Bundle:
        """Write the best and the last epoch's bundles and the curves."""
        self.folder.plot(self.history, self.constant_mae)
        last = {name: value.clone() for name, value in self.model.parameters_by_name().items()}
        self._write(self.folder.last, last, "last epoch", self.history[-1])
        return self._write(self.folder.bundle, self.best, "best epoch by validation MAE", self.best_row)

    def _initial_model(self) -> SSRNet:
        s = self.settings
        torch.manual_seed(_derive(s.seed, _INITIAL))
        model = SSRNet(self.architecture, dropout=s.dropout)
        if s.init is not None and not self.folder.checkpoint_file.exists():
            bundle = initial_bundle(Path(s.init), self.architecture)
            if bundle.contract.weights_sha256 != s.init_sha256:
                raise SsrError(f"{s.init}: no longer the weights this run started from")
            model.load_parameters(load_model(bundle).parameters_by_name())
        return model

    def _train(self, batch: NDArray[np.int64]) -> None:
        """One step of L1 loss on the faces ``batch``."""
        torch.manual_seed(_derive(self.settings.seed, _STEP, self.epoch, self.step))
        index = torch.from_numpy(batch)
        images = to_network(self.images[index].to(self.device))
        ages = self.ages[index].to(self.device)
        if self.settings.augment:
            images = augment(images)
        self.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        loss = nn.functional.l1_loss(self.model(images)[:, 0], ages)
        value = float(loss.detach())
        if not np.isfinite(value):
            self._diverged(f"the loss is {value}", batch, images, ages)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.step += 1
        self.seen += len(batch)
        self.error_sum += value * len(batch)

    def _end_epoch(self, rate: float, started: float) -> None:
        val_mae = self._validate()
        self.history.append(
            {
                "epoch": self.epoch + 1,
                "rate": rate,
                "train_mae": self.error_sum / self.seen,
                "val_mae": val_mae,
                "seconds": round(time.monotonic() - started, 3),
            }
        )
        improved = self.best_row is self.history[-1]
        if improved:
            self.best = {name: value.clone() for name, value in self.model.parameters_by_name().items()}
        self.epoch, self.step, self.seen, self.error_sum, self.seconds = self.epoch + 1, 0, 0, 0.0, 0.0
        self.save()
        self.folder.write_history(self.history)
        self.reporter.end(self.history[-1], improved)

    @torch.no_grad()
    def _validate(self) -> float:
        """MAE in years over the validation faces: eval mode, no augmentation, unclipped answers."""
        self.model.eval()
        errors = []
        for begin in range(0, len(self.validation), _EVALUATION_BATCH):
            index = torch.from_numpy(self.validation[begin : begin + _EVALUATION_BATCH])
            images = to_network(self.images[index].to(self.device))
            errors.append((self.model(images)[:, 0].cpu() - self.ages[index]).abs().double())
        mae = float(torch.cat(errors).mean())
        if not np.isfinite(mae):
            raise Divergence(f"epoch {self.epoch + 1}: the validation MAE is {mae}; try a smaller --lr")
        return mae

    def _diverged(self, what: str, batch: NDArray[np.int64], images: Tensor, ages: Tensor) -> None:
        pictures, labels = images.cpu().numpy(), ages.cpu().numpy()
        self.folder.write(
            self.folder.bad_batch,
            lambda f: np.savez_compressed(f, index=batch, images=pictures, ages=labels),
        )
        raise Divergence(
            f"epoch {self.epoch + 1}, step {self.step + 1}: {what}; the batch is in {self.folder.bad_batch}; "
            f"try a smaller --lr than {self.settings.lr:g}"
        )

    def save(self) -> None:
        """Replace the checkpoint."""
        state = {
            "settings": self.settings.to_json(),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "best": self.best,
            "history": self.history,
            "position": [self.epoch, self.step, self.seen],
            "sums": [self.error_sum, self.seconds],
        }
        self.folder.write(self.folder.checkpoint_file, lambda f: torch.save(state, f))

    def _load(self) -> None:
        path = self.folder.checkpoint_file
        try:
            state = torch.load(path, map_location=self.device, weights_only=True)
            if state["settings"] != self.settings.to_json():
                raise SsrError(f"{path}: was saved under other settings than {self.folder.settings_file}")
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.best = {name: value.cpu() for name, value in state["best"].items()}
            self.history = state["history"]
            self.epoch, self.step, self.seen = state["position"]
            self.error_sum, self.seconds = state["sums"]
        except SsrError:
            raise
        except Exception as error:  # torch.load has no error type of its own
            first = (str(error).splitlines() or [type(error).__name__])[0]
            raise SsrError(f"{path}: not a readable checkpoint ({first}); --force starts anew") from None

    def _write(self, path: Path, parameters: dict[str, Tensor], which: str, row: dict[str, Any]) -> Bundle:
        contract = Contract(
            name="ssrnet",
            interface=Interface(Input("bgr"), Crop(), Output.for_value_range(self.architecture.value_range)),
            architecture=self.architecture,
            provenance=self._provenance(which, row),
        )
        arrays = {name: value.numpy() for name, value in parameters.items()}
        return write_bundle(path, contract, arrays, overwrite=True)

    def _provenance(self, which: str, row: dict[str, Any]) -> dict[str, Any]:
        s = self.settings
        return {
            "command": command_line(s),
            "data": self.data.description,
            "synthetic": self.data.synthetic,
            "licence": self.data.licence,
            "count": s.count,
            "split": f"random 80/20 by seed: {len(self.training)} training faces, "
            f"{len(self.validation)} validation faces",
            "epochs": s.epochs,
            "seed": s.seed,
            "weights": f"{which} ({row['epoch']})",
            "metrics": {
                "unit": "years",
                "train_mae": round(row["train_mae"], 3),
                "val_mae": round(row["val_mae"], 3),
                "val_mae_best": round(self.best_row["val_mae"], 3),
                "val_mae_last": round(self.history[-1]["val_mae"], 3),
                "val_mae_of_mean_age": round(self.constant_mae, 3),
            },
            "initial_weights_sha256": s.init_sha256,
            "device": s.device.split(":")[0],
            "threads": s.threads,
            "versions": {
                "ssr-serve": metadata.version("ssr-serve"),
                "torch": str(torch.__version__),
                "numpy": np.__version__,
                "python": platform.python_version(),
            },
        }


def how_to_resume(path: Path) -> str:
    return f"continue with: ssr-train fit --out {shlex.quote(str(path))} --resume"


def command_line(settings: Settings) -> str:
    """The command that makes this run; ``RUN`` and ``BUNDLE`` stand for the user's folders."""
    s = settings
    words = ["ssr-train", "fit", "--data", s.data, "--out", "RUN", "--count", str(s.count)]
    words += ["--epochs", str(s.epochs), "--batch-size", str(s.batch_size), "--lr", f"{s.lr:g}"]
    words += ["--step", str(s.step), "--seed", str(s.seed), "--stages", ",".join(map(str, s.stages))]
    words += ["--dropout", f"{s.dropout:g}", "--device", s.device, "--threads", str(s.threads)]
    words += ([] if s.augment else ["--no-augment"]) + ([] if s.init is None else ["--init", "BUNDLE"])
    return shlex.join(words)


def _derive(*numbers: int) -> int:
    """One seed from several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])


@contextmanager
def _stop_signals(trainer: Trainer) -> Iterator[None]:
    """Let SIGINT and SIGTERM end the current step and save; a second one ends at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(number: int, frame: FrameType | None) -> None:
        if trainer.stop:
            raise KeyboardInterrupt
        trainer.stop = True

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
