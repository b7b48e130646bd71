"""From a distribution on disk to a prepared set: every way in, every way to be stopped, every bad picture."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from background import alive
from conftest import ROOT, material
from distributions import build
from ssr_client.detectors import Haar, YuNet, to_convention
from ssr_client.preprocess import crop_faces, read_picture
from typer.testing import CliRunner

from ssr_bundle.bundle import hash_file
from ssr_bundle.disk import replace_file
from ssr_bundle.errors import SsrError
from ssr_train.cli import app
from ssr_train.data import distributions, load
from ssr_train.data.cutting import ALIGNED, PLAIN, Cut, Cutter, Made
from ssr_train.data.doctor import Diagnosis
from ssr_train.data.prepare import diagnose, prepare
from ssr_train.data.prepared import open_prepared, read_index, write_index
from ssr_train.data.records import Problem, Record
from ssr_train.data.synthetic import draw

ASTRONAUT = ROOT / "ssr_ops/assets/astronaut.jpg"
PUBLISHED = Cut(detector="none")


class Drawn:
    """Drawn faces for the miniatures: another one in every file, as a JPEG."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, age: float, size: tuple[int, int]) -> bytes:
        self.count += 1
        face, _ = draw(0, self.count, min(max(age, 0), 100))
        return bytes(cv2.imencode(".jpg", cv2.resize(face, size, interpolation=cv2.INTER_CUBIC))[1])


def files(folder: Path) -> dict[str, bytes]:
    return {f.name: f.read_bytes() for f in folder.iterdir() if f.name != ".lock"}


# The set that comes out.


@pytest.mark.parametrize("name", ["imdb", "wiki", "megaage-asian", "utkface", "afad", "appa-real"])
def test_published_crops_are_only_resized(name: str, tmp_path: Path) -> None:
    root = build(name, tmp_path / "root", Drawn())
    report = prepare(name, root, tmp_path / "out", Cut(size=48), workers=1)
    data = open_prepared(tmp_path / "out")
    scan = distributions.scan(name, root)
    assert len(data) == len(scan.records) == report.usable
    assert data.images.shape[1:] == (48, 48, 3)
    assert isinstance(data.images, np.memmap)
    assert not data.images.flags.writeable
    for i, record in enumerate(scan.records):
        picture = read_picture(scan.root / record.path)
        if record.box is not None:
            x, y, w, h = (int(v) for v in record.box)
            picture = picture[y : y + h, x : x + w]
        expected = cv2.resize(picture, (48, 48), interpolation=cv2.INTER_LINEAR)
        np.testing.assert_array_equal(data.images[i], expected)
        labels = (data.ages[i], data.subjects[i], data.sexes[i], data.groups[i], data.splits[i])
        assert labels == (np.float32(record.age), record.subject, record.sex, record.group, record.split)
    assert (data.name, data.synthetic, data.licence) == (name, False, scan.licence)
    assert "published crops" in data.description


def test_megaage_uses_the_rows_that_the_public_code_uses(tmp_path: Path) -> None:
    root = build("megaage-asian", tmp_path / "root", Drawn())
    record = distributions.scan("megaage-asian", root).records[0]
    assert record.box == (0, 20, 178, 178)


@pytest.mark.parametrize("name", distributions.NAMES)
def test_every_distribution_can_be_prepared(name: str, tmp_path: Path) -> None:
    """Photos among them show the astronaut, found by the Haar cascade that is always there."""
    photo = ASTRONAUT.read_bytes()
    root = build(name, tmp_path / "root", lambda age, size: photo)
    detector = "none" if name == "lagenda" else "haar"  # the miniature's boxes are not where the astronaut is
    prepare(name, root, tmp_path / "out", Cut(detector=detector), workers=1)
    data = load(str(tmp_path / "out"), count=0, seed=0, workers=1)
    assert len(data) > 0
    known = "subject" in distributions.about(name).gives
    assert (data.subjects != "").all() == known


def test_processes_change_nothing(many: Path, whole: dict[str, bytes], tmp_path: Path) -> None:
    prepare("utkface", many, tmp_path / "out", Cut(size=SIZE), workers=1)
    assert files(tmp_path / "out") == whole


