"""What ships with the package: a bundle for demos and tests, and the golden record's picture."""

from __future__ import annotations

from pathlib import Path

ASSETS = Path(__file__).parent / "assets"


def default_bundle() -> Path:
    """The bundle that ships with the project: trained on drawn faces, so that a demo works offline."""
    return ASSETS / "default_bundle"
