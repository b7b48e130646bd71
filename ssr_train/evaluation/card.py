"""The model card (Mitchell et al., Model Cards for Model Reporting, 2019): what a bundle's contract records
and an evaluation measures, and "not recorded" for everything else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ssr_bundle.bundle import Bundle, read_bundle
from ssr_bundle.disk import check_folder, replace_file, room_for
from ssr_bundle.errors import SsrError
from ssr_bundle.report import Facts, Part, Report, Table
from ssr_train.describe import drift_rows
from ssr_train.evaluation import released
from ssr_train.evaluation.asked import Asked, Source
from ssr_train.evaluation.calibrating import records_of
from ssr_train.evaluation.evaluate import evaluate
from ssr_train.evaluation.intervals import Share, band_names
from ssr_train.evaluation.judged import Evaluation

NOT_RECORDED = "not recorded"


def write_card(path: Path, source: Source | None, out: Path | None, *, force: bool = False) -> str:
    """The card of the bundle at ``path``, evaluated on ``source`` if given; written to ``out`` if given.

    Raises :class:`SsrError` for a file that is there (unless ``force``) and as
    :func:`ssr_train.evaluation.evaluate.evaluate` does.
    """
    bundle = read_bundle(path)
    if out is not None and (out.is_dir() or (out.exists() and not force)):
        hint = "is a folder, expected a file" if out.is_dir() else "exists already; --force replaces it"
        raise SsrError(f"{out}: {hint}")
    check_folder(None if out is None else out.parent, "the card")
    found = None if source is None else evaluate(path, source, Asked("native"))
    text = card(bundle, found)
    if out is not None:
        with room_for(out, "the card was not written; the same command makes it again"):
            out.parent.mkdir(parents=True, exist_ok=True)
            replace_file(out, text.encode())
    return text


def card(bundle: Bundle, evaluation: Evaluation | None = None) -> str:
    """The card as Markdown."""
    contract = bundle.contract
    parts: list[Part] = [
        Facts(_network(bundle)),
        Facts(_limits(bundle), "Intended use and limits"),
        Facts(_training(contract.provenance), "Training"),
        "## Errors recorded when trained",
        _recorded(contract.provenance),
        *released.of(contract),
        *_evaluated(evaluation),
        "## Calibrated intervals",
        *_intervals(bundle),
        "## Quantization",
        *_quantization(bundle),
        "## Licence",
        _text(contract.provenance, "licence"),
    ]
    return Report(f"Model card: {contract.name}", parts, None).markdown()


def _network(bundle: Bundle) -> list[str]:
    contract = bundle.contract
    architecture, output = contract.architecture, contract.interface.output
    crop = contract.interface.crop
    what = "age in years" if output.unit == "years" else f"{output.unit} of {output.name}"
    points = contract.recalibration
    mapped = "" if points is None else f", recalibrated ({points.describe()})"
    return [
        f"network: SSR-Net (Yang et al., IJCAI 2018), stages {list(architecture.stages)}, V = "
        f"{architecture.value_range:g}",
        f"answers: {what}, clipped to {output.clip[0]:g}..{output.clip[1]:g}{mapped}",
        f"input: 64 x 64 {contract.interface.input.colour.upper()} face crops: {crop.describe()}",
        f"weights: sha256 `{contract.weights_sha256}`",
        f"interface: sha256 `{contract.interface.sha256}`",
    ]


def _training(provenance: Mapping[str, Any]) -> list[str]:
    data = provenance.get("data", provenance.get("training_data"))
    drawn = provenance.get("synthetic")
    command = _text(provenance, "command")
    synthetic = NOT_RECORDED if not isinstance(drawn, bool) else "yes, drawn faces" if drawn else "no"
    lines = [
        f"data: {_plain(data)}",
        f"synthetic: {synthetic}",
        f"protocol: {_text(provenance, 'split')}",
        f"identity {leak if (leak := _text(provenance, 'leak')).startswith('leak') else f'leak: {leak}'}",
        f"weights chosen: {_text(provenance, 'weights')}",
        f"started from: {_initial(provenance)}",
        f"command: {command if command == NOT_RECORDED else f'`{command}`'}",
        f"versions: {_plain(provenance.get('versions'))}",
    ]
    if "source" in provenance:
        lines.append(f"source: {_text(provenance, 'source')}")
    return lines


def _initial(provenance: Mapping[str, Any]) -> str:
    if "initial_weights_sha256" not in provenance:
        return NOT_RECORDED
    initial = provenance["initial_weights_sha256"]
    return "random weights" if initial is None else f"weights sha256 `{initial}`"


def _recorded(provenance: Mapping[str, Any]) -> Part:
    metrics = provenance.get("metrics")
    if not isinstance(metrics, Mapping) or not metrics:
        return NOT_RECORDED
    unit = metrics.get("unit", "")
    rows = [(str(name), f"{value} {unit}".strip()) for name, value in metrics.items() if name != "unit"]
    return Table("", ("measure", "value"), rows)


def _evaluated(evaluation: Evaluation | None) -> list[str]:
    if evaluation is None:
        return [
            "## Errors by age, sex and group",
            f"{NOT_RECORDED}: this card was written without an evaluation (`--data` or `--evaluate`).",
        ]
    return [evaluation.report().markdown(2, picture=False).rstrip("\n")]


def _intervals(bundle: Bundle) -> list[Part]:
    interval = bundle.contract.interval
    if interval is None:
        return ["none: the answers carry no uncertainty (`ssr-train calibrate`)"]
    lines = [f"Made to hold the true age of {interval.coverage:.0%} of faces like those calibrated on."]
    found = [NOT_RECORDED] * len(interval.half_widths)
    try:
        records = records_of(bundle.contract.provenance)
        said = [line for record in records for line in _calibrated(record)]
        bands = records[0]["held_out"]["fp32"]["bands"]
        found = [str(_share(bands[band])) for band in band_names(interval)]
    except (KeyError, IndexError, TypeError, AttributeError, ValueError, ArithmeticError):
        said = [f"Calibrated on: {NOT_RECORDED}. Measured coverage: {NOT_RECORDED}."]
    rows = [
        (band, f"{width:.2f}", share)
        for band, width, share in zip(band_names(interval), interval.half_widths, found, strict=True)
    ]
    return ["\n".join([*lines, *said]), Table("", ("answer", "+- years", "measured coverage"), rows)]


def _calibrated(record: Mapping[str, Any]) -> list[str]:
    """What is recorded of one set that calibrated the intervals."""
    method = f"; {record['method']}" if "method" in record else ""
    overall = _share(record["held_out"]["fp32"]["overall"])
    return [
        f"Calibrated on: {record['data']}{method}.",
        f"Measured on held-out faces, with 95 % binomial bounds: {overall}.",
        *(f"Of {part['name']}: {_share(part['held_out'])}." for part in record.get("parts", [])),
    ]


def _quantization(bundle: Bundle) -> list[Part]:
    contract = bundle.contract
    if contract.quantization is None:
        return ["none: served in fp32 only (`ssr-train quantize`)"]
    rows = drift_rows(contract)
    if not rows:
        return [f"bf16 and int8; their drift from fp32: {NOT_RECORDED}"]
    unit = contract.interface.output.unit
    header = ("precision", "crops", "mean drift", "signed", "99 %", "max", "MAE")
    return [f"Drift of the answers from fp32's, in {unit}:", Table("", header, rows)]


def _limits(bundle: Bundle) -> list[str]:
    use = (
        "**Learned from drawn faces (synthetic): for trying the system out. Its answers say nothing of "
        "people.**"
        if bundle.contract.provenance.get("synthetic")
        else "An estimate of how old a face looks, for statistics over many faces; a single answer is often "
        "years off (see the errors)."
    )
    return [
        use,
        "Not evidence of a person's age, and not to be the only ground of a decision about a person. For an "
        "age gate, choose the threshold by `ssr-train gate` on faces like those at the gate.",
        "Errors and intervals hold for faces like those measured: camera, light, crop and the mix of ages "
        "and groups decide. Groups that are not listed under the errors were not measured.",
        "It answers for anything cut as a face. Crops that are cut in another way than the input says move "
        "the answers by years.",
    ]


def _share(data: Mapping[str, Any]) -> Share:
    return Share(int(data["hits"]), int(data["count"]))


def _text(provenance: Mapping[str, Any], key: str) -> str:
    return _plain(provenance.get(key))


def _plain(value: Any) -> str:
    if value is None or value == "":
        return NOT_RECORDED
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
