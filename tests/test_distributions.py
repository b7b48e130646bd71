"""The public data sets, read from miniatures in their exact layouts: labels, filters, traps, error texts."""

from __future__ import annotations

import datetime
import shutil
import time
import unicodedata
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from distributions import IMDB, Writer, build, datenum, grey, imdb_wiki_struct

from ssr_bundle.errors import SsrError
from ssr_train.data import distributions
from ssr_train.data.cutting import Cut, Cutter
from ssr_train.data.distributions.imdb_wiki import ages_of
from ssr_train.data.records import REMARKS, Problem, Record, Scan

DOCS = Path(__file__).resolve().parents[1] / "docs" / "datasets.md"

EVERY = pytest.mark.parametrize("name", distributions.NAMES)


def scan(name: str, root: Path) -> Scan:
    return distributions.scan(name, build(name, root))


def kinds(result: Scan) -> Counter[str]:
    return Counter(problem.kind for problem in result.problems)


def by_path(result: Scan) -> dict[str, Record]:
    return {unicodedata.normalize("NFC", record.path.as_posix()): record for record in result.records}


def said(result: Scan, where: str) -> str:
    """The detail of the only problem at ``where``."""
    (detail,) = [problem.detail for problem in result.problems if problem.where.endswith(where)]
    return detail


# What each miniature holds


def test_imdb_filters_as_published(tmp_path: Path) -> None:
    result = scan("imdb", tmp_path)
    assert [(r.path.name, r.age, r.subject, r.sex, r.face) for r in result.records] == [
        ("nm0000001_rm100_1950-3-10_1990.jpg", 40, "nm0000001", "m", "crop"),
        ("nm0000001_rm101_1950-3-10_1991.jpg", 41, "nm0000001", "m", "crop"),  # face score 1.0, second 0
        ("nm0000002_rm102_1960-7-1_1990.jpg", 29, "nm0000002", "f", "crop"),  # born in July: a year less
        ("nm0000002_rm103_1960-6-30_1990.jpg", 30, "nm0000002", "f", "crop"),
        ("nm0000004_rm109_1900-1-1_2000.jpg", 100, "nm0000004", "m", "crop"),
        ("portrait_without_a_number.jpg", 22, "celebrity 5", "m", "crop"),
    ]
    assert kinds(result) == {
        "no face": 1,
        "low face score": 1,
        "second face": 1,
        "age out of range": 3,
        "age unknown": 1,
        "sex unknown": 1,
        "missing file": 1,
        "unlisted file": 1,
    }
    assert said(result, "rm110_1899-1-1_2000.jpg") == "101 years, kept are 0 to 100"
    assert said(result, "rm112_1980-1-1_2001.jpg") == "listed in imdb.mat, not on disk"
    assert result.found == {
        "images": 15,
        "male": 9,
        "female": 5,
        "subjects": 4,
        "youngest": 22,
        "oldest": 100,
    }
    assert result.published["images"] == 460_723


def test_wiki_subjects_are_composed_names(tmp_path: Path) -> None:
    result = scan("wiki", tmp_path)
    assert [(r.age, r.subject, r.sex) for r in result.records] == [
        (28, "Ann Example", "m"),
        (39, "Zoé Example", "f"),
    ]
    assert kinds(result) == {"second face": 1}


def test_the_age_formula_is_that_of_the_public_code() -> None:
    """Against Python's own calendar, day by day through 400 years, and the dates that are none."""
    rng = np.random.default_rng(0)
    dob = rng.integers(366 + 1, datenum(2100, 1, 1), 5000).astype(float)
    taken = rng.integers(1900, 2016, 5000).astype(float)
    births = [datetime.date.fromordinal(max(int(day) - 366, 1)) for day in dob]
    expected = [year - birth.year - (birth.month >= 7) for birth, year in zip(births, taken, strict=True)]
    np.testing.assert_array_equal(ages_of(dob, taken), expected)
    np.testing.assert_array_equal(
        ages_of(np.array([0.0, -5.0, 47.0]), np.full(3, 2015.0)), [2014, 2014, 2014]
    )
    assert np.isnan(ages_of(np.array([np.nan, 700000.0, np.inf]), np.array([2000.0, np.nan, 2000.0]))).all()


