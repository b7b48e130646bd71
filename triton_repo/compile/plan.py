"""A plan on disk: ``model.plan`` and the sidecar that says what it is, written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from ssr_bundle.bundle import Bundle, hash_file
from ssr_bundle.contract import canonical_json
from ssr_bundle.disk import replace_file
from ssr_bundle.errors import SsrError
from ssr_bundle.regular import opened, read_whole, size_of
from ssr_ops.export.names import network_sha256
from triton_repo.compile import gpu
from triton_repo.compile.layers import Layer
from triton_repo.compile.library import CompileError, NotInstalled, Target, open_library

PLAN_FILE = "model.plan"
SIDECAR = "model.plan.json"
FORMAT = 2
_MOST_BYTES, _MOST_SIDECAR_BYTES = 1 << 30, 16 << 20  # some MB and some 10 KB are usual


class PlanError(SsrError):
    """A plan that must not be loaded: damaged, or made for something else than what is at hand."""


@dataclass(frozen=True)
class Recipe:
    """All that determines a plan: equal recipes give interchangeable plans.

    ``gpu``: the card that it was built on; empty if built ahead of time for ``targets``. ``compatibility``:
    see ``builder.COMPATIBILITY``. ``batches``: smallest, tuned for, largest. ``revision``: of our builder.
    """

    model: str
    precision: str
    library: str
    version: str
    targets: tuple[str, ...]
    gpu: str
    compatibility: str
    batches: tuple[int, int, int]
    revision: int
    interface_sha256: str
    weights_sha256: str
    network_sha256: str
    onnx_sha256: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(canonical_json(asdict(self)).encode()).hexdigest()

    def differences(self, other: Recipe) -> list[str]:
        """What ``other`` has differently, each as ``name its, wanted ours``."""
        return [
            f"{f.name} {_short(getattr(other, f.name))}, wanted {_short(getattr(self, f.name))}"
            for f in fields(self)
            if getattr(self, f.name) != getattr(other, f.name)
        ]

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Recipe:
        smallest, tuned, largest = map(int, data["batches"])
        targets = tuple(map(str, data["targets"]))
        return cls(**{**data, "targets": targets, "batches": (smallest, tuned, largest)})


@dataclass(frozen=True)
class Plan:
    """A whole plan. ``rebuilt`` and ``reason``: whether and why this call built it.

    ``onnx``: how far the graph handed to the builder was from the golden record in ONNX Runtime, as recorded
    (``worst``, ``tolerance``, ``unit``, ``images``). ``seconds``: what the build took.
    """

    path: Path
    sidecar: Path
    recipe: Recipe
    sha256: str
    bytes: int
    layers: tuple[Layer, ...]
    onnx: Mapping[str, Any]
    seconds: float
    rebuilt: bool = False
    reason: str = ""

    @property
    def launches(self) -> int:
        """Kernels that an execution launches; 0 where the library gave no layer report."""
        return sum(layer.launches for layer in self.layers)

    @property
    def targets(self) -> tuple[Target, ...]:
        return tuple(map(Target.parse, self.recipe.targets))

    def copy_to(self, folder: Path) -> Path:
        """Write plan and sidecar into ``folder``, replacing what is there; the new plan's path."""
        folder.mkdir(parents=True, exist_ok=True)
        for source in (self.path, self.sidecar):
            replace_file(folder / source.name, source.read_bytes())
        return folder / self.path.name


def write_plan(
    folder: Path,
    data: bytes,
    recipe: Recipe,
    layers: tuple[Layer, ...],
    onnx: Mapping[str, Any],
    seconds: float,
) -> None:
    """Write the pair into ``folder``, which the caller makes visible when both are there."""
    content = {
        "format": FORMAT,
        "recipe": asdict(recipe),
        "plan": {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)},
        "onnx_replay": dict(onnx),
        "seconds": round(seconds, 3),
        "layers": [asdict(layer) for layer in layers],
    }
    (folder / PLAN_FILE).write_bytes(data)
    (folder / SIDECAR).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def read_plan(path: str | os.PathLike[str], bundle: Bundle | None = None) -> Plan:
    """The plan at ``path`` (the file, or its folder), fit to be loaded here.

    Raises :class:`PlanError` naming what is wrong: no sidecar, truncated or altered, another contract than
    ``bundle``'s, another library version or GPU than the one at hand (where there is one).
    """
    plan = load_plan(path)
    if bundle is not None:
        check_contract(plan, bundle)
    check_machine(plan)
    return plan


