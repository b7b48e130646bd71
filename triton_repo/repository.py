"""The model repository on disk: read it, build it, publish a version, roll back.

``<repo>/<model>/config.pbtxt`` and ``<repo>/<model>/<version>/`` (a bundle, and what was compiled of it for
the model's flavor). A version appears by one rename, after its files were checked and its golden record
was replayed, and is never changed again. ``.tmp-*``, ``.withdrawn-<version>`` and ``.replaced-<model>``
folders are neither versions nor models: no server reads them. Whoever makes a ``.tmp-ssr-serve-*`` holds the
lock of the folder above it, so that the next holder knows it for what a kill left, and removes it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ssr_bundle import disk
from ssr_bundle.bundle import CONTRACT_FILE, Bundle, read_bundle
from ssr_bundle.contract import check_model_name
from ssr_bundle.detector import DetectorBundle, copy_detector, read_detector
from ssr_bundle.errors import SsrError
from ssr_bundle.method import MethodBundle, MethodContract, ServedBundle, ServedContract, read_served
from ssr_ops import Detector
from ssr_ops.detector_replay import replay_detector
from ssr_ops.precision import AUTO
from ssr_ops.shipped import default_bundle, default_detector
from triton_repo import artifacts, pair
from triton_repo import config as configuration
from triton_repo.artifacts import Say
from triton_repo.cached import check_not_cached
from triton_repo.config import CONFIG_FILE, Options
from triton_repo.flavors import FLAVORS, ONNX, SSR, Flavor, flavor_of, named

LARGEST_VERSION = (1 << 63) - 1
"""A tritonserver that meets the folder of a larger one ends, at that moment and at every start after it."""

_LEFT = re.compile(r"\.tmp-(ssr-serve-.+|[1-9][0-9]*|config\.pbtxt)-[a-z0-9_]{8}")
_MOST_SHOWN = 200


class RepositoryError(SsrError):
    """A repository that is not one, or a change to it that cannot be made."""


@dataclass(frozen=True)
class Version:
    """One version folder. ``fault`` is empty when its files are whole and fit the configuration."""

    number: int
    path: Path
    contract: ServedContract | None
    fault: str = ""


@dataclass(frozen=True)
class Model:
    """One model folder, its versions newest first. ``config`` is None when ``fault`` says why."""

    name: str
    path: Path
    config: Any
    versions: tuple[Version, ...]
    fault: str = ""
    text: str = ""  # of config.pbtxt

    @property
    def good(self) -> list[Version]:
        return [v for v in self.versions if not v.fault]

    @property
    def foreign(self) -> bool:
        """A model that ``ssr-serve`` did not build: served as it is, unverified."""
        return self.config is not None and flavor_of(self.config) is None

    def kept(self) -> list[Version]:
        """The good versions that the configuration's policy loads, newest first."""
        numbers = configuration.kept_versions(self.config, [v.number for v in self.good])
        return [v for v in self.good if v.number in numbers]


def model_folders(repository: Path) -> list[Path]:
    """Folders that can hold a model. Raises :class:`RepositoryError` if there is no such repository.

    A model that a kill left under the name ``.replaced-<model>`` is put back first.
    """
    disk.need_folder(repository, "a model repository (`ssr-serve build` makes one)", RepositoryError)
    disk.put_back(repository)
    return sorted(p for p in repository.iterdir() if p.is_dir() and not p.name.startswith("."))


def version_folders(model: Path) -> dict[int, Path]:
    """Version folders: named by a positive number without leading zeros, however large."""
    return {int(p.name): p for p in model.iterdir() if re.fullmatch(r"[1-9][0-9]*", p.name) and p.is_dir()}


