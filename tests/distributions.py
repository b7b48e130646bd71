"""Miniatures of the public data sets, in their exact layouts, malformed entries included.

``build("utkface", root)`` writes one and returns ``root``. Names, ages and people are invented. Every picture
is a JPEG from ``picture(age, size)``, which a test that looks for faces can replace.
"""

from __future__ import annotations

import datetime
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

Picture = Callable[[float, tuple[int, int]], bytes]
"""A JPEG for an age in years and a size (width, height)."""


def grey(age: float, size: tuple[int, int]) -> bytes:
    """A picture as bright as its person is old."""
    return bytes(cv2.imencode(".jpg", np.full((size[1], size[0], 3), 2 * age % 256, np.uint8))[1])


def build(name: str, root: Path, picture: Picture = grey) -> Path:
    """Write the miniature of distribution ``name`` into ``root``."""
    _BUILDERS[name](Writer(root, picture))
    return root


class Writer:
    """Writes files below ``root``, folders as needed."""

    def __init__(self, root: Path, picture: Picture) -> None:
        self.root = root
        self._picture = picture

    def face(self, path: str, age: float = 30, size: tuple[int, int] = (64, 64)) -> None:
        self.bytes(path, self._picture(age, size))

    def text(self, path: str, *lines: str) -> None:
        self.bytes(path, "".join(f"{line}\n" for line in lines).encode())

    def bytes(self, path: str, content: bytes) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)

    def mat(self, path: str, **structs: dict[str, Any]) -> None:
        from scipy.io import savemat

        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        savemat(self.root / path, structs, do_compression=True)


def row(values: list[Any]) -> np.ndarray:
    """(1, N): numbers as numbers, anything else as cells; as the .mat files of IMDB-WIKI hold them."""
    if all(isinstance(value, int | float) for value in values):
        return np.array([values], np.float64)
    cells = np.empty((1, len(values)), object)
    cells[0, :] = values
    return cells


def datenum(year: int, month: int, day: int) -> float:
    """Matlab's serial number of a day."""
    return float(datetime.date(year, month, day).toordinal() + 366)


def imdb_wiki_struct(
    rows: list[tuple[str, float, int, float, float, float]], names: list[str]
) -> dict[str, Any]:
    """The struct of (path, dob, photo_taken, gender, face_score, second_face_score) rows."""
    path, dob, taken, gender, score, second = (list(column) for column in zip(*rows, strict=True))
    return {
        "dob": row(dob),
        "photo_taken": row(taken),
        "full_path": row(path),
        "gender": row(gender),
        "name": row(names),
        "face_location": row([np.array([[1.0, 1.0, 60.0, 60.0]])] * len(rows)),
        "face_score": row(score),
        "second_face_score": row(second),
    }


NAN, INF = float("nan"), float("inf")

IMDB = [
    ("01/nm0000001_rm100_1950-3-10_1990.jpg", datenum(1950, 3, 10), 1990, 1, 4.1, NAN),
    ("01/nm0000001_rm101_1950-3-10_1991.jpg", datenum(1950, 3, 10), 1991, 1, 1.0, 0.0),
    ("02/nm0000002_rm102_1960-7-1_1990.jpg", datenum(1960, 7, 1), 1990, 0, 2.5, NAN),
    ("02/nm0000002_rm103_1960-6-30_1990.jpg", datenum(1960, 6, 30), 1990, 0, 2.5, NAN),
    ("03/nm0000003_rm104_1970-1-1_2000.jpg", datenum(1970, 1, 1), 2000, 0, -INF, NAN),
    ("03/nm0000003_rm105_1970-1-1_2001.jpg", datenum(1970, 1, 1), 2001, 0, 0.99, NAN),
    ("03/nm0000003_rm106_1970-1-1_2002.jpg", datenum(1970, 1, 1), 2002, 0, 3.0, 2.0),
    ("04/nm0000004_rm107_0-0-0_2014.jpg", 47.0, 2014, 1, 3.0, NAN),
    ("04/nm0000004_rm108_1990-8-1_1959.jpg", datenum(1990, 8, 1), 1959, 1, 3.0, NAN),
    ("04/nm0000004_rm109_1900-1-1_2000.jpg", datenum(1900, 1, 1), 2000, 1, 3.0, NAN),
    ("04/nm0000004_rm110_1899-1-1_2000.jpg", datenum(1899, 1, 1), 2000, 1, 3.0, NAN),
    ("05/nm0000005_rm111_1980-1-1_2000.jpg", datenum(1980, 1, 1), 2000, NAN, 3.0, NAN),
    ("05/nm0000005_rm112_1980-1-1_2001.jpg", datenum(1980, 1, 1), 2001, 1, 3.0, NAN),
    ("05/portrait_without_a_number.jpg", datenum(1980, 1, 1), 2002, 1, 3.0, NAN),
    ("05/nm0000005_rm113_1980-1-1_2003.jpg", NAN, 2003, 1, 3.0, NAN),
]
"""rm112 is listed and missing; rm110 is 101 years old, rm109 is 100; rm107 has the year-zero date."""


