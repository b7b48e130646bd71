"""The bundle: the one folder that travels from training to the server.

``contract.json``, ``model.safetensors``, ``golden.safetensors``, and the ONNX files once exported
(:mod:`ssr_ops.export`). :mod:`ssr_ops.golden` writes a new one.
Reading checks every file against the contract's hashes, copying checks what is copied; what is written
appears whole or not at all. A :class:`Bundle` is verified already: hand it on instead of reading it again.
NumPy is imported when arrays are read.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar, Protocol, TypeVar

from ssr_bundle.contract import IMAGE_SIZE, MAX_FILES_BYTES, Contract, ContractError, File
from ssr_bundle.disk import copy_file, need_folder, new_folder, replace_file, temporary_folder, write_file
from ssr_bundle.errors import SsrError
from ssr_bundle.regular import digest_of, mode_of, naming, opened, read_whole, size_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Tensors = dict[str, NDArray[Any]]

CONTRACT_FILE = "contract.json"
MODEL_FILE = "model.safetensors"
GOLDEN_FILE = "golden.safetensors"

MAX_CONTRACT_BYTES = 16 << 20
"""Largest ``contract.json`` that is read: four times what the widest network's quantization takes."""

RUN_SETTINGS, RUN_BUNDLE = "settings.json", "bundle"
"""In the folder of a training run: the file that makes it one, and its bundle."""


class BundleError(SsrError):
    """A folder that is not a whole, untouched bundle."""


class _AnyContract(Protocol):
    """What every kind of bundle's ``contract.json`` has."""

    @property
    def files(self) -> dict[str, File]: ...

    def with_files(self: _C, files: Mapping[str, File]) -> _C: ...

    def dumps(self) -> str: ...

    @classmethod
    def loads(cls: type[_C], text: str) -> _C: ...


_C = TypeVar("_C", bound=_AnyContract)


class _AnyBundle(Protocol):
    """A bundle of any kind, a dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def path(self) -> Path: ...

    @property
    def contract(self) -> Any: ...


_B = TypeVar("_B", bound=_AnyBundle)


@dataclass(frozen=True)
class Bundle:
    """A verified bundle on disk."""

    path: Path
    contract: Contract

    def parameters(self) -> Tensors:
        """Stored arrays by name, float32, shaped as the architecture says."""
        parameters = load_tensors(self.path / MODEL_FILE)
        check_parameters(parameters, self.contract)
        return parameters

    def golden(self) -> Tensors:
        """Recorded inputs and the float64 reference's outputs (see :mod:`ssr_ops.golden`)."""
        record = load_tensors(self.path / GOLDEN_FILE)
        check_golden(record, self.contract, self.path)
        return record


def read_bundle(path: str | os.PathLike[str], *, replaced: Collection[str] = ()) -> Bundle:
    """Open the bundle at ``path``, checking the contract and the hash of every file it lists.

    Files in ``replaced`` are not looked at, whatever is there: the caller is about to write them anew.
    Raises :class:`BundleError` naming the file that is missing, truncated, altered or foreign, ``OSError``
    where the machine fails (no descriptors left, a disk that cannot be read). Only regular files are opened;
    none is read that is larger than its contract says.
    """
    folder = Path(path)
    return Bundle(folder, checked_contract(folder, Contract.loads, replaced))


def checked_contract(folder: Path, loads: Callable[[str], _C], replaced: Collection[str] = ()) -> _C:
    """The contract of a bundle, of the kind that ``loads`` reads, its files checked: :func:`read_bundle`."""
    need_folder(folder, f"a bundle folder with {CONTRACT_FILE}", BundleError)
    contract = _read_contract(folder, loads)
    for required in (MODEL_FILE, GOLDEN_FILE):
        if required not in contract.files:
            raise BundleError(f"{folder / CONTRACT_FILE}: files: {required} is not listed")
    for name, entry in contract.files.items():
        if name not in replaced:
            _check(folder / name, entry)
    return contract


def _read_contract(folder: Path, loads: Callable[[str], _C]) -> _C:
    path = folder / CONTRACT_FILE
    try:
        return loads(read_whole(path, MAX_CONTRACT_BYTES, BundleError).decode("utf-8"))
    except FileNotFoundError:
        raise BundleError(
            f"{folder}: no {CONTRACT_FILE}, so this is not a bundle{_of_a_run(folder)}"
        ) from None
    except UnicodeDecodeError:
        raise BundleError(f"{path}: not UTF-8 text") from None
    except ContractError as error:
        raise BundleError(f"{path}: {error}") from None


def copy_bundle(
    bundle: Bundle, contract: Contract, path: str | os.PathLike[str], *, overwrite: bool = False
) -> Bundle:
    """A copy of ``bundle`` at ``path`` with another contract over the same files; whole or not at all.

    Raises :class:`BundleError` if ``path`` exists, as :func:`check_vacant` does.
    """
    folder = Path(path)
    check_vacant(folder, overwrite=overwrite)
    with new_folder(folder) as made:
        copied = copy_into(made, bundle, contract)
    return Bundle(folder, copied.contract)


