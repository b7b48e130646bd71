"""The contest in writing: a markdown table and a plot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import _results

from peers import PACKAGES, Absent
from peers.contest import Drift, Scaling, Timing
from peers.contestant import Contestant, Plan
from peers.plot import Bar, draw
from ssr_bundle.bundle import Bundle

MULTIPLY_ADDS = 4_981_824 + 9_031_680 + 1_658_880 + 184_320 + 353_280 + 2_380
"""Of one image: the four levels' convolutions without outputs that no pool reads, the 1x1 convolutions under
head pools, the dense layers. Holds for stages (3, 3, 3) and widths 32, 16, 10."""
BASELINE = "ONNX Runtime fp32"
_ORDER = {"fp32": 0, "bf16": 1, "int8": 2}


@dataclass(frozen=True)
class Cell:
    plan: Plan
    timing: Timing


@dataclass(frozen=True)
class Auto:
    """What precision auto takes here and why, and how many times fp32's speed that has, at the largest batch
    on the fewest threads."""

    precision: str
    reason: str
    ratio: float


@dataclass
class Results:
    """All that was measured."""

    bundle: Bundle
    batches: tuple[int, ...]
    threads: tuple[int, ...]
    contestants: list[Contestant]
    absent: list[Absent]
    crops: str
    drifts: dict[str, Drift] = field(default_factory=dict)
    cells: dict[tuple[str, int, int], Cell] = field(default_factory=dict)
    """By name, batch, threads."""
    peaks: dict[tuple[str, str], float] = field(default_factory=dict)
    """Multiply-adds a second by precision and implementation, one thread."""
    scalings: dict[tuple[str, int], Scaling] = field(default_factory=dict)
    kernels: dict[str, str] = field(default_factory=dict)
    """What the peers that tell say of the kernels of their best plan."""
    auto: Auto | None = None
    load: float = 0.0
    seconds: float = 0.0

    def drop(self, each: Contestant, reason: str) -> None:
        """Leave a contestant out, what was measured of it as well: it costs a line."""
        self.contestants.remove(each)
        self.cells = {key: cell for key, cell in self.cells.items() if key[0] != each.name}
        self.absent.append(Absent(each.name, reason))

    def best_of_ours(self) -> list[Contestant]:
        """Our quickest contestant in each precision, at the largest batch on the fewest threads."""
        best: dict[str, Contestant] = {}
        for each in self.contestants:
            held = best.get(each.precision)
            if each.ours and (held is None or self.rate(each) > self.rate(held)):
                best[each.precision] = each
        return list(best.values())

    def front(self) -> list[Contestant]:
        """Our quickest in each precision, and every peer."""
        best = {each.name for each in self.best_of_ours()}
        return [each for each in self.contestants if not each.ours or each.name in best]

    def rate(self, each: Contestant) -> float:
        return self.cells[each.name, self.batches[-1], self.threads[0]].timing.rate

    def peak(self, each: Contestant) -> float | None:
        """What the fraction is taken of: for ours its own loop, else the quickest in that precision."""
        if each.ours:
            return self.peaks.get((each.precision, each.implementation))
        return max((v for (p, _), v in self.peaks.items() if p == each.precision), default=None)

    def reached(self, each: Contestant) -> str:
        """The largest fraction of the peak over the batch sizes, one thread, quickest calls."""
        peak = self.peak(each)
        cells = [self.cells.get((each.name, batch, 1)) for batch in self.batches]
        best = max((cell.timing.best for cell in cells if cell), default=0.0)
        return f"{best * MULTIPLY_ADDS / peak:.0%}" if peak and best else "–"

    def sorted(self) -> list[Contestant]:
        return sorted(self.contestants, key=lambda each: (_ORDER[each.precision], -self.rate(each)))


def write(results: Results, folder: Path | None = None) -> list[Path]:
    """``engine-<cpu>.md`` and ``engine-<cpu>.svg`` in ``folder``, by default benchmarks/results."""
    folder = folder or _results.RESULTS
    folder.mkdir(parents=True, exist_ok=True)
    text = folder / f"engine-{_results.cpu_slug()}.md"
    picture = text.with_suffix(".svg")
    draw(picture, bars(results))
    document = "\n".join(lines(results, picture.name)).rstrip() + "\n"
    print(document)
    text.write_text(document)
    return [text, picture]


def bars(results: Results) -> dict[str, list[Bar]]:
    """The plot's panels: one thread, the smallest batch and the one nearest 32."""
    chosen = dict.fromkeys((results.batches[0], min(results.batches, key=lambda b: abs(b - 32))))
    front = {each.name for each in results.front()}
    shown = [each for each in results.sorted() if each.name in front]
    threads = results.threads[0]
    return {
        f"batch {batch}": [
            Bar(each.name, results.cells[each.name, batch, threads].timing.rate, each.ours) for each in shown
        ]
        for batch in chosen
    }


