"""The pair of models that serve one bundle: ``NAME`` takes crops, ``NAME-frame`` whole frames.

The frame model has a configuration and a detector of its own. Its versions are links to those of ``NAME``:
the rename that makes a version appear there, or withdraws it, does so for both at once. A link that leads
nowhere is no version.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ssr_bundle.errors import SsrError
from triton_repo import config as configuration

SUFFIX = "-frame"
"""Of the frame model's name."""

DETECTOR_FOLDER = "detector"
"""In the frame model's folder: the bundle of the detector that it serves, if any."""


def is_frame(config: Any) -> bool:
    """Whether a parsed configuration is that of a frame model."""
    return configuration.mode(config) == configuration.FRAME


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


def partner(folder: Path, config: Any) -> Any:
    """The configuration of the other model of the pair, of the model in ``folder`` with this ``config``; None
    if there is none."""
    other = folder.with_name(crops_model(folder.name)) if is_frame(config) else frame_folder(folder)
    try:
        return None if other is None else configuration.read(other)
    except SsrError:
        return None


def add_link(frame: Path, number: int, of: str = "") -> None:
    """Let the frame model in the folder ``frame`` serve version ``number`` of its crops model, which may not
    be there yet. ``of``: that model, where the folder has another name for the time being."""
    link = frame / str(number)
    if not os.path.lexists(link):
        link.symlink_to(Path("..") / (of or crops_model(frame.name)) / str(number), target_is_directory=True)


def drop_links(frame: Path) -> None:
    """Remove the links to versions that are gone."""
    for entry in frame.iterdir():
        if entry.is_symlink() and not entry.exists():
            entry.unlink(missing_ok=True)