def test_morph2_keeps_contradicting_rows_and_says_so(tmp_path: Path) -> None:
    result = scan("morph2", tmp_path)
    assert [(r.path.as_posix(), r.age, r.subject, r.sex, r.group) for r in result.records] == [
        ("Album2/009055_1M54.JPG", 54, "9055", "m", "White"),
        ("Album2/009055_2M55.jpg", 55, "9055", "m", "White"),  # another case on disk than in the table
        ("Album1/000013_00M19.JPG", 19, "13", "m", "Black"),
        ("Album1/000013_01M20.JPG", 20, "13", "m", "Black"),
        ("Album1/000014_00F19.JPG", 19, "14", "f", "Hispanic"),
        ("Album1/000014_01M20.JPG", 20, "14", "m", "White"),
        ("Album1/000016_00F19.JPG", 33, "16", "f", "Other"),
    ]
    assert {r.face for r in result.records} == {"photo"}
    conflicts = [(p.where, p.detail) for p in result.problems if p.kind == "label conflict"]
    table = "morph_2008_nonCommercial.csv"
    assert conflicts == [
        (f"{table}:9", "subject 000016, 33 years in the table (kept), the photo is called 000016_00F19.JPG"),
        ("subject 13", "more than one birth date: 02/01/1980, 02/02/1980; every row kept with its own"),
        ("subject 14", "more than one group: H, W; every row kept with its own"),
        ("subject 14", "more than one sex: F, M; every row kept with its own"),
    ]
    dropped = {p.where: p.kind for p in result.problems if p.kind not in REMARKS}
    assert dropped == {
        "Album1/000015_00F19.JPG": "missing file",
        f"{table}:10": "malformed label",
        f"{table}:11": "age out of range",
        f"{table}:12": "malformed label",
        "Album2/009055_1M54.JPG": "listed twice",
    }
    assert result.found["images"] == 12 == len(result.records) + result.dropped


def test_morph2_repack_reads_the_names(tmp_path: Path) -> None:
    out = Writer(tmp_path, grey)
    for name in ("00013_00M19.JPG", "00013_01F20.jpg", "00014_00F300.JPG", "note.png"):
        out.face(f"Images/{name}")
    result = distributions.scan("morph2", tmp_path)
    assert [(r.path.name, r.age, r.subject, r.sex, r.group) for r in result.records] == [
        ("00013_00M19.JPG", 19, "13", "m", ""),
        ("00013_01F20.jpg", 20, "13", "f", ""),
    ]
    assert kinds(result) == {"label conflict": 1, "age out of range": 1, "malformed name": 1}


def test_morph2_repack_with_the_table_is_matched_by_subject_and_picture(tmp_path: Path) -> None:
    build("morph2", tmp_path)
    Writer(tmp_path, grey).face("Images/09055_01M54.JPG")
    shutil.rmtree(tmp_path / "Album2")
    result = distributions.scan("morph2", tmp_path)
    assert by_path(result)["Images/09055_01M54.JPG"].age == 54


def test_megaage_asian_splits_and_square(tmp_path: Path) -> None:
    result = scan("megaage-asian", tmp_path)
    assert [(r.path.as_posix(), r.age, r.split) for r in result.records] == [
        ("train/1.jpg", 0, "train"),
        ("train/2.jpg", 24, "train"),
        ("test/1.jpg", 33, "test"),
        ("test/2.jpg", 44, "test"),
    ]
    assert {(r.box, r.face, r.sex) for r in result.records} == {((0, 20, 178, 178), "crop", "")}
    assert said(result, "train_age.txt:3") == "expected an age, found 'oops'"
    assert kinds(result) == {
        "malformed label": 1,
        "age out of range": 1,
        "missing file": 1,
        "unlisted file": 1,
    }
    assert (result.found["train"], result.found["test"], result.published["test"]) == (5, 2, 3_945)


def test_megaage_asian_lists_of_different_length_are_refused(tmp_path: Path) -> None:
    build("megaage-asian", tmp_path)
    list_file = tmp_path / "megaage_asian/megaage_asian/list/train_age.txt"
    list_file.write_text(list_file.read_text() + "3\n\n")
    with pytest.raises(
        SsrError, match=r"train_name\.txt has 5 lines, list/train_age\.txt 6; which age is whose"
    ):
        distributions.scan("megaage-asian", tmp_path)


