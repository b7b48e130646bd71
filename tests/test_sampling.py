"""The arithmetic of a crop: against OpenCV where it defines the bytes, else against slow float64."""

from __future__ import annotations

import hashlib
import math
import time
import tracemalloc
from fractions import Fraction
from typing import Any

import cv2
import numpy as np
import pytest
from bundle_faults import FACE
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from ssr_client import BadInput
from ssr_client.preprocess import crop_faces

from ssr_bundle import alignment, sampling
from ssr_bundle.alignment import FRACTION, Grid, Points
from ssr_bundle.crop import MAX_SIDE, Part
from ssr_bundle.errors import SsrError
from ssr_bundle.face_crop import BORDERS, Crop, Template
from ssr_ops import reference

ONE = 1 << FRACTION
FILLS = {"replicate": cv2.BORDER_REPLICATE, "constant": cv2.BORDER_CONSTANT}
seeds = st.integers(0, 2**32 - 1)


def noise(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def padded(picture: NDArray[np.uint8], part: Part, border: str) -> NDArray[np.uint8]:
    """``part`` with OpenCV's border around the picture."""
    height, width = picture.shape[:2]
    top, left = max(0, -part.rows.start), max(0, -part.columns.start)
    bottom, right = max(0, part.rows.stop - height), max(0, part.columns.stop - width)
    whole = cv2.copyMakeBorder(picture, top, bottom, left, right, FILLS[border], value=(0, 0, 0))
    return np.asarray(
        whole[
            part.rows.start + top : part.rows.stop + top,
            part.columns.start + left : part.columns.stop + left,
        ]
    )


# -- by the box --------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(
    st.tuples(st.integers(1, 90), st.integers(1, 90)),
    st.tuples(st.integers(-150, 120), st.integers(1, 300)),
    st.tuples(st.integers(-150, 120), st.integers(1, 300)),
    st.sampled_from(sorted(FILLS)),
    st.sampled_from([64, 64, 1, 2, 7, 100, 200]),
    seeds,
)
@example((70, 70), (-5, 128), (-9, 128), "constant", 64, 0)  # half the size, where OpenCV takes another way
@example((70, 70), (0, 64), (0, 64), "replicate", 64, 0)
@example((5, 5), (40, 30), (-90, 30), "replicate", 64, 0)  # nothing of the picture
@example((5, 5), (40, 30), (-90, 30), "constant", 64, 0)
@example((3, 3), (-2, 6), (-30_000, 60_000), "replicate", 64, 0)
@example((3, 3), (-2, 6), (-30_000, 60_000), "constant", 64, 0)
def test_resized_is_opencv_with_a_border_bit_for_bit(
    size: tuple[int, int],
    rows: tuple[int, int],
    columns: tuple[int, int],
    border: str,
    side: int,
    seed: int,
) -> None:
    picture = noise(*size, seed)
    part = Part(range(rows[0], sum(rows)), range(columns[0], sum(columns)))
    expected = cv2.resize(padded(picture, part, border), (side, side), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(sampling.resized(picture, part, border, side), expected)


margins = st.tuples(*[st.one_of(st.floats(-0.4, 4.0), st.sampled_from([0.0, 0.4, -0.15]))] * 4)


@settings(max_examples=150, deadline=None)
@given(
    st.tuples(st.integers(1, 120), st.integers(1, 120)),
    st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0.5, 300), st.floats(0.5, 300)),
    margins,
    st.sampled_from(BORDERS),
    seeds,
)
def test_a_box_is_cut_as_the_contract_says(
    size: tuple[int, int], face: Any, margin: Any, border: str, seed: int
) -> None:
    """The rule written out with OpenCV, the reference and the client: three ways, the same bytes."""
    picture = noise(*size, seed)
    height, width = size
    cx, cy, w, h = face[0] * width, face[1] * height, face[2], face[3]
    x, y = cx - w / 2, cy - h / 2
    left, top, right, bottom = margin
    crop = Crop(margin=margin, border=border)
    first, last = math.floor(x - left * w), math.floor(x + w + right * w)
    upper, lower = math.floor(y - top * h), math.floor(y + h + bottom * h)
    if last < 0 or first >= width or lower < 0 or upper >= height:
        with pytest.raises(BadInput, match=r"box 0: .* lies outside the picture"):
            crop_faces(picture, [(x, y, w, h)], crop)
        return
    if border == "clip":
        cut = picture[max(upper, 0) : lower + 1, max(first, 0) : last + 1]
    else:
        cut = padded(picture, Part(range(upper, lower + 1), range(first, last + 1)), border)
    expected = cv2.resize(cut, (64, 64), interpolation=cv2.INTER_LINEAR)
    for cutter in (crop_faces, reference.crop_faces):
        np.testing.assert_array_equal(cutter(picture, [(x, y, w, h)], crop)[0], expected)


