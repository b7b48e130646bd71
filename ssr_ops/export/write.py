"""Exported graphs into a bundle, or into a file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ssr_bundle.bundle import Bundle, add_files, read_bundle
from ssr_bundle.disk import check_folder, replace_file
from ssr_ops.export.graph import OPSET
from ssr_ops.export.names import ExportError, check_precision, onnx_name
from ssr_ops.export.network import build_onnx
from ssr_ops.export.runtime import OnnxReplay, replay_onnx


@dataclass(frozen=True)
class Exported:
    """A graph that was written: where, its operator set and size, and what its replay said."""

    path: Path
    opset: int
    bytes: int
    replay: OnnxReplay


def export(
    bundle_path: str | os.PathLike[str],
    precisions: Sequence[str] = ("fp32",),
    *,
    stage_outputs: bool = False,
    force: bool = False,
) -> list[Exported]:
    """Write the bundle's graph in each of ``precisions`` into it, and pin the files in its contract.

    All are built and replayed before anything is written. ``force`` replaces files that are there, damaged
    ones too. Raises :class:`ExportError` as :func:`build_onnx` and :func:`replay_onnx` do, and
    ``BundleError`` for damage in any other file.
    """
    names = {precision: onnx_name(precision) for precision in precisions}
    bundle = read_bundle(bundle_path, replaced=names.values() if force else ())
    for name in names.values():
        if name in bundle.contract.files and not force:
            raise ExportError(f"{bundle.path}: holds {name} already; --force exports it again")
    check_folder(bundle.path, "the graph")
    made = {p: _make(bundle, p, stage_outputs, bundle.path / name) for p, name in names.items()}
    add_files(bundle, {names[p]: model for p, (model, _) in made.items()})
    return [exported for _, exported in made.values()]


def export_file(
    bundle_path: str | os.PathLike[str],
    precision: str,
    out: Path,
    *,
    stage_outputs: bool = False,
    force: bool = False,
) -> Exported:
    """Write one graph to the file ``out`` and leave the bundle as it is. Raises as :func:`export` does."""
    bundle = read_bundle(bundle_path)
    check_precision(precision)
    if out.is_dir():
        raise ExportError(f"{out}: is a folder, expected the name of a file")
    if out.name in bundle.contract.files and out.parent.resolve() == bundle.path.resolve():
        raise ExportError(f"{out}: is the bundle's own, pinned in its contract; without --out it is replaced")
    if out.exists() and not force:
        raise ExportError(f"{out}: exists already; choose another --out or --force")
    check_folder(out.parent, "the graph")
    model, exported = _make(bundle, precision, stage_outputs, out)
    out.parent.mkdir(parents=True, exist_ok=True)
    replace_file(out, model)
    return exported


def _make(bundle: Bundle, precision: str, stage_outputs: bool, path: Path) -> tuple[bytes, Exported]:
    model = build_onnx(bundle, precision, stage_outputs=stage_outputs).SerializeToString()
    return model, Exported(path, OPSET, len(model), replay_onnx(model, bundle, str(path)))