def copy_into(
    folder: Path, bundle: _B, contract: Contract | None = None, added: Mapping[str, bytes] | None = None
) -> _B:
    """The files of ``bundle``, checked as they are copied into the empty ``folder``, and those ``added``.

    ``contract`` is theirs then, by default the bundle's own; with nothing added, ``contract.json`` as it is.
    """
    for name, entry in bundle.contract.files.items():
        target = folder / name
        with naming(target), target.open("wb") as copy:
            _check(bundle.path / name, entry, copy)
    if contract is None and not added:
        written = read_whole(bundle.path / CONTRACT_FILE, MAX_CONTRACT_BYTES, BundleError)
        write_file(folder / CONTRACT_FILE, written)
        if _read_contract(folder, type(bundle.contract).loads) != bundle.contract:
            raise BundleError(f"{bundle.path / CONTRACT_FILE}: changed since the bundle was read")
        return replace(bundle, path=folder)
    files = dict(bundle.contract.files)
    for name, data in (added or {}).items():
        write_file(folder / name, data)
        files[name] = _entry(data)
    written_contract = _write_contract(folder, (contract or bundle.contract).with_files(files))
    return replace(bundle, path=folder, contract=written_contract)


def without(bundle: Bundle, names: Collection[str]) -> Bundle:
    """``bundle`` as if its contract did not list ``names``."""
    kept = {name: entry for name, entry in bundle.contract.files.items() if name not in names}
    return Bundle(bundle.path, bundle.contract.with_files(kept))


def replace_bundle(old: Bundle, new: Bundle) -> Bundle:
    """``new`` in the place of ``old``, in one step; what else lay in that folder, such as a card, stays."""
    listed = {CONTRACT_FILE, *old.contract.files, *new.contract.files}
    beside = [f for f in old.path.iterdir() if f.name not in listed and not f.name.startswith(".tmp-")]
    with new_folder(old.path.resolve()) as made:
        copied = copy_into(made, new, new.contract)
        for path in beside:
            if path.is_dir() and not path.is_symlink():
                shutil.copytree(path, made / path.name, symlinks=True, copy_function=copy_file)
            else:
                copy_file(path, made / path.name)
    return Bundle(old.path, copied.contract)


def replace_contract(bundle: Bundle, contract: Contract, dropped: Collection[str] = ()) -> Bundle:
    """The bundle in its place with another contract over the same files, those named ``dropped`` removed.

    At every moment the folder is a whole bundle. Files that the contract did not list stay unlisted.
    """
    kept = _write_contract(bundle.path, contract.with_files(without(bundle, dropped).contract.files))
    for name in dropped:
        (bundle.path / name).unlink()
    return Bundle(bundle.path, kept)


def check_vacant(folder: Path, *, overwrite: bool) -> None:
    """Raise :class:`BundleError` if ``folder`` exists, unless ``overwrite`` and it is a bundle."""
    if mode_of(folder, BundleError) is None:
        return
    if not _is_file(folder / CONTRACT_FILE):
        raise BundleError(
            f"{folder}: exists already and is not a bundle; choose another --out or remove it first"
        )
    if not overwrite:
        raise BundleError(f"{folder}: exists already; choose another --out, or --force replaces the bundle")


def seal(folder: Path, contract: _C) -> _C:
    """Write ``contract.json`` last, listing every other file in ``folder`` with its hash."""
    files = {f.name: hash_file(f) for f in folder.iterdir() if f.is_file() and f.name != CONTRACT_FILE}
    return _write_contract(folder, contract.with_files(files))


def add_files(bundle: Bundle, files: Mapping[str, bytes]) -> Bundle:
    """The bundle with ``files`` written into it, new or in place of others, and pinned in its contract.

    At every moment the folder is a whole bundle: a file that is replaced leaves the contract first.
    """
    folder, contract = bundle.path, bundle.contract
    kept = without(bundle, files).contract
    with temporary_folder(folder) as temporary:
        for name, data in files.items():
            write_file(temporary / name, data)
        if len(kept.files) < len(contract.files):
            _write_contract(folder, kept)
        for name in files:
            (temporary / name).replace(folder / name)
        added = {name: _entry(data) for name, data in files.items()}
        return Bundle(folder, _write_contract(folder, contract.with_files({**kept.files, **added})))


def _write_contract(folder: Path, contract: _C) -> _C:
    """What :func:`checked_contract` would then find there."""
    text = contract.dumps()
    replace_file(folder / CONTRACT_FILE, text.encode())
    return type(contract).loads(text)


def check_parameters(parameters: Mapping[str, NDArray[Any]], contract: Contract) -> None:
    """Raise :class:`BundleError` unless names, shapes and values fit the architecture."""
    check_arrays(parameters, contract.architecture.parameter_shapes())
    for name, array in parameters.items():
        if name.endswith("running_var") and (array < 0).any():
            raise BundleError(f"{MODEL_FILE}: {name} holds a negative variance")


