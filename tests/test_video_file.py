"""Video files as frames: every codec, every way up, and everything that can be wrong with a file."""

from __future__ import annotations

import gc
import os
import threading
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import material
from made_clips import SIZE, av, number_in, pictures, write_clip
from ssr_video.clock import GAP, StreamClock
from ssr_video.frame import Frame
from ssr_video.growing import Growing
from ssr_video.reading import Reading
from ssr_video.sources import videos_of
from ssr_video.upright import Matrix, turned
from ssr_video.video_file import VideoError, VideoFile

from ssr_bundle.errors import SsrError

VIDEO = "real/videos"

FRAMES = {
    "head-pose-face-detection-female-and-male.mp4": 56,
    "h265_aac.mp4": 31,
    "theora_opus.ogg": 30,
    "vp8_opus.webm": 31,
    "xvid_aac.avi": 31,
    "vp9_video_01.webm": 90,
    "hevc10bit_video_01.mkv": 90,
    "oddsize_479x359_video_01.mp4": 91,
    "rot_landscape_stored_portrait_video_01.mp4": 91,
    "vfr_video_02.mp4": 321,
    "rot_ccby_video_02.mp4": 521,
}
"""What `ffprobe -count_frames` and the containers say."""


def read(path: Path, **options: object) -> tuple[list[Frame], Reading]:
    with VideoFile(path, **options) as video:  # type: ignore[arg-type]
        return list(video), video.reading


@pytest.mark.parametrize("name", FRAMES)
def test_every_frame_of_every_codec(name: str) -> None:
    count, last = 0, -1.0
    with VideoFile(material(f"{VIDEO}/{name}")) as video:
        for frame in video:
            assert frame.index == count
            assert frame.time > last
            assert frame.follows == (count > 0)
            assert frame.image.shape == (video.reading.height, video.reading.width, 3)
            assert frame.image.flags["C_CONTIGUOUS"]
            count, last = count + 1, frame.time
    assert count == video.reading.frames == FRAMES[name]
    assert (video.reading.unreadable, video.reading.damaged, video.reading.told()) == (0, 0, [])
    assert last == video.reading.duration


def test_a_truncated_file_is_read_to_its_last_whole_frame() -> None:
    """38 frames are what a plain loop over PyAV gives: it loses the one behind the broken packet."""
    frames, reading = read(material(f"{VIDEO}/truncated_video_01.mp4"))
    whole, _ = read(material(f"{VIDEO}/video_01.mp4"))
    assert len(frames) == reading.frames == 39
    assert reading.frames + reading.unreadable == len(whole) == 90
    same = {round(frame.time, 3): frame.image for frame in whole}
    for frame in frames:
        np.testing.assert_array_equal(frame.image, same[round(frame.time, 3)])
    assert reading.missing_seconds == pytest.approx(3.003 - 40 * 1.001 / 30, abs=0.01)
    cut, broken = sorted(reading.told(), key=lambda problem: not problem.startswith("ends"))
    assert "ends after 1.30 s of 3.00 s" in cut
    assert "cannot be decoded" in broken


@pytest.mark.parametrize(
    ("turned_clip", "upright_clip"),
    [
        ("rot_ccby_video_02.mp4", "video_02.mp4"),
        ("rot_landscape_stored_portrait_video_01.mp4", "oddsize_479x359_video_01.mp4"),
    ],
)
def test_a_turned_clip_shows_what_the_upright_one_does(turned_clip: str, upright_clip: str) -> None:
    import cv2

    with (
        VideoFile(material(f"{VIDEO}/{turned_clip}")) as one,
        VideoFile(material(f"{VIDEO}/{upright_clip}")) as other,
    ):
        for mine, upright in zip(one, other, strict=False):
            picture = cv2.resize(upright.image, (640, 480))
            assert mine.time == pytest.approx(upright.time, abs=0.002)
            assert np.abs(mine.image.astype(int) - picture).mean() < 12
            if mine.index == 20:
                break
    assert one.reading.rotation in (90, 270)


@pytest.mark.parametrize("matrix", [((a, 0), (0, d)) for a in (1, -1) for d in (1, -1)])
@pytest.mark.parametrize("across", [False, True])
def test_each_of_the_eight_ways_up(matrix: Matrix, across: bool) -> None:
    """Pixel by pixel as the display matrix is defined: (x, y) goes to (a x + c y, b x + d y), moved to 0."""
    if across:
        matrix = ((0, matrix[0][0]), (matrix[1][1], 0))
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    (a, b), (c, d) = matrix
    at = {(a * x + c * y, b * x + d * y): image[y, x] for y in range(2) for x in range(4)}
    left, top = min(x for x, _ in at), min(y for _, y in at)
    shown = turned(image, matrix)
    assert shown.shape == ((4, 2, 3) if across else (2, 4, 3))
    for (x, y), pixel in at.items():
        np.testing.assert_array_equal(shown[y - top, x - left], pixel)


