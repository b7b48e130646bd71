"""A trained system on disk: ``system.json`` (name, options, provenance, hash) and ``model.safetensors``.

SSR-Net's own form is the bundle, and a method that is served has one too; :func:`load_system` opens them all.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors import torch as safetensors
from torch import Tensor

from ssr_bundle.bundle import CONTRACT_FILE, MODEL_FILE, hash_file
from ssr_bundle.disk import need_folder, new_folder, write_file
from ssr_bundle.errors import SsrError
from ssr_bundle.method import MethodBundle, read_served
from ssr_train.model import load_model, stored
from ssr_train.zoo import registry, ssrnet
from ssr_train.zoo.system import System

SYSTEM_FILE = "system.json"
SYSTEM_VERSION = 1


class StorageError(SsrError):
    """A folder that is not a whole, untouched system."""


def save_system(
    path: str | os.PathLike[str],
    system: System,
    provenance: Mapping[str, Any],
    *,
    overwrite: bool = False,
) -> Path:
    """Write ``system`` as the folder ``path``, whole or not at all, and return it.

    ``provenance`` is kept as it is (JSON). Raises :class:`StorageError` if ``path`` exists (unless
    ``overwrite`` and it is a system), or if a number is NaN or infinite.
    """
    folder = Path(path)
    if folder.exists() and not (overwrite and (folder / SYSTEM_FILE).is_file()):
        hint = "and is not a system" if overwrite else "choose another folder or remove it"
        raise StorageError(f"{folder}: exists already; {hint}")
    tensors = numbers(system)
    _check_numbers(folder, system, tensors)
    with new_folder(folder) as made:
        write_file(made / MODEL_FILE, safetensors.save(tensors))
        written = hash_file(made / MODEL_FILE)
        header = {
            "system_version": SYSTEM_VERSION,
            "name": system.name,
            "options": system.options,
            "files": {MODEL_FILE: {"sha256": written.sha256, "bytes": written.bytes}},
            "provenance": dict(provenance),
        }
        (made / SYSTEM_FILE).write_text(json.dumps(header, indent=2) + "\n", encoding="utf-8")
    return folder


def load_system(path: str | os.PathLike[str]) -> System:
    """The system at ``path`` in eval mode on the CPU; a bundle is opened as ``ssrnet``, or as its method.

    Raises :class:`SsrError` naming what is missing, truncated, altered or foreign.
    """
    folder = Path(path)
    if (folder / CONTRACT_FILE).exists():
        bundle = read_served(folder)
        if isinstance(bundle, MethodBundle):
            method = bundle.contract.method
            return _made(folder, method.name, method.options, _load(folder / MODEL_FILE))
        system = registry.build("ssrnet", **ssrnet.options_of(bundle))
        assert isinstance(system, ssrnet.SSRNetSystem)
        system.network = load_model(bundle)
        return system.eval()
    header = read_header(folder)
    return _made(folder, header["name"], header["options"], _read_numbers(folder, header))


def _made(folder: Path, name: str, options: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> System:
    system = registry.build(name, **options)
    _check_numbers(folder, system, tensors)
    system.load_state_dict(dict(tensors), strict=False)
    return system.eval()


def read_header(path: str | os.PathLike[str]) -> dict[str, Any]:
    """``system.json`` of the folder ``path``, checked for its version and its keys."""
    folder = Path(path)
    file = folder / SYSTEM_FILE
    need_folder(folder, f"a folder with {SYSTEM_FILE} or {CONTRACT_FILE}", StorageError)
    try:
        header = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StorageError(
            f"{folder}: neither {SYSTEM_FILE} nor {CONTRACT_FILE}, so this is neither a system nor a bundle"
        ) from None
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise StorageError(f"{file}: not JSON ({error})") from None
    version = header.get("system_version") if isinstance(header, dict) else None
    if version != SYSTEM_VERSION:
        raise StorageError(f"{file}: system_version {version!r}, expected {SYSTEM_VERSION}")
    for key, kind in (("name", str), ("options", dict), ("files", dict), ("provenance", dict)):
        if not isinstance(header.get(key), kind):
            raise StorageError(f"{file}: {key}: expected {kind.__name__}, got {header.get(key)!r}")
    return dict(header)


def numbers(system: System) -> dict[str, Tensor]:
    """The arrays that ``system`` is stored as, by name, on the CPU."""
    return {name: value.detach().cpu().contiguous() for name, value in stored(system).items()}


def _read_numbers(folder: Path, header: dict[str, Any]) -> dict[str, Tensor]:
    file, entry = folder / MODEL_FILE, header["files"].get(MODEL_FILE)
    if not isinstance(entry, dict):
        raise StorageError(f"{folder / SYSTEM_FILE}: files: {MODEL_FILE} is not listed")
    if not file.is_file():
        raise StorageError(f"{file}: missing, but {SYSTEM_FILE} lists it")
    found = hash_file(file)
    if found.bytes != entry.get("bytes") or found.sha256 != entry.get("sha256"):
        raise StorageError(
            f"{file}: {found.bytes} bytes, sha256 {found.sha256}; {SYSTEM_FILE} says {entry.get('bytes')}, "
            f"{entry.get('sha256')}: truncated or altered"
        )
    return _load(file)


def _load(file: Path) -> dict[str, Tensor]:
    try:
        return dict(safetensors.load_file(file))
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise StorageError(f"{file}: not a readable safetensors file ({error})") from None


def _check_numbers(folder: Path, system: System, tensors: Mapping[str, Tensor]) -> None:
    """Raise :class:`StorageError` unless names, kinds and values of ``tensors`` fit ``system``."""
    file, expected = folder / MODEL_FILE, numbers(system)
    if missing := sorted(set(expected) - set(tensors)):
        raise StorageError(f"{file}: {missing[0]} is missing ({len(missing)} in all)")
    if foreign := sorted(set(tensors) - set(expected)):
        raise StorageError(f"{file}: {foreign[0]} does not belong to {system.name} ({len(foreign)} in all)")
    for name, value in expected.items():
        found = tensors[name]
        if found.shape != value.shape or found.dtype != value.dtype:
            raise StorageError(
                f"{file}: {name} is {found.dtype} {tuple(found.shape)}, "
                f"expected {value.dtype} {tuple(value.shape)}"
            )
        if not torch.isfinite(found).all():
            raise StorageError(f"{file}: {name} holds NaN or infinite values")
