"""Ways in which a bundle on disk can be wrong."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from ssr_bundle.bundle import Bundle, seal
from ssr_bundle.contract import Contract
from ssr_ops.golden import write_bundle


def changed_weights(bundle: Bundle, path: Path, factor: float = 1.01) -> Path:
    """A bundle whose weights, and so answers, differ."""
    parameters = {k: v * factor if k.endswith("eta.bias") else v for k, v in bundle.parameters().items()}
    return write_bundle(path, bundle.contract, parameters).path


def broken_model(path: Path) -> None:
    (path / "model.safetensors").write_bytes((path / "model.safetensors").read_bytes()[:-1])


def broken_byte(path: Path) -> None:
    data = bytearray((path / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (path / "model.safetensors").write_bytes(data)


def broken_missing(path: Path) -> None:
    (path / "golden.safetensors").unlink()


def broken_contract(path: Path) -> None:
    (path / "contract.json").write_text("{")


def broken_version(path: Path) -> None:
    contract = json.loads((path / "contract.json").read_text())
    (path / "contract.json").write_text(json.dumps({**contract, "contract_version": 99}))


def foreign_weights(path: Path) -> None:
    """Well-formed, well-hashed, but not the weights that the golden record was made with."""
    arrays = load_file(path / "model.safetensors")
    arrays["x.0.conv.weight"] = arrays["x.0.conv.weight"] * np.float32(1.1)
    save_file(arrays, path / "model.safetensors")
    seal(path, Contract.loads((path / "contract.json").read_text()))