def test_utkface_gender_is_the_opposite_of_imdb_wiki(tmp_path: Path) -> None:
    result = scan("utkface", tmp_path)
    assert [(r.age, r.sex, r.group, r.face) for r in sorted(result.records, key=lambda r: r.age)] == [
        (1, "f", "White", "crop"),
        (26, "m", "Asian", "crop"),
        (116, "f", "Other", "crop"),
    ]
    assert kinds(result) == {"malformed name": 4, "age out of range": 1}
    assert said(result, "39_1_20170116174525125.jpg.chip.jpg").startswith(
        "expected <age>_<gender 0|1>_<race 0..4>_"
    )


def test_utkface_in_the_wild_is_the_union_of_its_parts(tmp_path: Path) -> None:
    out = Writer(tmp_path, grey)
    for part in (1, 2, 3):
        out.face(f"part{part}/2{part}_0_2_2017010402310242{part}.jpg")
    result = distributions.scan("utkface", tmp_path)
    assert [(r.path.as_posix()[:6], r.age, r.face) for r in result.records] == [
        ("part1/", 21, "photo"),
        ("part2/", 22, "photo"),
        ("part3/", 23, "photo"),
    ]


def test_afad_reads_folders(tmp_path: Path) -> None:
    result = scan("afad", tmp_path)
    assert [(r.path.as_posix(), r.age, r.sex, r.subject) for r in result.records] == [
        ("15/111/292943-1.jpg", 15, "m", ""),
        ("15/112/671487-0.jpg", 15, "f", ""),
        ("72/111/292943-2.JPG", 72, "m", ""),
    ]
    assert kinds(result) == {"malformed name": 2}


def test_agedb_joins_spellings_of_one_name(tmp_path: Path) -> None:
    result = scan("agedb", tmp_path)
    assert [(r.age, r.sex, r.subject) for r in result.records] == [
        (35, "f", "MariaExample"),
        (50, "f", "MariaExample"),
        (20, "f", "ZoéExample"),
        (21, "m", "ZoéExample"),
    ]
    assert kinds(result) == {"malformed name": 1, "age out of range": 1, "label conflict": 1}
    assert all((result.root / r.path).is_file() for r in result.records)
    assert result.found["subjects"] == 2


def test_fgnet_letters_and_cases(tmp_path: Path) -> None:
    result = scan("fgnet", tmp_path)
    assert [(r.subject, r.age) for r in result.records] == [
        ("001", 2),
        ("001", 43),
        ("001", 43),
        ("002", 5),
        ("069", 69),
    ]
    assert kinds(result) == {"malformed name": 1}


def test_cacd_splits_by_rank_and_finds_accents(tmp_path: Path) -> None:
    result = scan("cacd", tmp_path)
    assert [(r.age, r.subject, r.split) for r in result.records] == [
        (53, "Robin_Example", "validation"),
        (40, "Ann_Example", "test"),
        (20, "Zoé_Example", "train"),
        (22, "Zoé_Example", "train"),
    ]
    assert all((result.root / r.path).is_file() for r in result.records)  # on disk the accent is decomposed
    assert kinds(result) == {"label conflict": 1, "missing file": 1}


def test_appa_real_takes_real_ages_and_published_crops(tmp_path: Path) -> None:
    result = scan("appa-real", tmp_path)
    assert [(r.path.as_posix(), r.age, r.split, r.face) for r in result.records] == [
        ("train/000000.jpg_face.jpg", 4, "train", "crop"),
        ("train/000001.jpg_face.jpg", 18, "train", "crop"),
        ("valid/004113.jpg_face.jpg", 29, "validation", "crop"),
        ("test/005613.jpg_face.jpg", 61, "test", "crop"),
    ]
    assert kinds(result) == {"malformed label": 1, "missing file": 1}


def test_lagenda_gives_several_faces_a_photo(tmp_path: Path) -> None:
    result = scan("lagenda", tmp_path)
    assert [(r.path.stem, r.age, r.sex, r.box) for r in result.records] == [
        ("b5c8ef090f134ad5", 23, "m", (10, 20, 30, 40)),
        ("b5c8ef090f134ad5", 31, "f", (60, 20, 30, 35)),
        ("0011223344556677", 4, "", (10, 20, 30, 40)),
    ]
    assert kinds(result) == {
        "age unknown": 1,
        "no face": 1,
        "listed twice": 1,
        "missing file": 1,
        "malformed label": 1,
    }


