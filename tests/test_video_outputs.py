"""What ``ssr-video`` writes: each format, what is private in it, files that are whole or clearly partial."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from conftest import ROOT
from made_clips import OnePerson, number_in, person, pictures, write_clip
from rich.console import Console
from ssr_video import annotated
from ssr_video.annotated import GRAIN, Annotated, blur
from ssr_video.captions import Captions, clock
from ssr_video.counts import SMALLEST, Counts, bands_of, suppressed
from ssr_video.events import Told, TrackEvent
from ssr_video.frame import Frame
from ssr_video.json_lines import JsonLines
from ssr_video.part_file import OutputError, PartFile
from ssr_video.progress import Bar
from ssr_video.reading import Reading
from ssr_video.summary import Done, Summary
from ssr_video.table import COLUMNS, Table
from ssr_video.video_file import VideoFile

from ssr_bundle.errors import SsrError

EIGHT = datetime(2026, 11, 29, 8, tzinfo=timezone.utc)


# -- one format after the other ------------------------------------------------------------------------


def frame(index: int, image: Any = None, utc: datetime | None = None) -> Frame:
    return Frame(index, index / 25, np.zeros((4, 4, 3), np.uint8) if image is None else image, utc, index > 0)


def ended(track: int, years: float | None) -> Told:
    who = person(track, (1.0, 2.0, 3.0, 4.0), years)
    return Told((), (TrackEvent("end", 9, 9 / 25, who, 0.04, 0.36, 9),))


def text_of(make: Callable[[io.StringIO], Any], *told: Told, utc: datetime | None = None) -> str:
    out = io.StringIO()
    writer = make(out)
    writer.begin(Reading("a.mp4", "mov", "h264", start=utc), 25.0)
    for index, one in enumerate(told[:-1]):
        moment = utc and datetime.fromtimestamp(utc.timestamp() + index / 25, timezone.utc)
        writer.frame(frame(index, utc=moment), one)
    writer.end(told[-1])
    writer.close(Summary([Done("a.mp4", Reading("a.mp4", "mov", "h264", frames=len(told) - 1))]))
    return out.getvalue()


def test_json_lines_say_everything_of_an_event() -> None:
    first, last = map(json.loads, text_of(JsonLines, ended(3, 36.4), Told((), ()), utc=EIGHT).splitlines())
    assert first == {
        "schema": 1,
        "event": "end",
        "source": "a.mp4",
        "track": 3,
        "frame": 9,
        "time": 0.36,
        "utc": "2026-11-29T08:00:00.360Z",
        "first": 0.04,
        "last": 0.36,
        "frames": 9,
        "box": [1.0, 2.0, 3.0, 4.0],
        "seen": True,
        "age": 36.4,
        "interval": [31.4, 41.4],
        "looks": 3,
        "effective_looks": 1.5,
        "unknown": None,
    }
    assert (last["schema"], last["event"], last["complete"], last["frames"]) == (1, "summary", True, 0)
    unknown = json.loads(text_of(JsonLines, ended(1, None)).splitlines()[0])
    assert (unknown["age"], unknown["interval"], unknown["unknown"], unknown["utc"]) == (
        None,
        None,
        "too small",
        None,
    )


def test_the_table_of_the_docs_names_every_field() -> None:
    """docs/video.md is the schema: no field without a row."""
    docs = (ROOT / "docs/video.md").read_text(encoding="utf-8")
    end, summary = map(json.loads, text_of(JsonLines, ended(3, 36.4)).splitlines())
    for name in {*end, *summary, *summary["sources"][0]}:
        assert f"`{name}`" in docs, name


def test_csv_has_a_row_for_every_person() -> None:
    rows = list(csv.reader(io.StringIO(text_of(Table, ended(1, 36.4), ended(2, None), utc=EIGHT))))
    assert tuple(rows[0]) == COLUMNS
    start, end = "2026-11-29T08:00:00.040Z", "2026-11-29T08:00:00.360Z"
    assert rows[1] == [
        *["a.mp4", "1", "0.040", "0.360", start, end, "9", "36.40", "31.40", "41.40", "3", "1.50", ""]
    ]
    assert rows[2] == [
        *["a.mp4", "2", "0.040", "0.360", start, end, "9", "", "", "", "0", "0.00", "too small"]
    ]


def test_captions_follow_what_is_to_be_seen() -> None:
    one, other = person(1, (0, 0, 9, 9)), person(2, (0, 0, 9, 9), None)
    told = [(), (one,), (one,), (one, other), (), (other,)]
    text = text_of(Captions, *(Told(people, ()) for people in told), Told((), ()))
    cues = text.split("\n\n")
    assert cues == [
        "WEBVTT",
        "00:00:00.040 --> 00:00:00.120\nperson 1: 36 (31 to 41)",
        "00:00:00.120 --> 00:00:00.160\nperson 1: 36 (31 to 41)\nperson 2: ?",
        "00:00:00.200 --> 00:00:00.240\nperson 2: ?",
        "",
    ]
    assert clock(3723.0404) == "01:02:03.040"


def test_counts_by_band_hide_small_cells() -> None:
    told = [ended(i, years) for i, years in enumerate([12.9] * 6 + [13.0] * 7 + [30.0] * 2 + [99.0] * 3)]
    found = json.loads(text_of(Counts, *told, ended(99, None)))
    assert found["people"] == {
        "0-12": 6,
        "13-17": 7,
        "18-24": 0,
        "25-34": None,
        "35-44": 0,
        "45-54": 0,
        "55-64": 0,
        "65+": None,
        "unknown": None,
    }
    assert (found["total"], found["smallest_cell"], found["schema"]) == (19, SMALLEST, 1)
    assert json.loads(text_of(Counts, ended(1, 40.0)))["total"] is None
    for text in ("", "1,2", "0,5,5", "0,x", "0,-3"):
        with pytest.raises(SsrError, match="expected years that begin with 0 and rise"):
            bands_of(text)
    assert bands_of("0,18") == (0, 18)


@pytest.mark.parametrize(
    ("cells", "shown"),
    [
        ([9, 0, 7], [9, 0, 7]),
        ([9, 3, 7], [9, None, None]),  # one alone would be told by the total
        ([9, 1, 2, 7], [9, None, None, None]),  # as would two that hold few
        ([9, 4, 4, 0], [9, None, None, 0]),
        ([3, 0, 0], [None, 0, 0]),
        ([], []),
    ],
)
def test_no_cell_can_be_told_from_the_total(cells: list[int], shown: list[int | None]) -> None:
    assert suppressed(cells, 5) == shown


# -- the annotated video -------------------------------------------------------------------------------


def test_an_annotated_video_keeps_times_and_pictures(tmp_path: Path) -> None:
    pts = [0, 1, 2, 7, 8, 30, 31, 32]
    source = write_clip(tmp_path / "a.mkv", pictures(8), pts=pts)
    for name in ("out.mp4", "out.mkv", "out.webm"):
        with VideoFile(source) as video, Annotated(tmp_path / name) as writer:
            writer.begin(video.reading, video.rate)
            for one in video:
                writer.frame(one, Told((), ()))
            writer.end(Told((), ()))
        with VideoFile(tmp_path / name) as video:
            found = list(video)
        assert [one.time for one in found] == pytest.approx([p / 25 for p in pts], abs=0.001)
        assert [number_in(one.image) for one in found] == list(range(8))
        assert not (tmp_path / f"{name}.part").exists()


def textured(height: int, width: int) -> Any:
    return np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)


def shown_of(path: Path, frames: list[tuple[Frame, Told]], show_faces: bool = False) -> list[Frame]:
    with Annotated(path, show_faces) as writer:
        writer.begin(Reading("a", "mov", "h264"), 25.0)
        for one, told in frames:
            writer.frame(one, told)
        writer.end(Told((), ()))
    with VideoFile(path) as video:
        return list(video)


def detail(image: Any, box: tuple[float, ...]) -> float:
    """How much is left of the texture inside a face's box (not of the label, or the frame around it)."""
    x, y, w, h = map(int, box)
    return float(cv2.Laplacian(image[y + h // 3 : y + 2 * h // 3, x + w // 3 : x + 2 * w // 3], 6).std())


def test_faces_are_blurred_unless_asked_for(tmp_path: Path) -> None:
    """Also in the second before one is found; a copy is drawn into, not the frame that others hold."""
    image, box = textured(240, 320), (120.0, 60.0, 80.0, 100.0)
    who = OnePerson(box, appears=8, late=3)
    frames = [frame(index, image.copy()) for index in range(20)]
    told = [(one, who.advance(one)) for one in frames]
    sharp = detail(image, box)
    hidden = [detail(one.image, box) < 0.1 * sharp for one in shown_of(tmp_path / "hidden.mp4", told)]
    assert hidden == [True] * 20
    open_ = [detail(one.image, box) > 0.3 * sharp for one in shown_of(tmp_path / "open.mp4", told, True)]
    assert open_ == [True] * 20
    for one in frames:
        np.testing.assert_array_equal(one.image, image)


def test_a_blurred_face_is_a_few_colours() -> None:
    image = textured(200, 200)
    blur(image, (50.0, 50.0, 80.0, 80.0), 0.0)
    small = cv2.resize(image[50:130, 50:130], (GRAIN, GRAIN), interpolation=cv2.INTER_AREA)
    np.testing.assert_allclose(image[50:130, 50:130], cv2.resize(small, (80, 80)), atol=40)
    for box in ((-50.0, -50.0, 20.0, 20.0), (190.0, 190.0, 50.0, 50.0), (10.0, 10.0, 0.2, 0.2)):
        blur(image, box)  # outside, across the border, less than a pixel


def test_frames_wait_within_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.zeros((40, 40, 3), np.uint8)
    monkeypatch.setattr(annotated, "HELD", 5 * image.nbytes)
    with Annotated(tmp_path / "a.mp4") as writer:
        writer.begin(Reading("a", "mov", "h264"), 25.0)
        for index in range(60):
            writer.frame(frame(index, image), Told((), ()))
            assert len(writer._waiting) <= 5
        writer.end(Told((), ()))
    with VideoFile(tmp_path / "a.mp4") as video:
        assert len(list(video)) == 60


def test_odd_sizes_and_sizes_that_change(tmp_path: Path) -> None:
    sizes = [(121, 161), (121, 161), (300, 100), (20, 900)]
    frames = [(frame(i, np.full((*size, 3), 200, np.uint8)), Told((), ())) for i, size in enumerate(sizes)]
    found = shown_of(tmp_path / "a.mp4", frames)
    assert {one.image.shape for one in found} == {(122, 162, 3)}
    assert found[0].image.min() > 150
    assert found[2].image[60, 150].max() < 40
    with pytest.raises(SsrError, match="expected a video to write"):
        annotated.check_format(Path("out.gif"))


# -- files that are whole or clearly partial -------------------------------------------------------------


def fail_after(text: str, file: PartFile) -> PartFile:
    with suppress(KeyError), file:
        file.write(text)
        raise KeyError
    return file


def test_a_file_appears_whole_or_stays_a_part(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.jsonl"
    with PartFile(path) as file:
        file.write("one\n")
        assert (path.exists(), file.part.read_text()) == (False, "one\n")
    assert (path.read_text(), file.part.exists()) == ("one\n", False)
    file = fail_after("two\n", PartFile(path))
    assert (path.read_text(), file.part.read_text()) == ("one\n", "two\n")
    with PartFile(path) as file:
        file.write("caf\udce9\n")
    assert path.read_bytes() == b"caf\xe9\n"
    with PartFile(path) as file, pytest.raises(OutputError, match="another process is writing here"):
        PartFile(path).__enter__()
    assert path.read_text() == ""
    for keep, data in ((False, "some"), (True, "")):
        assert not fail_after(data, PartFile(path, keep)).part.exists()


def test_the_bar_says_how_fast_against_real_time() -> None:
    now = [0.0]
    with Bar(Console(file=io.StringIO()), clock=lambda: now[0]) as bar:
        bar.begin(Path("a.mp4"), 20.0)
        now[0] = 2.0
        bar.at(8.0, 1)
        assert bar.note(8.0, 1) == "4.0 times real time, 1 person"
