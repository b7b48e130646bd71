"""Measures how a model serves under given settings: a real tritonserver over a temporary repository."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

from ssr_client.bench import bench
from ssr_client.client import AgeClient

from ssr_bundle.disk import new_folder
from ssr_bundle.errors import SsrError, UsageError
from ssr_bundle.machine import CpuMeter
from ssr_bundle.scratch import scratch
from triton_repo import config as configuration
from triton_repo.config import CONFIG_FILE, check_range
from triton_repo.server import Server
from triton_repo.settings import ServingSettings, with_settings

LONGEST_ROUND = 2.0
"""Seconds that one measurement of one candidate takes at most."""
LEAST_RATE = 10 / LONGEST_ROUND
"""Requests a second below which a round says nothing."""


class TuneError(SsrError):
    """Something that cannot be tuned, or a search that found nothing."""


@dataclass(frozen=True)
class Workload:
    """What clients send: requests of ``crops`` crops, ``concurrency`` of them under way at any time, or, with
    ``rate`` above 0, so many a second that arrive by chance."""

    crops: int = 16
    concurrency: int = 8
    rate: float = 0.0

    def __post_init__(self) -> None:
        check_range("crops", self.crops, 1, 4096)
        check_range("concurrency", self.concurrency, 1, 1024)
        if self.rate != 0 and not LEAST_RATE <= self.rate <= 1e6:
            raise UsageError(f"rate: must lie in {LEAST_RATE:g}..1e6 requests a second, got {self.rate:g}")

    def __str__(self) -> str:
        how = f"{self.rate:g} requests/s by chance" if self.rate else f"{self.concurrency} requests at once"
        return f"{how}, {self.crops} crops each"


@dataclass(frozen=True)
class Round:
    """One short measurement; CPU shares are of one core."""

    crops_per_second: float
    p50_ms: float
    p99_ms: float
    mean_batch: float
    server_cpu: float
    client_cpu: float


@dataclass
class Trial:
    """ServingSettings and what they measured; ``engine``: what computed, ``int8 amx``."""

    settings: ServingSettings
    rounds: list[Round] = field(default_factory=list)
    engine: str = ""

    def value(self, name: str) -> float:
        """Median over the rounds of a field of :class:`Round`."""
        return float(median(getattr(r, name) for r in self.rounds))

    def to_json(self) -> dict[str, Any]:
        return {
            **asdict(self.settings),
            "engine": self.engine,
            "rounds": len(self.rounds),
            **{name: self.value(name) for name in Round.__dataclass_fields__ if self.rounds},
        }


class Bench(contextlib.ExitStack):
    """A server of its own on free ports; the repository that is tuned is only read.

    Each settings tried is a model of its own, so that any of them can take its turn at once; those that no
    longer take part are unloaded. ``config``: the parsed configuration that the settings are written into;
    ``bundle``: the version folder that they serve.
    """

    def __init__(self, config: Any, bundle: Path, workload: Workload) -> None:
        super().__init__()
        self._config, self._bundle, self._workload = config, bundle.absolute(), workload
        self._repository = self.enter_context(scratch("tune"))
        self._clients: dict[ServingSettings, Any] = {}
        self._names: dict[ServingSettings, str] = {}
        self._server: Server | None = None
        self._numbers = count(1)

    @property
    def version(self) -> str:
        """The server's version; empty before the first settings are up."""
        return str(self._server.control.metadata()["version"]) if self._server else ""

    def keep(self, wanted: Sequence[ServingSettings]) -> None:
        """Load these settings and unload all others."""
        for settings in [s for s in self._names if s not in wanted]:
            if (client := self._clients.pop(settings, None)) is not None:
                client.close()
            folder = self._repository / self._names.pop(settings)
            # Renamed first: what the server's view sees is there as a whole or not at all.
            hidden = folder.rename(folder.with_name(f".{folder.name}"))
            shutil.rmtree(hidden)
        for settings in wanted:
            if settings in self._names:
                continue
            config = with_settings(self._config, settings)
            config.name = self._names[settings] = f"c{next(self._numbers)}"
            # Whatever versions the model pins, here there is one, under the number 1.
            config.version_policy.latest.num_versions = 1
            with new_folder(self._repository / config.name) as model:
                (model / "1").symlink_to(self._bundle)
                (model / CONFIG_FILE).write_text(configuration.to_text(config), encoding="utf-8")
        if self._server is None:
            self._server = self.enter_context(Server(self._repository, watch=False, strict=True))
        else:
            self._server.refresh()
        for failure in self._server.failures:
            raise TuneError(f"the server cannot serve a candidate: {failure.reason}")

    def measure(self, trial: Trial, seconds: float) -> Round:
        """Load the settings of ``trial`` for so long and append what was measured."""
        assert self._server is not None
        if (client := self._clients.get(trial.settings)) is None:
            client = AgeClient(self._server.grpc_url, self._names[trial.settings], wait=30)
            self._clients[trial.settings] = self.enter_context(client)
        warm_up = 0.0 if trial.rounds else 0.2
        cpu = CpuMeter(self._server.pid)
        load = self._workload
        result = bench(
            client, load.concurrency, load.crops, seconds, warm_up, rate=load.rate, seed=len(trial.rounds)
        )
        shares = cpu.share, result.client_cpu
        trial.engine = result.engine
        latencies = result.p50_ms, result.p99_ms
        trial.rounds.append(Round(result.images_per_second, *latencies, result.mean_batch, *shares))
        return trial.rounds[-1]