def lines(results: Results, picture: str) -> list[str]:
    contract = results.bundle.contract
    found = [
        "# The engine beside its peers",
        "",
        f"{_results.hardware()}. {_results.versions('ssr-serve', *PACKAGES, 'numpy')}.",
        f"Network `{contract.name}`, weights {contract.weights_sha256[:12]}. Quantized on {results.crops}.",
        "Images a second, medians of turns that all contestants took alternately in one process; in brackets "
        f"the ratio to {BASELINE} (median of the rounds' ratios). Every answer was checked first. Peers "
        "start from float arrays in the layout they like, made beforehand, cut into the calls they like; "
        "ours start from the uint8 crops. "
        f"Load average at the end {results.load:.1f} (1 is this program alone); the whole run took "
        f"{results.seconds:.0f} s.",
        "",
        f"![images a second]({picture})",
        "",
        *summary(results),
    ]
    if found_auto := results.auto:
        found += [
            "",
            f"Precision auto takes {found_auto.precision} here ({found_auto.reason}): {found_auto.ratio:.2f} "
            f"times fp32 at batch {results.batches[-1]}, in the same turns.",
        ]
    for threads in results.threads:
        found += ["", f"## {threads} thread{'s' * (threads > 1)}", "", *speeds(results, threads)]
    found += ["", "## How much of the machine", "", *limits(results)]
    if results.scalings:
        found += ["", "## Threads", "", *threads_table(results)]
    found += ["", "## Answers, and how each peer ran", "", *answers(results)]
    if results.absent:
        found += ["", "## Not run", "", *(f"- {item.name}: {item.reason}" for item in results.absent)]
    return found


def summary(results: Results) -> list[str]:
    """Our best in each precision and the peers, in short: the table that the README quotes."""
    threads = results.threads[0]
    batches = [batch for batch in results.batches if batch in (1, 32)] or list(results.batches)
    rows = []
    for each in results.sorted():
        if each not in results.front():
            continue
        cells = []
        for batch in batches:
            timing = results.cells[each.name, batch, threads].timing
            base = results.cells.get((BASELINE, batch, threads))
            cells += [f"{timing.rate:,.0f}", f"{timing.over(base.timing):.2f}" if base else "–"]
        drift = results.drifts[each.name]
        years = f"{drift.worst:.1e}" if each.precision == "fp32" else f"{drift.mean:.2f}"
        rows.append([f"**{each.name}**" if each.ours else each.name, *cells, years])
    header = ["", *(text for batch in batches for text in (f"batch {batch}", "ratio")), "years"]
    return [_results.table(header, rows)]


def speeds(results: Results, threads: int) -> list[str]:
    rows = []
    for each in results.sorted():
        if (each.name, results.batches[0], threads) not in results.cells:
            continue
        cells = []
        for batch in results.batches:
            timing = results.cells[each.name, batch, threads].timing
            base = results.cells.get((BASELINE, batch, threads))
            ratio = f" ({timing.over(base.timing):.2f})" if base else ""
            cells.append(f"{timing.rate:,.0f}{ratio}")
        label = f"**{each.name}**" if each.ours else each.name
        rows.append([label, *cells, *([results.reached(each)] if threads == 1 else [])])
    header = ["", *(f"batch {batch}" for batch in results.batches)]
    if threads == 1:
        header.append("of the peak")
    return [_results.table(header, rows)]


def limits(results: Results) -> list[str]:
    rows = []
    for (precision, implementation), peak in results.peaks.items():
        rows.append([f"{precision}, {implementation}", f"{peak / 1e9:,.0f}", f"{peak / MULTIPLY_ADDS:,.0f}"])
    return [
        f"One image takes {MULTIPLY_ADDS / 1e6:.1f} million multiply-adds by direct convolution. The peak is "
        "a loop of independent multiply-adds of each kind on one core, the best of many looks; *of the peak* "
        "above is the quickest call at any batch size over its own loop (ours), or over the machine's "
        "quickest in that precision (peers). A transform that saves multiply-adds may exceed 100%.",
        "",
        _results.table(["", "peak, G multiply-adds/s", "images/s at the peak"], rows)
        if rows
        else "This build measures no peak.",
    ]


def threads_table(results: Results) -> list[str]:
    rows: list[Sequence[object]] = []
    for (name, threads), found in results.scalings.items():
        loop = f"{found.loop:.2f}" if found.loop else "–"
        share = f"{found.engine / found.loop:.2f}" if found.loop else "–"
        speed = [f"{found.one:,.0f}", f"{found.several:,.0f}", f"{found.engine:.2f}"]
        rows.append([f"{name}, {threads} threads", *speed, loop, share])
    return [
        f"Batch {results.batches[-1]}: our engine on one thread and on several, against what a loop of "
        "multiply-adds gains from as many threads in the same rounds.",
        "",
        _results.table(["", "one thread", "several", "gain", "gain of the loop", "share of it"], rows),
    ]


def answers(results: Results) -> list[str]:
    rows = []
    middle = min(results.batches, key=lambda b: abs(b - 32))
    for each in results.sorted():
        drift = results.drifts[each.name]
        size = f"{drift.worst:.1e}" if each.precision == "fp32" else f"{drift.mean:.2f} / {drift.worst:.2f}"
        cells = {t: results.cells.get((each.name, middle, t)) for t in results.threads}
        plans = [f"{t}: {cell.plan}" for t, cell in cells.items() if cell]
        kernels = results.kernels.get(each.name, "")
        how = "uint8 crops" if each.ours else "; ".join(plans)
        rows.append(f"| {each.name} | {size} | {how} | {kernels} |")
    return [
        "Years. fp32: the largest difference from the float64 reference on the golden record's face crops. "
        "bf16 and int8: mean / largest difference from fp32 on crops that were not quantized on.",
        "",
        f"| | years | quickest way to run a batch of {middle}, by threads | convolutions' kernels |",
        "| --- | ---: | --- | --- |",
        *rows,
    ]