BOXES = """\
lag_benchmark/0011223344556677.jpg,50,F,ten,20,40,60,0,0,90,120
lag_benchmark/0011223344556677.jpg,50,F,10,20,10,60,0,0,90,120
lag_benchmark/0011223344556677.jpg,50,F,10,60,40,20,0,0,90,120
lag_benchmark/0011223344556677.jpg,50,F,-5,20,40,60,0,0,90,120
lag_benchmark/0011223344556677.jpg,50,F,129,20,140,60,0,0,90,120
"""
"""Face boxes in 128 x 128 pixels: no number, no area, inverted, over the left edge, beyond the right one."""


def test_lagenda_boxes_that_hold_no_face(tmp_path: Path) -> None:
    build("lagenda", tmp_path)
    table = tmp_path / "LAGENDA/lagenda_annotation.csv"
    before = distributions.scan("lagenda", tmp_path)
    table.write_text(table.read_text().rstrip("\n") + "\n" + BOXES)
    after = distributions.scan("lagenda", tmp_path)
    name = "lag_benchmark/0011223344556677.jpg"
    found = [p for p in after.problems if p not in before.problems]
    assert [(p.kind, p.where.rpartition(":")[2]) for p in found] == [
        ("malformed label", "10"),
        ("malformed label", "11"),
        ("malformed label", "12"),
        ("box outside the picture", "13"),
    ]
    assert "expected numbers for age and face box, found" in found[0].detail
    assert [p.detail for p in found[1:]] == [
        f"{name}: face box {box}" for box in ("10 20 10 60", "10 60 40 20", "-5 20 40 60")
    ]
    assert [r.box for r in after.records[len(before.records) :]] == [(129, 20, 11, 40)]
    outside = (name, "(129, 20, 11, 40) lies outside the picture of 128 x 128")
    cutter = Cutter(after.root, Cut(detector="none"))
    for look in (True, False):
        assert cutter.make(after.records[-1], look=look) == ("box outside the picture", *outside)
        assert not isinstance(cutter.make(after.records[0], look=look), Problem)


def test_lagenda_pictures_in_another_folder_than_the_table_says(tmp_path: Path) -> None:
    build("lagenda", tmp_path)
    (tmp_path / "LAGENDA/lag_benchmark").rename(tmp_path / "LAGENDA/pictures")
    result = distributions.scan("lagenda", tmp_path)
    assert {r.path.parent.as_posix() for r in result.records} == {"pictures"}


@pytest.mark.parametrize("name", ["imdb", "megaage-asian", "cacd", "appa-real", "lagenda"])
def test_listed_files_in_another_case_are_found(name: str, tmp_path: Path) -> None:
    before = scan(name, tmp_path)
    for file in [*before.root.rglob("*.jpg")]:
        file.rename(file.with_name(file.name.upper()))
    after = distributions.scan(name, tmp_path)
    assert [r.age for r in after.records] == [r.age for r in before.records]
    assert all((after.root / r.path).is_file() and r.path.name.isupper() for r in after.records)


def test_a_labelled_folder_has_ages_or_bins(tmp_path: Path) -> None:
    result = scan("folder", tmp_path / "bins")
    assert [(r.path.name, r.age, r.ages, r.subject, r.sex, r.face) for r in result.records] == [
        ("000.jpg", 34.5, (30, 39), "ann", "m", "central"),
        ("001.jpg", 70, (70, None), "ben", "f", "central"),
        ("002.jpg", 4, None, "cid", "", "central"),
    ]
    assert kinds(result) == {
        "malformed label": 2,
        "missing file": 1,
        "listed twice": 1,
        "age out of range": 1,
        "unlisted file": 3,
        "ages in bins": 1,
    }
    exact = tmp_path / "exact"
    exact.mkdir()
    (exact / "a.png").touch()
    (exact / "labels.csv").write_text("age,file\n7.5,a.png\n")
    (record,) = distributions.scan("folder", exact).records
    assert record == Record(Path("a.png"), 7.5, face="central")
    (exact / "labels.csv").write_text("file,age_low\na.png,7\n")
    with pytest.raises(SsrError, match=r"column age_high is missing; expected file, age_low, age_high"):
        distributions.scan("folder", exact)


