"""What ``ssr-serve tune`` may change of a served model: read from config.pbtxt, written back into it."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, fields
from itertools import takewhile
from typing import Any

from triton_repo import config as configuration
from triton_repo.config import ConfigError
from triton_repo.flavors import SSR


@dataclass(frozen=True)
class ServingSettings:
    """``instances`` copies of the engine with ``threads`` threads each; at most ``max_batch`` crops a request
    and an execution; with ``dynamic_batching`` requests are merged, up to a ``preferred`` size if there is
    one, and held back up to ``queue_delay_us`` to reach it; arithmetic in ``precision``."""

    instances: int
    threads: int
    max_batch: int
    queue_delay_us: int = 0
    preferred: tuple[int, ...] = ()
    precision: str = "fp32"
    dynamic_batching: bool = True

    @property
    def cores(self) -> int:
        """How many cores the engine can keep busy."""
        return self.instances * self.threads

    def __str__(self) -> str:
        batch = "/".join(map(str, (*self.preferred, self.max_batch))) if self.dynamic_batching else "as sent"
        delay = f", delay {self.queue_delay_us} us" if self.queue_delay_us else ""
        return f"{self.instances} x {self.threads}, batch {batch}{delay}, {self.precision}"

    def changes(self, after: ServingSettings) -> str:
        """What is another value in ``after``: ``threads 1 -> 2, max_batch 64 -> 32``."""
        pairs = [(f.name, getattr(self, f.name), getattr(after, f.name)) for f in fields(self)]
        return ", ".join(f"{name} {_text(a)} -> {_text(b)}" for name, a, b in pairs if a != b)


def _text(value: object) -> str:
    return " ".join(map(str, value)) or "none" if isinstance(value, tuple) else str(value)


def read_settings(config: Any) -> ServingSettings:
    """The settings of a parsed configuration; raises :class:`ConfigError` for one that tune cannot handle."""
    name = config.name or "this model"
    if config.backend != SSR.backend:
        raise ConfigError(f"{name}: a model of the backend {config.backend!r}, not of ssr")
    groups = list(config.instance_group)
    if len(groups) > 1:
        raise ConfigError(f"{name}: has {len(groups)} instance groups, expected one")
    if groups and groups[0].kind == groups[0].KIND_GPU:
        raise ConfigError(f"{name}: runs on a GPU; tune searches settings of the CPU engine")
    threads = configuration.parameter(config, "threads") or "1"
    if not (threads.isascii() and threads.isdigit()):
        raise ConfigError(f"{name}: parameter threads: {threads!r}, expected a whole number")
    return ServingSettings(
        instances=max(1, groups[0].count) if groups else 1,
        threads=int(threads),
        max_batch=config.max_batch_size,
        queue_delay_us=config.dynamic_batching.max_queue_delay_microseconds,
        # The server itself adds the largest batch as a preferred one.
        preferred=tuple(s for s in config.dynamic_batching.preferred_batch_size if s < config.max_batch_size),
        precision=configuration.precision(config),
        dynamic_batching=config.HasField("dynamic_batching"),
    )


def only_merges(config: Any) -> bool:
    """Whether a configuration's dynamic batching, if it has any, could go and only the merging with it:
    no bound on the queue, priority or order of answers stands in it."""
    block = deepcopy(config.dynamic_batching)
    block.ClearField("preferred_batch_size")
    block.ClearField("max_queue_delay_microseconds")
    return not block.ListFields()


def with_settings(config: Any, settings: ServingSettings) -> Any:
    """A copy of the configuration with these settings; all else stays as it is."""
    changed = deepcopy(config)
    group = changed.instance_group[0] if changed.instance_group else changed.instance_group.add()
    if group.kind == group.KIND_AUTO:
        group.kind = group.KIND_CPU
    group.count = settings.instances
    changed.max_batch_size = settings.max_batch
    if settings.dynamic_batching:
        changed.dynamic_batching.max_queue_delay_microseconds = settings.queue_delay_us
        del changed.dynamic_batching.preferred_batch_size[:]
        changed.dynamic_batching.preferred_batch_size.extend(settings.preferred)
    else:
        changed.ClearField("dynamic_batching")
    for sample in changed.model_warmup:
        if sample.batch_size in (config.max_batch_size, 0) or sample.batch_size > settings.max_batch:
            sample.batch_size = settings.max_batch
    changed.parameters["threads"].string_value = str(settings.threads)
    changed.parameters["precision"].string_value = settings.precision
    return changed


def with_engine_settings(config: Any, settings: ServingSettings) -> Any:
    """A copy of a frame model's configuration with the settings that are its engine's too."""
    changed = deepcopy(config)
    changed.instance_group[0].count = settings.instances
    changed.parameters["threads"].string_value = str(settings.threads)
    changed.parameters["precision"].string_value = settings.precision
    return changed


def notes(text: str) -> list[str]:
    """The comment lines that a config.pbtxt begins with."""
    return list(takewhile(lambda line: line.startswith("#"), text.splitlines()))
