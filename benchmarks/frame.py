"""What does a frame cost: the client's own way, and one request to the frame model?

Frames: a composed 1080p scene with 1, 8 or 32 faces (portraits on a plain ground, 90 to 260 pixels high), and
clips. Ways: `predict_photo` (the client finds and cuts, the server answers crops); `predict_frame` over gRPC
and through shared memory, at the detector's scales and at 640 alone; and with boxes given. Each way's faces
are compared first, and what 640 alone misses is counted by the size of faces. In turns, client and server on
the cores of this machine; CPU seconds are of both. Writes results/frame-<cpu>.md.

    python benchmarks/frame.py --portraits FOLDER [--clips FOLDER] [--seconds N]
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from _results import hardware, table, versions, write
from numpy.typing import NDArray
from ssr_client import AgeClient
from ssr_client.detectors import YuNet
from ssr_client.preprocess import crop_faces, read_picture

from ssr_bundle import commandline as command
from ssr_bundle.bundle import read_bundle
from ssr_bundle.crop import intersection_over_union
from ssr_ops import Engine
from ssr_ops.shipped import default_bundle
from triton_repo import repository
from triton_repo.config import Options
from triton_repo.server import Server

Picture = NDArray[np.uint8]
HEIGHT, WIDTH = 1080, 1920
FACES = (1, 8, 32)
HEIGHTS = (12, 16, 20, 24, 32, 48, 64, 96, 160)
"""Pixels, of faces in a 1080p frame."""


@dataclass
class Way:
    """One way to the ages of a frame; what it took, a number a turn."""

    name: str
    ask: Callable[[], list[Any]]
    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)


def scene(portraits: Sequence[Picture], faces: int, seed: int) -> Picture:
    """Portraits side by side, each with one face, shrunk so that all find room."""
    rng = np.random.default_rng(seed)
    picture = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    columns = {1: 1, 8: 4, 32: 8}[faces]
    rows = faces // columns
    cell_h, cell_w = HEIGHT // rows, WIDTH // columns
    for i, k in enumerate(rng.permutation(len(portraits))[:faces]):
        photo = portraits[k]
        scale = min(cell_h / photo.shape[0], cell_w / photo.shape[1])
        small = cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        y, x = (i // columns) * cell_h, (i % columns) * cell_w
        picture[y : y + small.shape[0], x : x + small.shape[1]] = small[: HEIGHT - y, : WIDTH - x]
    return picture


def seconds_of(pid: int) -> float:
    """CPU seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(ways: Sequence[Way], pid: int, seconds: float) -> None:
    """In turns, at least five of each; each turn lasts a quarter of a second at least."""
    for way in ways:
        way.ask()
    end = time.monotonic() + seconds * len(ways)
    while time.monotonic() < end or len(ways[0].wall) < 5:
        for way in ways:
            begin, cpu, count = time.monotonic(), time.process_time() + seconds_of(pid), 0
            while time.monotonic() - begin < 0.25:
                way.ask()
                count += 1
            way.wall.append((time.monotonic() - begin) / count)
            way.cpu.append((time.process_time() + seconds_of(pid) - cpu) / count)


def matched(found: Sequence[Any], expected: Sequence[Any]) -> int:
    """How many of ``expected`` are among ``found``, by boxes that overlap by half."""
    return sum(any(intersection_over_union(a.box, b.box) > 0.5 for a in found) for b in expected)


def rows_of(title: str, frame: Picture, server: Server, seconds: float) -> list[list[str]]:
    with ExitStack() as stack:
        cpu = read_bundle(default_bundle())
        sending = stack.enter_context(AgeClient(server.grpc_url, detector="yunet"))
        sharing = stack.enter_context(AgeClient(server.grpc_url, shared_memory=True))
        opencv = YuNet(runtime="opencv")
        photo = stack.enter_context(AgeClient(server.grpc_url, detector=opencv))
        whole = photo.predict_photo(frame)
        boxes = [face.box for face in whole]
        crops = crop_faces(frame, boxes, cpu.contract.interface.crop)
        engine = Engine(cpu)
        ways = [
            Way("predict_photo, OpenCV", lambda: photo.predict_photo(frame)),
            Way(f"predict_photo, {sending._finder.detector.runtime}", lambda: sending.predict_photo(frame)),  # type: ignore[attr-defined]
            Way("predict_frame, gRPC", lambda: sending.predict_frame(frame)),
            Way("predict_frame, shared memory", lambda: sharing.predict_frame(frame)),
            Way("… at 640 alone", lambda: sharing.predict_frame(frame, scales=[640])),
            Way("… boxes given", lambda: sharing.predict_frame(frame, boxes=boxes)),
            Way("the engine alone, on crops", lambda: list(engine.predict(crops))),
        ]
        found = [way.ask() for way in ways]
        measure(ways, server.pid, seconds)
    base = statistics.median(ways[0].cpu)
    rows = []
    for way, faces in zip(ways, found, strict=True):
        spent, wall = statistics.median(way.cpu), statistics.median(way.wall)
        recall = f"{matched(faces, whole)} of {len(whole)}" if hasattr(faces[0], "box") else "-"
        rows.append(
            [title, way.name, recall, f"{1e3 * wall:.1f}", f"{1e3 * spent:.1f}", f"{base / spent:.1f}"]
        )
        print("  ".join(rows[-1]), flush=True)
    return rows