# What holds for every one of them


@EVERY
def test_the_registry_keeps_what_it_promises(name: str, tmp_path: Path) -> None:
    """What ``gives`` names occurs in records, what it does not never does; counts have published names."""
    known, result = distributions.about(name), scan(name, tmp_path)
    seen = {
        field
        for field in ("subject", "sex", "group", "box", "split")
        if any(getattr(record, field) not in ("", None) for record in result.records)
    }
    assert seen == set(known.gives)
    assert result.published == known.published
    assert set(known.published) <= set(result.found)
    assert result.licence == known.licence
    shipped = result.found.get("labelled" if name == "lagenda" else "images")
    if name != "lagenda":
        assert len(result.records) + result.dropped == shipped
    assert all(known.keeps(record.age) for record in result.records)


@EVERY
def test_paths_are_relative_and_there(name: str, tmp_path: Path) -> None:
    result = scan(name, tmp_path)
    assert result.records
    assert all(not record.path.is_absolute() for record in result.records)
    assert all((result.root / record.path).is_file() for record in result.records)


@EVERY
def test_reading_twice_is_the_same(name: str, tmp_path: Path) -> None:
    assert scan(name, tmp_path) == distributions.scan(name, tmp_path)


@EVERY
def test_found_two_levels_down_and_past_the_litter_of_archives(name: str, tmp_path: Path) -> None:
    (tmp_path / "straight").mkdir()
    straight = scan(name, tmp_path / "straight")
    nested = tmp_path / "nested"
    # As deep as it may lie: what the distribution calls its own top folder is two levels down.
    shutil.copytree(straight.root, nested / "archive" / straight.root.name)
    litter = nested / "archive" / straight.root.name / "__MACOSX"
    litter.mkdir()
    for record in straight.records:
        (litter / record.path.name).write_bytes(b"\0\5\x16\7")
        (nested / "archive" / straight.root.name / record.path.parent / f"._{record.path.name}").write_bytes(
            b""
        )
    deep = distributions.scan(name, nested)
    assert deep.root == nested / "archive" / straight.root.name
    assert (deep.records, deep.problems) == (straight.records, straight.problems)


@EVERY
def test_docs_and_describe_name_layout_terms_and_labels(name: str) -> None:
    known, page = distributions.about(name), DOCS.read_text()
    line, _, layout = distributions.describe(name).partition("\n")
    assert known.title in line
    assert known.licence in line
    assert layout == known.layout
    for fact in (f"`{name}`", known.source, known.licence, *known.layout.splitlines()):
        assert fact in page, f"docs/datasets.md lacks {fact!r}"


@EVERY
def test_pictures_are_never_opened(name: str, tmp_path: Path) -> None:
    """A scan of files without a byte in them is the same: reading labels reads no pictures."""
    first = scan(name, tmp_path)
    for file in tmp_path.rglob("*"):
        if file.suffix.lower() in (".jpg", ".png"):
            file.write_bytes(b"")
    assert distributions.scan(name, tmp_path) == first


# Broken label files


