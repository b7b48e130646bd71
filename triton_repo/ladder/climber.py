"""Climb the ladder with a bundle, or with every version that a repository serves."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from ssr_client.gather import Crops, gather

from ssr_bundle.bundle import CONTRACT_FILE
from ssr_bundle.contract import Interface
from ssr_bundle.disk import need_folder
from ssr_bundle.errors import SsrError, UsageError
from ssr_bundle.method import MethodBundle, ServedBundle, read_served
from ssr_ops.precision import AUTO, choose_precision
from triton_repo import config as configuration
from triton_repo import pair
from triton_repo import repository as repo
from triton_repo.config import CONFIG_FILE
from triton_repo.flavors import ONNX, SSR, TENSORRT, Flavor, flavor_of
from triton_repo.ladder import engines, over_grpc
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
        for name in self.steps:
            if name not in STEPS:
                raise UsageError(f"rungs: {name!r} is unknown, expected {', '.join(STEPS)}")
        for name in self.precisions or ():
            if name not in PRECISIONS:
                raise UsageError(f"precision: {name!r} is unknown, expected {', '.join(PRECISIONS)}")
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


def verify(path: str, wanted: Wanted, progress: Progress) -> Ladder:
    """Compare every wanted rung of the bundle, or of the repository, at ``path`` with the reference.

    What a rung does wrong becomes a row. Raises :class:`SsrError` for a path that is neither, a damaged
    bundle, pictures without a face, and where nothing at all could be compared.
    """
    ladder = Ladder(path, wanted, progress)
    if (Path(path) / CONTRACT_FILE).exists() or (path == "default" and not Path(path).exists()):
        ladder.bundle(repo.open_bundle(path))
    elif Path(path).is_dir() and any(Path(path).glob(f"*/{CONFIG_FILE}")):
        ladder.repository(Path(path))
    elif not Path(path).exists():
        need_folder(Path(path), "a bundle or a model repository")
    else:
        raise SsrError(
            f"{path}: neither a bundle (no {CONTRACT_FILE}) nor a model repository (no */{CONFIG_FILE})"
        )
    rows = ladder.rows
    if wanted.require_tensorrt and all(row.step != "tensorrt" for row in rows):
        raise SsrError(f"{path}: --require-tensorrt, but no model of it is served by TensorRT")
    if all(row.verdict == "not run" or (row.step, row.verdict) == ("reference", "ok") for row in rows):
        why = next((f"{row.name}: {row.reason}" for row in reversed(rows) if row.reason), "")
        why = why or f"no model in it is served in what was asked for: {', '.join(wanted.steps)}" + (
            f" in {', '.join(wanted.precisions)}" if wanted.precisions else ""
        )
        raise SsrError(f"{path}: nothing to compare: {why}")
    return ladder


@dataclass
class Ladder:
    """The rows of one bundle or of many, as they are climbed.

    ``photos``: what the folder of pictures gave; ``skipped``: a line a picture that gave nothing;
    ``synthetic``: bundles that learned from drawn faces, by name. Crops are cut once for each interface.
    """

    path: str
    wanted: Wanted
    progress: Progress
    rows: list[Row] = field(default_factory=list)
    photos: str = ""
    skipped: tuple[str, ...] = ()
    synthetic: dict[str, None] = field(default_factory=dict)
    crops: dict[str, Crops] = field(default_factory=dict)

    @property
    def failed(self) -> list[Row]:
        """The rows that fall short."""
        return [row for row in self.rows if row.verdict == "failed"]

    def bundle(self, bundle: ServedBundle) -> None:
        """One bundle, served from a temporary repository."""
        precisions = self.wanted.of("served")
        if isinstance(bundle, MethodBundle):
            precisions = tuple(p for p in precisions if p == "fp32")
        with contextlib.ExitStack() as stack:
            bench = over_grpc.bench_rungs(bundle, precisions, stack) if precisions else []
            self._climb(bundle, [*self._rungs(bundle), *bench])

    def repository(self, path: Path) -> None:
        """Every version that the configurations load, served as they say."""
        with contextlib.ExitStack() as stack:
            late = over_grpc.LateServer(lambda: stack.enter_context(Server(path, watch=False)))
            for folder in repo.model_folders(path):
                model = repo.read_model(folder)
                if model.fault:
                    self._fault(model.name, model.fault)
                elif (flavor := flavor_of(model.config)) is None:
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
        bundle, precision = read_served(version.path), configuration.precision(model.config)
        if precision == AUTO and not isinstance(bundle, MethodBundle):
            precision = choose_precision(bundle).precision
        if self.wanted.precisions and precision not in self.wanted.precisions:
            return
        gpu = any(group.kind == group.KIND_GPU for group in model.config.instance_group)
        device = "cuda" if gpu else "cpu"
        frame = pair.is_frame(model.config)  # whose engine is the crops model's
        rungs = [] if frame else list(self._served_from(bundle, flavor, precision))
        if "served" in self.wanted.steps:
            it = over_grpc.ServedVersion(model.name, version.number, bundle, precision, flavor, device, frame)
            rungs.append(it.rung(late))
        self._climb(bundle, rungs, f"{model.name}/{version.number}")

    def _fault(self, model: str, reason: str) -> None:
        self.rows.append(Row(model, "version", verdict="failed", reason=reason))

    def _rungs(self, bundle: ServedBundle) -> Iterator[Rung]:
        """All but the served one."""
        for _ in self.wanted.of("torch"):
            yield engines.torch_rung(bundle)
        if isinstance(bundle, MethodBundle):
            if "fp32" in self.wanted.of("onnx"):
                yield engines.onnx_rung(bundle, "fp32")
            return
        for precision in self.wanted.of("native"):
            yield from engines.native_rungs(bundle, precision)
        for precision in self.wanted.of("onnx"):
            yield engines.onnx_rung(bundle, precision)
        for precision in self.wanted.of("tensorrt"):
            yield engines.tensorrt_rung(bundle, precision, self.progress)

    def _served_from(self, bundle: ServedBundle, flavor: Flavor, precision: str) -> Iterator[Rung]:
        """What a model of this flavor serves from, in this process."""
        if flavor is ONNX and "onnx" in self.wanted.steps:
            yield engines.onnx_rung(bundle, precision)
        if isinstance(bundle, MethodBundle):
            return
        if flavor is SSR and "native" in self.wanted.steps:
            yield from engines.native_rungs(bundle, precision)
        if flavor is TENSORRT and "tensorrt" in self.wanted.steps:
            yield engines.served_plan(bundle, precision)

    def _climb(self, bundle: ServedBundle, rungs: Iterable[Rung], model: str = "") -> None:
        self.progress("reference")
        sets = [golden_pictures(bundle)]
        if self.wanted.images is not None:
            images = self._cut(self.wanted.images, bundle.contract.interface).images
            tick = partial(self.progress, "reference", total=len(images))
            sets.append(Pictures("photos", images, len(images), reference_answers(bundle, images, tick)))
        self.rows += climb(engines.recorded(bundle), sets[:1], bundle.contract, model)
        for rung in rungs:
            self.progress(" ".join(filter(None, (model, rung.step, rung.precision, rung.by))))
            rows = climb(rung, sets, bundle.contract, model)
            if rung.step == "tensorrt" and self.wanted.require_tensorrt:
                rows = [row if row.drift else replace(row, verdict="failed") for row in rows]
            self.rows += rows
        if bundle.contract.provenance.get("synthetic"):
            self.synthetic[bundle.contract.name] = None

    def _cut(self, folder: Path, interface: Interface) -> Crops:
        if interface.sha256 not in self.crops:
            try:
                import cv2  # noqa: F401
            except ImportError:
                raise SsrError("--images: OpenCV is not installed: pip install 'ssr-client[photo]'") from None
            tick = partial(self.progress, f"faces in {folder}")
            crops = gather(folder, interface, self.wanted.jitter, self.wanted.detector, tick)
            self.skipped = crops.skipped
            self.photos = (
                f"{folder}: {crops.faces} faces in {len(crops.files)} pictures, {len(crops.images)} crops"
            )
            self.crops[interface.sha256] = crops
        return self.crops[interface.sha256]
