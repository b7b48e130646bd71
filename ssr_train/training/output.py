"""What a finished run leaves: SSR-Net as a bundle, another system as its folder, both with provenance."""

from __future__ import annotations

import json
import platform
import shlex
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ssr_bundle.contract import Contract, Crop, Input, Interface, Output
from ssr_ops.golden import write_bundle
from ssr_train import data as datasets
from ssr_train import zoo
from ssr_train.data.dataset import Dataset
from ssr_train.data.protocols import Split, leak
from ssr_train.training.folder import RunFolder, Settings
from ssr_train.zoo.ssrnet import SSRNetSystem
from ssr_train.zoo.system import System


def write(
    folder: RunFolder, system: System, provenance: dict[str, Any], crop: Crop | None, *, last: bool
) -> Path:
    """Write ``system`` as the run's best or last one, in place of an earlier, and return its folder.

    ``crop``: how the faces were cut that it learned from; a bundle says it to who serves photos.
    """
    if not isinstance(system, SSRNetSystem):
        path = folder.system_last if last else folder.system
        return zoo.save_system(path, system, provenance, overwrite=True)
    assert crop is not None  # a run is refused otherwise
    architecture = system.network.architecture
    contract = Contract(
        name="ssrnet",
        interface=Interface(
            Input("rgb" if system.colour == "rgb" else "bgr"),
            crop,
            Output.for_value_range(architecture.value_range),
        ),
        architecture=architecture,
        provenance=provenance,
    )
    arrays = {name: value.numpy() for name, value in system.network.parameters_by_name().items()}
    return write_bundle(folder.bundle_last if last else folder.bundle, contract, arrays, overwrite=True).path


def provenance(
    settings: Settings, data: Dataset, split: Split, weights: str, metrics: Mapping[str, float]
) -> dict[str, Any]:
    """Where weights come from; ``weights`` says of which epoch they are, ``metrics`` are in years."""
    s = settings
    return {
        "command": command_line(s),
        "system": s.system,
        "data": data.description,
        "data_name": data.name,
        "data_sha256": data.sha256,
        "crop": None if data.crop is None else data.crop.to_json(),
        "labels_sha256": data.labels_sha256,
        "synthetic": data.synthetic,
        "licence": data.licence,
        "count": s.count,
        "protocol": split.protocol,
        "fold": split.fold,
        "split": str(split),
        "leak": str(leak(data, split)),
        "epochs": s.epochs,
        "seed": s.seed,
        "weights": weights,
        "metrics": {"unit": "years", **{name: round(value, 3) for name, value in metrics.items()}},
        "initial_weights_sha256": s.init_sha256,
        "device": s.device.split(":")[0],
        "threads": s.threads,
        "versions": {
            "ssr-serve": metadata.version("ssr-serve"),
            "torch": str(torch.__version__),
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
    }


def command_line(settings: Settings) -> str:
    """The command that makes this run; RUN, PREPARED and INITIAL stand for the user's folders."""
    s = settings
    drawn = s.data in datasets.NAMES
    words = ["ssr-train", "fit", *([] if s.system == "ssrnet" else ["--system", s.system])]
    words += ["--data", s.data if drawn else "PREPARED", "--out", "RUN"]
    words += ["--count", str(s.count)] if drawn else []
    words += [] if s.protocol == "random" else ["--protocol", s.protocol]
    words += [] if s.fold == 0 else ["--fold", str(s.fold)]
    words += ["--epochs", str(s.epochs), "--batch-size", str(s.batch_size), "--lr", f"{s.lr:g}"]
    words += ["--step", str(s.step), "--seed", str(s.seed)]
    defaults = zoo.options(s.system)
    for name, value in s.options.items():
        if name == "stages":
            words += ["--stages", ",".join(map(str, value))]
        elif name == "dropout":
            words += ["--dropout", f"{value:g}"]
        elif value != defaults.get(name):
            words += ["--set", f"{name}={json.dumps(value)}"]
    words += ["--device", s.device, "--threads", str(s.threads)]
    words += [] if s.precision == "fp32" else ["--precision", s.precision]
    words += [] if s.ema is None else ["--ema", f"{s.ema:g}"]
    words += ([] if s.augment else ["--no-augment"]) + ([] if s.init is None else ["--init", "INITIAL"])
    if s.processes > 1:
        words[:1] = ["torchrun", "--nproc-per-node", str(s.processes), "-m", "ssr_train.cli"]
    return shlex.join(words)
