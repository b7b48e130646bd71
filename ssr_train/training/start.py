"""What a run starts from: its checked settings, its seeds, its system, and the weights it is given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ssr_bundle.bundle import CONTRACT_FILE, MODEL_FILE, read_bundle
from ssr_bundle.contract import IMAGE_SIZE
from ssr_bundle.errors import SsrError
from ssr_train import data as datasets
from ssr_train import zoo
from ssr_train.data.cut_of import check_cut, crop_of, recorded
from ssr_train.data.dataset import Dataset, need_ages
from ssr_train.data.protocols import Split, check_protocol, make_split
from ssr_train.devices import check_device
from ssr_train.training.folder import Settings
from ssr_train.zoo.ssrnet import SSRNetSystem, options_of
from ssr_train.zoo.storage import read_header
from ssr_train.zoo.system import System

PRECISIONS = ("fp32", "bf16")
OLDEST = 200
"""Largest range of ages in years that is trained: nobody is older, and what asks for more is a mistake."""


ORDER, STEP, INITIAL = 1, 2, 4
"""Which random choice a derived seed is for; 3 is the split's."""


def derive(*numbers: int) -> int:
    """One seed from a run's seed, what the random choice is for, and where it falls."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])


def check(settings: Settings) -> None:
    """Raise :class:`SsrError` for settings that cannot train, before any time is spent."""
    s = settings
    for name, least in (("count", 1), ("epochs", 1), ("batch_size", 2), ("step", 1), ("threads", 1)):
        if getattr(s, name) < least:
            raise SsrError(f"--{name.replace('_', '-')} must be at least {least}, got {getattr(s, name)}")
    if s.seed < 0:
        raise SsrError(f"--seed must not be negative, got {s.seed}")
    if not (s.lr > 0 and np.isfinite(s.lr)):
        raise SsrError(f"--lr must be positive and finite, got {s.lr}")
    dropout = s.options.get("dropout", 0.0)
    if not (isinstance(dropout, int | float) and 0 <= dropout < 1):
        raise SsrError(f"--dropout must lie in 0..1, got {dropout}")
    years = s.options.get("value_range", OLDEST)
    if not (isinstance(years, int | float) and 1 < years <= OLDEST):
        raise SsrError(
            f"--set value_range={years}: expected years, more than 1 (a network of range 1 answers a "
            f"probability) and at most {OLDEST}"
        )
    if s.precision not in PRECISIONS:
        raise SsrError(f"--precision {s.precision}: unknown, expected one of: {', '.join(PRECISIONS)}")
    if s.ema is not None and not 0 < s.ema < 1:
        raise SsrError(f"--ema must lie between 0 and 1, such as 0.999, got {s.ema}")
    if s.batch_size % s.processes:
        raise SsrError(f"--batch-size {s.batch_size} cannot be shared by {s.processes} processes equally")
    check_protocol(s.protocol)
    if s.data in datasets.NAMES:
        if s.protocol == "distributed":
            raise SsrError(f"--protocol distributed: {s.data} has no split of its own, choose another")
        split = make_split(datasets.undrawn(s.data, s.count), s.protocol, s.seed, fold=s.fold)
        _check_sizes(len(split.train), len(split.validation), s)
        size = outline(s).input_size
        if size != IMAGE_SIZE:
            raise SsrError(
                f"{s.system}: takes pictures of {size} x {size}, faces are drawn at "
                f"{IMAGE_SIZE} x {IMAGE_SIZE}; choose another backbone, or a set prepared with --size {size}"
            )
    check_device(s.device)
    if s.device.startswith("cuda") and not torch.cuda.is_available():
        raise SsrError(f"--device {s.device}: torch sees no GPU here")
    try:
        torch.empty(0, device=s.device)
    except (RuntimeError, AssertionError) as error:
        raise SsrError(f"--device {s.device}: {str(error).splitlines()[0]}") from None


def check_data(settings: Settings, data: Dataset, split: Split, size: int, option: str = "--data") -> None:
    """Raise :class:`SsrError` unless a system for pictures of ``size`` can learn from ``data``, which
    ``option`` named."""
    if data.size != size:
        raise SsrError(
            f"{option} {settings.data}: {data.name or 'it'} has pictures of {data.size} x {data.size}, "
            f"{settings.system} takes {size} x {size}; prepare a data set with --size {size}"
        )
    _check_sizes(len(split.train), len(split.validation), settings, option)
    where = f"{option} {settings.data}"
    need_ages(data, where, "training")
    if settings.system == "ssrnet":
        recorded(data, where)
    if settings.init is not None:
        path = Path(settings.init)
        if (path / CONTRACT_FILE).exists():
            crop = crop_of(read_bundle(path), {})
        else:
            crop = crop_of(path, read_header(path)["provenance"])
        if crop is not None:
            check_cut(crop, data, where, settings.init)


def _check_sizes(training: int, validation: int, s: Settings, option: str = "--data") -> None:
    if validation < 1 or training < s.batch_size:
        what = f"--count {s.count}" if s.data in datasets.NAMES else f"{option} {s.data}"
        raise SsrError(
            f"{what} leaves {training} faces to train on and {validation} to validate on, "
            f"expected at least one batch of {s.batch_size} and one face"
        )


def build(settings: Settings) -> System:
    """The run's system, its weights drawn by the seed."""
    torch.manual_seed(derive(settings.seed, INITIAL))
    return zoo.build(settings.system, **settings.options)