def _imdb(out: Writer) -> None:
    struct = imdb_wiki_struct(IMDB, [f"Person {path[:2]}" for path, *_ in IMDB])
    struct["celeb_names"] = row([f"Person {number:02d}" for number in range(1, 6)])
    struct["celeb_id"] = row([float(path[:2]) for path, *_ in IMDB])
    out.mat("imdb_crop/imdb.mat", imdb=struct)
    for path, *_ in IMDB:
        if "rm112" not in path:
            out.face(f"imdb_crop/{path}")
    out.face("imdb_crop/05/nm0000005_rm999_1980-1-1_2004.jpg")  # not listed


WIKI = [
    ("17/10000217_1981-05-05_2009.jpg", datenum(1981, 5, 5), 2009, 1, 4.3, NAN),
    ("48/10000548_1925-04-04_1964.jpg", datenum(1925, 4, 4), 1964, 0, 2.6, NAN),
    ("12/100012_1948-07-03_2008.jpg", datenum(1948, 7, 3), 2008, 1, 4.3, 1.5),
]


def _wiki(out: Writer) -> None:
    names = ["Ann Example", unicodedata.normalize("NFD", "Zoé Example"), "Ben Example"]
    out.mat("wiki_crop/wiki.mat", wiki=imdb_wiki_struct(WIKI, names))
    for path, *_ in WIKI:
        out.face(f"wiki_crop/{path}", size=(100, 100))


def _morph2(out: Writer) -> None:
    header = "id_num,picture_num,dob,doa,race,gender,facial_hair,age,age_diff,glasses,photo"
    out.text(
        "morph_2008_nonCommercial.csv",
        header,
        "009055,1,06/30/1950,01/02/2005,W,M,NULL,54,0,NULL,Album2/009055_1M54.JPG",
        "009055,2,06/30/1950,01/02/2006,W,M,NULL,55,366,NULL,Album2/009055_2M55.JPG",
        "000013,0,02/01/1980,03/01/1999,B,M,NULL,19,0,NULL,Album1/000013_00M19.JPG",
        "000013,1,02/02/1980,03/01/2000,B,M,NULL,20,366,NULL,Album1/000013_01M20.JPG",
        "000014,0,02/01/1980,03/01/1999,H,F,NULL,19,0,NULL,Album1/000014_00F19.JPG",
        "000014,1,02/01/1980,03/01/2000,W,M,NULL,20,366,NULL,Album1/000014_01M20.JPG",
        "000015,0,02/01/1980,03/01/1999,A,F,NULL,19,0,NULL,Album1/000015_00F19.JPG",
        "000016,0,02/01/1980,03/01/1999,O,F,NULL,33,0,NULL,Album1/000016_00F19.JPG",
        "000017,0,02/01/1980,03/01/1999,O,F,NULL,,0,NULL,Album1/000017_00F19.JPG",
        "000018,0,02/01/1980,03/01/1999,O,F,NULL,-3,0,NULL,Album1/000018_00F19.JPG",
        "000019,0,02/01/1980",
        "009055,1,06/30/1950,01/02/2005,W,M,NULL,54,0,NULL,Album2/009055_1M54.JPG",
    )
    for photo in (
        "Album2/009055_1M54.JPG",
        "Album2/009055_2M55.jpg",  # another case than in the table
        "Album1/000013_00M19.JPG",
        "Album1/000013_01M20.JPG",
        "Album1/000014_00F19.JPG",
        "Album1/000014_01M20.JPG",  # and 000015 is missing
        "Album1/000016_00F19.JPG",
        "Album1/000018_00F19.JPG",
        "Album1/000020_00F19.JPG",  # not listed
    ):
        out.face(photo, size=(200, 240))