def check_arrays(parameters: Mapping[str, NDArray[Any]], expected: Mapping[str, tuple[int, ...]]) -> None:
    """Raise :class:`BundleError` unless the arrays of a model have these names and shapes, and hold finite
    float32."""
    import numpy as np

    if missing := sorted(set(expected) - set(parameters)):
        raise BundleError(f"{MODEL_FILE}: {missing[0]} is missing ({len(missing)} in all)")
    if foreign := sorted(set(parameters) - set(expected)):
        raise BundleError(
            f"{MODEL_FILE}: {foreign[0]} does not belong to this network ({len(foreign)} in all)"
        )
    for name, shape in expected.items():
        if parameters[name].shape != shape:
            raise BundleError(f"{MODEL_FILE}: {name} has shape {parameters[name].shape}, expected {shape}")
        if parameters[name].dtype != np.float32:
            raise BundleError(f"{MODEL_FILE}: {name} is {parameters[name].dtype}, expected float32")
        if not np.isfinite(parameters[name]).all():
            raise BundleError(f"{MODEL_FILE}: {name} holds NaN or infinite values")


def check_golden(record: Mapping[str, NDArray[Any]], contract: Contract, where: Path) -> None:
    """Raise :class:`BundleError` unless the arrays of a golden record that a replay reads are there, and of
    one size: N images, of which the first M are the crops."""
    bins, stages = sum(contract.architecture.stages), len(contract.architecture.stages)
    answers = {
        "p": ("float64", (bins,)),
        "eta": ("float64", (bins,)),
        "delta": ("float64", (stages,)),
        "output": ("float64", ()),
    }
    check_images(record, answers, where)


def check_images(
    record: Mapping[str, NDArray[Any]], answers: Mapping[str, tuple[str, tuple[int, ...]]], where: Path
) -> None:
    """Raise :class:`BundleError` unless a golden record holds images, crops, and for each image a row of each
    of the ``answers``: dtype and shape by name."""
    expected: dict[str, tuple[str, tuple[int, ...]]] = {
        "images": ("uint8", (IMAGE_SIZE, IMAGE_SIZE, 3)),
        "crops": ("uint8", (IMAGE_SIZE, IMAGE_SIZE, 3)),
        **answers,
    }
    for name, (dtype, shape) in expected.items():
        if name not in record:
            raise BundleError(f"{where}: the golden record has no {name!r}")
        array = record[name]
        if array.dtype != dtype or array.ndim == 0 or array.shape[1:] != shape:
            told = ", ".join(map(str, ("N", *shape)))
            raise BundleError(
                f"{where}: the golden record's {name!r} is {array.dtype} of shape {array.shape}, "
                f"expected {dtype} of ({told})"
            )
    images, faces = len(record["images"]), len(record["crops"])
    if not 1 <= faces <= images:
        raise BundleError(f"{where}: the golden record has {faces} crops among {images} images")
    for name in expected:
        if name != "crops" and len(record[name]) != images:
            raise BundleError(
                f"{where}: the golden record's {name!r} has {len(record[name])} rows for {images} images"
            )


def hash_file(path: Path) -> File:
    """What a contract says of the file at ``path``."""
    with opened(path) as stream:
        return File(*digest_of(stream))


def _entry(data: bytes) -> File:
    return File(hashlib.sha256(data).hexdigest(), len(data))


def _check(path: Path, entry: File, copy: BinaryIO | None = None) -> None:
    """Raise :class:`BundleError` unless the file is what the contract says; its bytes go to ``copy``."""
    try:
        with opened(path, BundleError) as stream:
            size = size_of(stream)
            if size == entry.bytes:
                found, size = digest_of(stream, copy, most=entry.bytes)
    except FileNotFoundError:
        raise BundleError(f"{path}: missing, but the contract lists it") from None
    if size != entry.bytes:
        raise BundleError(f"{path}: {size} bytes, the contract says {entry.bytes}: truncated or altered")
    if found != entry.sha256:
        raise BundleError(f"{path}: sha256 {found}, the contract says {entry.sha256}: altered")


def _of_a_run(folder: Path) -> str:
    """Of the folder of a training run: where its bundle lies."""
    if not _is_file(folder / RUN_SETTINGS):
        return ""
    if _is_file(folder / RUN_BUNDLE / CONTRACT_FILE):
        return f"; it is a run, its bundle is {folder / RUN_BUNDLE}"
    return "; it is a run without a bundle, unfinished or of another system than SSR-Net"


def _is_file(path: Path) -> bool:
    return stat.S_ISREG(mode_of(path, BundleError) or 0)


def load_tensors(path: Path) -> Tensors:
    """The arrays of a safetensors file by name. Raises :class:`BundleError`."""
    from ssr_bundle import tensors

    try:
        return tensors.parse(read_whole(path, MAX_FILES_BYTES, BundleError))
    except (tensors.TensorError, OSError) as error:
        raise BundleError(f"{path}: not a readable safetensors file ({error})") from None