def sized(photos: Sequence[tuple[Picture, float]], height: int) -> tuple[Picture, int]:
    """A frame of portraits whose faces are ``height`` pixels high, and how many; ``photos`` with the height
    of their faces."""
    picture = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    y = x = below = count = 0
    for photo, face in photos:
        small = cv2.resize(photo, None, fx=height / face, fy=height / face, interpolation=cv2.INTER_AREA)
        if x + small.shape[1] > WIDTH:
            x, y, below = 0, y + below, 0
        if y + small.shape[0] > HEIGHT or small.shape[1] > WIDTH:
            break
        picture[y : y + small.shape[0], x : x + small.shape[1]] = small
        x, below, count = x + small.shape[1], max(below, small.shape[0]), count + 1
    return picture, count


def recall(photos: Sequence[Picture], server: Server) -> list[list[str]]:
    """Found faces by their height, at the detector's scales and at 640 alone."""
    detector, heights = YuNet(runtime="opencv"), []
    for photo in photos:
        found = detector.detect(photo)
        heights.append(found[0].box[3] if len(found) == 1 else 0.0)
    usable = [(photo, height) for photo, height in zip(photos, heights, strict=True) if height]
    rows = []
    with AgeClient(server.grpc_url) as client:
        for height in HEIGHTS:
            frame, count = sized(usable, height)
            both, coarse = client.predict_frame(frame), client.predict_frame(frame, scales=[640])
            rows.append([f"{height}", f"{count}", f"{len(both)}", f"{len(coarse)}"])
    return rows


def frames(portraits: Path, clips: Path | None) -> list[tuple[str, Picture]]:
    photos = [read_picture(path) for path in sorted(portraits.glob("*.jpg"))[:64]]
    made = [(f"scene, {count} faces", scene(photos, count, 1)) for count in FACES]
    for path in sorted(clips.glob("*")) if clips else []:
        video = cv2.VideoCapture(str(path))
        video.set(cv2.CAP_PROP_POS_FRAMES, 30)
        good, frame = video.read()
        if good and len(YuNet(runtime="opencv").detect(frame)):
            made.append((f"{path.stem}, {frame.shape[1]}×{frame.shape[0]}", np.asarray(frame, np.uint8)))
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--portraits", type=Path, required=True)
    parser.add_argument("--clips", type=Path)
    parser.add_argument("--seconds", type=float, default=4, help="for each way of a frame")
    given = parser.parse_args()
    cv2.setNumThreads(1)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        repo = Path(folder) / "models"
        repository.build([("ssrnet", default_bundle())], repo, Options(frame=True))
        with Server(repo, shared_memory=True) as server:
            for title, frame in frames(given.portraits, given.clips):
                rows += rows_of(title, frame, server, given.seconds)
            photos = [read_picture(path) for path in sorted(given.portraits.glob("*.jpg"))]
            found = recall(photos, server)
    text = [
        "# What a frame costs",
        f"{hardware()}. {versions('numpy', 'opencv-python-headless', 'onnxruntime', 'tritonclient')}.",
        "`python benchmarks/frame.py`: medians a frame, milliseconds; the server's instance and each "
        "detector have one thread. CPU is of client and server together; the last column is the CPU time of "
        "the first way by it. Faces: how many of the first way's are found.",
        table(("frame", "way", "faces", "wall ms", "CPU ms", "times"), rows),
        "## What 640 alone misses",
        "Portraits shrunk until their faces (the detector's boxes) are so many pixels high, side by side in "
        "a 1080p frame. The detector's scales are 640 and 1600.",
        table(("face height, pixels", "faces", "found at the detector's scales", "at 640 alone"), found),
    ]
    print(write("frame", "\n\n".join(text)))


if __name__ == "__main__":
    command.run(main, "frame")