def read_model(folder: Path) -> Model:
    """Read a model folder and verify every version's files; faults of any kind are told, not raised."""
    try:
        if quote(os.fsencode(folder.name), safe="") != folder.name:
            # A server takes what stands in a URL as it is written.
            why = "a server cannot be told to load such a name, expected letters, digits, '_', '.', '-'"
            raise RepositoryError(f"{str(folder)!r}: {why}")
        found = version_folders(folder)
        text = configuration.read_text(folder) if _needs_config(folder, found.values()) else ""
        config = configuration.parse(text, str(folder / CONFIG_FILE))
        if config.name and config.name != folder.name:
            raise RepositoryError(
                f"{folder / CONFIG_FILE}: names the model {config.name!r}, its folder {folder.name!r}"
            )
        if not (config.backend or config.platform) and any(map(_holds_bundle, found.values())):
            raise RepositoryError(
                f"{folder / CONFIG_FILE}: names no backend, but the versions are bundles: is it whole? "
                "`ssr-serve build --force` makes the model anew"
            )
        check_not_cached(folder, config)
    except Exception as error:
        return Model(folder.name, folder, None, (), told(error, folder))
    partner = pair.partner(folder, config)
    versions = tuple(
        read_version(n, path, config, partner) for n, path in sorted(found.items(), reverse=True)
    )
    fault = "" if versions else f"{folder}: no version in it"
    return Model(folder.name, folder, config, versions, fault, text)


def read_version(number: int, path: Path, config: Any, partner: Any = None) -> Version:
    """Verify one version folder against its contract and the model's configuration, and that of the other
    model of the pair, its ``partner``: both serve a version, or neither.

    Whatever it holds, a fault is told and not raised. Of a model that ``ssr-serve`` did not build only the
    number is looked at.
    """
    if number > LARGEST_VERSION:
        fault = f"{path}: no tritonserver takes a version above {LARGEST_VERSION}, so it is kept from it"
        return Version(number, path, None, fault)
    flavor = flavor_of(config)
    if flavor is None:
        return Version(number, path, None)
    try:
        bundle = read_served(path)
        _check_version(bundle, flavor, config)
        pair.check(path, config, bundle.contract)
        if partner is not None:
            check_fits(bundle.contract, partner, str(bundle.path))
    except Exception as error:
        return Version(number, path, None, told(error, path))
    return Version(number, path, bundle.contract)


def told(error: Exception, path: Path) -> str:
    """``error`` in one line: of our own and the system's the message, of any other the kind as well."""
    if isinstance(error, SsrError | OSError):
        return str(error)
    text = " ".join(str(error).split())[:_MOST_SHOWN]
    return f"{path}: cannot be read ({type(error).__name__}{f': {text}' if text else ''})"


def _needs_config(folder: Path, versions: Collection[Path]) -> bool:
    """Whether a folder is no model without config.pbtxt: the server itself makes one for some backends that
    are not ours, by what lies in the versions."""
    missing = not os.path.lexists(folder / CONFIG_FILE)
    return not missing or not versions or any(map(_holds_bundle, versions))


def _holds_bundle(version: Path) -> bool:
    return os.path.lexists(version / CONTRACT_FILE)


def _check_version(bundle: ServedBundle, flavor: Flavor, config: Any) -> None:
    check_fits(bundle.contract, config, str(bundle.path))
    artifacts.check(flavor, bundle, configuration.precision(config), config.max_batch_size)


def check_fits(contract: ServedContract, config: Any, where: str) -> None:
    """Raise :class:`RepositoryError` unless the served configuration can serve this contract."""
    served = configuration.parameter(config, "interface_sha256")
    if contract.interface.sha256 != served:
        raise RepositoryError(
            f"{where}: its interface (sha256 {contract.interface.sha256[:12]}) is not the one that "
            f"{config.name} is served with ({served[:12] or 'none'}): another interface is another model name"
        )
    flavor = flavor_of(config) or SSR
    check_precision(contract, configuration.precision(config), where, flavor)
    if pair.is_frame(config):
        possible = configuration.frame_outputs(contract)
    else:
        possible = configuration.outputs(contract, debug=flavor is SSR)
    for name, dims in configuration.declared(config).items():
        if possible.get(name) != dims:
            why = "is not calibrated" if name.endswith("_interval") else "has no such output"
            raise RepositoryError(
                f"{where}: {config.name} declares the output {name} {dims}, but this bundle {why}"
            )


def check_precision(contract: ServedContract, precision: str, where: str, flavor: Flavor = SSR) -> None:
    """Raise :class:`RepositoryError` for a precision that is unknown, or needs a quantization, and for a
    method that the flavor does not run."""
    if isinstance(contract, MethodContract) and (flavor is not ONNX or precision != "fp32"):
        raise RepositoryError(
            f"{where}: is {contract.method.name}, whose network is an ONNX graph in fp32: flavor onnx serves "
            f"it (--flavor onnx), not flavor {flavor.name} in {precision}"
        )
    if precision not in flavor.precisions:
        expected = ", ".join(flavor.precisions)
        raise RepositoryError(f"{where}: precision {precision!r} is unknown, expected {expected}")
    if precision not in ("fp32", "fp16", AUTO) and contract.quantization is None:
        raise RepositoryError(
            f"{where}: cannot be served in {precision}, it is not quantized: run "
            f"`ssr-train quantize {where} --images DIR` first, with photos of faces in DIR"
        )


