"""A bundle that runs in every precision: itself, or a copy calibrated here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ssr_bundle.bundle import Bundle, copy_bundle
from ssr_train.quantize.calibrate import calibrate


def quantized(bundle: Bundle, crops: NDArray[np.uint8], folder: Path) -> tuple[Bundle, str]:
    """``bundle`` if its contract has a quantization, else a copy under ``folder`` calibrated on ``crops``.

    With it, in words, where its calibration comes from.
    """
    if bundle.contract.quantization is not None:
        return bundle, "as its contract records"
    print("calibrating a copy of the bundle for int8 and bf16", flush=True)
    found = calibrate(bundle.parameters(), bundle.contract.architecture, crops)
    copy = copy_bundle(bundle, replace(bundle.contract, quantization=found), folder / "quantized")
    return copy, "on the same crops"
