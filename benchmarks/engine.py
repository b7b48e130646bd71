"""How fast is the engine beside every runtime that runs the same network, in the same run?

Validates every contestant, finds the configuration that each peer likes best, then times all of them in turns
in one process, and writes ``benchmarks/results/engine-<cpu>.md`` with a plot beside it.

* fp32 answers must lie within 2e-3 years of the float64 reference on the golden record's face crops. bf16 and
  int8 are held to fp32 on other crops, and their drift is reported.
* int8 of every peer is quantized on the same crops: drawn faces, or the faces in the photos of --images.
* A peer is handed float arrays in the layout it likes, made before the clock starts, the graph in the order
  it likes, batches cut into the chunks it likes; on several threads, its own threads or single-threaded
  copies, whichever is quicker. Ours starts from the uint8 crops, every time.

Peers that are not installed cost a line of the report. To get them all:
  pip install -c constraints.txt -e '.[bench]'       (or: make peers)
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import peers
from _quantized import quantized
from peers.comparison import Auto, Cell, Results, write
from peers.contest import Judge, contest, peaks, scaling
from peers.contestant import Contestant, Images, Material, Plan
from peers.crops import drawn_crops, photographed_crops
from peers.tuning import PAUSE, choose, survey

from ssr_bundle import commandline as command
from ssr_bundle.bundle import Bundle, read_bundle
from ssr_ops.engine import Engine
from ssr_ops.precision import choose_precision
from ssr_ops.shipped import default_bundle

PRECISIONS = ("fp32", "bf16", "int8")
AUTO_BAR = 0.98
"""Of fp32's speed at the largest batch, the least that precision auto may have."""
GIVEN, FRESH = 300, 256
"""How many crops int8 is quantized on, and how many others drift is measured on."""


def main() -> None:
    options = arguments()
    begin = time.perf_counter()
    bundle = read_bundle(options.bundle)
    a = bundle.contract.architecture
    if (a.stages, a.width_x, a.width_s, a.width_fusion) != ((3, 3, 3), 32, 16, 10):
        raise SystemExit("engine: the count of multiply-adds holds for the released architecture only")
    with tempfile.TemporaryDirectory() as folder:
        results = run(bundle, options, Path(folder))
    results.seconds = time.perf_counter() - begin
    for path in write(results, options.output):
        print("written to", path)
    if results.auto is not None and results.auto.ratio < AUTO_BAR:
        raise SystemExit(f"engine: precision auto has {results.auto.ratio:.2f} of fp32's speed")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "bundle", type=Path, nargs="?", default=default_bundle(), help="default: the shipped one"
    )
    parser.add_argument(
        "--peers",
        type=names(peers.RUNTIMES),
        default=peers.RUNTIMES,
        metavar="NAME,...",
        help=f"of {', '.join(peers.RUNTIMES)}, or none (default: all that are installed)",
    )
    parser.add_argument(
        "--precisions",
        type=names(PRECISIONS),
        default=PRECISIONS,
        metavar="NAME,...",
        help="of fp32, bf16, int8 (default: all)",
    )
    parser.add_argument("--batches", type=numbers(128), metavar="N,...", help="default: 1,8,32,128")
    parser.add_argument("--threads", type=numbers(64), metavar="N,...", help="default: 1,2")
    parser.add_argument(
        "--images",
        type=Path,
        metavar="DIR",
        help="photos whose faces int8 is quantized and measured on",
    )
    parser.add_argument("--seconds", type=float, default=None, help="for each batch size (default: 6)")
    parser.add_argument(
        "--quick", action="store_true", help="batches 1 and 32, one thread, short: a look, not a result"
    )
    parser.add_argument(
        "--output", type=Path, default=None, metavar="DIR", help="where the table and the plot go"
    )
    options = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    options.batches = options.batches or ((1, 32) if options.quick else (1, 8, 32, 128))
    options.threads = options.threads or ((1,) if options.quick or cores < 2 else (1, 2))
    options.seconds = options.seconds or (2.0 if options.quick else 6.0)
    if max(options.threads) > cores:
        parser.error(f"--threads {max(options.threads)}: this process may use {cores} cores")
    return options


def names(known: tuple[str, ...]) -> Callable[[str], tuple[str, ...]]:
    def read(text: str) -> tuple[str, ...]:
        if text == "none":
            return ()
        given = tuple(text.split(","))
        if unknown := [name for name in given if name not in known]:
            raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(known)}")
        return given

    return read


def numbers(largest: int) -> Callable[[str], tuple[int, ...]]:
    def read(text: str) -> tuple[int, ...]:
        parts = text.split(",")
        if not all(part.isdigit() and 1 <= int(part) <= largest for part in parts):
            raise argparse.ArgumentTypeError(f"{text!r}: expected numbers in 1..{largest}, as in 1,8,32")
        return tuple(sorted({int(part) for part in parts}))

    return read