def test_a_file_name_that_is_not_utf8(tmp_path: Path) -> None:
    folder = tmp_path / "AFAD-Full/20/112"
    folder.mkdir(parents=True)
    for name in (b"1-0.jpg", b"caf\xe9-1.jpg"):
        (folder / os.fsdecode(name)).write_bytes(Drawn()(20, (64, 64)))
    report = prepare("afad", tmp_path, tmp_path / "out", Cut(), workers=1)
    assert len(open_prepared(tmp_path / "out")) == 2
    assert report.findings[0].kind == "same picture twice"
    assert b"caf\xe9-1.jpg" in (tmp_path / "out/index.csv").read_bytes()


def test_one_of_copies_keeps_a_picture_once_and_none_that_is_labelled_twice(tmp_path: Path) -> None:
    """Files of 20, 30 and 40 years: one alone, one that is there twice, one with two ages."""
    same, both, alone = (Drawn()(age, (64, 64)) for age in (20, 30, 40))
    for name, data in {
        "20/112/1-0.jpg": same,
        "20/112/2-0.jpg": same,
        "30/112/3-0.jpg": both,
        "31/111/4-0.jpg": both,
        "40/111/5-0.jpg": alone,
    }.items():
        path = tmp_path / "set/AFAD-Full" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    report = prepare("afad", tmp_path / "set", tmp_path / "out", Cut(), workers=1, one_of_copies=True)
    assert sorted(open_prepared(tmp_path / "out").ages) == [20, 40]
    found = {finding.kind: finding for finding in report.findings}
    assert {kind: (f.count, f.drops) for kind, f in found.items()} == {
        "copies labelled differently": (2, True),
        "copy": (1, True),
    }
    assert "2-0.jpg (of " in found["copy"].examples[0]
    assert "the same picture is labelled 30, 31" in found["copies labelled differently"].examples[0]
    again = prepare("afad", tmp_path / "set", tmp_path / "out", Cut(), one_of_copies=True, resume=True)
    assert again == report
    with pytest.raises(SsrError, match="begun with"):
        prepare("afad", tmp_path / "set", tmp_path / "out", Cut(), resume=True)


