"""How fast is the native face detector beside the runtimes that run the same network, in the same run?

One picture a call, one thread. Ours starts from the frame's bytes and ends with faces. Beside it: each peer's
network alone, handed its floats before the clock starts, and whole searches from bytes to faces, OpenCV's
``FaceDetectorYN`` and ``ssr_client``'s YuNet by ONNX Runtime. First everyone's faces are compared with the
float64 reference's: who is wrong, or not installed, costs a line of the table. Then all are timed in turns,
beside a loop of nothing but multiply-adds.
Writes ``benchmarks/results/detector-<cpu>.md``.

    python benchmarks/detector.py [YUNET.onnx]        (default: ssr_bundle.fetch's)
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import _kernels
import _results
import numpy as np
from numpy.typing import NDArray

from ssr_bundle import commandline as command
from ssr_bundle.detector import HEADS, STRIDES, read_detector
from ssr_ops import Detector, detector_reference, implementations
from ssr_ops.detector_golden import golden_picture
from ssr_ops.shipped import default_detector

SIZES = ((640, 640), (384, 640), (192, 320), (160, 160))  # height, width
OURS = "ours, "
NAMES = [f"{head}_{stride}" for stride in STRIDES for head in HEADS]
BOX_BOUND = 0.5
"""Pixels that boxes and landmarks may lie from the reference's."""
BURSTS, BURST = 4, 0.005
"""Looks at the loop of multiply-adds in each round, and seconds of each."""

Floats = NDArray[np.float32]
Network = Callable[[], Sequence[Floats]]
"""Runs on a picture that it was made for; the outputs of :data:`NAMES`."""
Peer = Callable[[Path, Floats], Network]
"""Makes a network for planes (1, 3, H, W)."""


class WrongError(Exception):
    """Faces that are not the reference's."""


def fixed(model: Path, planes: Floats) -> bytes:
    """The ONNX model for pictures of this size alone."""
    import onnx

    read = onnx.load(str(model))
    for size, dimension in zip(planes.shape, read.graph.input[0].type.tensor_type.shape.dim, strict=True):
        dimension.dim_value = size
    for output in read.graph.output:
        output.type.tensor_type.ClearField("shape")
    del read.graph.value_info[:]
    data: bytes = read.SerializeToString()
    return data


def with_opencv(model: Path, planes: Floats) -> Network:
    import cv2

    cv2.setNumThreads(1)
    net = cv2.dnn.readNet(str(model))

    def run() -> Sequence[Floats]:
        net.setInput(planes)
        outputs: Sequence[Floats] = net.forward(NAMES)
        return outputs

    return run


def with_onnxruntime(model: Path, planes: Floats) -> Network:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(fixed(model, planes), options, providers=["CPUExecutionProvider"])
    given = {session.get_inputs()[0].name: planes}
    return lambda: session.run(NAMES, given)


def with_openvino(model: Path, planes: Floats) -> Network:
    import openvino as ov

    core = ov.Core()
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": 1,
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,
        "INFERENCE_PRECISION_HINT": "f32",
    }
    network = core.compile_model(core.read_model(fixed(model, planes)), "CPU", settings)
    request = network.create_infer_request()
    request.set_input_tensor(ov.Tensor(planes, shared_memory=True))

    def run() -> Sequence[Floats]:
        request.infer()
        return [request.get_tensor(name).data for name in NAMES]

    return run


def searching(runtime: str) -> Peer:
    """The whole search as a client runs it without our core."""

    def open_peer(model: Path, planes: Floats) -> Network:
        import cv2
        from ssr_client.yunet import open_network

        cv2.setNumThreads(1)
        network = open_network(model, read_detector(default_detector()).contract.score_threshold, runtime)
        picture = np.ascontiguousarray(planes[0].transpose(1, 2, 0).astype(np.uint8))
        return lambda: [network.find(picture)]

    return open_peer