@pytest.mark.parametrize("fault", ["truncated", "text", "another struct", "unequal fields"])
@pytest.mark.parametrize("name", ["imdb", "wiki"])
def test_file_names_stand_in_for_a_broken_mat(name: str, fault: str, tmp_path: Path) -> None:
    build(name, tmp_path)
    mat = tmp_path / f"{name}_crop" / f"{name}.mat"
    if fault == "truncated":
        mat.write_bytes(mat.read_bytes()[: mat.stat().st_size // 2])
    elif fault == "text":
        mat.write_text("<html>quota exceeded</html>")
    elif fault == "another struct":
        Writer(tmp_path, grey).mat(f"{name}_crop/{name}.mat", other=imdb_wiki_struct(IMDB, ["x"] * len(IMDB)))
    else:
        struct = imdb_wiki_struct(IMDB, ["x"] * len(IMDB))
        struct["celeb_id"] = np.ones((1, 3))
        struct["dob"] = struct["dob"][:, :-1]
        Writer(tmp_path, grey).mat(f"{name}_crop/{name}.mat", **{name: struct})
    result = distributions.scan(name, tmp_path)
    first = result.problems[0]
    assert (first.kind, first.where) == ("broken labels", f"{name}.mat")
    assert first.detail.startswith(f"struct {name}")
    assert first.detail.endswith("ages are from the file names, nothing else is known")
    assert {record.sex for record in result.records} == {""}
    if name == "wiki":
        assert [r.age for r in result.records] == [59, 28, 39]
    else:
        ages = {r.path.name: r.age for r in result.records}
        assert ages["nm0000002_rm102_1960-7-1_1990.jpg"] == 29
        assert ages["nm0000002_rm103_1960-6-30_1990.jpg"] == 30
        assert by_path(result)["01/nm0000001_rm100_1950-3-10_1990.jpg"].subject == "nm0000001"
        assert kinds(result) == {"broken labels": 1, "malformed name": 2, "age out of range": 2}


def test_file_names_stand_in_for_cacds_broken_mat(tmp_path: Path) -> None:
    build("cacd", tmp_path)
    (tmp_path / "celebrity2000_meta.mat").write_bytes(b"MATLAB 5.0")
    result = distributions.scan("cacd", tmp_path)
    assert kinds(result) == {"broken labels": 1}
    assert [(r.age, r.subject, r.split) for r in sorted(result.records)] == [
        (20, "Zoé_Example", ""),
        (21, "Zoé_Example", ""),
        (40, "Ann_Example", ""),
        (53, "Robin_Example", ""),
    ]


# Error texts


@EVERY
def test_a_missing_root(name: str, tmp_path: Path) -> None:
    with pytest.raises(SsrError, match=f"{tmp_path}/absent: does not exist, expected the unpacked folder of"):
        distributions.scan(name, tmp_path / "absent")


@EVERY
def test_a_root_that_is_a_file(name: str, tmp_path: Path) -> None:
    (tmp_path / "archive.zip").write_bytes(b"PK")
    with pytest.raises(SsrError, match=r"archive\.zip: is a file, expected the unpacked folder of"):
        distributions.scan(name, tmp_path / "archive.zip")


@EVERY
def test_an_empty_root_says_what_was_expected(name: str, tmp_path: Path) -> None:
    known = distributions.about(name)
    with pytest.raises(SsrError) as error:
        distributions.scan(name, tmp_path)
    assert f"not the layout of {known.title}: found an empty folder" in str(error.value)
    assert known.layout.splitlines()[0] in str(error.value)
    assert "\n" not in str(error.value)


@EVERY
def test_another_distribution_is_refused(name: str, tmp_path: Path) -> None:
    """The root of each is no other's, and the text names what lies there instead."""
    other = "appa-real" if name == "fgnet" else "fgnet"
    with pytest.raises(
        SsrError, match=r"not the layout of .*(found (FGNET|appa-real-release)|first picture)"
    ):
        distributions.scan(name, build(other, tmp_path))


@pytest.mark.parametrize(
    ("name", "gone", "text"),
    [
        ("morph2", "morph_2008_nonCommercial.csv", "morph_2008_nonCommercial.csv is missing"),
        ("megaage-asian", "megaage_asian/megaage_asian/list/test_age.txt", "list/test_age.txt is missing"),
        ("megaage-asian", "megaage_asian/megaage_asian/test", "test/ is missing"),
        ("appa-real", "appa-real-release/gt_avg_valid.csv", "gt_avg_valid.csv is missing"),
        ("appa-real", "appa-real-release/valid", "valid/ is missing"),
        ("imdb", "imdb_crop/imdb.mat", "found imdb_crop, and no imdb.mat up to two levels down"),
        (
            "cacd",
            "celebrity2000_meta.mat",
            "found CACD2000, and no celebrity2000_meta.mat beside pictures up to two levels down",
        ),
    ],
)
def test_the_first_thing_that_differs(name: str, gone: str, text: str, tmp_path: Path) -> None:
    build(name, tmp_path)
    path = tmp_path / gone
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(SsrError) as error:
        distributions.scan(name, tmp_path)
    assert f"not the layout of {distributions.about(name).title}: {text}. Expected: " in str(error.value)


def test_labels_without_pictures(tmp_path: Path) -> None:
    build("imdb", tmp_path)
    for folder in (tmp_path / "imdb_crop").glob("0*"):
        shutil.rmtree(folder)
    with pytest.raises(SsrError, match=r"no picture lies under it, only imdb\.mat"):
        distributions.scan("imdb", tmp_path)


def test_nothing_usable_says_why(tmp_path: Path) -> None:
    build("lagenda", tmp_path)
    shutil.rmtree(tmp_path / "LAGENDA/lag_benchmark")
    with pytest.raises(SsrError) as error:
        distributions.scan("lagenda", tmp_path)
    assert "no usable face of LAGENDA; 7 × missing file (lagenda_annotation.csv:2: lag_benchmark/b5c8" in str(
        error.value
    )


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("morph2", "morph_2008_nonCommercial.csv"),
        ("appa-real", "appa-real-release/gt_avg_train.csv"),
        ("lagenda", "LAGENDA/lagenda_annotation.csv"),
    ],
)
def test_a_table_with_other_columns(name: str, table: str, tmp_path: Path) -> None:
    file = build(name, tmp_path) / table
    file.write_text("img,years\na.jpg,3\n")
    with pytest.raises(
        SsrError, match=r"column (id_num|file_name|img_name) is missing; .*, found img, years"
    ):
        distributions.scan(name, tmp_path)
    file.write_text("")
    with pytest.raises(SsrError, match=r"is missing; expected .*, found nothing"):
        distributions.scan(name, tmp_path)


