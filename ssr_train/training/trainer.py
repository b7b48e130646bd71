"""The training loop: a system's loss, Adam, the step schedule, and a run that resumes to the last bit.

Every random choice of a step (augmentation, dropout) and of an epoch (order) is a function of the
seed, the epoch and the step, so a checkpoint needs no generator state: a resumed run computes what
the uninterrupted one would have, on the same device with the same number of threads and processes.
"""

from __future__ import annotations

import io
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ssr_bundle.errors import Interrupted, SsrError
from ssr_bundle.signals import once_per_request
from ssr_train.data.dataset import Dataset
from ssr_train.data.protocols import Split
from ssr_train.data.transforms import random_matrices, to_network, warp
from ssr_train.progress import Reporter
from ssr_train.training import output
from ssr_train.training.folder import RunFolder, Settings
from ssr_train.training.logs import Log
from ssr_train.training.memory import keep_freed_memory
from ssr_train.training.processes import Processes, local_device
from ssr_train.training.schedule import learning_rate
from ssr_train.training.start import ORDER, STEP, build, check_data, derive, initialise
from ssr_train.training.supply import FaceBatch, Supply, cut
from ssr_train.training.synchronised import synchronise
from ssr_train.zoo.ssrnet import SSRNetSystem
from ssr_train.zoo.system import System

CHECKPOINT = 2
"""Form of the checkpoint; 1 was SSR-Net's alone."""
_EVALUATION_BATCH = 256
_STOPPING = (signal.SIGINT, signal.SIGTERM)


class Divergence(SsrError):
    """The loss or an answer is no longer finite."""