def load_plan(path: str | os.PathLike[str]) -> Plan:
    """The plan at ``path`` if it is whole, for whatever contract and machine it was built."""
    file = Path(path)
    file = file / PLAN_FILE if file.is_dir() else file
    sidecar = file.with_name(SIDECAR)
    try:
        with opened(file, PlanError) as stream:
            size = size_of(stream)
    except FileNotFoundError:
        raise PlanError(f"{file}: missing; `ssr-serve compile` writes it") from None
    try:
        if size > _MOST_BYTES:
            raise PlanError(f"{file}: {size:,} bytes, expected at most {_MOST_BYTES:,}")
        data = read_whole(sidecar, _MOST_SIDECAR_BYTES, PlanError)
    except FileNotFoundError:
        raise PlanError(f"{file}: no {SIDECAR} beside it, so nothing says what it was built for") from None
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise PlanError(f"{sidecar}: not JSON ({error})") from None
    try:
        if content["format"] != FORMAT:
            raise PlanError(f"{sidecar}: format {content['format']!r}, expected {FORMAT}: build it again")
        plan = Plan(
            path=file,
            sidecar=sidecar,
            recipe=Recipe.from_json(content["recipe"]),
            sha256=str(content["plan"]["sha256"]),
            bytes=int(content["plan"]["bytes"]),
            layers=tuple(map(Layer.from_json, content["layers"])),
            onnx=dict(content["onnx_replay"]),
            seconds=float(content["seconds"]),
        )
        _ = plan.targets
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        if isinstance(error, PlanError):
            raise
        raise PlanError(f"{sidecar}: not a plan's sidecar ({type(error).__name__}: {error})") from None
    if size != plan.bytes:
        raise PlanError(f"{file}: {size} bytes, its sidecar says {plan.bytes}: truncated or altered")
    found = hash_file(file)
    if found.sha256 != plan.sha256:
        raise PlanError(f"{file}: sha256 {found.sha256}, its sidecar says {plan.sha256}: altered")
    return plan


def check_contract(plan: Plan, bundle: Bundle) -> None:
    """Raise :class:`PlanError` unless ``plan`` was built from ``bundle``'s interface, weights and, as
    :func:`ssr_ops.export.names.network_sha256` has it, the rest of its contract."""
    expected = {
        "interface_sha256": bundle.contract.interface.sha256,
        "weights_sha256": bundle.contract.weights_sha256,
        "network_sha256": network_sha256(bundle.contract, plan.recipe.precision),
    }
    for name, value in expected.items():
        if (found := getattr(plan.recipe, name)) != value:
            raise PlanError(
                f"{plan.path}: built for another contract: {name} {_short(found)}, "
                f"the bundle {bundle.path} has {_short(value)}"
            )


def check_machine(plan: Plan) -> None:
    """Raise :class:`PlanError` if the library or the GPU at hand is another than ``plan`` was built for.

    A machine without this library, or without a GPU, cannot load a plan by mistake and passes.
    """
    recipe = plan.recipe
    try:
        here = open_library(recipe.library)
    except NotInstalled:
        here = None
    except CompileError as error:
        raise PlanError(f"{plan.path}: built by {recipe.library} {recipe.version}; here {error}") from None
    if here is not None and here.version != recipe.version:
        raise PlanError(
            f"{plan.path}: built by {recipe.library} {recipe.version}, installed is {here.version}: "
            "build it again"
        )
    card = gpu.find()
    if card is not None and not runs_on(plan, card):
        made = recipe.gpu or ", ".join(recipe.targets)
        raise PlanError(f"{plan.path}: built for {made}, the GPU here is {card}: build it again")


def runs_on(plan: Plan, card: gpu.Gpu) -> bool:
    """Whether ``plan`` may run on ``card``: among its targets, or as its hardware compatibility allows."""
    recipe = plan.recipe
    if recipe.gpu and recipe.compatibility == "ampere+":
        return card.target >= Target(8, 0)
    other = recipe.gpu and recipe.compatibility == "exact" and recipe.gpu != card.name
    return not other and card.target in plan.targets


def _short(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    text = str(value)
    return text[:12] if len(text) == 64 else text or "none"
