"""The pair of models that serve one bundle: ``NAME`` takes crops, ``NAME-frame`` whole frames.

The frame model has a configuration and a detector of its own. Its versions are links to those of ``NAME``:
the rename that makes a version appear there, or withdraws it, does so for both at once. A link that leads
nowhere is no version.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ssr_bundle.bundle import CONTRACT_FILE, MAX_CONTRACT_BYTES
from ssr_bundle.detector import read_detector
from ssr_bundle.errors import SsrError
from ssr_bundle.method import ServedContract
from ssr_bundle.regular import read_whole
from triton_repo import config as configuration

SUFFIX = "-frame"
"""Of the frame model's name."""

DETECTOR_FOLDER = "detector"
"""In the frame model's folder: the bundle of the detector that it serves, if any."""


def is_frame(config: Any) -> bool:
    """Whether a parsed configuration, if there is one, is that of a frame model."""
    return config is not None and configuration.mode(config) == configuration.FRAME


def crops_model(name: str) -> str:
    """The model whose versions the frame model ``name`` serves."""
    return name.removesuffix(SUFFIX)


def frame_folder(model: Path) -> Path | None:
    """The folder of the frame model that serves the versions of ``model``, if there is one."""
    folder = model.with_name(model.name + SUFFIX)
    try:
        return folder if is_frame(configuration.read(folder)) else None
    except SsrError:
        return None


def partner_folder(folder: Path, config: Any) -> Path | None:
    """The folder of the other model of the pair, of the model in ``folder`` with this ``config``; None if it
    is of no pair."""
    return folder.with_name(crops_model(folder.name)) if is_frame(config) else frame_folder(folder)


def partner(folder: Path, config: Any) -> Any:
    """The configuration of that model; None if there is none."""
    other = partner_folder(folder, config)
    try:
        return None if other is None else configuration.read(other)
    except SsrError:
        return None


def add_link(frame: Path, number: int, of: str = "") -> None:
    """Let the frame model in the folder ``frame`` serve version ``number`` of its crops model, which may not
    be there yet. ``of``: that model, where the folder has another name for the time being."""
    link, target = frame / str(number), Path("..") / (of or crops_model(frame.name)) / str(number)
    try:
        link.symlink_to(target, target_is_directory=True)
    except FileExistsError:
        whole = (link / CONTRACT_FILE).exists()  # a copy, where links were not kept
        if not whole and not (link.is_symlink() and link.readlink() == target):
            raise SsrError(f"{link}: is in the way of a link to {target}, remove it") from None
    except OSError as error:
        raise SsrError(f"{link}: cannot be made a link: {error.strerror}") from None


def check(version: Path, config: Any, contract: ServedContract) -> None:
    """Raise :class:`SsrError` unless both models of a pair have this ``version`` folder's bundle under its
    number, and the frame model its detector. ``config``: of the model in whose folder it lies."""
    folder = version.parent
    paired = partner_folder(folder, config)
    if paired is None or not version.name.isdigit():  # none, or withdrawn
        return
    frame, other = folder if is_frame(config) else paired, paired / version.name
    try:
        text = read_whole(other / CONTRACT_FILE, MAX_CONTRACT_BYTES).decode()
        same = type(contract).loads(text) == contract
    except (OSError, SsrError, UnicodeDecodeError):
        same = False
    if not same:
        raise SsrError(
            f"{version}: {other} is not the same bundle: both models of a pair serve a version, or neither"
        )
    wanted = configuration.parameter(configuration.read(frame), "detector_sha256")
    if wanted != configuration.NO_DETECTOR:
        found = read_detector(frame / DETECTOR_FOLDER).contract.weights_sha256
        if found != wanted:
            raise SsrError(f"{frame / DETECTOR_FOLDER}: weights {found[:12]}, the model's are {wanted[:12]}")


def drop_links(frame: Path) -> None:
    """Remove the links to versions that are gone."""
    for entry in frame.iterdir():
        if entry.is_symlink() and not entry.exists():
            entry.unlink(missing_ok=True)