PEERS: dict[str, Peer] = {
    "OpenCV DNN, network alone": with_opencv,
    "ONNX Runtime, network alone": with_onnxruntime,
    "OpenVINO, network alone": with_openvino,
    "OpenCV FaceDetectorYN": searching("opencv"),
    "ONNX Runtime in ssr_client": searching("onnxruntime"),
}


def picture_of(height: int, width: int) -> NDArray[np.uint8]:
    """The golden picture over and over, cut to a size."""
    golden = golden_picture()
    tiles = (-(-height // golden.shape[0]), -(-width // golden.shape[1]), 1)
    return np.ascontiguousarray(np.tile(golden, tiles)[:height, :width])


def multiply_adds(height: int, width: int) -> int:
    """Of one picture: a unit has ``in * out`` and ``9 * out`` a cell."""
    stem, width_of_maps = 16, 64
    few, wide, grown = ((a * b + 9 * b) for a, b in ((stem, stem), (64, 64), (stem, width_of_maps)))
    heads = 64 * sum(HEADS.values()) + 9 * sum(HEADS.values())
    at = {2: 27 * stem + few, 4: few + grown + 2 * wide, **dict.fromkeys(STRIDES, 4 * wide + heads)}
    return sum(count * (height // stride) * (width // stride) for stride, count in at.items())


def faces_of(outputs: Sequence[Floats], height: int, width: int) -> detector_reference.Detections:
    """What a peer's outputs, sigmoids among them, say; or its faces, if it searches itself."""
    if len(outputs) == 1:
        rows = outputs[0]
        return detector_reference.Detections(rows[:, :4], rows[:, 14], rows[:, 4:14].reshape(-1, 5, 2))
    raw = []
    for i, stride in enumerate(STRIDES):
        values = [np.asarray(v, np.float64) for v in outputs[4 * i : 4 * i + 4]]
        with np.errstate(divide="ignore"):
            values[:2] = [np.log(p) - np.log1p(-p) for p in values[:2]]
        cells = [v.reshape(height // stride, width // stride, -1) for v in values]
        raw.append(np.concatenate(cells, axis=-1))
    return detector_reference.search(read_detector(default_detector()).contract, raw)


def check(found: Any, expected: Any) -> float:
    """The largest distance of boxes and landmarks from the reference's, in pixels."""
    if len(found.boxes) != len(expected.boxes):
        raise WrongError(f"{len(found.boxes)} faces, the reference sees {len(expected.boxes)}")
    ours, theirs = (
        np.concatenate([faces.boxes, faces.landmarks.reshape(-1, 10)], axis=1) for faces in (found, expected)
    )
    order = [np.lexsort(faces[:, :2].round().T) for faces in (ours, theirs)]
    distance = float(np.abs(ours[order[0]] - theirs[order[1]]).max())
    if not distance <= BOX_BOUND:
        raise WrongError(f"boxes are {distance:.2f} pixels off")
    return distance


def measure(
    model: Path, names: Sequence[str], height: int, width: int, seconds: float
) -> tuple[dict[str, str], dict[str, float], str]:
    """What is wrong, the largest distances, and a section of the report for one size."""
    picture = picture_of(height, width)
    planes = np.ascontiguousarray(picture.transpose(2, 0, 1)[None], np.float32)
    bundle = read_detector(default_detector())
    raw = detector_reference.network(bundle.parameters(), picture)
    expected = detector_reference.search(bundle.contract, raw)
    calls: dict[str, Callable[[], object]] = {}
    absent: dict[str, str] = {}
    distances: dict[str, float] = {}
    for implementation in implementations():
        detector = Detector(bundle, implementation=implementation)
        cells = [values.astype(np.float64) for values in detector.raw(picture)]
        faces = detector_reference.search(bundle.contract, cells)
        distances[OURS + implementation] = check(faces, expected)
        calls[OURS + implementation] = partial(detector.detect, picture)
    for name in names:
        try:
            run = PEERS[name](model, planes)
            distances[name] = check(faces_of(run(), height, width), expected)
            calls[name] = run
        except ImportError:
            absent[name] = "is not installed"
        except Exception as error:  # a peer's own faults have no class in common
            absent[name] = " ".join(str(error).split())[:160]
    times, peaks = timed(calls, seconds)
    return absent, distances, section(times, peaks, height, width, len(expected.boxes))


def timed(
    calls: dict[str, Callable[[], object]], seconds: float
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Each call's seconds in rounds of all of them, and each implementation's multiply-adds a second."""
    for run in calls.values():
        run()
        run()
    times: dict[str, list[float]] = {name: [] for name in calls}
    peaks = dict.fromkeys(implementations(), 0.0)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(next(iter(times.values()))) < 5:
        for name, run in calls.items():
            begin = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - begin)
        for name in peaks:
            for _ in range(BURSTS):
                peaks[name] = max(peaks[name], _kernels.load().measure_multiply_adds(name, BURST))
    return times, peaks


def section(
    times: dict[str, list[float]], peaks: dict[str, float], height: int, width: int, faces: int
) -> str:
    count, best = multiply_adds(height, width), max(peaks.values())
    ours = times[OURS + implementations()[0]]
    rows = []
    for name, spent in sorted(times.items(), key=lambda item: statistics.median(item[1])):
        peak = peaks.get(name.removeprefix(OURS), best)
        median, least = statistics.median(spent), min(spent)
        ratios = (median / statistics.median(ours), least / min(ours))
        numbers = [median * 1e3, least * 1e3, *ratios]
        rows.append([name, *(f"{number:.2f}" for number in numbers), f"{count / least / peak:.0%}"])
    header = ["", "median, ms", "quickest, ms", "median to ours", "quickest to ours", "of the limit"]
    limits = ", ".join(f"{name} {peak / 1e9:.1f}" for name, peak in peaks.items())
    return (
        f"## {width} x {height}\n\n{count / 1e6:.1f} million multiply-adds, {faces} faces, "
        f"{len(ours)} rounds. The limit, G multiply-adds a second: {limits}.\n\n"
        f"{_results.table(header, rows)}\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, nargs="?", help="YuNet's ONNX file, for the peers")
    parser.add_argument("--seconds", type=float, default=20.0, help="for each size")
    parser.add_argument("--without-peers", action="store_true", help="ours alone")
    parser.add_argument("--output", type=Path, default=None, metavar="DIR", help="where the table goes")
    options = parser.parse_args()
    names = [] if options.without_peers else list(PEERS)
    if names and options.model is None:
        from ssr_bundle.fetch import fetch

        options.model = fetch("yunet")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sections, absent, distances = [], {}, {}
    for height, width in SIZES:
        missing, found, text = measure(options.model, names, height, width, options.seconds)
        absent |= missing
        distances |= {name: max(distance, distances.get(name, 0.0)) for name, distance in found.items()}
        print(text, flush=True)
        sections.append(text)
    packages = ("ssr-serve", "numpy", "opencv-python-headless", "onnxruntime", "openvino")
    lines = [
        "# The face detector, one thread\n",
        f"{_results.hardware()}. {_results.versions(*packages)}.",
        "Milliseconds a picture, from the frame's bytes to faces; *network alone* from floats that lie ready "
        "to raw outputs. The limit is a loop of independent multiply-adds on one core, the best of many "
        "looks; what is reached of it is the quickest call's. Load average while measuring "
        f"{os.getloadavg()[0]:.1f} (1 is this program alone).\n",
        *sections,
        "## Faces\n",
        "The largest distance of boxes and landmarks from the float64 reference's, in pixels.\n",
        _results.table(["", "pixels"], [[name, f"{d:.1e}"] for name, d in distances.items()]),
        *(f"\n{name} {reason}." for name, reason in absent.items()),
    ]
    print("written to", _results.write("detector", "\n".join(lines), options.output))


if __name__ == "__main__":
    command.run(main, "detector")