def test_timestamps_say_the_time_not_the_count(tmp_path: Path) -> None:
    pts = [10, 11, 16, 17, 90, 91]
    frames, _ = read(write_clip(tmp_path / "a.mkv", pictures(6), pts=pts))
    assert [frame.time for frame in frames] == pytest.approx([(p - 10) / 25 for p in pts], abs=0.001)
    assert [frame.follows for frame in frames] == [False, True, True, True, False, True]
    assert GAP < (90 - 17) / 25
    assert [number_in(frame.image) for frame in frames] == list(range(6))


def test_a_clock_for_timestamps_that_repeat_go_back_or_are_missing() -> None:
    clock = StreamClock(Fraction(1, 10), 0.1)
    given = [None, 50, 51, 51, 50, 53, 3, 4, None, 5]
    moments = [clock.at(pts) for pts in given]
    expected = [0.0, 0.1, 0.2, 0.201, 0.202, 0.4, 0.5, 0.6, 0.7, 0.701]
    assert [moment.time for moment in moments] == pytest.approx(expected)
    assert [i for i, moment in enumerate(moments) if not moment.follows] == [0, 6]
    assert (clock.resets, clock.repairs) == (1, 5)


def test_one_timestamp_that_leaps_ahead_alone_is_no_time() -> None:
    """As in a damaged transport stream: the times after it are those of the file."""
    clock = StreamClock(Fraction(1, 10), 0.1)
    pts = [0, 1, 900_000, 3, 4, 900, 901]
    moments = [clock.at(one, after) for one, after in zip(pts, [*pts[1:], None], strict=True)]
    assert [moment.time for moment in moments] == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4, 90.0, 90.1])
    assert [moment.follows for moment in moments] == [False, True, True, True, True, False, True]
    assert (clock.resets, clock.repairs) == (0, 1)


def test_streams_that_are_not_read_are_told_of(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("libx264", rate=25) for _ in range(2)]
        for stream, size in zip(streams, (SIZE, (180, 240)), strict=True):
            stream.height, stream.width = size
            stream.pix_fmt = "yuv420p"
        for stream in streams:
            for image in pictures(5, (stream.height, stream.width)):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
            container.mux(stream.encode())
    frames, reading = read(path)
    assert [number_in(frame.image) for frame in frames] == list(range(5))
    assert (reading.width, reading.told()) == (240, ["holds 2 video streams, of which the largest is read"])


def test_a_stream_that_begins_in_the_middle_ends_nothing(tmp_path: Path) -> None:
    """PyAV fails at the end of such a file, found by damaging a transport stream at random."""

    class Late:
        def __init__(self, container: Any) -> None:
            self.container = container

        def __getattr__(self, name: str) -> Any:
            return getattr(self.container, name)

        def demux(self, stream: Any) -> Iterator[Any]:
            yield from self.container.demux(stream)
            raise IndexError("list index out of range")

    with VideoFile(write_clip(tmp_path / "a.ts", pictures(9))) as video:
        video._container = Late(video._container)
        assert len(list(video)) == 9
    assert video.reading.told() == ["another stream begins in the middle, and is not read"]


def test_what_a_file_says_to_leave_out_is_not_unreadable(tmp_path: Path) -> None:
    """As of a clip that was trimmed without encoding it anew: frames before the first key frame's end."""
    edited = {"avoid_negative_ts": "disabled", "use_editlist": "1"}
    path = write_clip(tmp_path / "a.mp4", pictures(30), pts=range(-10, 20), muxer=edited)
    frames, reading = read(path)
    assert [number_in(frame.image) for frame in frames] == list(range(10, 30))
    assert (reading.unreadable, reading.told()) == (0, [])


def test_a_recording_that_begins_again_in_the_middle(tmp_path: Path) -> None:
    """Two transport streams one after the other: size and timestamps jump, and nothing is lost."""
    one = write_clip(tmp_path / "one.ts", pictures(12))
    other = write_clip(tmp_path / "other.ts", pictures(12, (180, 240)))
    both = tmp_path / "both.ts"
    both.write_bytes(one.read_bytes() + other.read_bytes())
    frames, reading = read(both)
    assert [number_in(frame.image) for frame in frames] == [*range(12), *range(12)]
    assert [frame.image.shape for frame in frames] == [(*SIZE, 3)] * 12 + [(180, 240, 3)] * 12
    assert [frame.time for frame in frames] == pytest.approx([i / 25 for i in range(24)], abs=0.002)
    assert [frame.index for frame in frames if not frame.follows] == [0, 12]
    assert "the size changes, at 0.48 s to 240 x 180" in reading.told()
    assert reading.unreadable == 0


