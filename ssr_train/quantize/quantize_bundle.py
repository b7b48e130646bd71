"""``ssr-train quantize``: gather crops, quantize, measure the drift, replay golden, write the contract."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from ssr_client.gather import LEAST, Crops, enough, gather

from ssr_bundle.bundle import Bundle, check_vacant, copy_bundle, read_bundle, replace_contract, without
from ssr_bundle.contract import IMAGE_SIZE, PRECISIONS, Contract, Interface
from ssr_bundle.disk import check_folder
from ssr_bundle.errors import SsrError
from ssr_bundle.report import table
from ssr_bundle.scratch import scratch
from ssr_bundle.shown import note
from ssr_bundle.tolerances import required
from ssr_ops.drift import Drift, answers
from ssr_ops.export.names import command, onnx_name, outdated
from ssr_ops.replay import ReplayError, replay_all
from ssr_train import data as datasets
from ssr_train.data.cut_of import check_cut, same_cut
from ssr_train.data.spans import Spans
from ssr_train.describe import drift_rows
from ssr_train.progress import bar, drawing_bar
from ssr_train.quantize.crop_source import CropSource
from ssr_train.quantize.quantizer import find_quantization, steps_of_work

_HELD_OUT_EVERY = 5

Images = NDArray[np.uint8]


@dataclass(frozen=True)
class Part:
    """Crops for one purpose, and what their labels say of N ages where they have any."""

    crops: Crops
    labels: Spans | None = None

    def to_json(self) -> dict[str, Any]:
        c = self.crops
        return {"faces": c.faces, "crops": len(c.images), "files": len(c.files), "files_sha256": c.sha256}


def quantize_bundle(path: Path, source: CropSource, out: Path | None = None, force: bool = False) -> Bundle:
    """Quantize the bundle at ``path`` for int8 and bf16 and print the drift table.

    Writes a new bundle to ``out``, or the contract in place; weights and golden record stay as they are. An
    exported int8 graph of another quantization is left out of what is written.
    Nothing is written unless the golden record replays in every precision that this build runs. ``force``
    replaces a quantization, and a bundle at ``out``. Raises :class:`SsrError` for anything wrong with them.
    """
    bundle = read_bundle(path)
    if bundle.contract.quantization is not None and not force:
        raise SsrError(f"{path}: quantized already; --force does it again")
    if out is not None:
        check_vacant(out, overwrite=force)
    check_folder(path if out is None else out.parent, "the bundle")
    console = Console(highlight=False, soft_wrap=True)
    given, held_out = _parts(bundle, source, console)
    contract = bundle.contract
    crops = given.crops.images
    with bar(console, "quantizing", steps_of_work(contract.architecture, len(crops))) as tick:
        found = find_quantization(bundle.parameters(), contract.architecture, crops, tick)
    with scratch("quantize") as folder:
        draft = copy_bundle(bundle, replace(contract, quantization=found), folder / "bundle")
        record = _measure(draft, given, held_out, console)
        try:
            replay_all(draft)
        except ReplayError as error:
            fault = str(error).replace(str(draft.path), str(path))
            raise SsrError(f"{fault}; quantized on {len(crops)} crops, more of them may help") from None
    record = {"source": _source(source), **record}
    contract = replace(contract, quantization=replace(found, calibration=record))
    stale = outdated(bundle.contract, contract)
    names = [onnx_name(precision) for precision in stale]
    if out is not None:
        written = copy_bundle(without(bundle, names), contract, out, overwrite=force)
    else:
        written = replace_contract(bundle, contract, names)
    if stale:
        note(
            console,
            f"note: {', '.join(names)} held the quantization of before and is left out; "
            f"write it again: {command(written.path, stale)}",
        )
    table(drift_rows(written.contract), header=("precision", "crops", "mean", "signed", "99 %", "max", "MAE"))
    if contract.interface.output.unit == "years":
        _warn(record, contract, console)
    return written


def _parts(bundle: Bundle, source: CropSource, console: Console) -> tuple[Part, Part | None]:
    """What to quantize on, and what to hold out (None if there is too little)."""
    if source.data is not None:
        return _labelled(bundle, source, console)
    assert source.images is not None
    given = _gather(bundle, source.images, source, console)
    if source.test is not None:
        test = _gather(bundle, source.test, source, console)
        if common := set(given.files) & set(test.files):
            raise SsrError(
                f"{source.test}: {len(common)} of its files lie in {source.images} too; what is tested on "
                "must not be quantized on"
            )
        enough(test, source.test)
        enough(given, source.images)
        return Part(given), Part(test)
    kept, last = given.split(_HELD_OUT_EVERY)
    if min(len(kept.images), len(last.images)) < LEAST:
        enough(given, source.images)
        note(console, "too few photos to hold some out: the drift is measured on the same crops")
        return Part(given), None
    note(console, f"every {_HELD_OUT_EVERY}th file is held out, for the drift")
    return Part(kept), Part(last)


def _gather(bundle: Bundle, folder: Path, source: CropSource, console: Console) -> Crops:
    with bar(console, f"faces in {folder}", None) as tick:

        def progress(done: int, total: int) -> None:
            tick(int(done > 0), total)

        crops = gather(folder, bundle.contract.interface, source.jitter, source.detector, progress)
    for line in crops.skipped:
        note(console, f"skipped: {line}")
    note(console, f"{folder}: {crops.faces} faces in {len(crops.files)} pictures, {len(crops.images)} crops")
    return crops


def _labelled(bundle: Bundle, source: CropSource, console: Console) -> tuple[Part, Part]:
    """Faces with ages, drawn or of a prepared set: ``count`` to quantize on, as many others held out."""
    data, interface = str(source.data), bundle.contract.interface
    if interface.output.unit != "years":
        name = interface.output.name
        raise SsrError(f"--data {data}: has ages, this network answers {name}; give --images")
    if source.count < LEAST:
        raise SsrError(f"--count must be at least {LEAST}, got {source.count}")
    if data == "synthetic":
        from ssr_train.data.synthetic import CROP

        if not same_cut(interface.crop, CROP):
            note(
                console,
                "note: drawn faces are cut otherwise than these weights want; --images cuts photos so",
            )
        drawn = [_draw(source.count, seed, console) for seed in (source.seed, source.seed + 1)]
        return _part(*drawn[0], interface), _part(*drawn[1], interface)
    faces = datasets.load(data, count=0, seed=0, workers=1)
    check_cut(interface.crop, faces, f"--data {data}", str(bundle.path))
    if faces.size != IMAGE_SIZE or len(faces) < 2 * source.count:
        raise SsrError(
            f"--data {data}: {len(faces):,} pictures of {faces.size} x {faces.size}, expected at least "
            f"{2 * source.count:,} (twice --count) of {IMAGE_SIZE} x {IMAGE_SIZE}"
        )
    chosen = np.random.default_rng(source.seed).permutation(len(faces))[: 2 * source.count]
    parts = []
    for which, index in (("first", chosen[: source.count]), ("last", chosen[source.count :])):
        name = f"{faces.description}: the {which} {source.count} of {2 * source.count} by seed {source.seed}"
        parts.append(_part(faces.images[index], faces.spans[index], name, interface))
    return parts[0], parts[1]


def _draw(count: int, seed: int, console: Console) -> tuple[Images, Spans, str]:
    """Drawn faces, their ages and what they are."""
    from ssr_train.data.synthetic import VERSION, draw_faces

    with drawing_bar(console, count) as progress:
        faces = draw_faces(count, seed, progress=progress)
    return (
        faces.images,
        Spans.exact(faces.ages),
        f"drawn faces, generator version {VERSION}, seed {seed}, 0..{count - 1}",
    )


def _part(images: Images, labels: Spans, name: str, interface: Interface) -> Part:
    images = np.ascontiguousarray(images if interface.input.colour == "bgr" else images[..., ::-1])
    crops = Crops(images, np.zeros(len(images), np.int64), len(images), (name,))
    return Part(crops, labels)


def _measure(bundle: Bundle, given: Part, held_out: Part | None, console: Console) -> dict[str, Any]:
    """The record of the contract: counts, and drift (and MAE) by set and precision."""
    sets = {"calibration": given} | ({} if held_out is None else {"held_out": held_out})
    record: dict[str, Any] = {name: part.to_json() for name, part in sets.items()}
    record["engines"] = {}
    record["drift"] = {precision: {} for precision in PRECISIONS}
    total = sum(len(part.crops.images) for part in sets.values()) * (1 + len(PRECISIONS))
    with bar(console, "measuring the drift", total) as tick:
        for name, part in sets.items():
            images = part.crops.images
            for precision in ("fp32", *PRECISIONS):
                found, engine = answers(bundle, precision, images, tick)
                if precision == "fp32":
                    real = found
                else:
                    record["engines"][precision] = engine
                    record["drift"][precision][name] = Drift.of(found, real).to_json()
                if part.labels is not None:
                    error = round(float(np.abs(found - part.labels.nearest(found)).mean()), 4)
                    record[name].setdefault("mae", {})[precision] = error
    return record


def _source(source: CropSource) -> dict[str, Any]:
    if source.data is not None:
        return {"data": source.data, "synthetic": True, "count": source.count, "seed": source.seed}
    return {"data": "photos", "synthetic": False, "jitter": source.jitter, "detector": source.detector}


def _warn(record: dict[str, Any], contract: Contract, console: Console) -> None:
    """Say so when the drift on crops that it was not quantized on is more than the project allows."""
    for precision in PRECISIONS:
        drift = record["drift"][precision].get("held_out", {})
        for quantity, allowed in required("native", precision, contract).bounds(many=True).items():
            if abs(drift.get(quantity, 0.0)) > allowed:
                note(
                    console,
                    f"note: {precision} drifts by more than this project allows: {quantity} "
                    f"{drift[quantity]:.3g}, allowed {allowed:.3g}; more and other photos may help",
                )