def build(
    bundles: Sequence[tuple[str | None, str | os.PathLike[str]]],
    repository: str | os.PathLike[str],
    options: Options | None = None,
    *,
    force: bool = False,
    say: Say = lambda _: None,
) -> list[Model]:
    """Make a model of each flavor of each ``(name, bundle)``; ``None`` takes the contract's name. Returns
    the models. ``say`` is told of compilations.

    Everything is checked before anything is written. A model that exists is refused, unless ``force``
    replaces it as a whole, its versions included; :func:`publish` adds a version. With ``options.frame`` a
    model of flavor ssr gets its frame model beside it (:mod:`triton_repo.pair`).
    """
    options = options or Options()
    detector = _open_detector(options)
    root = Path(repository)
    disk.check_folder(root, "the model repository")
    if not bundles:
        raise RepositoryError("no bundle given")
    disk.put_back(root)
    opened: dict[str, tuple[Flavor, ServedBundle]] = {}
    frames: set[str] = set()
    for given, path in bundles:
        bundle = open_bundle(path)
        for flavor in map(named, dict.fromkeys(options.flavors)):
            name = (bundle.contract.name if given is None else given) + flavor.suffix
            names = [name, name + pair.SUFFIX] if options.frame and flavor is SSR else [name]
            for each in names:
                _check_free(root, each, {*opened, *frames}, force=force)
            if len(names) > 1 and (root / names[1]).is_dir() and pair.frame_folder(root / name) is None:
                raise RepositoryError(
                    f"{root / names[1]}: exists and takes no frames of {name}; remove its folder first"
                )
            frames |= {*names[1:]}
            if not options.frame and pair.frame_folder(root / name) is not None:
                raise RepositoryError(
                    f"{root / name}{pair.SUFFIX}: serves the versions of {name} in frames; build both anew "
                    "with --frame, or remove its folder first"
                )
            check_precision(bundle.contract, options.precision, str(bundle.path), flavor)
            opened[name] = flavor, bundle
    made = {
        name: artifacts.make(flavor, bundle, options.precision, options.max_batch, say)
        for name, (flavor, bundle) in opened.items()
    }
    root.mkdir(parents=True, exist_ok=True)
    built = []
    for name, (flavor, bundle) in opened.items():
        text = configuration.render(name, bundle.contract, options, flavor)
        config, folder = configuration.parse(text), root / name
        with disk.locked(root), _new_folder(folder) as model:
            (model / "1").mkdir()
            contract = _fill(model / "1", bundle, flavor, made[name], config)
            (model / CONFIG_FILE).write_text(text, encoding="utf-8")
        built.append(Model(name, folder, config, (Version(1, folder / "1", contract),)))
        if name + pair.SUFFIX in frames:
            built.append(_build_frame(root / (name + pair.SUFFIX), contract, options, detector))
    return built


def _check_free(root: Path, name: str, taken: Collection[str], *, force: bool) -> None:
    """Raise :class:`RepositoryError` unless a model can be built under this name."""
    check_model_name(name, RepositoryError)
    if name in taken:
        raise RepositoryError(
            f"{name}: given twice, or the frame model of another; name one of them with NAME=BUNDLE"
        )
    if (root / name).exists() and not (root / name).is_dir():
        raise RepositoryError(f"{root / name}: exists and is no folder, so no model to replace")
    if (root / name).exists() and not force:
        raise RepositoryError(
            f"{root / name}: exists; `ssr-serve publish` adds a version to it, --force replaces it"
        )


def _open_detector(options: Options) -> DetectorBundle | None:
    """The detector's bundle, replayed; None where none is to be served."""
    if not options.frame or options.detector == configuration.NO_DETECTOR:
        return None
    path = default_detector() if options.detector == "default" else Path(options.detector)
    detector = read_detector(path)
    replay_detector(detector, Detector(detector))
    return detector