class Trainer:
    """One run's state and its loop. ``system`` is trained; ``evaluated``, which validates and is saved, is
    it, or its running average."""

    def __init__(
        self,
        folder: RunFolder,
        settings: Settings,
        data: Dataset,
        split: Split,
        reporter: Reporter,
        checkpoint_every: int,
        processes: Processes,
    ) -> None:
        keep_freed_memory()
        torch.set_num_threads(settings.threads)
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
        self.folder, self.settings, self.data, self.split = folder, settings, data, split
        self.reporter, self.checkpoint_every, self.processes = reporter, checkpoint_every, processes
        self.log = Log(None, 0, reporter.say)
        self.asked = 0  # by a signal here: its number
        self.stop = 0  # by one anywhere, which all processes hear of in the same step
        self.device = torch.device(local_device(settings.device))
        self.share = processes.share(settings.batch_size)
        self.steps = len(split.train) // settings.batch_size
        self.system = self._initial_system()
        self.supply = Supply(data, self.device)
        self.average: AveragedModel | None = None
        self.evaluated = self.system
        if settings.ema is not None:
            rule = get_ema_multi_avg_fn(settings.ema)  # type: ignore[no-untyped-call]
            self.average = AveragedModel(self.system, multi_avg_fn=rule, use_buffers=True)
            self.evaluated = cast(System, self.average.module)
        self.optimizer = torch.optim.Adam(self.system.parameters(), lr=settings.lr, fused=True)
        self.epoch = self.step = self.seen = 0
        self.error_sum = self.seconds = 0.0
        self.history: list[dict[str, Any]] = []
        self.best: dict[str, Tensor] = {}
        if folder.checkpoint_file.exists():
            self._load()
        self.parallel: nn.Module = self.system
        if processes.count > 1:
            where = [self.device.index] if self.device.type == "cuda" else None
            self.parallel = nn.parallel.DistributedDataParallel(self.system, device_ids=where)

    @property
    def position(self) -> int:
        """Steps done, over all epochs."""
        return self.epoch * self.steps + self.step

    @property
    def best_row(self) -> dict[str, Any]:
        """History row with the least validation MAE, the first of equals."""
        return min(self.history, key=lambda row: float(row["val_mae"]))

    @property
    def constant_mae(self) -> float:
        """Validation MAE of always answering the training faces' mean age, in years."""
        mean = self.data.ages[self.split.train].mean(dtype=np.float64)
        return float(np.abs(self.data.ages[self.split.validation] - mean).mean())

    def fit(self, log: str) -> Path:
        """Train to the last epoch, and return the folder of the best epoch's weights.

        ``log`` is one of :data:`ssr_train.training.logs.KINDS`. Raises :class:`Interrupted` after SIGINT or
        SIGTERM, state saved; :class:`Divergence` with the batch saved when the loss is not finite.
        """
        logged = log == "tensorboard" and self.processes.first
        self.log = Log(self.folder.logs if logged else None, self.position, self.reporter.say)
        try:
            with _stop_signals(self):
                while self.epoch < self.settings.epochs:
                    self._train_epoch()
        finally:
            self.log.close()
        return self.finish()

    def _train_epoch(self) -> None:
        s = self.settings
        rate = learning_rate(s.lr, self.epoch, s.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        order = np.random.default_rng((s.seed, ORDER, self.epoch)).permutation(self.split.train)
        batches = cut(order, s.batch_size)[self.step : self.steps]
        started = time.monotonic() - self.seconds
        self.reporter.begin(self.epoch, s.epochs, self.steps, self.step)
        supplied = self.supply.stream(batch[self.share] for batch in batches)
        for batch, faces in zip(batches, supplied, strict=True):
            self._train(batch, faces)
            self.seconds = time.monotonic() - started
            self.reporter.step(self.step, self.error_sum / self.seen)
            last = self.epoch + 1 == s.epochs and self.step == self.steps
            if self.stop or (self.step % self.checkpoint_every == 0 and not last):
                self.save()
            if self.stop:
                raise Interrupted(
                    f"stopped in epoch {self.epoch + 1} of {s.epochs}, step {self.step} of {self.steps}",
                    self.stop,
                )
        self._end_epoch(rate, started)

    def finish(self) -> Path:
        """Write the best and the last epoch's weights and the curves; return the best one's folder."""

        def leave() -> None:
            self.folder.plot(self.history, self.constant_mae)
            self._write("last epoch", self.history[-1], last=True)
            self.evaluated.load_state_dict(self.best)
            self._write("best epoch by validation MAE", self.best_row, last=False)

        self.processes.alone(leave)
        return self.folder.bundle if isinstance(self.system, SSRNetSystem) else self.folder.system

    def _initial_system(self) -> System:
        system = build(self.settings)
        check_data(self.settings, self.data, self.split, system.input_size)
        if not self.folder.checkpoint_file.exists():
            initialise(system, self.settings, self.data.ages[self.split.train])
        system.to(self.device)
        system.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if self.processes.count > 1:
            synchronise(system, self.processes, self.device)
        return system

    def _inputs(self, faces: FaceBatch, part: slice) -> Tensor:
        """The step's network inputs of ``faces``, ``part`` of the batch; begins the step's random choices."""
        torch.manual_seed(derive(self.settings.seed, STEP, self.epoch, self.step))
        images = to_network(faces.images)
        if self.settings.augment:
            images = warp(images, random_matrices(self.settings.batch_size)[part])
        return images

    def _train(self, batch: NDArray[np.int64], faces: FaceBatch) -> None:
        """One step on ``batch``, of which ``faces`` are this process's."""
        images = self._inputs(faces, self.share)
        self.system.train()
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.precision == "bf16"):
            outputs = self.parallel(images)
        loss = self.system.loss(outputs, faces.ages)
        with torch.no_grad():
            errors = (self.system.decode(outputs) - faces.ages).abs().sum()
            sums = torch.stack([loss.detach() * len(images), errors]).double()
        asked = [self.asked == number for number in _STOPPING]
        sums = torch.cat([sums, torch.tensor(asked, dtype=sums.dtype, device=sums.device)])
        loss_sum, error_sum, *heard = self.processes.sum(sums).tolist()
        self.stop = max((number for number, n in zip(_STOPPING, heard, strict=True) if n), default=0)
        if not np.isfinite(loss_sum):
            self._diverged(loss_sum / len(batch), batch)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        if self.average is not None:
            self.average.update_parameters(self.system)
        self.step += 1
        self.seen += len(batch)
        self.error_sum += error_sum
        rate = self.optimizer.param_groups[0]["lr"]
        self.log.step(self.position, loss_sum / len(batch), error_sum / len(batch), rate)

    def _end_epoch(self, rate: float, started: float) -> None:
        val_mae = self._validate(self.processes)
        if not np.isfinite(val_mae):
            raise Divergence(f"epoch {self.epoch + 1}: the validation MAE is {val_mae}; try a smaller --lr")
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
            self.best = {name: value.cpu().clone() for name, value in self.evaluated.state_dict().items()}
        self.log.epoch(self.position, self.history[-1])
        self.epoch, self.step, self.seen, self.error_sum, self.seconds = self.epoch + 1, 0, 0, 0.0, 0.0
        self.save()
        self.processes.alone(lambda: self.folder.write_history(self.history))
        self.reporter.end(self.history[-1], improved)

    @torch.no_grad()
    def _validate(self, processes: Processes) -> float:
        """MAE in years over the validation faces, shared by ``processes``.

        Eval mode, fp32, no augmentation, unclipped answers.
        """
        self.evaluated.eval()
        pieces = cut(self.split.validation, _EVALUATION_BATCH)
        mine = range(processes.rank, len(pieces), processes.count)
        errors = torch.zeros(len(self.split.validation), dtype=torch.float64, device=self.device)
        supplied = self.supply.stream(pieces[i] for i in mine)
        for i, faces in zip(mine, supplied, strict=True):
            answers = self.evaluated.predict(to_network(faces.images))
            begin = i * _EVALUATION_BATCH
            errors[begin : begin + len(answers)] = (answers - faces.ages).abs().double()
        return float(processes.sum(errors).mean())

    def _diverged(self, loss: float, batch: NDArray[np.int64]) -> None:
        """Write the step's network inputs, and say so."""

        def keep() -> None:
            faces = self.supply.take(batch)
            pictures, ages = self._inputs(faces, slice(None)).cpu().numpy(), faces.ages.cpu().numpy()
            self.folder.write(
                self.folder.bad_batch,
                lambda f: np.savez_compressed(f, index=batch, images=pictures, ages=ages),
            )

        self.processes.alone(keep)
        raise Divergence(
            f"epoch {self.epoch + 1}, step {self.step + 1}: the loss is {loss}; the batch is in "
            f"{self.folder.bad_batch}; try a smaller --lr than {self.settings.lr:g}"
        )

    def save(self) -> None:
        """Replace the checkpoint."""

        def write() -> None:
            state = {
                "format": CHECKPOINT,
                "settings": self.settings.to_json(),
                "system": self.system.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "average": self.average.state_dict() if self.average is not None else None,
                "best": self.best,
                "history": self.history,
                "position": [self.epoch, self.step, self.seen],
                "sums": [self.error_sum, self.seconds],
            }
            whole = io.BytesIO()  # through memory: on a full disk torch.save says nothing of the disk
            torch.save(state, whole)
            self.folder.write(self.folder.checkpoint_file, lambda f: f.write(whole.getbuffer()))

        self.processes.alone(write)

    def _load(self) -> None:
        path = self.folder.checkpoint_file
        try:
            state = torch.load(path, map_location=self.device, weights_only=True)
            if state.get("format") != CHECKPOINT:
                raise SsrError(
                    f"{path}: form {state.get('format', 1)} of another version of this program, expected "
                    f"{CHECKPOINT}; finish the run with that version, or --force starts anew"
                )
            if state["settings"] != self.settings.to_json():
                raise SsrError(f"{path}: was saved under other settings than {self.folder.settings_file}")
            self.system.load_state_dict(state["system"])
            self.optimizer.load_state_dict(state["optimizer"])
            if self.average is not None:
                self.average.load_state_dict(state["average"])
            self.best = {name: value.cpu() for name, value in state["best"].items()}
            self.history = state["history"]
            self.epoch, self.step, self.seen = state["position"]
            self.error_sum, self.seconds = state["sums"]
        except SsrError:
            raise
        except Exception as error:  # torch.load has no error type of its own
            first = (str(error).splitlines() or [type(error).__name__])[0]
            raise SsrError(f"{path}: not a readable checkpoint ({first}); --force starts anew") from None

    def _write(self, which: str, row: dict[str, Any], *, last: bool) -> None:
        """Let the system fit what it fits after training, and write it with its provenance."""

        def training_faces() -> Iterator[tuple[Tensor, Tensor]]:
            for images, ages in self.supply.stream(cut(self.split.train, _EVALUATION_BATCH)):
                yield to_network(images), ages

        metrics = {
            "train_mae": row["train_mae"],
            "val_mae": row["val_mae"],
            "val_mae_best": self.best_row["val_mae"],
            "val_mae_last": self.history[-1]["val_mae"],
            "val_mae_of_mean_age": self.constant_mae,
        }
        if not isinstance(self.evaluated, SSRNetSystem):
            self.evaluated.eval()
            with torch.no_grad():
                self.evaluated.finish(training_faces)
            metrics["val_mae_finished"] = self._validate(Processes())
        weights = f"{which} ({row['epoch']})"
        about = output.provenance(self.settings, self.data, self.split, weights, metrics)
        output.write(self.folder, self.evaluated, about, self.data.crop, last=last)


@contextmanager
def _stop_signals(trainer: Trainer) -> Iterator[None]:
    """Let SIGINT and SIGTERM end the current step and save; when asked again, end at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(number: int, again: bool) -> None:
        if again:
            raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)
        trainer.asked = number

    before = {number: signal.signal(number, once_per_request(ask)) for number in _STOPPING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