def _megaage_asian(out: Writer) -> None:
    top = "megaage_asian/megaage_asian"
    out.text(f"{top}/list/train_name.txt", "1.jpg", "2.jpg", "3.jpg", "4.jpg", "5.jpg")
    out.text(f"{top}/list/train_age.txt", "0", "24", "oops", "-2", "70")
    out.text(f"{top}/list/test_name.txt", "1.jpg", "2.jpg")
    out.text(f"{top}/list/test_age.txt", "33", "44")
    for path, age in (
        ("train/1", 0),
        ("train/2", 24),
        ("train/3", 3),
        ("train/4", 4),
        ("test/1", 33),
        ("test/2", 44),
    ):
        out.face(f"{top}/{path}.jpg", age, (178, 218))  # and train/5.jpg is missing
    out.face(f"{top}/test/3.jpg", 50, (178, 218))  # not listed


def _utkface(out: Writer) -> None:
    for name in (
        "26_0_2_20170104023102422.jpg.chip.jpg",
        "1_1_0_20170104023102423.jpg.chip.jpg",
        "116_1_4_20170104023102424.JPG.chip.JPG",
        "39_1_20170116174525125.jpg.chip.jpg",  # the race is missing
        "61_3_20170109150557335.jpg.chip.jpg",
        "53__0_20170116184028385.jpg.chip.jpg",  # the gender is empty
        "30_3_0_20170116184028386.jpg.chip.jpg",  # no such gender
        "250_0_0_20170116184028387.jpg.chip.jpg",
    ):
        out.face(f"UTKFace/{name}", size=(200, 200))


def _afad(out: Writer) -> None:
    for path in (
        "15/111/292943-1.jpg",
        "15/112/671487-0.jpg",
        "72/111/292943-2.JPG",
        "15/113/1-0.jpg",
        "x/111/1-0.jpg",
    ):
        out.face(f"AFAD-Full/{path}")
    out.bytes("AFAD-Full/15/111/Thumbs.db", b"litter")
    out.text("AFAD-Full/AFAD-Full.txt", "./15/111/292943-1.jpg")


def _agedb(out: Writer) -> None:
    for name in (
        "0_MariaExample_35_f.jpg",
        "1_MariaExample_50_f.jpg",
        "2_" + unicodedata.normalize("NFD", "ZoéExample") + "_20_F.JPG",
        "3_ZoéExample_21_m.jpg",  # the same person, composed, with another sex
        "4_NoAge_m.jpg",
        "5_TooOld_140_m.jpg",
    ):
        out.face(f"AgeDB/{name}")


def _fgnet(out: Writer) -> None:
    for name in ("001A02.JPG", "001A43a.JPG", "001A43b.jpg", "002a05.jpg", "069A69.JPG", "cover.jpg"):
        out.face(f"FGNET/images/{name}")
    out.text("FGNET/points/001a02.pts", "version: 1")


CACD = [
    ("53_Robin_Example_0001.jpg", 53, 1, 2),
    ("40_Ann_Example_0001.jpg", 40, 2, 5),
    ("20_Zoé_Example_0001.jpg", 20, 3, 6),
    ("21_Zoé_Example_0002.jpg", 22, 3, 6),
    ("30_Gone_Example_0001.jpg", 30, 4, 7),
]
"""(name, age, identity, rank); the fourth's name says another age, the last is missing."""