@pytest.mark.parametrize("border", sorted(FILLS))
def test_a_huge_box_costs_no_more_than_a_small_one(border: str) -> None:
    picture = noise(40, 50)
    crop = Crop(margin=(4.0, 4.0), border=border)
    tracemalloc.start()
    begin = time.perf_counter()
    assert crop_faces(picture, [(-3000.0, -3000.0, 7000.0, 7000.0)], crop).shape == (1, 64, 64, 3)
    assert time.perf_counter() - begin < 1
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()
    with pytest.raises(
        BadInput, match=rf"box 0: .* too large, expected a cut of at most {MAX_SIDE:,} pixels"
    ):
        crop_faces(picture, [(-4000.0, -4000.0, 9000.0, 9000.0)], crop)
    with pytest.raises(BadInput, match="is too large"):
        crop_faces(picture, [(-1e308, 0.0, 1.7e308, 9.0)], crop)


@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("side", [700.0, 723.0, 724.0, 725.0, 760.0, 1400.0])
def test_both_ways_of_the_client_give_the_same_bytes(border: str, side: float) -> None:
    """OpenCV pads small parts, large ones are sampled."""
    picture = noise(300, 500)
    crop = Crop(margin=(0.0, 0.0), border=border)
    for x, y in (
        (-100.0, -200.0),
        (-side + 1, -side + 1),
        (499.0, 299.0),
        (10.0, -side + 200),
        (-50.0, 150.0),
    ):
        box = [(x, y, side, side)]
        np.testing.assert_array_equal(
            crop_faces(picture, box, crop), reference.crop_faces(picture, box, crop)
        )


def test_a_picture_that_is_a_view_is_cut_alike() -> None:
    picture = noise(60, 80)
    box = [(40.0, 20.0, 30.0, 50.0)]
    for border in BORDERS:
        crop = Crop(margin=(0.1, -0.15, 0.3, 0.2), border=border)
        for view in (picture[:, ::-1], picture[::2], picture[..., ::-1], picture.transpose(1, 0, 2)):
            np.testing.assert_array_equal(
                crop_faces(view, box, crop), reference.crop_faces(np.ascontiguousarray(view), box, crop)
            )


# -- by the landmarks --------------------------------------------------------------------------------


def slow_similarity(landmarks: Points, template: Points, share: float) -> NDArray[np.float64]:
    """[[a, -b, x], [b, a, y]] from the picture to the crop, by NumPy's least squares."""
    rows, values = [], []
    for (x, y), (u, v) in zip(landmarks, template, strict=True):
        rows += [(x, -y, 1, 0), (y, x, 0, 1)]
        values += [u * share, v * share]
    a, b, x, y = np.linalg.lstsq(np.array(rows), np.array(values), rcond=None)[0]
    return np.array([[a, -b, x], [b, a, y]])


def slow_aligned(
    picture: NDArray[np.uint8], landmarks: Points, template: Template, border: str, size: int
) -> NDArray[np.float64]:
    """Pixel by pixel in float64: nothing of the fixed point, nothing of the closed form."""
    forward = slow_similarity(landmarks, template.points, size / template.size)
    height, width = picture.shape[:2]

    def pixel(row: int, column: int) -> NDArray[np.float64]:
        if border == "constant" and not (0 <= row < height and 0 <= column < width):
            return np.zeros(3)
        return picture[min(max(row, 0), height - 1), min(max(column, 0), width - 1)].astype(np.float64)

    made = np.empty((size, size, 3))
    for v in range(size):
        for u in range(size):
            centre = np.array([u + 0.5, v + 0.5]) - forward[:, 2]
            x, y = np.linalg.solve(forward[:, :2], centre) - 0.5
            column, row = math.floor(x), math.floor(y)
            right, below = x - column, y - row
            made[v, u] = (1 - below) * ((1 - right) * pixel(row, column) + right * pixel(row, column + 1))
            made[v, u] += below * ((1 - right) * pixel(row + 1, column) + right * pixel(row + 1, column + 1))
    return made