def test_limit_spreads_evenly(tmp_path: Path) -> None:
    root = build("afad", tmp_path / "root", Drawn())
    records = distributions.scan("afad", root).records
    prepare("afad", root, tmp_path / "out", PUBLISHED, workers=1, limit=2)
    paths = [line.split(",")[0] for line in (tmp_path / "out/index.csv").read_text().splitlines()[1:]]
    assert paths == [records[0].path.as_posix(), records[len(records) // 2].path.as_posix()]


# Faces in photos.


def test_a_photo_is_cut_as_the_contract_says() -> None:
    photo = read_picture(ASTRONAUT)
    made = Cutter(ASTRONAUT.parent, Cut(detector="haar")).make(Record(Path(ASTRONAUT.name), 40))
    assert isinstance(made, Made)
    found = Haar().detect(photo)
    box = to_convention(found[0].box, "haar", "yunet")
    np.testing.assert_array_equal(made.picture, crop_faces(photo, [box], PLAIN)[0])


def test_yunet_cuts_the_face_that_the_published_box_names() -> None:
    """Six faces in one photo: a box as rough as annotations are picks its own."""
    model = material("detectors/yunet_n_640_640.onnx")
    photo = read_picture(path := material("faces/the_flash_cast.png"))
    cutter = Cutter(path.parent, Cut(detector="yunet"))
    found = YuNet(model).detect(photo)
    assert len(found) == 6
    for face in found:
        x, y, w, h = face.box
        rough = (x - 0.15 * w, y + 0.1 * h, 1.2 * w, 0.9 * h)
        made = cutter.make(Record(Path(path.name), 40, box=rough))
        assert isinstance(made, Made)
        every = crop_faces(photo, [other.box for other in found], PLAIN).astype(float)
        difference = np.abs(every - made.picture).mean((1, 2, 3))
        assert np.argmin(difference) == found.index(face)
        assert 2 * difference.min() < np.sort(difference)[1], "in the window the box moves, by a few pixels"
    alone = cutter.make(Record(Path(path.name), 40))
    assert isinstance(alone, Problem)
    assert alone[:2] == ("second face", path.name)
    nobody = cutter.make(Record(Path(path.name), 40, box=(0.0, 400.0, 40.0, 40.0)))
    assert isinstance(nobody, Problem)
    assert nobody.kind == "no face"


def test_a_photo_is_aligned_by_its_landmarks() -> None:
    model = material("detectors/yunet_n_640_640.onnx")
    photo = read_picture(ASTRONAUT)
    made = Cutter(ASTRONAUT.parent, Cut(align="similarity", detector="yunet", size=96)).make(
        Record(Path(ASTRONAUT.name), 40)
    )
    assert isinstance(made, Made)
    face = YuNet(model).detect(photo)[0]
    expected = crop_faces(photo, [face.box], ALIGNED, 96, [face.landmarks])[0]
    np.testing.assert_array_equal(made.picture, expected)


# Bad pictures are problems, not crashes.


def test_bad_pictures(tmp_path: Path) -> None:
    jpeg = Drawn()(30, (200, 200))
    png = bytes(cv2.imencode(".png", np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))[1])
    thumbnail = b"\xff\xe1" + (len(jpeg) + 2).to_bytes(2, "big") + jpeg  # a whole JPEG inside the header
    cases = {
        "whole.jpg": (jpeg, None),
        "with-thumbnail.jpg": (jpeg[:2] + thumbnail + jpeg[2:], None),
        "trailing-bytes.jpg": (jpeg + b"\0" * 100, None),
        "whole.png": (png, None),
        "zero.jpg": (b"", "empty file"),
        "cut.jpg": (jpeg[: len(jpeg) * 6 // 10], "truncated image"),
        "cut-with-thumbnail.jpg": (jpeg[:2] + thumbnail + jpeg[2 : len(jpeg) // 2], "truncated image"),
        "cut.png": (png[: len(png) // 2], "truncated image"),
        "text.jpg": (b"<html>404 not found</html>", "not an image"),
        "header-only.png": (png[:8] + b"IEND", "not an image"),
    }
    for name, (data, _) in cases.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "folder.jpg").mkdir()
    cutter = Cutter(tmp_path, PUBLISHED)
    for name, kind in [(n, k) for n, (_, k) in cases.items()] + [
        ("folder.jpg", "unreadable file"),
        ("gone.jpg", "unreadable file"),
    ]:
        made, seen = (cutter.make(Record(Path(name), 30, face="crop"), look=look) for look in (False, True))
        if kind is None:
            assert isinstance(made, Made), (name, made)
            assert isinstance(seen, Made), (name, seen)
            assert made.digest == seen.digest
        else:
            assert isinstance(made, Problem), name
            assert made[:2] == (kind, name)
            assert seen == made
    beyond = cutter.make(Record(Path("whole.jpg"), 30, face="crop", box=(200.0, 0.0, 50.0, 50.0)))
    assert beyond == Problem(
        "box outside the picture", "whole.jpg", "(200, 0, 50, 50) lies outside the picture of 200 x 200"
    )


def test_bad_pictures_are_left_out_and_told(tmp_path: Path) -> None:
    root = build("imdb", tmp_path / "root", Drawn())
    scan = distributions.scan("imdb", root)
    first, second, *rest = (scan.root / record.path for record in scan.records)
    first.write_bytes(b"")
    second.write_bytes(second.read_bytes()[:300])
    shutil.copy(rest[0], rest[1])
    report = prepare("imdb", root, tmp_path / "out", Cut(), workers=1)
    data = open_prepared(tmp_path / "out")
    assert len(data) == report.usable == len(scan.records) - 2
    assert data.ages.tolist() == [record.age for record in scan.records[2:]]
    assert report == Diagnosis.load(tmp_path / "out")
    found = {finding.kind: finding for finding in report.findings}
    assert found["empty file"].examples[0].startswith(scan.records[0].path.as_posix())
    assert found["truncated image"].drops
    assert found["same picture twice"].count == 1
    assert not found["same picture twice"].drops
    page = (tmp_path / "out/doctor.md").read_text()
    assert "| empty file | 1 | dropped |" in page
    assert cv2.imread(str(tmp_path / "out/doctor.png")) is not None
    alone = diagnose("imdb", root, workers=1)
    assert alone == report, "the doctor alone finds the same"
    labels = diagnose("imdb", root, labels_only=True)
    assert labels.usable == len(scan.records)
    assert "no picture was opened" in labels.report().markdown()


def test_the_same_picture_with_two_ages_is_a_conflict(tmp_path: Path) -> None:
    root = build("utkface", tmp_path / "root", Drawn())
    scan = distributions.scan("utkface", root)
    a, b = scan.records[:2]
    assert a.age != b.age
    shutil.copy(scan.root / a.path, scan.root / b.path)
    found = {f.kind: f for f in diagnose("utkface", root, workers=1).findings}
    assert f"labelled {a.age:g} years there and {b.age:g} here" in found["label conflict"].examples[0]


# Stopped at any point.

SIZE, COUNT = 256, 350
"""Large pictures make small blocks: 42 records each, 9 of them."""


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A UTKFace of 350 files, every fiftieth of them cut short."""
    root = tmp_path_factory.mktemp("many")
    picture = Drawn()
    for i in range(COUNT):
        data = picture(i % 90, (200, 200))
        (root / f"{i % 90}_{i % 2}_{i % 5}_2017{i:013}.jpg.chip.jpg").write_bytes(
            data[: len(data) // 2] if i % 50 == 7 else data
        )
    return root


@pytest.fixture(scope="module")
def whole(many: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a set that was prepared without a break, by two processes."""
    out = tmp_path_factory.mktemp("whole") / "out"
    report = prepare("utkface", many, out, Cut(size=SIZE), workers=2)
    assert report.usable == COUNT - COUNT // 50
    return files(out)


def command(many: Path, out: Path, *more: str) -> list[str]:
    options = ["--data", "utkface", "--root", str(many), "--out", str(out), "--size", str(SIZE), *more]
    return [sys.executable, "-m", "ssr_train.cli", "prepare", *options]


Send = Callable[[int, int], None]


def stop(
    many: Path, out: Path, how: signal.Signals, blocks: int, *more: str, send: Send = os.kill
) -> subprocess.Popen[str]:
    """Run the command until ``blocks`` more are in the journal, send the signal, and wait for its end."""
    journal = out / "journal.jsonl"
    before = journal.read_bytes().count(b"\n") - 1 if journal.exists() else 0
    process = subprocess.Popen(
        command(many, out, *more),
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while not journal.exists() or journal.read_bytes().count(b"\n") - 1 < before + blocks:
        assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.002)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    send(process.pid, how)
    process.wait(60)
    assert children or blocks == 0
    while any(alive(int(child)) for child in children):
        assert time.monotonic() < deadline, "working processes outlive the one that started them"
        time.sleep(0.01)
    return process


def test_killed_and_resumed_gives_the_same_bytes(many: Path, whole: dict[str, bytes], tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert stop(many, out, signal.SIGKILL, int(np.random.default_rng().integers(1, 4))).returncode == -9
    assert not (out / "prepared.json").exists()
    with pytest.raises(SsrError, match=r"unfinished one: `ssr-train prepare --resume` finishes it"):
        open_prepared(out)
    with pytest.raises(SsrError, match="half-prepared set; --resume goes on with it"):
        prepare("utkface", many, out, Cut(size=SIZE))
    # A line of the journal and pictures beyond it, as a kill in the middle of writing leaves them.
    with (out / "journal.jsonl").open("ab") as journal:
        journal.write(b'{"kept":[1,2')
    with (out / "images.npy").open("ab") as images:
        images.write(b"\x07" * 100_000)
    assert stop(many, out, signal.SIGKILL, 2, "--resume").returncode == -9
    prepare("utkface", many, out, Cut(size=SIZE), workers=2, resume=True)
    assert files(out) == whole
    prepare("utkface", many, out, Cut(size=SIZE), resume=True)  # a whole set is left as it is
    assert files(out) == whole


@pytest.mark.parametrize("send", [os.kill, os.killpg], ids=["process", "group"])
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_says_how_to_go_on(
    number: signal.Signals, status: int, send: Send, many: Path, whole: dict[str, bytes], tmp_path: Path
) -> None:
    """Ctrl-C in a terminal and ``timeout`` reach the working processes as well."""
    process = stop(many, tmp_path / "out", number, 2, send=send)
    assert process.returncode == status
    assert process.stderr is not None
    message = process.stderr.read()
    assert message.startswith("ssr-train: stopped after ")
    assert message.count("\n") == 1
    assert "of 350 faces; the same command with --resume goes on" in message
    subprocess.run(command(many, tmp_path / "out", "--resume"), check=True, timeout=60, capture_output=True)
    assert files(tmp_path / "out") == whole


@pytest.mark.parametrize("last", ["index.csv", "doctor.md", "prepared.json"])
def test_a_disk_that_fills_up_at_the_very_end(
    last: str, many: Path, whole: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All pictures made and the header written, but one of the small files does not fit: resume finishes."""
    out = tmp_path / "out"

    def full(path: Path, data: bytes) -> None:
        if path.name == last:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        replace_file(path, data)

    with monkeypatch.context() as patched:
        for module in ("ssr_train.data.prepare", "ssr_bundle.report"):
            patched.setattr(f"{module}.replace_file", full)
        with pytest.raises(SsrError, match="no space left on device; --resume goes on"):
            prepare("utkface", many, out, Cut(size=SIZE), workers=2)
    with pytest.raises(SsrError, match="--resume"):
        open_prepared(out)
    prepare("utkface", many, out, Cut(size=SIZE), resume=True)
    assert files(out) == whole


def test_a_full_disk_leaves_nothing_that_looks_whole(
    many: Path, whole: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "out"

    def little_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20 << 20, resource.RLIM_INFINITY))

    run: Callable[..., subprocess.CompletedProcess[str]] = subprocess.run
    failed = run(command(many, out), capture_output=True, text=True, timeout=60, preexec_fn=little_room)
    assert failed.returncode == 1
    assert failed.stderr.count("\n") == 1, failed.stderr
    assert "file too large; 350 pictures of 256 x 256 take up to 68,812,928 bytes" in failed.stderr
    assert "--resume goes on when there is room" in failed.stderr
    assert not (out / "prepared.json").exists()
    assert (out / "images.npy").stat().st_size <= 128, "what is not finished takes no room"
    with pytest.raises(SsrError, match="unfinished"):
        load(str(out), count=1, seed=0, workers=1)
    prepare("utkface", many, out, Cut(size=SIZE), workers=2, resume=True)
    assert files(out) == whole


def test_resume_refuses_another_plan(tmp_path: Path) -> None:
    root = build("afad", tmp_path / "root", Drawn())
    out = tmp_path / "out"
    prepare("afad", root, out, Cut(), workers=1)
    plan = json.loads((out / "prepared.json").read_text())["settings"]
    with pytest.raises(SsrError, match="begun with size 64, now it is 32; repeat the command"):
        prepare("afad", root, out, Cut(size=32), resume=True)
    (out / "journal.jsonl").write_text(json.dumps(plan) + "\n")
    assert prepare("afad", root, out, Cut(), resume=True).usable == plan["faces"]
    assert not (out / "journal.jsonl").exists(), "left by a kill after prepared.json"
    (out / "journal.jsonl").write_text(json.dumps(plan) + "\n")
    (out / "prepared.json").unlink()
    with pytest.raises(SsrError, match="begun with size 64, now it is 32; repeat the command"):
        prepare("afad", root, out, Cut(size=32), resume=True)
    scan = distributions.scan("afad", root)
    (scan.root / scan.records[0].path).unlink()
    with pytest.raises(SsrError, match="begun with faces 3, now it is 2"):
        prepare("afad", root, out, Cut(), resume=True)
    (out / "journal.jsonl").write_text("not json\n")
    with pytest.raises(SsrError, match="damaged"):
        prepare("afad", root, out, Cut(), resume=True)
    prepare("afad", root, out, Cut(), workers=1, force=True)
    assert len(open_prepared(out)) > 0


# What is refused.


def test_refused_places(tmp_path: Path) -> None:
    root = build("afad", tmp_path / "root", Drawn())
    (tmp_path / "file").touch()
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/holiday.jpg").touch()
    for out, keywords, message in (
        ("file", {}, "is a file, expected a folder"),
        ("photos", {}, r"holds holiday.jpg, which no prepared set does"),
        ("photos", {"force": True}, r"holds holiday.jpg"),
        ("new", {"resume": True}, "nothing to resume here"),
        ("new", {"workers": 0}, "--workers must be at least 1, got 0"),
        ("new", {"limit": 0}, "--limit must be at least 1, got 0"),
    ):
        with pytest.raises(SsrError, match=message):
            prepare("afad", root, tmp_path / out, Cut(), **keywords)
        assert not (tmp_path / "new").exists()
    with pytest.raises(SsrError, match="--workers must be at least 1, got 0"):
        diagnose("afad", root, workers=0)
    with pytest.raises(SsrError, match="nowhere: does not exist, expected the unpacked folder of"):
        prepare("afad", tmp_path / "nowhere", tmp_path / "new", Cut())
    assert not (tmp_path / "new").exists(), "nothing is made for a set that is not there"
    prepare("afad", root, tmp_path / "new", Cut(), workers=1)
    with pytest.raises(SsrError, match="holds a prepared set already; --force"):
        prepare("afad", root, tmp_path / "new", Cut())


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"size": 4}, r"--size must lie in 8\.\.1024"),
        ({"align": "procrustes"}, "--align procrustes: unknown, expected one of none, similarity"),
        ({"detector": "dlib"}, "--detector dlib: unknown, expected one of auto, yunet, haar, none"),
        ({"align": "similarity", "detector": "haar"}, "the Haar cascade finds none; use --detector yunet"),
        ({"align": "similarity", "detector": "none"}, "published boxes come with none"),
    ],
)
def test_refused_cuts(keywords: dict[str, object], message: str) -> None:
    with pytest.raises(SsrError, match=message):
        Cut(**keywords)  # type: ignore[arg-type]


def test_refused_cuts_of_a_set(tmp_path: Path) -> None:
    for name, cut, message in (
        ("afad", Cut(align="similarity"), "every picture of this set is a published crop"),
        ("fgnet", Cut(detector="none"), "have no published box to cut by"),
    ):
        root = build(name, tmp_path / name, Drawn())
        with pytest.raises(SsrError, match=message):
            prepare(name, root, tmp_path / "out", cut)


def test_no_usable_picture(tmp_path: Path) -> None:
    root = build("afad", tmp_path / "root", lambda age, size: b"")
    with pytest.raises(SsrError, match=r"none of \d+ pictures can be used; the first: .*: empty file"):
        prepare("afad", root, tmp_path / "out", Cut(), workers=1)
    assert not set(files(tmp_path / "out"))


def test_a_prepared_set_that_was_tampered_with(tmp_path: Path) -> None:
    root = build("afad", tmp_path / "root", Drawn())
    good = tmp_path / "good"
    prepare("afad", root, good, Cut(), workers=1)
    about = json.loads((good / "prepared.json").read_text())

    def spoil(**changed: bytes | None) -> Path:
        out = tmp_path / "bad"
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(good, out)
        for name, data in changed.items():
            path = out / name.replace("_", ".")
            path.unlink() if data is None else path.write_bytes(data)
        return out

    index = (good / "index.csv").read_bytes()
    images = (good / "images.npy").read_bytes()
    for changed, message in (
        ({"images_npy": None}, "images.npy: missing"),
        ({"index_csv": None}, "index.csv: missing"),
        ({"prepared_json": None}, "not a prepared set"),
        ({"index_csv": index.replace(b"m", b"f")}, "changed since it was prepared"),
        ({"images_npy": images[:-1]}, "not the array it should be"),
        ({"images_npy": b""}, "not the array it should be"),
        ({"prepared_json": b"{"}, "not JSON"),
        ({"prepared_json": json.dumps({**about, "format": 2}).encode()}, "format 2 is unknown, .* reads 1"),
        ({"prepared_json": json.dumps({**about, "count": 4}).encode()}, r"prepared.json says uint8 \(4,"),
        ({"prepared_json": json.dumps({**about, "size": "64"}).encode()}, "size is '64', expected int"),
    ):
        with pytest.raises(SsrError, match=message):
            open_prepared(spoil(**changed))
    with pytest.raises(SsrError, match="or the folder that `ssr-train prepare` wrote"):
        load(str(tmp_path / "nothing"), count=1, seed=0, workers=1)


@pytest.mark.parametrize("age", ["nan", "inf", "-50", "-inf", "old", ""])
def test_an_age_that_is_none_is_refused_by_its_row(age: str, tmp_path: Path) -> None:
    rows = [(f"{i}.jpg", years, "", "", "", "") for i, years in enumerate(("30", "-0", "0.5", age, "9"))]
    with pytest.raises(SsrError, match=f"index.csv: row 4: age '{age}', expected a finite number of years"):
        read_index(write_index(rows), tmp_path / "index.csv")
    assert read_index(write_index(rows[:3]), tmp_path / "index.csv")["age"] == [30, 0, 0.5]


def test_the_hash_of_a_set_is_that_of_labels_and_pictures(tmp_path: Path) -> None:
    root = build("afad", tmp_path / "root", Drawn())
    for out, size in (("small", 64), ("again", 64), ("large", 96)):
        prepare("afad", root, tmp_path / out, Cut(size), workers=1)
    small, again, large = (open_prepared(tmp_path / out) for out in ("small", "again", "large"))
    assert small.sha256 == again.sha256 != large.sha256
    assert small.labels_sha256 == large.labels_sha256 != small.sha256
    about = json.loads((tmp_path / "small/prepared.json").read_text())
    assert about["images_sha256"] == hash_file(tmp_path / "small/images.npy").sha256
    hashes = []
    for way in ("none", "similarity"):  # of sets from before the pictures had a hash: how they were cut
        earlier = {**about, "settings": {**about["settings"], "align": way}}
        del earlier["images_sha256"]
        (tmp_path / "small/prepared.json").write_text(json.dumps(earlier))
        hashes.append(open_prepared(tmp_path / "small").sha256)
    assert len({*hashes, small.sha256}) == 3


# The commands.


def test_the_commands_teach_and_report(tmp_path: Path) -> None:
    root = build("utkface", tmp_path / "root", Drawn())
    cli = CliRunner()
    for name in ("prepare", "doctor"):
        assert "Examples:" in cli.invoke(app, [name, "--help"], env={"COLUMNS": "120"}).output
    listed = cli.invoke(app, ["doctor", "--list"]).output
    assert all(name in listed for name in distributions.NAMES)
    out = tmp_path / "out"
    done = cli.invoke(
        app, ["prepare", "--data", "utkface", "--root", str(root), "--out", str(out), "--workers", "1"]
    )
    assert done.exit_code == 0, done.output
    for word in ("23,708", "malformed name", "dropped", str(out)):
        assert word in done.output
    told = cli.invoke(app, ["doctor", "--data", "utkface", "--root", str(root), "--json", "--workers", "1"])
    assert json.loads(told.output)["usable"] == len(open_prepared(out))
    (tmp_path / "file").touch()
    for place in ("file", "file/below"):
        arguments = ["doctor", "--data", "utkface", "--root", str(root), "--out", str(tmp_path / place)]
        early = cli.invoke(app, arguments)
        assert "file: is a file, expected a folder for the report" in str(early.exception)
        assert not early.output, "said before the pictures are read"
    for wrong in (["doctor"], ["doctor", "--data", "afad"]):
        assert cli.invoke(app, wrong).exit_code == 2
    both = ["prepare", "--data", "a", "--root", "b", "--out", "c", "--resume", "--force"]
    assert cli.invoke(app, both).exit_code == 2