@pytest.mark.parametrize("name", ["morph2", "appa-real", "lagenda"])
def test_tables_may_carry_a_mark_and_windows_line_ends(name: str, tmp_path: Path) -> None:
    before = scan(name, tmp_path)
    for table in tmp_path.rglob("*.csv"):
        table.write_bytes(b"\xef\xbb\xbf" + table.read_bytes().replace(b"\n", b"\r\n"))
    after = distributions.scan(name, tmp_path)
    assert (after.records, after.problems) == (before.records, before.problems)


def test_two_copies_are_not_guessed_between(tmp_path: Path) -> None:
    picture = "26_0_2_20170104023102422.jpg.chip.jpg"
    out = Writer(tmp_path, grey)
    out.face(f"crop_part1/{picture}")
    out.face(f"mine/{picture}")
    with pytest.raises(SsrError, match=r"more than one copy of UTKFace \(crop_part1, mine\); name one"):
        distributions.scan("utkface", tmp_path)
    out.face(f"UTKFace/{picture}")  # the published name settles it
    assert distributions.scan("utkface", tmp_path).root == tmp_path / "UTKFace"


def test_a_link_that_leads_back_ends(tmp_path: Path) -> None:
    build("imdb", tmp_path)
    (tmp_path / "imdb_crop" / "again").symlink_to(tmp_path / "imdb_crop", target_is_directory=True)
    result = distributions.scan("imdb", tmp_path)
    assert len(result.records) == 6
    assert sum(p.where.startswith("again/01/") for p in result.problems if p.kind == "unlisted file") == 2


def test_an_unknown_name() -> None:
    with pytest.raises(
        SsrError, match=r"--data faces: unknown distribution, expected one of: imdb, wiki, .*lagenda"
    ):
        distributions.describe("faces")


# Size


def test_large_tables_scan_in_seconds(tmp_path: Path) -> None:
    """40,000 rows of IMDB, far inside 10 s: nothing grows with the square of the rows."""
    rows = 40_000
    names = [f"{i % 100:02d}/nm{i % 900:07d}_rm{i:09d}_1970-2-3_2000.jpg" for i in range(rows)]
    dob, taken = datenum(1970, 2, 3), 2000
    struct = imdb_wiki_struct(
        [(name, dob, taken, i % 2, 3.0, float("nan")) for i, name in enumerate(names)], ["x"] * rows
    )
    struct["celeb_id"] = np.arange(rows, dtype=np.float64)[None] % 900
    Writer(tmp_path, grey).mat("imdb_crop/imdb.mat", imdb=struct)
    for number in range(100):
        (tmp_path / f"imdb_crop/{number:02d}").mkdir()
    for name in names[:400]:
        (tmp_path / "imdb_crop" / name).touch()
    start = time.perf_counter()
    result = distributions.scan("imdb", tmp_path)
    assert time.perf_counter() - start < 10
    assert (len(result.records), kinds(result)) == (400, {"missing file": rows - 400})
    assert {record.age for record in result.records} == {30}