def test_a_codec_that_changes_is_accounted_for(tmp_path: Path) -> None:
    one = write_clip(tmp_path / "one.ts", pictures(12))
    other = write_clip(tmp_path / "other.ts", pictures(12), codec="mpeg2video")
    both = tmp_path / "both.ts"
    both.write_bytes(one.read_bytes() + other.read_bytes())
    _, reading = read(both)
    assert reading.frames >= 12
    assert 22 <= reading.frames + reading.unreadable <= 24
    assert reading.problems


def test_damaged_packets_take_no_other_frame_with_them(tmp_path: Path) -> None:
    """Every packet that is whole gives its picture (all are key frames here)."""
    path = write_clip(tmp_path / "a.avi", pictures(20), codec="mjpeg", pixels="yuvj420p")
    data = path.read_bytes()
    movie, index = data.index(b"movi"), data.index(b"idx1")
    starts = [i for i in range(movie, index) if data.startswith(b"00dc", i)]
    assert len(starts) == 20
    broken = bytearray(data)
    for number in (4, 9, 19):
        size = int.from_bytes(data[starts[number] + 4 : starts[number] + 8], "little")
        broken[starts[number] + 8 : starts[number] + 8 + size] = bytes(size)
    path.write_bytes(broken)
    frames, reading = read(path)
    assert [number_in(frame.image) for frame in frames] == [i for i in range(20) if i not in (4, 9, 19)]
    assert reading.unreadable == 3


def test_a_frame_of_colours_that_nobody_knows_is_unreadable(tmp_path: Path) -> None:
    """As damaged headers say; the other frames are read."""

    class Strange:
        pts, rotation, is_corrupt = 160, 0, False

        def to_ndarray(self, format: str) -> Any:
            raise av.error.OSError(95, "Operation not supported")

    with VideoFile(write_clip(tmp_path / "a.mkv", pictures(9))) as video:
        decoded = video._decoded
        video._decoded = lambda: (Strange() if i == 4 else f for i, f in enumerate(decoded()))
        assert [number_in(frame.image) for frame in video] == [0, 1, 2, 3, 5, 6, 7, 8]
    assert video.reading.unreadable == 1
    assert video.reading.told() == ["frames whose colours cannot be converted: operation not supported"]


def test_utc_is_the_files_or_the_users(tmp_path: Path) -> None:
    plain = write_clip(tmp_path / "plain.mkv", pictures(3))
    frames, reading = read(plain)
    assert (frames[2].utc, reading.start, reading.start_from) == (None, None, None)
    dated = write_clip(
        tmp_path / "dated.mp4", pictures(3), metadata={"creation_time": "2026-11-29T08:00:00Z"}
    )
    frames, reading = read(dated)
    eight = datetime(2026, 11, 29, 8, tzinfo=timezone.utc)
    assert frames[2].utc == eight + timedelta(seconds=0.08)
    assert reading.start_from == "creation_time"
    frames, reading = read(dated, start=eight - timedelta(hours=1))
    assert frames[0].utc == eight - timedelta(hours=1)
    assert reading.start_from == "option"


NOT_VIDEOS = {
    "empty.mp4": (b"", "not a video that can be read"),
    "noise.bin": (np.random.default_rng(1).bytes(50_000), "not a video that can be read"),
    "text.txt": (b"hello world\n" * 200, "not a video that can be read"),
    "titles.srt": (b"1\n00:00:00,000 --> 00:00:01,000\nhi\n", "no video stream (subtitle)"),
    "list.m3u8": (b"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nclip.mp4\n#EXT-X-ENDLIST\n", "not a video"),
}


@pytest.mark.parametrize("name", NOT_VIDEOS)
def test_what_is_no_video_is_one_clear_error(name: str, tmp_path: Path) -> None:
    write_clip(tmp_path / "clip.mp4", pictures(2))
    data, expected = NOT_VIDEOS[name]
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(VideoError) as caught, VideoFile(path):
        pass
    assert str(caught.value).startswith(f"{path}: ")
    assert expected in str(caught.value)