def posed(scale: float, turn: float, x: float, y: float, seed: int = 0, spread: float = 2.0) -> Points:
    """The template's face in a picture: larger, turned (in radians), moved, its points scattered."""
    rng = np.random.default_rng(seed)
    points = np.array(FACE) - 56
    c, s = math.cos(turn) * scale, math.sin(turn) * scale
    moved = points @ np.array([[c, s], [-s, c]]) + (x, y) + rng.normal(0, spread * scale, (5, 2))
    return tuple((float(px), float(py)) for px, py in moved)


poses = st.tuples(
    st.floats(0.05, 8), st.floats(-math.pi, math.pi), st.floats(-300, 600), st.floats(-300, 600), seeds
)
TEMPLATE = Template(FACE, 112)


@settings(max_examples=12, deadline=None)
@given(poses, st.sampled_from(sorted(FILLS)), st.sampled_from([16, 24]))
@example((0.9, 0.3, 60.0, 50.0, 1), "replicate", 64)
@example((0.9, -0.3, 5.0, 90.0, 2), "constant", 64)
def test_aligned_is_slow_float64_within_a_grey_level(pose: Any, border: str, size: int) -> None:
    """Smooth pictures, so that a position rounded to 1/2048 of a pixel shows as what it is, and noise."""
    landmarks = posed(*pose)
    ramp = np.add.outer(np.arange(90), 2 * np.arange(70))[..., None] * (1, 2, 3) % 256
    for picture in (noise(90, 70), ramp.astype(np.uint8)):
        grid = alignment.grid(landmarks, FACE, 112, size)
        found = sampling.aligned(picture, grid, border, size)
        expected = slow_aligned(picture, landmarks, TEMPLATE, border, size)
        assert np.abs(found - expected).max() <= 1


@settings(max_examples=300, deadline=None)
@given(poses, st.sampled_from([64, 112, 200]))
def test_a_grid_is_the_least_squares_solution(pose: Any, size: int) -> None:
    """NumPy's, and the closed form in fractions, which rounds nowhere."""
    landmarks = posed(*pose)
    found = alignment.grid(landmarks, FACE, 112, size)
    forward = slow_similarity(landmarks, FACE, size / 112)
    inverse = np.linalg.inv(forward[:, :2])
    x, y = inverse @ (0.5 - forward[:, 2]) - 0.5
    expected = np.array([x, y, inverse[0, 0], inverse[1, 0]]) * ONE
    assert np.abs(np.array(found) - expected).max() <= 2 + 1e-10 * np.abs(expected).max()
    exact = grid_in_fractions(landmarks, FACE, Fraction(size, 112))
    assert max(abs(a - b) for a, b in zip(found, exact, strict=True)) <= 1


def grid_in_fractions(landmarks: Points, template: Points, share: Fraction) -> Grid:
    """The closed form as docs/bundle.md gives it, rounded once, at the end."""
    picture = [(Fraction(x), Fraction(y)) for x, y in landmarks]
    crop = [(Fraction(x) * share, Fraction(y) * share) for x, y in template]
    px, py = (sum(p[i] for p in picture) / 5 for i in range(2))
    tx, ty = (sum(p[i] for p in crop) / 5 for i in range(2))
    pairs = [((x - px, y - py), (u - tx, v - ty)) for (x, y), (u, v) in zip(picture, crop, strict=True)]
    length = sum(x * x + y * y for (x, y), _ in pairs)
    a = sum(x * u + y * v for (x, y), (u, v) in pairs) / length
    b = sum(x * v - y * u for (x, y), (u, v) in pairs) / length
    dx, dy = a / (a * a + b * b), -b / (a * a + b * b)
    half = Fraction(1, 2)
    x = px + (half - tx) * dx - (half - ty) * dy - half
    y = py + (half - tx) * dy + (half - ty) * dx - half
    return Grid(*(math.floor(value * ONE + half) for value in (x, y, dx, dy)))


def pixel_template(size: int = 64) -> Points:
    """The face in a picture of the crop's size."""
    return tuple((x * size / 112, y * size / 112) for x, y in FACE)