def _build_frame(
    folder: Path, contract: ServedContract, options: Options, detector: DetectorBundle | None
) -> Model:
    """The frame model beside a crops model that was just built."""
    sha256 = configuration.NO_DETECTOR if detector is None else detector.contract.weights_sha256
    text = configuration.render_frame(folder.name, contract, options, sha256)
    with disk.locked(folder.parent), _new_folder(folder) as model:
        if detector is not None:
            copy_detector(detector, model / pair.DETECTOR_FOLDER)
        pair.add_link(model, 1, of=pair.crops_model(folder.name))
        (model / CONFIG_FILE).write_text(text, encoding="utf-8")
    version = Version(1, folder / "1", contract)
    return Model(folder.name, folder, configuration.parse(text), (version,))


def publish(
    bundle: str | os.PathLike[str],
    repository: str | os.PathLike[str],
    model: str | None = None,
    *,
    say: Say = lambda _: None,
) -> Version:
    """Add the bundle as the model's newest version, which is then the one that serves. Nothing is removed.

    What the model's flavor needs compiled is compiled anew; ``say`` is told of it. The number is one above
    every number that was ever used, withdrawn versions included; :class:`RepositoryError` if none is left.
    """
    opened = open_bundle(bundle)
    folder = model_folder(repository, model or opened.contract.name)
    config = configuration.read(folder)
    flavor = flavor_of(config)
    if flavor is None:
        raise RepositoryError(
            f"{folder}: `ssr-serve build` did not make this model of the backend {config.backend!r}, "
            f"expected one of the flavors {', '.join(FLAVORS)}"
        )
    _check_no_frame(config, folder, "published")
    check_not_cached(folder, config)
    frame = pair.frame_folder(folder)
    for each in (config, *([] if frame is None else [configuration.read(frame)])):
        check_fits(opened.contract, each, str(opened.path))
    made = artifacts.make(flavor, opened, configuration.precision(config), config.max_batch_size, say)
    with disk.locked(folder):
        number = _next_number(folder)
        try:
            with _new_folder(folder / str(number)) as version:
                contract = _fill(version, opened, flavor, made, config)
                if frame is not None:  # then the rename that follows is both models'
                    for each in (*version_folders(folder), number):
                        pair.add_link(frame, each)
        finally:
            if frame is not None:
                pair.drop_links(frame)
    return Version(number, folder / str(number), contract)


def rollback(
    repository: str | os.PathLike[str], model: str, to: int | None = None
) -> tuple[Version, list[int]]:
    """Withdraw the versions above ``to``; by default ``to`` is the good version below the newest good one.

    Returns the version that now serves and the numbers withdrawn. Withdrawn folders stay, renamed
    ``.withdrawn-<n>``; publishing such a folder brings its weights back under a new number.
    """
    folder = model_folder(repository, model)
    with disk.locked(folder):
        read = read_model(folder)
        if read.config is None:
            raise RepositoryError(read.fault)
        _check_no_frame(read.config, folder, "rolled back")
        good = {v.number: v for v in read.good}
        if to is None:
            if len(good) < 2:
                raise RepositoryError(
                    f"{folder}: {'only one' if good else 'no'} good version, nothing to roll back to"
                )
            to = sorted(good)[-2]
        if to not in good:
            fault = next((v.fault for v in read.versions if v.number == to), "there is no such version")
            raise RepositoryError(f"{folder}: cannot roll back to version {to}: {fault}")
        moved = [v.number for v in read.versions if to < v.number <= LARGEST_VERSION]
        if not moved:
            raise RepositoryError(f"{folder}: version {to} is the newest already")
        for number in moved:
            (folder / str(number)).rename(folder / f".withdrawn-{number}")
        if (frame := pair.frame_folder(folder)) is not None:
            pair.drop_links(frame)
    return good[to], moved


def _check_no_frame(config: Any, folder: Path, done: str) -> None:
    if pair.is_frame(config):
        raise RepositoryError(
            f"{folder.name}: serves the versions of {pair.crops_model(folder.name)}, and is {done} with it"
        )


def reconfigure(repository: str | os.PathLike[str], model: str, before: str, after: str) -> Path:
    """Replace a model's config.pbtxt by the text ``after``, whole or not at all; returns its path.

    Refused, and nothing changed, if it is no longer ``before``, or if ``after`` could not serve every version
    that is loaded now. A running server takes it up as it takes up any change.
    """
    folder = model_folder(repository, model)
    path = folder / CONFIG_FILE
    with disk.locked(folder):
        if configuration.read_text(folder) != before:
            raise RepositoryError(f"{path}: was changed meanwhile by somebody else, nothing is written")
        config = configuration.parse(after, str(path))
        for version in read_model(folder).kept():
            if version.contract is not None:
                check_fits(version.contract, config, str(version.path))
        disk.replace_file(path, after.encode(), path.stat().st_mode & 0o777)
    return path