def _cacd(out: Writer) -> None:
    name, age, identity, rank = (list(column) for column in zip(*CACD, strict=True))
    columns = {
        "age": age,
        "identity": identity,
        "year": [2010] * 5,
        "rank": rank,
        "lfw": [0] * 5,
        "birth": [1960] * 5,
    }
    images = {key: np.array(values, np.uint16)[:, None] for key, values in columns.items()}
    people = {"name": row(["Robin Example", "Ann Example"]).T, "identity": np.array([[1], [2]], np.uint16)}
    out.mat(
        "celebrity2000_meta.mat", celebrityData=people, celebrityImageData={**images, "name": row(name).T}
    )
    for file in name[:4]:
        out.face(f"CACD2000/{unicodedata.normalize('NFD', file)}", size=(250, 250))


def _appa_real(out: Writer) -> None:
    header = "file_name,num_ratings,apparent_age_avg,apparent_age_std,real_age"
    tables = {
        "train": ("000000.jpg,36,5.05,0.22,4", "000001.jpg,36,18.7,4.05,18", "000002.jpg,36,80.11,9.38,"),
        "valid": ("004113.jpg,34,29.88,4.4,29",),
        "test": ("005613.jpg,38,54.31,6.9,61", "005614.jpg,38,54.31,6.9,62"),
    }
    for split, rows in tables.items():
        out.text(f"appa-real-release/gt_avg_{split}.csv", header, *rows)
        for line in rows:
            file = f"appa-real-release/{split}/{line.split(',')[0]}"
            out.face(file, size=(120, 160))
            if "005614" not in file:  # has no crop
                out.face(f"{file}_face.jpg", size=(100, 100))


def _lagenda(out: Writer) -> None:
    out.text(
        "LAGENDA/lagenda_annotation.csv",
        "img_name,age,gender,face_x0,face_y0,face_x1,face_y1,person_x0,person_y0,person_x1,person_y1",
        "lag_benchmark/b5c8ef090f134ad5.jpg,23,M,10,20,40,60,0,0,90,120",
        "lag_benchmark/b5c8ef090f134ad5.jpg,31,F,60,20,90,55,50,0,120,120",
        "lag_benchmark/b5c8ef090f134ad5.jpg,-1,-1,-1,-1,-1,-1,70,0,120,120",
        "lag_benchmark/0011223344556677.jpg,4,-1,10,20,40,60,0,0,90,120",
        "lag_benchmark/0011223344556677.jpg,44,M,-1,-1,-1,-1,0,0,90,120",
        "lag_benchmark/0011223344556677.jpg,4,-1,10,20,40,60,0,0,90,120",
        "lag_benchmark/ffffffffffffffff.jpg.jpg,20,F,10,20,40,60,0,0,90,120",
        "lag_benchmark/0011223344556677.jpg,young,F,10,20,40,60,0,0,90,120",
    )
    out.face("LAGENDA/lag_benchmark/b5c8ef090f134ad5.jpg", 23, (128, 128))
    out.face("LAGENDA/lag_benchmark/0011223344556677.jpg", 4, (128, 128))


def _folder(out: Writer) -> None:
    out.text(
        "labels.csv",
        "file,sex,age_low,age_high,subject,camera,group",
        "000.jpg,m,30,39,ann,1,north",
        "001.JPG,f,70,,ben,1,north",
        "002.jpg,,4,4,cid,1,north",
        "003.jpg,m,9,3,dan,1,north",
        "004.jpg,m,,9,eva,1,north",
        "gone.jpg,m,1,2,fay,1,north",
        "000.jpg,m,30,39,ann,1,north",
        "005.jpg,m,130,,gus,1,north",
    )
    for name in ("000.jpg", "001.jpg", "002.jpg", "003.jpg", "004.jpg", "005.jpg", "more.jpg"):
        out.face(name)


_BUILDERS: dict[str, Callable[[Writer], None]] = {
    "imdb": _imdb,
    "wiki": _wiki,
    "morph2": _morph2,
    "megaage-asian": _megaage_asian,
    "utkface": _utkface,
    "afad": _afad,
    "agedb": _agedb,
    "fgnet": _fgnet,
    "cacd": _cacd,
    "appa-real": _appa_real,
    "lagenda": _lagenda,
    "folder": _folder,
}
