"""Drawn faces: the same picture for the same number, and an age that can be read off it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from ssr_bundle.errors import SsrError
from ssr_train.data import load
from ssr_train.data.synthetic import OLDEST, Faces, draw, draw_faces


@pytest.fixture(scope="module")
def faces() -> Faces:
    return draw_faces(1500, seed=5)


def test_a_face_depends_on_seed_and_index_alone(faces: Faces) -> None:
    for index in (1499, 0, 731, 0):
        image, age = draw(5, index)
        np.testing.assert_array_equal(image, faces.images[index])
        assert age == faces.ages[index]
    assert (draw(6, 0)[0] != faces.images[0]).any()
    assert (faces.images[0] != faces.images[1]).any()


def test_workers_change_nothing(faces: Faces) -> None:
    heard: list[int] = []
    many = draw_faces(1100, seed=5, workers=2, progress=heard.append)
    np.testing.assert_array_equal(many.images, faces.images[:1100])
    np.testing.assert_array_equal(many.ages, faces.ages[:1100])
    assert heard == [250, 500, 750, 1000, 1100]


def test_form_and_distribution(faces: Faces) -> None:
    assert faces.images.shape == (1500, 64, 64, 3)
    assert faces.images.dtype == np.uint8
    assert faces.ages.dtype == np.float32
    assert (faces.ages == np.round(faces.ages)).all()
    assert faces.ages.min() >= 0
    assert faces.ages.max() <= OLDEST
    assert 35 < faces.ages.mean() < 50
    decades = np.histogram(faces.ages, bins=range(0, 101, 10))[0]
    assert (decades > 10).all(), decades
    contrast = faces.images.astype(np.float64).std(axis=(1, 2, 3))
    assert (contrast > 4).mean() > 0.995, "a face must not vanish in darkness or light"


def test_age_can_be_read_off_the_pictures(faces: Faces) -> None:
    """Ridge regression on coarse pixels and local contrast must beat answering the mean."""
    grey = np.stack([cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) for image in faces.images]).astype(np.float32)
    small = grey.reshape(-1, 16, 4, 16, 4)
    contrast = np.abs(np.diff(grey, axis=2))[:, :, :60].reshape(-1, 16, 4, 15, 4).mean((2, 4))
    features = np.concatenate([small.mean((2, 4)).reshape(1500, -1), contrast.reshape(1500, -1)], axis=1)
    features = (features - features.mean(0)) / features.std(0)
    train, test = slice(0, 1200), slice(1200, None)
    mean = faces.ages[train].mean()
    gram = features[train].T @ features[train] + 3000 * np.eye(features.shape[1])
    weights = np.linalg.solve(gram, features[train].T @ (faces.ages[train] - mean))
    error = np.abs(features[test] @ weights + mean - faces.ages[test]).mean()
    constant = np.abs(mean - faces.ages[test]).mean()
    print(f"ridge MAE {error:.2f}, mean-age MAE {constant:.2f}")
    assert error < 0.75 * constant


def test_one_person_changes_with_age() -> None:
    pictures = [draw(0, 3, age)[0].astype(float) for age in (2, 30, 85)]
    for a, b in ((0, 1), (1, 2), (0, 2)):
        assert np.abs(pictures[a] - pictures[b]).mean() > 4
    assert draw(0, 3, 30)[1] == 30


@pytest.mark.parametrize(("count", "seed", "word"), [(0, 0, "count"), (-3, 0, "count"), (5, -1, "seed")])
def test_refuses(count: int, seed: int, word: str) -> None:
    with pytest.raises(SsrError, match=word):
        draw_faces(count, seed)


def test_unknown_data_set_names_the_known() -> None:
    with pytest.raises(SsrError, match=r"imagenet: unknown.*synthetic"):
        load("imagenet", count=1, seed=0, workers=1)


def test_contact_sheet(tmp_path: Path) -> None:
    out = tmp_path / "sheet.png"
    command = [sys.executable, "-m", "ssr_train.data.synthetic", "--sheet", str(out)]
    subprocess.run(command, check=True, timeout=120)
    assert cv2.imread(str(out)).shape == (11 * 64, 16 * 64, 3)


def test_a_clip_of_drawn_people(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "people.mp4"
    command = [sys.executable, "-m", "ssr_train.data.synthetic", "--clip", path]
    subprocess.run(command, check=True, capture_output=True)
    clip = cv2.VideoCapture(str(path))
    assert clip.get(cv2.CAP_PROP_FRAME_COUNT) == 250
    done, first = clip.read()
    assert done
    assert first.shape == (540, 960, 3)
    assert list(path.parent.iterdir()) == [path]
    refused = subprocess.run([*command[:-1], tmp_path / "people.gif"], capture_output=True, text=True)
    assert (refused.returncode, refused.stderr) == (
        1,
        f"{tmp_path}/people.gif: expected a file name that ends in .mp4\n",
    )