def run(bundle: Bundle, options: argparse.Namespace, folder: Path) -> Results:
    begin = time.perf_counter()
    print(f"crops: {options.images or 'drawn faces'}", flush=True)
    if options.images:
        given, fresh, source = photographed_crops(options.images, bundle)
    else:
        given, fresh, source = drawn_crops(GIVEN, FRESH, bundle)
    if options.precisions != ("fp32",):
        bundle, own = quantized(bundle, given, folder)
        source += f"; ours {own}"
    material = Material(bundle, given, folder)
    print("contestants:", flush=True)
    found, absent = peers.gather(material, ("ours", *options.peers), options.precisions)
    for item in absent:
        print(f"  {item.name}: {item.reason}", flush=True)
    if not found:
        raise SystemExit("engine: no contestant runs here")
    judge = Judge(bundle, fresh, Engine(bundle).predict(fresh))
    images = np.resize(fresh, (max(options.batches), 64, 64, 3))
    print("each at its best:", flush=True)
    surveys: dict[str, dict[Plan, float]] = {}
    results = Results(bundle, options.batches, options.threads, [], absent, source)
    for each in found:
        with costs_a_line(results, each):
            results.contestants.append(each)
            enter(results, each, judge, surveys, images)
    print(f"in turns (after {time.perf_counter() - begin:.0f} s):", flush=True)
    for threads in options.threads:
        for batch in options.batches:
            measure(results, judge, surveys, batch, threads, images, options.seconds)
    results.auto = auto(results)
    results.peaks = peaks([(each.precision, each.implementation) for each in found if each.ours])
    measure_scaling(results, images, options.seconds)
    results.load = os.getloadavg()[0]
    return results


def enter(
    results: Results, each: Contestant, judge: Judge, surveys: dict[str, dict[Plan, float]], images: Images
) -> None:
    """Find a contestant's best plans, check what they answer, and let it in."""
    surveys[each.name] = survey(each, results.batches, images)
    plans = [choose(each, surveys[each.name], batch, 1, images) for batch in results.batches]
    results.drifts[each.name] = drift = judge.drift(each, plans)
    print(f"  {each.name}: {plans[-1]}; drift mean {drift.mean:.2g}, max {drift.worst:.2g}", flush=True)
    if each.kernels:
        results.kernels[each.name] = each.kernels(plans[-1])


@contextmanager
def costs_a_line(results: Results, each: Contestant) -> Iterator[None]:
    """A peer that fails within is left out, with its reason; ours is the benchmark's own failure."""
    try:
        yield
    except Exception as error:  # a peer's own faults have no class in common
        reason = peers.reason_of(error)
        if each.ours:
            raise SystemExit(f"engine: {each.name}: {reason}") from error
        results.drop(each, reason)
        print(f"  {each.name}: {reason}", flush=True)


def measure(
    results: Results,
    judge: Judge,
    surveys: dict[str, dict[Plan, float]],
    batch: int,
    threads: int,
    images: Images,
    seconds: float,
) -> None:
    """Time the contestants at one batch size; on more threads, of ours only the best in each precision."""
    begin = time.perf_counter()
    plans, calls = {}, {}
    expected = np.resize(judge.fp32, len(images))[:batch]
    entered = list(results.contestants if threads == results.threads[0] else results.front())
    for each in entered:
        with costs_a_line(results, each):
            plan = choose(each, surveys[each.name], batch, threads, images)
            call = each.prepare(plan, images[:batch], threads)
            judge.check(each, call(), expected)
            plans[each.name], calls[each.name] = plan, call
    timings, lost = contest(calls, batch, seconds, PAUSE if threads > 1 else 0.0)
    for each in entered:
        if each.name in lost:
            with costs_a_line(results, each):
                raise lost[each.name]
        elif each.name in timings:
            results.cells[each.name, batch, threads] = Cell(plans[each.name], timings[each.name])
    top = max(timings, key=lambda name: timings[name].rate)
    print(
        f"  batch {batch}, threads {threads}: {top} leads, {timings[top].rate:,.0f} images/s "
        f"({time.perf_counter() - begin:.0f} s)",
        flush=True,
    )


def auto(results: Results) -> Auto | None:
    """What precision auto takes here, beside fp32; None if either was not measured."""
    choice = choose_precision(results.bundle)
    first = {each.precision: each for each in reversed(results.contestants) if each.ours}
    if not {"fp32", choice.precision} <= first.keys():
        return None
    batch, threads = results.batches[-1], results.threads[0]
    taken, fp32 = (results.cells[first[p].name, batch, threads].timing for p in (choice.precision, "fp32"))
    return Auto(choice.precision, choice.reason, taken.over(fp32))


def measure_scaling(results: Results, images: Images, seconds: float) -> None:
    """Our best implementation in each precision, at the largest batch."""
    batch = max(results.batches)
    for threads in results.threads:
        for each in results.best_of_ours() if threads > 1 else ():
            whole = Plan("", 0)
            one, several = (each.prepare(whole, images[:batch], n) for n in (1, threads))
            kind = (each.precision, each.implementation)
            results.scalings[each.name, threads] = scaling(one, several, kind, batch, threads, seconds / 4)


if __name__ == "__main__":
    command.run(main, "engine")