def test_what_holds_no_moving_pictures(tmp_path: Path) -> None:
    photo = tmp_path / "photo.jpg"
    import cv2

    cv2.imwrite(str(photo), pictures(1)[0])
    with pytest.raises(VideoError, match="is no video"), VideoFile(photo):
        pass
    sound = tmp_path / "sound.wav"
    with av.open(str(sound), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), layout="mono")
        frame.rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(VideoError, match=r"no video stream \(audio\)"), VideoFile(sound):
        pass
    with pytest.raises(FileNotFoundError), VideoFile(tmp_path / "gone.mp4"):
        pass
    pipe = tmp_path / "pipe.mp4"
    os.mkfifo(pipe)
    with pytest.raises(VideoError, match="is a pipe, expected a regular file"), VideoFile(pipe):
        pass


def test_an_unknown_codec_is_named(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.avi", pictures(2), codec="mjpeg", pixels="yuvj420p")
    path.write_bytes(path.read_bytes().replace(b"MJPG", b"QQQQ"))
    with pytest.raises(VideoError, match="codec that is unknown"), VideoFile(path):
        pass


def test_a_header_without_a_frame(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mkv", pictures(30))
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"\x1f\x43\xb6\x75") + 20])  # Matroska's first cluster
    with VideoFile(path) as video, pytest.raises(VideoError, match="no frame of its h264 video can be read"):
        list(video)


def test_a_name_that_is_no_unicode(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.mkv")
    write_clip(tmp_path / "a.mkv", pictures(3)).rename(path)
    assert len(read(path)[0]) == 3


def test_a_file_that_grew_while_it_was_read_says_so(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.ts", pictures(20))
    size = path.stat().st_size
    with VideoFile(path) as video:
        frames = iter(video)
        next(frames)
        with path.open("ab") as more:
            more.write(bytes(188))
        list(frames)
    assert f"the file grew from {size:,} to {size + 188:,} bytes while it was read" in video.reading.told()


class Recorder(threading.Event):
    """Somebody who writes on while a reader waits at the end of the file: a piece for every wait."""

    def __init__(self, path: Path, data: bytes) -> None:
        super().__init__()
        self._path, self._data = path, data

    def wait(self, timeout: float | None = None) -> bool:
        with self._path.open("ab") as stream:
            stream.write(self._data[:3000])
        self._data = self._data[3000:]
        return False


def test_a_growing_file_is_followed_to_its_end(tmp_path: Path) -> None:
    """Nothing is lost, and the end is where it no longer grows."""
    whole = write_clip(tmp_path / "whole.ts", pictures(40)).read_bytes()
    path = tmp_path / "growing.ts"
    path.write_bytes(whole[:4000])
    frames, reading = read(path, follow=0.5, stop=Recorder(path, whole[4000:]))
    assert [number_in(frame.image) for frame in frames] == list(range(40))
    assert reading.told() == []


def test_no_frame_waits_for_the_garbage_collector(tmp_path: Path) -> None:
    """Memory would grow by a picture a frame between two of its runs."""
    path = write_clip(tmp_path / "a.mkv", pictures(60))
    gc.collect()
    gc.disable()
    try:
        with VideoFile(path) as video:
            assert sum(1 for _ in video) == 60
        circles = sum(isinstance(found, av.VideoFrame) for found in garbage())
    finally:
        gc.enable()
    assert circles <= 1


def garbage() -> list[object]:
    """What only the collector would free."""
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        gc.collect()
        return list(gc.garbage)
    finally:
        gc.set_debug(0)
        gc.garbage.clear()


def test_following_ends_with_the_wish_to_stop(tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    (tmp_path / "a").write_bytes(b"12")
    with (tmp_path / "a").open("rb") as stream:
        growing = Growing(stream, 1e6, stop)
        assert (growing.read(5), growing.read(5)) == (b"12", b"")


def test_files_and_folders(tmp_path: Path) -> None:
    for name in ("b.mp4", "a.MKV", "note.txt", ".hidden.mp4", "deep/c.webm", ".git/d.mp4", "deep/x.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "deep" / "up").symlink_to(tmp_path)
    found = videos_of([tmp_path / "note.txt", tmp_path, tmp_path / "b.mp4", tmp_path / "gone.mp4"])
    names = [str(path.relative_to(tmp_path)) for path in found]
    assert names == ["note.txt", "a.MKV", "b.mp4", "deep/c.webm", "gone.mp4"]
    (tmp_path / "nothing").mkdir()
    with pytest.raises(SsrError, match="nothing: no video in this folder"):
        videos_of([tmp_path / "nothing"])


def test_the_report_counts_what_happens_often() -> None:
    reading = Reading("a.mp4", "mov", "h264", problems=Counter({"one": 1, "often": 3}))
    assert reading.told() == ["one", "often (3 times)"]
