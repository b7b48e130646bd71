"""Shared fixtures: the material that lies beside a development checkout, and bundles made from it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("SSR_SHARED", ROOT.parent / "shared"))
RELEASED = ("morph2", "megaface_asian", "imdb_gender_models")


def material(relative: str) -> Path:
    """A file of the shared test material, or skip the test with the reason."""
    path = SHARED / relative
    if not path.exists():
        pytest.skip(f"test material {relative} is not here (SSR_SHARED={SHARED})")
    return path


@pytest.fixture(scope="session", params=RELEASED)
def released_bundle(request: pytest.FixtureRequest, released: ReleasedBundles) -> Path:
    """Each released weight file in turn, imported as a bundle."""
    return released(request.param)


@pytest.fixture(scope="session")
def morph2_bundle(released: ReleasedBundles) -> Path:
    return released("morph2")


class ReleasedBundles:
    """Imports a released weight file once per session: ``released("morph2")`` is a bundle's path."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, name: str) -> Path:
        from ssr_train.bundle import write_bundle
        from ssr_train.keras_import import import_keras

        path = self.folder / name
        if not path.exists():
            write_bundle(path, *import_keras(material(f"weights/ssrnet_{name}.h5")))
        return path


@pytest.fixture(scope="session")
def released(tmp_path_factory: pytest.TempPathFactory) -> ReleasedBundles:
    return ReleasedBundles(tmp_path_factory.mktemp("released"))
