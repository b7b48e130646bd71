"""What ships with the package: a bundle for demos and tests, a face detector, the golden record's picture."""

from __future__ import annotations

from pathlib import Path

ASSETS = Path(__file__).parent / "assets"


def default_bundle() -> Path:
    """The bundle that ships with the project: trained on drawn faces, so that a demo works offline."""
    return ASSETS / "default_bundle"


def default_detector() -> Path:
    """The detector bundle that ships with the project: YuNet, MIT licence beside it."""
    return ASSETS / "yunet"
