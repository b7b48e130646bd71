"""Tracked people and their ages: the parts, the whole on a stand-in service, and on a real server."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from background import Background
from conftest import Serve, material
from numpy.typing import NDArray

from ssr_bundle.contract import Crop
from ssr_bundle.crop import Box, intersection_over_union
from ssr_bundle.detections import Detection
from ssr_bundle.errors import SsrError

cv2 = pytest.importorskip("cv2")
pytest.importorskip("scipy")

from ssr_client import AgeClient, InterfaceChanged, ModelNotFound, ServerUnavailable  # noqa: E402
from ssr_client.preprocess import crop_faces  # noqa: E402
from ssr_video import matching, mosaic, view  # noqa: E402
from ssr_video.crops import crops_of_looks  # noqa: E402
from ssr_video.evaluation import Evaluation, Report, read_truth  # noqa: E402
from ssr_video.events import Person, Told, TrackAge, TrackEvent  # noqa: E402
from ssr_video.frame import Frame  # noqa: E402
from ssr_video.looks import FLOOR, MOST, Look, Looks, narrowing, robust_mean, weights  # noqa: E402
from ssr_video.motion import Motion  # noqa: E402
from ssr_video.people import MOST_TRACKS, Options, People  # noqa: E402
from ssr_video.scenes import Scenes  # noqa: E402
from ssr_video.service import Answer, Service  # noqa: E402
from ssr_video.track import Track  # noqa: E402

Picture = NDArray[np.uint8]
FACE = ((0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.8), (0.65, 0.8))
"""Landmarks in a box, upright and frontal."""


def found(box: Box, score: float = 0.9) -> Detection:
    x, y, w, h = box
    return Detection(box, score, tuple((x + u * w, y + v * h) for u, v in FACE))


# Motion.


def test_a_face_that_walks_is_where_it_is_predicted() -> None:
    motion = Motion((0, 50, 40, 50), 0)
    for k in range(1, 20):
        motion.predict(0.1 * k)
        motion.correct((5 * k, 50, 40, 50))
    motion.predict(2.1)
    assert motion.box == pytest.approx((105, 50, 40, 50), abs=2)
    assert motion.speed == pytest.approx(50 / math.sqrt(40 * 50), rel=0.1)


def test_jitter_of_a_resting_face_is_smoothed() -> None:
    rng = np.random.default_rng(0)
    motion, boxes = Motion((100, 100, 80, 100), 0), []
    for k in range(1, 60):
        motion.predict(0.04 * k)
        dx, dy, dw, dh = rng.uniform(-0.05, 0.05, 4)
        motion.correct((100 + 80 * dx, 100 + 100 * dy, 80 * (1 + dw), 100 * (1 + dh)))
        boxes.append(motion.box)
    raw = 0.05 / math.sqrt(3) * np.array([80, 100, 80, 100])
    assert (np.std(boxes[20:], axis=0) < np.array([0.95, 0.95, 0.6, 0.6]) * raw).all()


@pytest.mark.parametrize("size", [10, 1000])
def test_small_and_large_faces_are_followed_alike(size: int) -> None:
    unit, other = Motion((0, 0, 1e3, 1e3), 0), Motion((0, 0, size, size), 0)
    for motion, side in ((unit, 1e3), (other, size)):
        for k in range(1, 5):
            motion.predict(0.1 * k)
            motion.correct((0.1 * k * side, 0, side, side))
    assert np.array(other.box) / size == pytest.approx(np.array(unit.box) / 1e3)


# Who is who.


def test_weak_finds_follow_and_begin_nobody() -> None:
    track, other = (0.0, 0.0, 50.0, 50.0), (200.0, 0.0, 50.0, 50.0)
    assert matching.match([track, other], [(5, 0, 50, 50), (202, 0, 50, 50)], [0.9, 0.5]) == [(0, 0), (1, 1)]
    # A strong find takes the track before a weak one that fits better.
    assert matching.match([track], [(0, 0, 50, 50), (10, 0, 50, 50)], [0.5, 0.9]) == [(0, 1)]
    assert matching.match([track], [(40, 40, 50, 50)], [0.9]) == []
    assert matching.match([track], [(0, 0, 50, 50)], [0.3]) == []


def test_pairs_are_the_best_together() -> None:
    assert matching.best_pairs(np.array([[0.9, 0.8], [0.8, 0.1]]), 0.2) == [(0, 1), (1, 0)]
    assert matching.best_pairs(np.empty((0, 3)), 0.2) == []


def test_overlaps_are_the_ground_floors() -> None:
    boxes = [(0.0, 0.0, 10.0, 20.0), (5.0, 5.0, 10.0, 10.0), (100.0, 0.0, 1.0, 1.0)]
    table = [[intersection_over_union(a, b) for b in boxes] for a in boxes[:2]]
    np.testing.assert_allclose(matching.overlaps(boxes[:2], boxes), table)


def test_a_lost_face_is_known_by_time_place_and_size() -> None:
    box = (100.0, 100.0, 50.0, 60.0)
    assert matching.again(box, 0.2, (110, 100, 50, 60)) > 0.3
    assert matching.again(box, 0.2, (250, 100, 50, 60)) == 0
    assert matching.again(box, 0.2, (100, 100, 100, 120)) == 0
    assert matching.again(box, 3.0, (150, 100, 50, 60)) > matching.again(box, 0.5, (150, 100, 50, 60))


# What is seen.


@pytest.mark.parametrize("roll", [-30, 0, 30])
@pytest.mark.parametrize("turned", [-40, -15, 0, 25])
def test_yaw_of_a_face_in_space(turned: int, roll: int) -> None:
    """Eyes and mouth in a plane, the nose before it, turned about the neck and then in the picture."""
    points = np.array([[-0.5, -0.5, 0], [0.5, -0.5, 0], [0, 0, view.NOSE], [-0.4, 0.5, 0], [0.4, 0.5, 0]])
    a, b = np.radians(turned), np.radians(roll)
    x, y = points[:, 0] * np.cos(a) + points[:, 2] * np.sin(a), points[:, 1]
    picture = np.stack([x * np.cos(b) - y * np.sin(b), x * np.sin(b) + y * np.cos(b)], axis=1) * 60 + 200
    assert view.yaw(tuple(map(tuple, picture.tolist()))) == pytest.approx(turned, abs=5)
    assert view.yaw(None) is None


def test_blur_takes_sharpness_away() -> None:
    crop = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    values = [view.sharpness(cv2.GaussianBlur(crop, (0, 0), s) if s else crop) for s in (0, 0.7, 1.5, 3)]
    assert values == sorted(values, reverse=True)
    assert view.sharpness(np.full((64, 64, 3), 90, np.uint8)) == 0


def test_better_views_count_more() -> None:
    best = view.View(100, 0.0, 1.0, 1.0)
    assert best.quality == 1
    for worse in (replace(best, size=30), replace(best, yaw=-45.0), replace(best, score=0.5)):
        assert worse.quality < 0.6
    assert 0 < replace(best, sharpness=0.0).quality <= 0.1


# Looks together.


def test_looks_of_one_moment_are_hardly_more_than_one() -> None:
    def effective(times: Sequence[float]) -> float:
        return float(weights([Look(t, 40, None, 1) for t in times]).sum())

    assert effective([0]) == 1
    assert effective([0] * 10) == pytest.approx(10 / (1 + 9 * 0.7))
    assert effective(np.arange(10) * 100.0) == pytest.approx(10)
    every, tenth = effective(np.arange(250) / 25), effective(np.arange(0, 250, 10) / 25)
    assert tenth == pytest.approx(every, rel=0.15)


def test_a_poor_look_beside_a_good_one_tells_nothing() -> None:
    good, poor = weights([Look(0, 40, None, 1.0), Look(0.1, 60, None, 0.1)])
    assert good > 0.9
    assert poor < 0.02


def test_one_bad_look_pulls_little() -> None:
    rng = np.random.default_rng(0)
    years = np.r_[rng.normal(40, 1, 12), 90.0]
    assert robust_mean(years, np.ones(13))[0] == pytest.approx(np.mean(years[:12]), abs=0.4)
    assert np.mean(years) > 43
    assert robust_mean(np.array([33.0]), np.ones(1))[0] == 33


def test_the_interval_narrows_to_a_floor() -> None:
    looks, widths = Looks(), []
    for k in range(40):
        looks.add(Look(5.0 * k, 40, 10, 1))
        estimate = looks.estimate()
        assert estimate is not None
        assert estimate.half_width is not None
        widths.append(estimate.half_width)
    assert widths[0] == pytest.approx(10)
    assert widths == sorted(widths, reverse=True)
    assert 10 * FLOOR < widths[-1] < 10 * FLOOR * 1.01
    assert narrowing(0.2) > 1.2  # a single poor look is worth less than a still


def test_looks_are_bounded_and_counted() -> None:
    looks = Looks()
    for k in range(MOST + 50):
        looks.add(Look(0.1 * k, 40, None, 1))
    assert len(looks.kept) == MOST
    assert looks.count == MOST + 50
    assert looks.kept[-1].time == pytest.approx(0.1 * (MOST + 49))


def test_a_look_gains_what_is_new() -> None:
    looks = Looks()
    assert looks.gain(0, 0.5) == math.inf
    looks.add(Look(0, 40, None, 0.5))
    assert looks.gain(0.04, 0.5) < looks.gain(2, 0.5)
    assert looks.gain(2, 0.1) < looks.gain(2, 0.5) < looks.gain(2, 1)


# Crops.


def test_a_look_of_four_crops() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8)
    boxes = [(50.0, 40.0, 60.0, 80.0), (-10.0, 100.0, 40.0, 50.0)]
    four = crops_of_looks(picture, boxes, [None, None], Crop(), 4)
    assert four.shape == (2, 4, 64, 64, 3)
    (one,) = crops_of_looks(picture, boxes[:1], [None], Crop(), 1)
    np.testing.assert_array_equal(one, crop_faces(picture, boxes[:1], Crop()))
    x, y, w, h = boxes[0]
    grown = (x + w / 2 - 0.03 * w - 0.52 * w, y + h / 2 + 0.03 * h - 0.52 * h, 1.04 * w, 1.04 * h)
    np.testing.assert_array_equal(four[0, 2], crop_faces(picture, [grown], Crop())[0, :, ::-1])


# Tiles and scenes.


def test_what_is_found_in_a_tile_is_put_back() -> None:
    image = np.zeros((400, 600, 3), np.uint8)
    faces = [(100.0, 100.0, 80.0, 80.0), (580.0, 10.0, 20.0, 20.0), (0.0, 300.0, 200.0, 200.0)]
    for k, (x, y, w, h) in enumerate(faces):
        cv2.rectangle(image, (int(x), int(y)), (int(x + w), int(y + h)), (0, 0, 80 * (k + 1)), -1)
    picture, tiles = mosaic.mosaic(image, faces)
    seen = []
    for k, tile in enumerate(tiles):
        shown = picture[tile.top : tile.top + mosaic.TILE, tile.left : tile.left + mosaic.TILE, 2]
        rows, columns = np.nonzero(shown == 80 * (k + 1))
        top, left = tile.top + rows.min(), tile.left + columns.min()
        seen.append(found((left, top, np.ptp(columns) + 1, np.ptp(rows) + 1)))
    back = mosaic.found_in(tiles, seen)
    assert len(back) == 3
    for face, box in zip(back, faces, strict=True):
        inside = (box[0], box[1], min(box[2], 600 - box[0]), min(box[3], 400 - box[1]))
        assert intersection_over_union(face.box, inside) > 0.9
        assert face.landmarks is not None
        assert face.landmarks[2][0] == pytest.approx(face.box[0] + face.box[2] / 2)


def test_cuts_and_black_frames_are_seen_and_motion_is_not() -> None:
    rng = np.random.default_rng(0)
    one, other = (
        cv2.resize(rng.integers(0, 256, (9, 16, 3), np.uint8), (320, 180), interpolation=cv2.INTER_CUBIC)
        for _ in range(2)
    )
    other[..., 0] //= 4
    scenes = Scenes()
    moved = [np.roll(one, 12 * k, axis=1) for k in range(6)]
    assert [scenes.see(frame) for frame in moved] == [None] * 6
    assert scenes.see((moved[-1] * 0.6).astype(np.uint8)) is None  # a lamp
    assert scenes.see(other) == "cut"
    assert scenes.see(other) is None
    assert scenes.see(np.full_like(one, 4)) == "black"
    assert scenes.see(other) == "cut"
    assert scenes.see(other[:90]) == "cut"


def test_the_cuts_of_a_real_clip() -> None:
    pytest.importorskip("av")
    from video_clips import frames_of

    scenes = Scenes()
    changes: dict[str, list[int]] = {}
    for frame in frames_of(material("real/videos/cuts_and_gap.mp4")):
        if change := scenes.see(frame.image):
            changes.setdefault(change, []).append(frame.index)
    assert changes == {"cut": [77, 186, 307], "black": list(range(277, 307))}


# What is published.


def track_of(years: Sequence[float], half: float | None = None, every: float = 1.0) -> Track:
    track = Track.begun(found((0, 0, 80, 100)), 0)
    for k, value in enumerate(years):
        track.looks.add(Look(every * k, value, half, 1.0))
    return track


def test_a_published_age_does_not_flicker() -> None:
    rng = np.random.default_rng(1)
    track, told = track_of([]), []
    for k in range(40):
        track.looks.add(Look(0.5 * k, float(rng.normal(40, 3)), 9.0, 1.0))
        track.publish()
        assert track.age is not None
        told.append(track.age.years)
    estimate = track.estimate()
    assert estimate is not None
    assert len(set(told)) <= 3
    assert abs(told[-1] - estimate.years) < 2
    low, high = track.age.interval or (0, 0)
    assert (low + high) / 2 == pytest.approx(told[-1])


def test_a_better_view_is_published() -> None:
    track = track_of([20.0, 21.0, 19.0])
    track.publish()
    for k in range(6):
        track.looks.add(Look(10.0 + k, 35.0, None, 1.0))
    assert track.publish()
    assert track.age is not None
    assert track.age.years > 27
    assert track.age.looks == 9


# The whole, on a service that says what it is told to.


@dataclass
class Fake:
    """Faces by the frame's number, which its first pixel holds; ages by the box's left edge."""

    faces: Callable[[int], list[Detection]]
    age: Callable[[Box], float] = lambda box: 40.0
    searched: list[int] = field(default_factory=list)
    asked: list[tuple[int, Box]] = field(default_factory=list)
    away: bool = False

    def find(self, image: Picture, longest: int) -> list[Detection]:
        if self.away:
            raise ServerUnavailable("away")
        self.searched.append(number_of(image))
        return self.faces(number_of(image))

    def find_near(self, image: Picture, boxes: Sequence[Box]) -> list[Detection]:
        return self.find(image, 0)

    def ask(self, image: Picture, boxes: Sequence[Box], landmarks: Any, crops: int) -> list[Answer]:
        if self.away:
            raise ServerUnavailable("away")
        self.asked += [(number_of(image), box) for box in boxes]
        noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
        return [Answer(self.age(box), None, noise) for box in boxes]


def number_of(image: Picture) -> int:
    return int(image[0, 0, 0]) - 1 + 200 * int(image[0, 0, 1])


def frame(number: int, colour: int = 90, rate: float = 25.0, follows: bool = True) -> Frame:
    image = np.full((360, 640, 3), colour, np.uint8)
    image[0, 0, :2] = (number % 200 + 1, number // 200)
    return Frame(number, number / rate, image, follows=follows)


def watch(fake: Fake, frames: Iterator[Frame] | Sequence[Frame], **options: Any) -> tuple[list[Told], People]:
    people = People(fake, Options(**options))  # type: ignore[arg-type]
    told = [people.advance(f) for f in frames]
    return [*told, people.finish()], people


def events(told: Sequence[Told], event: str) -> list[TrackEvent]:
    return [e for t in told for e in t.events if e.event == event]


STILL = found((200.0, 100.0, 80.0, 100.0))


def test_one_person_is_told_of_from_begin_to_end() -> None:
    fake = Fake(lambda k: [STILL])
    told, people = watch(fake, [frame(k) for k in range(100)])
    (new,), (end,) = events(told, "new"), events(told, "end")
    assert new.time <= 0.25
    assert new.first == 0
    assert end.frame == 99
    assert end.last >= 3.7
    assert end.frames == 100 - new.frame == people.work.face_frames
    assert end.person.age is not None
    assert end.person.age.years == pytest.approx(40)
    assert (people.work.frames, people.work.tracks) == (100, 1)
    first = next(t for t, x in enumerate(told) if x.people and x.people[0].age)
    assert first / 25 <= 1.0
    before = [x.people[0].unknown for x in told[new.frame : first]]
    assert set(before) == {"not asked yet"}
    assert told[first].people[0].unknown is None
    assert [e.frame for e in events(told, "update")] == [first]


def test_asks_keep_to_the_budget() -> None:
    fake = Fake(lambda k: [STILL, found((400.0, 100.0, 80.0, 100.0))])
    for budget in (0.05, 0.1):
        _, people = watch(fake, [frame(k) for k in range(200)], budget=budget, pays=0.0)
        work = people.work
        assert 0.8 * budget * work.face_frames < work.asks <= budget * work.face_frames
        assert work.crops == 4 * work.asks


def test_asking_ends_where_it_tells_nothing_new() -> None:
    fake = Fake(lambda k: [STILL])
    _, people = watch(fake, [frame(k, rate=5) for k in range(400)], budget=1.0, pays=0.05, refresh=20.0)
    assert people.work.asks < 60
    assert fake.asked[-1][0] > 300  # the estimate's age


def test_cuts_black_frames_and_jumps_end_tracks() -> None:
    fake = Fake(lambda k: [STILL])
    frames = [frame(k, 90 if k < 30 else 250 if k < 60 else 5 if k < 70 else 90) for k in range(100)]
    frames[85] = replace(frames[85], follows=False)
    told, people = watch(fake, frames)
    assert [e.frame for e in events(told, "end")] == [30, 60, 85, 99]
    assert people.work.tracks == 4
    assert not any(60 <= k < 70 for k in fake.searched)
    assert all(not t.people for t in told[60:70])


def test_a_lost_person_is_taken_up_again_and_the_age_goes_on() -> None:
    gone = range(50, 85)
    near, far = found((230.0, 105.0, 80.0, 100.0)), found((500.0, 105.0, 80.0, 100.0))
    for back, tracks in ((near, 1), (far, 2)):
        fake = Fake(lambda k, back=back: [] if k in gone else [STILL if k < 50 else back])  # type: ignore[misc]
        told, people = watch(fake, [frame(k) for k in range(150)])
        assert people.work.tracks == tracks
        assert not any(t.people for t in told[62:84])
        (age,) = {p.age.years for t in told[95:150] for p in t.people if p.age} or {None}
        assert age is not None


def test_a_face_that_jumps_is_the_same_person() -> None:
    def faces(k: int) -> list[Detection]:
        return [found((200.0 + 25 * (k >= 52), 100.0, 30.0, 36.0))]

    told, people = watch(Fake(faces), [frame(k) for k in range(100)])
    assert people.work.tracks == 1
    assert told[70].people[0].box[0] == pytest.approx(225, abs=3)


def test_two_who_cross_keep_their_numbers() -> None:
    def faces(k: int) -> list[Detection]:
        return [found((50.0 + 4 * k, 100.0, 60.0, 75.0)), found((500.0 - 4 * k, 150.0, 60.0, 75.0))]

    told, people = watch(Fake(faces), [frame(k) for k in range(110)])
    assert people.work.tracks == 2
    boxes = {p.track: p.box[0] for p in told[109].people}
    assert boxes[1] > 400 > 100 > boxes[2]


def test_small_and_turned_faces_have_no_age_and_say_why() -> None:
    small, tiny = found((100.0, 100.0, 25.0, 30.0)), found((300.0, 100.0, 8.0, 10.0))
    x, y, w, h = 450.0, 100.0, 80.0, 100.0
    profile = ((0.3, 0.4), (0.35, 0.4), (0.05, 0.6), (0.3, 0.8), (0.35, 0.8))
    turned = Detection((x, y, w, h), 0.9, tuple((x + u * w, y + v * h) for u, v in profile))
    fake = Fake(lambda k: [small, tiny, turned])
    told, people = watch(fake, [frame(k) for k in range(50)])
    assert [p.unknown for p in told[40].people] == ["too small", "poor view"]
    assert all(p.age is None for p in told[40].people)
    assert people.work.asks == 0


def test_the_age_follows_a_growing_face() -> None:
    def faces(k: int) -> list[Detection]:
        side = 42.0 + 0.5 * k
        return [found((200.0, 100.0, 0.8 * side, side))]

    told, _ = watch(
        Fake(faces, age=lambda box: 20.0 if box[3] < 64 else 35.0), [frame(k) for k in range(200)]
    )
    (end,) = events(told, "end")
    assert end.person.age is not None
    assert end.person.age.years > 30


def test_a_lossy_run_goes_on_without_a_server() -> None:
    fake = Fake(lambda k: [STILL])
    people = People(fake, Options(lossy=True))  # type: ignore[arg-type]
    for k in range(10):
        people.advance(frame(k))
    fake.away = True
    told = [people.advance(frame(k)) for k in range(10, 50)]
    assert told[5].people
    assert not told[-1].people  # nobody is predicted for ever
    fake.away = False
    told = [people.advance(frame(k)) for k in range(50, 80)]
    assert told[-1].people[0].track == 1
    strict = People(replace(fake, away=True))  # type: ignore[arg-type]
    with pytest.raises(ServerUnavailable):
        strict.advance(frame(0))


def test_memory_is_bounded() -> None:
    def crowd(k: int) -> list[Detection]:
        rng = np.random.default_rng(k // 10)
        corners = rng.uniform(0, (600, 320), (90, 2))
        return [found((x, y, 16.0, 20.0)) for x, y in corners]

    people = People(Fake(crowd), Options(memory=1e6))  # type: ignore[arg-type]
    for k in range(80):
        people.advance(frame(k))
    assert people.work.tracks > MOST_TRACKS
    assert len(people.finish().events) <= MOST_TRACKS


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"budget": 0.0}, "budget: expected asks a frame above 0, at most 1, got 0"),
        ({"crops": 3}, "crops: expected 1 or 4, got 3"),
        ({"coarse": 16}, "coarse, fine: expected longest sides in 32..8192 that rise, got 16, 1600"),
        ({"memory": -1.0}, "memory: expected a number of at least 0, got -1"),
        ({"period": math.nan}, "period: expected a number of at least 0, got nan"),
        ({"start": 0}, "start: expected at least one look, got 0"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SsrError, match=f"^{message}$"):
        Options(**options)


# The service.


@dataclass
class StandIn:
    """A client whose server is away for some calls."""

    away: int = 0
    interface: Any = None
    closed: bool = False
    url: str = "host:1"
    model: str = "ssrnet"
    changes: bool = False

    def open(self) -> None:
        from ssr_bundle.bundle import read_bundle
        from ssr_ops.shipped import default_bundle

        self.interface = read_bundle(default_bundle()).contract.interface

    def close(self) -> None:
        self.closed = True

    def predict_frame(self, picture: Picture, **_: Any) -> list[Any]:
        raise ModelNotFound("no frame model")

    def predict_full(self, crops: Picture, colour: str) -> dict[str, Any]:
        if self.away:
            self.away -= 1
            raise ServerUnavailable("host:1: no server answers there")
        if self.changes:
            self.changes, crop = False, Crop(margin=(0.1, 0.1), border="clip")
            self.interface = replace(self.interface, crop=crop)
            raise InterfaceChanged("another crop")
        return {
            "age": crops.reshape(len(crops), -1).mean(axis=1),
            "age_interval": np.tile([20.0, 40.0], (len(crops), 1)),
        }


class NoDetector:
    box_convention = "yunet"

    def detect(self, picture: Picture) -> list[Detection]:
        return []


def opened(client: StandIn, patience: float = 60) -> tuple[Service, list[float], list[str]]:
    pauses: list[float] = []
    why: list[str] = []
    service = Service.open(
        client,  # type: ignore[arg-type]
        patience,
        detector=NoDetector(),
        clock=lambda: sum(pauses),
        sleep=pauses.append,
        waits=why.append,
    )
    return service, pauses, why


PICTURE = np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8)
BOXES = [(50.0, 40.0, 60.0, 80.0), (150.0, 50.0, 60.0, 80.0)]


def test_a_server_that_comes_back_loses_no_look() -> None:
    client = StandIn(away=6)
    service, pauses, why = opened(client)
    answers = service.ask(PICTURE, BOXES, crops=4)
    assert [a.interval for a in answers] == [(20.0, 40.0)] * 2
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2]
    assert why == ["host:1: no server answers there"]
    with service:
        pass
    assert client.closed


def test_patience_ends() -> None:
    client = StandIn(away=1000)
    service, pauses, _ = opened(client, patience=12)
    with pytest.raises(ServerUnavailable, match="no server answers"):
        service.ask(PICTURE, BOXES)
    assert sum(pauses) == pytest.approx(12)
    assert max(pauses) <= 5


def test_faces_are_cut_anew_for_a_changed_model() -> None:
    client = StandIn(changes=True)
    service, *_ = opened(client)
    (answer, _) = service.ask(PICTURE, BOXES)
    np.testing.assert_array_equal(answer.crop, crop_faces(PICTURE, BOXES[:1], client.interface.crop)[0])
    assert client.interface.crop.margin[0] == 0.1


def test_what_answers_no_age_is_refused() -> None:
    client = StandIn()
    client.open()
    output = replace(client.interface.output, name="male")
    client.open = lambda: setattr(client, "interface", replace(client.interface, output=output))  # type: ignore[method-assign]
    with pytest.raises(SsrError, match="host:1: model 'ssrnet' answers 'male', expected ages"):
        opened(client)
    assert client.closed


# How good it is.


def told_of(
    *people: tuple[int, Box, float | None], look: float | None = None, yaw: float | None = None
) -> Told:
    ages = [
        None if years is None else TrackAge(years, (years - 5, years + 5), 1, 1.0) for *_, years in people
    ]
    return Told(
        tuple(
            Person(track, box, True, age, None if age else "not asked yet", yaw, look)
            for (track, box, _), age in zip(people, ages, strict=True)
        ),
        (),
    )


def evaluated(told: Sequence[Told], truth: Any = None, rate: float = 10.0) -> Report:
    evaluation = Evaluation(truth)
    for k, one in enumerate(told):
        evaluation.add(frame(k, rate=rate), one)
    return evaluation.report()


def test_video_noise_is_of_what_was_published_from_the_first_age_on() -> None:
    box = (0.0, 0.0, 48.0, 60.0)
    told = [told_of((1, box, None))] * 10 + [told_of((1, box, 30.0))] * 20 + [told_of((1, box, 32.0))] * 20
    report = evaluated(told)
    assert report.published.years == pytest.approx(1.0)
    assert report.published_large == report.published
    assert report.first_age == pytest.approx(1.0)
    assert report.flickers == pytest.approx(60 / 4.9)
    assert (report.asks, report.saved) == (0, 1.0)
    assert report.looks.years is None
    assert evaluated(told[:20]).published == evaluated([]).published  # no track of 20 frames with an age
    assert "1.00 (1 tracks)" in report.text()


def test_noise_of_looks_by_yaw() -> None:
    box = (0.0, 0.0, 32.0, 40.0)
    told = [
        told_of((1, box, 40.0), look=40 + (-1) ** k * (1 if k < 20 else 4), yaw=0 if k < 20 else -50)
        for k in range(40)
    ]
    report = evaluated(told)
    assert report.looks.years == pytest.approx(2.5)
    assert report.looks_large.years is None
    assert [(g.looks, g.years) for g in report.by_yaw] == [(20, 1.0), (0, None), (0, None), (20, 4.0)]
    assert report.saved == 0


def test_switches_against_a_truth(tmp_path: Path) -> None:
    here, there = (0.0, 0.0, 50.0, 50.0), (100.0, 0.0, 50.0, 50.0)
    path = tmp_path / "truth.csv"
    rows = [f"{k},{name},{box[0]},0,50,50" for k in range(10) for name, box in (("a", here), ("b", there))]
    path.write_text("\n".join(["frame,person,x,y,width,height", *rows]))
    told = [told_of((1, here, None), (2, there, None))] * 5 + [told_of((2, here, None), (3, there, None))] * 5
    report = evaluated(told, read_truth(path))
    assert (report.switches, report.true_faces, report.true_found) == (2, 20, 20)
    assert evaluated(told).switches is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("frame,x\n", "no column 'person', expected frame, person, x, y, width, height"),
        ("frame,person,x,y,width,height\n0,a,1,1,5,5\n1,a,1,1,0,5\n", "line 3: expected a frame's index"),
        ("frame,person,x,y,width,height\nfirst,a,1,1,5,5\n", "line 2: expected a frame's index"),
    ],
)
def test_a_truth_that_is_none(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "truth.csv"
    path.write_text(text)
    with pytest.raises(SsrError, match=message):
        read_truth(path)


def test_a_picture_of_ages(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    evaluation = Evaluation()
    for k in range(30):
        evaluation.add(frame(k), told_of((1, (0.0, 0.0, 50.0, 60.0), None if k < 5 else 40.0), look=39.0))
    evaluation.picture(tmp_path / "ages.png")
    assert cv2.imread(str(tmp_path / "ages.png")) is not None
    with pytest.raises(SsrError, match=r"ages\.nothing: cannot write a picture there"):
        evaluation.picture(tmp_path / "ages.nothing")


# On a real server.


class Jittered(Service):
    """Boxes are wrong by up to 5 % of the face, another way each time."""

    rng = np.random.default_rng(0)

    def find(self, image: Picture, longest: int) -> list[Detection]:
        moved = []
        for face in super().find(image, longest):
            x, y, w, h = face.box
            dx, dy, dw, dh = self.rng.uniform(-0.05, 0.05, 4).tolist()
            moved.append(replace(face, box=(x + dx * w, y + dy * h, w * (1 + dw), h * (1 + dh))))
        return moved


@pytest.fixture(scope="module")
def clip() -> list[Frame]:
    pytest.importorskip("av")
    from video_clips import frames_of

    frames = list(frames_of(material("real/videos/head-pose-face-detection-female-and-male.mp4")))
    assert len(frames) == 56
    return frames


def analysed(
    url: str, frames: Sequence[Frame], options: Options | None = None, kind: type[Service] = Service
) -> tuple[Report, dict[int, float], People]:
    evaluation, ages = Evaluation(), {}
    with kind.open(AgeClient(url)) as service:
        people = People(service, options or Options())
        for one in frames:
            evaluation.add(one, people.advance(one))
        for event in people.finish().events:
            assert event.person.age is not None
            ages[event.person.track] = event.person.age.years
    return evaluation.report(), ages, people


@pytest.mark.server
def test_two_people_on_a_real_server(serve: Serve, morph2_bundle: Path, clip: list[Frame]) -> None:
    url = serve({"ssrnet": morph2_bundle}, frame=True).grpc_url
    report, ages, people = analysed(url, clip)
    single, _, _ = analysed(url, clip, replace(Options.every_frame(), crops=1))
    assert people.work.tracks == len(ages) == 2
    assert people.work.face_frames >= 10 * people.work.asks
    assert report.asks == people.work.asks
    assert report.first_age is not None
    assert report.first_age <= 1.0
    assert report.without_age == 0
    assert single.looks_large.years is not None
    assert report.published_large.years is not None
    assert report.published_large.years <= min(1.0, single.looks_large.years / 4)

    _, jittered, _ = analysed(url, clip, kind=Jittered)
    assert all(abs(jittered[k] - ages[k]) < 2 for k in ages)


@pytest.mark.server
def test_a_turned_clip_has_the_upright_ones_people(serve: Serve, morph2_bundle: Path) -> None:
    """The two clips are encoded apart, so that small faces' boxes are not the same."""
    from video_clips import frames_of

    url = serve({"ssrnet": morph2_bundle}, frame=True).grpc_url
    boxes: list[dict[int, list[Box]]] = []
    tracks = []
    for name in ("video_01.mp4", "rot_landscape_stored_portrait_video_01.mp4"):
        with Service.open(AgeClient(url)) as service:
            people = People(service)
            told = [people.advance(one) for one in frames_of(material(f"real/videos/{name}"))]
        boxes.append({k: [p.box for p in one.people] for k, one in enumerate(told)})
        tracks.append(people.work.tracks)
    assert tracks == [5, 5]
    upright, turned = boxes
    near = [
        max(matching.overlaps([box], turned[k])[0])
        for k in upright
        for box in upright[k]
        if box[3] >= 50 and turned[k]
    ]
    assert len(near) > 80
    assert np.mean(near) > 0.9


