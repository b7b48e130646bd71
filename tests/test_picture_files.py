"""Picture files as they arrive: whole, cut short, of a format that OpenCV lacks, or not here at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import ROOT
from ssr_client import formats
from ssr_client.errors import BadInput
from ssr_client.opencv import without_libjpeg
from ssr_client.preprocess import CutShort, as_bgr, decode_picture, read_picture
from test_cli_train import ssr_train
from test_client import command

from ssr_bundle.bundle import read_bundle
from ssr_bundle.errors import SsrError
from ssr_train.data.cutting import Cut, Cutter
from ssr_train.data.records import Problem, Record
from triton_repo.repository import open_bundle

ASTRONAUT = ROOT / "ssr_ops/assets/astronaut.jpg"

JPEGS: dict[str, list[int]] = {
    "baseline": [],
    "progressive": [cv2.IMWRITE_JPEG_PROGRESSIVE, 1],
    "restarts": [cv2.IMWRITE_JPEG_RST_INTERVAL, 4],
    "grey": [],
}


def encoded(suffix: str, options: list[int] | None = None, grey: bool = False) -> bytes:
    picture = cv2.resize(read_picture(ASTRONAUT), (120, 104), interpolation=cv2.INTER_AREA)
    done, data = cv2.imencode(suffix, picture[..., 1] if grey else picture, options or [])
    assert done
    return bytes(data.tobytes())


@pytest.mark.parametrize("kind", JPEGS)
def test_a_jpeg_that_lacks_only_its_end_marker_is_a_picture(kind: str) -> None:
    data = encoded(".jpg", JPEGS[kind], kind == "grey")
    whole = decode_picture(data, "whole")
    for cut in (1, 2):
        np.testing.assert_array_equal(decode_picture(data[:-cut], "cut"), whole)
    np.testing.assert_array_equal(decode_picture(data + bytes(100), "padded"), whole)
    second = data + data[: len(data) // 2]
    np.testing.assert_array_equal(decode_picture(second, "a second picture behind it, cut"), whole)


@pytest.mark.parametrize("kind", JPEGS)
def test_a_jpeg_that_lacks_a_pixel_is_cut_short(kind: str) -> None:
    """At every place near its end, and at places all over it: within segments, between scans, after them."""
    data = encoded(".jpg", JPEGS[kind], kind == "grey")
    for length in sorted({*range(len(data) - 40, len(data) - 2), *range(3, len(data) - 40, 101)}):
        with pytest.raises(
            CutShort, match=rf"^x\.jpg: JPEG that was cut short: its {length:,} bytes end before"
        ):
            decode_picture(data[:length], "x.jpg")


def test_what_others_write_to_standard_error_meanwhile_is_kept(capfd: pytest.CaptureFixture[str]) -> None:
    with without_libjpeg():
        os.write(2, b"mine\nCorrupt JPEG data: premature end of data segment\nmine too\n")
    assert capfd.readouterr().err == "mine\nmine too\n"


def test_a_progressive_jpeg_that_lacks_whole_scans_is_cut_short() -> None:
    """Every pixel is there then, but not its last bits."""
    data = encoded(".jpg", JPEGS["progressive"])
    scans = [i for i in range(len(data)) if data[i : i + 2] == b"\xff\xda"]
    assert len(scans) > 3
    for start in scans[1:]:
        assert not formats.may_lack_only_its_end(data[:start])
        with pytest.raises(CutShort):
            decode_picture(data[:start], "x.jpg")


def test_the_end_of_a_thumbnail_is_not_the_end() -> None:
    data = encoded(".jpg")
    small = cv2.imencode(".jpg", np.zeros((8, 8, 3), np.uint8))[1].tobytes()
    exif = b"\xff\xe1" + (len(small) + 2).to_bytes(2, "big") + small
    with_one = data[:2] + exif + data[2:]
    np.testing.assert_array_equal(decode_picture(with_one, "x"), decode_picture(data, "x"))
    for length in (len(small), len(exif) + 300, len(with_one) // 2):
        with pytest.raises(CutShort):
            decode_picture(with_one[:length], "x")


@pytest.mark.parametrize(("suffix", "name"), [(".png", "PNG"), (".webp", "WebP")])
def test_other_formats_cut_short(suffix: str, name: str) -> None:
    data = encoded(suffix)
    for length in (60, len(data) // 2, len(data) - 8):
        with pytest.raises(CutShort, match=f"^x: {name} that was cut short"):
            decode_picture(data[:length], "x")


def box(kind: bytes, content: bytes) -> bytes:
    return (8 + len(content)).to_bytes(4, "big") + kind + content


HEIC = box(b"ftyp", b"heic\0\0\0\0mif1heic") + box(b"meta", bytes(40)) + box(b"mdat", bytes(200))


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (HEIC, "HEIC"),
        (HEIC.replace(b"heic", b"avif"), "AVIF"),
        (b"\x00\x00\x00\x0cJXL \r\n\x87\n" + bytes(40), "JPEG XL"),
    ],
)
def test_formats_that_opencv_lacks_are_named(
    data: bytes, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(BadInput, match=rf"^x: {name}, a format that OpenCV 4\.\S+ does not read: convert it"):
        decode_picture(data, "x")
    assert capfd.readouterr().err == "", "OpenCV's own lines say less"
    if name != "JPEG XL":
        with pytest.raises(CutShort, match=f"^x: {name} that was cut short"):
            decode_picture(data[:-9], "x")


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"%PDF-1.7" + bytes(40), "PDF that OpenCV .* cannot decode"),
        (b"\xff\xd8\xff\xd9", "JPEG that OpenCV .* cannot decode"),
        (b"<!DOCTYPE html><html></html>", "not an image that OpenCV reads"),
        (b"BM" + bytes(60), "not an image that OpenCV reads"),
        (b"", "empty file"),
    ],
)
def test_what_is_no_picture(data: bytes, told: str) -> None:
    with pytest.raises(BadInput, match=f"^x: {told}") as refused:
        decode_picture(data, "x")
    assert not isinstance(refused.value, CutShort)


def test_a_set_that_is_prepared_keeps_and_drops_the_same(tmp_path: Path) -> None:
    data = encoded(".jpg")
    (tmp_path / "whole.jpg").write_bytes(data[:-2])
    (tmp_path / "cut.jpg").write_bytes(data[:-3])
    cutter = Cutter(tmp_path, Cut())
    assert not isinstance(cutter.make(Record(Path("whole.jpg"), 30, face="crop")), Problem)
    assert cutter.make(Record(Path("cut.jpg"), 30, face="crop")) == Problem(
        "truncated image",
        "cut.jpg",
        f"JPEG that was cut short: its {len(data) - 3:,} bytes end before the picture does",
    )


# Addresses.


@pytest.mark.parametrize("given", ["https://example.org/a.jpg", "s3://bucket/a.jpg", "FILE:///tmp/a.jpg"])
def test_an_address_is_no_missing_file(given: str) -> None:
    for path in (given, Path(given)):
        with pytest.raises(BadInput, match=r"://.*a\.jpg: an address, expected a file: download it first"):
            read_picture(path)


def test_a_file_may_be_called_like_an_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "https:").mkdir()
    (tmp_path / "https:" / "a.jpg").write_bytes(ASTRONAUT.read_bytes())
    assert read_picture("https://a.jpg").shape == (512, 512, 3)
    with pytest.raises(FileNotFoundError):
        read_picture("httpsx://a.jpg")


def test_every_command_says_that_an_address_is_no_path(tmp_path: Path) -> None:
    told = "is an address, expected a path: download it first"
    result = command("image", ASTRONAUT, "https://example.org/a.jpg", "--url", "localhost:1")
    assert result.returncode == 2
    assert f"https://example.org/a.jpg {told}" in " ".join(result.stderr.split())
    result = ssr_train("import-keras", "https://example.org/a.h5", "--out", tmp_path / "b")
    assert result.returncode == 2
    assert f"https://example.org/a.h5 {told}" in " ".join(result.stderr.replace("│", " ").split())


@pytest.mark.parametrize("read", [read_bundle, open_bundle])
def test_a_folder_that_is_an_address(read: Callable[[str], object]) -> None:
    with pytest.raises(
        SsrError, match=r"^s3://models/morph2 is an address, expected a bundle.*: download it first"
    ):
        read("s3://models/morph2")


def test_a_path_in_place_of_pixels_is_told_how_to_read_it() -> None:
    for given in (str(ASTRONAUT), ASTRONAUT):
        with pytest.raises(BadInput, match=r"expected pixels: read_picture\(path\) reads a file"):
            as_bgr(given)