def moved(points: Points, scale: float, turns: int, x: float, y: float, middle: float = 32.0) -> Points:
    """Turned clockwise by quarter turns about the middle of the crop, scaled, then shifted."""
    made = []
    for px, py in points:
        px, py = px - middle, py - middle
        for _ in range(turns):
            px, py = -py, px
        made.append((scale * px + middle + x, scale * py + middle + y))
    return tuple(made)


def cut_by(landmarks: Points, picture: NDArray[np.uint8], border: str = "replicate") -> NDArray[np.uint8]:
    crop = Crop(border=border, template=Template(pixel_template(), 64))
    box = [(0.0, 0.0, 9.0, 9.0)]
    (found,) = reference.crop_faces(picture, box, crop, [landmarks])
    np.testing.assert_array_equal(crop_faces(picture, box, crop, landmarks=[landmarks])[0], found)
    return found


def test_the_identity_gives_the_pixels_themselves() -> None:
    picture = noise(64, 64)
    np.testing.assert_array_equal(cut_by(pixel_template(), picture), picture)


@pytest.mark.parametrize("x", [0, 1, 20, 63, 64, 100])
@pytest.mark.parametrize("y", [0, 13, 64])
def test_a_shift_by_whole_pixels_is_a_slice(x: int, y: int) -> None:
    """Among them one by the crop's own size, which is the part beside."""
    picture = noise(140, 170)
    found = cut_by(moved(pixel_template(), 1, 0, x, y), picture)
    np.testing.assert_array_equal(found, picture[y : y + 64, x : x + 64])


@pytest.mark.parametrize(("x", "y"), [(-20, 0), (0, -7), (90, 100), (-64, -64), (-500, 30), (1000, -1000)])
@pytest.mark.parametrize("border", sorted(FILLS))
def test_a_shift_over_the_border_is_opencvs(x: int, y: int, border: str) -> None:
    picture = noise(100, 110)
    expected = padded(picture, Part(range(y, y + 64), range(x, x + 64)), border)
    np.testing.assert_array_equal(cut_by(moved(pixel_template(), 1, 0, x, y), picture, border), expected)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_quarter_turns_are_exact(turns: int) -> None:
    picture = noise(64, 64)
    found = cut_by(moved(pixel_template(), 1, turns, 0, 0), picture)
    np.testing.assert_array_equal(found, np.rot90(picture, turns))