@pytest.mark.server
def test_faces_are_found_alike_served_and_not(serve: Serve, morph2_bundle: Path, clip: list[Frame]) -> None:
    from ssr_client.detectors import YuNet

    server = serve({"ssrnet": morph2_bundle}, frame=True)
    own = YuNet(material("detectors/yunet_n_640_640.onnx"), threshold=0.4)
    with (
        Service.open(AgeClient(server.grpc_url)) as served,
        Service.open(AgeClient(server.grpc_url), detector=own) as alone,
    ):
        assert served.detector == "ssrnet-frame, served"
        assert alone.detector.startswith("yunet, ")
        for image, side in ((clip[20].image, 640), (cv2.resize(clip[20].image, (1440, 810)), 320)):
            here, there = served.find(image, side), alone.find(image, side)
            assert len(here) == len(there) == 2
            for one, other in zip(here, there, strict=True):
                assert one.box == pytest.approx(other.box, abs=1)
                assert one.score == pytest.approx(other.score, abs=0.01)
        near = served.find_near(clip[20].image, [face.box for face in served.find(clip[20].image, 640)])
        assert len(near) == 2


@pytest.mark.server
def test_a_server_that_restarts_loses_nothing(
    tritonserver: Any, morph2_bundle: Path, clip: list[Frame], tmp_path: Path
) -> None:
    from triton_repo.config import Options as Serving
    from triton_repo.repository import build
    from triton_repo.server import Server

    build([("ssrnet", morph2_bundle)], tmp_path / "models", Serving(frame=True))
    server = Server(tmp_path / "models", tritonserver=tritonserver).start()
    port = int(server.grpc_url.rpartition(":")[2])
    told: list[list[Told]] = []
    why: list[str] = []
    successor = Server(tmp_path / "models", tritonserver=tritonserver, grpc_port=port)

    def succeed() -> None:
        successor.start()

    with ExitStack() as stack:
        stack.callback(successor.stop)
        stack.callback(server.stop)
        for restarts in (False, True):
            client = AgeClient(server.grpc_url, retries=0)
            with Service.open(client, waits=why.append) as service:
                people, seen = People(service), []
                for one in clip[:24]:
                    if restarts and one.index == 12:
                        server.stop()
                        stack.enter_context(Background([succeed]))
                    seen.append(people.advance(one))
            told.append(seen)
    assert told[0] == told[1]
    assert people.work.lost_asks == 0
    assert why