def withdrawn(folder: Path) -> dict[int, Path]:
    """Versions that a rollback moved aside."""
    names = ((path, re.fullmatch(r"\.withdrawn-([1-9][0-9]*)", path.name)) for path in folder.iterdir())
    return {int(match[1]): path for path, match in names if match}


def model_folder(repository: str | os.PathLike[str], model: str) -> Path:
    """The folder of an existing model; the error lists those that there are."""
    root = Path(repository)
    names = [p.name for p in model_folders(root)]
    if model not in names:
        raise RepositoryError(f"{root}: no model {model!r} in it; there is {', '.join(names) or 'none'}")
    return root / model


def open_bundle(path: str | os.PathLike[str]) -> ServedBundle:
    """A verified bundle; ``default`` means the one that the project ships."""
    if str(path) == "default" and not Path(path).exists():
        return read_bundle(default_bundle())
    try:
        return read_served(path)
    except (SsrError, OSError):
        raise
    except Exception as error:
        raise RepositoryError(told(error, Path(path))) from error


def open_ssrnet(path: str | os.PathLike[str]) -> Bundle:
    """As :func:`open_bundle`, for what only SSR-Net's bundles have."""
    bundle = open_bundle(path)
    if isinstance(bundle, MethodBundle):
        method = bundle.contract.method.name
        raise RepositoryError(f"{bundle.path}: is the bundle of {method}, expected an SSR-Net's")
    return bundle


def parse_bundle(text: str) -> tuple[str | None, str]:
    """``NAME=BUNDLE`` or ``BUNDLE`` from the command line. A path with '=' that exists is a path."""
    name, equals, path = text.partition("=")
    if not equals or Path(text).exists() or "/" in name:
        return None, text
    if not path:
        raise RepositoryError(f"{text}: no bundle after '='")
    return check_model_name(name, RepositoryError), path


def summary(contract: ServedContract) -> Mapping[str, str]:
    """What an operator wants to know of a version: weights hash, origin, validation MAE, synthetic or not."""
    provenance = contract.provenance
    metrics = provenance.get("metrics")
    mae = metrics.get("val_mae") if isinstance(metrics, dict) else None
    known = isinstance(mae, int | float) and abs(mae) < 1e6  # an integer may be beyond any float
    origin = next((str(provenance[k]) for k in ("data", "source") if provenance.get(k)), "unknown")
    return {
        "weights": contract.weights_sha256,
        "data": origin,
        "mae": f"{mae:.2f}" if known else "",
        "synthetic": "yes" if provenance.get("synthetic") else "no",
    }


def _next_number(folder: Path) -> int:
    """One above every version of the model in ``folder``, but for those that no server could take."""
    used = (n for n in [*version_folders(folder), *withdrawn(folder)] if n <= LARGEST_VERSION)
    number = max(used, default=0) + 1
    if number > LARGEST_VERSION:
        raise RepositoryError(
            f"{folder}: version {LARGEST_VERSION} is there, the last that a tritonserver takes, so none can "
            "follow it: rename its folder, or build a model of another name"
        )
    return number


@contextmanager
def _new_folder(path: Path) -> Iterator[Path]:
    """As :func:`ssr_bundle.disk.new_folder`, for one who holds the lock of the folder above: what a kill left
    there of such folders, and of config.pbtxt, is removed first."""
    for left in path.parent.iterdir():
        if _LEFT.fullmatch(left.name):
            with suppress(OSError):
                disk.remove(left)
    with disk.temporary_folder(path.parent, f"ssr-serve-{path.name}") as made:
        yield made
        disk.replace_folder(made, path)


def _fill(
    folder: Path, bundle: ServedBundle, flavor: Flavor, made: Mapping[str, bytes], config: Any
) -> ServedContract:
    """Copy ``bundle`` and what was compiled of it into a version's empty folder, checked as it is copied."""
    copy = artifacts.write(flavor, made, bundle, folder)
    _check_version(copy, flavor, config)
    return copy.contract
