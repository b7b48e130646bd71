"""A bundle that runs in every precision: itself, or a copy quantized here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ssr_bundle.bundle import Bundle, copy_bundle
from ssr_train.quantize.quantizer import find_quantization


def quantized(bundle: Bundle, crops: NDArray[np.uint8], folder: Path) -> tuple[Bundle, str]:
    """``bundle`` if its contract has a quantization, else a copy under ``folder`` quantized on ``crops``.

    With it, in words, what it is quantized on.
    """
    if bundle.contract.quantization is not None:
        return bundle, "as its contract records"
    print("quantizing a copy of the bundle for int8 and bf16", flush=True)
    found = find_quantization(bundle.parameters(), bundle.contract.architecture, crops)
    copy = copy_bundle(bundle, replace(bundle.contract, quantization=found), folder / "quantized")
    return copy, "on the same crops"
