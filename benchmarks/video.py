"""What does a video cost, and how steady are its ages?

Cost: a composed 1080p scene (eight portraits that move about a plain ground, made here) and clips. Ways:
decoding alone; `ssr_video` with the served native detector, and with the client's YuNet by ONNX Runtime and
by OpenCV; a plain loop that calls `predict_photo` on every frame, with both. CPU is of client and server
together, by stage; nothing runs beside. Every way finds the scene's faces before it is timed.

Steadiness: video noise of what is published and of single answers, and how far the final ages are from asking
on every frame, for each bundle given. Long: the memory of a run of so many frames, a clip repeated.

python benchmarks/video.py --portraits FOLDER --clips FOLDER [--bundle NAME=FOLDER ...] [--long FRAMES]
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from _results import hardware, table, versions, write
from frame import Picture, scene, seconds_of
from ssr_client import AgeClient
from ssr_client.detectors import YuNet
from ssr_client.preprocess import read_picture
from ssr_video.evaluation import Evaluation, Report
from ssr_video.events import Work
from ssr_video.frame import Frame
from ssr_video.matching import overlaps
from ssr_video.people import Options, People
from ssr_video.service import Service

from ssr_bundle import commandline as command
from ssr_ops.shipped import default_bundle
from triton_repo import repository
from triton_repo.config import Options as Serving
from triton_repo.server import Server

RATE = 25
FACES = 8
STEADY = (
    "head-pose-face-detection-female.mp4",
    "head-pose-face-detection-male.mp4",
    "head-pose-face-detection-female-and-male.mp4",
    "video_02.mp4",
    "video_01.mp4",
    "cuts_and_gap.mp4",
    "book.mkv",
    "again.mkv",
)
COSTS = (
    "video",
    "way",
    "detector",
    "decode",
    "detect",
    "ages",
    "rest",
    "all",
    "by decoding",
    "streams",
    "saw",
)
STEADINESS = (
    "clip",
    "published",
    "single",
    "every frame",
    "first age",
    "flickers a minute",
    "asks",
    "change",
)
Ages = dict[int, tuple[float, dict[int, Any]]]
"""Of each track: the final age, and the boxes by frame."""


def compose(portraits: Sequence[Picture], path: Path, seconds: int) -> None:
    """A film of eight faces, each of which moves a little its own way."""
    still = scene(portraits, FACES, 1)
    height, width = still.shape[:2]
    rows, columns = 2, FACES // 2
    rng = np.random.default_rng(0)
    phases, periods = rng.uniform(0, 2 * np.pi, (FACES, 2)), rng.uniform(2, 6, (FACES, 2))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"preset": "fast", "crf": "21"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for k in range(seconds * RATE):
            picture = still.copy()
            for i in range(FACES):
                top, left = i // columns * (height // rows), i % columns * (width // columns)
                cell = still[top : top + height // rows, left : left + width // columns]
                dx, dy = 20 * np.sin(2 * np.pi * k / RATE / periods[i] + phases[i])
                moved = np.array([[1, 0, dx], [0, 1, dy]], np.float32)
                picture[top : top + height // rows, left : left + width // columns] = cv2.warpAffine(
                    cell, moved, cell.shape[1::-1], borderMode=cv2.BORDER_REPLICATE
                )
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
        container.mux(stream.encode())


def frames_of(path: Path) -> Iterator[Frame]:
    """Decoded on one thread."""
    with av.open(str(path)) as container:
        container.streams.video[0].thread_type = "NONE"
        begin = None
        for index, picture in enumerate(container.decode(video=0)):
            moment = float(picture.pts * picture.time_base)
            begin = moment if begin is None else begin
            image = np.ascontiguousarray(np.rot90(picture.to_ndarray(format="bgr24"), picture.rotation // 90))
            yield Frame(index, moment - begin, image, follows=index > 0)


@dataclass
class Stages:
    """CPU seconds of client and server, by stage."""

    pid: int
    spent: dict[str, float] = field(default_factory=dict)

    def now(self) -> float:
        return time.process_time() + seconds_of(self.pid)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        begin = self.now()
        yield
        self.spent[name] = self.spent.get(name, 0.0) + self.now() - begin


class Timed(Service):
    stages: Stages

    def find(self, image: Picture, longest: int) -> Any:
        with self.stages.stage("detect"):
            return super().find(image, longest)

    def ask(self, *arguments: Any, **keywords: Any) -> Any:
        with self.stages.stage("ages"):
            return super().ask(*arguments, **keywords)


def cost(title: str, path: Path, server: Server, most: int) -> list[list[str]]:
    """The ways on one film, of which the plain loops see ``most`` frames."""
    rows: list[list[str]] = []
    decoding = 0.0

    def row(way: str, detector: str, stages: Stages, total: float, frames: int, note: str) -> None:
        ms = 1e3 * total / frames
        parts = [1e3 * stages.spent.get(name, 0.0) / frames for name in ("decode", "detect", "ages")]
        parts.append(ms - sum(parts))
        each = [f"{part:.2f}" for part in parts]
        rows.append(
            [title, way, detector, *each, f"{ms:.1f}", f"{ms / decoding:.2f}", f"{1e3 / RATE / ms:.1f}", note]
        )
        print("  ".join(rows[-1]), flush=True)

    stages = Stages(server.pid)
    begin = stages.now()
    with stages.stage("decode"):
        count = sum(1 for _ in frames_of(path))
    total = stages.now() - begin
    decoding = 1e3 * total / count
    row("decoding alone", "-", stages, total, count, f"{count} frames")
    for detector in (
        None,
        YuNet(threshold=0.4, runtime="onnxruntime"),
        YuNet(threshold=0.4, runtime="opencv"),
    ):
        stages = Stages(server.pid)
        with Timed.open(AgeClient(server.grpc_url, shared_memory=True), detector=detector) as service:
            service.stages = stages
            people, begin = People(service), stages.now()
            frames = frames_of(path)
            for _ in range(count if detector is None else min(count, 4 * most)):
                with stages.stage("decode"):
                    one = next(frames)
                told = people.advance(one)
            total, work = stages.now() - begin, people.work
            note = f"{len(told.people)} people at the end, {work.asks} asks of {work.face_frames} face-frames"
            row("ssr_video", f"{service.detector}, 640 and 1600", stages, total, work.frames, note)
    for runtime in ("onnxruntime", "opencv"):
        stages = Stages(server.pid)
        own = YuNet(runtime=runtime)
        with AgeClient(server.grpc_url, detector=own) as client:
            begin, done = stages.now(), 0
            frames = frames_of(path)
            for _ in range(min(count, most)):
                with stages.stage("decode"):
                    one = next(frames)
                found = client.predict_photo(one.image)
                done += 1
            total = stages.now() - begin
            row(
                "predict_photo",
                f"yunet, {own.runtime}, 640 and 1600",
                stages,
                total,
                done,
                f"{len(found)} faces",
            )
    return rows


def analysed(url: str, model: str, frames: Sequence[Frame], options: Options) -> tuple[Report, Work, Ages]:
    """What a run over a clip gives."""
    evaluation, ages, boxes = Evaluation(), {}, {}
    with Service.open(AgeClient(url, model)) as service:
        people = People(service, options)
        for one in [*frames, None]:
            told = people.finish() if one is None else people.advance(one)
            if one is not None:
                evaluation.add(one, told)
                for person in told.people:
                    boxes.setdefault(person.track, {})[one.index] = person.box
            for event in told.events:
                if event.event == "end" and event.person.age is not None:
                    track = event.person.track
                    ages[track] = (event.person.age.years, boxes.get(track, {}))
    return evaluation.report(), people.work, ages


def changes(sparing: Ages, full: Ages) -> list[float]:
    """How far final ages differ, of the tracks that share four fifths of their frames."""
    found = []
    for years, boxes in sparing.values():
        for other, theirs in full.values():
            same = [k for k in boxes if k in theirs and overlaps([boxes[k]], [theirs[k]])[0, 0] > 0.3]
            if boxes and len(same) >= 0.8 * max(len(boxes), len(theirs)):
                found.append(abs(years - other))
    return found


def steadiness(url: str, model: str, clips: Path) -> list[list[str]]:
    rows, all_changes, sums = [], [], [0, 0]
    for name in STEADY:
        if not (clips / name).is_file():
            continue
        frames = list(frames_of(clips / name))
        report, work, ages = analysed(url, model, frames, Options())
        every, _, full = analysed(url, model, frames, Options.every_frame())
        single, _, _ = analysed(url, model, frames, replace(Options.every_frame(), crops=1))
        moved = changes(ages, full)
        all_changes += moved
        sums = [sums[0] + work.asks, sums[1] + work.face_frames]
        rows.append(
            [
                f"{model}, {name}",
                _years(report.published_large.years, report.published_large.tracks),
                _years(single.looks_large.years, single.looks_large.tracks),
                _years(every.published_large.years, every.published_large.tracks),
                "-" if report.first_age is None else f"{report.first_age:.2f}",
                "-" if report.flickers is None else f"{report.flickers:.1f}",
                f"{work.asks} of {work.face_frames}",
                f"{np.mean(moved):.2f} ({len(moved)})" if moved else "-",
            ]
        )
        print("  ".join(rows[-1]), flush=True)
    mean = f"{np.mean(all_changes):.2f}, median {np.median(all_changes):.2f} ({len(all_changes)})"
    rows.append([f"{model}, all", *["-"] * 5, f"{sums[0]} of {sums[1]}", mean])
    return rows


def long_run(server: Server, path: Path, count: int) -> list[list[str]]:
    """Resident memory of this process while a clip is shown again and again."""
    images = [one.image for one in frames_of(path)]
    rows = []
    with Service.open(AgeClient(server.grpc_url)) as service:
        people, begin = People(service), time.monotonic()
        for k in range(count):
            image = images[k % len(images)]
            people.advance(Frame(k, k / RATE, image, follows=k % (40 * len(images)) > 0))
            if (k + 1) % max(1, count // 5) == 0:
                pages = int(Path("/proc/self/statm").read_text().split()[1])
                mega = pages * os.sysconf("SC_PAGE_SIZE") / 2**20
                speed = (k + 1) / (time.monotonic() - begin)
                rows.append([f"{k + 1:,}", f"{mega:.1f}", f"{people.work.tracks}", f"{speed:.0f}"])
                print("  ".join(rows[-1]), flush=True)
    return rows


def _years(value: float | None, tracks: int) -> str:
    return "-" if value is None else f"{value:.2f} ({tracks})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--portraits", type=Path, required=True)
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument(
        "--bundle", action="append", default=[], metavar="NAME=FOLDER", help="judge its steadiness"
    )
    parser.add_argument("--seconds", type=int, default=10, help="of the composed scene")
    parser.add_argument("--most", type=int, default=25, help="frames that the plain loops see")
    parser.add_argument("--long", type=int, default=0, metavar="FRAMES", help="watch the memory for so many")
    given = parser.parse_args()
    cv2.setNumThreads(1)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    bundles = [(name, Path(folder)) for name, _, folder in (text.partition("=") for text in given.bundle)]
    costs: list[list[str]] = []
    steady: list[list[str]] = []
    memory: list[list[str]] = []
    with tempfile.TemporaryDirectory() as folder:
        film, repo = Path(folder) / "scene.mp4", Path(folder) / "models"
        compose([read_picture(p) for p in sorted(given.portraits.glob("*.jpg"))[:64]], film, given.seconds)
        repository.build([("ssrnet", default_bundle()), *bundles], repo, Serving(frame=True))
        with Server(repo, shared_memory=True) as server:
            costs += cost("composed scene, 1080p", film, server, given.most)
            for name in ("video_02.mp4", "video_01.mp4"):
                costs += cost(f"{name}, 480p", given.clips / name, server, given.most)
            for name, _ in bundles:
                steady += steadiness(server.grpc_url, name, given.clips)
            if given.long:
                memory = long_run(server, given.clips / "head-pose-face-detection-male.mp4", given.long)
    text = [
        "# What a video costs, and how steady its ages are",
        f"{hardware()}. {versions('numpy', 'av', 'opencv-python-headless', 'onnxruntime', 'tritonclient')}.",
        "`python benchmarks/video.py`: CPU milliseconds a frame, of client and server together, one thread "
        "each; frames are decoded to BGR. The composed scene has eight faces that move. Streams: of 25 "
        "frames a second, that one core carries. The detector's sizes are the longest sides searched: "
        "`predict_photo` both on each frame, `ssr_video` the first every 0.2 s and the second every 2 s, "
        "and tiles around tracks between. Rest: following, choosing, fusing; of `predict_photo` all but "
        "decoding.",
        table(COSTS, costs),
    ]
    if steady:
        text += [
            "## Video noise",
            "Years, of faces of 50 pixels and more on tracks of at least 20 such frames (tracks in "
            "brackets): mean absolute deviation of a track's ages about their mean. Published: by default "
            "options, from the first age on. Single: one crop on every frame. Every frame: published, when "
            "everybody is asked on each. First age: seconds after the first face of 50 pixels, at most. "
            "Change: of the final age against asking on every frame, mean over tracks that both follow "
            "(their number).",
            table(STEADINESS, steady),
        ]
    if memory:
        text += [
            "## A long run",
            "One clip repeated; resident megabytes of the client.",
            table(("frames", "megabytes", "tracks", "frames a second"), memory),
        ]
    print(write("video", "\n\n".join(text)))


if __name__ == "__main__":
    command.run(main, "video")
