"""What does cutting faces from a 1080p frame cost, beside OpenCV and beside the network's own time?

One thread, eight boxes of 200 x 240 pixels. Every candidate's bytes are checked first.
Run: python benchmarks/cutting.py [--seconds S]
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import _results
import cv2
import numpy as np
from numpy.typing import NDArray
from ssr_client.preprocess import crop_faces, nv12_to_bgr

from ssr_bundle import commandline as command
from ssr_bundle.contract import Crop
from ssr_bundle.face_crop import Template
from ssr_ops import Engine, implementations
from ssr_ops.cutting import cut_faces, to_bgr
from ssr_ops.shipped import default_bundle

FACES, HEIGHT, WIDTH = 8, 1080, 1920
FACE = ((38.29, 51.7), (73.53, 51.5), (56.03, 71.74), (41.55, 92.37), (70.73, 92.2))
PLAIN = Crop(margin=(0.0, 0.0))
ALIGNED = Crop(border="replicate", template=Template(FACE, 112))
NV12 = {"format": "nv12", "matrix": "bt601", "range": "limited"}

Bytes = NDArray[np.uint8]
Run = Callable[[], Any]


def scene() -> tuple[Bytes, Bytes, NDArray[np.float32], NDArray[np.float32]]:
    """A BGR frame and an NV12 one, boxes, and landmarks of faces of about the boxes' size."""
    rng = np.random.default_rng(0)
    corners = np.array([(50 + 230 * i, 100 + 60 * i) for i in range(FACES)])
    boxes = np.column_stack([corners, np.full((FACES, 2), (200, 240))]).astype(np.float32)
    landmarks = (np.array(FACE) - 56) * 2 + corners[:, None] + 110
    frame = rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    return (
        frame,
        rng.integers(0, 256, (HEIGHT * 3 // 2, WIDTH), np.uint8),
        boxes,
        landmarks.astype(np.float32),
    )


def forced(kind: str, call: Run) -> Run:
    def run() -> Any:
        os.environ["SSR_FORCE_IMPLEMENTATION"] = kind
        return call()

    return run


def candidates() -> dict[str, dict[str, Run]]:
    frame, yuv, boxes, landmarks = scene()
    parts = [frame[int(y) : int(y + h) + 1, int(x) : int(x + w) + 1] for x, y, w, h in boxes]
    turns = [cv2.getAffineTransform(p[:3], np.array(FACE[:3], np.float32) * 64 / 112) for p in landmarks]
    crops = np.empty((FACES, 64, 64, 3), np.uint8)

    def resize() -> Bytes:
        for part, crop in zip(parts, crops, strict=True):
            cv2.resize(part, (64, 64), dst=crop, interpolation=cv2.INTER_LINEAR)
        return crops

    def warp() -> None:
        for turn in turns:
            cv2.warpAffine(frame, turn, (64, 64), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)

    def ours(pixels: Bytes, crop: Crop, **meaning: str) -> Run:
        return lambda: cut_faces(pixels, boxes, crop, colour="bgr", landmarks=landmarks, **meaning)

    faces: dict[str, Run] = {"cv2.resize": resize, "cv2.warpAffine": warp}
    faces["client, by the box"] = lambda: crop_faces(frame, boxes, PLAIN)
    faces["client, aligned"] = lambda: crop_faces(frame, boxes, ALIGNED, landmarks=landmarks.tolist())
    frames: dict[str, Run] = {"cv2.cvtColor, NV12": lambda: cv2.cvtColor(yuv, cv2.COLOR_YUV2BGR_NV12)}
    for kind in ("portable", "avx2"):
        if kind not in implementations():
            continue
        for what, crop in (("by the box", PLAIN), ("aligned", ALIGNED)):
            faces[f"**ours {kind}, {what}**, BGR"] = forced(kind, ours(frame, crop, format="bgr"))
            faces[f"**ours {kind}, {what}**, NV12"] = forced(kind, ours(yuv, crop, **NV12))
        frames[f"**ours {kind}**, NV12"] = forced(kind, lambda: to_bgr(yuv, **NV12))
        frames[f"**ours {kind}**, RGB"] = forced(kind, lambda: to_bgr(frame, format="rgb"))

    converted = nv12_to_bgr(yuv, NV12["matrix"], NV12["range"])
    wanted = {
        (what, form): crop_faces(pixels, boxes, crop, landmarks=landmarks.tolist())
        for what, crop in (("by the box", PLAIN), ("aligned", ALIGNED))
        for form, pixels in (("BGR", frame), ("NV12", converted))
    }
    np.testing.assert_array_equal(resize(), wanted["by the box", "BGR"])
    for name, run in faces.items():
        for (what, form), crops_wanted in wanted.items():
            if name.endswith(f"{what}**, {form}"):
                np.testing.assert_array_equal(run(), crops_wanted, err_msg=name)
    for name, run in frames.items():
        np.testing.assert_array_equal(run(), frame[..., ::-1] if "RGB" in name else converted, err_msg=name)
    return {"faces": faces, "frames": frames}


def measure(seconds: float) -> str:
    cv2.setNumThreads(1)
    engine = Engine(default_bundle())
    images = np.random.default_rng(0).integers(0, 256, (FACES, 64, 64, 3), np.uint8)
    found = candidates()
    network = f"the network, fp32 {engine.implementation}"
    times = _results.medians({network: lambda: engine.predict(images), **found["faces"]}, seconds)
    face = {name: 1e6 * time / FACES for name, time in times.items()}
    rows = [(name, f"{time:.1f}", f"{100 * time / face[network]:.1f} %") for name, time in face.items()]
    whole = _results.medians(found["frames"], seconds)
    return "\n".join(
        [
            "# Cutting faces in C++",
            "",
            f"{_results.hardware()}. {_results.versions('opencv-python-headless', 'ssr-serve')}. One thread.",
            f"{FACES} boxes of 200 x 240 in a frame of {WIDTH} x {HEIGHT}; medians of interleaved calls from"
            " Python, so that each finds little of the frame in the caches; bytes checked first, but for"
            " `cv2.warpAffine`, which has others.",
            "",
            _results.table(("", "µs a face", "of the network's"), rows),
            "",
            _results.table(
                ("a whole frame to BGR", "ms"), [(name, f"{1e3 * time:.2f}") for name, time in whole.items()]
            ),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--output", type=Path, default=_results.RESULTS)
    arguments = parser.parse_args()
    text = measure(arguments.seconds)
    print(text)
    print("\nwritten to", _results.write("cutting", text, arguments.output))


if __name__ == "__main__":
    command.run(main, "cutting")