def outline(settings: Settings) -> System:
    """The run's system without numbers: its shapes, at no cost. Refuses what :func:`build` refuses."""
    with torch.device("meta"):
        return zoo.build(settings.system, **settings.options)


def initial_sha256(path: Path, settings: Settings) -> str:
    """Hash of the weights at ``path`` to start from: a bundle, or the folder of another system.

    Raises :class:`SsrError` unless it is the same network for the same input and output.
    """
    name = settings.system
    if not (path / CONTRACT_FILE).exists() and (name != "ssrnet" or (path / "system.json").exists()):
        header = read_header(path)
        if header["name"] != name:
            raise SsrError(f"{path}: is a {header['name']}, --system says {name}")
        ours = {**zoo.options(name), **settings.options}
        for key, value in {**zoo.options(name), **header["options"]}.items():
            if key != "dropout" and value != ours.get(key):
                raise SsrError(f"{path}: has {key} {value}, this run has {ours.get(key)}")
        return str(header["files"][MODEL_FILE]["sha256"])
    bundle = read_bundle(path)
    if name != "ssrnet":
        raise SsrError(f"{path}: is a bundle of SSR-Net, --system says {name}")
    system = outline(settings)
    assert isinstance(system, SSRNetSystem)
    found, expected = bundle.contract.architecture, system.network.architecture
    if found.stages != expected.stages:
        raise SsrError(f"{path}: has stages {list(found.stages)}, --stages says {list(expected.stages)}")
    if found != expected:
        raise SsrError(f"{path}: another network than the one to train: {found}, expected {expected}")
    options_of(bundle)
    if bundle.contract.interface.input.colour != system.colour:
        raise SsrError(
            f"{path}: made for {bundle.contract.interface.input.colour} input, expected {system.colour}"
        )
    return bundle.contract.weights_sha256


@torch.no_grad()
def initialise(system: System, settings: Settings, ages: NDArray[np.float32]) -> None:
    """Give ``system`` the weights that the run starts from, which must still be those it was started with.

    What a method takes from the training ``ages`` it takes from this run's, but no parameter that is given.
    """
    if settings.init is None:
        system.prepare(torch.from_numpy(ages))
        return
    path = Path(settings.init)
    if initial_sha256(path, settings) != settings.init_sha256:
        raise SsrError(f"{path}: no longer the weights this run started from")
    given = zoo.load_system(path)
    system.load_state_dict(given.state_dict())
    system.prepare(torch.from_numpy(ages))
    system.load_state_dict(dict(given.named_parameters()), strict=False)
