"""Climb the ladder with a bundle, or with every version that a repository serves."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from ssr_client.gather import Crops, gather

from ssr_bundle.bundle import CONTRACT_FILE, Bundle, read_bundle
from ssr_bundle.contract import Interface
from ssr_bundle.errors import SsrError, UsageError
from triton_repo import config as configuration
from triton_repo import repository as repo
from triton_repo.config import CONFIG_FILE
from triton_repo.flavors import ONNX, SSR, TENSORRT, Flavor, flavor_of
from triton_repo.ladder import engines, over_grpc, plans
from triton_repo.ladder.pictures import Pictures, golden_pictures, reference_answers
from triton_repo.ladder.row import Row, climb
from triton_repo.ladder.rung import PRECISIONS, STEPS, Rung
from triton_repo.ladder.status import Progress
from triton_repo.server import Server


@dataclass(frozen=True)
class Wanted:
    """What to compare.

    ``precisions`` None: every one. In a repository each model is compared in what it serves, if that is
    among them. ``images``: a folder of photos or of 64 x 64 crops; each face of a photo is cut ``jitter``
    times more, as quantizing does.
    ``require_tensorrt``: a TensorRT rung that did not run has failed.
    """

    steps: tuple[str, ...] = tuple(STEPS)
    precisions: tuple[str, ...] | None = None
    images: Path | None = None
    jitter: int = 7
    detector: str = "auto"
    require_tensorrt: bool = False

    def __post_init__(self) -> None:
        _check("rungs", self.steps, tuple(STEPS))
        _check("precision", self.precisions or (), PRECISIONS)
        if self.require_tensorrt and not self.of("tensorrt"):
            raise UsageError("require-tensorrt: no TensorRT rung is among those wanted")
        if not any(self.of(step) for step in self.steps):
            raise UsageError(
                f"precision: {', '.join(self.precisions or ())} is none of {', '.join(self.steps)}'s: "
                + "; ".join(f"{step} has {', '.join(STEPS[step])}" for step in self.steps)
            )

    def of(self, step: str) -> tuple[str, ...]:
        """The wanted precisions of a step."""
        return tuple(p for p in STEPS[step] if p in (self.precisions or PRECISIONS) and step in self.steps)


def _check(what: str, given: Sequence[str], known: Sequence[str]) -> None:
    for name in given:
        if name not in known:
            raise UsageError(f"{what}: {name!r} is unknown, expected {', '.join(known)}")


@dataclass(frozen=True)
class Ladder:
    """What was found. ``photos``: what the folder of pictures gave; ``skipped``: a line a picture that gave
    nothing; ``synthetic``: bundles that learned from drawn faces, by name."""

    path: str
    rows: tuple[Row, ...]
    photos: str
    skipped: tuple[str, ...]
    synthetic: tuple[str, ...]

    @property
    def failed(self) -> list[Row]:
        """The rows that fall short."""
        return [row for row in self.rows if row.verdict == "failed"]


def verify(path: str, wanted: Wanted, progress: Progress) -> Ladder:
    """Compare every wanted rung of the bundle, or of the repository, at ``path`` with the reference.

    What a rung does wrong becomes a row. Raises :class:`SsrError` for a path that is neither, a damaged
    bundle, pictures without a face, and where nothing at all could be compared.
    """
    with contextlib.ExitStack() as stack:
        climber = _Climber(wanted, progress, stack)
        if (Path(path) / CONTRACT_FILE).exists() or (path == "default" and not Path(path).exists()):
            climber.bundle(repo.open_bundle(path))
        elif Path(path).is_dir() and any(Path(path).glob(f"*/{CONFIG_FILE}")):
            climber.repository(Path(path))
        elif not Path(path).exists():
            raise SsrError(f"{path}: does not exist, expected a bundle or a model repository")
        else:
            raise SsrError(
                f"{path}: neither a bundle (no {CONTRACT_FILE}) nor a model repository (no */{CONFIG_FILE})"
            )
    if wanted.require_tensorrt and all(row.step != "tensorrt" for row in climber.rows):
        raise SsrError(f"{path}: --require-tensorrt, but no model of it is served by TensorRT")
    rows = tuple(_required(row) if wanted.require_tensorrt else row for row in climber.rows)
    if all(row.verdict == "not run" or (row.step, row.verdict) == ("reference", "ok") for row in rows):
        why = next((f"{row.name}: {row.reason}" for row in reversed(rows) if row.reason), "")
        why = why or f"no model in it is served in what was asked for: {', '.join(wanted.steps)}" + (
            f" in {', '.join(wanted.precisions)}" if wanted.precisions else ""
        )
        raise SsrError(f"{path}: nothing to compare: {why}")
    return Ladder(path, rows, climber.photos, climber.skipped, tuple(climber.synthetic))


def _required(row: Row) -> Row:
    return row if row.step != "tensorrt" or row.drift else replace(row, verdict="failed")


class _Climber:
    """Collects the rows of one bundle or many; crops are cut once for each interface."""

    def __init__(self, wanted: Wanted, progress: Progress, stack: contextlib.ExitStack) -> None:
        self._wanted, self._progress, self._stack = wanted, progress, stack
        self._crops: dict[str, Crops] = {}
        self.rows: list[Row] = []
        self.photos = ""
        self.skipped: tuple[str, ...] = ()
        self.synthetic: dict[str, None] = {}

    def bundle(self, bundle: Bundle) -> None:
        """One bundle, served from a temporary repository."""
        precisions = self._wanted.of("served")
        bench = over_grpc.bench_rungs(bundle, precisions, self._stack) if precisions else []
        self._climb(bundle, [*self._rungs(bundle), *bench])

    def repository(self, path: Path) -> None:
        """Every version that the configurations load, served as they say."""
        late = over_grpc.LateServer(lambda: self._stack.enter_context(Server(path, watch=False)))
        for folder in repo.model_folders(path):
            model = repo.read_model(folder)
            flavor = None if model.config is None else flavor_of(model.config)
            if model.fault:
                self._fault(model.name, model.fault)
            elif flavor is None:
                reason = f"backend {model.config.backend!r}: not a model of `ssr-serve build`"
                self.rows.append(Row(model.name, "served", verdict="not run", reason=reason))
            else:
                for version in model.versions:
                    if version.fault:
                        self._fault(f"{model.name}/{version.number}", version.fault)
                for version in model.kept():
                    self._version(model, version, flavor, late)

    def _version(
        self, model: repo.Model, version: repo.Version, flavor: Flavor, late: over_grpc.LateServer
    ) -> None:
        bundle, precision = read_bundle(version.path), configuration.precision(model.config)
        if self._wanted.precisions and precision not in self._wanted.precisions:
            return
        gpu = any(group.kind == group.KIND_GPU for group in model.config.instance_group)
        device = "cuda" if gpu else "cpu"
        rungs = list(self._served_from(bundle, flavor, precision))
        if "served" in self._wanted.steps:
            it = over_grpc.ServedVersion(model.name, version.number, bundle, precision, flavor, device)
            rungs.append(it.rung(late))
        self._climb(bundle, rungs, f"{model.name}/{version.number}")

    def _fault(self, model: str, reason: str) -> None:
        self.rows.append(Row(model, "version", verdict="failed", reason=reason))

    def _rungs(self, bundle: Bundle) -> Iterator[Rung]:
        """All but the served one."""
        for _ in self._wanted.of("torch"):
            yield engines.torch_rung(bundle)
        for precision in self._wanted.of("native"):
            yield from engines.native_rungs(bundle, precision)
        for precision in self._wanted.of("onnx"):
            yield engines.onnx_rung(bundle, precision)
        for precision in self._wanted.of("tensorrt"):
            yield plans.tensorrt_rung(bundle, precision, self._progress)

    def _served_from(self, bundle: Bundle, flavor: Flavor, precision: str) -> Iterator[Rung]:
        """What a model of this flavor serves from, in this process."""
        if flavor is SSR and "native" in self._wanted.steps:
            yield from engines.native_rungs(bundle, precision)
        if flavor is ONNX and "onnx" in self._wanted.steps:
            yield engines.onnx_rung(bundle, precision)
        if flavor is TENSORRT and "tensorrt" in self._wanted.steps:
            yield plans.served_plan(bundle, precision)

    def _climb(self, bundle: Bundle, rungs: Iterable[Rung], model: str = "") -> None:
        sets = self._pictures(bundle)
        self.rows += climb(engines.recorded(bundle), sets[:1], bundle.contract, model)
        for rung in rungs:
            self._progress(" ".join(filter(None, (model, rung.step, rung.precision, rung.by))))
            self.rows += climb(rung, sets, bundle.contract, model)
        if bundle.contract.provenance.get("synthetic"):
            self.synthetic[bundle.contract.name] = None

    def _pictures(self, bundle: Bundle) -> list[Pictures]:
        """Golden, and the photos if there are any, as this bundle wants them."""
        self._progress("reference")
        sets = [golden_pictures(bundle)]
        if self._wanted.images is not None:
            images = self._cut(self._wanted.images, bundle.contract.interface).images
            tick = partial(self._progress, "reference", total=len(images))
            sets.append(Pictures("photos", images, len(images), reference_answers(bundle, images, tick)))
        return sets

    def _cut(self, folder: Path, interface: Interface) -> Crops:
        if interface.sha256 not in self._crops:
            try:
                import cv2  # noqa: F401
            except ImportError:
                raise SsrError("--images: OpenCV is not installed: pip install 'ssr-client[photo]'") from None
            tick = partial(self._progress, f"faces in {folder}")
            crops = gather(folder, interface, self._wanted.jitter, self._wanted.detector, tick)
            self.skipped = crops.skipped
            self.photos = (
                f"{folder}: {crops.faces} faces in {len(crops.files)} pictures, {len(crops.images)} crops"
            )
            self._crops[interface.sha256] = crops
        return self._crops[interface.sha256]
