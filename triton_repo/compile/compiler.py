"""From a bundle to a plan: graph, replay in ONNX Runtime, build, cache."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from pathlib import Path

from ssr_bundle.bundle import Bundle
from ssr_ops.export import PRECISIONS
from ssr_ops.export.names import network_sha256
from triton_repo.compile import builder, gpu
from triton_repo.compile.builder import COMPATIBILITY, Watch
from triton_repo.compile.cache import PlanCache
from triton_repo.compile.library import (
    INSTALL,
    ArgumentError,
    CompileError,
    Library,
    NotBuildable,
    NotInstalled,
    Target,
    open_library,
)
from triton_repo.compile.plan import Plan, Recipe, write_plan

LARGEST_BATCH = 4096

BATCHES = (1, 16, 64)
"""Crops at once that a plan is for unless told otherwise: smallest, tuned for, largest."""


def compile_plan(
    bundle: Bundle,
    precision: str,
    targets: Iterable[str] | None = None,
    *,
    batches: tuple[int, int, int] = BATCHES,
    cache: Path | None = None,
    library: str | Library | None = None,
    compatibility: str = "exact",
    force: bool = False,
    say: Callable[[str], None] | None = None,
    watch: Watch | None = None,
) -> Plan:
    """The plan of ``bundle`` in ``precision`` (:data:`PRECISIONS`), from the cache or built now.

    ``targets``: one plan for all of these GPUs, ahead of time (``tensorrt_rtx``); None: the GPU at hand, or
    without one all of ``Library.targets``. ``batches``: smallest, tuned for, largest. ``cache``: a folder, by
    default ``plans`` in the project's cache. ``library``: ``tensorrt`` or ``tensorrt_rtx``, else the one that
    fits. ``compatibility``: which other GPUs a plan of ``tensorrt`` serves (``exact``, ``same-capability``,
    ``ampere+``). ``force``: build even if the cache has it. ``say`` gets one line when it builds: why.

    The graph handed to the builder is replayed in ONNX Runtime first. The plan is not run here: see
    ``replay_plan``. Raises :class:`CompileError`, or ``ExportError`` and ``ReplayError`` of the graph.
    """
    if precision not in PRECISIONS:
        raise ArgumentError(f"precision: expected {', '.join(PRECISIONS)}, got {precision!r}")
    smallest, tuned, largest = batches
    if not 1 <= smallest <= tuned <= largest <= LARGEST_BATCH:
        raise ArgumentError(
            f"batch: expected 1 <= smallest <= tuned for <= largest <= {LARGEST_BATCH}, "
            f"got {','.join(map(str, batches))}"
        )
    if compatibility not in COMPATIBILITY:
        raise ArgumentError(f"compatibility: expected {', '.join(COMPATIBILITY)}, got {compatibility!r}")
    wanted = None if targets is None else tuple(sorted({Target.parse(t) for t in targets}))
    card = gpu.find()
    used = library if isinstance(library, Library) else _choose(library, wanted, card)
    chosen = _targets(used, wanted, card)
    if compatibility != "exact" and used.ahead_of_time:
        raise ArgumentError(f"compatibility: {used} takes targets instead, such as sm_86,sm_89")
    try:
        from ssr_ops.export.network import build_onnx
        from ssr_ops.export.runtime import replay_onnx
    except ModuleNotFoundError as error:
        raise NotInstalled(f"{error.name} is not installed: pip install 'ssr-serve[tensorrt]'") from None

    graph = build_onnx(bundle, precision).SerializeToString(deterministic=True)
    recipe = Recipe(
        model=bundle.contract.name,
        precision=precision,
        library=used.name,
        version=used.version,
        targets=tuple(map(str, chosen)),
        gpu="" if used.ahead_of_time or card is None else card.name,
        compatibility=compatibility,
        batches=batches,
        revision=builder.REVISION,
        interface_sha256=bundle.contract.interface.sha256,
        weights_sha256=bundle.contract.weights_sha256,
        network_sha256=network_sha256(bundle.contract, precision),
        onnx_sha256=hashlib.sha256(graph).hexdigest(),
    )
    kept = PlanCache(cache)
    found, reason = kept.find(recipe)
    if found is not None and not force:
        return found
    reason = reason or "asked to build again"
    if say is not None:
        say(f"{recipe.model} {precision}: building with {used} for {', '.join(recipe.targets)}: {reason}")
    replayed = asdict(replay_onnx(graph, bundle, f"{recipe.model} {precision}"))
    card_name = re.sub(r"[^A-Za-z0-9]", "-", recipe.gpu) or "any"
    begin = time.monotonic()
    data, layers = builder.build(
        used,
        graph,
        chosen,
        recipe.batches,
        compatibility=compatibility,
        timing=kept.folder / "timing" / f"{used.name}-{used.version}-{card_name}",
        watch=watch,
    )
    seconds = time.monotonic() - begin
    plan = kept.add(recipe, lambda folder: write_plan(folder, data, recipe, layers, replayed, seconds))
    return replace(plan, rebuilt=True, reason=reason)


def _choose(name: str | None, wanted: tuple[Target, ...] | None, card: gpu.Gpu | None) -> Library:
    """``tensorrt`` for the GPU at hand, which Triton serves; ``tensorrt_rtx`` for any other."""
    if name is not None:
        return open_library(name)
    here = card is not None and (wanted is None or wanted == (card.target,))
    try:
        return open_library("tensorrt" if here else "tensorrt_rtx")
    except NotInstalled:
        return open_library()


def _targets(library: Library, wanted: tuple[Target, ...] | None, card: gpu.Gpu | None) -> tuple[Target, ...]:
    if not library.ahead_of_time:
        if card is None:
            raise NotBuildable(f"{library} builds on a GPU and there is none: {INSTALL['tensorrt_rtx']}")
        if wanted is not None and wanted != (card.target,):
            raise CompileError(
                f"target: {library} builds for the GPU at hand ({card}) alone, not for "
                f"{', '.join(map(str, wanted))}: {INSTALL['tensorrt_rtx']}"
            )
        return (card.target,)
    if wanted is not None:
        if not wanted:
            raise ArgumentError(f"target: none given, expected {', '.join(map(str, library.targets()))}")
        for target in wanted:
            if target not in library.targets():
                raise CompileError(f"target: {library.refusal(target, str(target))}")
        return wanted
    if card is None:
        return library.targets()
    if card.target not in library.targets():
        raise NotBuildable(
            f"{library.refusal(card.target, f'the GPU at hand, {card}')}: {INSTALL['tensorrt']}; "
            "for another machine, name its target"
        )
    return (card.target,)
