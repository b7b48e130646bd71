"""What does it cost that the exported ONNX graph takes bytes (n, 64, 64, 3), and is it a good graph?

``python benchmarks/onnx_layout.py [BUNDLE]`` times in ONNX Runtime, one thread, interleaved: the graph of
``ssr-train export``; the same graph without its first two nodes, fed with float (n, 3, 64, 64), converted
beforehand; and, where torch is installed, what ``torch.onnx.export`` writes of the network, fed likewise.
The answers of all are compared before anything is timed. Writes ``benchmarks/results/onnx-layout-<cpu>.md``.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from operator import truediv
from pathlib import Path

import _results
import numpy as np
import onnx
import onnxruntime

from ssr_bundle import commandline as command
from ssr_bundle.bundle import Bundle, read_bundle
from ssr_bundle.contract import IMAGE_SIZE
from ssr_bundle.tolerances import required
from ssr_ops.export.network import build_onnx
from ssr_ops.shipped import default_bundle

BYTES, PLANES = "exported: bytes, n x 64 x 64 x 3", "the same from floats, n x 3 x 64 x 64"
BATCHES = (1, 8, 32)
TURN = 0.03
"""Seconds of calls one after the other, as a server's are, before the next candidate's turn."""
ALLOWED = 1.05
"""The exported graph's time may be this many times that of the same network from float planes."""


def from_planes(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph without Cast and Transpose: float (n, 3, 64, 64) in."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    graph, cast, transpose = changed.graph, *model.graph.node[:2]
    if (cast.op_type, transpose.op_type) != ("Cast", "Transpose"):
        raise SystemExit("the exported graph does not begin with Cast and Transpose")
    image = graph.input[0].name
    graph.input[0].CopyFrom(
        onnx.helper.make_tensor_value_info(image, onnx.TensorProto.FLOAT, ["n", 3, IMAGE_SIZE, IMAGE_SIZE])
    )
    del graph.node[:2]
    for node in graph.node:
        for i, name in enumerate(node.input):
            if name == transpose.output[0]:
                node.input[i] = image
    onnx.checker.check_model(changed, full_check=True)
    return changed


def from_torch(bundle: Bundle) -> dict[str, bytes]:
    """Graphs written by torch, as the peers of ``benchmarks/engine.py`` are handed them; {} without torch."""
    try:
        from peers.contestant import Material
        from peers.network import ORDERS, onnx_file
    except ModuleNotFoundError:
        return {}
    with tempfile.TemporaryDirectory() as folder:
        material = Material(bundle, bundle.golden()["crops"], Path(folder))
        return {f"torch.onnx.export, {order}": onnx_file(material, order).read_bytes() for order in ORDERS}


def session(model: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def section(bundle: Bundle, models: dict[str, bytes], batch: int, seconds: float) -> tuple[str, float]:
    """Rows of one batch size, and how many times the float planes' time the exported graph takes."""
    crops = bundle.golden()["crops"]
    expected = bundle.golden()["output"][: len(crops)]
    images = np.resize(crops, (batch, *crops.shape[1:]))
    planes = np.ascontiguousarray(images.transpose(0, 3, 1, 2), np.float32)
    low, high = bundle.contract.interface.output.clip
    allowed = required("onnx", "fp32", bundle.contract).max
    calls, wrong = {}, []
    for name, model in models.items():
        network = session(model)
        given = {network.get_inputs()[0].name: images if name == BYTES else planes}
        answers = np.clip(network.run(None, given)[0][:, 0], low, high)
        error = np.abs(answers - np.resize(expected, batch)).max()
        if not error <= allowed:
            if name in (BYTES, PLANES):
                raise SystemExit(f"{name} is {error} from the reference: nothing is timed")
            wrong.append(f"{name}: {error:.2g} years from the reference, not timed.")
            continue
        calls[name] = lambda network=network, given=given: network.run(None, given)
    times = turns(calls, seconds)
    ratios = {name: statistics.median(map(truediv, spent, times[PLANES])) for name, spent in times.items()}
    rows = []
    for name, spent in times.items():
        image = statistics.median(spent) / batch
        rows.append([name, f"{image * 1e6:.1f}", f"{1 / image:,.0f}", f"{ratios[name]:.3f}"])
    header = ["graph", "µs an image", "images a second", "time, of float planes'"]
    title = f"## Batch {batch}, {len(times[PLANES])} rounds"
    text = "\n\n".join([title, _results.table(header, rows), *wrong])
    return f"{text}\n", ratios[BYTES]


def turns(calls: dict[str, Callable[[], object]], seconds: float) -> dict[str, list[float]]:
    """Median processor seconds of a call in each candidate's turn, a turn each a round, in any order."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    rng, names, end = np.random.default_rng(0), list(calls), time.perf_counter() + seconds
    while len(times[names[0]]) < 2 or time.perf_counter() < end:
        for i in rng.permutation(len(names)):
            spent: list[float] = []
            while sum(spent) < TURN or len(spent) < 3:
                begin = time.thread_time()
                calls[names[i]]()
                spent.append(time.thread_time() - begin)
            times[names[i]].append(statistics.median(spent))
    return {name: found[1:] for name, found in times.items()}  # the first turn warms up


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "bundle", type=Path, nargs="?", default=default_bundle(), help="default: the shipped one"
    )
    parser.add_argument("--seconds", type=float, default=20.0, help="for each batch size")
    options = parser.parse_args()
    bundle = read_bundle(options.bundle)
    exported = build_onnx(bundle)
    models = {
        BYTES: exported.SerializeToString(),
        PLANES: from_planes(exported).SerializeToString(),
        **from_torch(bundle),
    }
    sections = {batch: section(bundle, models, batch, options.seconds) for batch in BATCHES}
    lines = [
        "# The exported ONNX graph's layout, ONNX Runtime on one thread\n",
        f"{_results.hardware()}. {_results.versions('ssr-serve', 'onnxruntime', 'onnx', 'torch', 'numpy')}. "
        f"Network `{bundle.contract.name}`, weights {bundle.contract.weights_sha256[:12]}, fp32.",
        f"Processor time of the one thread. The candidates take turns of {TURN * 1000:.0f} ms, in an order "
        "drawn for every round: medians of the turns' medians, and of the rounds' ratios. Float planes are "
        "converted beforehand and not counted, which the graph that takes bytes does within its time; it may "
        f"take {ALLOWED} times theirs. "
        f"Load average while measuring {os.getloadavg()[0]:.1f} (1 is this program alone).\n",
        *(text for text, _ in sections.values()),
    ]
    print("\n".join(lines))
    print(f"written: {_results.write('onnx-layout', chr(10).join(lines))}")
    if beyond := [f"batch {batch}: {ratio:.3f}" for batch, (_, ratio) in sections.items() if ratio > ALLOWED]:
        raise SystemExit(f"bytes cost more than {ALLOWED} times floats' time: {', '.join(beyond)}")


if __name__ == "__main__":
    command.run(main, "onnx_layout")