def test_half_the_size_is_the_mean_of_four() -> None:
    picture = noise(128, 128)
    found = cut_by(moved(pixel_template(), 2, 0, 32, 32), picture)
    four = picture.reshape(64, 2, 64, 2, 3).astype(int).sum(axis=(1, 3))
    np.testing.assert_array_equal(found, (four + 2) // 4)
    np.testing.assert_array_equal(found, cv2.resize(picture, (64, 64), interpolation=cv2.INTER_LINEAR))


def test_a_shift_by_half_a_pixel_is_the_mean_of_two() -> None:
    picture = noise(64, 65).astype(int)
    found = cut_by(moved(pixel_template(), 1, 0, 0.5, 0), picture.astype(np.uint8))
    np.testing.assert_array_equal(found, (picture[:, :-1] + picture[:, 1:] + 1) // 2)


def test_twice_the_landmarks_of_twice_the_picture_differ_by_its_pixels_only() -> None:
    """The template's own size is only a unit."""
    picture = noise(90, 90)
    landmarks = posed(0.6, 0.2, 45, 45)
    box = [(0.0, 0.0, 9.0, 9.0)]
    crops = [
        reference.crop_faces(
            picture,
            box,
            Crop(border="replicate", template=Template(tuple((x * k, y * k) for x, y in FACE), 112 * k)),
            [landmarks],
        )
        for k in (1, 2, 4)
    ]
    for other in crops[1:]:
        np.testing.assert_array_equal(other, crops[0])


def test_one_aligned_crop_never_changes() -> None:
    """Pixels of a formula, so that no generator's version counts; positions, weights and bytes are pinned."""
    row, column = np.indices((120, 150))
    picture = np.stack([row * 7 + column * 3, row * column, row * row // 5 + column], -1).astype(np.uint8)
    landmarks = ((52.25, 40.5), (96.75, 47.125), (71.5, 68.0), (49.0, 84.25), (85.5, 90.75))
    grid = alignment.grid(landmarks, FACE, 112, 64)
    assert grid == PINNED_GRID
    for border, digest in PINNED.items():
        (crop,) = reference.crop_faces(
            picture, [(0, 0, 9, 9)], Crop(border=border, template=TEMPLATE), [landmarks]
        )
        assert hashlib.sha256(crop.tobytes()).hexdigest() == digest, border


def as_documented(
    picture: Any, landmarks: Points, template: Points, template_size: int, border: str, size: int
) -> list[list[list[int]]]:
    """ "The similarity in whole numbers" of docs/bundle.md, step by step, without NumPy."""
    s = size / template_size
    scaled = [(x * s, y * s) for x, y in template]
    mx, my, tx, ty = 0.0, 0.0, 0.0, 0.0
    for (x, y), (u, v) in zip(landmarks, scaled, strict=True):
        mx, my, tx, ty = mx + x, my + y, tx + u, ty + v
    mx, my, tx, ty = mx / 5, my / 5, tx / 5, ty / 5
    along = across = length = 0.0
    for (px, py), (pu, pv) in zip(landmarks, scaled, strict=True):
        x, y, u, v = px - mx, py - my, pu - tx, pv - ty
        along += x * u + y * v
        across += x * v - y * u
        length += x * x + y * y
    n = along * along + across * across
    dx, dy = (along * length) / n, -((across * length) / n)
    a, b = 0.5 - tx, 0.5 - ty
    x0, y0 = mx + (a * dx - b * dy) - 0.5, my + (a * dy + b * dx) - 0.5
    qx, qy, qdx, qdy = (math.floor(value * 2**20 + 0.5) for value in (x0, y0, dx, dy))
    height, width = len(picture), len(picture[0])

    def pixel(i: int, j: int, channel: int) -> int:
        if border == "constant" and not (0 <= i < height and 0 <= j < width):
            return 0
        return int(picture[min(max(i, 0), height - 1)][min(max(j, 0), width - 1)][channel])

    def value(column: int, row: int, channel: int) -> int:
        x, y = qx + column * qdx - row * qdy, qy + column * qdy + row * qdx
        j, w, i, h = x >> 20, (x >> 9) & 2047, y >> 20, (y >> 9) & 2047
        upper, lower = (
            (pixel(r, j, channel) * (2048 - w) + pixel(r, j + 1, channel) * w) >> 4 for r in (i, i + 1)
        )
        return (((upper * (2048 - h)) >> 16) + ((lower * h) >> 16) + 2) >> 2

    return [[[value(u, v, c) for c in range(3)] for u in range(size)] for v in range(size)]


@settings(max_examples=25, deadline=None)
@given(poses, st.sampled_from(sorted(FILLS)), st.sampled_from([8, 21]))
def test_aligned_is_what_the_documentation_says(pose: Any, border: str, size: int) -> None:
    picture, landmarks = noise(50, 60), posed(*pose)
    found = sampling.aligned(picture, alignment.grid(landmarks, FACE, 112, size), border, size)
    assert found.tolist() == as_documented(picture.tolist(), landmarks, FACE, 112, border, size)


PINNED_GRID = Grid(21826320, -28341997, 2115176, 358766)
PINNED = {
    "replicate": "487f97dc8262436e062a5284976895d74bbc94270889fe9427347d14688745ca",
    "constant": "1106009603650d6fc7c8197b5c4f07a27ce5a0191253103d55cc054591a46f7c",
}


def test_huge_and_far_faces_cost_no_more() -> None:
    picture = noise(40, 50)
    box = [(0.0, 0.0, 9.0, 9.0)]
    tracemalloc.start()
    for scale, x, y in ((1e4, 0, 0), (1.0, 1e7, 1e7), (1e-3, 20, 20), (3e-5, 20, 20)):
        for border in FILLS:
            crop = Crop(border=border, template=TEMPLATE)
            assert crop_faces(picture, box, crop, landmarks=[posed(scale, 1, x, y)]).shape == (1, 64, 64, 3)
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()


def pentagon(sign: int) -> Points:
    """Regular: mirrored, nothing turns it onto itself better than any other turn."""
    angles = [sign * 2 * math.pi * k / 5 for k in range(5)]
    return tuple((56 + 30 * math.cos(a), 56 + 30 * math.sin(a)) for a in angles)


BAD_LANDMARKS: dict[str, tuple[Any, str]] = {
    "none": (None, "face 0: this crop aligns faces by five landmarks, and it has none"),
    "four": (FACE[:4], r"face 0: landmarks: expected 5 points as x, y \(right eye, .*\), got 4"),
    "six": ((*FACE, (1.0, 2.0)), "face 0: landmarks: expected 5 points as x, y .*, got 6"),
    "three numbers each": (tuple((*p, 0.0) for p in FACE), "face 0: landmarks: expected 5 points as x, y"),
    "numbers": ((1.0, 2.0, 3.0, 4.0, 5.0), "face 0: landmarks: expected 5 points as x, y"),
    "text": (("ab",) * 5, "face 0: landmarks: expected 5 points as x, y"),
    "a number": (7, "face 0: landmarks: expected 5 points as x, y .*, got 7"),
    "NaN": (((math.nan, 1.0), *FACE[1:]), "face 0: landmarks: expected positions within"),
    "infinite": (((math.inf, 1.0), *FACE[1:]), "face 0: landmarks: expected positions within"),
    "beyond all pixels": (((1e300, 1.0), *FACE[1:]), "face 0: landmarks: expected positions within"),
    "on one line": (tuple((10.0 * i, 7.0 * i) for i in range(5)), "face 0: landmarks: .* lie on one line"),
    "on one spot": (((5.0, 5.0),) * 5, "face 0: landmarks: .* lie on one line"),
    "profile without any width": (
        tuple((56.0, y) for _, y in FACE),
        "face 0: landmarks: .* lie on one line",
    ),
}


@pytest.mark.parametrize("what", BAD_LANDMARKS)
def test_landmarks_that_align_nothing(what: str) -> None:
    given_, message = BAD_LANDMARKS[what]
    crop, box = Crop(border="replicate", template=TEMPLATE), [(0.0, 0.0, 9.0, 9.0)]
    with pytest.raises(BadInput, match=message) as caught:
        crop_faces(noise(40, 50), box, crop, landmarks=[given_])
    assert "\n" not in str(caught.value)
    with pytest.raises(SsrError, match=message):
        reference.crop_faces(noise(40, 50), box, crop, [given_])


def test_faces_and_landmarks_go_together() -> None:
    crop, boxes = Crop(border="replicate", template=TEMPLATE), [(0.0, 0.0, 9.0, 9.0)] * 2
    picture = noise(40, 50)
    for landmarks, got in ((None, 0), ([], 0), ([FACE], 1), ([FACE] * 3, 3)):
        with pytest.raises(BadInput, match=f"five landmarks each: 2 expected, got {got}"):
            crop_faces(picture, boxes, crop, landmarks=landmarks)
    assert crop_faces(picture, [], crop, landmarks=[]).shape == (0, 64, 64, 3)
    assert reference.crop_faces(picture, [], crop, []).shape == (0, 64, 64, 3)
    as_array = np.array([FACE, FACE], np.float32)
    as_floats = [tuple(map(tuple, points)) for points in as_array.astype(np.float64).tolist()]
    np.testing.assert_array_equal(
        crop_faces(picture, boxes, crop, landmarks=as_array),  # type: ignore[arg-type]
        crop_faces(picture, boxes, crop, landmarks=as_floats),
    )


def test_a_mirrored_pentagon_has_no_similarity() -> None:
    with pytest.raises(SsrError, match=r"landmarks: (no similarity|the aligned crop would lie beyond)"):
        alignment.grid(pentagon(-1), pentagon(1), 112, 64)


@settings(max_examples=100, deadline=None)
@given(poses, st.sampled_from(sorted(FILLS)), st.sampled_from([64, 16, 100]), seeds)
def test_the_client_cuts_as_the_reference(pose: Any, border: str, size: int, seed: int) -> None:
    picture = noise(70, 90, seed)
    landmarks = posed(*pose)
    crop = Crop(border=border, template=TEMPLATE)
    box = [(1.0, 2.0, 30.0, 40.0)]
    if size == 64:
        expected = reference.crop_faces(picture, box, crop, [landmarks])
    else:
        grid = alignment.grid(landmarks, FACE, 112, size)
        expected = sampling.aligned(picture, grid, border, size)[None]
    np.testing.assert_array_equal(crop_faces(picture, box, crop, size, [landmarks]), expected)
