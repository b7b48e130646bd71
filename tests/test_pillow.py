"""PIL images wherever a picture enters: by their mode and EXIF orientation, or refused; never as if BGR."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from ssr_client.crops import check_crops
from ssr_client.errors import BadInput
from ssr_client.frames import Frame
from ssr_client.preprocess import as_bgr, crop_faces

from ssr_bundle.contract import Crop
from ssr_bundle.errors import SsrError
from ssr_ops import Detector, Engine
from ssr_ops.cutting import cut_faces
from ssr_ops.shipped import default_bundle, default_detector

Image = pytest.importorskip("PIL.Image")

RGB = np.zeros((64, 64, 3), np.uint8)
RGB[:, :20] = (200, 120, 40)
RGB[:30, 20:] = (10, 60, 250)
BGR = RGB[..., ::-1]
GREY = np.asarray(Image.fromarray(RGB).convert("L"))

TO_GREY = np.repeat(GREY[..., None], 3, axis=2)


def of_mode(mode: str) -> Any:
    if mode == "P":
        return Image.fromarray(RGB).quantize(8)
    if mode == "PA":
        return Image.fromarray(RGB).quantize(8).convert("PA")
    if mode == "I;16":
        return Image.fromarray(GREY.astype(np.uint16) * 257)
    return Image.fromarray(RGB).convert(mode)


@pytest.mark.parametrize(
    ("mode", "expected", "off"),
    [
        ("RGB", BGR, 0),
        ("RGBA", BGR, 0),
        ("P", BGR, 0),
        ("PA", BGR, 0),
        ("CMYK", BGR, 0),
        ("YCbCr", BGR, 3),
        ("HSV", BGR, 6),
        ("L", TO_GREY, 0),
        ("LA", TO_GREY, 0),
        ("I;16", TO_GREY, 0),
    ],
)
@pytest.mark.parametrize("colour", ["bgr", "rgb"])
def test_a_mode_says_the_colours(mode: str, expected: Any, off: int, colour: str) -> None:
    image = of_mode(mode)
    assert image.mode == mode
    picture = as_bgr(image, colour)
    assert picture.dtype == np.uint8
    assert np.abs(picture.astype(int) - expected).max() <= off
    crops = check_crops([image, image], colour)
    np.testing.assert_array_equal(crops, np.stack([picture if colour == "bgr" else picture[..., ::-1]] * 2))
    frame = Frame.checked(image, colour, None, None, None, None, None, None)
    np.testing.assert_array_equal(frame.pixels, crops[0])
    assert frame.format == colour


@pytest.mark.parametrize("mode", ["F", "I", "LAB"])
def test_values_of_no_known_range_are_refused(mode: str) -> None:
    image = Image.fromarray(GREY).convert(mode) if mode != "LAB" else Image.new("LAB", (64, 64))
    told = f"a PIL image of mode '{mode}', expected one of 1, L, "
    with pytest.raises(BadInput, match=rf"^picture: {told}"):
        as_bgr(image)
    with pytest.raises(BadInput, match=rf"^crops\[1\]: {told}"):
        check_crops([RGB, image])
    with pytest.raises(BadInput, match=rf"^frame: {told}"):
        Frame.checked(image, "bgr", None, None, None, None, None, None)


def turned(stored: Any, orientation: int) -> Any:
    """An image file whose rows lie as ``stored``."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    Image.fromarray(stored).save(file, "PNG", exif=exif)
    return Image.open(file)


def test_an_image_is_turned_upright() -> None:
    lying = turned(np.rot90(RGB), 6)  # shown turned a quarter clockwise
    np.testing.assert_array_equal(as_bgr(lying), BGR)
    np.testing.assert_array_equal(check_crops([lying])[0], BGR)
    np.testing.assert_array_equal(Frame.checked(lying, "rgb", None, None, None, None, None, None).pixels, RGB)
    box = [(1.0, 2.0, 30.0, 30.0)]
    with pytest.raises(BadInput, match=r"^boxes: of the picture as it lies, .*exif_transpose"):
        Frame.checked(lying, "bgr", None, None, box, None, None, None)
    upright = Frame.checked(turned(RGB, 1), "bgr", None, None, box, None, None, None)
    np.testing.assert_array_equal(upright.pixels, BGR)


def test_images_and_arrays_in_one_list() -> None:
    np.testing.assert_array_equal(check_crops([Image.fromarray(RGB), BGR], "bgr"), np.stack([BGR, BGR]))
    np.testing.assert_array_equal(check_crops((RGB, Image.fromarray(RGB)), "rgb"), np.stack([RGB, RGB]))
    with pytest.raises(BadInput, match=r"^crops: a PIL image, expected .* pass \[crop\]"):
        check_crops(Image.fromarray(RGB))
    with pytest.raises(BadInput, match="not of one shape"):
        check_crops([Image.fromarray(RGB), BGR[:10]])


def test_an_image_file_that_was_cut_short_is_refused() -> None:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(file, "JPEG")
    image = Image.open(io.BytesIO(file.getvalue()[:2000]))
    with pytest.raises(BadInput, match=r"^picture: Pillow cannot read it .*truncated"):
        as_bgr(image)


def test_where_the_colour_order_is_the_contracts_an_image_is_refused() -> None:
    image, box = Image.fromarray(RGB), [(1.0, 2.0, 30.0, 30.0)]
    with pytest.raises(BadInput, match=r"as_bgr\(picture\) gives one"):
        crop_faces(image, box, Crop())
    with pytest.raises(BadInput, match="holds no NV12"):
        Frame.checked(image, "nv12", "bt601", "full", None, None, None, None)
    engine = Engine(default_bundle())
    for images in (image, [image], [RGB, image]):
        with pytest.raises(SsrError, match=r"^images: a PIL image, expected uint8"):
            engine.predict(images)
    with pytest.raises(SsrError, match=r"^frame: a PIL image, expected uint8 .* in BGR order"):
        Detector(default_detector()).detect(image)
    with pytest.raises(SsrError, match=r"^frame: a PIL image, expected an array"):
        cut_faces(image, box, Crop(), format="bgr", colour="bgr")
